"""FHIR R4 over HTTP: every kind of the catalogue, alerts, searches, pages, errors, and who sees what."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from feed_server import RunningFeed, csrf_of, running
from fhir_rules import LOINC, codes, validated, value_of
from made_up_ward import DAY, HOUR, NOW_MS, add_patient, enrol, one_signal

from alerts.fhir.codes import MDC, OWN, SHAPES
from alerts.fhir.ids import logical_id
from alerts.fhir.queries import STRIP_CHARS
from alerts.store import write_readings, write_signals
from devices.catalogue import KINDS
from devices.readings import Reading
from devices.times import format_instant, to_datetime
from scad.services import Postgres

ALERT = "11111111-1111-4111-8111-111111111111"
OTHER_TEAM = "22222222-2222-4222-8222-222222222222"
SAMPLES_I16 = base64.b64encode(b"\x01\x00\xff\xff\x00\x01").decode()
# One reading a kind, with every value that it can have.
VALUES: dict[str, dict[str, Any]] = {
    "body-weight": {"weight": 82.4},
    "blood-pressure": {"systolic": 142.0, "diastolic": 88.0, "mean": 106.0, "pulse": 71.0},
    "glucose": {"glucose": 112.0},
    "heart-rate": {"heart_rate": 74.0},
    "rr-intervals": {"rr": [812.0, 805.5, 0.0]},
    "ecg": {"fs": 250.0, "samples_i16": SAMPLES_I16, "gain": 200.0},
    "oxygen-saturation": {"spo2": 96.0, "pulse": 72.0},
    "temperature": {"temperature": 36.9},
    "respiratory-rate": {"respiratory_rate": 16.0},
    "inr": {"inr": 2.4},
    "ketones": {"ketones": 0.3},
    "symptoms": {
        "dyspnoea": 1, "oedema": 0, "fatigue": 2, "cough": 0, "orthopnoea_pillows": 2, "night_dyspnoea": False,
        "dizziness": True, "syncope": False, "chest_pain": False, "bleeding": False, "missed_medication": True,
        "salt_lapse": True, "wellbeing": "worse", "consciousness": "A",
    },
    "implant-report": {"event": "atrial-fibrillation", "count": 3, "burden": 12.5},
}  # fmt: skip
ALSO = [
    ("glucose", {"glucose": 118.0}, {"sample": "capillary", "meal": "fasting"}, (), ()),
    ("glucose", {"glucose": 121.0}, {"sample": "interstitial"}, (), ()),
    (
        "blood-pressure",
        {"systolic": 142.0, "diastolic": 141.0},
        {"arm": "left"},
        ("movement",),
        ("movement",),
    ),
    ("body-weight", {"weight": 82.5}, {}, ("clock-unset",), ()),
    ("heart-rate", {"heart_rate": 190.0}, {}, ("contact-lost",), ("contact-lost",)),
    ("ecg", {"fs": 125.0, "samples": [0.5, -0.25, 1e-5]}, {}, ("movement",), ("movement",)),
    ("ecg", {"fs": 125.0, "samples": [0.123456] * (STRIP_CHARS // 8)}, {}, (), ()),
]


def reading(seq: int, kind: str, values: dict[str, Any], **more: Any) -> Reading:
    """The `seq`-th reading of p-caen: one an hour, the first the latest."""
    at = NOW_MS - seq * HOUR
    fields: dict[str, Any] = {
        "device": "bo_1", "seq": seq, "kind": kind, "measured_at_ms": at, "received_at_ms": at + 4000,
        "offset_min": 60, "values": values, "patient": "p-caen",
    }  # fmt: skip
    return Reading(**{**fields, **more})


@pytest.fixture(scope="module")
def feed(postgres: Postgres, schema_template: str, quick_hashes: None) -> Iterator[RunningFeed]:
    """p-caen has a reading of each kind, some doubtful ones and an alert; p-bayeux, of another team, one of each."""
    address = postgres.create_database(template=schema_template)
    readings = [reading(seq, kind, values) for seq, (kind, values) in enumerate(VALUES.items(), start=1)]
    readings += [
        reading(seq, kind, values, context=context, flags=flags, marks=marks)
        for seq, (kind, values, context, flags, marks) in enumerate(ALSO, start=len(VALUES) + 1)
    ]
    with psycopg.connect(address, autocommit=True) as conn:
        enrol(conn, NOW_MS)
        add_patient(conn, "p-caen", "caen", 1, "body-weight", NOW_MS)
        add_patient(conn, "p-bayeux", "bayeux", 2, "body-weight", NOW_MS)
        conn.execute("insert into scad.device values ('bo_1', 'Balance BW-200', %s)", (to_datetime(NOW_MS),))
        begin = to_datetime(NOW_MS - 60 * DAY)
        conn.execute("insert into scad.assignment values ('bo_1', 'p-caen', %s, null)", (begin,))
        write_readings(conn, readings, NOW_MS)
        elsewhere = reading(99, "body-weight", {"weight": 70.0}, device="bo-0002", patient="p-bayeux")
        write_readings(conn, [elsewhere], NOW_MS)
        write_signals(conn, [alerting("p-caen", ALERT)], NOW_MS)
        write_signals(conn, [alerting("p-bayeux", OTHER_TEAM)], NOW_MS)
        with running(address, conn) as found:
            yield found
    postgres.drop_database(address)


def alerting(patient: str, alert: str) -> Any:
    """An alert whose second reading is stored (body weight, seq 1) and whose first is not."""
    signal = one_signal(patient, 1, alert, at_ms=NOW_MS - HOUR)
    evidence = [
        {"device": "bo_1", "seq": 1, "measured_at": format_instant(NOW_MS - HOUR), "value": 82.4},
        {"device": "bo_1", "seq": 900, "measured_at": format_instant(NOW_MS - 3 * DAY), "value": 80.0},
    ]
    made = [type(signal.evidence[0])(**each) for each in evidence]
    return type(signal)(**{name: getattr(signal, name) for name in signal.__struct_fields__ if name != "evidence"},
                        evidence=tuple(made))  # fmt: skip


@pytest.fixture(scope="module")
def nurse(feed: RunningFeed) -> httpx.Client:
    return feed.client("infirmiere")


def got(client: httpx.Client, path: str, **asked: Any) -> dict[str, Any]:
    """A valid resource."""
    answer = client.get(f"/fhir/{path}", params=asked or None)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    return validated(answer.json())


def resources(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle.get("entry", [])]


def link(bundle: dict[str, Any], relation: str) -> str | None:
    return next((each["url"] for each in bundle["link"] if each["relation"] == relation), None)


def pages(client: httpx.Client, path: str, **asked: Any) -> list[list[dict[str, Any]]]:
    """All pages, by the links alone."""
    bundle = got(client, path, **asked)
    found = [resources(bundle)]
    while (url := link(bundle, "next")) is not None:
        bundle = validated(client.get(url).json())
        found.append(resources(bundle))
    return found


def observations(client: httpx.Client, **asked: Any) -> list[dict[str, Any]]:
    return resources(got(client, "Observation", patient="p-caen", _count=100, **asked))


def seq_of(it: dict[str, Any]) -> int:
    return int(it["identifier"][0]["value"].rpartition("/")[2])


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    (issue,) = validated(answer.json())["issue"]
    assert issue["code"] == code
    return str(issue["diagnostics"])


def extensions(it: dict[str, Any], name: str) -> list[Any]:
    return [value_of(e) for e in it.get("extension", []) if e["url"] == f"{OWN}/StructureDefinition/{name}"]


def numbers(it: dict[str, Any]) -> dict[str, Any]:
    """Values by the catalogue's names."""
    own = f"{OWN}/CodeSystem/value"
    found = {}
    for component in it.get("component", []):
        (name,) = codes(component["code"], own)
        value = value_of(component)
        found[name] = value["value"] if "valueQuantity" in component else value
        if "valueCodeableConcept" in component:
            found[name] = value["text"]
    return found


