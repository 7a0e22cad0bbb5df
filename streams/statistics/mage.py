"""MAGE, the mean amplitude of glycaemic excursions, by crossing moving averages (Fernandes 2022).

The numbers are those of the R package iglu 4.3.0 with its defaults (short average 25 minutes, long 160,
mean of the rises' and the falls' amplitudes): turning points lie between the crossings of the
two averages, an excursion counts when it exceeds the standard deviation of its segment, and smaller
swings on its way are part of it. Gaps of more than three hours split the trace into segments, weighted by
their length.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHORT_MIN = 25
LONG_MIN = 160
SEGMENT_GAP_MIN = 180
# iglu: fewer points than this have no excursion.
POINTS_MIN = 7
# Two averages of a flat trace differ by rounding only, and that is no crossing.
ROUNDING = 1e-9


def mage(trace_mg_dl: Floats, step_min: int) -> float | None:
    """MAGE in mg/dL of an evenly sampled trace of shape (n,), NaN where there is no glucose.

    None when no segment is as long as the long average or has an excursion.
    """
    amplitudes: list[float] = []
    weights: list[float] = []
    for segment in _segments(trace_mg_dl, SEGMENT_GAP_MIN // step_min):
        for amplitude in _amplitudes(segment, round(SHORT_MIN / step_min), round(LONG_MIN / step_min)):
            amplitudes.append(amplitude)
            weights.append(float(segment.size - 1))
    if not amplitudes:
        return None
    return float(np.average(amplitudes, weights=weights))


def _segments(trace: Floats, gap_points_max: int) -> list[Floats]:
    """The stretches between gaps of more than `gap_points_max` points, without NaN at their ends."""
    known = np.flatnonzero(~np.isnan(trace))
    if known.size == 0:
        return []
    cuts = np.flatnonzero(np.diff(known) - 1 > gap_points_max)
    starts = [int(known[0]), *known[cuts + 1].tolist()]
    ends = [*known[cuts].tolist(), int(known[-1])]
    return [trace[start : end + 1] for start, end in zip(starts, ends, strict=True)]


def _amplitudes(segment: Floats, short: int, long: int) -> list[float]:
    """Mean rise and mean fall of the segment, those of the two that it has."""
    if segment.size < max(POINTS_MIN, long):
        return []
    spread = float(np.nanstd(segment, ddof=1))
    if not spread > 0.0:
        return []
    delta = _moving_mean(segment, short) - _moving_mean(segment, long)
    delta[np.abs(delta) < ROUNDING] = 0.0
    turns = _turning_points(segment, delta)
    rises, falls = _rises(turns, spread), _falls(turns, spread)
    return [float(np.mean(swings)) for swings in (rises, falls) if swings]


def _moving_mean(values: Floats, width: int) -> Floats:
    """Mean of the last `width` values, NaN left out; the first `width` points take the first full mean."""
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    known = ~np.isnan(windows)
    count = known.sum(axis=1)
    total = np.where(known, windows, 0.0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(count.size, np.nan), where=count > 0)
    return np.concatenate([np.full(width - 1, mean[0]), mean])


def _turning_points(values: Floats, delta: Floats) -> list[float]:
    """Glucose at the peak or nadir between each two crossings of the averages, in order of time."""
    crossings = [0]
    is_peak = [bool(delta[0] > 0)]
    usable = ~np.isnan(values) & ~np.isnan(delta)
    for i in np.flatnonzero(usable[1:] & usable[:-1]) + 1:
        # The averages cross between two points, or have crossed in a gap since the last crossing.
        before = delta[i - 1] if delta[i] * delta[i - 1] < 0 else delta[crossings[-1]]
        if delta[i] * before < 0:
            crossings.append(int(i))
            is_peak.append(bool(delta[i] > before))
    crossings.append(values.size - 1)
    turns: list[float] = []
    left = 0
    for peak, right in zip(is_peak, itertools.islice(crossings, 1, None), strict=True):
        stretch = values[left : right + 1]
        at = int(np.nanargmax(stretch) if peak else np.nanargmin(stretch))
        turns.append(float(stretch[at]))
        left += at
    return turns


def _rises(turns: list[float], spread: float) -> list[float]:
    """Amplitudes from nadir to peak of at least `spread`, each closed by a fall of more than that."""
    heights: list[float] = []
    start = j = 0
    while j < len(turns):
        nadir = min(turns[start : j + 1])
        if turns[j] - nadir < spread:
            j += 1
            continue
        for k in range(j, len(turns)):
            if turns[k] > turns[j]:
                j = k
            if turns[k] - turns[j] < -spread or k == len(turns) - 1:
                heights.append(turns[j] - nadir)
                start = j = k
                break
    return heights


def _falls(turns: list[float], spread: float) -> list[float]:
    """Amplitudes from peak to nadir; the mirror of `_rises`, except that, as in iglu, what follows is
    measured from the nadir and not from the point that closed the fall."""
    heights: list[float] = []
    start = j = 0
    while j < len(turns):
        peak = max(turns[start : j + 1])
        if peak - turns[j] < spread:
            j += 1
            continue
        for k in range(j, len(turns)):
            if turns[k] < turns[j]:
                j = k
            if turns[k] - turns[j] > spread or k == len(turns) - 1:
                heights.append(peak - turns[j])
                start, j = j, k
                break
    return heights
