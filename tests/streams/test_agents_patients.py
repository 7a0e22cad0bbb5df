"""The order in which results become durable, tried with a crash at every step; no broker, no Faust."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from devices.readings import Reading, to_wire
from streams import topics
from streams.patients import Patients, Work
from streams.plans import CarePlan, PlanVersion
from streams.poison import Poison
from streams.protocols import Library, load_published
from streams.record import Head, dump_record, load_head
from streams.stored import NewerStateError
from streams.transport import FencedError, Grant

sys.path.append(str(Path(__file__).parent.parent / "path"))
from stand_in import SIGNAL_EVERY, StandInEngine

CHANGELOG = "changelog"


class Crash(BaseException):
    """The process dies here."""


class World:
    """What outlives a crash: the log, and how many more records it takes before the next one."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str, bytes]] = []
        self.records_left: int | None = None
        self.fenced = False
        self.slow: asyncio.Event | None = None
        """Until it is set the first record that is sent waits for the broker; `waiting` says that it does."""
        self.waiting = asyncio.Event()

    async def put_aside(self, bad: Sequence[Poison]) -> None:
        for item in bad:
            self.append(topics.QUARANTINE, str(item.record.offset), item.error.encode())

    def append(self, topic: str, key: str, value: bytes) -> None:
        if self.records_left is not None:
            if self.records_left == 0:
                self.records_left = None
                raise Crash
            self.records_left -= 1
        self.log.append((topic, key, value))


class Producer:
    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, topic: str, value: bytes, key: bytes, **_: Any) -> asyncio.Future[Any]:
        if self._world.slow is not None and not self._world.waiting.is_set():
            self._world.waiting.set()
            await self._world.slow.wait()
        self._world.append(topic, key.decode(), value)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(SimpleNamespace(offset=len(self._world.log)))
        return future


