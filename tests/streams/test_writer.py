from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
from aiokafka import ConsumerRecord, TopicPartition

from alerts.schema import apply_schema
from scad.clock import Clock
from scad.services import Kafka, Postgres, Tansu
from scad.settings import Settings
from streams import topics
from streams.kafka import Record, ensure_topics, make_producer, produce
from streams.writer import COMMIT_EVERY_SECONDS, Writer, run_writer
from streams.writing import Written
from tests.streams.writer_records import refusal, signal, status, weight

DEADLINE_SECONDS = 60


def apply(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        apply_schema(conn)


def ask(database: str, query: str) -> tuple[object, ...]:
    with psycopg.connect(database, autocommit=True) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await asyncio.to_thread(true):  # noqa: ASYNC110 - a real service is asked
            await asyncio.sleep(0.05)


@asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_writer(settings, Clock(), stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE_SECONDS)


async def send(settings: Settings, records: list[Record]) -> None:
    await ensure_topics(settings)
    producer = await make_producer(settings, "test")
    try:
        await produce(producer, records)
    finally:
        await producer.stop()


def everything(readings: int) -> list[Record]:
    """Readings, each twice, and one of what the other topics carry, with a record that nobody can read."""
    records = [Record(topics.READINGS, b"p-1", weight(seq)) for seq in range(readings)] * 2
    records += [Record(topics.ALERTS, b"p-1", signal(n)) for n in (1, 2, 2, 1, 3)]
    records += [Record(topics.READINGS, b"p-1", b"not JSON"), Record(topics.QUARANTINE, b"sc-1", refusal())]
    records += [Record(topics.STATUS, b"sc-1", status("2026-03-01T08:00:00Z", state="online"))]
    return records


TOTALS = """select (select count(*) from scad.reading), (select count(*) from scad.alert_event),
    (select count(*) from scad.quarantine), (select count(*) from scad.device_status)"""


@pytest.mark.slow
def test_everything_is_stored_once_and_a_second_writer_changes_nothing(fresh_kafka: Kafka, database: str):
    settings = Settings(kafka=fresh_kafka.bootstrap, database=database, partitions=3)
    apply(database)

    async def scenario() -> None:
        async with writing(settings):
            await send(settings, everything(3000))
            await until(lambda: ask(database, TOTALS) == (3000, 3, 2, 1))
        async with writing(settings):
            await send(settings, everything(3001))
            await until(lambda: ask(database, TOTALS)[:2] == (3001, 3))
            await until(lambda: ask(database, "select max(times) from scad.quarantine") == (2,))

    asyncio.run(scenario())


class OneByOne:
    """A consumer that hands out one record a fetch, and notes what it is told to commit."""

    def __init__(self, records: int, stop: asyncio.Event) -> None:
        self._at = TopicPartition(topics.ALERTS, 0)
        self._left = iter(range(records))
        self._stop = stop
        self.told: list[int] = []

    def assignment(self) -> set[TopicPartition]:
        return {self._at}

    async def getmany(self, *of: TopicPartition, **_: object) -> dict[TopicPartition, list[ConsumerRecord]]:
        if not of:
            return {}  # nothing but signals, which are asked for alone
        offset = next(self._left, None)
        if offset is None:
            self._stop.set()
            return {}
        made = ConsumerRecord(*self._at, offset, 1, 0, b"p-1", b"", None, 0, 0, ())
        return {self._at: [made]}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.told.append(offsets[self._at])


def test_kafka_is_told_once_a_second_and_at_the_stop_how_far_the_database_is(
    monkeypatch: pytest.MonkeyPatch,
):
    async def beginning(*_: object, **__: object) -> dict[TopicPartition, int]:
        return {TopicPartition(topics.ALERTS, 0): 0}

    monkeypatch.setattr("streams.writer.place", beginning)
    monkeypatch.setattr("streams.writer.write_batch", lambda *_: Written())
    monkeypatch.setattr(Writer, "_connection", lambda _: None)

    async def scenario() -> tuple[list[int], float]:
        stop = asyncio.Event()
        consumer = OneByOne(300, stop)
        writer = Writer(Settings(), Clock(), consumer)
        began = asyncio.get_running_loop().time()
        await writer.run(stop)
        writer.close()
        return consumer.told, asyncio.get_running_loop().time() - began

    told, took_s = asyncio.run(scenario())
    assert told[0] == 1
    assert told[-1] == 300
    assert len(told) <= took_s / COMMIT_EVERY_SECONDS + 2


class SignalAndReading:
    """A consumer with one signal and one reading, which comes back when it is told to go back to it."""

    def __init__(self) -> None:
        self.waiting = {TopicPartition(topic, 0): 0 for topic in (topics.ALERTS, topics.READINGS)}
        self.sought: list[TopicPartition] = []

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(topic, 0) for topic in (topics.ALERTS, topics.READINGS)}

    async def getmany(self, *of: TopicPartition, **_: object) -> dict[TopicPartition, list[ConsumerRecord]]:
        found = {at: offset for at, offset in self.waiting.items() if not of or at in of}
        for at in found:
            del self.waiting[at]
        return {
            at: [ConsumerRecord(*at, offset, 1, 0, b"p-1", b"", None, 0, 0, ())]
            for at, offset in found.items()
        }

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.sought.append(at)
        self.waiting[at] = offset

    async def commit(self, _: object) -> None: ...

    def pause(self, *_: TopicPartition) -> None: ...

    def resume(self, *_: TopicPartition) -> None: ...

    def paused(self) -> set[TopicPartition]:
        return set()


