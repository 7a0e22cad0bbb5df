"""Where the heart beats in a strip of ECG: QRS detection that looks at the whole strip at once.

Three steps. (1) Energy of the slope and of the signal between 4 and 20 Hz has a peak at each QRS, and at much
else; its peaks are the candidates. (2) A candidate's score says how high it is beside the beats around it and
beside what lies between them, and how well its shape agrees with other beats of the strip: muscle noise and
electrode motion repeat no shape. (3) The beats are the chain of candidates with the highest sum of scores, less what
it costs to have two beats too close or too far apart for the rhythm around them, or a beat and what may be its T or
P wave (dynamic programming). So a weak beat is found where one is missing, and a T wave is not taken for one; nothing
is decided before the end is seen. Steps 2 and 3 repeat until the beats stay the same.

No filter has a phase, nothing needs time to learn, so the first and last beat of a strip count like any other.
The figures were set on synthetic strips of the kinds on which detectors fail (tests/streams/hard_strips.py) and on
MIT-BIH record 100; docs/signals.md tells how, and what is reached on strips that were not used. The general scheme
follows Pan & Tompkins 1985 in its band, in its test for T waves and in its search for missed beats.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from streams.signals.filters import WORK_HZ, Floats, Ints, band_pass, sliding, smooth, to_work
from streams.signals.steps import without_steps
from streams.signals.waves import Waves, sharpness

Bools = NDArray[np.bool_]

QRS_BAND_HZ = (4.0, 20.0)  # ventricular ectopics are slow: Pan & Tompkins' 5 to 15 Hz loses low ones
SHAPE_BAND_HZ = (1.0, 30.0)
ENERGY_WINDOW_S = 0.18
SLOPE_EQUALS_SIGNAL_AT_RAD_S = 60.0  # at 9.5 Hz the slope weighs like the signal itself

# A candidate's height is the geometric mean of its energy and its size: the QRS of a block is wide and poor in
# fast components, a P wave beside it small and not so poor.
SIZE_SHARE = 0.4
SIZE_REACH_S = 0.08

CANDIDATE_DISTANCE_S = 0.12
CANDIDATE_MIN = 0.1  # of the level around: lower peaks are no beat in any rhythm
FIRST_LEVEL_WINDOW_S = 1.5  # holds a beat above 40/min
FIRST_THRESHOLD = 0.35
ROUNDS_MAX = 4  # the chain is stable after two or three

THRESHOLD = 0.30  # of the level around, where height speaks neither for nor against a beat
HEIGHT_SCORE = (-2.0, 2.5)  # bounds of log2(height / threshold)
SHAPE_NEUTRAL = 0.53  # correlation that speaks neither way
SHAPE_RANGE = (0.2, 0.95)  # a beat of a shape of its own is not held too much against it
SHAPE_WEIGHT = 2.3
SHAPE_BONUS = 0.75  # for near identity, from 0.85 to 0.95
MODEL_MIN = 0.55  # of the level: a lower beat lends its shape to no other, or P waves vouch for P waves
SHAPE_FRIENDS = 3  # a shape must be shared with so many beats
SHAPE_BEATS_MIN = 4
SHAPE_SPAN_S = (0.19, 0.30)  # before and after the peak: QRS, ST segment and part of the T wave
SHAPE_MODELS_FULL = (
    20  # among fewer, a shape of its own speaks less against a beat: a short strip shows each kind once
)
SHAPE_LAG = 2  # samples at WORK_HZ
SHAPE_CELLS = 1_000_000  # correlations at a time, 8 MB: a strip of up to three minutes is compared at once

# A candidate that lies this long after a beat and before the next, and is no lower than this beside them, may
# be a beat of another kind, and lends its shape to its like: small normal beats among large ectopic ones.
APART_S = (0.45, 0.30)
APART_MIN = 0.29

# What lies between the beats (the lowest third of HUM_WINDOW_S) fluctuates: its peaks are about twice as high and no
# beats. In a quiet strip THRESHOLD decides, in noise this.
HUM_WINDOW_S = 4.0
HUM_QUANTILE = 0.3
HUM_FACTOR = 2.2
HUM_MAX = 0.8  # in a racing heart nothing lies between the beats

LEVEL_BEATS = 9  # neighbours that set the level and the usual interval
LEVEL_QUANTILE = 0.34  # below the median: among large ectopics the small normal beats set it
LEVEL_LEAST = (
    0.72  # of the level that the highest candidates set: P waves that were let in do not lower it further
)
LEVEL_FLOOR = 0.4  # of the strip's level
LEVEL_OF_LOUD = 0.15  # of the louder part's: when the heart stands still, what is left is no small heart

RR_START_S = 0.8
RR_RANGE_S = (0.3, 1.5)
RR_CAP_S = 1.2  # in slow rhythms intervals are judged as at 50/min
GAP_FREE = 1.35  # usual intervals
GAP_COST = 1.0  # for each usual interval more
GAP_COST_MAX = 0.75  # pauses happen
CLOSE_FREE = 0.7
CLOSE_COST = 2.8  # for each usual interval less
REFRACTORY_S = 0.2
RACING_S = 0.3  # intervals below cost RACING_COST a second more
RACING_COST = 20.0
# What opens a strip may be the T wave of a beat before it: a first beat so early must be better than neutral.
START_DOUBT_S = 0.4
START_DOUBT = 0.5

# Candidates are compared with each other: time and memory grow with the square of their number, some 300 a minute.
# What is longer than the strips that devices send is cut into pieces that overlap by the margin on both sides.
LONG_S = 70.0
PIECE_S = 30.0
MARGIN_S = 8.0

PEAK_SEARCH_S = 0.07
PEAK_BASE_S = 0.2
PEAK_BAND_HZ = (1.0, 40.0)

EDGE_S = 0.07  # a beat this close to an edge may have its peak beyond it
EDGE_REACH_S = 0.16
EDGE_SPAN_S = (0.2, 0.25)
EDGE_MATCH = 0.7
EDGE_SURE = -1  # samples at WORK_HZ: what is less far outside counts here
EDGE_TEMPLATES_MAX = 12
EDGE_OVERLAP_S = 0.1

# Peaks of the energy below this, in mV, are the noise of an amplifier whose electrodes lie on the table.
AMPLITUDE_MIN_MV = 0.004


def detect_beats(samples_mv: Floats, fs: float) -> Ints:
    """Sample indices of the R peaks (or of what stands out most in each QRS), ascending.

    `samples_mv` has shape (n,), finite, in mV at `fs` Hz, 100 to 1000; any n. Empty when nothing stands out.
    """
    if samples_mv.size > fs * LONG_S:
        return _piecewise(samples_mv, fs)
    if samples_mv.size < fs * REFRACTORY_S:
        return np.empty(0, dtype=np.int64)
    samples_mv = without_steps(samples_mv, fs)
    work, scale = to_work(samples_mv - np.median(samples_mv), fs)
    shape = band_pass(work, *SHAPE_BAND_HZ, WORK_HZ)
    beats = _chain(qrs_energy(work), shape, sharpness(work))
    if beats.size == 0:
        return beats
    peaks = _peaks(samples_mv, fs, beats / scale)
    return _drop_beyond_edges(peaks, np.round(peaks * scale).astype(np.int64), shape)


def _piecewise(samples_mv: Floats, fs: float) -> Ints:
    """Beats of a long recording, from pieces that overlap: what each finds within its own part counts."""
    core, margin = int(PIECE_S * fs), int(MARGIN_S * fs)
    found = []
    for first in range(0, samples_mv.size, core):
        begin = max(0, first - margin)
        beats = detect_beats(samples_mv[begin : first + core + margin], fs) + begin
        found.append(beats[(beats >= first) & (beats < first + core)])
    beats = np.concatenate(found)
    # A beat on the border between two parts may be placed on either side of it by both.
    twice = np.flatnonzero(np.diff(beats) < REFRACTORY_S * fs) + 1
    return np.delete(beats, twice)


def qrs_energy(work: Floats) -> Floats:
    """Root of the smoothed energy of signal and slope in the QRS band, in mV; shape kept."""
    band = band_pass(work, *QRS_BAND_HZ, WORK_HZ)
    slope = np.gradient(band) * (WORK_HZ / SLOPE_EQUALS_SIGNAL_AT_RAD_S)
    energy = smooth(band**2 + slope**2, ENERGY_WINDOW_S, WORK_HZ)
    return np.sqrt(np.maximum(energy, 0.0))


def _chain(energy: Floats, shape: Floats, sharp: Floats) -> Ints:
    """The candidates that are beats, as positions at WORK_HZ."""
    # Zeros on both sides let a peak at the very edge be one.
    at = scipy.signal.find_peaks(np.pad(energy, 1), distance=int(CANDIDATE_DISTANCE_S * WORK_HZ))[0] - 1
    at = at[energy[at] > AMPLITUDE_MIN_MV]
    if at.size == 0:
        return np.empty(0, dtype=np.int64)
    size = _size(shape)
    height = _mean(energy[at], size[at])
    level, floor = _first_level(at, height, energy.size)
    kept = height > CANDIDATE_MIN * level
    least = np.maximum(LEVEL_FLOOR * floor, LEVEL_LEAST * level[kept])
    at, height, level = at[kept], height[kept], level[kept]
    hum = _mean(_hum(energy)[at], _hum(size)[at])
    time_s, length_s = at / WORK_HZ, energy.size / WORK_HZ
    usual_s = np.full(at.size, RR_START_S)
    score = np.clip(np.log2(height / level / FIRST_THRESHOLD), *HEIGHT_SCORE)
    waves = Waves(time_s, height, sharp[at], size[at])
    beats = _best_chain(time_s, score, usual_s, length_s, waves.cost())
    for _ in range(ROUNDS_MAX):
        if np.count_nonzero(beats) < 2:
            break
        level = np.maximum(_level_around(at, beats, height), least)
        relative = height / level
        models = (beats & (relative > MODEL_MIN)) | _apart(time_s, beats, relative)
        threshold = np.clip(HUM_FACTOR * hum / level, THRESHOLD, HUM_MAX)
        score = _score(relative, threshold, shape, at, models) - waves.slow_and_small(beats, relative)
        usual_s = _usual_interval(time_s, beats)
        again = _best_chain(
            time_s, score, usual_s, length_s, waves.cost(beats) + _close_cost(time_s, usual_s)
        )
        if np.array_equal(again, beats):
            break
        beats = again
    return np.asarray(at[beats], dtype=np.int64)


def _mean(energy: Floats, size: Floats) -> Floats:
    """Geometric mean, weighted; shape kept."""
    return np.asarray(energy ** (1.0 - SIZE_SHARE) * size**SIZE_SHARE, dtype=np.float64)


def _hum(values: Floats) -> Floats:
    """What is there between the beats: the lowest third, within 2 s of each sample. Shape kept."""
    width = int(HUM_WINDOW_S * WORK_HZ)
    starts = np.arange(0, max(1, values.size - width // 2), width // 4)
    found = np.array([np.quantile(values[first : first + width], HUM_QUANTILE) for first in starts])
    return np.asarray(np.interp(np.arange(values.size), starts + width / 2, found), dtype=np.float64)


def _size(shape: Floats) -> Floats:
    """Height from lowest to highest within SIZE_REACH_S of each sample, in mV; shape kept."""
    width = 2 * int(SIZE_REACH_S * WORK_HZ) + 1
    return np.asarray(
        scipy.ndimage.maximum_filter1d(shape, width) - scipy.ndimage.minimum_filter1d(shape, width),
        dtype=np.float64,
    )


def _first_level(at: Ints, height: Floats, length: int) -> tuple[Floats, float]:
    """A level for each candidate, from the maxima of consecutive windows, and one for the strip."""
    width = int(FIRST_LEVEL_WINDOW_S * WORK_HZ)
    maxima = np.zeros(-(-length // width))
    np.maximum.at(maxima, at // width, height)
    strip = max(float(np.quantile(maxima, 0.6)), LEVEL_OF_LOUD * float(np.quantile(maxima, 0.75)))
    padded = np.pad(maxima, 3, mode="reflect") if maxima.size > 3 else np.full(maxima.size + 6, strip)
    around = np.clip(np.median(sliding(padded, 7), axis=1), 0.5 * strip, 2.0 * strip)
    return np.maximum(around[at // width], AMPLITUDE_MIN_MV), strip


def _level_around(at: Ints, beats: Bools, height: Floats) -> Floats:
    """For each candidate the level of the LEVEL_BEATS beats nearest to it."""
    heights = height[beats]
    width = min(LEVEL_BEATS, heights.size)
    first = np.clip(np.searchsorted(at[beats], at) - width // 2, 0, heights.size - width)
    return np.asarray(np.quantile(sliding(heights, width), LEVEL_QUANTILE, axis=1)[first], dtype=np.float64)


def _usual_interval(time_s: Floats, beats: Bools) -> Floats:
    """For each candidate the median of the intervals around it, in seconds."""
    times = time_s[beats]
    intervals = np.diff(times)
    width = min(LEVEL_BEATS, intervals.size)
    medians = np.median(sliding(intervals, width), axis=1)
    first = np.clip(np.searchsorted(times, time_s) - 1 - width // 2, 0, medians.size - 1)
    return np.asarray(np.clip(medians[first], *RR_RANGE_S), dtype=np.float64)


def _apart(time_s: Floats, beats: Bools, relative: Floats) -> Bools:
    """Candidates that may be beats of a second kind: neither T waves of the beats so far nor their P waves."""
    times = np.concatenate([[-np.inf], time_s[beats], [np.inf]])
    after = np.searchsorted(times, time_s)
    since, until = time_s - times[after - 1], times[after] - time_s
    return np.asarray(~beats & (relative > APART_MIN) & (since > APART_S[0]) & (until > APART_S[1]))


def _score(relative: Floats, threshold: Floats, shape: Floats, at: Ints, models: Bools) -> Floats:
    """What speaks for each candidate: its height against the level around, and its likeness to models."""
    likeness = np.full(at.size, SHAPE_NEUTRAL)
    if np.count_nonzero(models) >= SHAPE_BEATS_MIN:
        likeness = shared_shape(shape, at, models)
    by_height = np.clip(np.log2(np.maximum(relative, 1e-3) / threshold), *HEIGHT_SCORE)
    by_shape = SHAPE_WEIGHT * (np.clip(likeness, *SHAPE_RANGE) - SHAPE_NEUTRAL)
    by_shape *= np.where(by_shape < 0.0, min(1.0, np.count_nonzero(models) / SHAPE_MODELS_FULL), 1.0)
    return np.asarray(by_height + by_shape + SHAPE_BONUS * np.clip((likeness - 0.85) / 0.1, 0.0, 1.0))


def shared_shape(shape: Floats, at: Ints, models: Bools) -> Floats:
    """For each position `at` its SHAPE_FRIENDS-th best correlation with the beats `models`, not itself.

    Between -1 and 1; a lag of up to SHAPE_LAG samples is allowed.
    """
    before, after = (int(span * WORK_HZ) for span in SHAPE_SPAN_S)
    pad = before + after + SHAPE_LAG + 2
    padded = np.pad(shape, pad, mode="edge")
    own = np.flatnonzero(models)
    reference = _normalised(padded[at[own][:, None] + pad + np.arange(-before, after + 1)]).T
    offsets = pad + np.arange(-before - SHAPE_LAG, after + SHAPE_LAG + 1)
    rows = max(1, SHAPE_CELLS // max(1, own.size))
    parts = [
        _friendship(padded[at[first : first + rows, None] + offsets], reference, own - first)
        for first in range(0, at.size, rows)
    ]
    return np.concatenate(parts)


def _friendship(wide: Floats, reference: Floats, own: Ints) -> Floats:
    """For each row of `wide` its SHAPE_FRIENDS-th best correlation with a column of `reference`, of which `own` says
    in what row (here or elsewhere) it stands itself."""
    width, count = reference.shape
    best = np.full((len(wide), count), -1.0)
    for lag in range(2 * SHAPE_LAG + 1):
        np.maximum(best, _normalised(wide[:, lag : lag + width]) @ reference, out=best)
    here = np.flatnonzero((own >= 0) & (own < len(wide)))
    best[own[here], here] = -1.0
    rank = max(0, count - min(SHAPE_FRIENDS, count - 1))
    best.partition(rank, axis=1)
    return best[:, rank].copy()  # or the whole would be kept


def _normalised(windows: Floats) -> Floats:
    centred = windows - windows.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))


def _close_cost(time_s: Floats, usual_s: Floats) -> Floats:
    """What it costs that one candidate (row) follows another (column) sooner than beats do around it."""
    interval = time_s[:, None] - time_s[None, :]
    usual = np.minimum(usual_s, RR_CAP_S)[:, None]
    return np.asarray(CLOSE_COST * np.maximum(CLOSE_FREE - interval / usual, 0.0))


def _best_chain(time_s: Floats, score: Floats, usual_s: Floats, length_s: float, pair_cost: Floats) -> Bools:
    """Which candidates make the chain with the highest sum; shape (n,), n ≥ 1; `pair_cost` of shape (n, n)."""
    interval = time_s[:, None] - time_s[None, :]
    usual = np.minimum(usual_s, RR_CAP_S)[:, None]
    cost = pair_cost + _gap_cost(interval, usual)
    cost += RACING_COST * np.maximum(RACING_S - interval, 0.0)
    cost[interval < REFRACTORY_S] = np.inf
    best = score - _gap_cost(time_s, usual[:, 0]) - START_DOUBT * (time_s < START_DOUBT_S)
    before = np.full(time_s.size, -1)
    for i in range(1, time_s.size):
        sums = best[:i] - cost[i, :i]
        j = int(np.argmax(sums))
        if sums[j] + score[i] > best[i]:
            best[i] = sums[j] + score[i]
            before[i] = j
    beats = np.zeros(time_s.size, dtype=np.bool_)
    i = int(np.argmax(best - _gap_cost(length_s - time_s, usual[:, 0])))
    while i >= 0:
        beats[i] = True
        i = int(before[i])
    return beats


def _gap_cost(interval: Floats, usual: Floats) -> Floats:
    return np.asarray(np.clip(GAP_COST * (interval / usual - GAP_FREE), 0.0, GAP_COST_MAX))


def _peaks(samples_mv: Floats, fs: float, around: Floats) -> Ints:
    """The sample that stands out most from its surroundings, near each position; at the device's rate."""
    band = band_pass(samples_mv, *PEAK_BAND_HZ, fs)
    reach, base = int(PEAK_SEARCH_S * fs), int(PEAK_BASE_S * fs)
    peaks = np.empty(around.size, dtype=np.int64)
    for i, middle in enumerate(np.round(around).astype(int).tolist()):
        middle = min(middle, band.size - 1)
        first = max(0, middle - reach)
        level = np.median(band[max(0, middle - base) : middle + base + 1])
        peaks[i] = first + int(np.argmax(np.abs(band[first : middle + reach + 1] - level)))
    return np.unique(peaks)