# ── readings ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_examples_are_all_kinds_of_the_catalogue_with_all_their_values():
    assert set(VALUES) == set(KINDS) == set(SHAPES)
    for name, kind in KINDS.items():
        assert set(kind.values) - set(VALUES[name]) <= {"samples"}


@pytest.mark.parametrize("kind", VALUES)
def test_a_reading_of_each_kind_is_a_valid_observation_with_its_numbers_codes_and_units(
    nurse: httpx.Client, kind: str
):
    seq = 1 + list(VALUES).index(kind)
    (it,) = [it for it in observations(nurse, code=f"{OWN}/CodeSystem/kind|{kind}") if seq_of(it) == seq]
    catalogue, values = KINDS[kind], VALUES[kind]
    assert it == got(nurse, f"Observation/{it['id']}")
    assert it["subject"] == {"reference": "Patient/p-caen"}
    assert it["device"] == {"reference": f"Device/{logical_id('bo_1')}"}
    assert it["effectiveDateTime"] == format_instant(NOW_MS - seq * HOUR, 60)
    assert it["effectiveDateTime"].endswith("+01:00")
    assert it["issued"] == format_instant(NOW_MS - seq * HOUR + 4000)
    if catalogue.loinc:
        assert codes(it["code"]) & set(catalogue.loinc)
    if catalogue.mdc is not None and kind != "glucose":  # its code is capillary blood
        assert codes(it["code"], MDC) == {str(catalogue.mdc)}
    said = numbers(it)
    main = SHAPES[kind].main
    if main is not None:
        value = value_of(it)
        said[main] = value["value"] if "valueQuantity" in it else value["text"]
    if kind == "ecg":
        strip = it["valueSampledData"]
        assert (strip["period"], strip["factor"], strip["data"]) == (4, 1 / 200, "1 -1 256")
        assert strip["origin"]["code"] == "mV"
    elif kind == "rr-intervals":
        assert it["valueString"] == "812 805.5 0"
    else:
        assert said == values
    if catalogue.unit and main and "valueQuantity" in it:
        assert it["valueQuantity"]["code"] == catalogue.unit


