"""Logical ids: 1 to 64 letters, digits, hyphens and dots. Names of ours that fit are their own id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from devices.times import from_datetime, to_datetime

_FITS = re.compile(r"[A-Za-z0-9.-]{1,64}")
HASHED = "x-"
# 160 bits: no two names of one installation share them.
HASH_DIGITS = 40
SQL_HASH = "'x-' || left(encode(sha256(convert_to({column}, 'UTF8')), 'hex'), 40)"
"""The id of a name that does not fit, in SQL, to find it again."""

_OBSERVATION = re.compile(r"(m?)([0-9]{1,16})-([0-9a-f]{32})-([0-9a-f]{8})")
LATEST_MS = 253_402_300_799_999  # the year 9999: what a datetime can say


def fits(text: str) -> bool:
    """Whether the text can be a logical id at all."""
    return _FITS.fullmatch(text) is not None


def logical_id(name: str) -> str:
    """The id of a patient or device. A name with other characters (`_` in a serial) becomes its hash."""
    if fits(name) and not name.startswith(HASHED):
        return name
    return HASHED + sha256(name.encode()).hexdigest()[:HASH_DIGITS]


def _identity_hash(device: str, epoch: int, seq: int) -> str:
    return sha256(f"{device}/{epoch}/{seq}".encode()).hexdigest()[:8]


def observation_id(row: dict[str, Any]) -> str:
    """Of a stored reading: instant, digest of the content, hash of device, epoch and seq.

    The instant leads the database to the reading; content and identity tell it from any other of that instant.
    """
    at = from_datetime(row["measured_at"])
    sign = "m" if at < 0 else ""  # a clock that says 1969
    return f"{sign}{abs(at)}-{row['digest'].hex()}-{_identity_hash(row['device'], row['epoch'], row['seq'])}"


@dataclass(frozen=True, slots=True)
class ObservationId:
    """What an Observation's id says of where its reading lies."""

    measured_at: datetime
    digest: bytes


def parse_observation_id(text: str) -> ObservationId | None:
    """None for a text that is no Observation's id."""
    match = _OBSERVATION.fullmatch(text)
    if match is None or int(match[2]) > LATEST_MS:
        return None
    at = -int(match[2]) if match[1] else int(match[2])
    return ObservationId(to_datetime(at), bytes.fromhex(match[3]))
