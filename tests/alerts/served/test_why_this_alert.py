"""Why this alert: page, JSON and FHIR say the same rule, version, limit and readings, and the usual value is the one
that the engine compared with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx
import psycopg
import pytest
from feed_server import running
from fhir_rules import validated
from made_up_ward import DAY, HOUR, NOW_MS, add_patient, enrol, run_engine, store_plan

from alerts.feed.basis import baseline_at
from alerts.fhir.codes import OWN
from devices.readings import Reading
from devices.times import format_instant, parse_instant
from scad.services import Postgres
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion
from streams.protocols import load_published

PATIENT = "p-caen"
DAYS = 26
"""Days of a quiet course; what is unusual comes on the two or three after them."""


def reading(seq: int, kind: str, at_ms: int, **values: float) -> Reading:
    return Reading(
        device=f"{kind[:2]}-0001",
        seq=seq,
        kind=kind,
        measured_at_ms=at_ms,
        received_at_ms=at_ms + 4000,
        offset_min=60,
        values=dict(values),
        patient=PATIENT,
    )


def course() -> list[Reading]:
    """A month of an even course with a little scatter; at its end everything leaves what is usual."""
    found: list[Reading] = []
    begin = NOW_MS - (DAYS + 3) * DAY - NOW_MS % DAY + 7 * HOUR
    for day in range(DAYS + 3):
        at, off, wrong = begin + day * DAY, (0.0, 1.0, -1.0, 2.0)[day % 4], day >= DAYS
        n = 10 * day
        found.append(reading(n + 1, "body-weight", at, weight=81.4 if wrong else 80.0 + off / 10))
        found.append(reading(n + 1, "heart-rate", at + 60_000, heart_rate=86.0 if wrong else 62.0 + off))
        found.append(
            reading(n + 1, "oxygen-saturation", at + 120_000, spo2=93.0 if wrong else 97.0 + off / 2)
        )
        for again in (0, 1):  # two in the morning, two in the evening
            for hour in (0, 12):
                high = 128.0 if wrong else 104.0 + off + hour / 4
                when = at + hour * HOUR + again * 120_000
                found.append(
                    reading(n + 2 + again + hour, "blood-pressure", when, systolic=high, diastolic=70.0)
                )
    return [one for one in found if one.measured_at_ms <= NOW_MS]


@pytest.fixture(scope="module")
def nurse(postgres: Postgres, schema_template: str, quick_hashes: None) -> Iterator[httpx.Client]:
    version = PlanVersion(
        version=3,
        from_=format_instant(NOW_MS - 40 * DAY),
        protocols=("heart-failure", "hypertension", "respiratory", "arrhythmia"),
        author="Dr Paul Hamelin",
    )
    plan = CarePlan(patient=PATIENT, versions=(version,), care_team="caen")
    address = postgres.create_database(template=schema_template)
    with psycopg.connect(address, autocommit=True) as conn:
        enrol(conn, NOW_MS)
        add_patient(conn, PATIENT, "caen", 1, "body-weight", NOW_MS)
        store_plan(conn, plan)
        run_engine(conn, Engine(load_published()), plan, course(), NOW_MS)
        with running(address, conn) as feed:
            yield feed.client("infirmiere")
    postgres.drop_database(address)


def cells(page: str) -> list[list[str]]:
    """The rows of the table of readings; none where it was their absence that decided."""
    tables = re.findall(r'<table class="evidence">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    rows = [row for table in tables for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    return [
        [unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<td>(.*?)</td>", row)]
        for row in rows
    ]


def extension(issue: dict[str, Any], name: str) -> Any:
    (found,) = [e for e in issue["extension"] if e["url"] == f"{OWN}/StructureDefinition/{name}"]
    return next(value for key, value in found.items() if key.startswith("value"))


def test_page_json_and_fhir_say_the_same_of_an_alert(nurse: httpx.Client):
    told = nurse.get("/api/alerts", params={"patient": PATIENT}).json()["alerts"]
    assert len(told) >= 4
    for listed in told:
        detail = nurse.get(f"/api/alerts/{listed['alert']}").json()
        alert, basis = detail["alert"], detail["basis"]
        issue = validated(nurse.get(f"/fhir/DetectedIssue/{alert['alert']}").json())
        page = nurse.get(f"/alerts/{alert['alert']}").text
        why = unescape(page.partition('id="why"')[2])
        name = f"{alert['protocol']}/{alert['rule']}"
        assert (basis["protocol"], basis["rule"], basis["plan_version"]) == (
            alert["protocol"],
            alert["rule"],
            3,
        )
        assert f"({name})" in why
        assert f"<code>docs/protocols/{name}.md</code>" in why
        assert issue["code"]["text"] == name
        version = alert["protocol_version"]
        assert basis["protocol_version"] == version == extension(issue, "protocol-version")
        assert f" {version}</td>" in why
        if alert["limit"] is not None:
            assert basis["limit"] == alert["limit"] == extension(issue, "alert-limit")["value"]
        shown = [(device, int(seq)) for *_, device, seq in cells(page)]
        assert shown == [(one["device"], one["seq"]) for one in basis["evidence"]]
        assert sorted(shown) == sorted((one["device"], one["seq"]) for one in alert["evidence"])
        detail_of = issue.get("evidence", [{"detail": []}])[0]["detail"]
        assert sorted(reference["identifier"]["value"] for reference in detail_of) == sorted(
            f"{one['device']}/{one['epoch']}/{one['seq']}" for one in basis["evidence"]
        )
        for one, row in zip(basis["evidence"], cells(page), strict=True):
            late = parse_instant(one["received_at"])[0] - parse_instant(one["measured_at"])[0]
            assert late == 4000
            assert f"{one['value']:g}" in row[1].replace(",", ".")
        for language, title in (("fr", "Pourquoi cette alerte"), ("en", "Why this alert")):
            said = unescape(
                nurse.get(f"/alerts/{alert['alert']}", headers={"Accept-Language": language}).text
            )
            assert title in said
            assert alert["explanation"][language] in said


@pytest.mark.parametrize(
    ("rule", "session"),
    [
        ("weight-cusum", None),
        ("weight-macd", None),
        ("heart-rate-personal", None),
        ("spo2-drop", None),
        ("bp-personal", "evening"),
    ],
)
def test_the_usual_value_shown_is_the_one_in_the_engines_sentence(
    nurse: httpx.Client, rule: str, session: str | None
):
    told = nurse.get("/api/alerts", params={"patient": PATIENT, "rule": rule}).json()["alerts"]
    assert told, rule
    basis = nurse.get(f"/api/alerts/{told[0]['alert']}").json()["basis"]
    usual = basis["baseline"]
    said = re.search(r"(?:usual|28 days,) ([\d.]+)", told[0]["explanation"]["en"])
    assert said is not None
    assert usual["centre"] == pytest.approx(float(said[1]), abs=0.51 if "." not in said[1] else 0.051)
    assert (usual["session"], usual["unit"]) == (session, basis["evidence"][0]["unit"])
    assert (usual["scale"] is None) == (rule == "weight-macd")
    assert usual["days"] >= 20
    assert 'class="baseline"' in nurse.get(f"/alerts/{told[0]['alert']}").text


def test_without_a_plan_or_a_reading_nothing_is_usual():
    library = load_published()
    rule = next(rule for rule in library.protocols["heart-failure"].rules if rule.name == "weight-cusum")
    assert baseline_at(library, rule, course(), ()) is None
    assert baseline_at(library, rule, [], ()) is None