def test_components_have_the_codes_of_the_catalogue(nurse: httpx.Client):
    (pressure,) = [it for it in observations(nurse, code="85354-9") if seq_of(it) == 2]
    found = {next(iter(codes(c["code"]))): codes(c["code"], MDC) for c in pressure["component"]}
    assert found == {"8480-6": {"150021"}, "8462-4": {"150022"}, "8478-0": {"150023"}, "8867-4": {"149546"}}


def test_a_blood_pressure_is_coded_as_in_the_example_of_hl7(nurse: httpx.Client):
    """observation-example-bloodpressure of R4: what it codes, value by value."""
    (it,) = [it for it in observations(nurse, code="85354-9") if seq_of(it) == 2]
    coding = it["code"]["coding"][0]
    assert coding == {
        "system": LOINC, "code": "85354-9", "display": "Blood pressure panel with all children optional"
    }  # fmt: skip
    category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
    assert it["category"] == [{"coding": [category]}]
    shown = [(c["code"]["coding"][0], c["valueQuantity"]) for c in it["component"][:2]]
    millimetres = {"unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}
    assert shown == [
        (
            {"system": LOINC, "code": "8480-6", "display": "Systolic blood pressure"},
            {"value": 142, **millimetres},
        ),
        (
            {"system": LOINC, "code": "8462-4", "display": "Diastolic blood pressure"},
            {"value": 88, **millimetres},
        ),
    ]


def test_a_glucose_is_called_by_what_was_measured(nurse: httpx.Client):
    shown = [it for it in observations(nurse) if seq_of(it) in (3, 14, 15)]
    found = {seq_of(it): (codes(it["code"]), codes(it["code"], MDC)) for it in shown}
    assert found == {3: ({"2339-0"}, set()), 14: ({"41653-7"}, {"160184"}), 15: ({"99504-3"}, set())}
    for code, seqs in (("41653-7", [14]), ("99504-3", [15]), ("2339-0", [3])):
        assert [seq_of(it) for it in observations(nurse, code=code)] == seqs


def test_a_marked_reading_has_no_value_but_says_why_and_what_it_was(nurse: httpx.Client):
    found = {seq_of(it): it for it in observations(nurse)}
    pressure, rate, strip = found[16], found[18], found[19]
    assert extensions(pressure, "artefact") == extensions(pressure, "flag") == ["movement"]
    assert extensions(pressure, "context-arm") == ["left"]
    assert [extensions(c, "unusable-value")[0]["value"] for c in pressure["component"]] == [142, 141]
    for it in (*pressure["component"], rate, strip):
        assert value_of(it) is None
        assert it["dataAbsentReason"]["coding"][0]["code"] == "error"
    assert extensions(rate, "unusable-value")[0]["value"] == 190
    assert "movement" in pressure["note"][0]["text"]


def test_a_clock_that_was_not_set_is_said(nurse: httpx.Client):
    (it,) = [it for it in observations(nurse) if seq_of(it) == 17]
    assert extensions(it, "clock-fault") == [True]
    assert "clock" in it["note"][0]["text"]
    assert it["valueQuantity"]["value"] == 82.5


def test_a_long_strip_is_whole_when_it_is_read_and_left_out_of_a_search(nurse: httpx.Client):
    (it,) = [it for it in observations(nurse) if seq_of(it) == 20]
    assert it["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert "valueSampledData" not in it
    whole = got(nurse, f"Observation/{it['id']}")
    assert "tag" not in whole["meta"]
    assert len(whole["valueSampledData"]["data"].split()) == STRIP_CHARS // 8


# ── searches ────────────────────────────────────────────────────────────────────────────────────────────────


def seqs(client: httpx.Client, **asked: Any) -> list[int]:
    return [seq_of(it) for it in observations(client, **asked)]


def test_readings_are_found_by_code_category_device_and_id(nurse: httpx.Client):
    everything = list(range(1, len(VALUES) + len(ALSO) + 1))
    assert seqs(nurse) == everything  # the latest first
    assert seqs(nurse, _sort="date") == everything[::-1]
    assert seqs(nurse, code=f"{LOINC}|29463-7") == [1, 17]
    assert seqs(nurse, code=f"{MDC}|188736") == [1, 17]
    assert seqs(nurse, code="29463-7,34714-6") == [1, 10, 17]
    assert seqs(nurse, code=["29463-7", "34714-6"]) == []
    assert seqs(nurse, code="8867-4") == [4, 18]
    assert seqs(nurse, **{"combo-code": "8867-4"}) == [2, 4, 7, 16, 18]
    assert seqs(nurse, code="no-such-code") == seqs(nurse, code="|29463-7") == []
    assert seqs(nurse, category="laboratory") == [3, 10, 11, 14, 15]
    assert seqs(nurse, category="vital-signs", code="8310-5") == [8]
    assert seqs(nurse, device=f"Device/{logical_id('bo_1')}") == everything
    assert seqs(nurse, device="another") == []
    one, two = observations(nurse)[:2]
    assert seqs(nurse, _id=f"{one['id']},{two['id']},nothing") == [1, 2]
    assert [it["id"] for it in resources(got(nurse, "Observation", _id=one["id"]))] == [one["id"]]
    assert observations(nurse, subject="Patient/p-caen") == observations(nurse)
    assert resources(got(nurse, "Observation", patient="Patient/p-bayeux")) == []
    assert resources(got(nurse, "Observation", patient="nobody")) == []


@pytest.mark.parametrize(
    ("dates", "found"),
    [
        (["ge2026-11-22"], list(range(1, 11))),  # of the care team's zone: from 23:00 UTC the evening before
        (["2026-11-22"], list(range(1, 11))),
        (["lt2026-11-22"], list(range(11, 21))),
        (["eb2026-11-22"], list(range(11, 21))),
        (["gt2026-11-21"], list(range(1, 11))),
        (["sa2026-11-21"], list(range(1, 11))),
        (["le2026-11-21"], list(range(11, 21))),
        (["ge2026-11-22T07:42:00Z", "lt2026-11-22T08:42Z"], [2]),
        (["ge2026-11-22T08:42:00+01:00", "le2026-11-22T08:42:00+01:00"], [2]),
        (["eq2026-11-22T07:42:00.000Z"], [2]),
        (["2026-11"], list(range(1, 21))),
        (["2025"], []),
    ],
)
def test_readings_are_found_by_date(nurse: httpx.Client, dates: list[str], found: list[int]):
    assert seqs(nurse, date=dates) == found


@pytest.mark.parametrize("order", ["date", "-date"])
@pytest.mark.parametrize("count", [1, 7, 20])
def test_pages_give_each_reading_once_in_order(nurse: httpx.Client, count: int, order: str):
    found = pages(nurse, "Observation", patient="p-caen", _count=count, _sort=order)
    assert [len(page) for page in found[:-1]] == [count] * (len(found) - 1)
    assert [it for page in found for it in page] == observations(nurse, _sort=order)


def test_a_page_goes_on_among_readings_of_one_instant(feed: RunningFeed, nurse: httpx.Client):
    values, at = {"temperature": 37.0}, NOW_MS - 40 * DAY
    old = [reading(seq, "temperature", values, measured_at_ms=at) for seq in range(200, 205)]
    write_readings(feed.conn, old, NOW_MS)
    asked = {"patient": "p-caen", "date": "lt2026-11-01"}
    found = [seq_of(it) for page in pages(nurse, "Observation", _count=2, **asked) for it in page]
    assert sorted(found) == list(range(200, 205))
    feed.conn.execute("delete from scad.reading where seq >= 200")


def test_patients_and_devices_are_found(feed: RunningFeed, nurse: httpx.Client):
    (patient,) = resources(got(nurse, "Patient"))
    assert patient == got(nurse, "Patient/p-caen")
    assert (patient["id"], patient["gender"]) == ("p-caen", "male")
    assert patient["name"][0]["family"] == "Duquesne"
    assert feed.conn.execute("select ins from identity.person").fetchone()[0] not in json.dumps(patient)  # type: ignore[index]
    assert resources(got(nurse, "Patient", identifier=f"{OWN}/identifier/patient|p-caen")) == [patient]
    assert resources(got(nurse, "Patient", identifier="p-bayeux")) == []
    assert len(pages(nurse, "Device", _count=1)) == 2
    (scale,) = resources(got(nurse, "Device", identifier="bo_1", patient="p-caen"))
    assert scale == got(nurse, f"Device/{logical_id('bo_1')}")
    assert (scale["status"], scale["patient"]["reference"]) == ("active", "Patient/p-caen")
    assert scale["deviceName"] == [{"name": "Balance BW-200", "type": "model-name"}]


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
    for action, body in (("acknowledge", {}), ("resolve", {"outcome": "advice", "reason": "told to take one more"})):
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
