"""The recordings beside the checkout, where they are: tests that use them are skipped without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.decode import decode_line
from devices.readings import Reading

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

needs_recordings = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the recordings are not beside the checkout"
)


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.jsonl"


def readings_of(name: str) -> list[Reading]:
    return [decode_line(line) for line in path_of(name).read_bytes().splitlines()]
