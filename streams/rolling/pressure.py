"""Rolling statistics of blood pressure, in mm[Hg] (reference section 2)."""

from __future__ import annotations

from operator import attrgetter
from typing import ClassVar

import msgspec

from streams.history import Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Ref, Told, tell_two
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
            return (state if o.artefact else answered(o, moment)), None
        systolic, diastolic = o.x[0], o.x[1]
        if o.artefact or systolic is None or diastolic is None:
            return state, None
        told = (tell_two, moment.ref(o), "systolic", systolic, "diastolic", diastolic)
        return state, Measure((systolic, diastolic), told, state.facts(o.at_ms))


class _Cuff(msgspec.Struct, frozen=True, array_like=True, gc=False):
    day: int
    systolic: float
    diastolic: float
    ref: Ref


_day_of, _systolic_of, _diastolic_of = attrgetter("day"), attrgetter("systolic"), attrgetter("diastolic")


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
        now = moment.ref(o)
        first, series = day - self.window_days + 1, state.first_day
        cuffs = list(state.cuffs)
        if day > state.last_day:  # else the window is where it was, or a day further back
            cuffs = [c for c in cuffs if c.day >= first]
        cuffs.append(_Cuff(day, systolic, diastolic, now))
        if len(cuffs) > self.MAX_READINGS:
            cuffs = cuffs[-self.MAX_READINGS :]
        after = Week(series, day, tuple(cuffs))
        counted = cuffs if series < first else [c for c in cuffs if c.day > series]
        n = len(counted)
        if n < self.min_readings or not _over_days(counted, self.min_days):
            return after, None
        means = (sum(map(_systolic_of, counted)) / n, sum(map(_diastolic_of, counted)) / n)
        return after, Measure(means, (_tell_week, now, counted, means))


def _over_days(cuffs: list[_Cuff], least: int) -> bool:
    """Whether the readings are of so many days at least; most weeks the first, middle and last of them tell."""
    ends = {cuffs[0].day, cuffs[len(cuffs) // 2].day, cuffs[-1].day}
    return len(ends) >= least or len(set(map(_day_of, cuffs))) >= least


def _tell_week(now: Ref, counted: list[_Cuff], means: tuple[float, float]) -> Told:
    highest = max(counted, key=_systolic_of).ref
    extra: dict[str, float | str] = {
        "systolic": means[0],
        "diastolic": means[1],
        "n": float(len(counted)),
    }
    return ((highest, now) if highest != now else (now,)), extra
