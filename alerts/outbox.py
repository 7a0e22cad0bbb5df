"""What the database has to say on Kafka: written with the change it is about, sent afterwards, in order.

A crash between the commit and the sending loses nothing: the rows wait for whoever publishes next. A crash
between the sending and the deletion sends again: states are whole and their topics compacted, and a reading
that comes twice is the same reading. Every writer publishes (`keep_publishing`), one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import psycopg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from psycopg.types.json import Jsonb

from alerts.store.connection import Connection
from devices.times import to_datetime
from scad.settings import Settings
from streams.kafka import Record, make_producer, produce

log = structlog.get_logger()

OUTBOX_LOCK = 0x5CAD_0002  # advisory lock: one publisher at a time, or an old state could overtake a new one
SENT_AT_ONCE = 500  # rows of one round; a care plan has some 2 kB
CHANNEL = "scad_outbox"  # what the table's trigger notifies
POLL_SECONDS = 5.0  # without a notification the table is looked at this often: a lost connection may lose one
RETRY_SECONDS = 2.0  # between two attempts on a database or a broker that is away
CONNECT_SECONDS = 5


def enqueue(
    conn: Connection,
    topic: str,
    key: str,
    value: bytes,
    now_ms: int,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Add a record, in the transaction of the change; whoever changes a key's state holds that row's lock."""
    conn.execute(
        "insert into scad.outbox (topic, key, value, headers, queued_at) values (%s, %s, %s, %s, %s)",
        (topic, key, value, Jsonb([list(item) for item in (headers or {}).items()]), to_datetime(now_ms)),
    )


async def publish_outbox(conn: Connection, producer: AIOKafkaProducer) -> int:
    """Send what waits, acknowledged by all in-sync replicas, then delete it; returns the number of records.

    `conn` must be in autocommit mode; it is used in another thread. A record is sent only when those of
    another topic before it are acknowledged: a device's assignment is there before its reading. Raises
    KafkaError for what waiting does not mend.
    """
    sent = 0
    await asyncio.to_thread(conn.execute, "select pg_advisory_lock(%s)", (OUTBOX_LOCK,))
    try:
        while True:
            rows = await asyncio.to_thread(_waiting, conn)
            if not rows:
                return sent
            for _, run in groupby(rows, key=lambda row: row[1]):
                await produce(producer, [_record(row) for row in run])
            ids = [row[0] for row in rows]
            await asyncio.to_thread(conn.execute, "delete from scad.outbox where id = any(%s)", (ids,))
            sent += len(rows)
    finally:
        await asyncio.to_thread(conn.execute, "select pg_advisory_unlock(%s)", (OUTBOX_LOCK,))


def _waiting(conn: Connection) -> Sequence[tuple[Any, ...]]:
    return conn.execute(
        "select id, topic, key, value, headers from scad.outbox order by id limit %s", (SENT_AT_ONCE,)
    ).fetchall()


def _record(row: tuple[Any, ...]) -> Record:
    _, topic, key, value, headers = row
    named = tuple((name, text.encode()) for name, text in headers)
    return Record(topic, key.encode(), bytes(value), named)


async def keep_publishing(
    settings: Settings, stop: asyncio.Event, connect: Callable[[], Connection] | None = None
) -> None:
    """Publish whatever is put into the outbox until `stop` is set; waits for a database or a broker that is away.

    The topics must be there. What the page saved is on Kafka within some 50 ms of its commit.
    """
    while not stop.is_set():
        producer = await make_producer(settings, f"scad-outbox-{settings.worker_id}")
        try:
            await _publish_with(producer, stop, connect or (lambda: _connect(settings)))
        except KafkaError as error:
            # A batch that expired keeps its number: this producer's later ones are out of order for ever.
            log.warning("outbox.producer_replaced", error=type(error).__name__, detail=str(error).strip())
            await _pause(stop, RETRY_SECONDS)
        finally:
            await producer.stop()


async def _publish_with(
    producer: AIOKafkaProducer, stop: asyncio.Event, connect: Callable[[], Connection]
) -> None:
    """Until `stop` is set; waits for a database that is away. Raises KafkaError for what needs another producer."""
    while not stop.is_set():
        try:
            conn = await asyncio.to_thread(connect)
            try:
                await _publish_until(conn, producer, stop)
            finally:
                conn.close()
        except psycopg.Error as error:
            log.warning("outbox.waiting", error=type(error).__name__, detail=str(error).strip())
            await _pause(stop, RETRY_SECONDS)


async def _publish_until(conn: Connection, producer: AIOKafkaProducer, stop: asyncio.Event) -> None:
    conn.execute(f"listen {CHANNEL}".encode())
    while not stop.is_set():
        if await asyncio.to_thread(_waiting_at_all, conn):
            sent = await publish_outbox(conn, producer)
            log.info("outbox.sent", records=sent)
        # in short waits, so that a stop is noticed; the thread is this connection's only user
        for _ in range(int(POLL_SECONDS * 5)):
            if stop.is_set() or await asyncio.to_thread(_notified, conn):
                break


def _waiting_at_all(conn: Connection) -> bool:
    return conn.execute("select from scad.outbox limit 1").fetchone() is not None


def _notified(conn: Connection) -> bool:
    return any(True for _ in conn.notifies(timeout=0.2, stop_after=1))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def _connect(settings: Settings) -> Connection:
    return psycopg.connect(
        settings.database, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="scad outbox"
    )
