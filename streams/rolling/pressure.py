"""Rolling statistics of blood pressure, in mm[Hg] (reference section 2)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streams.history import Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Ref, ref
from streams.rolling.symptoms import LastAnswers, answered

CAMPAIGN_GAP_DAYS = 14
"""After a silence this long a series of measurements starts anew, and its first day is discarded again:
the first day reads some 2.8/1.4 mm[Hg] high and the plateau comes after day 3 (reference section 2)."""


class Pressure:
    """The reading itself, with the fact `symptoms` when the last questionnaire affirmed one."""

    channels: ClassVar[tuple[str, ...]] = ("systolic", "diastolic")
    facts = frozenset({"symptoms"})
    State: ClassVar[type] = LastAnswers

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"blood-pressure", "symptoms"})

    def initialize(self) -> LastAnswers:
        return LastAnswers()

    def add(self, state: LastAnswers, o: Observation, moment: Moment) -> tuple[LastAnswers, Measure | None]:
        if o.kind == "symptoms":
            return (state if o.artefact else answered(o)), None
        systolic, diastolic = o.x[0], o.x[1]
        if o.artefact or systolic is None or diastolic is None:
            return state, None
        return state, Measure(
            (systolic, diastolic),
            (ref(o, systolic),),
            state.facts(o.at_ms),
            {"systolic": systolic, "diastolic": diastolic},
        )


class _Cuff(msgspec.Struct, frozen=True, array_like=True, gc=False):
    day: int
    systolic: float
    diastolic: float
    ref: Ref


class Week(msgspec.Struct, frozen=True, array_like=True):
    """The readings of the window, and the first day of the present series."""

    first_day: int = 0
    last_day: int = 0
    cuffs: tuple[_Cuff, ...] = ()


class WeekMean:
    """Mean home blood pressure over `window_days` patient-local days.

    The first day of a series is discarded; needs `min_readings` over `min_days` days. Two readings morning
    and evening for seven days make 28, of which 24 remain (ESH); decisions need at least 12 over 3 days
    (AHA, LOINC 96607-7). At most MAX_READINGS of the window count, the newest.
    """

    channels: ClassVar[tuple[str, ...]] = ("systolic", "diastolic")
    facts = NO_FACTS
    State: ClassVar[type] = Week
    MAX_READINGS: ClassVar[int] = 56  # twice the protocol's 28: more is one cuff used for a whole family

    def __init__(self, parameters: Parameters) -> None:
        self.window_days = int(parameters.number("window_days", 7, low=3, high=28))
        self.min_readings = int(parameters.number("min_readings", 12, low=3, high=56))
        self.min_days = int(parameters.number("min_days", 3, low=1, high=28))
        self.kinds = frozenset({"blood-pressure"})

    def initialize(self) -> Week:
        return Week()

    def add(self, state: Week, o: Observation, moment: Moment) -> tuple[Week, Measure | None]:
        systolic, diastolic = o.x[0], o.x[1]
        if o.artefact or systolic is None or diastolic is None:
            return state, None
        day = moment.day
        if not state.cuffs or day - state.last_day > CAMPAIGN_GAP_DAYS:
            state = Week(day, day, ())
        first = day - self.window_days + 1
        cuffs = [c for c in state.cuffs if c.day >= first]
        cuffs.append(_Cuff(day, systolic, diastolic, ref(o, systolic)))
        after = Week(state.first_day, day, tuple(cuffs[-self.MAX_READINGS :]))
        counted = [c for c in after.cuffs if c.day > after.first_day]
        if len(counted) < self.min_readings or len({c.day for c in counted}) < self.min_days:
            return after, None
        n = len(counted)
        means = (sum(c.systolic for c in counted) / n, sum(c.diastolic for c in counted) / n)
        highest = max(counted, key=lambda c: c.systolic)
        return after, Measure(
            means,
            (highest.ref, ref(o, systolic)) if highest.ref != ref(o, systolic) else (ref(o, systolic),),
            extra={"systolic": means[0], "diastolic": means[1], "n": float(n)},
        )
