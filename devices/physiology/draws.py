"""Random numbers of a patient: they depend on the cohort's seed, the patient's index and a purpose only."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from scipy.signal import lfilter

from devices.physiology.series import Floats


def generator(seed: int, patient: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each purpose, so that another device does not change a patient's weight."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(patient, crc32(purpose.encode())))
    return np.random.Generator(np.random.PCG64(sequence))


def autoregressive(rng: np.random.Generator, n: int, sd: float, memory: float) -> Floats:
    """A stationary AR(1) series of n values: standard deviation `sd`, correlation exp(-1/memory) a step."""
    if n == 0:
        return np.zeros(0)
    phi = float(np.exp(-1.0 / memory))
    noise = rng.standard_normal(n)
    noise[1:] *= np.sqrt(1.0 - phi * phi)
    return np.asarray(lfilter([1.0], [1.0, -phi], noise) * sd, dtype=np.float64)


def event_times(rng: np.random.Generator, per_year: float, days: float, apart_days: float) -> list[float]:
    """Days from the start: a Poisson process, of which those too close to the last are left out."""
    times = np.sort(rng.uniform(0.0, days, rng.poisson(per_year * days / 365.25)))
    kept: list[float] = []
    for time in times.tolist():
        if not kept or time - kept[-1] >= apart_days:
            kept.append(time)
    return kept
