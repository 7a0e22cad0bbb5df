"""One batch of Kafka records into the database: decoded, written in one transaction, nothing lost.

A record that cannot be decoded, or that the database refuses, goes to quarantine with where it lay and the
error's name, and the rest of its batch is written. Only a database that is away raises.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import msgspec
import psycopg
from aiokafka import ConsumerRecord

from alerts.store import (
    QuarantineRow,
    StatusRow,
    write_quarantine,
    write_readings,
    write_signals,
    write_status,
)
from alerts.store.connection import Connection
from alerts.store.offsets import Move, advance
from devices.readings import Reading, from_wire
from devices.times import parse_instant
from scad.log import follow
from streams import topics
from streams.signal import AlertSignal, decode_signal

TOPICS = (topics.READINGS, topics.ALERTS, topics.QUARANTINE, topics.STATUS)

UNDECODABLE = "undecodable-record"  # reasons in quarantine: not JSON, or not the topic's message
REFUSED = "refused-by-database"
NUL = "\0"  # the one character that the database's texts cannot hold
SIGNAL_CONFLICT = "signal-conflict"  # the number is used with other content: the engine lost its state

# What the content of a record can make the database say. Its other errors (no connection, no table, a
# deadlock) are no record's fault, and are raised.
CONTENT_ERRORS = (psycopg.DataError, psycopg.IntegrityError)

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class _QuarantineMessage(msgspec.Struct, frozen=True):
    id: str
    device: str
    reason: str
    detail: str
    received_at: str
    raw: str
    epoch: int | None = None
    seq: int | None = None


class _DeviceState(msgspec.Struct, frozen=True):
    state: str
    battery: float | None = None
    firmware: str | None = None


class _StatusMessage(msgspec.Struct, frozen=True):
    device: str
    received_at: str
    status: _DeviceState


_quarantine = msgspec.json.Decoder(_QuarantineMessage).decode
_status = msgspec.json.Decoder(_StatusMessage).decode


@dataclass(frozen=True, slots=True)
class Decoded(Generic[Item]):
    """A record with what it says."""

    record: ConsumerRecord
    item: Item


@dataclass(slots=True)
class Written:
    """What became of the records of a batch: numbers by (topic, result), and the signal numbers missed.

    Results: stored, duplicate, conflict, poison.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    gaps: int = 0


def write_batch(
    conn: Connection, records: Sequence[ConsumerRecord], now_ms: int, moves: Sequence[Move] = ()
) -> Written:
    """Write the records in one transaction; afterwards their offsets may be committed.

    `moves` says which offsets of the database the batch moves on: OffsetsMovedError is raised, and nothing is
    written, when they are not where they were left. Any part may come again. Raises psycopg.OperationalError and
    the like when the database is away or not what it should be: nothing is written then, and the same batch
    may be tried again.
    """
    readings: list[Decoded[Reading]] = []
    signals: list[Decoded[AlertSignal]] = []
    refused: list[Decoded[QuarantineRow]] = []
    statuses: list[Decoded[StatusRow]] = []
    into: dict[str, tuple[Callable[[ConsumerRecord], Any], list[Any]]] = {
        topics.READINGS: (lambda record: from_wire(record.value), readings),
        topics.ALERTS: (lambda record: decode_signal(record.value), signals),
        topics.QUARANTINE: (decode_quarantine, refused),
        topics.STATUS: (decode_status, statuses),
    }
    written = Written()
    poison: list[QuarantineRow] = []
    for record in records:
        decode, items = into[record.topic]
        try:
            items.append(Decoded(record, decode(record)))
        except Exception as error:  # whatever it is: it is this record's, and the stream goes on
            poison.append(poison_row(record, UNDECODABLE, error))
    with conn.transaction():
        advance(conn, moves, now_ms)
        poison += _write_readings(conn, readings, now_ms, written)
        changed, failed = salvage(conn, refused, lambda rows: write_quarantine(conn, rows, now_ms))
        written.counts[topics.QUARANTINE, "stored"] += sum(changed)
        poison += failed
        _, failed = salvage(conn, statuses, lambda rows: write_status(conn, rows))
        written.counts[topics.STATUS, "stored"] += len(statuses) - len(failed)
        poison += failed
        # last, because their events' lock is held to the commit and a nurse's click waits for it
        poison += _write_signals(conn, signals, now_ms, written)
        for row in poison:
            written.counts[row.source_topic, "poison"] += 1
        write_quarantine(conn, poison, now_ms)
    follow("writer.stored", (decoded.item for decoded in readings))
    return written


