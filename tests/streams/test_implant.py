"""Events of an implant: what rings, what steps down, and when it is over."""

from __future__ import annotations

from typing import Any

import pytest

from devices.catalogue import KINDS, Word
from devices.readings import Reading
from devices.times import format_instant
from streams.engine import Engine
from streams.history import IMPLANT_EVENTS
from streams.plans import CarePlan, PlanVersion
from streams.protocols import load_published
from streams.rolling.implant import GRADES, NAMES

DAY = 86_400_000
BEGIN = 1_795_345_200_000
RULE = "implant-event"


def run(*reports: dict[str, Any]) -> list[tuple[str, str]]:
    """(state, severity) of the rule's signals, a report a day."""
    engine = Engine(load_published())
    state = engine.new_state("p")
    version = PlanVersion(version=1, from_=format_instant(BEGIN - DAY), protocols=("arrhythmia",))
    engine.apply(state, plans=[CarePlan(patient="p", versions=(version,))])
    readings = [
        Reading(
            device="icd-1",
            seq=n + 1,
            kind="implant-report",
            measured_at_ms=BEGIN + n * DAY,
            received_at_ms=BEGIN + n * DAY,
            values=values,
            patient="p",
        )
        for n, values in enumerate(reports)
    ]
    signals = engine.apply(engine.load("p", engine.dump(state)), readings=readings)
    return [(signal.state, signal.severity) for signal in signals if signal.rule == RULE]


def test_the_events_are_those_of_the_catalogue_each_with_a_grade_and_a_name():
    event = KINDS["implant-report"].values["event"]
    assert isinstance(event, Word)
    assert set(event.words) == set(IMPLANT_EVENTS) == set(GRADES) == set(NAMES)


@pytest.mark.parametrize(
    ("event", "severity"), [(e, "high" if g == 2 else "medium") for e, g in GRADES.items()]
)
def test_every_event_raises_an_alert(event: str, severity: str):
    assert run({"event": event}) == [("raised", severity)]


def test_a_report_that_counts_none_ends_the_alert_and_raises_none():
    assert run({"event": "shock", "count": 0}, {"event": "atrial-fibrillation", "burden": 0.0}) == []
    assert run({"event": "shock", "count": 1}, {"event": "shock", "count": 0})[-1][0] == "cleared"


def test_a_milder_event_after_a_shock_does_not_end_the_alert():
    signals = run({"event": "shock", "count": 2}, {"event": "battery-low"})
    assert signals[0] == ("raised", "high")
    assert all(state != "cleared" for state, _ in signals)
