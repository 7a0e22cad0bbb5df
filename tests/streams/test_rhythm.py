"""Atrial fibrillation in RR intervals, and what only looks like it; normal intervals, pauses and runs."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streams.signals import intervals
from streams.signals.rhythm import (
    INTERVALS_MIN,
    Series,
    fibrillation,
    fibrillation_score,
    label,
    longest_episode_ms,
    rhythm_windows,
)
from tests.streams import series
from tests.streams.recordings import needs_recordings, readings_of


def share(rr: np.ndarray) -> float:
    return float(rr[fibrillation(rr)].sum() / rr.sum())


def rng(seed: int = 5) -> np.random.Generator:
    return np.random.default_rng(seed)


NO_FIBRILLATION = {
    "sinus": lambda g: series.sinus(1500, g),
    "deep breathing": lambda g: series.sinus(1500, g, 900.0, 150.0),
    "very deep breathing": lambda g: series.sinus(1500, g, 1000.0, 250.0, 20.0),
    "jitter": lambda g: series.sinus(1500, g, 900.0, 50.0, 60.0),
    "bigeminy": lambda g: series.pattern(1500, g, 0),
    "trigeminy": lambda g: series.pattern(1500, g, 1),
    "quadrigeminy": lambda g: series.pattern(1500, g, 2),
    "Wenckebach": lambda g: np.tile([720.0, 780, 820, 840, 1200], 300) + 10 * g.normal(size=1500),
    "flutter with a changing block": lambda g: np.repeat(g.choice([400.0, 600, 800], 250), 6)
    + 10 * g.normal(size=1500),
    "bigeminy by turns with sinus": lambda g: np.concatenate(
        [series.pattern(40, g, 0) if i % 2 else series.sinus(30, g) for i in range(40)]
    ),
    "missed and extra beats": lambda g: series.with_faults(series.sinus(1500, g), g, 0.03, 0.03),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_FIBRILLATION)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_no_fibrillation(name, seed):
    assert share(NO_FIBRILLATION[name](rng(seed))) <= 0.02


@pytest.mark.parametrize("kind", ["ventricular", "atrial"])
@pytest.mark.parametrize("of_beats", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_many_ectopic_beats_are_no_fibrillation(kind, of_beats, seed):
    g = rng(seed)
    assert share(series.with_ectopic(series.sinus(1500, g), g, of_beats, kind)) <= 0.08


@pytest.mark.parametrize(
    ("mean", "spread"), [(650, 0.2), (500, 0.15), (900, 0.2), (1100, 0.18), (450, 0.15), (700, 0.3)]
)
@pytest.mark.parametrize("seed", range(3))
def test_fibrillation_is_found_fast_and_slow(mean, spread, seed):
    assert share(series.fibrillation(1500, rng(seed), mean, spread)) >= 0.92


def test_fibrillation_is_found_through_missed_and_extra_beats():
    g = rng()
    assert share(series.with_faults(series.fibrillation(1500, g), g, 0.03, 0.03)) >= 0.95


@pytest.mark.parametrize("seed", range(4))
def test_an_episode_of_five_minutes_is_found_with_its_length(seed):
    g = rng(seed)
    before, episode, after = series.sinus(900, g), series.fibrillation(460, g), series.sinus(900, g)
    rr = np.concatenate([before, episode, after])
    inside = fibrillation(rr)
    assert longest_episode_ms(rr, inside) == pytest.approx(float(episode.sum()), rel=0.1)
    assert not inside[:860].any()


def test_two_minutes_of_fibrillation_among_ectopic_beats_is_found():
    g = rng()
    sinus = series.with_ectopic(series.sinus(600, g), g, 0.05, "atrial")
    rr = np.concatenate([sinus, series.fibrillation(200, g), sinus])
    assert 0.07 <= share(rr) <= 0.18


def test_breathing_with_ectopic_beats_in_bursts_is_no_fibrillation():
    g = rng()
    calm = series.sinus(100, g)
    burst = series.with_ectopic(series.sinus(40, g), g, 0.3, "atrial")
    assert share(np.concatenate([calm, burst] * 10)) <= 0.05


@given(cuts=st.lists(st.integers(1, 1499), max_size=30))
@settings(max_examples=25, deadline=None)
def test_how_a_recording_is_cut_into_readings_hardly_matters(cuts):
    """Whole minutes are judged alike whatever the chunking, if readings carry their context."""
    g = rng(3)
    rr = np.concatenate([series.sinus(500, g), series.fibrillation(500, g), series.sinus(500, g)])
    edges = [0, *sorted({(cut // 100) * 100 for cut in cuts} - {0}), rr.size]
    found, context, at_ms = 0.0, None, 0
    for first, end in itertools.pairwise(edges):
        part = rr[first:end]
        windows = rhythm_windows(part, at_ms, context)
        found += windows.fibrillation_ms
        context, at_ms = windows.context, windows.context.ended_at_ms
    assert found / rr[500:1000].sum() == pytest.approx(1.0, abs=0.2)


def test_a_reading_of_five_minutes_is_judged_by_itself():
    assert rhythm_windows(series.fibrillation(450, rng())).fraction >= 0.95
    assert rhythm_windows(series.sinus(400, rng())).fraction == 0.0


def test_context_is_not_used_across_a_gap():
    g = rng()
    before = rhythm_windows(series.fibrillation(400, g), 0)
    later = before.context.ended_at_ms + 60_000
    assert rhythm_windows(series.sinus(60, g), later, before.context).fraction == 0.0


SHORT_SERIES = [
    *(lambda g, n, made=made: made(g)[:n] for made in NO_FIBRILLATION.values()),
    lambda g, n: series.fibrillation(n, g),
    lambda g, n: series.with_ectopic(series.sinus(n, g), g, 0.2, "ventricular"),
    lambda g, n: g.uniform(150, 5000, n),
    lambda g, n: np.where(g.random(n) < 0.5, 250.0, 3000.0),
    lambda g, n: np.full(n, g.uniform(300, 1500)),
]


@given(kind=st.sampled_from(SHORT_SERIES), seed=st.integers(0, 2**32 - 1), n=st.integers(INTERVALS_MIN, 400))
@settings(max_examples=300, deadline=None)
def test_what_is_spared_where_fibrillation_is_out_of_the_question_changes_nothing(kind, seed, n):
    rr = kind(rng(seed), n)
    assert np.all(Series.of(rr).highest_score() >= fibrillation_score(rr))
    with mock.patch.object(Series, "highest_score", return_value=np.ones(n)):
        whole = fibrillation(rr)
    assert np.array_equal(fibrillation(rr), whole)


@given(rr=hnp.arrays(np.float64, st.integers(INTERVALS_MIN, 150), elements=st.floats(20, 20_000)))
@settings(max_examples=100, deadline=None)
def test_no_series_scores_higher_than_its_bound(rr):
    assert np.all(Series.of(rr).highest_score() >= fibrillation_score(rr))


def test_a_long_series_is_judged_in_parts_as_a_whole():
    rr = series.fibrillation(9_000, rng())
    whole = fibrillation_score(rr)
    assert np.allclose(whole[:4_000], fibrillation_score(rr[:4_600])[:4_000], atol=1e-6)


@given(
    rr=hnp.arrays(np.float64, st.integers(0, 300), elements=st.floats(150, 5000)),
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_gets_a_label_and_a_share(rr):
    windows = rhythm_windows(rr)
    assert 0.0 <= windows.fraction <= 1.0
    assert windows.inside.shape == rr.shape
    assert label(rr) in {"regular", "irregular", "atrial-fibrillation"}


def test_the_rhythm_of_a_strip_is_told_by_name():
    g = rng()
    assert label(series.sinus(35, g)) == "regular"
    assert label(series.pattern(36, g, 1)) == "irregular"
    assert label(series.fibrillation(45, g)) == "atrial-fibrillation"
    assert label(np.empty(0)) == "regular"


def test_ectopic_beats_and_their_pauses_are_not_normal():
    rr = np.array([800.0, 810, 790, 500, 1100, 805, 795, 200, 600, 800, 3200, 800])
    assert intervals.normal(rr).tolist() == [True] * 3 + [False] * 2 + [True] * 2 + [False] * 2 + [
        True,
        False,
        True,
    ]


def test_a_pause_is_above_three_seconds():
    assert intervals.longest_pause_ms(np.array([800.0, 3000.0, 900.0])) is None
    assert intervals.longest_pause_ms(np.array([800.0, 3001.0, 4200.0])) == 4200.0


def test_extreme_tachycardia_needs_seventeen_beats_above_140():
    fast, slow = np.full(16, 420.0), np.full(40, 800.0)
    assert intervals.fastest_run_per_min(np.concatenate([slow, fast, slow])) == pytest.approx(
        142.86, abs=0.01
    )
    assert intervals.fastest_run_per_min(np.concatenate([slow, fast[:15], slow])) is None
    assert intervals.fastest_run_per_min(fast[:15]) is None


def test_t_waves_counted_as_beats_are_no_tachycardia():
    assert intervals.fastest_run_per_min(np.tile([240.0, 560.0], 30)) is None


def test_extreme_bradycardia_needs_five_beats_below_40():
    slow, usual = np.full(4, 1600.0), np.full(20, 900.0)
    assert intervals.slowest_run_per_min(np.concatenate([usual, slow, usual])) == pytest.approx(37.5)
    assert intervals.slowest_run_per_min(np.concatenate([usual, slow[:3], usual])) is None


def test_one_pause_is_no_bradycardia():
    assert intervals.slowest_run_per_min(np.array([900.0] * 10 + [4800.0] + [900.0] * 10)) is None


@needs_recordings
@pytest.mark.parametrize(("name", "percent"), [("rr_afdb_04015", 0.66), ("rr_afdb_05121", 64.5)])
def test_the_share_of_time_in_fibrillation_is_within_eight_points_of_the_truth(name, percent):
    rr = np.concatenate([reading.values["rr"] for reading in readings_of(name)])
    assert 100 * share(rr) == pytest.approx(percent, abs=8)
    alone = [rhythm_windows(np.asarray(reading.values["rr"])) for reading in readings_of(name)]
    assert 100 * sum(w.fibrillation_ms for w in alone) / rr.sum() == pytest.approx(percent, abs=8)


@needs_recordings
def test_normal_sinus_rhythm_is_never_fibrillation():
    for reading in readings_of("rr_nsr2_nsr001"):
        assert rhythm_windows(np.asarray(reading.values["rr"])).fraction == 0.0


def test_a_single_pause_makes_a_strip_irregular_and_a_very_slow_heart_is_regular():
    steady = np.full(30, 800.0)
    assert label(steady) == "regular"
    assert label(np.insert(steady, 12, 5_000.0)) == "irregular"
    assert label(np.full(9, 3_100.0)) == "regular"
