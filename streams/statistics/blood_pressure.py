"""Home blood pressure: means, extremes and variability (reference section 2, JMAJ 2025 for the names)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOUR_MIN = 60

# Home protocols measure after rising and before bed. A reading between counts for neither mean: hours are the
# local ones, by the offset that the reading carries.
MORNING_H = (4, 12)
EVENING_H = (16, 24)


def blood_pressure_statistics(
    systolic_mmhg: Floats, diastolic_mmhg: Floats, local_minute: Ints
) -> dict[str, float | None]:
    """Statistics of readings in order of time; all arrays have shape (n,), n ≥ 1.

    `local_minute` is the minute of the local day, 0 to 1439. ARV, the average real variability, is the
    mean of the absolute differences of successive readings. What needs two readings, a morning or an
    evening is None without them.
    """
    mean = float(np.mean(systolic_mmhg))
    several = systolic_mmhg.size > 1
    sd = float(np.std(systolic_mmhg, ddof=1)) if several else None
    return {
        "mean_systolic": mean,
        "mean_diastolic": float(np.mean(diastolic_mmhg)),
        "max_systolic": float(np.max(systolic_mmhg)),
        "max_diastolic": float(np.max(diastolic_mmhg)),
        "sd_systolic": sd,
        "cv_systolic": None if sd is None else 100.0 * sd / mean,
        "arv_systolic": float(np.mean(np.abs(np.diff(systolic_mmhg)))) if several else None,
        "morning_mean_systolic": _mean_between(systolic_mmhg, local_minute, MORNING_H),
        "evening_mean_systolic": _mean_between(systolic_mmhg, local_minute, EVENING_H),
    }


def _mean_between(values: Floats, local_minute: Ints, hours: tuple[int, int]) -> float | None:
    inside = (local_minute >= hours[0] * HOUR_MIN) & (local_minute < hours[1] * HOUR_MIN)
    return float(np.mean(values[inside])) if inside.any() else None
