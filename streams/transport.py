"""The place that leans on Faust's private parts, with streams/membership.py (the consumer's thread) and
streams/tables.py (the store); written against 0.15.3 and refusing any other version.

What it changes, and why (docs/architecture.md has the numbers):

- **One event is one fetch of one partition**, a `Batch`. Stock Faust makes four asyncio tasks a message.
- **An offset is committed only when the agent has said `done`** for the batch, and for every one before it
  in that partition. Faust's own acknowledgement also happens when a body raises, when an event of an old
  generation is skipped, and counts past a message that is still in flight; it decides nothing here.
- **Nothing is delivered from a partition before its position is known** in this generation, and a batch
  begins exactly where the last one ended. What arrives from elsewhere (fetches that were under way during
  a rebalance or before a seek) is cut off or fetched again; a gap is believed when it is seen twice, as
  compaction and retention leave them.
- **A rebalance waits for the batch in hand**, commits it, and only then gives the partitions up. What is
  still in hand after the waiting time holds a `Grant` of a past round: it may not write any more.
- The long poll is shortened from the 1.5 s that stock Faust fixes.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple, cast

import faust
import structlog
from aiokafka.structs import ConsumerRecord
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams import metrics
from streams.membership import BatchThread

MADE_FOR = "0.15.3"
if faust.__version__ != MADE_FOR:
    raise ImportError(
        f"faust-streaming {faust.__version__} is installed and streams/transport.py is made for {MADE_FOR}: "
        f"install faust-streaming=={MADE_FOR}, or read the new version's sources and mend the module"
    )

log = structlog.get_logger()

IN_HAND = 2
"""Batches of one partition that are delivered and not done: one being worked on, one ready."""
HELD_BYTES = 128 * 1024 * 1024
"""Messages of all partitions that are delivered and not done; beyond it nothing more is fetched. As Python's objects
they take twice that at most: a quarter of the 1 GB that compose.yaml gives a worker, after however long an absence."""
SLOW_HELD_BYTES = 32 * 1024 * 1024
"""The part of it for topics that wait by design (backlogs). What they hold, they hold for long: without a share of
their own they would fill everything, and live readings would wait for another device's past."""
RECORD_BYTES = 320  # what a record takes beside its value
POLL_SECONDS = 0.5
CROWDED_POLL_SECONDS = 0.02  # while a partition waits for room, so that it is asked for soon after
DRAIN_SHARE = 0.5
"""Share of the rebalance timeout that the batch in hand may use to finish before partitions are given up."""
HEARTBEAT_SHARE = 0.5
"""Share of the session timeout for which a heartbeat proves that nobody else owns our partitions."""


class FencedError(Exception):
    """The partition is, or may be, another worker's by now: what was computed must not be written."""


class OrderError(RuntimeError):
    """An agent called a batch done before the one that precedes it: committing would skip records."""


