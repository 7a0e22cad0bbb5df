"""Beats in recordings modelled on the difficult records of MIT-BIH; bench/signals.py has the figures of more seeds."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from streams.signals.qrs import detect_beats
from streams.signals.steps import without_steps
from tests.streams import record_models
from tests.streams.record_models import FS, MODELS
from tests.streams.strips import agreement

SEED, STRIPS, SIZE = 11, 2, int(30 * FS)


@cache
def counts(like: str) -> tuple[int, int, int]:
    """Beats found, missed, and found where there is none, in strips of 30 s; flutter of the ventricles left out."""
    model = next(model for model in MODELS if model.like == like)
    made = model.recording(SEED, 30.0 * STRIPS)
    cut = [made.samples[i * SIZE : (i + 1) * SIZE] for i in range(STRIPS)]
    found = np.concatenate([detect_beats(strip, FS) + i * SIZE for i, strip in enumerate(cut)])
    true = made.beats[made.beats < STRIPS * SIZE]
    return agreement(record_models.scored(found, made), record_models.scored(true, made), FS)


@pytest.mark.parametrize("like", [model.like for model in MODELS])
def test_a_recording_like_a_difficult_record_is_read(like):
    found, missed, wrong = counts(like)
    assert missed <= max(2, 0.02 * (found + missed))
    assert wrong <= max(2, 0.02 * (found + wrong))


def test_over_all_records_the_target_is_kept():
    found, missed, wrong = np.sum([counts(model.like) for model in MODELS], axis=0).tolist()
    assert found / (found + missed) >= 0.995
    assert found / (found + wrong) >= 0.995


def test_a_step_of_the_potential_is_taken_out_and_a_spike_stays():
    samples = MODELS[0].recording(SEED, 12.0).samples  # a pacemaker's spikes
    assert without_steps(samples, FS) is samples
    stepped = samples.copy()
    stepped[2000:] += 4.0
    cleaned = without_steps(stepped, FS)
    assert np.abs(np.median(cleaned[2000:]) - np.median(samples[2000:])) < 0.2
    assert np.array_equal(cleaned[:1990], samples[:1990])
