"""Heart rate variability in the time domain (Task Force 1996; reference section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MS_PER_MIN = 60_000.0
# pNN50 counts successive normal intervals that differ by more than this.
PNN_MS = 50.0


def heart_rate_variability(rr_ms: Floats, normal: Bools, continues: Bools) -> dict[str, float | None]:
    """SDNN and RMSSD in ms and pNN50 in percent of the normal-to-normal intervals.

    Arrays have shape (n,): the intervals in order, whether each lies between two sinus beats, and whether
    each follows the one before it without a break (the first of a reading need not). Differences are
    taken only between neighbours that are both normal, never across what was removed. None where there
    are too few.
    """
    nn = rr_ms[normal]
    pairs = normal[1:] & normal[:-1] & continues[1:]
    steps = np.diff(rr_ms)[pairs]
    return {
        "sdnn": float(np.std(nn, ddof=1)) if nn.size > 1 else None,
        "rmssd": float(np.sqrt(np.mean(steps**2))) if steps.size else None,
        "pnn50": float(100.0 * np.mean(np.abs(steps) > PNN_MS)) if steps.size else None,
    }
