"""One name for what a reading says, for everybody who must tell two contents of one identity apart."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from devices.readings import Reading

DIGEST_BYTES = 16
"""Of BLAKE2b: two contents of one name are not to be expected among all readings there will ever be."""


def content_digest(reading: Reading) -> bytes:
    """Names the content of a reading, 16 bytes: what the device said, in canonical units.

    Without `received_at`, `patient`, `marks` and `oldest`, which are the platform's or may differ between two
    sendings of the same reading. 80 and 80.0 are the same number, and the order of flags says nothing.
    """
    content = (
        reading.kind,
        reading.measured_at_ms,
        reading.offset_min,
        {name: _as_float(value) for name, value in reading.values.items()},
        sorted(reading.flags),
        reading.context,
    )
    encoded = msgspec.json.encode(content, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=DIGEST_BYTES).digest()


def content_number(reading: Reading) -> int:
    """The first four bytes of the name as a number, where millions are held in memory and each has its identity
    beside it."""
    return int.from_bytes(content_digest(reading)[:4], "big")


def _as_float(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_float(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
