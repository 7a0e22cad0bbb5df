"""Small rolling pieces, each `initialize`, `add`, `result`, that statistics are built from (reference section 6).

A piece is a value with parameters; its state is an immutable tuple or number, so that a checkpoint costs a
reference. They know nothing of patients, kinds or days.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import msgspec


@dataclass(frozen=True, slots=True)
class Ewma:
    """Exponentially weighted moving average: z = λx + (1 − λ)z, begun at `start`.

    `result` is the average; `limit_share` is √(λ / (2 − λ) · (1 − (1 − λ)^2n)), by which a control limit of L
    standard deviations is multiplied after n values (EWMA chart; general knowledge).
    """

    weight: float
    """λ: 0 < λ ≤ 1; 0.2 is usual."""

    def initialize(self, start: float) -> tuple[float, int]:
        return (start, 0)

    def add(self, state: tuple[float, int], x: float) -> tuple[float, int]:
        return (state[0] + self.weight * (x - state[0]), state[1] + 1)

    def result(self, state: tuple[float, int]) -> float:
        return state[0]

    def limit_share(self, state: tuple[float, int]) -> float:
        settled = 1.0 - (1.0 - self.weight) ** (2 * state[1])
        return math.sqrt(self.weight / (2.0 - self.weight) * settled)


class Trend(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a local trend believes after its last value: level, slope (per day), their covariance, and the instant;
    and how surprising that value was, in standard deviations."""

    level: float
    slope: float
    var_level: float
    cov: float
    var_slope: float
    at_ms: int
    surprise: float = 0.0


class TrendResult(NamedTuple):
    """`surprise`: the innovation of the last value in standard deviations of its prediction."""

    level: float
    slope_per_day: float
    surprise: float


MS_PER_DAY = 86_400_000.0


@dataclass(frozen=True, slots=True)
class LocalTrend:
    """Kalman filter of a local level with a local slope, for values at irregular instants.

    x = level + noise; the level moves by slope · days, and both wander: over a time of t days the level by a
    variance of `level_var`·t and the slope by `slope_var`·t. `noise_var` is that of one measurement. With
    `slope_var` 0 it is the local level alone (Durbin and Koopman's models; general knowledge).
    """

    noise_var: float
    level_var: float
    slope_var: float = 0.0

    def initialize(self, x: float, at_ms: int) -> Trend:
        return Trend(x, 0.0, self.noise_var, 0.0, self.slope_var, at_ms)

    def add(self, state: Trend, x: float, at_ms: int) -> Trend:
        """The belief after a value that is not older than the last one."""
        days = max(0, at_ms - state.at_ms) / MS_PER_DAY
        level = state.level + state.slope * days
        cov = state.cov + state.var_slope * days
        var_level = state.var_level + (state.cov + cov) * days + self.level_var * days
        var_slope = state.var_slope + self.slope_var * days
        innovation, spread = x - level, var_level + self.noise_var
        gain_level, gain_slope = var_level / spread, cov / spread
        return Trend(
            level + gain_level * innovation,
            state.slope + gain_slope * innovation,
            var_level * (1.0 - gain_level),
            cov * (1.0 - gain_level),
            var_slope - gain_slope * cov,
            at_ms,
            innovation / math.sqrt(spread),
        )

    def result(self, state: Trend) -> TrendResult:
        return TrendResult(state.level, state.slope, state.surprise)


def push(bits: int, hit: bool, of: int) -> int:
    """The last `of` answers after one more."""
    return (bits << 1 | hit) & (1 << of) - 1


@dataclass(frozen=True, slots=True)
class Persistence:
    """Whether at least `count` of the last `of` answers were yes. The state is a bit for each, newest lowest."""

    count: int
    of: int

    def initialize(self) -> int:
        return 0

    def add(self, state: int, hit: bool) -> int:
        return push(state, hit, self.of)

    def result(self, state: int) -> bool:
        return state.bit_count() >= self.count


class Places(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Each value's instant and where it lies, ascending: one byte a value, so that counting 288 of them is a
    microsecond and not ten."""

    times: tuple[int, ...] = ()
    places: bytes = b""


BELOW, WITHIN, ABOVE = b"\x00", b"\x01", b"\x02"
NOWHERE = Places()


@dataclass(frozen=True, slots=True)
class Share:
    """Share of the values of the last `window_ms` that lie below, within and above a band.

    The state holds `most` values at most: of more than that the oldest go, so that a fault of a sensor cannot make a
    state grow.
    """

    low: float
    high: float
    """A value equal to `low` or `high` lies within (consensus on time in range: 70 to 180 mg/dL inclusive)."""
    window_ms: int
    most: int

    def initialize(self) -> Places:
        return NOWHERE

    def add(self, state: Places, x: float, at_ms: int) -> Places:
        place = BELOW if x < self.low else ABOVE if x > self.high else WITHIN
        first, since, times = 0, at_ms - self.window_ms, state.times
        while first < len(times) and times[first] <= since:
            first += 1
        first = max(first, len(times) + 1 - self.most)
        return Places(times[first:] + (at_ms,), state.places[first:] + place)  # noqa: RUF005 - half the time

    def result(self, state: Places) -> tuple[float, float, float]:
        """(below, within, above) in percent; all 0 for an empty window."""
        n = len(state.times)
        if not n:
            return 0.0, 0.0, 0.0
        below, above = state.places.count(BELOW), state.places.count(ABOVE)
        return 100.0 * below / n, 100.0 * (n - below - above) / n, 100.0 * above / n
