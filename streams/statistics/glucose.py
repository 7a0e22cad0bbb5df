"""Glucose statistics as the international consensus defines them and the R package iglu 4.3.0 computes them.

Means and percentages are of the readings themselves; episodes and MAGE are of the trace interpolated to
an even step, as iglu does it (`CGMS2DayByDay`: no bridge over more than 45 minutes).
Sources: Battelino 2019 and 2023 (ranges, episodes), Kovatchev 1997 (LBGI, HBGI), Klonoff 2022 (GRI),
Bergenstal 2018 (GMI), Fernandes 2022 (MAGE by moving averages), Broll 2021 (iglu).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.statistics.mage import mage

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MINUTE_MS = 60_000
DAY_MIN = 1440

# iglu's `inter_gap`: a longer gap is not interpolated and ends an episode.
GAP_MIN = 45.0
# Battelino 2023: an episode begins with 15 minutes beyond the limit and ends with 15 minutes back.
EPISODE_MIN = 15.0
# MAGE's moving averages are defined on steps of five minutes (Fernandes 2022).
MAGE_STEP_MIN = 5

LIMITS_MG_DL = {"low": 70.0, "very_low": 54.0, "high": 180.0, "very_high": 250.0}


def symmetrised(glucose_mg_dl: Floats) -> Floats:
    """Kovatchev's f: glucose on a scale on which 112.5 mg/dL is 0 and both risks weigh alike. Shape kept."""
    return np.asarray(1.509 * (np.log(glucose_mg_dl) ** 1.084 - 5.381), dtype=np.float64)


def risk(glucose_mg_dl: Floats) -> Floats:
    """10·f²: the risk of one value, low or high. Shape kept."""
    return np.asarray(10.0 * symmetrised(glucose_mg_dl) ** 2, dtype=np.float64)


def glycemia_risk_index(very_low: float, low: float, very_high: float, high: float) -> float:
    """GRI of the percentages below 54, 54 to 70, above 250 and 180 to 250 mg/dL; at most 100."""
    return min(100.0, 3.0 * very_low + 2.4 * low + 1.6 * very_high + 0.8 * high)


def glucose_statistics(
    measured_at_ms: Ints, glucose_mg_dl: Floats, offset_min: int = 0
) -> dict[str, float | None]:
    """The statistics that `scad summary` prints for glucose; percentages are 0 to 100.

    Both arrays have shape (n,), n ≥ 1, sorted by time; `offset_min` is the first reading's offset from
    UTC, which places the grid of MAGE. `sd` and `cv` are None for a single reading, `mage` is None
    where no excursion is larger than the standard deviation or the trace is shorter than 160 minutes.
    """
    mean = float(np.mean(glucose_mg_dl))
    sd = float(np.std(glucose_mg_dl, ddof=1)) if glucose_mg_dl.size > 1 else None
    share = {
        "tir": _percent((glucose_mg_dl >= 70.0) & (glucose_mg_dl <= 180.0)),
        "tbr_70": _percent(glucose_mg_dl < 70.0),
        "tbr_54": _percent(glucose_mg_dl < 54.0),
        "tar_180": _percent(glucose_mg_dl > 180.0),
        "tar_250": _percent(glucose_mg_dl > 250.0),
    }
    scaled = symmetrised(glucose_mg_dl)
    return {
        "mean": mean,
        "sd": sd,
        "cv": None if sd is None else 100.0 * sd / mean,
        "gmi": 3.31 + 0.02392 * mean,
        **share,
        "lbgi": float(np.mean(10.0 * np.minimum(scaled, 0.0) ** 2)),
        "hbgi": float(np.mean(10.0 * np.maximum(scaled, 0.0) ** 2)),
        "gri": glycemia_risk_index(
            share["tbr_54"],
            share["tbr_70"] - share["tbr_54"],
            share["tar_250"],
            share["tar_180"] - share["tar_250"],
        ),
        "mage": mage(interpolate(measured_at_ms, glucose_mg_dl, MAGE_STEP_MIN, offset_min), MAGE_STEP_MIN),
    }


