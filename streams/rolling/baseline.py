"""A patient's own usual value: learnt slowly, never from an alert, never beyond a cap (reference section 6)."""

from __future__ import annotations

import math

import msgspec

from streams.history import DAY_MS

WINDOW_DAYS = 28
"""Days that the baseline looks back."""

PROVISIONAL_DAYS = 7
"""Fewer accepted days than this: absolute rules only."""

FULL_DAYS = 14
"""From this many days on the patient's own scatter stands by itself; before, it is mixed with the
population's, which weighs PRIOR_DAYS days."""

PRIOR_DAYS = 10

QUARANTINE_MS = DAY_MS
"""The last 24 hours are not learnt: what may be the beginning of a decompensation is no baseline."""

MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation (1 / 0.6745)."""


class Usual(msgspec.Struct, frozen=True):
    """How a baseline learns: the least scatter it believes in (twice the device's resolution), the population's
    scatter, and how far the centre may move in a week, all in the unit of the measurement."""

    floor: float
    prior_sd: float
    drift_per_week: float


class Baseline(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Daily means of the window, what waits for its 24 hours, and the centre and scale that follow."""

    days: tuple[tuple[int, float, int], ...] = ()
    """(local day, mean, number of values), ascending."""
    waiting: tuple[tuple[int, int, float], ...] = ()
    """(instant in ms, local day, value) of the last 24 hours."""
    centre: float | None = None
    scale: float = 0.0
    centre_day: int = 0

    @property
    def ready(self) -> bool:
        return self.centre is not None

    def z(self, value: float) -> float:
        """Robust z: distance from the centre in units of the scale. Only when `ready`."""
        return (value - (self.centre or 0.0)) / self.scale


MAX_WAITING = 300  # a value every five minutes for 24 hours; more a day are one value repeated


def forget(baseline: Baseline) -> Baseline:
    """An alert is open: nothing of the last 24 hours will be learnt."""
    if not baseline.waiting:
        return baseline
    return Baseline(baseline.days, (), baseline.centre, baseline.scale, baseline.centre_day)


def learn(baseline: Baseline, usual: Usual, at_ms: int, day: int, value: float) -> Baseline:
    """Take a value into waiting, and what has waited 24 hours into the days."""
    old, until_ms = baseline.waiting, at_ms - QUARANTINE_MS
    if not old or old[0][0] > until_ms:  # nothing is due
        if len(old) >= MAX_WAITING:
            old = old[1 - MAX_WAITING :]
        waiting = (*old, (at_ms, day, value))
        return Baseline(baseline.days, waiting, baseline.centre, baseline.scale, baseline.centre_day)
    count = 1  # those due come first
    while count < len(old) and old[count][0] <= until_ms:
        count += 1
    waiting = (*old[count:], (at_ms, day, value))
    first = day - WINDOW_DAYS
    days = [d for d in baseline.days if d[0] > first]
    for _, on, number in old[:count]:
        if days and days[-1][0] == on:
            _, mean, n = days[-1]
            days[-1] = (on, mean + (number - mean) / (n + 1), n + 1)
        elif on > first:
            days.append((on, number, 1))
    centre, scale = _centre(days, usual)
    if centre is None:
        return Baseline(tuple(days), waiting)
    if baseline.centre is not None and len(days) >= FULL_DAYS:
        reach = usual.drift_per_week / 7.0 * max(0, day - baseline.centre_day)
        centre = min(max(centre, baseline.centre - reach), baseline.centre + reach)
    return Baseline(tuple(days), waiting, centre, scale, day)


def _centre(days: list[tuple[int, float, int]], usual: Usual) -> tuple[float | None, float]:
    """(median, scale) of the daily means; (None, 0) while there are too few."""
    n = len(days)
    if n < PROVISIONAL_DAYS:
        return None, 0.0
    values = [mean for _, mean, _ in days]
    values.sort()
    centre = _middle(values, n)
    away = [v - centre if v > centre else centre - v for v in values]
    away.sort()  # quick: they fall to the middle and rise from there
    scale = max(MAD_TO_SD * _middle(away, n), usual.floor)
    if n < FULL_DAYS:
        scale = math.sqrt((n * scale**2 + PRIOR_DAYS * usual.prior_sd**2) / (n + PRIOR_DAYS))
    return centre, scale


def _middle(ordered: list[float], n: int) -> float:
    """The median of n ascending numbers; statistics.median costs five times as much, and this runs daily."""
    half = n >> 1
    return ordered[half] if n & 1 else (ordered[half - 1] + ordered[half]) / 2
