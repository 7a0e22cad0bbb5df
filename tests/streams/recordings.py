"""The recordings beside the checkout, where they are: tests that use them are skipped without them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from devices.decode import decode_line, ecg_samples
from devices.readings import Reading

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

needs_recordings = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the recordings are not beside the checkout"
)


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.jsonl"


def readings_of(name: str) -> list[Reading]:
    return [decode_line(line) for line in path_of(name).read_bytes().splitlines()]


def record_100() -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """The ten minutes of MIT-BIH record 100 in mV, the cardiologists' beats, and the rate in Hz."""
    with (FOLDER / "ecg_mitdb_100_beats.csv").open() as file:
        beats = np.array([int(row["sample"]) for row in csv.DictReader(file)])
    strips = readings_of("ecg_mitdb_100")
    return (
        np.concatenate([ecg_samples(strip.values) for strip in strips]),
        beats,
        float(strips[0].values["fs"]),
    )
