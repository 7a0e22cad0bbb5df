"""Body weight over a span: first, last, extremes, and the largest gains within one, three and seven days."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GAIN_DAYS = (1, 3, 7)


def weight_statistics(local_day: Ints, weight_kg: Floats) -> dict[str, float | None]:
    """Statistics of weighings in order of time; arrays have shape (n,), n ≥ 1; kilograms."""
    gains = {f"max_gain_{days}d": largest_gain(local_day, weight_kg, days) for days in GAIN_DAYS}
    return {
        "first": float(weight_kg[0]),
        "last": float(weight_kg[-1]),
        "min": float(np.min(weight_kg)),
        "max": float(np.max(weight_kg)),
        **gains,
    }


def largest_gain(local_day: Ints, weight_kg: Floats, days: int) -> float | None:
    """The largest rise of a weighing above an earlier one at most `days` patient-local days before, in kg.

    The same day counts (contract, the three plain weight rules). Negative where weight only fell; None
    where no two weighings are that close.
    """
    lowest: deque[tuple[int, float]] = deque()  # rising weights that can still be the window's lowest
    gain: float | None = None
    for day, weight in zip(local_day.tolist(), weight_kg.tolist(), strict=True):
        while lowest and lowest[0][0] < day - days:
            lowest.popleft()
        if lowest:
            rise = weight - lowest[0][1]
            gain = rise if gain is None or rise > gain else gain
        while lowest and lowest[-1][1] >= weight:
            lowest.pop()
        lowest.append((day, weight))
    return gain
