"""T and P waves told from beats: what it costs to hold both of two candidates for beats.

A T wave follows its QRS, a P wave precedes it, and both are blunter (the test of Pan & Tompkins). An ectopic beat may
be blunt as well and come as soon. Two things tell it from a T wave: it is sharper or larger; and the T waves of a strip
resemble each other, so what is much larger than they usually are is none, and what is like them is one, however large.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from streams.signals.filters import WORK_HZ, Floats, band_pass, smooth

Bools = NDArray[np.bool_]

# A T wave follows its QRS by up to T_END_S, a P wave precedes it by up to P_END_S; both are blunter by more than
# BLUNT_FREE octaves in the upper half of the QRS's band, or the P wave that much smaller, and no T wave is GIANT times
# as high as its QRS.
SHARP_BAND_HZ = (8.0, 22.0)
SHARP_WINDOW_S = 0.1
SHARP_REACH_S = 0.05
BLUNT_FREE, BLUNT_MAX = 1.05, 2.0
# For each octave; an ectopic beat may follow as soon as a T wave, nothing as soon as a QRS its P.
T_COST, P_COST = 0.75, 4.0
T_END_S, T_FADE_S = 0.42, 0.09  # beyond the first no cost, full cost the second before
P_END_S, P_FADE_S = 0.30, 0.05
GIANT = 1.2
# With a slow way to the ventricles a P wave lies as far before its QRS as a beat before an ectopic one: there it
# must be blunter and smaller, both by more than BOTH_FREE octaves.
P_FAR_END_S, BOTH_FREE = 0.37, 0.5
FLOOR_MV = 0.004  # below, the noise of an amplifier

# The usual beats of a strip are as sharp as most, within USUAL_OCTAVES; what follows them after T_BEGIN_S, blunter by
# LIKE_T_OCTAVES, has a median height: the strip's T wave. USUAL_MIN beats are needed to tell.
USUAL_QUANTILE, USUAL_OCTAVES, USUAL_MIN = 0.6, 0.8, 5
T_BEGIN_S = 0.15
LIKE_T_OCTAVES = 1.5
# In a strip without T waves they count as a tenth of a beat: lower peaks are no candidates.
T_LEAST = 0.1
# From LARGER times the usual T wave on, at most within LARGER_RANGE more, the cost falls by LARGER_RELIEF of itself.
LARGER, LARGER_RANGE, LARGER_RELIEF = 1.8, 0.8, 0.7
# Up to SAME times the usual T wave, and blunter by SAME_OCTAVES, it rises by SAME_COST.
SAME, SAME_RANGE, SAME_COST = 1.6, 0.3, 3.0
SAME_OCTAVES, SAME_OCTAVES_RANGE = 2.3, 0.4

# What is blunter than the usual beats by SLOW_OCTAVES and less than SMALL of their height is a P wave, a T wave or the
# baseline: an ectopic beat is one or the other, not both. It costs up to SLOW_COST, in full beyond the ranges.
SLOW_OCTAVES, SLOW_OCTAVES_RANGE = 2.0, 0.7
SMALL, SMALL_RANGE, SLOW_COST = 0.36, 0.1, 1.2


def sharpness(work: Floats) -> Floats:
    """Root of the smoothed energy in the upper half of the QRS band, its maximum near by, in mV; shape kept.

    A T wave as tall as the QRS, or a P wave beside a small one, has next to none.
    """
    energy = smooth(band_pass(work, *SHARP_BAND_HZ, WORK_HZ) ** 2, SHARP_WINDOW_S, WORK_HZ)
    width = 2 * int(SHARP_REACH_S * WORK_HZ) + 1
    return np.asarray(
        scipy.ndimage.maximum_filter1d(np.sqrt(np.maximum(energy, 0.0)), width), dtype=np.float64
    )


class Waves:
    """Candidates of a strip compared two by two: shapes (n, n), row after column."""

    def __init__(self, time_s: Floats, height: Floats, sharp: Floats, size: Floats) -> None:
        """Instants in s, and height, sharpness and size in mV of n candidates in order of time."""
        self._height = height
        self._octaves = np.log2(np.maximum(sharp, FLOOR_MV))
        self._interval = time_s[:, None] - time_s[None, :]
        self._blunter = self._octaves[None, :] - self._octaves[:, None]
        self._near_t = np.clip((T_END_S - self._interval) / T_FADE_S, 0.0, 1.0)
        as_t = np.clip(self._blunter - BLUNT_FREE, 0.0, BLUNT_MAX) * self._near_t
        as_t[height[:, None] > GIANT * height[None, :]] = 0.0
        self._t_cost = T_COST * as_t
        sizes = np.log2(np.maximum(size, FLOOR_MV))
        lesser = np.maximum(-self._blunter, sizes[:, None] - sizes[None, :])
        near_p = np.clip((P_END_S - self._interval) / P_FADE_S, 0.0, 1.0)
        near = P_COST * np.clip(lesser - BLUNT_FREE, 0.0, BLUNT_MAX) * near_p
        both = np.minimum(-self._blunter, sizes[:, None] - sizes[None, :])
        far_p = np.clip((P_FAR_END_S - self._interval) / P_FADE_S, 0.0, 1.0)
        self._p_cost = np.maximum(near, P_COST * np.clip(both - BOTH_FREE, 0.0, BLUNT_MAX) * far_p)

    def cost(self, beats: Bools | None = None) -> Floats:
        """What it costs to hold both for beats; with `beats`, in the light of the T waves that follow them."""
        t_cost = self._t_cost if beats is None else self._against_usual(beats)
        return np.asarray(t_cost + self._p_cost)

    def slow_and_small(self, beats: Bools, relative: Floats) -> Floats:
        """What it costs to hold each for a beat when it is both, shape (n,). `relative`: height beside the beats'."""
        slow = np.clip((self._typical(beats) - self._octaves - SLOW_OCTAVES) / SLOW_OCTAVES_RANGE, 0.0, 1.0)
        small = np.clip((SMALL - relative) / SMALL_RANGE, 0.0, 1.0)
        return np.asarray(SLOW_COST * slow * small)

    def _typical(self, beats: Bools) -> float:
        return float(np.quantile(self._octaves[beats], USUAL_QUANTILE))

    def _against_usual(self, beats: Bools) -> Floats:
        usual = np.flatnonzero(beats & (np.abs(self._octaves - self._typical(beats)) < USUAL_OCTAVES))
        if usual.size < USUAL_MIN:
            return self._t_cost
        interval, blunter = self._interval[:, usual], self._blunter[:, usual]
        waves = (interval > T_BEGIN_S) & (interval < T_END_S) & (blunter > LIKE_T_OCTAVES)
        tallest = np.max(np.where(waves, self._height[:, None], 0.0), axis=0)
        least = T_LEAST * float(np.median(self._height[usual]))
        ratio = (self._height / max(float(np.median(tallest)), least))[:, None]
        cost = self._t_cost.copy()
        relief = LARGER_RELIEF * np.clip((ratio - LARGER) / LARGER_RANGE, 0.0, 1.0)
        like_usual = np.clip((SAME + SAME_RANGE - ratio) / SAME_RANGE, 0.0, 1.0)
        like_t = np.clip((blunter - SAME_OCTAVES) / SAME_OCTAVES_RANGE, 0.0, 1.0)
        surcharge = SAME_COST * like_usual * like_t * self._near_t[:, usual]
        cost[:, usual] = cost[:, usual] * (1.0 - relief) + surcharge
        return cost
