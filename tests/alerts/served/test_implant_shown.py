"""Events of a pacemaker or defibrillator: on the patient's page, in the queue, in FHIR and in the report."""

from __future__ import annotations

from feed_server import RunningFeed
from made_up_ward import DAY, HOUR, NOW_MS, run_engine, store_plan

from alerts.feed.texts import LANGUAGES, Texts
from devices.catalogue import KINDS, Word
from devices.readings import Reading
from devices.times import format_instant
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion
from streams.protocols import load_published


def test_an_implants_event_is_shown_and_alerted_on_in_words(feed: RunningFeed):
    version = PlanVersion(version=1, from_=format_instant(NOW_MS - 5 * DAY), protocols=("arrhythmia",))
    plan = CarePlan(patient="p-caen", versions=(version,), care_team="caen")
    store_plan(feed.conn, plan)
    events = (
        (NOW_MS - 2 * DAY, {"event": "atrial-fibrillation", "burden": 12.5}),
        (NOW_MS - HOUR, {"event": "shock", "count": 2}),
    )
    reports = [
        Reading(
            device="icd-1",
            seq=n,
            kind="implant-report",
            measured_at_ms=at,
            received_at_ms=at,
            values=values,
            patient="p-caen",
        )
        for n, (at, values) in enumerate(events, start=1)
    ]
    run_engine(feed.conn, Engine(load_published()), plan, reports, NOW_MS)
    nurse = feed.client("infirmiere")
    french = {"Accept-Language": "fr"}
    page = nurse.get("/patients/p-caen", headers=french).text
    assert "<b>choc délivré</b> × 2" in page
    assert "<b>fibrillation atriale</b> · part du temps 12,5" in page
    queue = nurse.get("/", headers=french).text
    assert "Prothèse implantée : choc délivré" in queue
    standing = nurse.get("/api/patients/p-caen").json()["standing"]
    assert [one["severity"] for one in standing if one["rule"] == "implant-event"] == ["high"]
    found = nurse.get("/fhir/Observation?patient=p-caen").json()["entry"]
    events = [one["resource"]["valueCodeableConcept"]["coding"][0]["code"] for one in found]
    assert events == ["shock", "atrial-fibrillation"]
    report = nurse.get("/patients/p-caen/report?from=2026-11-18&to=2026-11-22", headers=french).text
    assert "<td>choc délivré</td><td>2</td><td>–</td>" in report
    assert "<td>fibrillation atriale</td><td>–</td><td>12,5\u202f%</td>" in report
    pdf = nurse.get("/patients/p-caen/report.pdf?from=2026-11-18&to=2026-11-22")
    assert pdf.content.startswith(b"%PDF-")


def test_every_event_and_answer_has_words_in_both_languages():
    for language in LANGUAGES:
        texts = Texts(language)
        event = KINDS["implant-report"].values["event"]
        assert isinstance(event, Word)
        assert all(texts.term("implant", word) != word for word in event.words)
        for name, value in KINDS["symptoms"].values.items():
            assert texts.term("symptom", name) != name or language == "en" or name == "fatigue"
            if isinstance(value, Word) and name == "wellbeing":
                assert all(texts.term("symptom", word) for word in value.words)
