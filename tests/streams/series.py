"""Synthetic RR intervals in ms: sinus rhythm with breathing, ectopic beats, patterns, fibrillation, faults."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sinus(
    n: int, rng: np.random.Generator, mean: float = 800.0, breathing: float = 30.0, jitter: float = 8.0
) -> Floats:
    """Breathing at 0.25 Hz, slow waves at 0.01 Hz, jitter; amplitudes in ms."""
    at_s = np.arange(n) * mean / 1000.0
    phase = rng.uniform(0, 2 * np.pi)
    slow = 30.0 * np.sin(2 * np.pi * 0.01 * at_s)
    made: Floats = (
        mean + breathing * np.sin(2 * np.pi * 0.25 * at_s + phase) + slow + jitter * rng.normal(size=n)
    )
    return made


def with_ectopic(rr: Floats, rng: np.random.Generator, share: float, kind: str) -> Floats:
    """A share of the beats early: `ventricular` with a full compensatory pause, `atrial` without."""
    out: list[float] = []
    i = 0
    while i < rr.size:
        if i + 1 < rr.size and rng.random() < share:
            early = rng.uniform(0.5, 0.85) * rr[i]
            pause = 2 * rr[i + 1] - early if kind == "ventricular" else rr[i + 1] * rng.uniform(1.0, 1.15)
            out += [early, pause]
            i += 2
        else:
            out.append(rr[i])
            i += 1
    return np.asarray(out)


def pattern(n: int, rng: np.random.Generator, sinus_beats: int) -> Floats:
    """`sinus_beats` = 0 is bigeminy, 1 trigeminy, 2 quadrigeminy."""
    cycle = [800.0] * sinus_beats + [480.0, 1120.0]
    return np.tile(cycle, n // len(cycle)) + 20.0 * rng.normal(size=n // len(cycle) * len(cycle))


def fibrillation(n: int, rng: np.random.Generator, mean: float = 650.0, spread: float = 0.2) -> Floats:
    """Independent intervals, gamma distributed, as the ventricles answer fibrillating atria."""
    return np.clip(rng.gamma(1 / spread**2, mean * spread**2, n), 250.0, 2200.0)


def with_faults(rr: Floats, rng: np.random.Generator, missed: float, extra: float) -> Floats:
    """A share of beats missed (two intervals in one) and a share of extra ones (one in two)."""
    out: list[float] = []
    i = 0
    while i < rr.size:
        draw = rng.random()
        if draw < missed and i + 1 < rr.size:
            out.append(rr[i] + rr[i + 1])
            i += 2
            continue
        if draw > 1.0 - extra:
            first = rng.uniform(0.1, 0.9) * rr[i]
            out += [first, rr[i] - first]
        else:
            out.append(rr[i])
        i += 1
    return np.asarray(out)
