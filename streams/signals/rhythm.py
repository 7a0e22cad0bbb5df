"""Rhythm from RR intervals: atrial fibrillation told from ectopic beats, sinus arrhythmia and noise.

In atrial fibrillation an interval says nothing about the next one. Three measures look for that:

- *Unpredictability*: the median error, as a share of the mean interval, of a linear prediction from the four
  intervals before, fitted to 64 intervals. Breathing, bigeminy, trigeminy and a block with a period are
  predicted well however irregular they look; a median does not see single ectopic beats.
- *Irregularity* (Petrėnas 2015): how many pairs among eight neighbours differ by more than 30 ms after a
  median filter of three, which removes single ectopic beats with their pauses; over the mean interval.
- *Spread*: how wide a band must be, as a share, to hold two fifths of 64 intervals. However many ectopic beats
  there are, the sinus beats between them lie close together.

- *Order* (after Lake & Moorman 2011): how much more often than chance an interval that resembles an earlier one
  is followed by one that resembles that one's follower: the sample entropy (m = 1) that independent intervals
  of the same spread would have, less the one there is. Beats that couple, patches of bigeminy, runs that
  start and stop and a block with a few fixed ratios leave clusters, fibrillation a cloud.

The first decides, the others can only speak against. The threshold of irregularity is the published one;
the others were set between sinus rhythm with ectopic beats and fibrillation in synthetic series, and
looked at on three recordings (afdb 04015, 05121; nsr2 001). Fibrillation with a regular ventricular
response cannot be seen in RR intervals.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from streams.signals.filters import Floats, running_median, sliding
from streams.signals.intervals import PAUSE_MS, limit_outliers

Bools = NDArray[np.bool_]
Label = Literal["regular", "irregular", "atrial-fibrillation", "unreadable"]

WINDOW = 64
WINDOW_STEP = 8
PREDICTION_ORDER = 4
RIDGE = 1e-3  # of the window's variance: keeps a perfectly regular window solvable

IRREGULAR_NEIGHBOURS = 8
IRREGULAR_MS = 30.0
PAIRS = np.triu_indices(IRREGULAR_NEIGHBOURS, 1)
PAIR_COLUMNS = 4096  # intervals at a time: 28 pairs of each, 1 MB of differences
IRREGULAR_THRESHOLD = 0.72  # per second of mean interval (Petrėnas 2015: 0.725)
# In slower hearts intervals are judged as at 65/min: above, not even fibrillation has so many differing pairs a second.
IRREGULAR_MEAN_MAX_S = 0.92
IRREGULAR_WEIGHT = 5.0
UNPREDICTABLE_THRESHOLD = 0.065
SPREAD_SHARE = 0.4
SPREAD_THRESHOLD = 0.085
SPREAD_WEIGHT = 3.0
# Two intervals resemble each other within 5 % of the median. Independent intervals have the entropy
# ORDER_CHANCE + log(coefficient of variation) in CoSEn's normalisation (1.27 for a normal distribution:
# log of the square root of 4 pi); fibrillation comes within 0.5 of it, ectopic beats stay beyond.
ORDER_RESEMBLES = ((0.05, 0.45), (0.10, 0.25))
ORDER_CHANCE = 0.5 * float(np.log(4 * np.pi))
ORDER_WEIGHT = 5.0
TENTHS_APART_SD = 2.563  # of a normal distribution, between its tenth and ninetieth percentile
ORDER_ROWS = 512  # windows at a time: each takes WINDOW x WINDOW comparisons, 2 MB of truth values together
ROUNDING = 1e-9  # far above what sums of some hundred numbers differ by, far below what decides
SCORE_RANGE = (-0.8, 1.0)  # one wild window must not outweigh its neighbours

# An episode reaches the first score and lasts while the second is held: fibrillation has calmer stretches.
ENTER_SCORE, LEAVE_SCORE = 0.2, -0.4

# A strip is too short for the score to rise and fall in it: what it has is its mean.
STRIP_MS, STRIP_ENTER_SCORE = 90_000.0, 0.1

# Exponential averages in both directions; 0.03 remembers some 33 intervals each way.
AVERAGE_WEIGHT = 0.03

# Fibrillation shorter than this is none: it lasts at least 30 s by definition (ESC), some 20 intervals when
# it is slow.
EPISODE_MIN_MS = 30_000.0

# In the midst of fibrillation the ventricles answer regularly for a while: a minute between two longer stretches.
BRIDGE_MS = 60_000.0

# Fewer intervals than these say nothing about fibrillation: CoSEn needs 12 beats, the prediction more.
INTERVALS_MIN = 20

# An interval is irregular when it differs by this share from the median of its neighbours.
ECTOPIC_CHANGE = 0.15
ECTOPIC_NEIGHBOURS = 7
# A strip is irregular when more than a tenth of its intervals are (one ectopic beat makes two of 35), or when
# four fifths of them spread over more than this share of their median, as when the rate jumps.
IRREGULAR_SHARE = 0.10
IRREGULAR_SPREAD = 0.35
# One pause makes a strip irregular: above PAUSE_MS, and so many times the median (a very slow heart may be regular).
PAUSE_RATIO = 1.8

CONTEXT_INTERVALS = 128
"""Intervals of earlier readings that are judged with a new one: as far as the averages remember."""
CONTEXT_GAP_MS = 5_000
"""A longer gap between two readings breaks the series."""


def fibrillation_score(rr_ms: Floats) -> Floats:
    """For each interval how much speaks for atrial fibrillation, about 0 being undecided. Shape kept.

    Fewer than INTERVALS_MIN intervals give the lowest score.
    """
    if rr_ms.size < INTERVALS_MIN:
        return np.full(rr_ms.size, SCORE_RANGE[0])
    return _score(Series.of(rr_ms))


def fibrillation(rr_ms: Floats) -> Bools:
    """For each interval whether it lies in atrial fibrillation of at least 30 s. Shape kept."""
    if rr_ms.size < INTERVALS_MIN:
        return np.zeros(rr_ms.size, np.bool_)
    series = Series.of(rr_ms)
    if float(series.highest_score().max()) <= LEAVE_SCORE:
        return np.zeros(rr_ms.size, np.bool_)
    score = _score(series)
    inside = score > LEAVE_SCORE
    # A series that is shorter than an episode may lie within one.
    total_ms = float(rr_ms.sum())
    shortest_ms = min(EPISODE_MIN_MS, 0.9 * total_ms)
    enter = ENTER_SCORE if total_ms >= STRIP_MS else STRIP_ENTER_SCORE
    for first, end in _runs(inside):
        if float(rr_ms[first:end].sum()) < shortest_ms or float(score[first:end].max()) < enter:
            inside[first:end] = False
    _bridge(rr_ms, inside)
    return inside


@dataclass(frozen=True, slots=True)
class Series:
    """What is cheap to know of a series of at least INTERVALS_MIN intervals: `against`, what speaks against
    fibrillation for each, from irregularity and spread (0 at most); and its windows with their middles."""

    against: Floats
    windows: Floats
    middles: Floats

    @classmethod
    def of(cls, rr_ms: Floats) -> Series:
        rr = limit_outliers(rr_ms)
        windows, middles = _windows(rr)
        irregularity, mean_ms = _average(np.stack([_irregularity(running_median(rr, 3)), rr]))
        irregular = irregularity / np.minimum(mean_ms / 1000.0, IRREGULAR_MEAN_MAX_S)
        spread = _over_time(_narrowest_band(windows), middles, rr.size)
        against = np.minimum(0.0, IRREGULAR_WEIGHT * (irregular - IRREGULAR_THRESHOLD))
        against += np.minimum(0.0, SPREAD_WEIGHT * np.log(np.maximum(spread, 1e-4) / SPREAD_THRESHOLD))
        return cls(against, windows, middles)

    def over_time(self, of_windows: Floats) -> Floats:
        """A measure of the windows for each interval, between the middles of those around it."""
        return _over_time(of_windows, self.middles, self.against.size)

    def highest_score(self) -> Floats:
        """No score is above this one, and sinus rhythm, as most intervals are, stays below LEAVE_SCORE with it: what
        costs most need not be computed then.

        A fitted prediction errs, in squares, by no more than the mean does; and half of the errors are at least their
        median. So the median error is at most the root of twice the squares' mean. Order only lowers the score.
        """
        width = self.windows.shape[1]
        of_errors = np.sqrt(2.0 * width / (width - PREDICTION_ORDER))
        most = of_errors * self.windows.std(axis=1) / self.windows.mean(axis=1)
        return _average(np.clip(_for(self.over_time(most)) + self.against + ROUNDING, *SCORE_RANGE))


def _over_time(of_windows: Floats, middles: Floats, intervals: int) -> Floats:
    return np.interp(np.arange(intervals), middles, of_windows)


def _for(unpredictable: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(unpredictable, 1e-4) / UNPREDICTABLE_THRESHOLD))


def _score(series: Series) -> Floats:
    windows = series.windows
    order = np.concatenate([_order(windows[i : i + ORDER_ROWS]) for i in range(0, len(windows), ORDER_ROWS)])
    score = _for(series.over_time(_prediction_error(windows))) + series.against
    score -= ORDER_WEIGHT * series.over_time(order)
    return _average(np.clip(score, *SCORE_RANGE))


def _bridge(rr_ms: Floats, inside: Bools) -> None:
    """Count what is short between two longer stretches of fibrillation as fibrillation, in place."""
    runs = _runs(inside)
    for (before, first), (end, after) in itertools.pairwise(runs):
        gap_ms, one_ms, other_ms = (
            float(rr_ms[a:b].sum()) for a, b in ((first, end), (before, first), (end, after))
        )
        if gap_ms <= min(BRIDGE_MS, one_ms, other_ms):
            inside[first:end] = True


def longest_episode_ms(rr_ms: Floats, inside: Bools) -> float:
    """Length in ms of the longest run of `inside`, 0 without one."""
    return max((float(rr_ms[first:end].sum()) for first, end in _runs(inside)), default=0.0)


def irregular_share(rr_ms: Floats) -> float:
    """Share of the intervals that differ by more than 15 % from the median of their neighbours, 0 to 1."""
    if rr_ms.size == 0:
        return 0.0
    around = running_median(rr_ms, ECTOPIC_NEIGHBOURS)
    return float(np.mean(np.abs(rr_ms - around) > ECTOPIC_CHANGE * around))


def label(rr_ms: Floats) -> Label:
    """Rhythm of a readable stretch of intervals. Quality is judged before, by the caller."""
    inside = fibrillation(rr_ms)
    if float(rr_ms[inside].sum()) > 0.5 * float(rr_ms.sum()):
        return "atrial-fibrillation"
    low, middle, high = np.quantile(rr_ms, [0.1, 0.5, 0.9]) if rr_ms.size else (0.0, 1.0, 0.0)
    jumps = float((high - low) / middle) > IRREGULAR_SPREAD
    longest = float(np.max(rr_ms, initial=0.0))
    pauses = longest > max(PAUSE_MS, PAUSE_RATIO * float(middle))
    return "irregular" if jumps or pauses or irregular_share(rr_ms) > IRREGULAR_SHARE else "regular"


@dataclass(frozen=True, slots=True)
class Context:
    """What a series of readings carries from one to the next: its last intervals, and where it ended."""

    rr_ms: tuple[float, ...] = ()
    ended_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Windows:
    """A reading's intervals judged: `inside` fibrillation for each, in the light of what went before."""

    rr_ms: Floats
    inside: Bools
    context: Context

    @property
    def fraction(self) -> float:
        """Share of the reading's time in atrial fibrillation, 0 to 1."""
        total = float(self.rr_ms.sum())
        return float(self.rr_ms[self.inside].sum()) / total if total > 0.0 else 0.0

    @property
    def fibrillation_ms(self) -> float:
        return float(self.rr_ms[self.inside].sum())


