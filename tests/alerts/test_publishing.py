"""The outbox's publisher when its producer can send no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import LeaderNotAvailableError, OutOfOrderSequenceNumber

from alerts import outbox
from alerts.store.connection import Connection
from scad.settings import Settings

NOW_MS = 1_772_352_000_000


class Producer:
    """The first one's numbers are out of order for ever, as after a partition that had no leader for 15 s."""

    made: list[Producer]
    log: list[str]

    def __init__(self) -> None:
        self.made.append(self)
        self.log.append("made")
        self.troubles = [OutOfOrderSequenceNumber(), LeaderNotAvailableError()]

    async def send(self, topic: str, *, value: bytes, **_: Any) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        if self is self.made[0]:
            future.set_exception(self.troubles.pop() if len(self.troubles) > 1 else self.troubles[0])
        else:
            self.log.append(value.decode())
            future.set_result(None)
        return future

    async def stop(self) -> None:
        self.log.append("stopped")


def test_a_producer_that_lost_its_turn_gives_way_to_a_new_one_which_sends_everything(
    store: Connection, store_address: str, monkeypatch: pytest.MonkeyPatch
):
    Producer.made, Producer.log = [], []

    async def make_producer(*_: Any) -> Producer:
        return Producer()

    monkeypatch.setattr(outbox, "make_producer", make_producer)
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr("streams.kafka.RETRY_SECONDS", 0.0)
    for value in ("1", "2", "3"):
        outbox.enqueue(store, "scad.care-plans", "p-1", value.encode(), NOW_MS)

    def waiting() -> bool:
        return store.execute("select from scad.outbox").fetchone() is not None

    async def scenario() -> None:
        stop = asyncio.Event()
        settings = Settings(database=store_address)
        publishing = asyncio.create_task(outbox.keep_publishing(settings, stop))
        try:
            async with asyncio.timeout(20):
                while await asyncio.to_thread(waiting):  # noqa: ASYNC110 - the database is asked
                    await asyncio.sleep(0.02)
        finally:
            stop.set()
            await publishing

    asyncio.run(scenario())
    assert Producer.log == ["made", "stopped", "made", "1", "2", "3", "stopped"]
