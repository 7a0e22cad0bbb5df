"""The numbers of a recorded file: `scad summary`, JSON, FHIR, and the report as page and as JSON say the same."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from feed_server import RunningFeed
from msgspec.structs import replace
from typer.testing import CliRunner

from alerts.feed.formats import Formats
from alerts.feed.texts import Texts
from alerts.report.collect import figures_of
from alerts.report.words import figure_rows
from alerts.store import write_readings
from devices.decode import decode_line
from devices.readings import Reading
from devices.times import parse_instant, to_datetime
from scad.main import build_app

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no recordings in ../shared/data")

PATIENT = "p-caen"
TOLD = ("device", "seq", "measured_at", "values", "context")
Numbers = dict[str, float | None]


@pytest.mark.parametrize(
    ("file", "kind", "loinc", "name"),
    [
        ("weight_fitbit_6962181067", "body-weight", "29463-7", "weight"),
        ("cgm_sim_adult001", "glucose", "99504-3", "glucose"),
    ],
)
def test_the_numbers_of_a_recorded_file_are_the_same_everywhere(
    feed: RunningFeed, monkeypatch: pytest.MonkeyPatch, file: str, kind: str, loinc: str, name: str
):
    path = DATA / f"{file}.jsonl"
    recorded = [replace_patient(decode_line(line)) for line in path.read_bytes().splitlines()]
    days = [to_datetime(one.measured_at_ms).date() for one in recorded]
    first, last = min(days) - timedelta(days=1), max(days) + timedelta(days=1)
    now_ms = max(one.measured_at_ms for one in recorded) + 86_400_000
    write_readings(feed.conn, [received(one, now_ms) for one in recorded], now_ms)
    feed.hands.now_ms = max(now_ms, feed.hands.now_ms)

    summary = CliRunner().invoke(build_app(), ["summary", str(path)])
    (of_file,) = [json.loads(line) for line in summary.stdout.splitlines()]
    assert of_file["n"] == len(recorded)

    doctor = feed.client("medecin")
    page = doctor.get(f"/patients/{PATIENT}/report?from={first}&to={last}").text
    (of_json,) = figures_of(by_json(doctor, kind, first, last))
    (of_fhir,) = figures_of(by_fhir(doctor, kind, loinc, name, first, last))
    monkeypatch.setenv("SCAD_DATABASE", feed.feed.database.dsn)
    monkeypatch.setenv("SCAD_CLOCK", "")
    made = CliRunner().invoke(
        build_app(), ["report", PATIENT, "--from", str(first), "--to", str(last), "--json"]
    )
    (of_report,) = json.loads(made.stdout)["figures"]
    assert of_report["n"] == of_json.n == of_fhir.n == of_file["n"]
    for numbers in (of_report["statistics"], of_json.statistics, of_fhir.statistics):
        assert numbers == pytest.approx(of_file["statistics"])
    assert of_report["episodes"] == of_json.episodes == of_fhir.episodes == of_file["episodes"]
    assert cells(page, kind) == dict(figure_rows(of_json, Formats(Texts("en"), "Europe/Paris")))


def replace_patient(one: Any) -> Reading:
    assert isinstance(one, Reading)
    return replace(one, patient=PATIENT)


def received(one: Reading, now_ms: int) -> Reading:
    return replace(one, received_at_ms=now_ms)


def cells(page: str, kind: str) -> dict[str, str]:
    table = re.search(rf'data-kind="{kind}">(.*?)</table>', page, re.DOTALL)
    assert table is not None
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', table[1])
    return {unescape(name): unescape(value) for name, value in rows}


def by_json(client: httpx.Client, kind: str, first: date, last: date) -> list[Reading]:
    asked = {"kind": kind, "from": f"{first}T00:00:00Z", "to": f"{last}T23:59:59Z", "limit": 5000}
    told = client.get(f"/api/patients/{PATIENT}/readings", params=asked).json()
    assert not told["truncated"]
    common = {"v": 1, "patient": PATIENT, "kind": kind}
    lines = [{**common, **{field: one[field] for field in TOLD}} for one in told["readings"]]
    return [replace_patient(decode_line(json.dumps(line).encode())) for line in lines]


def by_fhir(client: httpx.Client, kind: str, loinc: str, name: str, first: date, last: date) -> list[Reading]:
    url = f"/fhir/Observation?patient={PATIENT}&code={loinc}&date=ge{first}&date=le{last}&_count=200"
    found: list[Reading] = []
    while url:
        bundle = client.get(url).json()
        for entry in bundle.get("entry", ()):
            it = entry["resource"]
            at_ms, offset = parse_instant(it["effectiveDateTime"])
            found.append(
                Reading(
                    device="x",
                    seq=len(found) + 1,
                    kind=kind,
                    measured_at_ms=at_ms,
                    offset_min=offset,
                    values={name: it["valueQuantity"]["value"]},
                    context={"sample": "interstitial"} if kind == "glucose" else {},
                    patient=PATIENT,
                )
            )
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    return found