def rhythm_windows(rr_ms: Floats, measured_at_ms: int = 0, before: Context | None = None) -> Windows:
    """Judge one reading of shape (n,), alone or in the light of the readings that it continues.

    `measured_at_ms` is the instant of the first interval. `before` is the context that the reading before left;
    it is not used across a gap of more than CONTEXT_GAP_MS.
    """
    earlier: tuple[float, ...] = ()
    if before is not None and abs(measured_at_ms - before.ended_at_ms) <= CONTEXT_GAP_MS:
        earlier = before.rr_ms
    series = np.concatenate([np.asarray(earlier, dtype=np.float64), rr_ms])
    inside = fibrillation(series)[len(earlier) :]
    ended_at_ms = measured_at_ms + round(float(rr_ms.sum()))
    return Windows(rr_ms, inside, Context(tuple(series[-CONTEXT_INTERVALS:].tolist()), ended_at_ms))


def _irregularity(rr_ms: Floats) -> Floats:
    """Share of the pairs among eight neighbours that differ by more than 30 ms. Shape kept."""
    half, last = IRREGULAR_NEIGHBOURS // 2, rr_ms.size - 1
    at = np.abs(np.arange(-half, rr_ms.size + half - 1))
    mirrored = rr_ms[last - np.abs(last - at)]
    parts = [
        _differing(mirrored[first : first + PAIR_COLUMNS + IRREGULAR_NEIGHBOURS - 1])
        for first in range(0, rr_ms.size, PAIR_COLUMNS)
    ]
    return np.concatenate(parts) / len(PAIRS[0])


