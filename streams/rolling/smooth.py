"""Smoothed statistics of any one kind, for protocols to use: EWMA chart and local trend (reference section 6)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streams.history import Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, tell_two
from streams.rolling.baseline import Baseline, forget, learn
from streams.rolling.personal import EMPTY, usual_of
from streams.rolling.pieces import Ewma, LocalTrend, Trend


def first_number(o: Observation) -> float | None:
    """The reading's first number; None for an artefact, and for a heart rate that is not at rest."""
    if o.artefact or not o.x or (o.kind == "heart-rate" and o.x[1]):
        return None
    return o.x[0]


class Chart(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The personal baseline, and the moving average in its standard deviations, with the number of its values."""

    baseline: Baseline = EMPTY
    average: tuple[float, int] | None = None


class EwmaChart:
    """EWMA of one kind's deviation from the patient's own usual value, held against its control limit: `above` and
    `below` are the average's distance in units of σ√(λ/(2 − λ)·(1 − (1 − λ)^2n)), so that a level's limit is the
    chart's L (2.7 to 3). For small shifts that last; μ and σ come from the personal baseline, which does not learn
    while an alert of the kind is open.
    """

    channels: ClassVar[tuple[str, ...]] = ("above", "below")
    facts = NO_FACTS
    State: ClassVar[type] = Chart

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({parameters.text("kind")})
        self.ewma = Ewma(parameters.number("smoothing", 0.2, low=0.01, high=1.0))
        self.usual = usual_of(parameters)

    def initialize(self) -> Chart:
        return _NO_CHART

    def add(self, state: Chart, o: Observation, moment: Moment) -> tuple[Chart, Measure | None]:
        value = first_number(o)
        if value is None:
            return state, None
        baseline, average, measure = state.baseline, state.average, None
        if baseline.centre is not None:
            before = average if average is not None else self.ewma.initialize(0.0)
            average = self.ewma.add(before, baseline.z(value))
            distance = self.ewma.result(average) / self.ewma.limit_share(average)
            told = (tell_two, moment.ref(o), "measured", value, "usual", baseline.centre)
            measure = Measure((distance, -distance), told)
        if moment.clinical_open:
            return Chart(forget(baseline), average), measure
        return Chart(learn(baseline, self.usual, o.at_ms, moment.day, value), average), measure


_NO_CHART = Chart()


class Slope:
    """Local trend of one kind: what is believed of its level and of its slope, from values at irregular instants.

    Channels: `level`, in the unit of the kind; `rise` and `fall`, the slope a week upwards and downwards; `surprise`,
    how many standard deviations the value is from what was predicted of it, either way. `noise_sd` is a measurement's
    own scatter, `level_sd` and `slope_sd` what level and slope (a week) wander by in a week. Says nothing before
    `min_values` values, and begins anew after `max_gap_days`.
    """

    channels: ClassVar[tuple[str, ...]] = ("level", "rise", "fall", "surprise")
    facts = NO_FACTS
    State: ClassVar[object] = tuple[int, Trend] | None

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({parameters.text("kind")})
        noise = parameters.number("noise_sd", low=0.001, high=100.0)
        level = parameters.number("level_sd", low=0.0, high=100.0)
        slope = parameters.number("slope_sd", 0.0, low=0.0, high=100.0)
        self.trend = LocalTrend(noise**2, level**2 / DAYS, (slope / DAYS) ** 2 / DAYS)
        self.min_values = int(parameters.number("min_values", 7, low=2, high=1000))
        self.gap_ms = int(parameters.number("max_gap_days", 14, low=0.01, high=60) * 86_400_000)

    def initialize(self) -> tuple[int, Trend] | None:
        return None

    def add(
        self, state: tuple[int, Trend] | None, o: Observation, moment: Moment
    ) -> tuple[tuple[int, Trend] | None, Measure | None]:
        value = first_number(o)
        if value is None:
            return state, None
        if state is None or o.at_ms - state[1].at_ms > self.gap_ms:
            return (1, self.trend.initialize(value, o.at_ms)), None
        count, trend = min(state[0] + 1, self.min_values), self.trend.add(state[1], value, o.at_ms)
        if count < self.min_values:
            return (count, trend), None
        level, slope, surprise = self.trend.result(trend)
        week = slope * DAYS
        told = (tell_two, moment.ref(o), "measured", value, "level", level)
        return (count, trend), Measure((level, week, -week, abs(surprise)), told)


DAYS = 7.0  # of the week that the parameters and the slope are told in
