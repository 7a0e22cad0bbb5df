"""One strip of ECG: beats, heart rate, quality, rhythm. Quality decides first.

Beats are listed even where the strip cannot be read: who looks at it wants to see what the program saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streams.signals import intervals, rhythm
from streams.signals.filters import Floats, Ints
from streams.signals.qrs import detect_beats
from streams.signals.quality import READABLE, strip_quality

MS_PER_S = 1000.0
# Fewer beats give no interval that can be compared with another.
BEATS_MIN = 3
# Below this most of the beats are one detector's alone: a rate made of them would be made up.
RATE_QUALITY_MIN = 0.3


@dataclass(frozen=True, slots=True)
class Strip:
    """What was found in a strip. `beats` are sample indices from its first sample, at `fs` Hz."""

    fs: float
    beats: Ints
    quality: float
    rhythm: rhythm.Label
    heart_rate: float | None
    """Mean over the intervals that can be, per minute; None with fewer than two beats or where these are doubtful."""

    @property
    def rr_ms(self) -> Floats:
        return np.diff(self.beats) * (MS_PER_S / self.fs)

    @property
    def readable(self) -> bool:
        return self.rhythm != "unreadable"

    @property
    def longest_pause_ms(self) -> float | None:
        """The longest interval above 3 s; None without one or where the strip cannot be read."""
        return intervals.longest_pause_ms(self.rr_ms) if self.readable else None


def analyse(samples_mv: Floats, fs: float) -> Strip:
    """Analyse a strip of shape (n,) in mV at `fs` Hz (100 to 1000). Samples that are no number count as flat."""
    known = np.isfinite(samples_mv)
    samples = np.where(known, samples_mv, 0.0) if not known.all() else samples_mv
    beats = detect_beats(samples, fs)
    quality = strip_quality(samples, fs, beats) * float(known.mean() if known.size else 0.0)
    rr_ms = np.diff(beats) * (MS_PER_S / fs)
    counted = rr_ms[intervals.plausible(rr_ms)]
    return Strip(
        fs=fs,
        beats=beats,
        quality=quality,
        rhythm=rhythm.label(rr_ms) if quality >= READABLE and beats.size >= BEATS_MIN else "unreadable",
        heart_rate=intervals.MS_PER_MIN / float(counted.mean())
        if counted.size and quality >= RATE_QUALITY_MIN
        else None,
    )
