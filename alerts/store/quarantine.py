"""Refused bytes into `scad.quarantine`: each entry once, with how often it came."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from alerts.store.connection import Connection
from devices.times import to_datetime

MAX_DETAIL = 2_000  # characters; a detail is a sentence, and some libraries put the whole input into theirs

# A record with a higher offset is news: the same bytes were refused again. One with the same or a lower
# offset is a redelivery. One statement a row, in order of offset: `times` is exact whatever the batching.
_UPSERT = """
insert into scad.quarantine as q (id, device, epoch, seq, reason, detail, received_at, raw, source_topic,
                                  source_partition, source_offset, source_key, stored_at)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (id) do update set
    received_at = least(q.received_at, excluded.received_at),
    times = q.times + 1,
    state = 'open',
    source_partition = excluded.source_partition,
    source_offset = excluded.source_offset
where excluded.source_offset > q.source_offset"""


class QuarantineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One refused element, or a poison record of one of our own topics (then `raw` is the record's value)."""

    id: str
    device: str
    reason: str
    detail: str
    raw: bytes
    received_at_ms: int
    source_topic: str
    source_partition: int
    source_offset: int
    source_key: bytes | None = None
    epoch: int = 0
    seq: int | None = None


def quarantine_id(device: str, raw: bytes, reason: str) -> str:
    """The name of an entry: 32 hexadecimal digits that depend on device, bytes and reason only."""
    digest = hashlib.sha256(device.encode(errors="surrogateescape"))
    digest.update(raw)
    digest.update(reason.encode())
    return digest.hexdigest()[:32]


def write_quarantine(conn: Connection, rows: Sequence[QuarantineRow], stored_at_ms: int) -> int:
    """Store a batch; returns how many entries are new or were refused again."""
    now = to_datetime(stored_at_ms)
    changed = 0
    with conn.transaction(), conn.cursor() as cursor:
        for row in sorted(rows, key=lambda row: (row.source_topic, row.source_partition, row.source_offset)):
            cursor.execute(
                _UPSERT,
                (
                    row.id,
                    _printable(row.device),
                    row.epoch,
                    row.seq,
                    row.reason,
                    _printable(row.detail)[:MAX_DETAIL],
                    to_datetime(row.received_at_ms),
                    row.raw,
                    row.source_topic,
                    row.source_partition,
                    row.source_offset,
                    row.source_key,
                    now,
                ),
            )
            changed += cursor.rowcount
    return changed


def _printable(text: str) -> str:
    """The text without what PostgreSQL cannot keep: refused bytes must never be refused again here."""
    return text.replace("\x00", "\\0").encode(errors="backslashreplace").decode()
