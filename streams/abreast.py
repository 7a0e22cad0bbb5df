"""Batches of several partitions at once, those of one partition in their order.

While one batch waits for its acknowledgements another is evaluated: a worker that did one after the other stood
still for a third of its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from faust.types import TP

from streams.transport import Batch

ABREAST_MAX = 4
"""Batches worked on at the same time. One is evaluated while the others wait for Kafka; more would not be quicker, and
each holds up to 10,000 records (some 6 MB), for which a rebalance has to wait."""

Work = Callable[[Batch], Awaitable[None]]


class Abreast:
    """Hands each batch to `work`, which never raises. To be used as `async with`: leaving it waits for what is under
    way; leaving it by an error, or by the cancelling of an agent, ends that."""

    def __init__(self, work: Work, most: int = ABREAST_MAX) -> None:
        self._work = work
        self._room = asyncio.Semaphore(most)
        self._group = asyncio.TaskGroup()
        self._last: dict[TP, asyncio.Task[None]] = {}
        self._leaving = False

    async def __aenter__(self) -> Abreast:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._leaving = True
        await self._group.__aexit__(*error)  # type: ignore[arg-type]

    def begin(self, batch: Batch) -> None:
        """Take a batch in; how many may wait is bounded by the transport (`IN_HAND` of each partition)."""
        before = self._last.get(batch.tp)
        self._last[batch.tp] = self._group.create_task(self._after(before, batch), name=f"batch {batch.tp}")

    async def _after(self, before: asyncio.Task[None] | None, batch: Batch) -> None:
        if before is not None:
            await asyncio.wait([before])
        async with self._room:
            try:
                await self._work(batch)
            except asyncio.CancelledError as error:
                if self._leaving:
                    raise
                # A group says nothing of a task that was cancelled from within, and the batch would be forgotten.
                raise RuntimeError(f"the work on a batch of {batch.tp} was cancelled from within") from error
