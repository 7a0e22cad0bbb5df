"""FHIR R4 over HTTP: alerts, a patient's whole file, errors, and who sees what."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest
from feed_server import RunningFeed, csrf_of
from fhir_rules import codes
from fhir_ward import (
    ALERT,
    OTHER_TEAM,
    extensions,
    fhir_ward,
    got,
    observations,
    pages,
    refused,
    resources,
    seq_of,
)
from made_up_ward import DAY, NOW_MS

from alerts.fhir.codes import OWN
from devices.times import format_instant
from scad.services import Postgres


@pytest.fixture(scope="module")
def feed(postgres: Postgres, schema_template: str, quick_hashes: None) -> Iterator[RunningFeed]:
    with fhir_ward(postgres, schema_template) as found:
        yield found


@pytest.fixture(scope="module")
def nurse(feed: RunningFeed) -> httpx.Client:
    return feed.client("infirmiere")


# ── alerts ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_alert_names_its_severity_rule_readings_and_what_people_did(nurse: httpx.Client):
    issue = got(nurse, f"DetectedIssue/{ALERT}")
    assert (issue["severity"], issue["status"]) == ("high", "preliminary")
    assert issue["code"]["text"] == "heart-failure/weight-gain-3d"
    assert issue["patient"] == {"reference": "Patient/p-caen"}
    assert issue["detail"] == "Poids 82,4 kg : 2,4 kg de plus."
    stored, missing = issue["evidence"][0]["detail"]
    assert seq_of(got(nurse, stored["reference"])) == 1
    assert missing == {
        "type": "Observation",
        "identifier": {"system": f"{OWN}/identifier/reading", "value": "bo_1/0/900"},
    }
    assert extensions(issue, "alert-limit")[0]["value"] == 2.0
    made = got(nurse, f"Provenance/{ALERT}")
    assert made["target"] == [{"reference": f"DetectedIssue/{ALERT}"}]
    assert [agent["who"]["identifier"]["value"] for agent in made["agent"]] == [
        "heart-failure/weight-gain-3d@2026.1"
    ]
    assert extensions(made, "protocol-version") == ["2026.1"]
    assert extensions(made, "alert-limit")[0] == {
        "value": 2.0, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"
    }  # fmt: skip
    assert [entity["what"] for entity in made["entity"]] == [stored, missing]

    token = {"X-CSRF-Token": csrf_of(nurse)}
    for action, body in (
        ("acknowledge", {}),
        ("resolve", {"outcome": "advice", "reason": "told to take one more"}),
    ):
        assert nurse.post(f"/api/alerts/{ALERT}/{action}", headers=token, json=body).status_code == 200
    issue, made = got(nurse, f"DetectedIssue/{ALERT}"), got(nurse, f"Provenance/{ALERT}")
    assert issue["status"] == "final"
    assert [(m["action"]["text"], m["author"]["display"]) for m in issue["mitigation"]] == [
        ("acknowledge", "Claire Martin"),
        ("advice", "Claire Martin"),
    ]
    assert [a["type"]["coding"][0]["code"] for a in made["agent"]] == ["assembler", "verifier", "attester"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, 1),
        ({"patient": "p-caen"}, 1),
        ({"patient": "p-bayeux"}, 0),
        ({"code": "heart-failure/weight-gain-3d"}, 1),
        ({"code": f"{OWN}/CodeSystem/rule|heart-failure/weight-gain-3d"}, 1),
        ({"code": "heart-failure/weight-loss"}, 0),
        ({"identified": "2026-11-22", "patient": "p-caen"}, 1),
        ({"identified": "lt2026-11-22", "patient": "p-caen"}, 0),
        ({"_id": f"{ALERT},{OTHER_TEAM},nothing"}, 1),
        ({"identifier": f"{OWN}/identifier/alert|{ALERT}"}, 1),
        ({"identifier": f"elsewhere|{ALERT}"}, 0),
    ],
)
def test_alerts_are_found(nurse: httpx.Client, asked: dict[str, str], found: int):
    assert [it["id"] for it in resources(got(nurse, "DetectedIssue", **asked))] == [ALERT] * found


def test_provenance_is_found_by_target_patient_and_date(nurse: httpx.Client):
    asked = {"target": f"DetectedIssue/{ALERT}", "patient": "p-caen", "recorded": "ge2026-11-22"}
    assert [it["id"] for it in resources(got(nurse, "Provenance", **asked))] == [ALERT]
    assert resources(got(nurse, "Provenance", target=f"DetectedIssue/{OTHER_TEAM}")) == []


def test_the_whole_file_is_the_patient_with_everything_page_by_page(nurse: httpx.Client):
    found = [it for page in pages(nurse, "Patient/p-caen/$everything", _count=6) for it in page]
    kinds = [it["resourceType"] for it in found]
    assert kinds[0] == "Patient"
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"Patient": 1, "Device": 2, "Observation": 20, "DetectedIssue": 1, "Provenance": 1}
    assert len({(it["resourceType"], it["id"]) for it in found}) == len(found)
    readings = [it for it in found if it["resourceType"] == "Observation"]
    assert readings == observations(nurse)
    some = pages(nurse, "Patient/p-caen/$everything", start="2026-11-22", end="2026-11-22")
    assert sum(it["resourceType"] == "Observation" for page in some for it in page) == 10


# ── errors, and who sees what ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("Observation?patient=p-caen&codes=8867-4", "not-supported"),
        ("Observation?patient=p-caen&code:text=weight", "not-supported"),
        ("Observation?patient=p-caen&_include=Observation:device", "not-supported"),
        ("Observation", "too-costly"),
        ("Observation?code=8867-4", "too-costly"),
        ("Observation?patient=p-caen&date=yesterday", "invalid"),
        ("Observation?patient=p-caen&date=ap2026-11-22", "invalid"),
        ("Observation?patient=p-caen&date=2026-02-30", "invalid"),
        ("Observation?patient=p-caen&date=2026-11-22T25:00Z", "invalid"),
        ("Observation?patient=p-caen&date=2026-11-22,2026-11-23", "invalid"),
        ("Observation?patient=Group/p-caen", "invalid"),
        ("Observation?patient=", "invalid"),
        ("Observation?patient=p%00", "invalid"),
        ("Observation?patient=p-caen&_count=0", "invalid"),
        ("Observation?patient=p-caen&_count=many", "invalid"),
        ("Observation?patient=p-caen&_sort=code", "not-supported"),
        ("Observation?patient=p-caen&_page=1", "invalid"),
        ("DetectedIssue?_page=20261122T090000.000000~1", "invalid"),
        ("DetectedIssue?_count=5&_count=6", "invalid"),
        ("Patient?name=Duquesne", "not-supported"),
        ("Patient/p-caen?_elements=id", "not-supported"),
        ("Patient/p-caen/$everything?_type=Device", "not-supported"),
        ("Patient/p-caen/$everything?_page=elsewhere", "invalid"),
        ("Patient/p-caen/$everything?start=never", "invalid"),
        ("metadata?mode=full", "not-supported"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_name(nurse: httpx.Client, path: str, code: str):
    assert refused(nurse.get(f"/fhir/{path}"), 400, code)


@pytest.mark.parametrize(
    "path",
    [
        "Patient/nobody", "Patient/p-bayeux", "Patient/p-bayeux/$everything", "Patient/p%00", "Patient/x-00",
        "Device/none", "Device/bo-0002", "Device/bo_1", "Observation/none", f"Observation/1-{'0' * 32}-00000000",
        f"Observation/9999999999999999-{'0' * 32}-00000000", f"DetectedIssue/{OTHER_TEAM}", "DetectedIssue/none",
        f"Provenance/{UUID(int=0)}", "Medication", "Observation/a/_history",
    ],
)  # fmt: skip
def test_what_is_not_there_or_not_theirs_is_not_found(nurse: httpx.Client, path: str):
    refused(nurse.get(f"/fhir/{path}"), 404, "not-found")


def test_another_teams_reading_is_found_by_that_team_alone(feed: RunningFeed, nurse: httpx.Client):
    (it,) = resources(got(feed.client("bayeux"), "Observation", patient="p-bayeux"))
    refused(nurse.get(f"/fhir/Observation/{it['id']}"), 404, "not-found")
    assert resources(got(nurse, "Observation", _id=it["id"])) == []
    assert {p["id"] for p in resources(got(feed.client("audit"), "Patient"))} == {"p-caen", "p-bayeux"}


def test_the_log_in_and_the_role_are_asked_for_in_fhirs_words(feed: RunningFeed):
    refused(feed.client().get("/fhir/Patient"), 401, "login")
    refused(feed.client().get("/fhir/metadata"), 401, "login")
    engineer = feed.client("ops")
    refused(engineer.get("/fhir/Patient"), 403, "forbidden")
    assert got(engineer, "metadata")["fhirVersion"] == "4.0.1"


def test_nothing_is_written_and_nothing_but_json_is_sent(nurse: httpx.Client):
    refused(
        nurse.post("/fhir/Patient", headers={"X-CSRF-Token": csrf_of(nurse)}, json={}), 405, "not-supported"
    )
    refused(nurse.get("/fhir/Patient", headers={"Accept": "application/fhir+xml"}), 406, "not-supported")
    refused(nurse.get("/fhir/Patient?_format=xml"), 406, "not-supported")
    assert nurse.get("/fhir/Patient?_format=application/fhir+json").status_code == 200


def test_the_capability_statement_names_what_there_is_and_every_name_works(nurse: httpx.Client):
    (rest,) = got(nurse, "metadata")["rest"]
    told = {it["type"]: {p["name"] for p in it["searchParam"]} for it in rest["resource"]}
    assert set(told) == {"Patient", "Observation", "Device", "DetectedIssue", "Provenance"}
    values = {"date": "2026", "identified": "2026", "recorded": "2026"}
    for resource, names in told.items():
        for name in names:
            asked = {name: values.get(name, "p-caen")} | (
                {"patient": "p-caen"} if resource == "Observation" else {}
            )
            got(nurse, resource, **asked)


def test_page_json_and_fhir_say_the_same_numbers(nurse: httpx.Client):
    begin = format_instant(NOW_MS - 2 * DAY)
    stored = nurse.get("/api/patients/p-caen/readings", params={"from": begin, "limit": 100}).json()[
        "readings"
    ]
    found = {seq_of(it): it for it in observations(nurse)}
    compared = 0
    for each in stored:
        it = found[each["seq"]]
        if each["value"] is None or each["marks"]:
            continue
        main = it.get("valueQuantity") or next(
            c["valueQuantity"] for c in it["component"] if "8480-6" in codes(c["code"])
        )
        assert main["value"] == each["value"]
        compared += 1
    assert compared == 12
