"""What was refused: listed, and sent through again once the cause is mended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from alerts.store.connection import Connection
from devices.decode import decode_payload
from devices.readings import Reading
from devices.times import format_instant, from_datetime, to_datetime
from streams import topics
from streams.kafka import Record, produce

LIST_LIMIT = 10_000  # entries shown at once: more is read with --since, --device or --reason
REPLAYED_AT_ONCE = 200  # entries of one round: at most 200 × 256 KiB in memory


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One refused element. `raw` is what came, whole."""

    id: str
    device: str
    epoch: int
    seq: int | None
    reason: str
    detail: str
    received_at_ms: int
    times: int
    state: str
    source_topic: str
    source_partition: int
    source_key: bytes | None
    raw: bytes

    def shown(self) -> dict[str, Any]:
        """For `--json`: the raw bytes as text where they are text, else as base64 (msgspec's way)."""
        try:
            raw: object = self.raw.decode()
        except UnicodeDecodeError:
            raw = {"base64": self.raw}
        return {
            "id": self.id,
            "device": self.device,
            "epoch": self.epoch,
            "seq": self.seq,
            "reason": self.reason,
            "detail": self.detail,
            "received_at": format_instant(self.received_at_ms),
            "times": self.times,
            "state": self.state,
            "raw": raw,
        }


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries: every given field must match; `unresolved` leaves out what has passed since."""

    ids: tuple[str, ...] = ()
    device: str | None = None
    reason: str | None = None
    since_ms: int | None = None
    unresolved: bool = True


_SELECT = """
select id, device, epoch, seq, reason, detail, received_at, times, state, source_topic, source_partition,
       source_key, raw
  from scad.quarantine
 where (cardinality(%(ids)s::text[]) = 0 or id = any(%(ids)s))
   and (%(device)s::text is null or device = %(device)s)
   and (%(reason)s::text is null or reason = %(reason)s)
   and (%(since)s::timestamptz is null or received_at >= %(since)s)
   and (not %(unresolved)s or state <> 'resolved')
   and (received_at, id) > (%(after_at)s, %(after_id)s)
 order by received_at, id limit %(limit)s"""


def list_entries(
    conn: Connection,
    selection: Selection,
    limit: int = LIST_LIMIT,
    after: Entry | None = None,
) -> list[Entry]:
    """The entries in order of reception; `after` continues behind an entry."""
    rows = conn.execute(
        _SELECT,
        {
            "ids": list(selection.ids),
            "device": selection.device,
            "reason": selection.reason,
            "since": None if selection.since_ms is None else to_datetime(selection.since_ms),
            "unresolved": selection.unresolved,
            "after_at": "-infinity" if after is None else to_datetime(after.received_at_ms),
            "after_id": "" if after is None else after.id,
            "limit": limit,
        },
    ).fetchall()
    return [
        Entry(
            id=row[0],
            device=row[1],
            epoch=row[2],
            seq=row[3],
            reason=row[4],
            detail=row[5],
            received_at_ms=from_datetime(row[6]),
            times=row[7],
            state=row[8],
            source_topic=row[9],
            source_partition=row[10],
            source_key=None if row[11] is None else bytes(row[11]),
            raw=bytes(row[12]),
        )
        for row in rows
    ]


async def replay_entries(
    conn: Connection, producer: AIOKafkaProducer, selection: Selection, now_ms: int
) -> int:
    """Send the selected entries through again; returns how many.

    The bytes go out as they came, with the original `received_at`. An entry is marked before it is sent, so
    that its reading, once stored, finds it to resolve; refused again, it is open again.
    """
    sent = 0
    last: Entry | None = None
    while True:
        entries = list_entries(conn, selection, REPLAYED_AT_ONCE, last)
        if not entries:
            return sent
        last = entries[-1]
        _mark(conn, entries, now_ms)
        await produce(producer, [_record(entry) for entry in entries])
        sent += len(entries)


def _mark(conn: Connection, entries: Sequence[Entry], now_ms: int) -> None:
    """Set `replayed`, with the number of the reading where only today's decoder can read it."""
    with conn.transaction(), conn.cursor() as cursor:
        for entry in entries:
            epoch, seq = entry.epoch, entry.seq
            if seq is None and entry.source_topic == topics.QUARANTINE:
                decoded = decode_payload(entry.raw, entry.device, entry.received_at_ms)
                numbers = [(r.epoch, r.seq) for r in decoded if isinstance(r, Reading)]
                epoch, seq = numbers[0] if numbers else (epoch, seq)
            cursor.execute(
                "update scad.quarantine set state = 'replayed', replayed_at = %s, epoch = %s, seq = %s"
                " where id = %s",
                (to_datetime(now_ms), epoch, seq, entry.id),
            )


def _record(entry: Entry) -> Record:
    """A device's bytes to where the bridge puts them; a poison record to the topic it came from."""
    if entry.source_topic != topics.QUARANTINE:
        key = entry.source_key or b""
        return Record(entry.source_topic, key, entry.raw, partition=entry.source_partition)
    return Record(
        topics.TELEMETRY,
        entry.device.encode(),
        entry.raw,
        (
            (topics.HEADER_RECEIVED_AT, format_instant(entry.received_at_ms).encode()),
            (topics.HEADER_MQTT_TOPIC, topics.mqtt_topic(entry.device, "readings").encode()),
        ),
    )
