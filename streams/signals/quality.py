"""How far a strip of ECG can be trusted: 0 to 1, before anything is read from it.

The core is agreement: two detectors built on different ideas find the same beats in a readable signal and
different ones in noise (bSQI; PhysioNet toolbox: within 0.1 s, windows of 10 s, good from 0.9). What is flat,
saturated or missing lowers it in proportion, and so does a shape that no two beats share.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from streams.signals.filters import WORK_HZ, Floats, Ints, band_pass, smooth, to_work
from streams.signals.qrs import AMPLITUDE_MIN_MV, SHAPE_BAND_HZ, shared_shape

Bools = NDArray[np.bool_]

READABLE = 0.6
"""Below this the rhythm of a strip is `unreadable`."""

WINDOW_S = 10.0
AGREEMENT_S = 0.1
# Windows at a strip's end shorter than this are judged with the one before.
WINDOW_MIN_S = 5.0

# Second detector: two moving averages (Elgendi 2010), one as wide as a QRS, one as a whole beat.
SECOND_BAND_HZ = (8.0, 20.0)
QRS_S, BEAT_S = 0.097, 0.611
OFFSET = 0.08
SECOND_REFRACTORY_S = 0.25

# Flat: less than 10 µV between the extremes of a quarter of a second. The quietest isoelectric line of a real
# recording moves more than that with breathing and noise of the amplifier.
FLAT_S = 0.25
FLAT_MV = 0.01
# Saturated: at an extreme value of the strip for 30 ms or more.
SATURATED_S = 0.03

# Beats correlate above 0.9 with others of their kind, also in noise; what is found in pure electrode motion by
# 0.7, in pure muscle noise by 0.55.
LIKENESS_RANGE = (0.5, 0.9)
# A quarter of a clean bigeminy's beats may be of a shape of their own: the likeness that counts is the upper
# half's.
LIKENESS_QUANTILE = 0.6
# No rhythm that can be read has less than one beat in this time.
SILENCE_S = 6.0


def strip_quality(samples_mv: Floats, fs: float, beats: Ints) -> float:
    """Quality of a strip of shape (n,) at `fs` Hz in which `beats` were found, 0 to 1."""
    if samples_mv.size == 0 or beats.size < 2:
        return 0.0
    seconds = samples_mv.size / fs
    if seconds / beats.size > SILENCE_S:
        return 0.0
    agreement = _agreement(beats / fs, second_detector(samples_mv, fs) / fs, seconds)
    usable = 1.0 - float(np.mean(flat(samples_mv, fs) | saturated(samples_mv, fs)))
    return float(np.clip(agreement * usable * _likeness(samples_mv, fs, beats), 0.0, 1.0))


def second_detector(samples_mv: Floats, fs: float) -> Ints:
    """Beats as blocks where a short moving average of the band's energy exceeds a long one."""
    work, scale = to_work(samples_mv - np.median(samples_mv), fs)
    energy = band_pass(work, *SECOND_BAND_HZ, WORK_HZ) ** 2
    short, long = smooth(energy, QRS_S, WORK_HZ), _box(energy, BEAT_S)
    above = short > np.maximum(long + OFFSET * energy.mean(), AMPLITUDE_MIN_MV**2)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], above.astype(np.int8), [0]])))
    found: list[int] = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - first < 0.5 * QRS_S * WORK_HZ:
            continue
        peak = first + int(np.argmax(short[first:end]))
        if found and peak - found[-1] < SECOND_REFRACTORY_S * WORK_HZ:
            if short[peak] > short[found[-1]]:
                found[-1] = peak
        else:
            found.append(peak)
    return np.round(np.asarray(found, dtype=np.float64) / scale).astype(np.int64)


def flat(samples_mv: Floats, fs: float) -> Bools:
    """Where nothing was recorded: stretches of a quarter of a second without movement. Shape kept."""
    width = max(2, int(FLAT_S * fs))
    if samples_mv.size < width:
        return np.zeros(samples_mv.size, dtype=np.bool_)
    starts = np.arange(0, samples_mv.size - width + 1, width)
    blocks = samples_mv[: starts.size * width].reshape(-1, width)
    still = np.repeat(np.ptp(blocks, axis=1) < FLAT_MV, width)
    return np.pad(still, (0, samples_mv.size - still.size), mode="edge")


def saturated(samples_mv: Floats, fs: float) -> Bools:
    """Where the amplifier stood at its limit: runs of the strip's extreme values. Shape kept."""
    limit = np.zeros(samples_mv.size, dtype=np.bool_)
    for extreme in (samples_mv.min(), samples_mv.max()):
        at = np.concatenate([[0], (samples_mv == extreme).astype(np.int8), [0]])
        edges = np.flatnonzero(np.diff(at))
        for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if end - first >= SATURATED_S * fs:
                limit[first:end] = True
    return limit


def _agreement(one_s: Floats, other_s: Floats, seconds: float) -> float:
    """Mean over windows of 10 s of the beats that both found, over all that either found."""
    count = max(1, int((seconds + WINDOW_S - WINDOW_MIN_S) // WINDOW_S))
    edges = np.append(np.arange(count) * WINDOW_S, np.inf)
    shares = []
    for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        one = one_s[(one_s >= first) & (one_s < end)]
        near = other_s[(other_s >= first - AGREEMENT_S) & (other_s < end + AGREEMENT_S)]
        other = np.count_nonzero((other_s >= first) & (other_s < end))
        both = _matched(one, near)
        shares.append(both / max(one.size + other - both, both, 1))
    return float(np.mean(shares))


def _matched(one_s: Floats, other_s: Floats) -> int:
    if one_s.size == 0 or other_s.size == 0:
        return 0
    at = np.searchsorted(other_s, one_s)
    left = np.abs(one_s - other_s[np.maximum(at - 1, 0)])
    right = np.abs(other_s[np.minimum(at, other_s.size - 1)] - one_s)
    return int(np.count_nonzero(np.minimum(left, right) <= AGREEMENT_S))


def _likeness(samples_mv: Floats, fs: float, beats: Ints) -> float:
    """0 to 1: how well beats repeat each other's shape. 1 for strips with too few beats to tell."""
    if beats.size < 4:
        return 1.0
    work, scale = to_work(samples_mv, fs)
    shape = band_pass(work, *SHAPE_BAND_HZ, WORK_HZ)
    at = np.minimum(np.round(beats * scale).astype(np.int64), shape.size - 1)
    shared = float(np.quantile(shared_shape(shape, at, np.ones(at.size, dtype=np.bool_)), LIKENESS_QUANTILE))
    low, high = LIKENESS_RANGE
    return float(np.clip((shared - low) / (high - low), 0.0, 1.0))


def _box(values: Floats, width_s: float) -> Floats:
    width = int(width_s * WORK_HZ) | 1
    window = np.full(width, 1.0 / width)
    return np.asarray(scipy.signal.convolve(values, window, "same"), dtype=np.float64)