def _write_readings(
    conn: Connection, readings: list[Decoded[Reading]], now_ms: int, written: Written
) -> list[QuarantineRow]:
    outcomes, failed = salvage(conn, readings, lambda items: write_readings(conn, items, now_ms))
    for stored in outcomes:
        written.counts[topics.READINGS, "stored"] += stored.inserted
        written.counts[topics.READINGS, "duplicate"] += stored.duplicates
        written.counts[topics.READINGS, "conflict"] += stored.conflicts
    return failed


def _write_signals(
    conn: Connection, signals: list[Decoded[AlertSignal]], now_ms: int, written: Written
) -> list[QuarantineRow]:
    outcomes, failed = salvage(conn, signals, lambda items: write_signals(conn, items, now_ms))
    for folded in outcomes:
        written.counts[topics.ALERTS, "stored"] += folded.stored
        written.counts[topics.ALERTS, "duplicate"] += folded.duplicates
        written.counts[topics.ALERTS, "conflict"] += len(folded.conflicts)
        written.gaps += folded.gaps
        for signal in folded.conflicts:
            record = next(decoded.record for decoded in signals if decoded.item == signal)
            error = ValueError(f"signal {signal.n} of {signal.patient} is stored with other content")
            failed.append(poison_row(record, SIGNAL_CONFLICT, error))
    return failed


def salvage(
    conn: Connection, items: Sequence[Decoded[Item]], write: Callable[[list[Item]], Outcome]
) -> tuple[list[Outcome], list[QuarantineRow]]:
    """Write all items that can be written: a batch that the database refuses is halved until the culprits
    stand alone. With k of them among n it takes some 2 k log2 n attempts."""
    if not items:
        return [], []
    try:
        with conn.transaction():
            return [write([decoded.item for decoded in items])], []
    except Exception as error:
        if isinstance(error, psycopg.Error) and not isinstance(error, CONTENT_ERRORS):
            raise
        if len(items) == 1:
            return [], [poison_row(items[0].record, REFUSED, error)]
    middle = len(items) // 2
    first, first_failed = salvage(conn, items[:middle], write)
    second, second_failed = salvage(conn, items[middle:], write)
    return first + second, first_failed + second_failed


def poison_row(record: ConsumerRecord, reason: str, error: BaseException) -> QuarantineRow:
    """The quarantine's entry for a record of our own topics: its value, where it lay, what was wrong."""
    raw = cast(bytes, record.value) or b""
    place = f"{record.topic}[{record.partition}] offset {record.offset}"
    device = ""
    if record.topic in (topics.QUARANTINE, topics.STATUS) and record.key is not None:
        device = cast(bytes, record.key).decode(errors="backslashreplace")
    detail = f"{place}: {type(error).__name__}: {error}"  # which may quote what came
    return QuarantineRow(
        id=hashlib.sha256(place.encode() + raw).hexdigest()[:32],
        device=device.replace(NUL, "\\x00"),
        reason=reason,
        detail=detail.replace(NUL, "\\x00"),
        raw=raw,
        received_at_ms=max(0, record.timestamp),
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_key=record.key,
    )


def decode_quarantine(record: ConsumerRecord) -> QuarantineRow:
    """Raises for a value that is no quarantine message."""
    message = _quarantine(record.value)
    return QuarantineRow(
        id=message.id,
        device=message.device,
        epoch=message.epoch or 0,
        seq=message.seq,
        reason=message.reason,
        detail=message.detail,
        raw=b64decode(message.raw, validate=True),
        received_at_ms=parse_instant(message.received_at)[0],
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_key=record.key,
    )


def decode_status(record: ConsumerRecord) -> StatusRow:
    """Raises for a value that is no status message."""
    message = _status(record.value)
    return StatusRow(
        device=message.device,
        state=message.status.state,
        battery=None if message.status.battery is None else round(message.status.battery),
        firmware=message.status.firmware,
        received_at_ms=parse_instant(message.received_at)[0],
    )
