from __future__ import annotations

import json
import uuid
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from alerts.audit.store import verify_database
from alerts.enrol import enrol
from alerts.enrolment import parse_enrolment
from alerts.store import QuarantineRow, write_quarantine, write_readings, write_signals
from alerts.store.connection import Connection
from alerts.trace import sentences, trace
from devices.readings import Reading
from devices.times import parse_instant
from scad.main import build_app
from streams.protocols import load_published
from streams.signal import AlertSignal, Evidence

MEASURED_MS = parse_instant("2026-03-01T07:31:05.120+01:00")[0]
NOW_MS = MEASURED_MS + 5000
ALERT = str(uuid.UUID(int=7))


def weight(**changes: Any) -> Reading:
    reading = Reading(
        device="sc-1",
        seq=88,
        kind="body-weight",
        measured_at_ms=MEASURED_MS,
        offset_min=60,
        received_at_ms=MEASURED_MS + 1000,
        patient="p-1",
        values={"weight": 80.0},
    )
    return msgspec.structs.replace(reading, **changes)


def alert(n: int, **evidence: Any) -> AlertSignal:
    given = {"device": "sc-1", "seq": 88, "measured_at": "2026-03-01T07:31:05.120+01:00", "value": 80.0}
    return AlertSignal(
        alert=ALERT,
        patient="p-1",
        protocol="heart-failure",
        protocol_version="2026.1",
        rule="weight-gain-3d",
        cls="clinical",
        severity="high",
        state="raised" if n == 1 else "updated",
        at="2026-03-01T07:31:05.120+01:00",
        explanation={"fr": "f", "en": "e"},
        evidence=(Evidence(**(given | evidence)),),
        n=n,
    )


def refusal(**changes: Any) -> QuarantineRow:
    row = QuarantineRow(
        id="a" * 32,
        device="sc-1",
        seq=88,
        reason="out-of-range",
        detail="weight: 9000 kg is outside 2 to 400 kg.",
        raw=b"{}",
        received_at_ms=NOW_MS,
        source_topic="scad.quarantine",
        source_partition=0,
        source_offset=1,
    )
    return msgspec.structs.replace(row, **changes)


def plan(store: Connection) -> None:
    document = {
        "care_teams": [{"care_team": "caen", "name": "Caen"}],
        "patients": [
            {
                "patient": "p-1",
                "care_team": "caen",
                "devices": [{"device": "sc-1", "from": "2026-01-01T00:00:00Z"}],
                "care_plan": {"from": "2026-01-01T00:00:00Z", "protocols": ["heart-failure"]},
            }
        ],
    }
    enrol(store, parse_enrolment(json.dumps(document).encode(), "t.json", load_published()), NOW_MS)


def test_a_reading_is_followed_to_the_alerts_it_is_evidence_of(store: Connection):
    plan(store)
    write_readings(store, [weight()], NOW_MS)
    write_signals(store, [alert(1), alert(2), alert(3, seq=89), alert(4, epoch=1)], NOW_MS)
    assert sentences(trace(store, "sc-1", 88)) == [
        "Reading 88 of device sc-1 is a reading of body-weight (weight 80.0) of patient p-1.",
        "Measured at 2026-03-01T07:31:05.120+01:00, received at 2026-03-01T06:31:06.120+00:00, "
        "stored at 2026-03-01T06:31:10.120+00:00.",
        "Evaluated with version 1 of the care plan: heart-failure.",
        f"It is evidence of alert {ALERT} (heart-failure, weight-gain-3d, severity high, now open): "
        "raised at 2026-03-01T06:31:05.120+00:00, updated at 2026-03-01T06:31:05.120+00:00.",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"received_at_ms": MEASURED_MS + 36 * 86_400_000},
            "Not evaluated: it arrived later than its horizon",
        ),
        ({"marks": ("contact-lost",)}, "It failed a check (contact-lost): it can raise a technical alert"),
        ({}, "Not evaluated: the patient had no care plan when it was measured."),
        ({"flags": ("low-battery",)}, "The device flagged it: low-battery."),
    ],
)
def test_what_keeps_a_reading_from_the_rules_is_said(store: Connection, changes: dict[str, Any], said: str):
    write_readings(store, [weight(**changes)], NOW_MS)
    lines = sentences(trace(store, "sc-1", 88))
    assert any(line.startswith(said) for line in lines)
    assert lines[-1] == "It is evidence of no alert."


def test_a_conflict_shows_both_contents(store: Connection):
    write_readings(store, [weight(), weight(values={"weight": 81.0})], NOW_MS)
    lines = sentences(trace(store, "sc-1", 88))
    assert sum("is a reading of body-weight" in line for line in lines) == 2
    assert any(line.startswith("Conflict:") for line in lines)


def test_epochs_are_told_apart(store: Connection):
    write_readings(store, [weight(), weight(epoch=1)], NOW_MS)
    assert len(trace(store, "sc-1", 88).stored) == 2
    (only,) = trace(store, "sc-1", 88, epoch=1).stored
    assert only.epoch == 1


def test_a_strip_is_named_and_not_printed(store: Connection):
    write_readings(store, [weight(kind="rr-intervals", values={"rr": [800.0] * 500})], NOW_MS)
    assert "(rr of 500 values)" in sentences(trace(store, "sc-1", 88))[0]


def test_a_refusal_says_why_and_where_it_lies(store: Connection):
    write_quarantine(store, [refusal()], NOW_MS)
    assert sentences(trace(store, "sc-1", 88)) == [
        "Reading 88 of device sc-1, received at 2026-03-01T06:31:10.120+00:00, was refused: out-of-range. "
        "weight: 9000 kg is outside 2 to 400 kg.",
        f"It lies in quarantine as {'a' * 32}.",
    ]


def test_what_nobody_has_seen_is_said_to_be_unknown(store: Connection):
    assert sentences(trace(store, "sc-1", 88)) == [
        "Reading 88 of device sc-1 has not reached the database; the device is not enrolled."
    ]


def test_the_command_prints_sentences_or_json(store: Connection, store_address: str):
    write_readings(store, [weight()], NOW_MS)
    runner, env = CliRunner(), {"SCAD_DATABASE": store_address}
    shown = runner.invoke(build_app(), ["trace", "sc-1", "88"], env=env)
    assert shown.exit_code == 0
    assert "patient p-1" in shown.stdout
    found = json.loads(runner.invoke(build_app(), ["trace", "sc-1", "88", "--json"], env=env).stdout)
    assert found["stored"][0]["values"] == {"weight": 80.0}
    assert runner.invoke(build_app(), ["trace", "sc-1", "89"], env=env).exit_code == 1


def test_a_look_at_a_patients_reading_is_a_line_of_the_trail(store: Connection, store_address: str):
    write_readings(store, [weight(), weight(device="sc-2", patient="p-2")], NOW_MS)
    runner, env = CliRunner(), {"SCAD_DATABASE": store_address}
    for words in (["sc-1", "88"], ["sc-2", "88", "--json"], ["sc-1", "89"]):  # the last: nobody's
        runner.invoke(build_app(), ["trace", *words], env=env)
    lines = [
        json.loads(line) for (line,) in store.execute("select line from audit.entry order by n").fetchall()
    ]
    assert [(line["did"], line["patients"]) for line in lines] == [("trace", ["p-1"]), ("trace", ["p-2"])]
    assert all(line["by"].startswith("shell:") for line in lines)
    assert verify_database(store, None).faults == []
