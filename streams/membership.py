"""The thread in which aiokafka's consumer runs: membership of the group, positions, and commits as a member only.

It leans on private parts of Faust's thread and of aiokafka's group coordinator; tests/streams/test_private_parts.py
lists every file that does such a thing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

from aiokafka.errors import IllegalGenerationError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

ASK_AGAIN_SECONDS = 0.2
"""A broker whose disk has failed says so within some seconds, and another leads the partition. Who asks has a bound of
its own: recovery `broker_request_timeout`."""


async def _known(ask: Callable[..., Awaitable[Mapping[TP, int]]], partitions: Sequence[TP]) -> dict[TP, int]:
    """Offsets that the brokers know. A leader whose log has just gone (its disk is full) answers -1, without an
    error: then it is asked again."""
    found: dict[TP, int] = {}
    while True:
        asked = await ask(*(tp for tp in partitions if tp not in found))
        found |= {tp: offset for tp, offset in asked.items() if offset is not None and offset >= 0}
        if len(found) == len(partitions):
            return found
        await asyncio.sleep(ASK_AGAIN_SECONDS)


class BatchThread(driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka's consumer runs."""

    heartbeat_at = 0.0
    """When the last heartbeat that the group accepted was sent, by the monotonic clock."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        app: Any = self.app
        consumer._fetch_max_wait_ms = app.fetch_wait_ms
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat: Callable[[], Awaitable[bool]] = coordinator._do_heartbeat

        async def noted_beat() -> bool:
            sent = monotonic()
            accepted = await beat()
            if accepted:
                self.heartbeat_at = sent
            return accepted

        commit: Callable[..., Awaitable[None]] = coordinator._do_commit_offsets

        async def commit_as_member(*args: Any) -> None:
            """Kafka takes a commit of no member for a group that has none: it could reach past the states of an owner
            in between that is gone."""
            if not self.is_member:
                raise IllegalGenerationError
            await commit(*args)

        coordinator._do_heartbeat = noted_beat
        coordinator._do_commit_offsets = commit_as_member

    @property
    def is_member(self) -> bool:
        """False from the moment at which the group disowns us until it has taken us in again."""
        return bool(self._ensure_consumer()._coordinator.generation != driver.DEFAULT_GENERATION_ID)

    def end_of(self, tp: TP) -> int | None:
        """The offset after the partition's last record; None before the first fetch, or when it is not ours."""
        try:
            end: int | None = self._ensure_consumer().highwater(tp)
        except (AssertionError, ConsumerNotStarted):  # given up meanwhile; not started, or stopping
            return None
        return end

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Where recovery begins. Faust takes 1 from it, and ends with -2."""
        return await _known(super().earliest_offsets, partitions)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Where recovery ends. With -1 for a changelog that has records their patients would begin anew."""
        return await _known(super().highwaters, partitions)

    async def seek_committed(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Seek to the committed offsets, or to the beginning where there are none; returns the positions."""
        consumer = self._ensure_consumer()
        positions: dict[TP, int | None] = {tp: await consumer.committed(tp) for tp in tps}
        missing = [tp for tp, offset in positions.items() if offset is None or offset < 0]
        if missing:
            positions.update(await _known(lambda *tps: consumer.beginning_offsets(tps), missing))
        found = {tp: offset or 0 for tp, offset in positions.items()}
        await self.seek_to(found)
        return found

    async def seek_to(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in positions.items():
            consumer.seek(tp, offset)
