"""Delivery and acknowledgement of batches, without a broker (tests/path has the real one)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalGenerationError
from faust.tables.recovery import RebalanceAgain, Recovery
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams import membership
from streams.membership import BatchThread
from streams.transport import (
    HELD_BYTES,
    SLOW_HELD_BYTES,
    Batch,
    BatchConsumer,
    FencedError,
    OrderError,
    note_changelog,
)

TELEMETRY = TP("scad.telemetry", 1)
BACKLOG = TP("scad.backlog", 1)


class Bare(BatchConsumer):
    """The consumer's own state without Faust around it: what is delivered is kept in `delivered`."""

    def __init__(self) -> None:
        self._own_state()
        self.delivered: list[Batch] = []
        self.sought: list[dict[TP, int]] = []
        self.app: Any = SimpleNamespace(
            tables=SimpleNamespace(changelog_topics=set()),
            consumer_generation_id=1,
            slow_topics=frozenset({BACKLOG.topic}),
            conf=SimpleNamespace(broker_session_timeout=6.0, broker_rebalance_timeout=0.2),
        )
        self._thread: Any = SimpleNamespace(
            call_thread=self._call, seek_to="seek", heartbeat_at=1e12, is_member=True
        )
        self.suspend_flow = asyncio.Event()
        self.commits: list[dict[TP, int]] = []
        self._unacked_messages = set()
        self._acked, self._acked_index = {}, {}

    async def _call(self, what: str, positions: dict[TP, int]) -> None:
        self.sought.append(positions)

    async def wait_first(self, *awaitables: Any, **_: Any) -> Any:
        for awaitable in awaitables:
            if asyncio.iscoroutine(awaitable):
                awaitable.close()

    async def callback(self, message: Any) -> None:
        """Stands for the conductor."""

    def _message(self, batch: Batch) -> Any:
        self.delivered.append(batch)
        return None

    async def _commit(self, offsets: Any) -> bool:
        self.commits.append(dict(offsets))
        return True

    async def maybe_wait_for_commit_to_finish(self) -> bool:
        return False

    async def commit(self, *_: Any, **__: Any) -> bool:
        return await self.force_commit()

    def at(self, offset: int) -> Bare:
        """As after perform_seek."""
        for tp in (TELEMETRY, BACKLOG):
            self._expected[tp] = self._done[tp] = self._committed[tp] = offset
        self._draining = False
        self._round += 1
        return self


class Acked:
    acked = False


def records(*offsets: int) -> Any:
    return [SimpleNamespace(offset=offset, timestamp=0, timestamp_type=0, value=b"") for offset in offsets]


def large(offset: int, size: int) -> Any:
    return SimpleNamespace(
        offset=offset, timestamp=0, timestamp_type=0, value=range(size)
    )  # only its length counts


def test_nothing_is_delivered_before_the_position_is_known() -> None:
    async def main() -> None:
        consumer = Bare()
        await consumer._deliver(TELEMETRY, records(0, 1, 2))
        assert consumer.delivered == []

    asyncio.run(main())


def test_what_was_delivered_already_is_cut_off() -> None:
    async def main() -> None:
        consumer = Bare().at(5)
        await consumer._deliver(TELEMETRY, records(3, 4))
        await consumer._deliver(TELEMETRY, records(3, 4, 5, 6))
        assert [(batch.start, batch.next) for batch in consumer.delivered] == [(5, 7)]
        assert [record.offset for record in consumer.delivered[0].records] == [5, 6]

    asyncio.run(main())


def test_a_gap_is_fetched_again_and_believed_when_it_is_still_there() -> None:
    async def main() -> None:
        consumer = Bare().at(5)
        await consumer._deliver(TELEMETRY, records(9, 10))
        assert (consumer.delivered, consumer.sought) == ([], [{TELEMETRY: 5}])
        await consumer._deliver(TELEMETRY, records(9, 10))
        assert [(batch.start, batch.next) for batch in consumer.delivered] == [(5, 11)]

    asyncio.run(main())


def test_a_batch_is_committed_only_after_it_was_called_done() -> None:
    async def main() -> None:
        consumer = Bare().at(0)
        await consumer._deliver(TELEMETRY, records(0, 1))
        consumer.ack(Acked())
        assert not await consumer.force_commit()
        consumer.done(consumer.delivered[0])
        assert await consumer.force_commit()
        assert consumer.commits == [{TELEMETRY: 2}]
        assert not await consumer.force_commit()

    asyncio.run(main())


def test_a_batch_cannot_be_done_before_the_one_that_precedes_it() -> None:
    async def main() -> None:
        consumer = Bare().at(0)
        await consumer._deliver(TELEMETRY, records(0, 1))
        await consumer._deliver(TELEMETRY, records(2, 3))
        with pytest.raises(OrderError, match="2 is done while 0 is not"):
            consumer.done(consumer.delivered[1])

    asyncio.run(main())


