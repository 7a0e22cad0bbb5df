"""RR intervals: which can be, which are normal, and the pauses and runs that alarms are defined on.

Odd intervals are masked, never removed from time. The 20 % filter of heart rate variability is applied
for variability alone: before the search for atrial fibrillation it would delete what is sought
(reference section 4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.signals.filters import Floats, running_median, sliding

Bools = NDArray[np.bool_]

# A shorter interval is a T wave or noise counted as a beat: 240 per minute.
SHORTEST_MS = 250.0
# Intervals of a sinus rhythm lie between 30 and 160 per minute (PhysioNet toolbox).
NORMAL_MS = (375.0, 2000.0)
# A normal interval differs by at most this share from its neighbourhood's median (Machado 2000).
NORMAL_CHANGE = 0.20
NEIGHBOURS = 5

# A missed beat doubles an interval; beyond this multiple of the intervals around, it is a pause or a gap.
OUTLIER = (0.4, 2.2)
OUTLIER_NEIGHBOURS = 11

PAUSE_MS = 3000.0
ASYSTOLE_MS = 4000.0
# Extreme tachycardia: above 140 per minute over 17 beats; extreme bradycardia: below 40 over 5 (CinC 2015).
TACHYCARDIA_PER_MIN, TACHYCARDIA_BEATS = 140.0, 17
BRADYCARDIA_PER_MIN, BRADYCARDIA_BEATS = 40.0, 5
MS_PER_MIN = 60_000.0


def plausible(rr_ms: Floats) -> Bools:
    """Whether each interval can lie between two beats and is no gap: 250 to 3000 ms. Shape kept."""
    return np.asarray((rr_ms >= SHORTEST_MS) & (rr_ms <= PAUSE_MS))


def normal(rr_ms: Floats) -> Bools:
    """Whether each interval may pass for one between two sinus beats. Shape kept.

    Without ectopic beats, the pauses after them, missed and extra beats: within 20 % of the median of
    five neighbours and between 375 and 2000 ms.
    """
    around = running_median(rr_ms, NEIGHBOURS)
    inside = (rr_ms >= NORMAL_MS[0]) & (rr_ms <= NORMAL_MS[1])
    return np.asarray(inside & (np.abs(rr_ms - around) <= NORMAL_CHANGE * around))


def limit_outliers(rr_ms: Floats) -> Floats:
    """The intervals, each held within 0.4 to 2.2 times the median of its eleven neighbours. Shape kept."""
    around = running_median(rr_ms, OUTLIER_NEIGHBOURS)
    return np.asarray(np.clip(rr_ms, OUTLIER[0] * around, OUTLIER[1] * around))


def longest_pause_ms(rr_ms: Floats) -> float | None:
    """The longest interval above 3 s, in ms; None without one. From ASYSTOLE_MS on it is an asystole."""
    longest = float(np.max(rr_ms, initial=0.0))
    return longest if longest > PAUSE_MS else None


def fastest_run_per_min(rr_ms: Floats) -> float | None:
    """Heart rate of the fastest 17 beats in a row when it is above 140 per minute, else None.

    Intervals too short to be one are added to the next, so that a T wave counted as a beat races nothing.
    """
    if float(np.min(rr_ms, initial=np.inf)) >= MS_PER_MIN / TACHYCARDIA_PER_MIN:
        return None  # as nearly always: no mean is below all of its values
    rate = _run_rate(_merge_short(rr_ms), TACHYCARDIA_BEATS - 1, fastest=True)
    return rate if rate is not None and rate > TACHYCARDIA_PER_MIN else None


def slowest_run_per_min(rr_ms: Floats) -> float | None:
    """Heart rate of the slowest 5 beats in a row when it is below 40 per minute, else None.

    A single pause does not make a bradycardia: the middle of the intervals must be as slow as their mean.
    """
    rr_ms = _merge_short(rr_ms)
    if float(np.max(rr_ms, initial=0.0)) <= MS_PER_MIN / BRADYCARDIA_PER_MIN:
        return None
    rate = _run_rate(rr_ms, BRADYCARDIA_BEATS - 1, fastest=False)
    return rate if rate is not None and rate < BRADYCARDIA_PER_MIN else None


def _run_rate(rr_ms: Floats, intervals: int, fastest: bool) -> float | None:
    if rr_ms.size < intervals:
        return None
    windows = sliding(rr_ms, intervals)
    means, medians = windows.mean(axis=1), np.median(windows, axis=1)
    if fastest:
        return MS_PER_MIN / float(np.min(np.maximum(means, medians)))
    return MS_PER_MIN / float(np.max(np.minimum(means, medians)))


def _merge_short(rr_ms: Floats) -> Floats:
    if not np.any(rr_ms < SHORTEST_MS):
        return rr_ms
    merged: list[float] = []
    carried = 0.0
    for interval in rr_ms.tolist():
        carried += interval
        if carried >= SHORTEST_MS:
            merged.append(carried)
            carried = 0.0
    return np.asarray(merged, dtype=np.float64)
