"""International normalised ratio: the value against the target, and time in therapeutic range (reference 5)."""

from __future__ import annotations

import itertools
from typing import ClassVar

import msgspec

from streams.history import DAY_MS, SYMPTOM_ITEMS, Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Ref, Told, ref

USUAL_TARGET = (2.0, 3.0)
"""Target range without a care plan's own: HAS 2008, target 2.5."""

GAP_DAYS = 56
"""Longer gaps between two INR are not interpolated (AHRQ, LOINC 72281-9)."""

BLEEDING_AT = SYMPTOM_ITEMS.index("bleeding")


class LastTest(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last INR, and the questionnaire that reported a bleeding, until another denies it."""

    last: Ref | None = None
    bleeding: Ref | None = None


class Inr:
    """The ratio against the patient's target range. Channels: `inr`, `below` (lower limit minus value) and
    `above` (value minus upper limit), shown as the ratio against the end of the target.

    Facts: `mechanical-valve`; `bleeding` from the questionnaire that reports one until another denies it, with
    or without an INR; `tested` when there is one. Questionnaires are judged `with_questionnaire = 1` only.
    """

    channels: ClassVar[tuple[str, ...]] = ("inr", "below", "above")
    facts = frozenset({"tested", "bleeding", "mechanical-valve"})
    State: ClassVar[type] = LastTest

    def __init__(self, parameters: Parameters) -> None:
        asked = parameters.number("with_questionnaire", 0, low=0, high=1)
        self.kinds = frozenset({"inr", "symptoms"} if asked else {"inr"})

    def initialize(self) -> LastTest:
        return LastTest()

    def add(self, state: LastTest, o: Observation, moment: Moment) -> tuple[LastTest, Measure | None]:
        if o.artefact:
            return state, None
        if o.kind == "symptoms":
            bleeding = o.x[BLEEDING_AT]
            if bleeding is None:
                return state, None
            state = LastTest(state.last, ref(o, bleeding) if bleeding else None)
            return state, self._measure(state, ref(o, bleeding), moment)
        value = o.x[0]
        if value is None:
            return state, None
        state = LastTest(ref(o, value), state.bleeding)
        return state, self._measure(state, ref(o, value), moment)

    def _measure(self, state: LastTest, now: Ref, moment: Moment) -> Measure:
        low, high = moment.personal.inr_target or USUAL_TARGET
        facts = ["tested"] if state.last is not None else []
        if state.bleeding is not None:
            facts.append("bleeding")
        if moment.personal.mechanical_valve:
            facts.append("mechanical-valve")
        inr = (state.last.value or 0.0) if state.last is not None else 0.0
        inside = state.last is None
        return Measure(
            (inr, 0.0 if inside else low - inr, 0.0 if inside else inr - high),
            (_tell_inr, state, now, {"inr": inr, "low": low, "high": high}),
            tuple(facts),
            {1: (inr, low), 2: (inr, high)},
        )


def _tell_inr(state: LastTest, now: Ref, extra: dict[str, float | str]) -> Told:
    refs = {r.at_ms: r for r in (state.last, state.bleeding, now) if r is not None}
    return tuple(refs.values()), extra


class Tests(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last tests, in order."""

    refs: tuple[Ref, ...] = ()


class TimeInRange:
    """Time in therapeutic range by Rosendaal's linear interpolation over `window_days`, in %.

    Needs `min_tests` tests in the window. At most MAX_TESTS are kept: weekly tests for half a year.
    """

    channels: ClassVar[tuple[str, ...]] = ("ttr",)
    facts = NO_FACTS
    State: ClassVar[type] = Tests
    MAX_TESTS: ClassVar[int] = 32

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"inr"})
        self.window_days = int(parameters.number("window_days", 180, low=28, high=366))
        self.min_tests = int(parameters.number("min_tests", 5, low=2, high=32))

    def initialize(self) -> Tests:
        return Tests()

    def add(self, state: Tests, o: Observation, moment: Moment) -> tuple[Tests, Measure | None]:
        value = o.x[0]
        if o.artefact or value is None:
            return state, None
        oldest_ms = o.at_ms - self.window_days * DAY_MS
        kept = (*(r for r in state.refs if r.at_ms >= oldest_ms), ref(o, value))[-self.MAX_TESTS :]
        if len(kept) < self.min_tests:
            return Tests(kept), None
        low, high = moment.personal.inr_target or USUAL_TARGET
        inside, total = 0.0, 0.0
        for before, after in itertools.pairwise(kept):
            days = (after.at_ms - before.at_ms) / DAY_MS
            if 0 < days <= GAP_DAYS:
                total += days
                inside += days * share_inside(before.value or 0.0, after.value or 0.0, low, high)
        if total == 0.0:
            return Tests(kept), None
        return Tests(kept), Measure((100.0 * inside / total,), (_tell_tests, kept))


def _tell_tests(kept: tuple[Ref, ...]) -> Told:
    return kept[-4:], {"n": float(len(kept))}


def share_inside(a: float, b: float, low: float, high: float) -> float:
    """Share of a straight line from `a` to `b` that lies between `low` and `high` (inclusive)."""
    if a == b:
        return 1.0 if low <= a <= high else 0.0
    first, last = sorted(((low - a) / (b - a), (high - a) / (b - a)))
    return max(0.0, min(1.0, last) - max(0.0, first))
