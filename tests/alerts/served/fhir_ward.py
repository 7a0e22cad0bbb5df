"""A ward for FHIR: a patient with a reading of each kind, and how its tests ask."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
from feed_server import RunningFeed, running
from fhir_rules import codes, validated, value_of
from made_up_ward import DAY, HOUR, NOW_MS, add_patient, enrol, one_signal

from alerts.fhir.codes import OWN
from alerts.fhir.queries import STRIP_CHARS
from alerts.store import write_readings, write_signals
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


@contextmanager
def fhir_ward(postgres: Postgres, schema_template: str) -> Iterator[RunningFeed]:
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
