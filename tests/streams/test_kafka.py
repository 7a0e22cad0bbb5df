from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, LeaderNotAvailableError

from scad.services import Kafka, Tansu
from scad.settings import Settings
from streams import topics
from streams.kafka import (
    MAX_RECORD_BYTES,
    KafkaSetupError,
    Record,
    ensure_topics,
    header,
    make_consumer,
    make_producer,
    produce,
)
from streams.views import CompactedView

SECONDS = 60


def upper(value: bytes) -> str:
    """A decoder that refuses what is not text."""
    return value.decode("ascii").upper()


async def follow(settings: Settings) -> None:
    """What every user of a view leans on, on whichever broker."""
    await ensure_topics(settings)
    await ensure_topics(settings)
    producer = await make_producer(settings, "test")
    view = CompactedView(settings, topics.ASSIGNMENTS, upper, max_keys=21)
    try:
        await produce(producer, [Record(topics.ASSIGNMENTS, b"k%d" % n, b"old") for n in range(20)])
        await produce(producer, [Record(topics.ASSIGNMENTS, b"k%d" % n, b"new") for n in range(20)])
        await view.start()
        await view.caught_up()
        assert {view.get(f"k{n}") for n in range(20)} == {"NEW"}
        changes = [
            Record(topics.ASSIGNMENTS, b"k3", b"\xff"),
            Record(topics.ASSIGNMENTS, b"k4", None),
            Record(topics.ASSIGNMENTS, b"one", b"more"),
            Record(topics.ASSIGNMENTS, b"two", b"more"),
            Record(topics.ASSIGNMENTS, b"three", b"more"),
        ]
        for change in changes:  # one after the other: only a key's own records are in order
            await produce(producer, [change])
            await view.catch_up_now()
        assert view.get("k3") == "NEW"
        assert view.get("k4") is None
        assert (view.get("one"), view.get("two"), view.get("three")) == ("MORE", "MORE", None)
        assert len(view) == 21
    finally:
        await view.stop()
        await producer.stop()


def run(work: Any) -> None:
    asyncio.run(asyncio.wait_for(work, SECONDS))


def test_a_view_holds_the_last_value_of_each_key_and_follows(fresh_kafka: Kafka) -> None:
    run(follow(Settings(kafka=fresh_kafka.bootstrap, partitions=3)))


def test_a_view_does_the_same_on_the_embedded_broker(tansu: Tansu) -> None:
    run(follow(Settings(kafka=tansu.bootstrap, partitions=3, kafka_embedded=True)))


def test_another_number_of_partitions_is_refused_with_what_to_do(fresh_kafka: Kafka) -> None:
    async def main() -> None:
        await ensure_topics(Settings(kafka=fresh_kafka.bootstrap, partitions=3))
        with pytest.raises(KafkaSetupError, match=r"has 3 partitions and SCAD_PARTITIONS is 4: set it"):
            await ensure_topics(Settings(kafka=fresh_kafka.bootstrap, partitions=4))

    run(main())


def test_more_replicas_than_brokers_are_refused_in_words(fresh_kafka: Kafka) -> None:
    async def main() -> None:
        with pytest.raises(KafkaSetupError, match=r"refused topic scad\."):
            await ensure_topics(Settings(kafka=fresh_kafka.bootstrap, partitions=1, replication=3))

    run(main())


def test_records_of_one_key_keep_their_order_and_the_largest_fits(fresh_kafka: Kafka) -> None:
    async def main() -> None:
        settings = Settings(kafka=fresh_kafka.bootstrap, partitions=3)
        await ensure_topics(settings)
        producer = await make_producer(settings, "test")
        large = b"x" * (MAX_RECORD_BYTES - 1_000)
        values = [b"%d" % n for n in range(500)] + [large]
        sent = await produce(producer, [Record(topics.TELEMETRY, b"d", value) for value in values])
        assert [metadata.offset for metadata in sent] == list(range(501))
        await producer.stop()
        consumer = make_consumer(settings, topics.TELEMETRY, client_id="test")
        await consumer.start()
        found: list[bytes] = []
        while len(found) < len(values):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [record.value for record in records]
        await consumer.stop()
        assert found == values

    run(main())


@pytest.mark.slow
def test_more_than_the_producer_holds_arrives_in_order_once_the_broker_is_back(
    start_kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start_kafka(1)
    monkeypatch.setattr("streams.kafka.REQUEST_TIMEOUT_MS", 2_000)  # aiokafka waits as long for room

    async def main() -> None:
        settings = Settings(kafka=broker.bootstrap, partitions=1)
        await ensure_topics(settings)
        producer = await make_producer(settings, "test")
        no_room = asyncio.Event()
        send = producer.send

        async def watched(*args: Any, **named: Any) -> Any:
            try:
                return await send(*args, **named)
            except KafkaTimeoutError:
                no_room.set()
                raise

        monkeypatch.setattr(producer, "send", watched)
        broker.kill()
        values = [b"%d " % n * 10_000 for n in range(100)]  # some 4 MB, four of aiokafka's batches
        sending = asyncio.create_task(
            produce(producer, [Record(topics.TELEMETRY, b"d", value) for value in values])
        )
        waiting = asyncio.create_task(no_room.wait())
        await asyncio.wait({sending, waiting}, return_when=asyncio.FIRST_COMPLETED)
        await waiting
        await asyncio.to_thread(broker.restart)
        assert [metadata.offset for metadata in await sending] == list(range(100))
        await producer.stop()
        async with make_consumer(settings, topics.TELEMETRY, client_id="test") as consumer:
            assert [(await consumer.getone()).value for _ in values] == values

    run(main())


def test_a_record_that_cannot_be_sent_yet_goes_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.RETRY_SECONDS", 0.0)

    class Producer:
        """Has no room, then no leader, for the second record."""

        def __init__(self) -> None:
            self.troubles = [KafkaTimeoutError(), LeaderNotAvailableError()]
            self.sent: list[bytes] = []

        async def send(self, topic: str, *, value: bytes, **_: Any) -> Any:
            if value == b"1" and self.troubles:
                raise self.troubles.pop()
            self.sent.append(value)
            future = asyncio.get_running_loop().create_future()
            future.set_result(len(self.sent))
            return future

    async def main() -> None:
        producer: Any = Producer()
        done: list[Any] = await produce(
            producer, [Record(topics.READINGS, b"p", b"%d" % n) for n in range(4)]
        )
        assert producer.sent == [b"0", b"1", b"2", b"3"]
        assert done == [1, 2, 3, 4]

    run(main())


def test_a_header_is_read_as_text_or_not_at_all() -> None:
    headers = (("a", b"1"), ("b", b"\xff"), ("a", b"2"))
    assert header(headers, "a") == "1"
    assert header(headers, "b") is None
    assert header(None, "a") is None
