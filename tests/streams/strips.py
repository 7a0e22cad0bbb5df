"""Synthetic ECG with known beats, and noise at a stated ratio to it.

A beat is a sum of Gaussians (amplitude in mV, place in s from the R peak, width in s), as in McSharry's
model. Noise follows the convention of PhysioNet's nst: the signal's power is the square of the QRS's height
over eight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal as dsp

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOLERANCE_S = 0.150

SHAPES = {
    "normal": [(0.12, -0.19, 0.02), (-0.1, -0.035, 0.008), (1.0, 0, 0.011), (-0.2, 0.03, 0.009), (0.25, 0.28, 0.05)],
    "tall-t": [(0.1, -0.19, 0.02), (0.7, 0, 0.011), (-0.2, 0.03, 0.009), (0.75, 0.27, 0.045)],
    "inverted": [(0.08, -0.19, 0.02), (-0.9, 0, 0.012), (0.15, 0.03, 0.01), (-0.2, 0.28, 0.05)],
    "low": [(0.06, -0.17, 0.02), (-0.04, -0.03, 0.008), (0.22, 0, 0.011), (-0.08, 0.03, 0.009), (0.06, 0.28, 0.05)],
    "tall-p": [(0.22, -0.18, 0.03), (0.25, 0, 0.013), (-0.25, 0.04, 0.015), (0.1, 0.27, 0.05)],
    "left-block": [(0.1, -0.2, 0.02), (0.55, -0.02, 0.022), (0.6, 0.035, 0.022), (-0.45, 0.3, 0.06)],
    "right-block": [(0.5, -0.02, 0.01), (-0.5, 0.01, 0.012), (0.6, 0.055, 0.018), (-0.2, 0.3, 0.05)],
    "paced": [(1.2, -0.06, 0.0025), (-0.9, 0.01, 0.035), (0.4, 0.28, 0.06)],
    "pvc": [(1.3, 0, 0.035), (-0.7, 0.11, 0.04), (-0.5, 0.27, 0.06)],
    "pvc-down": [(-1.2, 0, 0.04), (0.6, 0.12, 0.04), (0.4, 0.3, 0.06)],
}  # fmt: skip


def strip(
    rr_s: Floats, shapes: list[str], fs: float = 360.0, seed: int = 0, noise_mv: float = 0.01
) -> tuple[Floats, Ints]:
    """Samples in mV and the R peaks of one beat for each interval; the first beat comes after the first."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rr_s)
    samples = rng.normal(scale=noise_mv, size=int((times[-1] + 0.6) * fs))
    at = np.arange(samples.size) / fs
    for time, shape in zip(times.tolist(), shapes, strict=True):
        first, end = np.searchsorted(at, [time - 0.4, time + 0.6])
        gain = 1.0 + 0.06 * rng.normal()
        for height, place, width in SHAPES[shape]:
            samples[first:end] += gain * height * np.exp(-0.5 * ((at[first:end] - time - place) / width) ** 2)
    return samples, np.round(times * fs).astype(np.int64)


def regular(
    shape: str, seconds: float = 30.0, rr_s: float = 0.8, fs: float = 360.0, seed: int = 0
) -> tuple[Floats, Ints]:
    """A regular rhythm of one shape."""
    rng = np.random.default_rng(seed + 1)
    rr = rr_s * (1.0 + 0.04 * rng.normal(size=int((seconds - 0.6) / rr_s)))
    return strip(rr, [shape] * rr.size, fs, seed)


def bigeminy(normal: str, ectopic: str, pairs: int = 18, seed: int = 0) -> tuple[Floats, Ints]:
    """Every second beat ectopic, early, with a compensatory pause."""
    rng = np.random.default_rng(seed + 1)
    rr = np.tile([1.05, 0.5], pairs) + 0.02 * rng.normal(size=2 * pairs)
    return strip(rr, [normal, ectopic] * pairs, seed=seed)


def muscle(size: int, fs: float, rng: np.random.Generator) -> Floats:
    """Bursts of noise from 15 to 120 Hz."""
    noise = _band(rng.normal(size=size), 15.0, min(120.0, 0.45 * fs), fs)
    swell = np.abs(_band(rng.normal(size=size), 0.02, 0.15, fs))
    return np.asarray(noise * (0.4 + swell / swell.mean()))


def wander(size: int, fs: float, rng: np.random.Generator) -> Floats:
    """A baseline that moves with breathing and more slowly."""
    return _band(rng.normal(size=size), 0.05, 0.6, fs)


def motion(size: int, fs: float, rng: np.random.Generator) -> Floats:
    """Steps of the electrode's potential with fast rise and slow return: they look like beats."""
    noise = 0.15 * _band(rng.normal(size=size), 0.5, 12.0, fs)
    at = 0
    while True:
        at += int(rng.exponential(1.2) * fs)
        if at >= size:
            return noise
        fall, rise = rng.uniform(0.05, 0.5) * fs, max(1, int(rng.uniform(0.02, 0.1) * fs))
        k = np.arange(min(size - at, int(5 * fall)))
        noise[at : at + k.size] += rng.normal() * np.exp(-k / fall) * (1 - np.exp(-k / rise))


NOISES = {"muscle": muscle, "wander": wander, "motion": motion}


def with_noise(
    samples: Floats, fs: float, kind: str, ratio_db: float, qrs_mv: float, seed: int = 0
) -> Floats:
    """The samples with noise at `ratio_db` below a QRS `qrs_mv` high."""
    noise = NOISES[kind](samples.size, fs, np.random.default_rng(seed))
    power = qrs_mv**2 / 8 / 10 ** (ratio_db / 10)
    made: Floats = samples + noise * np.sqrt(power / np.mean(noise**2))
    return made


def agreement(found: Ints, true: Ints, fs: float) -> tuple[int, int, int]:
    """How many beats were found within 150 ms, missed, and found where there is none; each counts once."""
    i = j = both = 0
    while i < true.size and j < found.size:
        apart = found[j] - true[i]
        if abs(apart) <= TOLERANCE_S * fs:
            both, i, j = both + 1, i + 1, j + 1
        elif apart < 0:
            j += 1
        else:
            i += 1
    return both, true.size - both, found.size - both


def _band(values: Floats, low: float, high: float, fs: float) -> Floats:
    return np.asarray(dsp.sosfiltfilt(dsp.butter(2, [low, high], "bandpass", fs=fs, output="sos"), values))
