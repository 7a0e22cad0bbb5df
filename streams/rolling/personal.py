"""Statistics against the patient's own usual value (reference sections 1.3, 2, 4, 5, 6)."""

from __future__ import annotations

from operator import itemgetter
from typing import ClassVar

import msgspec

from streams.history import Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Ref, Told, tell_two
from streams.rolling.baseline import Baseline, Usual, forget, learn

NOON_MIN = 12 * 60
EMPTY = Baseline()


def usual_of(parameters: Parameters) -> Usual:
    return Usual(
        floor=parameters.number("floor", low=0.001, high=100.0),
        prior_sd=parameters.number("prior_sd", low=0.001, high=100.0),
        drift_per_week=parameters.number("drift_per_week", low=0.0, high=100.0),
    )


class PersonalZ:
    """Robust z of one kind's first number against the patient's last 14 to 28 days.

    Channels: `z`; `drop`, centre minus value; and `rise`, value minus centre, in the unit of the measurement.
    Only at rest for heart rate. The baseline does not learn while an alert of the lane is open.
    """

    channels: ClassVar[tuple[str, ...]] = ("z", "drop", "rise")
    facts = NO_FACTS
    State: ClassVar[type] = Baseline

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({parameters.text("kind")})
        self.usual = usual_of(parameters)

    def initialize(self) -> Baseline:
        return EMPTY

    def add(self, state: Baseline, o: Observation, moment: Moment) -> tuple[Baseline, Measure | None]:
        value = o.x[0] if o.x else None
        if o.artefact or value is None or (o.kind == "heart-rate" and o.x[1]):
            return state, None
        measure = None
        if state.centre is not None:
            centre = state.centre
            change = value - centre
            told = (tell_two, moment.ref(o), "measured", value, "usual", centre)
            measure = Measure((change / state.scale, -change, change), told)
        if moment.clinical_open:
            return forget(state), measure
        return learn(state, self.usual, o.at_ms, moment.day, value), measure


class Sessions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Baselines of morning and evening, and the session under way."""

    morning: Baseline = EMPTY
    evening: Baseline = EMPTY
    session: int = 0
    """Twice the local day, plus one for the evening."""
    readings: tuple[Ref, ...] = ()


class PressureSession:
    """Robust z of a session's mean systolic pressure, mornings against mornings, evenings against evenings.

    A session is the readings of one half of a local day; it is judged at its second reading, as the protocol
    of two readings morning and evening has it. `z` is the distance in either direction.
    """

    channels: ClassVar[tuple[str, ...]] = ("z",)
    facts = NO_FACTS
    State: ClassVar[type] = Sessions

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"blood-pressure"})
        self.usual = usual_of(parameters)

    def initialize(self) -> Sessions:
        return Sessions()

    def add(self, state: Sessions, o: Observation, moment: Moment) -> tuple[Sessions, Measure | None]:
        systolic = o.x[0]
        if o.artefact or systolic is None:
            return state, None
        evening = moment.minute >= NOON_MIN
        session = 2 * moment.day + evening
        if session != state.session:
            readings: tuple[Ref, ...] = (moment.ref(o),)
        elif len(state.readings) >= 3:  # the second decided; a third is kept so that it does not decide again
            return state, None
        else:
            readings = (*state.readings, moment.ref(o))
        baseline = state.evening if evening else state.morning
        measure = None
        if len(readings) == 2:
            mean = sum(r.value or 0.0 for r in readings) / 2.0
            if baseline.centre is not None:
                measure = Measure((abs(baseline.z(mean)),), (_tell_session, readings, mean, baseline.centre))
            if moment.clinical_open:
                baseline = forget(baseline)
            else:
                baseline = learn(baseline, self.usual, o.at_ms, moment.day, mean)
        morning, late = (state.morning, baseline) if evening else (baseline, state.evening)
        return Sessions(morning, late, session, readings), measure


def _tell_session(readings: tuple[Ref, ...], mean: float, usual: float) -> Told:
    return readings, {"measured": mean, "usual": usual}


LONG_BEFORE = -(1 << 30)
"""Before every day."""


class Sum(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cumulative sum, the day it was last added to, and its baseline; since which day the baseline has been frozen
    (LONG_BEFORE: it is not), and on how many days in a row nothing was added."""

    baseline: Baseline = EMPTY
    total: float = 0.0
    day: int = LONG_BEFORE
    frozen_since: int = LONG_BEFORE
    falling: int = 0