class Grant(NamedTuple):
    """The right to change what belongs to a partition, for as long as the round lasts."""

    partition: int
    round: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One fetch of one partition: every record from offset `start` up to, not including, `next`."""

    tp: TP
    start: int
    next: int
    records: Sequence[ConsumerRecord]
    round: int

    @property
    def size(self) -> int:
        """Bytes that it takes, nearly."""
        return sum(len(record.value or b"") + RECORD_BYTES for record in self.records)


class BatchSchema(faust.Schema[Any, Any]):
    """Hands a `Batch` through as it is: Faust decodes nothing."""

    def compile(self, app: Any, **_: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, message.headers, message)

        return decode


class BatchConsumer(driver.Consumer):
    """Faust's consumer with the promises of this module."""

    _thread: BatchThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._own_state()
        super().__init__(*args, **kwargs)

    def _own_state(self) -> None:
        self._round = 0
        self._draining = True  # until positions are known
        self._paused_at = monotonic()
        self._expected: dict[TP, int] = {}
        self._doubted: dict[TP, int] = {}
        self._done: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._waiting_since: dict[TP, float] = {}
        self._outstanding: dict[TP, int] = defaultdict(int)
        self._held: dict[Batch, int] = {}
        self._working: dict[object, int] = {}
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.positioned = asyncio.Event()

    def _new_consumer_thread(self) -> Any:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    # -- what agents ask -------------------------------------------------------------------------------

    @property
    def round(self) -> int:
        """Rises whenever partitions are given up and whenever positions are taken anew."""
        return self._round

    def begin(self, partition: int, work: object, round_: int | None = None) -> Grant | None:
        """The right to work on a partition; None when it is not ours, or about to be given up.

        Every grant is given back with `end(work)`.
        """
        stale = round_ is not None and round_ != self._round
        if self._draining or stale or partition not in self.partitions():
            return None
        self._working[work] = self._round
        self._idle.clear()
        return Grant(partition, self._round)

    def turn_of(self, batch: Batch) -> bool:
        """Whether everything before the batch is done. If not, what was before it failed, and it must not be worked on:
        a state that has seen its offsets would skip those before them when they are fetched again."""
        return batch.round == self._round and self._done.get(batch.tp) == batch.start

    def end(self, work: object) -> None:
        self._working.pop(work, None)
        if not self._working:
            self._idle.set()

    def partitions(self) -> set[int]:
        """Numbers of the partitions that are ours; all topics of the application are partitioned alike."""
        return {tp.partition for tp in self._expected if not self._is_changelog_tp(tp)}

    def holds(self, grant: Grant) -> bool:
        return grant.round == self._round

    async def confirm(self, grant: Grant) -> None:
        """Return once it is proven that the group still counts us as a member, so that whoever owns the
        partition next begins after everything that is acknowledged by now. Raises FencedError."""
        proven_for = self.app.conf.broker_session_timeout * HEARTBEAT_SHARE
        while self.holds(grant):
            if monotonic() - self._thread.heartbeat_at < proven_for:
                return
            if not self._thread.is_member:
                break
            await asyncio.sleep(CROWDED_POLL_SECONDS)
        raise FencedError(f"partition {grant.partition} was given up in round {self._round}")

    def done(self, batch: Batch) -> None:
        """Everything that follows from the batch is durable: its offsets may be committed.

        Without effect for a batch of a past round. Raises OrderError when one before it is not done.
        """
        if batch.round != self._round:
            return
        if self._done[batch.tp] != batch.start:
            raise OrderError(f"{batch.tp}: {batch.start} is done while {self._done[batch.tp]} is not")
        self._done[batch.tp] = batch.next
        self._outstanding[batch.tp] -= 1
        self._held.pop(batch, None)
        self._room.set()

    def waiting_seconds(self) -> float:
        """For how long the oldest fetched record has waited for its commit; where waiting is meant, it says nothing."""
        slow = cast(BatchApp, self.app).slow_topics
        since = (at for tp, at in self._waiting_since.items() if tp.topic not in slow)
        return monotonic() - min(since, default=monotonic())

    def stands_still(self, batch: Batch) -> bool:
        """Whether a batch whose turn it is not, although none before it is in work, will not be fetched again either:
        no new round is on its way. It would hold its partition up for ever."""
        return batch.round == self._round and self._thread.is_member and not self._draining

    def paused_seconds(self) -> float:
        """For how long partitions have been in the middle of being taken over; 0 when they are not. (Faust gives a
        takeover up without a word when the broker is slow.)"""
        return 0.0 if self.positioned.is_set() else monotonic() - self._paused_at

    def behind(self) -> dict[tuple[str, int], int]:
        """For each (topic, partition) of ours, how many records in Kafka are not done, as far as fetches have told."""
        ends = {tp: self._thread.end_of(tp) for tp in self._done if not self._is_changelog_tp(tp)}
        return {
            (tp.topic, tp.partition): max(end - self._done[tp], 0)
            for tp, end in ends.items()
            if end is not None and tp in self._done
        }

    # -- fetching --------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                for tp, records in (await self._next_fetch()).items():
                    await self._deliver(TP(tp.topic, tp.partition), records)
                await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.transport.app.should_stop:
                raise

    async def _next_fetch(self) -> Mapping[Any, Sequence[ConsumerRecord]]:
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
            return {}
        active = set(self._get_active_partitions())
        crowded = {tp for tp in active if self._outstanding[tp] >= IN_HAND} | self._without_room(active)
        if active - crowded:
            timeout = CROWDED_POLL_SECONDS if crowded else POLL_SECONDS
            fetched: Mapping[Any, Sequence[ConsumerRecord]] = await self._getmany(active - crowded, timeout)
            return fetched
        self._room.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), CROWDED_POLL_SECONDS)
        return {}

    def _without_room(self, active: set[TP]) -> set[TP]:
        """Partitions of which nothing more is to be fetched until some of what is held is done."""
        slow = cast(BatchApp, self.app).slow_topics
        held_slow = sum(size for batch, size in self._held.items() if batch.tp.topic in slow)
        slow_full = held_slow > SLOW_HELD_BYTES
        live_full = sum(self._held.values()) - held_slow > HELD_BYTES - SLOW_HELD_BYTES
        full = {tp for tp in active if (slow_full if tp.topic in slow else live_full)}
        return {tp for tp in full if not self._is_changelog_tp(tp)}

    async def _deliver(self, tp: TP, records: Sequence[ConsumerRecord]) -> None:
        start = self._expected.get(tp)
        if start is None or not records or records[-1].offset < start:
            return  # no position yet, or seen already: the seek that is under way brings the rest
        if records[0].offset < start:
            records = [record for record in records if record.offset >= start]
        elif records[0].offset > start and self._doubted.get(tp) != start:
            self._doubted[tp] = start
            await self._thread.call_thread(self._thread.seek_to, {tp: start})
            return
        batch = Batch(tp, start, records[-1].offset + 1, records, self._round)
        self._expected[tp] = batch.next
        if not self._is_changelog_tp(tp):
            self._outstanding[tp] += 1
            self._held[batch] = batch.size
            self._waiting_since.setdefault(tp, monotonic())
        await self.wait_first(self.callback(self._message(batch)), self.suspend_flow.wait())

    def _message(self, batch: Batch) -> ConsumerMessage:
        last = batch.records[-1]
        value: Any = batch
        return ConsumerMessage(
            batch.tp.topic,
            batch.tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            None,
            None,
            value,
            None,
            tp=batch.tp,
            generation_id=self.app.consumer_generation_id,
        )

    # -- positions -------------------------------------------------------------------------------------

    async def perform_seek(self) -> None:
        """Take the committed positions of all source partitions; from here on they are delivered."""
        # Faust empties the agents' queues after this: a batch delivered in between would never be worked on.
        self.app.flow_control.suspend()
        tps = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        before = self._round
        for tp in tps:
            self._expected.pop(tp, None)
        positions = await self._thread.call_thread(self._thread.seek_committed, tps)
        if before != self._round:
            return  # another rebalance began meanwhile and will come here again
        self._round += 1
        self._outstanding.clear()
        self._held.clear()
        self._waiting_since.clear()
        self._doubted.clear()
        self._expected.update(positions)
        self._done = dict(positions)
        self._committed = dict(positions)
        self._draining = False
        if not self.positioned.is_set():
            metrics.ROUNDS.inc()
            metrics.RECOVERY.set(monotonic() - self._paused_at)
        self.positioned.set()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Recovery's seek in the changelogs.

        A rebalance that comes while recovery is under way puts None for what the next recovery has to find out; this
        one, which it has overtaken, would end the process with it, and begins again instead.
        """
        recovery = cast(TableManager, self.app.tables).recovery
        if recovery.signal_recovery_start.is_set():
            raise RebalanceAgain
        for tp in partitions:
            self._expected.pop(tp, None)
        await super().seek_wait(partitions)
        for tp, offset in partitions.items():
            self._expected[tp] = offset
            self._doubted.pop(tp, None)

    # -- acknowledging and committing ------------------------------------------------------------------

    def ack(self, message: Any) -> bool:
        """Faust's acknowledgement decides nothing; `done` does."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _forget_acks(self) -> None:
        """Faust's own streams note each acknowledgement beside `ack`, and nobody would take them away."""
        self._acked.clear()
        self._acked_index.clear()
        self._n_acked = 0

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        self._forget_acks()
        offsets = {tp: offset for tp, offset in self._done.items() if offset > self._committed[tp]}
        if not offsets or not await self._commit(offsets):
            return False
        for tp, offset in offsets.items():
            if tp in self._committed:
                self._committed[tp] = offset
                self._waiting_since.pop(tp, None)
                if self._outstanding[tp]:
                    self._waiting_since[tp] = monotonic()
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's own alarms guess from acknowledgements; `waiting_seconds` measures."""

    # -- rebalancing -----------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Begin nothing new, let the batch in hand finish within its time, and commit it."""
        self._draining = True
        if self.positioned.is_set():
            self._paused_at = monotonic()
        self.positioned.clear()
        try:
            async with asyncio.timeout(self.app.conf.broker_rebalance_timeout * DRAIN_SHARE):
                await self._idle.wait()
                while await self.maybe_wait_for_commit_to_finish():
                    pass  # it may have begun before the last batch was done
                await self.commit()
        except TimeoutError:
            log.warning("worker.drain_timed_out", batches=len(self._working))

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.drain()
        self._round += 1
        for known in (self._expected, self._done, self._committed, self._waiting_since):
            known.clear()
        await super().on_partitions_revoked(revoked)


