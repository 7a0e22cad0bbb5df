"""Time in range over a rolling window of continuous glucose (reference section 3)."""

from __future__ import annotations

from typing import ClassVar

from streams.history import Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Told, ref, tell_two
from streams.rolling.pieces import Places, Share

HOUR_MS = 3_600_000
MINUTE_MS = 60_000


class GlucoseShare:
    """Share, in percent, of a sensor's values of the last `window_hours` below, within and above [low, high] mg/dL.

    The window ends with the value at hand and begins after the instant `window_hours` before it. Nothing while the
    values in it, one every `every_minutes`, fill less than `min_filled` of it (70 % as the consensus on time
    in range asks). Fingersticks are taken when something is felt, and say nothing about shares of time.
    """

    channels: ClassVar[tuple[str, ...]] = ("below", "within", "above")
    facts = NO_FACTS
    State: ClassVar[type] = Places

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"glucose"})
        low = parameters.number("low", 70, low=20, high=400)
        high = parameters.number("high", 180, low=20, high=600)
        window_ms = int(parameters.number("window_hours", 24, low=1, high=48) * HOUR_MS)
        every_ms = parameters.number("every_minutes", 5, low=1, high=15) * MINUTE_MS
        self.share = Share(
            low, high, window_ms, most=int(window_ms // MINUTE_MS)
        )  # one a minute is the densest
        self.least = parameters.number("min_filled", 0.7, low=0.1, high=1.0) * window_ms / every_ms

    def initialize(self) -> Places:
        return self.share.initialize()

    def add(self, state: Places, o: Observation, moment: Moment) -> tuple[Places, Measure | None]:
        value = o.x[0]
        if o.artefact or value is None or not o.x[1]:
            return state, None
        after = self.share.add(state, value, o.at_ms)
        if len(after.times) < self.least:
            return after, None
        shares = self.share.result(after)
        return after, Measure(shares, (_tell, o, value, shares[1]))


def _tell(o: Observation, value: float, within: float) -> Told:
    return tell_two(ref(o, value), "measured", value, "within", within)