class Table:
    """The part of TokenTable that is asked for, on the world's log."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._data = {key: value for topic, key, value in world.log if topic == CHANGELOG}
        self.consumer = SimpleNamespace(confirm=self._confirm)

    async def _confirm(self, grant: Grant) -> None:
        if self._world.fenced:
            raise FencedError("another worker's")

    def get_value(self, name: str) -> bytes | None:
        return self._data.get(name)

    def values_of(self, partition: int) -> list[tuple[str, bytes]]:
        return list(self._data.items())

    async def write(self, grant: Grant, values: dict[str, bytes]) -> None:
        for name, value in values.items():
            self._world.append(CHANGELOG, name, value)
        self._data.update(values)


def patients(world: World) -> Patients:
    table: Any = Table(world)
    producer: Any = Producer(world)
    return Patients(StandInEngine(), table, producer, world.put_aside)


def item(patient: str, offset: int, **values: Any) -> Any:
    reading = Reading(
        device=f"d-{patient}",
        seq=offset,
        kind="symptoms" if values else "body-weight",
        measured_at_ms=offset,
        values=values or {"weight": 70.0},
        patient=patient,
    )
    return SimpleNamespace(topic=topics.READINGS, partition=0, offset=offset, value=to_wire(reading))


def batch(names: list[str], start: int) -> dict[str, Work]:
    work: dict[str, Work] = {}
    for offset, patient in enumerate(names, start):
        work.setdefault(patient, Work(readings_next=start + len(names))).readings.append(
            item(patient, offset)
        )
    return work


def states(world: World) -> dict[str, Any]:
    engine = StandInEngine()
    found = {}
    for topic, key, value in world.log:
        if topic == CHANGELOG:
            found[key] = engine.load(key, value[5 + int.from_bytes(value[1:5], "big") :])
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=25), min_size=1, max_size=8),
    st.lists(
        st.tuples(st.sampled_from(["dies", "is fenced", "is fenced, and ticks"]), st.integers(0, 12)),
        max_size=12,
    ),
)
@example([["a"] * 9, ["a"] * 9], [("is fenced, and ticks", 0)])
def test_whatever_step_the_process_dies_or_is_fenced_at_every_reading_counts_once_and_no_signal_is_missing(
    batches: list[list[str]], interruptions: list[tuple[str, int]]
) -> None:
    world, round_, at = World(), 1, 0

    async def run() -> None:
        nonlocal at, round_
        holder = patients(world)
        while at < len(batches):
            how, records_left = interruptions.pop() if interruptions else ("nothing", 0)
            world.records_left = records_left if how == "dies" else None
            world.fenced = how.startswith("is fenced")
            start = sum(map(len, batches[:at]))
            try:
                await holder.change(Grant(0, round_), batch(batches[at], start))
            except Crash:
                holder, round_ = patients(world), round_ + 1
                continue
            except FencedError:
                if how.endswith("ticks"):  # in the same round, of which the end is not known yet
                    with suppress(FencedError):
                        await holder.change(Grant(0, round_), {name: Work(tick_ms=0) for name in "abc"})
                round_ += 1
                continue
            at += 1  # the offsets are committed
        world.records_left, world.fenced = None, False
        await patients(world).tick(Grant(0, round_ + 1), 0)  # whoever takes over empties the outboxes

    asyncio.run(run())
    names = [name for part in batches for name in part]
    expected = {name: names.count(name) for name in set(names)}
    found = {name: len(state.seen) for name, state in states(world).items() if state.seen}
    assert found == expected
    assert {count for state in states(world).values() for count in state.seen.values()} == {1}
    signals: dict[str, dict[int, bytes]] = {}
    for topic, key, value in world.log:
        if topic == topics.ALERTS:
            n = msgspec.json.decode(value)["n"]
            assert signals.setdefault(key, {}).setdefault(n, value) == value
    for name, count in expected.items():
        assert sorted(signals.get(name, {})) == list(range(1, count // SIGNAL_EVERY + 1))


def test_an_outbox_that_was_not_sent_is_sent_before_the_state_is_written_again_in_the_same_round() -> None:
    async def main() -> None:
        world = World()
        holder = patients(world)
        world.fenced = True  # the group has disowned the worker, which has the round still
        with pytest.raises(FencedError):
            await holder.change(Grant(0, 1), batch(["a"] * 10, 0))
        with pytest.raises(FencedError):
            await holder.change(Grant(0, 1), batch(["a"] * 10, 10))
        assert [topic for topic, _, _ in world.log] == [CHANGELOG]
        world.fenced = False
        await holder.change(Grant(0, 1), batch(["a"] * 10, 10))
        assert [topic for topic, _, _ in world.log] == [CHANGELOG, topics.ALERTS, CHANGELOG, topics.ALERTS]

    asyncio.run(main())


def test_a_takeover_that_waits_while_the_next_round_begins_does_not_count_for_it() -> None:
    async def main() -> None:
        world = World()
        holder = patients(world)
        world.fenced = True
        with pytest.raises(FencedError):
            await holder.change(Grant(0, 1), batch(["a"] * 10, 0))
        world.fenced, world.slow = False, asyncio.Event()
        slow = asyncio.create_task(holder.tick(Grant(0, 2), 0))  # its outbox waits for the broker
        await world.waiting.wait()
        world.slow.set()
        await holder.tick(Grant(1, 3), 0)  # of another partition, in the round after
        with pytest.raises(FencedError):
            await slow
        before = len(world.log)
        await holder.tick(Grant(0, 3), 0)
        assert [topic for topic, _, _ in world.log[before:]] == [topics.ALERTS]

    asyncio.run(main())


def test_the_state_with_its_outbox_stands_before_the_signals_do() -> None:
    world = World()
    asyncio.run(patients(world).change(Grant(0, 1), batch(["a"] * 10, 0)))
    assert [topic for topic, _, _ in world.log] == [CHANGELOG, topics.ALERTS]
    assert load_head(world.log[0][2]).outbox == [world.log[1][2]]


def test_signals_are_not_sent_when_the_partition_may_be_anothers() -> None:
    async def main() -> None:
        world = World()
        holder = patients(world)
        world.fenced = True
        with pytest.raises(FencedError):
            await holder.change(Grant(0, 1), batch(["a"] * 10, 0))
        assert [topic for topic, _, _ in world.log] == [CHANGELOG]
        world.fenced = False
        await holder.change(Grant(0, 2), batch(["a"] * 10, 0))  # the same batch again, in the next round
        assert [topic for topic, _, _ in world.log] == [CHANGELOG, topics.ALERTS]

    asyncio.run(main())


def test_one_bad_reading_is_put_aside_and_the_others_of_its_patient_count() -> None:
    async def main() -> None:
        world = World()
        work = batch(["a"] * 12, 0)
        work["a"].readings[3] = item("a", 3, fatigue=3)
        await patients(world).change(Grant(0, 1), work)
        assert [(topic, key) for topic, key, _ in world.log[:2]] == [
            (topics.QUARANTINE, "3"),
            (CHANGELOG, "a"),
        ]
        assert world.log[0][2].startswith(b"ZeroDivisionError")
        state = states(world)["a"]
        assert len(state.seen) == 11
        assert (state.n, set(state.seen.values())) == (1, {1})
        assert load_head(world.log[1][2]).readings_next == 12

    asyncio.run(main())


@pytest.mark.parametrize("records_before_the_end", range(4))
def test_what_cannot_be_read_is_put_aside_whenever_the_process_dies(records_before_the_end: int) -> None:
    async def main() -> None:
        world = World()
        work = batch(["a"] * 12, 0)
        work["a"].readings[3].value = b"{"
        world.records_left = records_before_the_end
        with suppress(Crash):
            await patients(world).change(Grant(0, 1), work)
        world.records_left = None
        await patients(world).change(Grant(0, 2), work)
        assert (topics.QUARANTINE, "3") in {(topic, key) for topic, key, _ in world.log}
        assert len(states(world)["a"].seen) == 11

    asyncio.run(main())


def test_what_cannot_be_read_is_put_aside_while_its_patient_is_made_anew() -> None:
    async def main() -> None:
        world = World()
        holder = patients(world)
        await holder.tick(Grant(0, 1), 0)
        holder._absent.add("a")
        work = batch(["a"] * 3, 0)
        work["a"].readings[1].value = b"{"
        await holder.change(Grant(0, 1), work)
        assert [(topic, key) for topic, key, _ in world.log] == [(topics.QUARANTINE, "1")]

    asyncio.run(main())


def test_a_state_of_a_later_release_ends_the_worker_and_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: Any) -> Any:
        raise NewerStateError("a later release wrote it")

    async def main() -> None:
        world = World()
        await patients(world).change(Grant(0, 1), batch(["a"], 0))
        monkeypatch.setattr(StandInEngine, "load", load)
        table: Any = Table(world)
        producer: Any = Producer(world)
        sources: Any = SimpleNamespace()
        holder = Patients(StandInEngine(), table, producer, world.put_aside, sources)
        with pytest.raises(NewerStateError):
            await holder.change(Grant(0, 2), batch(["a"], 1))
        assert [topic for topic, _, _ in world.log] == [CHANGELOG]

    asyncio.run(main())


def test_only_what_is_due_is_ticked_and_the_earliest_first() -> None:
    async def main() -> None:
        world = World()
        engine = StandInEngine()
        for number in range(450):
            state = engine.new_state(f"p-{number}")
            state.deadline_ms = number
            head = Head(deadline_ms=number, stamp=engine.stamp)
            world.append(CHANGELOG, f"p-{number}", dump_record(head, engine.dump(state)))
        holder = patients(world)
        ticked = [await holder.tick(Grant(0, 1), 420) for _ in range(4)]
        assert ticked == [200, 200, 21, 0]
        order = [key for topic, key, _ in world.log if topic == topics.ALERTS]
        assert order == [f"p-{number}" for number in range(421)]

    asyncio.run(main())


def test_a_plan_moves_the_deadline() -> None:
    async def main() -> None:
        world = World()
        holder = patients(world)
        for offset, from_ in enumerate(("1970-01-01T00:00:05Z", "1970-01-01T00:00:09Z")):
            plan = CarePlan(patient="a", versions=(PlanVersion(version=offset, from_=from_, protocols=()),))
            record: Any = SimpleNamespace(topic=topics.CARE_PLANS, partition=0, offset=offset)
            await holder.change(Grant(0, 1), {"a": Work(plans=[(plan, record)], plans_next=offset + 1)})
        assert await holder.tick(Grant(0, 1), 8_000) == 0
        assert await holder.tick(Grant(0, 1), 9_000) == 1

    asyncio.run(main())


def test_other_protocols_make_every_patient_due_at_once_also_those_of_a_batch_under_way() -> None:
    async def main() -> None:
        world = World()
        engine = StandInEngine()
        table: Any = Table(world)
        producer: Any = Producer(world)
        holder = Patients(engine, table, producer, world.put_aside)
        await holder.change(Grant(0, 1), batch(["a", "b", "c"], 0))
        assert await holder.tick(Grant(0, 1), 1) == 0
        engine.use(load_published())
        holder.evaluate_anew()
        assert await holder.tick(Grant(0, 1), 1) == 3
        assert await holder.tick(Grant(0, 1), 1) == 0

        confirm = table.consumer.confirm

        async def change_meanwhile(grant: Grant) -> None:
            engine.use(Library())
            holder.evaluate_anew()
            await confirm(grant)

        table.consumer.confirm = change_meanwhile
        await holder.change(Grant(0, 1), batch(["a"] * 10, 3))
        assert await holder.tick(Grant(0, 1), 1) == 3

    asyncio.run(main())


def test_a_state_of_other_protocols_is_due_when_its_partition_is_taken_over() -> None:
    async def main() -> None:
        world = World()
        await patients(world).change(Grant(0, 1), batch(["a", "b"], 0))
        engine = StandInEngine()
        engine.use(load_published())
        table: Any = Table(world)
        producer: Any = Producer(world)
        holder = Patients(engine, table, producer, world.put_aside)
        assert await holder.tick(Grant(0, 2), 1) == 2
        assert await holder.tick(Grant(0, 2), 1) == 0

    asyncio.run(main())
