"""Batches of several partitions at once: which may overtake which, how many, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.abreast import ABREAST_MAX, Abreast


def batch(partition: int, number: int) -> Any:
    return SimpleNamespace(tp=TP("scad.readings", partition), number=number)


class Watched:
    """Work that takes as many turns of the loop as it is told, and notes what is under way."""

    def __init__(self, turns: Sequence[int]) -> None:
        self._turns = list(turns)
        self.under_way: list[Any] = []
        self.most = 0
        self.done: list[tuple[int, int]] = []

    async def __call__(self, batch: Any) -> None:
        assert all(other.tp != batch.tp for other in self.under_way), "two of one partition at once"
        self.under_way.append(batch)
        self.most = max(self.most, len(self.under_way))
        for _ in range(self._turns.pop() if self._turns else 0):
            await asyncio.sleep(0)
        self.under_way.remove(batch)
        self.done.append((batch.tp.partition, batch.number))


@given(st.lists(st.integers(0, 7), max_size=30), st.lists(st.integers(0, 5), max_size=30))
def test_every_batch_is_worked_on_once_in_its_partitions_order_and_few_at_a_time(
    partitions: list[int], turns: list[int]
) -> None:
    work = Watched(turns)

    async def main() -> None:
        async with Abreast(work) as abreast:
            for number, partition in enumerate(partitions):
                abreast.begin(batch(partition, number))

    asyncio.run(main())
    assert sorted(number for _, number in work.done) == list(range(len(partitions)))
    for partition in set(partitions):
        own = [number for of, number in work.done if of == partition]
        assert own == sorted(own)
    assert work.most <= ABREAST_MAX


def test_a_partition_that_waits_for_its_broker_does_not_hold_the_others_up() -> None:
    async def main() -> None:
        answer, done = asyncio.Event(), []

        async def work(batch: Any) -> None:
            if batch.tp.partition == 0:
                await answer.wait()
            done.append(batch.tp.partition)

        async with Abreast(work) as abreast:
            for partition in (0, 0, 1, 2):
                abreast.begin(batch(partition, 0))
            for _ in range(10):
                await asyncio.sleep(0)
            assert sorted(done) == [1, 2]
            answer.set()
        assert done[2:] == [0, 0]

    asyncio.run(main())


def test_an_agent_that_is_ended_ends_what_is_under_way() -> None:
    async def main() -> None:
        ended = []

        async def work(batch: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(batch.number)

        async def agent() -> None:
            async with Abreast(work) as abreast:
                abreast.begin(batch(0, 1))
                abreast.begin(batch(1, 2))
                await asyncio.Event().wait()

        running = asyncio.create_task(agent())
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert sorted(ended) == [1, 2]

    asyncio.run(main())


def test_work_that_is_cancelled_from_within_is_not_forgotten() -> None:
    async def main() -> None:
        async def work(batch: Any) -> None:
            raise asyncio.CancelledError

        async def agent() -> None:
            async with Abreast(work) as abreast:
                abreast.begin(batch(7, 1))
                await asyncio.Event().wait()

        with pytest.raises(ExceptionGroup) as told:
            await agent()
        assert "partition=7" in str(told.value.exceptions[0])

    asyncio.run(main())
