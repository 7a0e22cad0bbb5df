"""Patients' states in the worker: evaluation, and the order in which its results become durable.

For every change, under the partition's lock: evaluate; the state with its outbox to the changelog, waited
for; proof that the partition is still ours; the signals, waited for; then the caller may commit offsets.
A crash between any two steps repeats what follows the last one: readings whose offset the state has seen
are skipped, the outbox is produced again, and signals carry their number, so nothing counts twice.

A record that turns out damaged goes to quarantine and its patient is made anew from what Kafka holds, beside the
others' work (streams/rebuild.py). What comes for the patient meanwhile is passed over here: it is read there.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from devices.readings import Reading, from_wire
from scad.log import follow
from streams import metrics, topics
from streams.intake import encode_quarantine
from streams.kafka import RETRY_SECONDS, Record, produce
from streams.live import Live, LiveStates
from streams.plans import CarePlan
from streams.poison import Poison
from streams.poison import poison as made_poison
from streams.protocols.model import Library
from streams.rebuild import PastReader, Sources, TooManyDamagedError, damaged_entry, rebuild, too_many
from streams.record import BadRecordError, Head, dump_record, load_head, load_state
from streams.signal import AlertSignal, encode_signal
from streams.stored import NewerStateError
from streams.tables import TokenTable
from streams.transport import FencedError, Grant

log = structlog.get_logger()

TICKED_AT_ONCE = 200  # due patients evaluated under one hold of the lock: readings wait behind them
YIELD_EVERY = 50  # patients evaluated before the loop may do something else; some milliseconds
YIELD_READINGS = 500
"""Readings evaluated before it may; some milliseconds, too."""
DUE_NOW_MS = -(1 << 53)  # before any clock


PutAside = Callable[[Sequence[Poison]], Awaitable[None]]
"""Puts records that cannot be worked on into quarantine; again, it changes nothing."""


class EngineLike(Protocol):
    """What is asked of streams.engine.Engine."""

    @property
    def library(self) -> Library: ...
    @property
    def stamp(self) -> int: ...
    def use(self, library: Library) -> None: ...
    def new_state(self, patient: str) -> Any: ...
    def apply(
        self,
        state: Any,
        readings: Iterable[Reading] = (),
        plans: Iterable[CarePlan] = (),
        tick_ms: int | None = None,
    ) -> list[AlertSignal]: ...
    def next_deadline_ms(self, state: Any) -> int | None: ...
    def dump(self, state: Any) -> bytes: ...
    def load(self, patient: str, data: bytes) -> Any: ...


@dataclass(slots=True)
class Work:
    """What one batch brings for one patient; readings as they stand in `scad.readings`. The offsets are those after the
    batch, None for a tick."""

    readings: list[ConsumerRecord] = field(default_factory=list)
    plans: list[tuple[CarePlan, ConsumerRecord]] = field(default_factory=list)
    tick_ms: int | None = None
    readings_next: int | None = None
    plans_next: int | None = None


class Patients:
    """The patients of the partitions that are this worker's. Without `sources` a damaged record is an error."""

    def __init__(
        self,
        engine: EngineLike,
        table: TokenTable,
        producer: AIOKafkaProducer,
        put_aside: PutAside,
        sources: Sources | None = None,
    ) -> None:
        self._engine = engine
        self._put_aside = put_aside
        self._sources = sources
        self._damaged: dict[int, set[str]] = defaultdict(set)
        """By partition, whose record was found damaged in this round; those of `_absent` are not mended yet."""
        self._absent: set[str] = set()
        self._mending: set[asyncio.Task[None]] = set()
        self._one_mended = asyncio.Semaphore(1)
        self._table = table
        self._producer = producer
        self._live = LiveStates()
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._round = -1
        self._taken: set[int] = set()
        self._deadlines: dict[str, int] = {}
        self._heaps: dict[int, list[tuple[int, str]]] = {}

    async def change(self, grant: Grant, work: Mapping[str, Work]) -> None:
        """Evaluate patients of one partition and make everything that follows durable.

        Records that cannot be worked on are put aside before a state that has seen their offset stands: after a crash
        it would pass them over. Raises FencedError when the partition was given up on the way.
        """
        async with self._locks[grant.partition]:
            await self._take_over(grant)
            await self._change(grant, work)

    async def tick(self, grant: Grant, now_ms: int) -> int:
        """Evaluate the patients whose deadline has come, some at a time; returns how many."""
        async with self._locks[grant.partition]:
            await self._take_over(grant)
            due = self._due(grant.partition, now_ms)
            if due:
                await self._change(grant, {patient: Work(tick_ms=now_ms) for patient in due})
                metrics.TICKED.inc(len(due))
            return len(due)

    async def _change(self, grant: Grant, work: Mapping[str, Work]) -> None:
        values: dict[str, bytes] = {}
        outgoing: list[tuple[AlertSignal, bytes]] = []
        poison: list[Poison] = []
        deadlines: dict[str, int | None] = {}
        stamps: dict[str, int] = {}
        try:
            share = 0.0
            for patient, asked in work.items():
                share += 1 / YIELD_EVERY + len(asked.readings) / YIELD_READINGS
                if share >= 1.0:
                    share = 0.0
                    await asyncio.sleep(0)
                live = await self._found(grant, patient)
                if live is None:  # whoever makes the patient anew passes over what cannot be read
                    _decoded(asked.readings, poison)
                    continue
                found = self._evaluate(patient, live, asked, poison)
                if found is None:
                    continue
                live, raised = found
                deadlines[patient] = self._engine.next_deadline_ms(live.state)
                stamps[patient] = self._engine.stamp
                outbox = [encode_signal(signal) for signal in raised]
                head = Head(live.readings_next, live.plans_next, deadlines[patient], outbox, stamps[patient])
                dumped = self._engine.dump(live.state)
                values[patient] = dump_record(head, dumped)
                outgoing += zip(raised, outbox, strict=True)
                self._live.keep(patient, live, len(dumped))
            if poison:
                await self._put_aside(poison)
            if values:
                await self._table.write(grant, values)
                await self._send(grant, outgoing)
            if grant.round != self._round:
                raise FencedError(f"partition {grant.partition} was given up while its batch was finished")
        except BaseException:
            for patient in work:  # what is decoded may be ahead of what is durable
                self._live.drop(patient)
            # States may stand with outboxes that nobody has sent. The next change would write over them, even in
            # this round: a worker that the group has disowned learns of its new round only seconds later.
            self._taken.discard(grant.partition)
            raise
        for patient, deadline_ms in deadlines.items():
            outdated = stamps[patient] != self._engine.stamp  # protocols came in while the batch was finished
            self._plan(grant.partition, patient, DUE_NOW_MS if outdated else deadline_ms)

    async def _send(self, grant: Grant, outgoing: Sequence[tuple[AlertSignal, bytes]]) -> None:
        if not outgoing:
            return
        await self._table.consumer.confirm(grant)
        records = [Record(topics.ALERTS, signal.patient.encode(), value) for signal, value in outgoing]
        await produce(self._producer, records)
        for signal, _ in outgoing:
            metrics.SIGNALS.labels(signal.protocol, signal.rule, signal.state).inc()

    # -- evaluation ------------------------------------------------------------------------------------

    def _evaluate(
        self, patient: str, live: Live, asked: Work, poison: list[Poison]
    ) -> tuple[Live, list[AlertSignal]] | None:
        """The state after what is new in `asked` and the signals; None when all of it was seen before."""
        readings = _decoded(
            [record for record in asked.readings if record.offset >= live.readings_next], poison
        )
        plans = [item for item in asked.plans if item[1].offset >= live.plans_next]
        if not readings and not plans and asked.tick_ms is None:
            return None
        try:
            signals = self._engine.apply(
                live.state, [reading for reading, _ in readings], [plan for plan, _ in plans], asked.tick_ms
            )
        except Exception as error:  # one bad record must not hold up its patient, whatever the engine met
            log.error("worker.evaluation_failed", patient=patient, error=type(error).__name__)
            live, signals = self._one_by_one(patient, readings, plans, asked.tick_ms, poison)
        if readings:
            live.readings_next = asked.readings_next or live.readings_next
        if plans:
            live.plans_next = asked.plans_next or live.plans_next
        follow("engine.evaluated", (reading for reading, _ in readings))
        return live, signals

    def _one_by_one(
        self,
        patient: str,
        readings: Sequence[tuple[Reading, ConsumerRecord]],
        plans: Sequence[tuple[CarePlan, ConsumerRecord]],
        tick_ms: int | None,
        poison: list[Poison],
    ) -> tuple[Live, list[AlertSignal]]:
        """From the last durable state, each record alone; what fails is put aside and leaves no trace."""
        self._live.drop(patient)
        live = self._load(patient)
        signals: list[AlertSignal] = []
        steps: list[tuple[dict[str, Any], ConsumerRecord | None]] = [
            ({"plans": [plan]}, at) for plan, at in plans
        ]
        steps += [({"readings": [reading]}, at) for reading, at in readings]
        if tick_ms is not None:
            steps.append(({"tick_ms": tick_ms}, None))
        for arguments, at in steps:
            before = self._engine.dump(live.state)
            try:
                signals += self._engine.apply(live.state, **arguments)
            except Exception as error:
                live.state = self._engine.load(patient, before)
                if at is not None:
                    poison.append(made_poison(at, error, *arguments.get("readings", ())))
        return live, signals

    def _load(self, patient: str) -> Live:
        live = self._live.get(patient)
        if live is not None:
            return live
        record = self._table.get_value(patient)
        if record is None:
            return Live(self._engine.new_state(patient))
        head = load_head(record)
        return Live(self._engine.load(patient, load_state(record)), head.readings_next, head.plans_next)

    # -- damaged records -------------------------------------------------------------------------------

    async def _found(self, grant: Grant, patient: str) -> Live | None:
        """The patient's state; None while it is made anew."""
        if patient in self._absent:
            return None
        try:
            return self._load(patient)
        except Exception as error:
            await self._mend(grant, patient, error)
            return None

    async def _mend(self, grant: Grant, patient: str, error: Exception) -> None:
        """Put the damaged record aside and begin to make the patient anew."""
        self._still_ours(grant)  # or the next round would believe that it is being made
        sources, record, name = self._sources, self._table.get_value(patient), patient.encode()
        if sources is None or record is None or isinstance(error, NewerStateError):
            raise error
        damaged = self._damaged[grant.partition]
        damaged.add(patient)
        total = sum(1 for _ in self._table.values_of(grant.partition))
        if too_many(len(damaged), total):
            raise TooManyDamagedError(total, len(damaged)) from error
        self._absent.add(patient)
        topic = self._table.changelog_topic_name
        entry = damaged_entry(topic, grant.partition, patient, record, error, sources.now_ms())
        metrics.POISON.labels(topic).inc()
        log.error("worker.state_damaged", where=entry.detail)
        await produce(self._producer, [Record(topics.QUARANTINE, name, encode_quarantine(entry))])
        task = asyncio.create_task(self._make_anew(sources, grant, patient), name=f"rebuild {patient}")
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    async def _make_anew(self, sources: Sources, granted: Grant, patient: str) -> None:
        """Read the topics without a grant, which takes a while, and what came meanwhile with one. Whoever takes the
        partition over finds the damaged record again and begins anew."""
        while True:
            try:
                async with (
                    self._one_mended,
                    PastReader(sources.settings, granted.partition, patient) as reader,
                ):
                    await reader.read()
                    await self._put_anew(sources, granted, patient, reader)
                return
            except FencedError:
                return
            except KafkaError as error:
                log.warning("worker.rebuild_waiting", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:
                log.exception("worker.failed", agent="rebuild", partition=granted.partition)
                sources.failed(error)
                return

    async def _put_anew(self, sources: Sources, granted: Grant, patient: str, reader: PastReader) -> None:
        work = object()
        grant = self._table.consumer.begin(granted.partition, work, granted.round)
        if grant is None:
            return
        try:
            async with self._locks[grant.partition]:
                if grant.round != self._round or patient not in self._absent:
                    return
                past = await reader.read()
                await sources.plans.catch_up_now()
                state, told = await rebuild(
                    self._engine, patient, past, sources.plans.get(patient), sources.now_ms()
                )
                deadline_ms, outbox = self._engine.next_deadline_ms(state), [encode_signal(s) for s in told]
                head = Head(past.readings_next, 0, deadline_ms, outbox, self._engine.stamp)
                await self._table.write(grant, {patient: dump_record(head, self._engine.dump(state))})
                self._absent.discard(patient)  # the record is well: what comes now must not be passed over
                try:
                    await self._send(grant, list(zip(told, outbox, strict=True)))
                    self._still_ours(grant)
                except BaseException:
                    self._taken.discard(grant.partition)
                    raise
                self._plan(grant.partition, patient, deadline_ms)
        finally:
            self._table.consumer.end(work)
        metrics.REBUILT.inc()
        log.warning("worker.state_rebuilt", patient=patient, readings=len(past.readings), signals=len(told))

    def evaluate_anew(self) -> None:
        """Other protocols hold: every patient of the partitions that are ours is due, some at a time."""
        for partition in self._taken:
            for patient, _ in self._table.values_of(partition):
                self._plan(partition, patient, DUE_NOW_MS)

    # -- taking over and time --------------------------------------------------------------------------

    async def _take_over(self, grant: Grant) -> None:
        """Once a round and partition, and again after a change that failed: forget what was decoded, learn the
        deadlines, empty the outboxes. Raises FencedError when the partition is given up meanwhile."""
        self._still_ours(grant)
        if grant.round > self._round:
            self._round = grant.round
            self._taken.clear()
            self._live.clear()
            self._deadlines.clear()
            self._heaps.clear()
            self._damaged.clear()
            self._absent.clear()
        if grant.partition in self._taken:
            return
        stamp = self._engine.stamp
        records: list[Record] = []
        heap: list[tuple[int, str]] = []
        damaged: list[tuple[str, BadRecordError]] = []
        number = 0
        for number, (patient, value) in enumerate(self._table.values_of(grant.partition), 1):
            if number % (YIELD_EVERY * 20) == 0:
                await asyncio.sleep(0)
                self._still_ours(grant)
            try:
                head = load_head(value)
            except BadRecordError as error:
                damaged.append((patient, error))
                continue
            records += [Record(topics.ALERTS, patient.encode(), signal) for signal in head.outbox]
            deadline_ms = head.deadline_ms if head.stamp == stamp else DUE_NOW_MS
            if deadline_ms is None:
                self._deadlines.pop(patient, None)
            else:
                self._deadlines[patient] = deadline_ms
                heap.append((deadline_ms, patient))
        if too_many(len(damaged), number):
            raise TooManyDamagedError(number, len(damaged)) from damaged[0][1]
        if records:
            await self._table.consumer.confirm(grant)
            await produce(self._producer, records)
            self._still_ours(grant)  # or the next round would not take this partition over
        heapify(heap)
        self._heaps[grant.partition] = heap
        self._taken.add(grant.partition)
        for patient, why in damaged:
            if patient not in self._absent:
                await self._mend(grant, patient, why)
                self._still_ours(grant)
        if self._engine.stamp != stamp:  # protocols came in on the way
            self.evaluate_anew()
        if records:
            log.info("worker.outboxes_sent", partition=grant.partition, signals=len(records))

    def _still_ours(self, grant: Grant) -> None:
        if grant.round < self._round:
            raise FencedError(f"partition {grant.partition} was given up before its turn came")

    def _plan(self, partition: int, patient: str, deadline_ms: int | None) -> None:
        if deadline_ms is None:
            self._deadlines.pop(patient, None)
        elif self._deadlines.get(patient) != deadline_ms:
            self._deadlines[patient] = deadline_ms
            heappush(self._heaps[partition], (deadline_ms, patient))

    def _due(self, partition: int, now_ms: int) -> list[str]:
        """Patients whose deadline has come, the earliest first; entries that were moved are dropped."""
        heap = self._heaps[partition]
        due: list[str] = []
        while heap and heap[0][0] <= now_ms and len(due) < TICKED_AT_ONCE:
            deadline_ms, patient = heappop(heap)
            if self._deadlines.get(patient) == deadline_ms:
                del self._deadlines[patient]
                due.append(patient)
        return due


def _decoded(records: Sequence[ConsumerRecord], poison: list[Poison]) -> list[tuple[Reading, ConsumerRecord]]:
    """The readings of one patient. They are decoded just before they are evaluated, so that the processor has them at
    hand, and no batch is in memory as a whole. What is none, on our own topic, is put aside."""
    found = []
    for record in records:
        try:
            found.append((from_wire(record.value or b""), record))
        except Exception as error:  # the body never raises
            poison.append(made_poison(record, error))
    return found
