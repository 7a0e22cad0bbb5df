"""The worker's record of a patient, as it stands in the changelog. Pure.

Layout: one byte of version, four bytes (big-endian) of head length, the head (MessagePack), the engine's
state. The head alone is read for every patient when a partition is taken over; the state only for those
who are evaluated.

What the head promises: every reading below `readings_next` and every plan below `plans_next`, offsets of
the partition that the changelog's number names, is in the state; what comes again is skipped. `outbox` are
the signals, in order, that may not be in Kafka yet: they are produced again by whoever takes over.
"""

from __future__ import annotations

import msgspec

VERSION = 1
_LENGTH = slice(1, 5)


class BadRecordError(ValueError):
    """Bytes in the changelog that are no worker record of a version that this program reads."""


class Head(msgspec.Struct, array_like=True):
    """`deadline_ms`: the instant from which a tick can change something, None when none can. `stamp`: the
    engine's, which tells the protocols apart that the state was evaluated with."""

    readings_next: int = 0
    plans_next: int = 0
    deadline_ms: int | None = None
    outbox: list[bytes] = []
    stamp: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Head).decode


def dump_record(head: Head, state: bytes) -> bytes:
    encoded = _encode(head)
    return b"".join((bytes((VERSION,)), len(encoded).to_bytes(4, "big"), encoded, state))


def load_head(record: bytes) -> Head:
    """Raises BadRecordError."""
    if record[:1] != bytes((VERSION,)):
        raise BadRecordError(f"worker record of version {record[:1].hex()}; this program reads {VERSION:02x}")
    try:
        return _decode(record[5 : 5 + int.from_bytes(record[_LENGTH], "big")])
    except msgspec.DecodeError as error:
        raise BadRecordError(f"worker record with a damaged head: {error}") from None


def load_state(record: bytes) -> bytes:
    """The engine's part, after `load_head` has accepted the record."""
    return record[5 + int.from_bytes(record[_LENGTH], "big") :]
