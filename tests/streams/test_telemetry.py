"""The intake reads two topics at once: what one of them notes of a device, the other does not forget."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scad.clock import Clock
from streams import topics
from streams.intake import Interval
from streams.receipts import decode_record
from streams.telemetry import Telemetry
from streams.transport import Grant

T0_MS = 1_790_000_000_000


class Table:
    """Stands for the table of ledgers: a write takes a while."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def get_value(self, name: str) -> bytes | None:
        return self.values.get(name)

    async def write(self, grant: Grant, values: dict[str, bytes]) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        self.values.update(values)


class Producer:
    """Stands for Kafka: what was acknowledged, in its order."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes]] = []

    async def send(self, topic: str, value: bytes, **_: Any) -> asyncio.Future[Any]:
        self.records.append((topic, value))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, SimpleNamespace(offset=len(self.records)))
        return future


def record(topic: str, seqs: list[int]) -> Any:
    readings = [
        {"v": 1, "device": "d", "seq": seq, "kind": "body-weight",
         "measured_at": "2026-09-21T08:00:00+02:00", "values": {"weight": 80}}
        for seq in seqs
    ]  # fmt: skip
    value = msgspec.json.encode(readings)
    return SimpleNamespace(
        topic=topic, key=b"d", value=value, headers=(), timestamp=T0_MS, partition=0, offset=0
    )


@given(
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=5), min_size=1, max_size=8),
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=5), min_size=1, max_size=8),
)
def test_two_ways_at_once_lose_no_number_of_a_device_and_the_last_receipt_says_most(
    live: list[list[int]], backlog: list[list[int]]
) -> None:
    table, producer = Table(), Producer()
    assignments: Any = SimpleNamespace(get=lambda _: (Interval(0, None, "p"),))
    plans: Any = SimpleNamespace(get=lambda _: None)
    work = Telemetry(table, producer, assignments, plans, Clock(wall=lambda: T0_MS))  # type: ignore[arg-type]

    async def lane(topic: str, batches: list[list[int]]) -> None:
        for seqs in batches:
            await work.handle([record(topic, seqs)], Grant(0, 1))

    async def main() -> None:
        await asyncio.gather(lane(topics.TELEMETRY, live), lane(topics.BACKLOG, backlog))

    asyncio.run(main())
    sent = {seq for seqs in live + backlog for seq in seqs}
    last = [decode_record(value).receipt for topic, value in producer.records if topic == topics.RECEIPTS][-1]
    told = {seq for first, end in last.also for seq in range(first, end + 1)}
    told |= set(range(min(sent), last.through + 1))
    assert told == sent