def test_a_batch_of_a_past_round_changes_nothing() -> None:
    async def main() -> None:
        consumer = Bare().at(0)
        await consumer._deliver(TELEMETRY, records(0, 1))
        old = consumer.delivered[0]
        grant = consumer.begin(1, old, old.round)
        assert grant is not None
        consumer.at(0)
        consumer.done(old)
        assert not await consumer.force_commit()
        assert consumer.begin(1, old, old.round) is None
        with pytest.raises(FencedError):
            await consumer.confirm(grant)

    asyncio.run(main())


def test_a_batch_after_one_that_failed_is_not_begun() -> None:
    async def main() -> None:
        consumer = Bare().at(0)
        await consumer._deliver(TELEMETRY, records(0, 1))
        await consumer._deliver(TELEMETRY, records(2, 3))
        first, second = consumer.delivered
        assert consumer.turn_of(first)
        assert not consumer.turn_of(second)
        assert consumer.stands_still(
            second
        )  # nobody is at what comes before it, and no new round is on its way
        consumer._thread.is_member = False
        assert not consumer.stands_still(second)
        consumer.done(first)
        assert consumer.turn_of(second)
        consumer.at(2)  # the next round
        assert not consumer.turn_of(second)

    asyncio.run(main())


async def asked_for(consumer: Bare) -> list[set[TP]]:
    """What is fetched next of both topics; nothing comes."""
    asked: list[set[TP]] = []

    async def getmany(active: set[TP], _: float) -> dict[TP, list[Any]]:
        asked.append(active)
        return {}

    consumer.__dict__ |= {
        "_getmany": getmany,
        "_get_active_partitions": lambda: {TELEMETRY, BACKLOG},
        "flow_active": True,
    }
    await consumer._next_fetch()
    return asked


@pytest.mark.parametrize(
    ("full", "size", "other"),
    [(TELEMETRY, HELD_BYTES - SLOW_HELD_BYTES, BACKLOG), (BACKLOG, SLOW_HELD_BYTES, TELEMETRY)],
)
def test_a_worker_that_holds_many_bytes_fetches_no_more_of_their_sort_until_some_are_done(
    full: TP, size: int, other: TP
) -> None:
    """Live readings do not wait for a backlog that is worked on slowly by design, nor it for them."""

    async def main() -> None:
        consumer = Bare().at(0)
        assert await asked_for(consumer) == [{TELEMETRY, BACKLOG}]
        await consumer._deliver(full, [large(0, size)])
        assert await asked_for(consumer) == [{other}]
        consumer.done(consumer.delivered[0])
        assert await asked_for(consumer) == [{TELEMETRY, BACKLOG}]

    asyncio.run(main())


def test_a_worker_whose_shares_are_both_full_fetches_nothing() -> None:
    async def main() -> None:
        consumer = Bare().at(0)
        await consumer._deliver(TELEMETRY, [large(0, HELD_BYTES)])
        await consumer._deliver(BACKLOG, [large(0, HELD_BYTES)])
        assert await asked_for(consumer) == []

    asyncio.run(main())


def test_a_worker_that_is_no_member_commits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        commits: list[Any] = []

        async def commit(*args: Any) -> None:
            commits.append(args)

        async def started(_: Any) -> None:
            pass

        coordinator = SimpleNamespace(_do_heartbeat=started, _do_commit_offsets=commit, generation=3)
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "on_start", started)
        thread: Any = BatchThread.__new__(BatchThread)
        thread.__dict__["_ensure_consumer"] = lambda: SimpleNamespace(_coordinator=coordinator)
        await thread.on_start()
        await coordinator._do_commit_offsets("assignment", {"tp": 5})
        coordinator.generation = driver.DEFAULT_GENERATION_ID
        with pytest.raises(IllegalGenerationError):
            await coordinator._do_commit_offsets("assignment", {"tp": 9})
        assert commits == [("assignment", {"tp": 5})]

    asyncio.run(main())


