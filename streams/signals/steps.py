"""Steps of the potential, as when a cable is pulled: taken out before anything is looked for.

A step is over within milliseconds, higher than a QRS is in that time, and does not come back as a QRS or the spike of a
pacemaker does. Left in, it is the largest "beat" around and hides those beside it.
"""

from __future__ import annotations

import numpy as np

from streams.signals.filters import Floats

# The steepest part of a narrow QRS lasts longer than this.
RISE_S = 0.008
# A step is so many times as high as the QRS of the strip rise in that time, and at least this high in mV.
TIMES, LEAST_MV = 2.0, 0.3
QRS_WINDOW_S = 1.5
# The level for so long before and after the step must differ by half of it: a spike comes back, a QRS as well.
LEVEL_S, LEVEL_SHARE = 0.06, 0.5
# More steps than this in a strip are a signal of another kind (a test generator's square waves): they stay.
STEPS_PER_S = 1.0


def without_steps(samples_mv: Floats, fs: float) -> Floats:
    """The samples with what follows each step shifted back; shape (n,) kept. The same object when there is none."""
    rise, window, level = max(1, round(RISE_S * fs)), int(QRS_WINDOW_S * fs), max(2, int(LEVEL_S * fs))
    if samples_mv.size < 2 * window:
        return samples_mv
    risen = np.abs(samples_mv[rise:] - samples_mv[:-rise])
    whole = risen.size // window * window
    usual = float(np.median(risen[:whole].reshape(-1, window).max(axis=1)))
    limit = max(TIMES * usual, LEAST_MV)
    above = np.flatnonzero(risen > limit)
    if above.size == 0:
        return samples_mv
    groups = np.split(above, np.flatnonzero(np.diff(above) > rise) + 1)
    if len(groups) > STEPS_PER_S * samples_mv.size / fs:
        return samples_mv
    cleaned = samples_mv
    for group in groups:
        first, end = int(group[0]), int(group[-1]) + rise
        before, after = samples_mv[max(0, first - level) : first + 1], samples_mv[end : end + level]
        jump = samples_mv[end] - samples_mv[first]
        shift = float(np.median(after) - np.median(before)) if after.size else float(jump)
        if abs(shift) > LEVEL_SHARE * abs(jump) and shift * jump > 0:
            if cleaned is samples_mv:
                cleaned = samples_mv.copy()
            cleaned[end:] -= jump
            cleaned[first:end] = cleaned[first]
    return cleaned
