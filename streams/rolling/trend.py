"""Rate of change and short prediction of continuous glucose (reference section 3)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streams.history import Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Ref, Told


class Recent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The sensor's values of the last minutes, in order."""

    refs: tuple[Ref, ...] = ()


class GlucoseTrend:
    """Projected glucose in `ahead_minutes`, in mg/dL, by a straight line through the last `window_minutes`.

    From `only_below` on the value itself stands: a fall from higher up is mostly caught on its way. Nothing when
    the sensor's data has a gap in the window (no arrow, as sensors' manuals have it), when there
    are fewer than `min_values`, or when glucose does not fall. Fingersticks say nothing here.
    """

    channels: ClassVar[tuple[str, ...]] = ("projected",)
    facts = NO_FACTS
    State: ClassVar[type] = Recent
    MAX_VALUES: ClassVar[int] = 30  # one a minute for half an hour

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"glucose"})
        self.window_ms = int(parameters.number("window_minutes", 20, low=10, high=60) * 60_000)
        self.ahead_min = parameters.number("ahead_minutes", 20, low=5, high=60)
        self.only_below = parameters.number("only_below", 90, low=60, high=500)
        self.min_values = int(parameters.number("min_values", 4, low=3, high=30))
        self.max_gap_ms = int(parameters.number("max_gap_minutes", 8, low=1, high=30) * 60_000)

    def initialize(self) -> Recent:
        return Recent()

    def add(self, state: Recent, o: Observation, moment: Moment) -> tuple[Recent, Measure | None]:
        value = o.x[0]
        if o.artefact or value is None or not o.x[1]:
            return state, None
        kept = state.refs
        while kept and kept[0].at_ms < o.at_ms - self.window_ms:
            kept = kept[1:]
        if kept and o.at_ms - kept[-1].at_ms > self.max_gap_ms:
            kept = ()
        kept = (*kept, moment.ref(o))[-self.MAX_VALUES :]
        after = Recent(kept)
        if len(kept) < self.min_values:
            return after, None
        slope = _slope_per_min(kept)
        projected = value + min(0.0, slope) * self.ahead_min if value < self.only_below else value
        return after, Measure((projected,), (_tell_trend, kept, slope, self.ahead_min))


def _tell_trend(kept: tuple[Ref, ...], slope: float, ahead_min: float) -> Told:
    return (kept[0], kept[-1]), {"now": kept[-1].value or 0.0, "rate": slope, "ahead": ahead_min}


def _slope_per_min(refs: tuple[Ref, ...]) -> float:
    """Least-squares slope in units a minute; 0 when all values are of one instant."""
    n, end_ms = len(refs), refs[-1].at_ms
    sum_t = sum_v = sum_tt = sum_tv = 0.0
    for r in refs:
        t, v = (r.at_ms - end_ms) / 60_000, r.value or 0.0
        sum_t += t
        sum_v += v
        sum_tt += t * t
        sum_tv += t * v
    spread = n * sum_tt - sum_t * sum_t
    return (n * sum_tv - sum_t * sum_v) / spread if spread else 0.0