class BatchProducer(driver.Producer):
    """Faust's producer, which sends nothing here; topics are made before it starts (streams/kafka.py)."""

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Topics exist already."""


class BatchTransport(driver.Transport):
    """Given to the application in place of Faust's aiokafka transport."""

    Consumer = BatchConsumer
    Producer = BatchProducer


class BatchApp(faust.App):
    """A Faust application on this transport."""

    fetch_wait_ms = 50
    slow_topics: frozenset[str] = frozenset()
    """Topics of which batches wait for their turn by design."""

    def _new_transport(self) -> Any:
        return BatchTransport(self.conf.broker_consumer, self)

    @property
    def batches(self) -> BatchConsumer | None:
        """The consumer; None before Faust has made it (to ask for `consumer` would make it)."""
        consumer = self._consumer
        return consumer if isinstance(consumer, BatchConsumer) else None

    async def wait_crashed(self) -> None:
        """Return when Faust has given up; `crash_reason` says why."""
        await self._crashed.wait()


def note_changelog(app: Any, tp: TP, offsets: Sequence[int]) -> None:
    """Tell Faust's recovery that our own records at these offsets are in the table already.

    Without this a memory table reads, at each rebalance, everything again that was written since the
    start. Only an unbroken continuation counts: anything else in between may be another worker's.
    """
    known = app.tables.recovery.active_offsets
    if tp not in known or known[tp] is None:
        return
    for offset in sorted(offsets):
        if offset != known[tp] + 1:
            return
        known[tp] = offset
