"""Beats in strips of the kinds on which detectors fail; the figures of docs/signals.md come from bench/signals.py."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.signals.qrs import LONG_S, detect_beats
from tests.streams import hard_strips
from tests.streams.recordings import needs_recordings, record_100
from tests.streams.strips import agreement

SEED, SECONDS = 7, 120.0
# Waves of ventricular flutter have no beat that two people would place alike; blunt ectopic beats of many shapes in
# fibrillation, on an electrode that shifts, are missed now and then.
FLOOR = {
    "ventricular flutter and block": (0.80, 0.85),
    "fibrillation, many shapes, steps": (0.95, 0.95),
    "left block, low": (0.98, 0.94),
    "blunt ectopic beats": (0.96, 0.99),
    "many ectopic beats": (0.96, 0.99),
    "blocked P waves": (0.99, 0.95),
    "small beats, large ectopics, bursts": (0.98, 0.95),
}
CASES = {case.name: case for case in hard_strips.CASES}


@cache
def counts(name: str, cut_s: float, sign: float = 1.0) -> tuple[int, int, int]:
    """Beats found, missed, and found where there is none, in strips of `cut_s`."""
    case = CASES[name]
    samples, beats = case.recording(SEED, SECONDS)
    size = int(cut_s * case.fs)
    total = np.zeros(3, dtype=int)
    for first in range(0, samples.size - size + 1, size):
        inside = beats[(beats >= first) & (beats < first + size)] - first
        total += agreement(detect_beats(sign * samples[first : first + size], case.fs), inside, case.fs)
    return tuple(total.tolist())


def rates(found: int, missed: int, wrong: int) -> tuple[float, float]:
    return found / (found + missed), found / (found + wrong)


@pytest.mark.parametrize("name", CASES)
def test_beats_are_found_in_what_makes_records_difficult(name):
    sensitivity, predictivity = rates(*counts(name, 30.0))
    floor = FLOOR.get(name, (0.98, 0.98))
    assert sensitivity >= floor[0]
    assert predictivity >= floor[1]


@pytest.mark.parametrize(
    ("cut_s", "sign", "sensitivity"), [(30.0, 1.0, 0.993), (30.0, -1.0, 0.99), (10.0, 1.0, 0.985)]
)
def test_over_all_difficulties_the_target_is_kept(cut_s, sign, sensitivity):
    names = [name for name in CASES if name != "ventricular flutter and block"]
    found = rates(*np.sum([counts(name, cut_s, sign) for name in names], axis=0).tolist())
    assert found[0] >= sensitivity
    assert found[1] >= 0.993


def test_a_long_recording_is_read_like_its_strips():
    samples, beats = CASES["ectopic beats at 250 Hz"].recording(SEED, 400.0)
    assert samples.size > 250 * LONG_S
    found, missed, wrong = agreement(detect_beats(samples, 250.0), beats, 250.0)
    assert missed + wrong <= 0.005 * beats.size
    assert found >= 0.995 * beats.size


@given(shift=st.integers(1, 600))
@settings(max_examples=8, deadline=None)
def test_where_a_strip_begins_hardly_changes_the_beats_within_it(shift):
    samples, _ = CASES["electrode motion 12 dB"].recording(SEED, 40.0)
    size = 30 * 360
    one, other = (
        detect_beats(samples[:size], 360.0),
        detect_beats(samples[shift : shift + size], 360.0) + shift,
    )
    low, high = shift + 360, size - 360
    one, other = one[(one > low) & (one < high)], other[(other > low) & (other < high)]
    _, missed, wrong = agreement(one, other, 360.0)
    assert missed + wrong <= 1


@needs_recordings
@pytest.mark.parametrize(
    ("kind", "ratio_db"), [("electrode", 12.0), ("electrode", 6.0), ("muscle", 6.0), ("muscle", 3.0)]
)
def test_the_recording_in_noise_keeps_to_the_target(kind, ratio_db):
    samples, beats, fs = record_100()
    noisy = hard_strips.noisy(samples, fs, np.random.default_rng(SEED), kind, ratio_db, 1.3)
    found, missed, wrong = agreement(detect_beats(noisy, fs), beats, fs)
    assert min(rates(found, missed, wrong)) >= 0.995
