"""Beats, quality and rhythm of ECG strips whose beats are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streams.signals.ecg import analyse
from streams.signals.qrs import detect_beats
from tests.streams import strips

FS = 360.0


def found_share(samples, beats, fs: float = FS) -> tuple[float, float]:
    both, missed, wrong = strips.agreement(detect_beats(samples, fs), beats, fs)
    return both / (both + missed), both / (both + wrong)


@pytest.mark.parametrize("shape", [name for name in strips.SHAPES if not name.startswith("pvc")])
def test_every_beat_of_a_clean_strip_is_found_whatever_its_shape(shape):
    samples, beats = strips.regular(shape)
    assert strips.agreement(detect_beats(samples, FS), beats, FS) == (beats.size, 0, 0)


@pytest.mark.parametrize("fs", [100.0, 125.0, 128.0, 130.0, 250.0, 257.0, 360.0, 500.0, 512.0, 1000.0])
def test_the_sampling_rate_does_not_matter(fs):
    samples, beats = strips.regular("normal", fs=fs)
    found = detect_beats(samples, fs)
    assert strips.agreement(found, beats, fs) == (beats.size, 0, 0)
    assert np.max(np.abs(found - beats)) <= 0.02 * fs


@pytest.mark.parametrize("gain", [0.1, 1.0, 5.0, -1.0])
def test_amplitude_and_polarity_do_not_matter(gain):
    samples, beats = strips.regular("normal", seed=3)
    assert strips.agreement(detect_beats(gain * samples, FS), beats, FS) == (beats.size, 0, 0)


@pytest.mark.parametrize("rr_s", [0.3, 0.4, 0.6, 1.0, 1.5, 1.9])
def test_beats_are_found_from_32_to_200_per_minute(rr_s):
    samples, beats = strips.regular("normal", rr_s=rr_s, seed=2)
    assert strips.agreement(detect_beats(samples, FS), beats, FS) == (beats.size, 0, 0)


@pytest.mark.parametrize(("kind", "ratio_db"), [("muscle", 6.0), ("wander", -6.0), ("motion", 6.0)])
@pytest.mark.parametrize("shape", ["normal", "inverted", "right-block"])
def test_beats_are_found_in_noise(shape, kind, ratio_db):
    both = missed = wrong = 0
    for seed in range(8):
        samples, beats = strips.regular(shape, seed=seed)
        noisy = strips.with_noise(samples, FS, kind, ratio_db, 1.0, seed)
        b, m, w = strips.agreement(detect_beats(noisy, FS), beats, FS)
        both, missed, wrong = both + b, missed + m, wrong + w
    assert both / (both + missed) >= 0.995
    assert both / (both + wrong) >= 0.99


def test_mains_hum_hides_no_beat():
    samples, beats = strips.regular("normal", seed=5)
    hum = 0.3 * np.sin(2 * np.pi * 50 * np.arange(samples.size) / FS)
    assert found_share(samples + hum, beats) == (1.0, 1.0)


@pytest.mark.parametrize("ectopic", ["pvc", "pvc-down"])
@pytest.mark.parametrize("normal", ["normal", "inverted", "left-block", "right-block"])
def test_ectopic_beats_are_beats(normal, ectopic):
    samples, beats = strips.bigeminy(normal, ectopic)
    sensitivity, predictivity = found_share(samples, beats)
    assert sensitivity >= 0.97
    assert predictivity == 1.0


def test_a_pause_is_not_filled_with_beats():
    rr = np.array([0.8] * 6 + [5.0] + [0.8] * 6 + [3.4] + [0.8] * 12)
    samples, beats = strips.strip(rr, ["right-block"] * rr.size)
    assert strips.agreement(detect_beats(samples, FS), beats, FS) == (beats.size, 0, 0)
    pause = analyse(samples, FS).longest_pause_ms
    assert pause == pytest.approx(5000, abs=30)


@given(first=st.integers(0, 287))
@settings(max_examples=60, deadline=None)
def test_beats_at_the_edges_of_a_strip_count_and_beats_beyond_them_do_not(first):
    samples, beats = strips.regular("normal", seconds=16.0, seed=1)
    end = first + int(12 * FS)
    inside = beats[(beats >= first) & (beats < end)] - first
    found = detect_beats(samples[first:end], FS)
    _, missed, wrong = strips.agreement(found, inside, FS)
    # Of a beat whose peak is within 20 ms of the edge half is not there: it may go either way.
    doubtful = np.count_nonzero((beats > first - 8) & (beats < first + 8))
    doubtful += np.count_nonzero((beats > end - 8) & (beats < end + 8))
    assert missed + wrong <= doubtful


@given(
    samples=hnp.arrays(np.float64, st.integers(0, 3000), elements=st.floats(-50, 50)),
    fs=st.sampled_from([100.0, 333.0, 1000.0]),
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_the_answer_is_in_range(samples, fs):
    found = analyse(samples, fs)
    assert 0.0 <= found.quality <= 1.0
    assert np.all(np.diff(found.beats) > 0)
    assert found.beats.size == 0 or (found.beats[0] >= 0 and found.beats[-1] < samples.size)


def noise_alone(kind: str) -> np.ndarray:
    rng = np.random.default_rng(4)
    size = int(30 * FS)
    return {
        "zero": np.zeros(size),
        "white": 0.1 * rng.normal(size=size),
        "amplifier": 0.001 * rng.normal(size=size),
        "muscle": 0.3 * strips.muscle(size, FS, rng),
        "motion": strips.motion(size, FS, rng),
        "hum": 0.5 * np.sin(2 * np.pi * 50 * np.arange(size) / FS),
        "nothing measured": np.full(size, np.nan),
        "stuck at the limit": np.where(np.arange(size) % 3600 < 1800, 5.0, -5.0),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["zero", "white", "amplifier", "muscle", "motion", "hum", "nothing measured", "stuck at the limit"],
)
def test_noise_is_unreadable(kind):
    found = analyse(noise_alone(kind), FS)
    assert found.rhythm == "unreadable"
    assert found.quality < 0.6


def test_a_strip_that_is_flat_for_half_of_its_length_is_unreadable_but_its_beats_are_listed():
    samples, _ = strips.regular("normal")
    samples[samples.size // 2 :] = 0.0
    found = analyse(samples, FS)
    assert found.rhythm == "unreadable"
    assert found.beats.size >= 15


@pytest.mark.parametrize("shape", ["normal", "low", "left-block", "paced", "tall-t"])
def test_a_clean_regular_strip_is_of_good_quality_and_regular(shape):
    samples, _ = strips.regular(shape)
    found = analyse(samples, FS)
    assert found.quality >= 0.9
    assert found.rhythm == "regular"
    assert found.heart_rate == pytest.approx(75, abs=2)


def test_bigeminy_is_irregular_and_no_fibrillation():
    samples, _ = strips.bigeminy("normal", "pvc")
    assert analyse(samples, FS).rhythm == "irregular"


@pytest.mark.parametrize("seed", range(6))
def test_fibrillation_is_found_in_a_strip(seed):
    rr = np.clip(np.random.default_rng(seed).gamma(20, 0.65 / 20, 45), 0.3, 1.5)
    samples, _ = strips.strip(rr, ["normal"] * rr.size, seed=seed)
    assert analyse(samples, FS).rhythm == "atrial-fibrillation"
