"""The writer: readings, alert signals, refusals and states of devices from Kafka into the database, and what
waits in the outbox from the database to Kafka.

At least once from Kafka, idempotent into the database: offsets are moved on in the transaction of their records, and
committed to Kafka behind it, at most once a second. The writer begins at the lower of the two, also when it meets a
database that was restored while it ran, so that whatever a backup lacks is read again (streams/placing.py). A
database that is away is waited for; meanwhile nothing is fetched (the partitions are paused, so Kafka holds
the backlog), and the member stays in its group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from prometheus_client import Counter, Gauge, Histogram

from alerts.outbox import keep_publishing
from alerts.store.connection import Connection
from alerts.store.offsets import Move, OffsetsMovedError
from scad.clock import Clock
from scad.settings import Settings
from streams import stages, topics
from streams.kafka import ensure_topics, make_consumer, started
from streams.placing import place
from streams.writing import TOPICS, Written, write_batch

log = structlog.get_logger()
Result = TypeVar("Result")
Fetched = dict[TopicPartition, list[ConsumerRecord]]

WRITER_GROUP = "scad-writer"

BATCH_RECORDS = 2_000
"""Records of one transaction. Beyond 500 the rate hardly rises; with 2,000 a backlog of 20,000 readings is
stored in some three seconds, and what must be repeated after a crash stays small."""
POLL_MS = 200  # longest wait for a first record; a stop is noticed this late
COMMIT_EVERY_SECONDS = 1.0
"""The offsets that count stand in the database; Kafka's own tell how far the writer is (lag) and what it reads again
when it starts after a crash: a second of records, which changes nothing."""
COMMIT_SECONDS = 5.0  # a broker that is away holds up neither a stop nor a rebalance for longer
RETRY_FIRST_SECONDS = 0.5
RETRY_LONGEST_SECONDS = 10.0  # a database that comes back is noticed this late
CONNECT_SECONDS = 5

# A database that vanishes without a word (cable, firewall) is noticed after some 15 s instead of two hours.
CONNECTION_OPTIONS: Mapping[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": "-c statement_timeout=60000 -c lock_timeout=30000",
    "application_name": "scad-writer",
}

RECORDS = Counter("scad_writer_records", "Records written, by topic and result", ["topic", "result"])
BATCH_SECONDS = Histogram(
    "scad_writer_batch_seconds",
    "Time of one transaction",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LAG_SECONDS = Gauge("scad_writer_lag_seconds", "Age in Kafka of the oldest record of the last batch")
WAITING = Gauge("scad_writer_waiting", "1 while the database is being waited for")
FAILURES = Counter("scad_writer_failures", "Batches that had to be repeated, by cause", ["cause"])
GAPS = Counter("scad_writer_signal_gaps", "Numbers skipped among a patient's signals")


async def run_writer(settings: Settings, clock: Clock, stop: asyncio.Event) -> None:
    """Write until `stop` is set.

    Waits for brokers and databases that are away. Raises KafkaSetupError when the topics are not what the
    settings ask for.
    """
    await ensure_topics(settings)
    consumer = make_consumer(
        settings,
        client_id=f"scad-writer-{settings.worker_id}",
        group_id=WRITER_GROUP,
        max_poll_records=BATCH_RECORDS,
    )
    writer = Writer(settings, clock, consumer)
    consumer.subscribe(list(TOPICS), listener=_Rebalanced(writer))
    await started(consumer, settings)
    publishing = asyncio.create_task(keep_publishing(settings, stop), name="outbox")
    try:
        await writer.run(stop)
    finally:
        if stop.is_set():  # it notices by itself; a thread of it may still hold its connection
            await asyncio.wait({publishing}, timeout=CONNECT_SECONDS)
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing
        await consumer.stop()
        writer.close()


class _Rebalanced(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def on_partitions_revoked(self, revoked: object) -> None:
        await self._writer.commit()
        self._writer.forget_places()

    def on_partitions_assigned(self, assigned: object) -> None:
        self._writer.forget_places()


class Writer:
    """The loop. Database work runs in one thread, so that heartbeats go on during a long transaction."""

    def __init__(self, settings: Settings, clock: Clock, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._clock = clock
        self._consumer = consumer
        self._thread = ThreadPoolExecutor(1, "scad-writer")
        self._conn: Connection | None = None
        self._delay = RETRY_FIRST_SECONDS
        self._next: dict[TopicPartition, int] = {}
        """What the database's row of each partition that may be written says; a partition that is not in it has to
        be placed first."""
        self._behind: dict[TopicPartition, int] = {}
        """What the database has, and Kafka has not been told."""
        self._commit_at = 0.0  # of the loop's clock

    def forget_places(self) -> None:
        """Look anew where each partition begins: others had them, or the database may be another."""
        self._next.clear()
        self._behind.clear()

    def close(self) -> None:
        """Wait for the running transaction and close the connection."""
        self._thread.shutdown(wait=True)
        if self._conn is not None:
            self._conn.close()

    async def run(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            if self._behind and loop.time() >= self._commit_at:
                await self.commit()
                self._commit_at = loop.time() + COMMIT_EVERY_SECONDS
            if not await self._place():
                await self._wait_for_database(stop)
                continue
            if not await self._write_parts(await self._poll_parts()):
                await self._wait_for_database(stop)
        await self.commit()

    async def _poll_parts(self) -> tuple[Fetched, Fetched]:
        """What is to be written: alert signals, and the rest. Signals have a transaction of their own, before the
        other: in a backlog nobody waits for an alert until the readings that came with it are stored, and the lock
        on the events, for which a nurse's click waits, is held for as long as signals take."""
        mine = self._consumer.assignment()
        of_signals = {at for at in mine if at.topic == topics.ALERTS}
        others = mine - of_signals
        signals = await self._poll(0, *of_signals) if of_signals else {}
        if signals:
            return signals, await self._poll(0, *others) if others else {}
        rest = await self._poll()
        return {at: rest.pop(at) for at in of_signals & rest.keys()}, rest

    async def _write_parts(self, parts: Sequence[Fetched]) -> bool:
        """Whether all of it is in the database. What is not will be fetched again."""
        for number, fetched in enumerate(parts):
            for at in fetched.keys() - self._next.keys():  # assigned meanwhile, from who knows where
                del fetched[at]
            records = [record for batch in fetched.values() for record in batch]
            if records and not await self._write(fetched, records):
                for unwritten in parts[number:]:
                    self._rewind(unwritten)
                return False
            if records:
                self._delay = RETRY_FIRST_SECONDS
        return True

    async def _poll(self, timeout_ms: int = POLL_MS, *of: TopicPartition) -> Fetched:
        """The next records, at most BATCH_RECORDS, of these partitions or of all."""
        try:
            fetched: Fetched = await self._consumer.getmany(
                *of, timeout_ms=timeout_ms, max_records=BATCH_RECORDS
            )
            return fetched
        except KafkaError as error:
            log.warning("writer.fetch_failed", error=type(error).__name__)
            await asyncio.sleep(RETRY_FIRST_SECONDS)
            return {}

    async def _place(self) -> bool:
        """Give every partition without a place one. Whether the database could be asked."""
        if not (fresh := self._consumer.assignment() - self._next.keys()):
            return True
        try:
            await self._in_thread(
                self._connection
            )  # a new connection forgets every place: before one is found
            fresh = self._consumer.assignment() - self._next.keys()
            now_ms = self._clock.now_ms()
            self._next |= await place(
                self._consumer, fresh, lambda work: self._in_thread(lambda: work(self._connection())), now_ms,
                exact_ends=not self._settings.kafka_embedded,
            )  # fmt: skip
        except psycopg.Error as error:
            log.warning("writer.database_failed", error=type(error).__name__, detail=str(error).strip())
            return False
        except (KafkaError, IllegalStateError) as error:  # the broker is away, or the partitions are
            log.warning("writer.place_failed", error=type(error).__name__)
            await asyncio.sleep(RETRY_FIRST_SECONDS)
        return True

    async def _write(self, fetched: Fetched, records: list[ConsumerRecord]) -> bool:
        """Whether the batch is in the database."""
        now_ms = self._clock.now_ms()
        moves = [
            Move(at.topic, at.partition, self._next[at], batch[-1].offset + 1)
            for at, batch in fetched.items()
            if batch
        ]
        try:
            with BATCH_SECONDS.time():
                written = await self._in_thread(
                    lambda: write_batch(self._connection(), records, now_ms, moves)
                )
        except OffsetsMovedError as error:
            FAILURES.labels(cause="OffsetsMovedError").inc()
            log.warning("writer.offsets_moved", detail=str(error))
            self.forget_places()
            return False
        except psycopg.Error as error:  # no record's fault: those were sorted out inside
            FAILURES.labels(cause=type(error).__name__).inc()
            log.warning("writer.database_failed", error=type(error).__name__, detail=str(error).strip())
            return False
        for move in moves:
            at = TopicPartition(move.topic, move.partition)
            if at in self._next:
                self._next[at] = self._behind[at] = move.next_offset
        self._count(written)
        for at, batch in fetched.items():
            if at.topic == topics.READINGS and batch:
                stages.passed("stored", batch[0], self._clock.now_ms())
        oldest_ms = min(record.timestamp for record in records)
        LAG_SECONDS.set(max(0.0, (self._clock.wall() - oldest_ms) / 1000))
        return True

    def _count(self, written: Written) -> None:
        for (topic, result), number in written.counts.items():
            RECORDS.labels(topic=topic, result=result).inc(number)
            if number and result in ("poison", "conflict"):
                log.error("writer.not_as_it_should_be", topic=topic, result=result, records=number)
        if written.gaps:
            GAPS.inc(written.gaps)
            log.error("writer.signal_gap", missing=written.gaps)

    async def commit(self) -> None:
        """Tell Kafka how far the database is. A failure is tried again, and costs a redelivery at worst."""
        mine = self._consumer.assignment()
        offsets = {at: offset for at, offset in self._behind.copy().items() if at in mine}
        if not offsets:
            return
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.commit(offsets)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            FAILURES.labels(cause=type(error).__name__).inc()
            log.info("writer.commit_failed", error=type(error).__name__)
            return
        for at, offset in offsets.items():
            if self._behind.get(at) == offset:
                self._behind.pop(at, None)

    def _rewind(self, fetched: Fetched) -> None:
        for at, batch in fetched.items():
            if at in self._consumer.assignment():
                self._consumer.seek(at, batch[0].offset)

    async def _wait_for_database(self, stop: asyncio.Event) -> None:
        """Until the database answers: everything paused, polled all the same so that the group keeps us.

        The delay grows until a batch has been written: a database that answers and refuses the batch all the
        same (a missing table, a deadlock again and again) is not hammered.
        """
        loop = asyncio.get_running_loop()
        WAITING.set(1)
        while not stop.is_set():
            until = loop.time() + self._delay
            while loop.time() < until and not stop.is_set():
                self._consumer.pause(*self._consumer.assignment())
                # a rebalance may have brought partitions that were not paused yet
                self._rewind(await self._poll())
            self._delay = min(self._delay * 2, RETRY_LONGEST_SECONDS)
            if await self._in_thread(self._answers):
                break
        WAITING.set(0)
        self._consumer.resume(*(self._consumer.paused() & self._consumer.assignment()))

    def _answers(self) -> bool:
        try:
            self._connection().execute("select from scad.migration")
        except psycopg.Error as error:
            log.info("writer.database_away", error=type(error).__name__, detail=str(error).strip())
            return False
        return True

    def _connection(self) -> Connection:
        """The connection, opened anew when the last one broke."""
        if self._conn is None or self._conn.closed or self._conn.broken:
            self.forget_places()  # it may have been restored meanwhile
            self._conn = psycopg.connect(self._settings.database, autocommit=True, **CONNECTION_OPTIONS)
        return self._conn

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
