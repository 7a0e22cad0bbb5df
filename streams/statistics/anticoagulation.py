"""Time in therapeutic range by Rosendaal's interpolation (LOINC 72281-9, AHRQ; reference section 5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The target of most indications (atrial fibrillation, venous thrombosis).
TARGET_INR = (2.0, 3.0)
# Across a longer gap nobody knows what the INR did: it is left out of both sides of the share.
GAP_DAYS_MAX = 56


def time_in_range(
    measured_at_ms: Ints, local_day: Ints, inr: Floats, target: tuple[float, float] = TARGET_INR
) -> float | None:
    """Percentage of the interpolated time with INR within `target`, limits included: 0 to 100.

    Arrays have shape (n,), sorted by time; `local_day` counts patient-local days, by which a gap is
    measured. None without two readings at most 56 days apart.
    """
    span_ms = np.diff(measured_at_ms).astype(np.float64)
    span_ms[np.diff(local_day) > GAP_DAYS_MAX] = 0.0
    total = float(span_ms.sum())
    if total <= 0.0:
        return None
    share = _share_between(inr[:-1], inr[1:], target)
    return float(100.0 * np.sum(share * span_ms) / total)


def _share_between(before: Floats, after: Floats, target: tuple[float, float]) -> Floats:
    """The share of each straight line from `before` to `after` that lies within `target`."""
    lower, upper = np.minimum(before, after), np.maximum(before, after)
    inside = np.clip(np.minimum(upper, target[1]) - np.maximum(lower, target[0]), 0.0, None)
    level = (lower >= target[0]) & (upper <= target[1])
    slope = upper - lower
    return np.where(slope > 0.0, inside / np.where(slope > 0.0, slope, 1.0), level.astype(np.float64))