def _differing(rr_ms: Floats) -> Floats:
    """How many pairs differ among each interval and the seven after it, where there are so many."""
    neighbours = sliding(rr_ms, IRREGULAR_NEIGHBOURS).T
    apart = np.abs(neighbours[PAIRS[0]] - neighbours[PAIRS[1]])
    return np.asarray(np.count_nonzero(apart > IRREGULAR_MS, axis=0), dtype=np.float64)


def _windows(rr_ms: Floats) -> tuple[Floats, Floats]:
    """Windows of WINDOW intervals (or all, if fewer) every WINDOW_STEP, the last at the end, and their middles."""
    n = min(WINDOW, rr_ms.size)
    starts = list(range(0, rr_ms.size - n + 1, WINDOW_STEP))
    if starts[-1] != rr_ms.size - n:
        starts.append(rr_ms.size - n)
    return sliding(rr_ms, n)[starts], np.asarray(starts) + (n - 1) / 2


def _prediction_error(windows: Floats) -> Floats:
    """Median error of linear prediction over the mean interval of each window (row)."""
    order = PREDICTION_ORDER
    mean = windows.mean(axis=1)
    centred = windows - mean[:, None]
    rows = np.lib.stride_tricks.sliding_window_view(centred, order + 1, axis=1)
    past, present = rows[:, :, :order], rows[:, :, order]
    gram = np.matmul(past.transpose(0, 2, 1), past)
    gram += (1e-6 + RIDGE * centred.var(axis=1))[:, None, None] * np.eye(order)
    weights = np.linalg.solve(gram, np.matmul(past.transpose(0, 2, 1), present[:, :, None]))
    errors = np.abs(present - np.matmul(past, weights)[:, :, 0])
    return np.asarray(np.median(errors, axis=1) / mean, dtype=np.float64)


