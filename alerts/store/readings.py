"""Readings into `scad.reading`: each content of an identity once, conflicts noted, roll-ups kept up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from alerts.store.connection import Connection, copy_batch
from devices.content import content_digest
from devices.readings import Reading
from devices.times import to_datetime
from streams.history import too_late

MAIN_VALUE = {
    "body-weight": "weight",
    "blood-pressure": "systolic",
    "glucose": "glucose",
    "heart-rate": "heart_rate",
    "oxygen-saturation": "spo2",
    "temperature": "temperature",
    "respiratory-rate": "respiratory_rate",
    "inr": "inr",
    "ketones": "ketones",
}
"""The number of a kind that a curve shows; kinds without one (strips, questionnaires) have none."""

_COLUMNS = """measured_at timestamptz, device text, epoch bigint, seq bigint, digest bytea, patient text,
    kind text, value double precision, "values" jsonb, flags text[], context jsonb, marks text[],
    offset_min smallint, too_late boolean, received_at timestamptz, stored_at timestamptz"""

_NEW_IDENTITIES = """
insert into scad.reading_identity (device, epoch, seq, digest, measured_at)
select device, epoch, seq, digest, measured_at from pg_temp.reading_batch order by device, epoch, seq, digest
on conflict do nothing
returning device, epoch, seq, digest"""

# The join is on the identities just inserted: they are this transaction's own, nobody else inserts the rows.
_INSERT = """
insert into scad.reading (measured_at, device, epoch, seq, digest, patient, kind, value, "values", flags,
                          context, marks, offset_min, too_late, received_at, stored_at)
select b.measured_at, b.device, b.epoch, b.seq, b.digest, b.patient, b.kind, b.value, b."values", b.flags,
       b.context, b.marks, b.offset_min, b.too_late, b.received_at, b.stored_at
  from pg_temp.reading_batch b
  join unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bytea[]) as fresh(device, epoch, seq, digest)
       using (device, epoch, seq, digest)
on conflict do nothing"""

# The bounds on measured_at let TimescaleDB leave out the chunks that cannot hold a copy.
_EARLIEST_COPY = """
update scad.reading r set received_at = b.received_at, too_late = b.too_late
  from pg_temp.reading_batch b
 where r.measured_at = b.measured_at
   and (r.device, r.epoch, r.seq, r.digest) = (b.device, b.epoch, b.seq, b.digest)
   and r.measured_at between %s and %s and b.received_at < r.received_at"""

_CONFLICTS = """
insert into scad.reading_conflict (device, epoch, seq, contents, first_at, last_at)
select device, epoch, seq, count(*), %(now)s, %(now)s
  from scad.reading_identity
 where (device, epoch, seq) in
       (select * from unnest(%(devices)s::text[], %(epochs)s::bigint[], %(seqs)s::bigint[]))
 group by device, epoch, seq having count(*) > 1
on conflict (device, epoch, seq) do update set contents = excluded.contents, last_at = excluded.last_at
returning device, epoch, seq"""

# Hardly ever is a refused record on its way again: then the batch is not even looked at.
_RESOLVE = """
update scad.quarantine q set state = 'resolved', resolved_at = %s
  from pg_temp.reading_batch b
 where (select exists (select from scad.quarantine where state = 'replayed'))
   and q.state = 'replayed' and (q.device, q.epoch, q.seq) = (b.device, b.epoch, b.seq)"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch. `conflicts`: identities of it that now have more than one content."""

    inserted: int = 0
    duplicates: int = 0
    conflicts: int = 0


def main_value(reading: Reading) -> float | None:
    """The number of the reading that a curve shows, in the kind's canonical unit."""
    value = reading.values.get(MAIN_VALUE.get(reading.kind, ""))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def write_readings(conn: Connection, readings: Sequence[Reading], stored_at_ms: int) -> Stored:
    """Store a batch; again, in any order and any other batching it changes nothing.

    Of several copies the earliest `received_at` stays. Raises psycopg.DataError when the database refuses a
    value (the caller bisects the batch).
    """
    batch = _unique(readings)
    if not batch:
        return Stored()
    now = to_datetime(stored_at_ms)
    with conn.transaction():
        copy_batch(conn, "reading_batch", _COLUMNS, (_row(digest, r, now) for digest, r in batch))
        fresh = conn.execute(_NEW_IDENTITIES).fetchall()
        conflicts = 0
        if fresh:
            devices, epochs, seqs, digests = (list(column) for column in zip(*fresh, strict=True))
            conn.execute(_INSERT, (devices, epochs, seqs, digests))
            found = conn.execute(_CONFLICTS, {"now": now, "devices": devices, "epochs": epochs, "seqs": seqs})
            conflicts = len(found.fetchall())
            _merge_daily(conn, batch, {tuple(row) for row in fresh})
        if len(fresh) < len(batch):
            instants = [reading.measured_at_ms for _, reading in batch]
            conn.execute(_EARLIEST_COPY, (to_datetime(min(instants)), to_datetime(max(instants))))
        conn.execute(_RESOLVE, (now,))
    return Stored(len(fresh), len(readings) - len(fresh), conflicts)


def _unique(readings: Sequence[Reading]) -> list[tuple[bytes, Reading]]:
    """The batch with each content once: of copies the one received first."""
    best: dict[tuple[str, int, int, bytes], Reading] = {}
    for reading in readings:
        digest = content_digest(reading)
        key = (*reading.identity, digest)
        known = best.get(key)
        if known is None or reading.received_at_ms < known.received_at_ms:
            best[key] = reading
    return [(key[3], reading) for key, reading in best.items()]


def _row(digest: bytes, reading: Reading, now: object) -> tuple[object, ...]:
    return (
        to_datetime(reading.measured_at_ms),
        reading.device,
        reading.epoch,
        reading.seq,
        digest,
        reading.patient,
        reading.kind,
        main_value(reading),
        Jsonb(reading.values),
        list(reading.flags),
        Jsonb(reading.context),
        list(reading.marks),
        reading.offset_min,
        too_late(reading),
        to_datetime(reading.received_at_ms),
        now,
    )


def _merge_daily(conn: Connection, batch: list[tuple[bytes, Reading]], fresh: set[Any]) -> None:
    """Add the new readings that count to the roll-up of their days."""
    new = [
        (reading.patient, reading.kind, to_datetime(reading.measured_at_ms), value)
        for digest, reading in batch
        if not reading.marks
        and (*reading.identity, digest) in fresh
        and (value := main_value(reading)) is not None
    ]
    if new:
        conn.execute(
            "select scad.merge_daily(%s, %s, %s, %s)", [list(column) for column in zip(*new, strict=True)]
        )
