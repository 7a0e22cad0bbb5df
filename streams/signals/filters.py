"""Filters that the ECG code shares: even sampling, band-passes without phase shift, moving windows.

Everything works at one rate, whatever the device sends: filters and windows are designed once.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
import scipy  # its parts are imported at their first use: two seconds that a feed never needs
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# QRS energy ends near 30 Hz; 125 Hz samples it four times over, and half a minute is 3750 samples.
WORK_HZ = 125.0

# A rate that is no simple fraction of the working rate is approximated by one with this denominator, within
# 0.1 %; positions are scaled back by the very fraction, so nothing drifts.
RATIO_MAX = 500


def to_work(samples: Floats, fs: float) -> tuple[Floats, float]:
    """Resample to WORK_HZ with an anti-alias filter; edges are continued as lines.

    Returns the samples and how many of them there are for each sample of the device.
    """
    ratio = Fraction(WORK_HZ / fs).limit_denominator(RATIO_MAX)
    if ratio == 1:
        return samples, 1.0
    resampled = scipy.signal.resample_poly(samples, ratio.numerator, ratio.denominator, padtype="line")
    return np.asarray(resampled, dtype=np.float64), float(ratio)


@lru_cache(maxsize=64)  # one entry for each pair of band and device rate in use; a fleet has a dozen
def _band(low_hz: float, high_hz: float, fs: float) -> Floats:
    nyquist_hz = 0.5 * fs
    sections = scipy.signal.butter(
        2, [low_hz, min(high_hz, 0.9 * nyquist_hz)], "bandpass", fs=fs, output="sos"
    )
    return np.asarray(sections, dtype=np.float64)


def band_pass(samples: Floats, low_hz: float, high_hz: float, fs: float) -> Floats:
    """Second-order Butterworth band-pass run both ways: no phase shift, so a peak stays where it is."""
    sections = _band(low_hz, high_hz, fs)
    # The default padding of scipy needs more samples than a very short strip has.
    pad = min(3 * (2 * len(sections) + 1), samples.size - 1)
    return np.asarray(scipy.signal.sosfiltfilt(sections, samples, padlen=max(pad, 0)), dtype=np.float64)


def smooth(samples: Floats, width_s: float, fs: float) -> Floats:
    """Mean under a Hann window `width_s` wide, centred."""
    window = np.hanning((max(1, int(width_s * fs)) | 1) + 2)[1:-1]
    return np.asarray(scipy.signal.convolve(samples, window / window.sum(), "same"), dtype=np.float64)


def sliding(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """A view of all windows of `width` neighbours, shape (n − width + 1, width)."""
    return np.lib.stride_tricks.sliding_window_view(values, width)


def running_median(values: Floats, width: int) -> Floats:
    """Median of the `width` (odd) neighbours of each value, edges repeated. Shape kept."""
    if values.size == 0:
        return values
    return np.asarray(scipy.ndimage.median_filter(values, width, mode="nearest"), dtype=np.float64)