def glucose_episodes(
    measured_at_ms: Ints, glucose_mg_dl: Floats, offset_min: int = 0
) -> dict[str, int | None]:
    """How many episodes `low very_low high very_high` the trace has.

    Arrays as in `glucose_statistics`. None where the readings are too sparse for any: fewer than two, or
    their usual distance above 45 minutes (finger pricks), where iglu refuses as well.
    """
    step_min = sensor_step_min(measured_at_ms)
    if step_min is None:
        return dict.fromkeys(LIMITS_MG_DL)
    trace = interpolate(measured_at_ms, glucose_mg_dl, step_min, offset_min)
    length = int(np.ceil(EPISODE_MIN / step_min))
    counts: dict[str, int | None] = {}
    for name, limit in LIMITS_MG_DL.items():
        beyond = trace < limit if name.endswith("low") else trace > limit
        counts[name] = _count_episodes(beyond, ~np.isnan(trace), length)
    return counts


def sensor_step_min(measured_at_ms: Ints) -> int | None:
    """The sensor's step in whole minutes that divide a day, as iglu finds it; None when there is none."""
    gaps = np.diff(measured_at_ms)
    gaps = gaps[gaps > 0]
    if gaps.size == 0:
        return None
    step = max(1, round(float(np.median(gaps)) / MINUTE_MS))
    if step > GAP_MIN:
        return None
    if DAY_MIN % step == 0:
        return step
    if step > 20:
        return 20
    remainder = step % 5
    return step + 5 - remainder if remainder > 2 else step - remainder


def interpolate(measured_at_ms: Ints, glucose_mg_dl: Floats, step_min: int, offset_min: int) -> Floats:
    """The trace on an even grid of local clock time, NaN inside gaps of more than 45 minutes.

    The grid's points are local midnight plus whole steps (midnight of the first day itself is not one,
    as in iglu). Of several readings at the same instant the last counts. Shape (k,): from the grid's first
    point at or after the first reading to its last at or before the last one.
    """
    last_of_instant = np.append(measured_at_ms[1:] != measured_at_ms[:-1], True)
    times, values = measured_at_ms[last_of_instant], glucose_mg_dl[last_of_instant]
    step_ms = step_min * MINUTE_MS
    local = times + offset_min * MINUTE_MS
    midnight = local[0] - local[0] % (DAY_MIN * MINUTE_MS)
    first = max(1, -(-int(local[0] - midnight) // step_ms))
    last = int(local[-1] - midnight) // step_ms
    grid = midnight + np.arange(first, last + 1, dtype=np.int64) * step_ms
    trace = np.interp(grid, local, values)
    after = np.searchsorted(local, grid, side="left")  # the first reading at or after each point
    before = np.maximum(after - 1, 0)
    bridged = local[after] - local[before] > GAP_MIN * MINUTE_MS
    trace[bridged & (local[after] > grid)] = np.nan  # a point on a reading stands whatever lies around it
    return np.asarray(trace, dtype=np.float64)


def _percent(mask: NDArray[np.bool_]) -> float:
    return float(100.0 * np.mean(mask))


def _count_episodes(beyond: NDArray[np.bool_], known: NDArray[np.bool_], length: int) -> int:
    """Count runs of at least `length` points beyond, each lasting until `length` points back or a gap."""
    count = 0
    is_open = False
    for state, run in _runs(np.where(known, np.where(beyond, 1, 0), -1)):
        if state == -1 or (state == 0 and run >= length):
            is_open = False
        elif state == 1 and run >= length and not is_open:
            is_open = True
            count += 1
    return count


def _runs(states: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The runs of equal values, as (value, length)."""
    if states.size == 0:
        return []
    starts = np.flatnonzero(np.append(True, states[1:] != states[:-1]))
    lengths = np.diff(np.append(starts, states.size))
    return list(zip(states[starts].tolist(), lengths.tolist(), strict=True))