def _narrowest_band(windows: Floats) -> Floats:
    """Width, as a share of its lower end, of the narrowest band with SPREAD_SHARE of each window (row)."""
    ordered = np.sort(windows, axis=1)
    held = max(2, int(SPREAD_SHARE * windows.shape[1]))
    ratio = ordered[:, held - 1 :] / ordered[:, : windows.shape[1] - held + 1]
    return np.asarray(ratio.min(axis=1) - 1.0, dtype=np.float64)


def _order(windows: Floats) -> Floats:
    """By how much the order of each window (row) exceeds what fibrillation has, the worse of both resemblances."""
    # Of the spread that the middle 80 % have and that all have the smaller: a missed beat widens no cloud.
    low, high = np.quantile(windows, [0.1, 0.9], axis=1)
    spread = np.minimum(windows.std(axis=1), (high - low) / TENTHS_APART_SD)
    chance = ORDER_CHANCE + np.log(np.maximum(spread, 1.0))
    median = np.median(windows, axis=1)
    apart = np.abs(windows[:, :, None] - windows[:, None, :])
    apart[:, np.arange(windows.shape[1]), np.arange(windows.shape[1])] = np.inf
    excess = np.zeros(len(windows))
    for share, free in ORDER_RESEMBLES:
        reach = share * median
        alike = apart < reach[:, None, None]
        once = np.count_nonzero(alike[:, :-1, :-1], axis=(1, 2))
        twice = np.count_nonzero(alike[:, :-1, :-1] & alike[:, 1:, 1:], axis=(1, 2))
        entropy = np.log(np.maximum(once, 1) / np.maximum(twice, 1)) + np.log(2 * reach)
        np.maximum(excess, chance - entropy - free, out=excess)
    return excess


def _average(values: Floats) -> Floats:
    """Exponential average forwards, then backwards, along the last axis: no lag. Shape kept."""
    memory = round(1.0 / AVERAGE_WEIGHT)
    forwards = _averaged(values, values[..., :memory])
    return np.asarray(_averaged(forwards[..., ::-1], forwards[..., -memory:])[..., ::-1], dtype=np.float64)


def _averaged(values: Floats, begin: Floats) -> Floats:
    keep = 1.0 - AVERAGE_WEIGHT
    begin_with = keep * begin.mean(axis=-1, keepdims=True)
    averaged, _ = scipy.signal.lfilter([AVERAGE_WEIGHT], [1.0, -keep], values, zi=begin_with)
    return np.asarray(averaged, dtype=np.float64)


def _runs(inside: Bools) -> list[tuple[int, int]]:
    """Runs of true values as (first, end), end excluded."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
