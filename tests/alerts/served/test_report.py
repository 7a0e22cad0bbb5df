"""The report: its numbers are those of the page, of JSON, of FHIR and of `scad summary`; its files are whole."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from feed_server import RunningFeed, csrf_of
from hypothesis import given
from hypothesis import strategies as st
from made_up_ward import DAY, FAMILY
from typer.testing import CliRunner

from alerts.feed.adherence import adherence
from alerts.feed.formats import Formats
from alerts.feed.texts import Texts
from alerts.report.collect import FIGURE_KINDS, ReportError, figures_of, period
from alerts.report.kept import kept
from alerts.report.words import SHOWN, figure_rows
from devices.decode import decode_line
from devices.readings import Reading
from devices.times import parse_instant
from scad.main import build_app

TOLD = ("device", "seq", "measured_at", "values")
FIRST, LAST = "2026-11-01", "2026-11-22"
CODES = {"29463-7": ("body-weight", "weight"), "85354-9": ("blood-pressure", "")}


def fhir_readings(client: Any, patient: str, code: str) -> list[Reading]:
    """The period's readings as FHIR tells them, over all pages."""
    found, url = (
        [],
        f"/fhir/Observation?patient={patient}&code={code}&date=ge{FIRST}&date=le{LAST}&_count=100",
    )
    while url:
        bundle = client.get(url).json()
        found += [
            entry["resource"] for entry in bundle.get("entry", ()) if entry["search"]["mode"] == "match"
        ]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    kind, name = CODES[code]
    readings = []
    for place, one in enumerate(found):
        at_ms, offset = parse_instant(one["effectiveDateTime"])
        if name:
            values = {name: one["valueQuantity"]["value"]}
        else:
            parts = {
                part["code"]["coding"][0]["code"]: part["valueQuantity"]["value"] for part in one["component"]
            }
            values = {"systolic": parts["8480-6"], "diastolic": parts["8462-4"]}
        readings.append(
            Reading(
                device="x",
                seq=place,
                kind=kind,
                measured_at_ms=at_ms,
                offset_min=offset,
                values=values,
                patient=patient,
            )
        )
    return readings


def cells(page: str, kind: str) -> dict[str, str]:
    table = re.search(rf'data-kind="{kind}">(.*?)</table>', page, re.DOTALL)
    assert table is not None
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', table[1])
    return {unescape(name): unescape(value) for name, value in rows}