def test_signals_are_written_before_the_readings_that_came_with_them_and_only_what_failed_is_fetched_again(
    monkeypatch: pytest.MonkeyPatch,
):
    consumer, stop = SignalAndReading(), asyncio.Event()
    tried: list[str] = []

    async def beginning(*_: object, **__: object) -> dict[TopicPartition, int]:
        return dict.fromkeys(consumer.assignment(), 0)

    def write(_: object, records: list[ConsumerRecord], *__: object) -> Written:
        (topic,) = {record.topic for record in records}
        tried.append(topic)
        if tried == [topics.ALERTS, topics.READINGS]:
            raise psycopg.OperationalError("the database went away in between")
        if len(tried) == 3:
            stop.set()
        return Written()

    monkeypatch.setattr("streams.writer.place", beginning)
    monkeypatch.setattr("streams.writer.write_batch", write)
    monkeypatch.setattr("streams.writer.RETRY_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(Writer, "_connection", lambda _: None)
    monkeypatch.setattr(Writer, "_answers", lambda _: True)

    async def scenario() -> None:
        writer = Writer(Settings(), Clock(), consumer)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await writer.run(stop)
        writer.close()

    asyncio.run(scenario())
    assert tried == [topics.ALERTS, topics.READINGS, topics.READINGS]
    assert set(consumer.sought) == {TopicPartition(topics.READINGS, 0)}


ALERTS_BEFORE = """select count(*) filter (where stored_at <= (select max(recorded_at) from scad.alert_event)), count(*)
    from scad.reading"""


@pytest.mark.slow
def test_in_a_backlog_no_alert_waits_for_the_readings_before_it(fresh_kafka: Kafka, database: str):
    settings = Settings(kafka=fresh_kafka.bootstrap, database=database, partitions=3)
    apply(database)
    backlog = [Record(topics.READINGS, b"p-1", weight(seq)) for seq in range(20_000)]
    alerts = [Record(topics.ALERTS, b"p-1", signal(n)) for n in range(1, 101)]

    async def scenario() -> None:
        await send(settings, backlog + alerts)
        async with writing(settings):
            await until(lambda: ask(database, TOTALS)[:2] == (20_000, 100))

    asyncio.run(scenario())
    before, readings = ask(database, ALERTS_BEFORE)
    assert before < readings / 2  # type: ignore[operator]


@pytest.mark.slow
def test_a_database_that_goes_away_is_waited_for(fresh_kafka: Kafka, postgres: Postgres, database: str):
    settings = Settings(kafka=fresh_kafka.bootstrap, database=database, partitions=3)
    name = database.rpartition("/")[2]

    def admin(statement: str) -> None:
        with psycopg.connect(postgres.admin_dsn, autocommit=True) as conn:
            conn.execute(statement.encode())

    async def scenario() -> None:
        async with writing(settings):
            await send(settings, everything(500))  # the schema is not there yet
            await asyncio.to_thread(apply, database)
            await until(lambda: ask(database, TOTALS) == (500, 3, 2, 1))
            admin(f"alter database {name} allow_connections false")
            admin(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")
            await send(settings, everything(800))
            admin(f"alter database {name} allow_connections true")
            await until(lambda: ask(database, TOTALS)[:2] == (800, 3))

    asyncio.run(scenario())


@pytest.mark.slow
def test_the_embedded_broker_serves_the_writer_too(tansu: Tansu, database: str):
    settings = Settings(kafka=tansu.bootstrap, kafka_embedded=True, database=database, partitions=2)
    apply(database)

    async def scenario() -> None:
        async with writing(settings):
            await send(settings, everything(200))
            await until(lambda: ask(database, TOTALS) == (200, 3, 2, 1))

    asyncio.run(scenario())
