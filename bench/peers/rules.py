"""The three rules in plain Python, written for speed, for frameworks that hand the programmer a state and a reading.

They say what three_rules.toml says, and are as quick as a page of readable Python allows (rules_taught.py has them as
the libraries' documentation writes such rules): a reading costs what is new, windows are flat arrays that lose their
oldest, and the median is taken once a day. Each rule is an object with `add(instant in ms, value)`, which returns the
measure, None while there is too little; `pack()` is its whole state as bytes and `unpack(bytes)` the rule again.
`judge` raises an alert when the measure reaches the limit, and again only after it has been down to `clear`.

The worker's rules do more (late and repeated readings, evidence, sentences, the alert's end); no contender is asked
for that.
"""

from __future__ import annotations

import pickle
from array import array
from bisect import bisect_left, bisect_right

DAY_MS = 86_400_000
MAD_TO_SD = 1.4826

VALUE = {"body-weight": "weight", "heart-rate": "heart_rate", "glucose": "glucose"}
"""Which of a reading's values a rule is about."""


class WeightGain:
    """kg above the lowest weight of this day and the three before."""

    limit, clear = 1.998, 1.502  # 2 and 1.5, with 2 g to spare for scales that speak pounds
    days_back = 3

    __slots__ = ("days", "open", "weights")

    def __init__(self) -> None:
        self.open = False
        self.days = array("i")
        self.weights = array("d")

    def add(self, at_ms: int, kg: float) -> float | None:
        day = at_ms // DAY_MS
        old = bisect_left(self.days, day - self.days_back)
        del self.days[:old], self.weights[:old]
        gain = kg - min(self.weights) if self.weights else None
        self.days.append(day)
        self.weights.append(kg)
        return gain

    def pack(self) -> bytes:
        return pickle.dumps((self.open, self.days.tobytes(), self.weights.tobytes()))

    @classmethod
    def unpack(cls, kept: bytes) -> WeightGain:
        rule = cls()
        rule.open, days, weights = pickle.loads(kept)  # noqa: S301 - from our own store
        rule.days.frombytes(days)
        rule.weights.frombytes(weights)
        return rule


class RobustZ:
    """Distance from the median of the daily means, in units of their scatter (median absolute deviation).

    The last 24 hours are not learnt, nor what comes while an alert stands. Up to 28 days count; less than 14 are mixed
    with the population's scatter, and less than 7 say nothing. From 14 days on the centre moves by 3 a week at most.
    """

    limit, clear = 3.0, 2.0
    days_back, days_full, days_least = 28, 14, 7
    floor, prior_sd, prior_days, drift_a_day = 3.0, 6.0, 10, 3.0 / 7.0

    __slots__ = ("centre", "centre_day", "days", "open", "scale", "waiting")

    def __init__(self) -> None:
        self.open = False
        self.days: list[tuple[int, float, int]] = []  # (day, mean, how many)
        self.waiting: list[tuple[int, float]] = []  # (instant, value) of the last 24 hours
        self.centre: float | None = None
        self.scale = 0.0
        self.centre_day = 0

    def add(self, at_ms: int, rate: float) -> float | None:
        z = None if self.centre is None else (rate - self.centre) / self.scale
        if self.open:
            self.waiting.clear()
            return z
        due = bisect_right(self.waiting, (at_ms - DAY_MS, float("inf")))
        new_day = False
        for when, value in self.waiting[:due]:
            new_day |= self._learn(when // DAY_MS, value)
        del self.waiting[:due]
        self.waiting.append((at_ms, rate))
        if new_day:
            self._judge_days(at_ms // DAY_MS)
        return z

    def _learn(self, day: int, value: float) -> bool:
        """Take a value into its day's mean. Whether it begins a day."""
        if self.days and self.days[-1][0] == day:
            _, mean, n = self.days[-1]
            self.days[-1] = (day, mean + (value - mean) / (n + 1), n + 1)
            return False
        self.days.append((day, value, 1))
        return True

    def _judge_days(self, today: int) -> None:
        self.days = [of for of in self.days if of[0] > today - self.days_back]
        n = len(self.days)
        if n < self.days_least:
            self.centre = None
            return
        means = sorted(mean for _, mean, _ in self.days)
        centre = _middle(means)
        scale = max(MAD_TO_SD * _middle(sorted(abs(mean - centre) for mean in means)), self.floor)
        if n < self.days_full:
            share = n / (n + self.prior_days)
            scale = (share * scale**2 + (1.0 - share) * self.prior_sd**2) ** 0.5
        elif self.centre is not None:
            reach = self.drift_a_day * (today - self.centre_day)
            centre = min(max(centre, self.centre - reach), self.centre + reach)
        self.centre, self.scale, self.centre_day = centre, scale, today

    def pack(self) -> bytes:
        return pickle.dumps((self.open, self.days, self.waiting, self.centre, self.scale, self.centre_day))

    @classmethod
    def unpack(cls, kept: bytes) -> RobustZ:
        rule = cls()
        rule.open, rule.days, rule.waiting, rule.centre, rule.scale, rule.centre_day = pickle.loads(kept)  # noqa: S301
        return rule


class ShareLow:
    """Percent of the values of the last 24 hours below 54 mg/dL; None while they are less than 70 % of a day's.

    Only instants are kept: of all values, and of the low ones.
    """

    limit, clear = 1.0, 0.5
    low, values_least = 54, 202

    __slots__ = ("lows", "open", "times")

    def __init__(self) -> None:
        self.open = False
        self.times = array("q")
        self.lows = array("q")

    def add(self, at_ms: int, mg_dl: float) -> float | None:
        for instants in (self.times, self.lows):
            del instants[: bisect_right(instants, at_ms - DAY_MS)]
        self.times.append(at_ms)
        if mg_dl < self.low:
            self.lows.append(at_ms)
        if len(self.times) < self.values_least:
            return None
        return 100.0 * len(self.lows) / len(self.times)

    def pack(self) -> bytes:
        return pickle.dumps((self.open, self.times.tobytes(), self.lows.tobytes()))

    @classmethod
    def unpack(cls, kept: bytes) -> ShareLow:
        rule = cls()
        rule.open, times, lows = pickle.loads(kept)  # noqa: S301 - from our own store
        rule.times.frombytes(times)
        rule.lows.frombytes(lows)
        return rule


Rule = WeightGain | RobustZ | ShareLow
RULES: dict[str, type[WeightGain] | type[RobustZ] | type[ShareLow]] = {
    "body-weight": WeightGain,
    "heart-rate": RobustZ,
    "glucose": ShareLow,
}


def judge(rule: Rule, at_ms: int, value: float) -> float | None:
    """Take a reading in. The measure, when it raises an alert."""
    measure = rule.add(at_ms, value)
    if measure is None:
        return None
    if rule.open:
        rule.open = measure > rule.clear
        return None
    rule.open = measure >= rule.limit
    return measure if rule.open else None


def _middle(ordered: list[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