def command(ward: RunningFeed, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setenv("SCAD_DATABASE", ward.feed.database.dsn)
    monkeypatch.setenv("SCAD_CLOCK", "")
    return CliRunner().invoke(build_app(), ["report", *arguments])


def test_the_numbers_agree_between_report_page_json_fhir_and_summary(
    ward: RunningFeed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    doctor = ward.client("medecin")
    formats = Formats(Texts("en"), "Europe/Paris")
    for patient, kind, code in (
        ("p-0000", "body-weight", "29463-7"),
        ("p-0007", "blood-pressure", "85354-9"),
    ):
        page = doctor.get(f"/patients/{patient}/report?from={FIRST}&to={LAST}")
        assert page.status_code == 200
        wanted = {"patient": patient, "from": f"{FIRST}T00:00:00+01:00", "to": f"{LAST}T23:59:59+01:00"}
        told = doctor.get(
            f"/api/patients/{patient}/readings",
            params={"kind": kind, "from": wanted["from"], "to": wanted["to"], "limit": 1000},
        ).json()
        common = {"v": 1, "patient": patient, "kind": kind}
        by_json = [
            decode_line(json.dumps({**common, **{name: one[name] for name in TOLD}}).encode())
            for one in told["readings"]
        ]
        (of_json,) = figures_of([one for one in by_json if not one.marks])
        (of_fhir,) = figures_of(fhir_readings(doctor, patient, code))
        made = command(ward, monkeypatch, patient, "--from", FIRST, "--to", LAST, "--json")
        assert made.exit_code == 0, made.output
        (of_command,) = [one for one in json.loads(made.stdout)["figures"] if one["kind"] == kind]
        assert of_command["n"] == of_json.n == of_fhir.n > 20
        assert of_command["statistics"] == pytest.approx(of_json.statistics)
        local = [
            name for name in of_fhir.statistics if "ing_" not in name
        ]  # of morning and evening: by the offset
        for name in local:
            assert of_fhir.statistics[name] == pytest.approx(of_command["statistics"][name]), name
        assert cells(page.text, kind) == dict(figure_rows(of_json, formats))
        last = doctor.get(f"/api/patients/{patient}").json()["last"]
        if kind == "body-weight":
            assert of_command["statistics"]["last"] == next(
                one["value"] for one in last if one["kind"] == kind
            )


def test_the_report_lists_alerts_with_what_was_done_and_its_files_are_whole(
    ward: RunningFeed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    nurse = ward.client("infirmiere")
    alerts = nurse.get("/api/patients/p-0000").json()["standing"]
    (gain,) = [
        one for one in alerts if one["rule"] == "weight-gain-3d" and one["state"] in ("open", "escalated")
    ]
    headers = {"X-CSRF-Token": csrf_of(nurse)}
    for action, body in (("acknowledge", {"note": "vu ce matin"}), ("note", {"note": "rappeler la fille"})):
        answer = nurse.post(f"/api/alerts/{gain['alert']}/{action}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
    page = nurse.get(f"/patients/p-0000/report?from={FIRST}&to={LAST}").text
    assert "vu ce matin" in page
    assert "rappeler la fille" in page
    assert FAMILY[0].upper() in page
    files = [tmp_path / name for name in ("report.pdf", "report.html")]
    made = command(
        ward,
        monkeypatch,
        "p-0000",
        "--from",
        FIRST,
        "--to",
        LAST,
        "--pdf",
        str(files[0]),
        "--html",
        str(files[1]),
    )
    assert made.exit_code == 0, made.output
    pdf, html = files[0].read_bytes(), files[1].read_text(encoding="utf-8")
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert b"FontFile2" in pdf, "its fonts are inside"
    assert "<link" not in html
    assert "rappeler la fille" in html
    sent = nurse.get(f"/patients/p-0000/report.pdf?from={FIRST}&to={LAST}")
    assert sent.headers["content-type"] == "application/pdf"
    assert 'filename="p-0000-' in sent.headers["content-disposition"]


def test_curves_have_the_limits_that_alerts_go_by_and_the_range_that_figures_count(ward: RunningFeed):
    nurse = ward.client("infirmiere")
    pages = [
        nurse.get(f"/patients/{patient}/report?from={FIRST}&to={LAST}").text
        for patient in ("p-0000", "p-0007", "p-0012")
    ]
    limits = [re.findall(r'class="limit-label"[^>]*>([^<]+)<', page) for page in pages]
    assert limits == [["75.2", "76.8"], ["90", "110", "170", "180"], ["54", "70", "250", "300"]]
    assert ['class="target"' in page for page in pages] == [False, False, True]


def test_another_teams_patient_and_an_impossible_period_have_no_report(
    ward: RunningFeed, monkeypatch: pytest.MonkeyPatch
):
    nurse = ward.client("infirmiere")
    assert nurse.get("/patients/p-0016/report").status_code == 404
    assert nurse.get("/patients/p-0016/report.pdf").status_code == 404
    for query in ("from=2026-11-22&to=2026-11-01", "from=2020-01-01", "from=2027-01-01&to=2027-01-02"):
        assert nurse.get(f"/patients/p-0000/report?{query}").status_code == 422
        assert nurse.get(f"/patients/p-0000/report.pdf?{query}").status_code == 422
    assert ward.client("ops").get("/patients/p-0000/report").status_code == 403
    nobody = command(ward, monkeypatch, "p-9999", "--from", FIRST, "--to", LAST, "--json")
    assert (nobody.exit_code, "no patient 'p-9999'" in nobody.output) == (1, True)
    assert command(ward, monkeypatch, "p-0000", "--from", "x", "--to", LAST, "--json").exit_code == 2


def test_a_period_is_local_days_across_the_change_of_the_clocks():
    begin, end = period(date(2026, 10, 25), date(2026, 10, 25), "Europe/Paris")
    assert (end - begin) == 25 * DAY // 24
    with pytest.raises(ReportError, match="more than 366"):
        period(date(2025, 1, 1), date(2026, 11, 22), "Europe/Paris")


@given(
    st.sampled_from([6.0, 8.0, 12.0, 24.0, 48.0, 168.0]),
    st.integers(0, 20),
    st.lists(st.integers(0, 4), min_size=21, max_size=21),
)
def test_adherence_over_the_last_fortnight_is_that_of_the_page(every: float, age: int, counts: list[int]):
    today = date(2026, 11, 22)
    taken = {today - timedelta(days=n): count for n, count in enumerate(counts)}
    begin = today - timedelta(days=age)
    of_page = adherence("body-weight", every, begin, today, taken)
    mine = kept("body-weight", every, max(begin, today - timedelta(days=13)), today, today, taken)
    assert (mine.done, mine.expected) == (of_page.done, of_page.expected)


def test_every_figure_that_is_shown_has_a_name_in_both_languages():
    for language in ("fr", "en"):
        texts = Texts(language)
        for kind, names in SHOWN.items():
            assert kind in FIGURE_KINDS
            assert all(texts.term("figure", name) != name for name in names)
