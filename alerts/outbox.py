"""What the database has to say on Kafka: written with the change it is about, sent afterwards, in order.

A crash between the commit and the sending loses nothing: the rows wait for whoever publishes next. A crash
between the sending and the deletion sends again: both topics are compacted and hold whole states.
"""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from alerts.store.connection import Connection
from devices.times import to_datetime
from streams.kafka import Record, produce

OUTBOX_LOCK = 0x5CAD_0002  # advisory lock: one publisher at a time, or an old state could overtake a new one
SENT_AT_ONCE = 500  # rows of one round; a care plan has some 2 kB


def enqueue(conn: Connection, topic: str, key: str, value: bytes, now_ms: int) -> None:
    """Add a record, in the transaction of the change; whoever changes a key's state holds that row's lock."""
    conn.execute(
        "insert into scad.outbox (topic, key, value, queued_at) values (%s, %s, %s, %s)",
        (topic, key, value, to_datetime(now_ms)),
    )


async def publish_outbox(conn: Connection, producer: AIOKafkaProducer) -> int:
    """Send what waits, acknowledged by all in-sync replicas, then delete it; returns the number of records.

    `conn` must be in autocommit mode. Raises KafkaError for what waiting does not mend.
    """
    sent = 0
    conn.execute("select pg_advisory_lock(%s)", (OUTBOX_LOCK,))
    try:
        while True:
            rows = conn.execute(
                "select id, topic, key, value from scad.outbox order by id limit %s", (SENT_AT_ONCE,)
            ).fetchall()
            if not rows:
                return sent
            records = [Record(topic, key.encode(), bytes(value)) for _, topic, key, value in rows]
            await produce(producer, records)
            conn.execute("delete from scad.outbox where id = any(%s)", ([row[0] for row in rows],))
            sent += len(rows)
    finally:
        conn.execute("select pg_advisory_unlock(%s)", (OUTBOX_LOCK,))
