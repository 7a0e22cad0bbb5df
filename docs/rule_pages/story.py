"""A short made-up series of readings, run through the real engine with the measures of one rule recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec

from devices.decode import decode_payload
from devices.readings import Reading
from devices.times import format_instant, parse_instant
from streams.engine import Engine
from streams.history import Observation
from streams.plans import CarePlan, PlanVersion
from streams.protocols import Library, Protocol, Rule
from streams.rolling import Measure, Moment, Statistic
from streams.signal import AlertSignal

START = "2026-01-05T00:00:00+01:00"
"""A Monday in winter, midnight in Paris: no change of clocks falls into an example."""
START_MS, OFFSET_MIN = parse_instant(START)
DAY_MIN, HOUR_MIN = 1440, 60
DEVICE = "example-1"


def day(number: float, hour: float = 7.0) -> int:
    """Minutes since the start of the `hour` of a day; the first day is 1."""
    return round((number - 1) * DAY_MIN + hour * HOUR_MIN)


@dataclass
class Story:
    """Readings in order, and what the care plan says. Times are minutes since START."""

    plan: dict[str, Any] = field(default_factory=dict)
    until: int | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        at: int,
        kind: str,
        values: dict[str, Any],
        flags: Sequence[str] = (),
        context: dict[str, str] | None = None,
    ) -> Story:
        line: dict[str, Any] = {
            "v": 1,
            "device": DEVICE,
            "seq": len(self.lines),
            "kind": kind,
            "measured_at": format_instant(START_MS + at * 60_000, OFFSET_MIN),
            "values": values,
        }
        if flags:
            line["flags"] = list(flags)
        if context:
            line["context"] = context
        self.lines.append(line)
        return self

    def daily(
        self, kind: str, name: str, values: Iterable[float], first: int = 1, hour: float = 7.0
    ) -> Story:
        """One number a day at the same hour."""
        for index, value in enumerate(values):
            self.add(day(first + index, hour), kind, {name: value})
        return self

    def readings(self) -> list[Reading]:
        """What the platform makes of them, each received when it was measured."""
        found = []
        for line in sorted(self.lines, key=lambda entry: str(entry["measured_at"])):
            at_ms = parse_instant(line["measured_at"])[0]
            (reading,) = decode_payload(json.dumps(line).encode(), DEVICE, at_ms)
            if not isinstance(reading, Reading):
                raise ValueError(f"the example is refused: {reading.detail}")
            found.append(replace_patient(reading))
        return found

    def care_plan(self, protocol: str) -> CarePlan:
        document = {"version": 1, "from": START, "protocols": [protocol], **self.plan}
        return CarePlan(patient="example", versions=(msgspec.convert(document, PlanVersion),))


def replace_patient(reading: Reading) -> Reading:
    return msgspec.structs.replace(reading, patient="example")


@dataclass(frozen=True)
class Point:
    """A measure of the rule, and the state of its statistic before."""

    at_ms: int
    measure: Measure
    before: Any


class Recorder:
    """A statistic that writes down what it says."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.channels, self.State, self.kinds = inner.channels, inner.State, inner.kinds
        self.points: list[Point] = []

    def initialize(self) -> Any:
        return self.inner.initialize()

    def add(self, state: Any, o: Observation, moment: Moment) -> tuple[Any, Measure | None]:
        after, measure = self.inner.add(state, o, moment)
        if measure is not None:
            self.points.append(Point(o.at_ms, measure, state))
        return after, measure


@dataclass(frozen=True)
class Outcome:
    """What came of a story: the rule's measures and signals, and the other rules that raised."""

    readings: list[Reading]
    points: list[Point]
    signals: list[AlertSignal]
    others: tuple[str, ...]
    until_ms: int


def run(protocol: Protocol, rule: Rule, story: Story) -> Outcome:
    """The whole protocol over the story; measures and signals of `rule`."""
    recorder = Recorder(rule.statistic) if rule.statistic is not None else None
    watched = rule
    if (
        recorder is not None
    ):  # under a key of its own: rules with one statistic share its state, and one object
        watched = replace(rule, statistic=cast(Statistic, recorder), statistic_key="recorded")
    rules = tuple(watched if r.name == rule.name else r for r in protocol.rules)
    engine = Engine(Library({protocol.name: replace(protocol, rules=rules)}))
    state = engine.new_state("example")
    signals = engine.apply(state, plans=[story.care_plan(protocol.name)], tick_ms=START_MS)
    readings = story.readings()
    until_ms = readings[-1].measured_at_ms if story.until is None else START_MS + story.until * 60_000
    for reading in readings:
        signals += _ticks(engine, state, reading.received_at_ms)
        signals += engine.apply(state, [reading])
    signals += _ticks(engine, state, until_ms)
    # A story tells of some kinds and is silent on the others; that is not what it is about.
    silent = {r.name for r in protocol.rules if r.statistic is None}
    return Outcome(
        readings,
        recorder.points if recorder is not None else [],
        [s for s in signals if s.rule == rule.name],
        tuple(sorted({s.rule for s in signals} - {rule.name} - silent)),
        until_ms,
    )


def _ticks(engine: Engine, state: Any, until_ms: int) -> list[AlertSignal]:
    """The clock's own changes up to an instant."""
    signals: list[AlertSignal] = []
    while (deadline := engine.next_deadline_ms(state)) is not None and deadline <= until_ms:
        signals += engine.apply(state, tick_ms=deadline)
    return signals
