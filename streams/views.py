"""A compacted topic as a dictionary that follows it: device assignments, for whoever has to look one up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from scad.settings import Settings
from streams.kafka import RETRY_SECONDS, make_consumer, started

log = structlog.get_logger()

Value = TypeVar("Value")

MAX_KEYS = 2_000_000
"""More keys are not held: a million patients have some such number of devices. What is over is logged."""
POLL_MS = 200
SETTLE_POLLS = 2
"""Empty polls in a row, all positions at their ends, before the view says that it has caught up."""


class CompactedView(Generic[Value]):
    """Every partition of a compacted topic, read without a group, by key.

    `decode` makes a value of a record's bytes; what it raises is logged with topic, partition and offset,
    and the key keeps its value. A record without value removes its key.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        decode: Callable[[bytes], Value],
        *,
        client_id: str = "scad-view",
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._decode = decode
        self._client_id = client_id
        self._max_keys = max_keys
        self._values: dict[str, Value] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._moved = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def get(self, key: str) -> Value | None:
        return self._values.get(key)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    async def start(self) -> None:
        """Begin to read; waits for the broker, not for the end of the topic (`caught_up` does)."""
        consumer = make_consumer(self._settings, self._topic, client_id=self._client_id)
        self._consumer = await started(consumer, self._settings)
        while not consumer.assignment():  # without a group a consumer has all partitions of its topic
            log.info("view.waiting_for_topic", topic=self._topic)
            await asyncio.sleep(RETRY_SECONDS)
        self._positions = dict.fromkeys(consumer.assignment(), 0)
        self._task = asyncio.create_task(self._follow(consumer), name=f"view {self._topic}")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()

    async def caught_up(self) -> None:
        """Return once everything that stood in the topic at the start has been read."""
        await self._caught_up.wait()

    async def catch_up_now(self) -> None:
        """Return once everything that is acknowledged in the topic at this moment has been read."""
        await self._caught_up.wait()
        ends = await self._ends()
        while any(self._positions[partition] < end for partition, end in ends.items()):
            self._moved.clear()
            await self._moved.wait()

    async def _ends(self) -> dict[TopicPartition, int]:
        """The partitions' ends. tansu's are too low where a batch held several records; every producer here
        sends it batches of one, and the start waits for polls that bring nothing as well."""
        consumer = self._consumer
        if consumer is None:
            raise RuntimeError(f"the view of {self._topic} is not started")
        while True:
            try:
                ends: dict[TopicPartition, int] = await consumer.end_offsets(list(self._positions))
                return ends
            except KafkaError as error:
                log.warning("view.waiting", topic=self._topic, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        ends = await self._ends()
        quiet = 0
        while True:
            try:
                fetched = await consumer.getmany(timeout_ms=POLL_MS)
                for partition, records in fetched.items():
                    for record in records:
                        self._apply(record.key, record.value, record.partition, record.offset)
                    self._positions[partition] = records[-1].offset + 1
                for partition in self._positions:  # past what compaction took away at the end
                    self._positions[partition] = max(
                        self._positions[partition], await consumer.position(partition)
                    )
            except KafkaError as error:
                log.warning("view.waiting", topic=self._topic, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            quiet = 0 if fetched else quiet + 1
            self._moved.set()
            reached = all(self._positions[partition] >= end for partition, end in ends.items())
            if reached and (quiet >= SETTLE_POLLS or not self._settings.kafka_embedded):
                self._caught_up.set()

    def _apply(self, key: bytes | None, value: bytes | None, partition: int, offset: int) -> None:
        place = {"topic": self._topic, "partition": partition, "offset": offset}
        try:
            name = (key or b"").decode()
            if value is None:
                self._values.pop(name, None)
                return
            decoded = self._decode(value)
        except Exception as error:  # whatever the decoder raises, the view goes on
            log.error("view.poison_record", **place, error=type(error).__name__)
            return
        if name not in self._values and len(self._values) >= self._max_keys:
            log.error("view.full", **place, keys=len(self._values))
            return
        self._values[name] = decoded