def _drop_beyond_edges(peaks: Ints, work_peaks: Ints, shape: Floats) -> Ints:
    """Drop a first or last beat of which the strip shows only a flank: its peak belongs to the neighbour."""
    margin = int(max(EDGE_SPAN_S) * WORK_HZ)
    inner = work_peaks[(work_peaks > margin) & (work_peaks < shape.size - margin)][:EDGE_TEMPLATES_MAX]
    keep = np.ones(peaks.size, dtype=np.bool_)
    if inner.size >= 3:
        keep[0] &= not _peak_lies_before(work_peaks[0], shape, inner, EDGE_SPAN_S[1])
        mirrored = shape.size - 1 - work_peaks
        keep[-1] &= not _peak_lies_before(mirrored[-1], shape[::-1], shape.size - 1 - inner, EDGE_SPAN_S[0])
    return peaks[keep]


def _peak_lies_before(peak: int, shape: Floats, inner: Ints, span_s: float) -> bool:
    """Whether the beat near the start of `shape` fits other beats best with its peak before the start."""
    if peak > EDGE_S * WORK_HZ:
        return False
    reach, span = int(EDGE_REACH_S * WORK_HZ), int(span_s * WORK_HZ)
    best, best_at = -1.0, 0
    for beat in inner.tolist():
        for offset in range(-reach, reach + 1):
            model = shape[max(beat - offset, 0) : beat + span]
            if beat < offset or model.size < EDGE_OVERLAP_S * WORK_HZ:
                continue
            seen = shape[: model.size]
            fit = _concordance(model, seen)
            if fit > best:
                best, best_at = fit, offset
    return best_at < EDGE_SURE if best > EDGE_MATCH else peak == 0


def _concordance(one: Floats, other: Floats) -> float:
    """1 for the same shape at the same size, less for either: a flank must reach as high as its model's."""
    one, other = one - one.mean(), other - other.mean()
    scale = float(one @ one + other @ other)
    return 2.0 * float(one @ other) / scale if scale > 0.0 else -1.0