class Cusum:
    """Upper cumulative sum of a day's first weight: S = max(0, S + z − k), z = (w − μ0)/σ (reference 1.3).

    μ0 and σ come from the personal baseline, which is frozen while S is above `freeze_above` (half of the
    alert's limit), so that a slow rise is not learnt.

    Three bounds keep the sum from what a bare one does after a signal, which is to stand for weeks while the weight is
    usual again: S is at most `cap`; a day adds at most `most` (robust CUSUM, Lucas and Crosier 1982: one person's
    foot on another's scale is no trend); and the chart is restarted, as charts are once a cause has been seen to
    (Montgomery): S is 0 after `usual_days` days in a row that add nothing. A rise that has lasted `restart_days` is no
    longer news: the chart begins anew and learns its baseline from then on (self-starting, Hawkins 1987).
    """

    channels: ClassVar[tuple[str, ...]] = ("sum",)
    facts = NO_FACTS
    State: ClassVar[type] = Sum

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"body-weight"})
        self.k = parameters.number("k", 0.5, low=0.0, high=5.0)
        self.freeze_above = parameters.number("freeze_above", 2.5, low=0.1, high=50.0)
        self.cap = parameters.number("cap", 10.0, low=1.0, high=1000.0)
        self.most = parameters.number("most", 3.0, low=0.5, high=100.0)
        self.usual_days = int(parameters.number("usual_days", 3, low=1, high=28))
        self.restart_days = int(parameters.number("restart_days", 28, low=7, high=365))
        self.usual = usual_of(parameters)

    def initialize(self) -> Sum:
        return Sum()

    def add(self, state: Sum, o: Observation, moment: Moment) -> tuple[Sum, Measure | None]:
        weight, day = o.x[0], moment.day
        if o.artefact or weight is None or day == state.day:
            return state, None
        baseline, total, since, falling = state.baseline, state.total, state.frozen_since, state.falling
        measure = None
        if baseline.centre is not None:
            step = min(self.most, baseline.z(weight)) - self.k
            falling = falling + 1 if step <= 0.0 else 0
            anew = since != LONG_BEFORE and day - since >= self.restart_days
            total = 0.0 if anew or falling >= self.usual_days else min(self.cap, max(0.0, total + step))
            measure = Measure((total,), (tell_two, moment.ref(o), "weight", weight, "usual", baseline.centre))
            if anew:
                baseline = EMPTY
        if total > self.freeze_above:
            return Sum(forget(baseline), total, day, day if since == LONG_BEFORE else since, falling), measure
        falling = min(falling, self.usual_days)  # so that a well patient's state comes to rest
        return Sum(
            learn(baseline, self.usual, o.at_ms, day, weight), total, day, LONG_BEFORE, falling
        ), measure


class Means(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Daily means, ascending by day: (local day, mean, number of values)."""

    days: tuple[tuple[int, float, int], ...] = ()


_mean_of = itemgetter(1)


class Macd:
    """Moving-average convergence: mean of the last `short_days` minus mean of the last `long_days` daily
    weights, in kg (reference 1.3). Needs `min_days` days in the long window and two in the short one."""

    channels: ClassVar[tuple[str, ...]] = ("difference",)
    facts = NO_FACTS
    State: ClassVar[type] = Means

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"body-weight"})
        self.short_days = int(parameters.number("short_days", 4, low=2, high=14))
        self.long_days = int(parameters.number("long_days", 28, low=7, high=56))
        self.min_days = int(parameters.number("min_days", 10, low=3, high=56))

    def initialize(self) -> Means:
        return Means()

    def add(self, state: Means, o: Observation, moment: Moment) -> tuple[Means, Measure | None]:
        weight = o.x[0]
        if o.artefact or weight is None:
            return state, None
        long_from, short_from = moment.day - self.long_days, moment.day - self.short_days
        days = [d for d in state.days if d[0] > long_from]
        if days and days[-1][0] == moment.day:
            _, mean, n = days[-1]
            days[-1] = (moment.day, mean + (weight - mean) / (n + 1), n + 1)
        else:
            days.append((moment.day, weight, 1))
        recent = [d[1] for d in days if d[0] > short_from]
        measure = None
        if len(days) >= self.min_days and len(recent) >= 2:
            long = sum(map(_mean_of, days)) / len(days)
            difference = sum(recent) / len(recent) - long
            measure = Measure((difference,), (tell_two, moment.ref(o), "weight", weight, "usual", long))
        return Means(tuple(days)), measure
