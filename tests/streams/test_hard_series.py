"""Atrial fibrillation told from what looks like it, by the share of time and by episodes of five minutes."""

from __future__ import annotations

import numpy as np
import pytest

from streams.signals.rhythm import fibrillation, label, rhythm_windows
from tests.streams import hard_series
from tests.streams.recordings import needs_recordings, readings_of

POINTS = 8.0
EPISODE_MS = 300_000.0
CASES = {case.name: case for case in hard_series.CASES}


def runs(inside: np.ndarray) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [slice(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]


def percent(rr: np.ndarray, inside: np.ndarray) -> float:
    return 100.0 * float(rr[inside].sum() / rr.sum())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_the_share_of_time_is_within_eight_points_and_no_episode_is_made_up(name, seed):
    rr, true = CASES[name].recording(seed)
    inside = fibrillation(rr)
    assert percent(rr, inside) == pytest.approx(percent(rr, true), abs=POINTS)
    for run in runs(inside):
        assert rr[run].sum() < EPISODE_MS or rr[run][true[run]].sum() >= 0.5 * rr[run].sum()


@pytest.mark.parametrize("seed", range(3))
def test_every_episode_of_five_minutes_is_found(seed):
    rr, true = CASES["episodes of five minutes"].recording(seed)
    inside = fibrillation(rr)
    for run in runs(true):
        assert rr[run][inside[run]].sum() >= 0.8 * rr[run].sum()


@pytest.mark.parametrize("name", CASES)
def test_readings_of_five_minutes_judged_alone_add_up_to_the_same_share(name):
    rr, true = CASES[name].recording(3)
    reading = (np.cumsum(rr) // EPISODE_MS).astype(int)
    inside = np.concatenate([rhythm_windows(rr[reading == i]).inside for i in range(reading[-1] + 1)])
    assert percent(rr, inside) == pytest.approx(percent(rr, true), abs=POINTS)


@pytest.mark.parametrize(
    "name", [case.name for case in hard_series.CASES if "fibrillation" not in case.name][:15]
)
def test_a_strip_of_half_a_minute_is_not_taken_for_fibrillation(name):
    rr, true = CASES[name].recording(4)
    rr = rr[~true]
    strip = (np.cumsum(rr) // 30_000).astype(int)
    labels = [label(rr[strip == i]) for i in range(strip[-1])]
    assert labels.count("atrial-fibrillation") <= 0.05 * len(labels)


@needs_recordings
@pytest.mark.parametrize(
    ("name", "truth", "points"), [("rr_afdb_04015", 0.66, 1.0), ("rr_afdb_05121", 64.5, 4.0)]
)
def test_the_recordings_are_read_as_their_cardiologists_did(name, truth, points):
    rr = np.concatenate([reading.values["rr"] for reading in readings_of(name)])
    inside = fibrillation(rr)
    assert percent(rr, inside) == pytest.approx(truth, abs=points)
    if name == "rr_afdb_04015":  # its longest episode lasts 134 s
        assert not any(rr[run].sum() >= EPISODE_MS for run in runs(inside))
