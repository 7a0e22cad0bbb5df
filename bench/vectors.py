"""numpy beside plain Python for the two sums that many readings have in common: where does it begin to pay?

The values are where the engine has them, in objects: taking them out is part of what numpy costs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from bench.machine import cost_us
from streams.history import Observation

SIZES = (1, 8, 64, 512, 2_000)
ROUNDS = 20_000  # values looked at for each size, so that a run takes some milliseconds
WINDOW = 5  # values of a sensor in 20 minutes

Sums = tuple[Callable[[list[Observation]], object], Callable[[list[Observation]], object]]


def crossover(repeat: int) -> dict[str, dict[str, dict[str, float]]]:
    """µs a value by sum and batch size, {"python": …, "numpy": …}."""
    sums: dict[str, Sums] = {
        "within a band": (_band_python, _band_numpy),
        "slope of the last 20 min": (_slope_python, _slope_numpy),
    }
    made = [
        Observation(i * 300_000, 60, "cg-1", 0, i, 0, "glucose", (100.0 + i % 37, 1.0))
        for i in range(max(SIZES))
    ]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, (plain, vector) in sums.items():
        found[name] = {}
        for size in SIZES:
            rounds = max(1, ROUNDS // size)
            found[name][str(size)] = {
                form: cost_us(partial(_again, run, made[:size], rounds), size * rounds, repeat)["min"]
                for form, run in (("python", plain), ("numpy", vector))
            }
    return found


def _again(run: Callable[[list[Observation]], object], batch: list[Observation], rounds: int) -> None:
    for _ in range(rounds):
        run(batch)


def _band_python(batch: list[Observation]) -> list[int]:
    return [i for i, o in enumerate(batch) if not 70.0 < (o.x[0] or 0.0) < 180.0]


def _band_numpy(batch: list[Observation]) -> list[int]:
    values = np.array([o.x[0] for o in batch])
    return np.flatnonzero((values <= 70.0) | (values >= 180.0)).tolist()


def _slope_python(batch: list[Observation]) -> list[float]:
    found = []
    for end in range(len(batch)):
        window = batch[max(0, end - WINDOW + 1) : end + 1]
        n, end_ms = len(window), batch[end].at_ms
        sum_t = sum_v = sum_tt = sum_tv = 0.0
        for o in window:
            t, v = (o.at_ms - end_ms) / 60_000, o.x[0] or 0.0
            sum_t += t
            sum_v += v
            sum_tt += t * t
            sum_tv += t * v
        spread = n * sum_tt - sum_t * sum_t
        found.append((n * sum_tv - sum_t * sum_v) / spread if spread else 0.0)
    return found


def _slope_numpy(batch: list[Observation]) -> list[float]:
    n = len(batch)
    at = np.array([o.at_ms for o in batch], dtype=np.float64) / 60_000
    values = np.array([o.x[0] for o in batch])
    t = np.concatenate((np.full(WINDOW - 1, np.nan), at))
    v = np.concatenate((np.full(WINDOW - 1, np.nan), values))
    t = np.lib.stride_tricks.sliding_window_view(t, WINDOW) - at[:, None]
    v = np.lib.stride_tricks.sliding_window_view(v, WINDOW)
    seen = ~np.isnan(t)
    t, v = np.where(seen, t, 0.0), np.where(seen, v, 0.0)
    count = seen.sum(axis=1)
    spread = count * (t * t).sum(axis=1) - t.sum(axis=1) ** 2
    rise = count * (t * v).sum(axis=1) - t.sum(axis=1) * v.sum(axis=1)
    slopes: list[float] = np.divide(rise, spread, out=np.zeros(n), where=spread != 0).tolist()
    return slopes