@pytest.mark.parametrize("name", ["earliest_offsets", "highwaters"])
def test_a_broker_whose_disk_has_just_failed_is_asked_again_where_a_changelog_begins_and_ends(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It answers -1, without an error."""

    async def main() -> None:
        answers = [{TELEMETRY: -1, BACKLOG: 7}, {TELEMETRY: -1}, {TELEMETRY: 3}]
        asked: list[tuple[TP, ...]] = []

        async def answer(_: Any, *partitions: TP) -> dict[TP, int]:
            asked.append(partitions)
            return answers.pop(0)

        monkeypatch.setattr(driver.AIOKafkaConsumerThread, name, answer)
        monkeypatch.setattr(membership, "ASK_AGAIN_SECONDS", 0)
        thread = BatchThread.__new__(BatchThread)
        assert await getattr(thread, name)(TELEMETRY, BACKLOG) == {TELEMETRY: 3, BACKLOG: 7}
        assert asked == [(TELEMETRY, BACKLOG), (TELEMETRY,), (TELEMETRY,)]

    asyncio.run(main())


def test_a_recovery_that_another_rebalance_has_overtaken_begins_again_and_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rebalance has put None where the next recovery is to find out an offset, which no seek takes."""

    async def main() -> None:
        sought: list[Mapping[TP, int]] = []

        async def seek(_: Any, partitions: Mapping[TP, int]) -> None:
            if None in partitions.values():
                raise ValueError("as aiokafka does")
            sought.append(partitions)

        monkeypatch.setattr(driver.Consumer, "seek_wait", seek)
        consumer = Bare().at(5)
        conf = SimpleNamespace(stream_recovery_delay=0.0)
        recovery = Recovery(SimpleNamespace(conf=conf), SimpleNamespace())  # type: ignore[arg-type]
        consumer.app.tables.recovery = recovery
        await consumer.seek_wait({TELEMETRY: 3})
        assert (sought, consumer._expected[TELEMETRY]) == ([{TELEMETRY: 3}], 3)

        async def overtaken() -> None:
            recovery.signal_recovery_start.set()
            await consumer.seek_wait({TELEMETRY: None})  # type: ignore[dict-item]

        with pytest.raises(RebalanceAgain):
            await recovery._wait(overtaken(), timeout=5.0)
        assert (sought, consumer._expected[TELEMETRY]) == ([{TELEMETRY: 3}], 3)

    asyncio.run(main())


def test_membership_is_proven_by_a_heartbeat_of_late() -> None:
    async def main() -> None:
        consumer = Bare().at(0)
        grant = consumer.begin(1, "work")
        assert grant is not None
        await consumer.confirm(grant)
        consumer._thread.heartbeat_at = -1e12
        waiting = asyncio.create_task(consumer.confirm(grant))
        await asyncio.sleep(0)
        assert not waiting.done()
        consumer._thread.is_member = False
        with pytest.raises(FencedError):
            await waiting

    asyncio.run(main())


def test_giving_partitions_up_waits_for_the_work_in_hand_and_commits_it() -> None:
    async def main() -> None:
        consumer = Bare().at(0)
        await consumer._deliver(TELEMETRY, records(0, 1))
        batch = consumer.delivered[0]
        assert consumer.begin(1, batch, batch.round) is not None
        draining = asyncio.create_task(consumer.drain())
        await asyncio.sleep(0)
        assert consumer.begin(1, "more") is None
        consumer.done(batch)
        consumer.end(batch)
        await draining
        assert consumer.commits == [{TELEMETRY: 2}]

    asyncio.run(main())


def test_giving_partitions_up_does_not_wait_for_ever() -> None:
    async def main() -> None:
        consumer = Bare().at(0)
        assert consumer.begin(1, "hangs") is not None
        await consumer.drain()
        assert consumer.commits == []

    asyncio.run(main())


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=40))
def test_whatever_arrives_each_offset_is_delivered_once_and_in_order(fetches: list[tuple[int, int]]) -> None:
    """A partition without gaps, fetched from anywhere; after a doubt the next fetch comes from where it was sought."""

    async def main() -> None:
        consumer = Bare().at(0)
        for first, count in fetches:
            await consumer._deliver(TELEMETRY, records(*range(first, first + count)))
            while consumer.sought:
                start = consumer.sought.pop()[TELEMETRY]
                await consumer._deliver(TELEMETRY, records(*range(start, start + count)))
        offsets = [record.offset for batch in consumer.delivered for record in batch.records]
        assert offsets == list(range(len(offsets)))
        for batch in consumer.delivered:
            consumer.done(batch)

    asyncio.run(main())


def recovery(known: int | None) -> Any:
    return SimpleNamespace(
        tables=SimpleNamespace(recovery=SimpleNamespace(active_offsets={TELEMETRY: known}))
    )


@pytest.mark.parametrize(
    ("known", "written", "then"),
    [(4, [5, 6], 6), (4, [6, 5], 6), (4, [6, 7], 4), (4, [5, 8], 5), (None, [0], None)],
)
def test_only_an_unbroken_continuation_spares_recovery_from_reading_again(
    known: int | None, written: list[int], then: int | None
) -> None:
    app = recovery(known)
    note_changelog(app, TELEMETRY, written)
    assert app.tables.recovery.active_offsets[TELEMETRY] == then


def test_a_partition_that_is_not_in_recovery_is_left_alone() -> None:
    app = recovery(3)
    note_changelog(app, TP("other", 0), [4])
    assert app.tables.recovery.active_offsets == {TELEMETRY: 3}
