"""Where the writer begins in each partition: Kafka's offsets of its group and the database's, brought together.

| the database says | the group says | begins at |
| --- | --- | --- |
| an offset | an offset | the lower: a restored database lacks what lies behind its own |
| an offset | nothing: this Kafka is new, or forgot a group that was away for a week | the beginning |
| nothing, and holds data: just upgraded | an offset | the group's |
| nothing, and holds nothing: lost without a backup | whatever | the beginning |

Reading too much changes no row. What Kafka no longer keeps is counted and said aloud.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import Counter

from alerts.store.connection import Connection
from alerts.store.offsets import holds_nothing, set_offsets, stored_offsets

log = structlog.get_logger()

LOST = Counter(
    "scad_writer_records_lost", "Records that the database lacks and Kafka no longer keeps", ["topic"]
)


class InDatabase(Protocol):
    """Runs `work` with the writer's connection, in its thread."""

    def __call__(self, work: Callable[[Connection], Any]) -> Awaitable[Any]: ...


def first_offset(
    stored: int | None, committed: int | None, begin: int, end: int | None, empty: bool
) -> tuple[int, int]:
    """(offset to begin at, records lost) of one partition.

    `begin`, `end`: of what Kafka keeps, `end` None where the broker does not know it exactly; `empty`: the database
    has nothing that came through Kafka.
    """
    if stored is None:
        if committed is None or empty:
            return begin, 0
        return max(begin, committed), max(0, begin - committed)
    if end is not None and stored > end:  # another log than the one it was read from
        return begin, 0
    if committed is None:  # offsets of a group that is away expire as records do: what lies between is gone
        return begin, max(0, begin - stored)
    wanted = min(stored, committed)
    return max(begin, wanted), max(0, begin - wanted)


async def place(
    consumer: AIOKafkaConsumer,
    partitions: Collection[TopicPartition],
    in_database: InDatabase,
    now_ms: int,
    exact_ends: bool,
) -> dict[TopicPartition, int]:
    """Move the consumer to where each of `partitions` begins, and note it in the database.

    Raises psycopg.Error when the database is away, KafkaError when the broker is, IllegalStateError when a
    partition was taken away meanwhile.
    """
    if not partitions:
        return {}
    stored, empty = await in_database(lambda conn: (stored_offsets(conn), holds_nothing(conn)))
    begins = await consumer.beginning_offsets(list(partitions))
    ends = await consumer.end_offsets(list(partitions)) if exact_ends else {}
    found: dict[TopicPartition, int] = {}
    for at in partitions:
        committed = await consumer.committed(at)
        known = stored.get((at.topic, at.partition))
        found[at], lost = first_offset(known, committed, begins[at], ends.get(at), empty)
        if lost:
            LOST.labels(at.topic).inc(lost)
            log.error("writer.records_lost", topic=at.topic, partition=at.partition, records=lost)
        if committed is not None and found[at] < committed:
            log.warning(
                "writer.reads_again", topic=at.topic, partition=at.partition, records=committed - found[at]
            )
    await in_database(
        lambda conn: set_offsets(conn, {(at.topic, at.partition): n for at, n in found.items()}, now_ms)
    )
    for at, offset in found.items():
        consumer.seek(at, offset)
    return found
