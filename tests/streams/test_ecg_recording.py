"""Beats of MIT-BIH record 100 against the cardiologists', clean and in noise."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from devices.decode import ecg_samples
from streams.signals.ecg import analyse
from tests.streams import strips
from tests.streams.recordings import FOLDER, needs_recordings, readings_of

FS = 360.0
SECONDS = 30

pytestmark = needs_recordings


def record() -> list[tuple[np.ndarray, np.ndarray]]:
    """Each strip's samples and the beats annotated in it, by sample from its start."""
    with (FOLDER / "ecg_mitdb_100_beats.csv").open() as file:
        beats = np.array([int(row["sample"]) for row in csv.DictReader(file)])
    size = int(SECONDS * FS)
    return [
        (ecg_samples(reading.values), beats[(beats >= i * size) & (beats < (i + 1) * size)] - i * size)
        for i, reading in enumerate(readings_of("ecg_mitdb_100"))
    ]


def score(change) -> tuple[float, float]:
    """Sensitivity and positive predictivity over the record, each strip by itself."""
    both = missed = wrong = 0
    for i, (samples, beats) in enumerate(record()):
        b, m, w = strips.agreement(analyse(change(samples, i), FS).beats, beats, FS)
        both, missed, wrong = both + b, missed + m, wrong + w
    return both / (both + missed), both / (both + wrong)


def test_the_clean_record_is_found_beat_by_beat():
    sensitivity, predictivity = score(lambda samples, i: samples)
    assert sensitivity >= 0.998
    assert predictivity >= 0.998


@pytest.mark.parametrize(
    ("kind", "ratio_db"),
    [("muscle", 12.0), ("muscle", 6.0), ("wander", 0.0), ("motion", 12.0), ("motion", 6.0)],
)
def test_the_record_in_noise_keeps_to_the_target(kind, ratio_db):
    sensitivity, predictivity = score(lambda x, i: strips.with_noise(x, FS, kind, ratio_db, 1.3, seed=i))
    assert sensitivity >= 0.995
    assert predictivity >= 0.995


@pytest.mark.parametrize("gain", [-1.0, 0.15])
def test_the_record_inverted_and_small_keeps_to_the_target(gain):
    assert min(score(lambda samples, i: gain * samples)) >= 0.998


def test_the_record_is_readable_and_regular():
    found = [analyse(samples, FS) for samples, _ in record()]
    assert min(strip.quality for strip in found) >= 0.9
    assert {strip.rhythm for strip in found} == {"regular"}
