"""How far the writer has come in Kafka, as the database knows it (0050_writer_offsets.sql).

The row of a partition is moved in the transaction that writes the records before it. A database that was set back
to an earlier instant therefore says by itself from where its records have to come again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from alerts.store.connection import Connection
from devices.times import to_datetime

Place = tuple[str, int]
"""Topic and partition."""


class Move(NamedTuple):
    """One partition's step: `expected` is what the row must say, `next_offset` what it says then."""

    topic: str
    partition: int
    expected: int
    next_offset: int


class OffsetsMovedError(RuntimeError):
    """The rows are not what this writer left: the database was set back, or another writer was here."""


_ADVANCE = """
update scad.writer_offset o set next_offset = m.next_offset, moved_at = %s
  from unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) as m(topic, partition, expected, next_offset)
 where (o.topic, o.partition) = (m.topic, m.partition) and o.next_offset = m.expected"""

_SET = """
insert into scad.writer_offset (topic, partition, next_offset, moved_at)
select topic, partition, next_offset, %s
  from unnest(%s::text[], %s::int[], %s::bigint[]) as s(topic, partition, next_offset)
on conflict (topic, partition) do update set next_offset = excluded.next_offset, moved_at = excluded.moved_at"""

_EMPTY = """
select not exists (select from scad.alert_event) and not exists (select from scad.reading_identity)
   and not exists (select from scad.quarantine)"""


def stored_offsets(conn: Connection) -> dict[Place, int]:
    """The offset of the first record of each partition that this database does not have."""
    rows = conn.execute("select topic, partition, next_offset from scad.writer_offset").fetchall()
    return {(str(topic), int(partition)): int(offset) for topic, partition, offset in rows}


def holds_nothing(conn: Connection) -> bool:
    """Whether nothing that comes through Kafka was ever written: a new database."""
    row = conn.execute(_EMPTY).fetchone()
    return bool(row and row[0])


def set_offsets(conn: Connection, offsets: dict[Place, int], now_ms: int) -> None:
    """Say from where a writer goes on, which may be earlier than before."""
    if offsets:
        topics, partitions = zip(*offsets, strict=True)
        conn.execute(
            _SET, (to_datetime(now_ms), list(topics), list(partitions), [offsets[place] for place in offsets])
        )


def advance(conn: Connection, moves: Sequence[Move], now_ms: int) -> None:
    """Move the rows, in the transaction of the records. Raises OffsetsMovedError, and nothing may be written then."""
    if not moves:
        return
    topics, partitions, expected, following = (list(column) for column in zip(*moves, strict=True))
    done = conn.execute(_ADVANCE, (to_datetime(now_ms), topics, partitions, expected, following))
    if done.rowcount != len(moves):
        raise OffsetsMovedError(
            f"{len(moves) - done.rowcount} of {len(moves)} partitions stand elsewhere in the database"
        )
