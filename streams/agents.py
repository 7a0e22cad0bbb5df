"""The Faust application: four agents, two tables, a ticker. What they do stands in pure modules beside it.

Delivery: at least once from topic to topic, once in its effect. A batch is called done when everything that
follows from it is durable; only then may its offsets be committed (streams/transport.py). A record that
cannot be worked on goes to quarantine. Any other error ends the process: whoever supervises it starts it
again, and it resumes at the last commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, cast

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from scad.clock import Clock
from scad.settings import Settings
from scad.tls import faust_credentials
from streams import kafka, metrics, stages, topics
from streams.abreast import Abreast
from streams.dated import decode_version, is_protocol
from streams.intake import Interval, encode_quarantine
from streams.kafka import Record, produce
from streams.lanes import Throttle, parts
from streams.patients import TICKED_AT_ONCE, EngineLike, Patients, Work
from streams.poison import FAULTS_CHARS, Poison, poison
from streams.published import PlansView, decode_plan
from streams.rebuild import Sources
from streams.tables import TokenTable
from streams.telemetry import Telemetry
from streams.transport import Batch, BatchApp, BatchConsumer, BatchSchema, FencedError, Grant, OrderError
from streams.views import CompactedView

log = structlog.get_logger()

COMMIT_SECONDS = 1.0
POLL_RECORDS_MAX = 10_000
"""Records in one fetch, of one partition. A patient's state is written once a batch, so that the more a batch brings
of one patient the cheaper a reading is; while all is well a batch has a few. Some 0.4 s of work, in between which
the loop does other things; a rebalance waits for as long."""
FETCH_BYTES = 3 * 1024 * 1024
"""Bytes of one fetch of one partition: room for the records above. How much all together may hold is bounded by the
transport (HELD_BYTES)."""
REQUEST_SECONDS = 30.0  # above every session timeout, as Faust asks
REBALANCE_SECONDS_MIN = 20.0
"""Time for the batch in hand to finish when partitions are given up; a real broker may be slow then."""
TRANSIT_MS = 10_000
"""How far the tick stays behind the clock, in the wall's time: a reading that was measured in time may still be
on its way through the broker and the intake, and is not missing yet."""

LOOK_SECONDS = 0.2  # how soon after a takeover outboxes are emptied

Handler = Callable[[Batch, Grant], Awaitable[None]]
Failed = Callable[[BaseException], None]


@dataclass(frozen=True)
class Parts:
    """What the application works with; all of it is started before and stopped after it."""

    settings: Settings
    clock: Clock
    engine: EngineLike
    producer: AIOKafkaProducer
    changelogs: AIOKafkaProducer
    """Like `producer`; with tansu, one that leaves the partitions' ends exact (streams/kafka.py)."""
    assignments: CompactedView[tuple[Interval, ...]]
    plans: PlansView
    failed: Failed
    """Called once with the error that ends the process."""


def key_of(record: ConsumerRecord) -> str:
    """The record's key as text. Raises ValueError when there is none, or when it is no UTF-8."""
    if not record.key:
        raise ValueError("a record without key belongs to nobody")
    return bytes(record.key).decode()


def make_app(settings: Settings, session_seconds: float | None = None) -> BatchApp:
    """The application without agents. `session_seconds`: after this long without a sign of life a worker's
    partitions go to others; its restart under the same worker_id does not wait for it."""
    timings = kafka.consumer_timings(settings)
    session = session_seconds or timings["session_seconds"]
    app = BatchApp(
        kafka.WORKER_GROUP,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka.split(",")],
        store="memory://",
        datadir=str(Path(settings.data_dir) / "faust" / settings.worker_id),
        processing_guarantee="at_least_once",
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        canonical_url="http://127.0.0.1:1",  # goes into the group's metadata; nothing listens there
        consumer_group_instance_id=None if settings.kafka_embedded else settings.worker_id,
        broker_client_id=settings.worker_id,
        broker_credentials=faust_credentials(settings),
        broker_session_timeout=session,
        broker_rebalance_timeout=session if settings.kafka_embedded else max(session, REBALANCE_SECONDS_MIN),
        broker_heartbeat_interval=kafka.HEARTBEAT_MS / 1000,
        broker_request_timeout=max(REQUEST_SECONDS, session),
        broker_commit_interval=COMMIT_SECONDS,
        broker_max_poll_records=POLL_RECORDS_MAX,
        consumer_max_fetch_size=FETCH_BYTES,
        stream_wait_empty=False,
        stream_buffer_maxsize=4 * settings.partitions
        + 64,  # fetches; the transport bounds them per partition
        producer_max_batch_size=kafka.TANSU_BATCH_BYTES if settings.kafka_embedded else kafka.BATCH_BYTES,
        loop=asyncio.get_running_loop(),
    )
    app.fetch_wait_ms = timings["fetch_wait_ms"]
    app.slow_topics = frozenset({topics.BACKLOG})
    return app


def build_app(parts: Parts, session_seconds: float | None = None) -> BatchApp:
    """The application with its agents, tables and ticker. Needs a running loop; `app.start()` runs it."""
    app = make_app(parts.settings, session_seconds)
    count = parts.settings.partitions
    patient_table = TokenTable(app, kafka.PATIENTS_TABLE, count, parts.changelogs)
    device_table = TokenTable(app, kafka.DEVICES_TABLE, count, parts.changelogs)
    app.tables.add(patient_table)
    app.tables.add(device_table)
    sources = Sources(parts.settings, parts.plans, partial(parts.clock.now_ms, TRANSIT_MS), parts.failed)
    work = Agents(
        parts,
        app,
        Patients(parts.engine, patient_table, parts.producer, partial(put_aside, parts), sources),
        Telemetry(device_table, parts.producer, parts.assignments, parts.plans, parts.clock),
    )

    def topic(name: str) -> Any:
        return app.topic(name, schema=BatchSchema(), partitions=count)

    @app.agent(topic(topics.TELEMETRY), name="intake", concurrency=1)
    async def intake(stream: Any) -> None:
        async with Abreast(lambda batch: work.run("intake", batch, work.intake)) as abreast:
            async for batch in stream:
                abreast.begin(batch)

    @app.agent(topic(topics.BACKLOG), name="backlog", concurrency=1)
    async def backlog(stream: Any) -> None:
        async for batch in stream:
            await work.run_backlog(batch)

    @app.agent(topic(topics.READINGS), name="thresholds", concurrency=1)
    async def thresholds(stream: Any) -> None:
        async with Abreast(lambda batch: work.run("thresholds", batch, work.readings)) as abreast:
            async for batch in stream:
                abreast.begin(batch)

    @app.agent(topic(topics.CARE_PLANS), name="care-plans", concurrency=1)
    async def care_plans(stream: Any) -> None:
        async for batch in stream:
            await work.run("care-plans", batch, work.care_plans)

    parts.plans.protocols_changed = work.use_protocols
    app.task(work.tick_for_ever)
    metrics.PATIENTS.set_function(lambda: len(patient_table.store.data))
    return app


async def put_aside(parts: Parts, bad: Sequence[Poison]) -> None:
    """Records that cannot be worked on go to quarantine, where each has one place however often it comes."""
    now_ms = parts.clock.now_ms()
    records = []
    for item in bad:
        metrics.POISON.labels(item.record.topic).inc()
        refusal = item.refusal(now_ms)
        log.error("worker.poison_record", where=refusal.detail)
        key = refusal.device.encode() or item.record.key or b""
        records.append(Record(topics.QUARANTINE, key, encode_quarantine(refusal)))
    await produce(parts.producer, records)


def _refused_protocol(key: str, record: ConsumerRecord) -> list[Poison]:
    """A protocol's version that cannot be used, with all that is wrong with it. One that can be is every worker's:
    the view has it."""
    try:
        decode_version(record.value or b"", key)
    except Exception as error:
        return [poison(record, error, chars=FAULTS_CHARS)]
    return []


class Agents:
    """The bodies of the agents."""

    def __init__(self, parts: Parts, app: BatchApp, patients: Patients, telemetry: Telemetry) -> None:
        self._parts = parts
        self._app = app
        self._patients = patients
        self._telemetry = telemetry
        self._throttle = Throttle(parts.settings.backlog_rate)

    @property
    def _consumer(self) -> BatchConsumer:
        return cast(BatchConsumer, self._app.consumer)

    async def run(self, agent: str, batch: Batch, handler: Handler) -> None:
        """Work on one batch. Never raises; a batch that is not called done is not committed."""
        await self._work(agent, batch, lambda grant: handler(batch, grant), len(batch.records))

    async def run_backlog(self, batch: Batch) -> None:
        """Work on one batch of the slow way, part by part, as fast as the throttle lets it. Waits without a grant,
        so that a rebalance waits for one part at most; then the next owner does the whole batch again."""
        left = len(batch.records)
        for records, readings in parts(batch.records):
            left -= len(records)
            await asyncio.sleep(self._throttle.wait_s(readings, monotonic()))
            metrics.BACKLOG_AGE.set(stages.age_s(records[0], self._parts.clock.now_ms()))
            handler = partial(self._telemetry.handle, records)
            if not await self._work("backlog", batch, handler, len(records), last=left == 0):
                return
            metrics.BACKLOG_READINGS.inc(readings)
        metrics.BACKLOG_AGE.set(0)

    async def _work(
        self,
        agent: str,
        batch: Batch,
        handler: Callable[[Grant], Awaitable[None]],
        count: int,
        last: bool = True,
    ) -> bool:
        """Work on a batch, or on `count` records of it; whether it could be done. The last part calls it done."""
        work, began = object(), monotonic()
        if not self._consumer.turn_of(batch):  # what came before it failed: both are fetched again
            if self._consumer.stands_still(batch):
                at = f"{batch.tp.topic}[{batch.tp.partition}]@{batch.start}"
                self._parts.failed(OrderError(f"{at}: what comes before it is not done, and nobody is at it"))
            return False
        grant = self._consumer.begin(batch.tp.partition, work, batch.round)
        if grant is None:
            return False  # given up meanwhile: whoever owns the partition now fetches it from the last commit
        done = False
        try:
            await handler(grant)
            if last:
                self._consumer.done(batch)
            done = True
        except FencedError as error:
            log.warning("worker.fenced", agent=agent, partition=batch.tp.partition, why=str(error))
        except Exception as error:
            log.exception("worker.failed", agent=agent, topic=batch.tp.topic, offset=batch.start)
            self._parts.failed(error)
        finally:
            self._consumer.end(work)
        metrics.BATCHES.labels(agent).observe(count)
        metrics.BATCH_SECONDS.labels(agent).observe(monotonic() - began)
        return done

    async def intake(self, batch: Batch, grant: Grant) -> None:
        await self._telemetry.handle(batch.records, grant)
        stages.passed("accepted", batch.records[0], self._parts.clock.now_ms())

    async def readings(self, batch: Batch, grant: Grant) -> None:
        work: dict[str, Work] = {}
        bad: list[Poison] = []
        for record in batch.records:
            try:
                patient = key_of(record)
            except ValueError as error:  # our own topic, but the body never raises
                bad.append(poison(record, error))
                continue
            asked = work.get(patient)
            if asked is None:
                asked = work[patient] = Work(readings_next=batch.next)
            asked.readings.append(record)
        await put_aside(self._parts, bad)
        await self._patients.change(grant, work)
        stages.passed("evaluated", batch.records[0], self._parts.clock.now_ms())

    async def care_plans(self, batch: Batch, grant: Grant) -> None:
        work: dict[str, Work] = {}
        bad: list[Poison] = []
        for record in batch.records:
            if record.value is None:
                continue  # a patient whose plan was deleted keeps the last one until enrolment says otherwise
            try:
                patient = key_of(record)
                if is_protocol(patient):
                    bad += _refused_protocol(patient, record)
                    continue
                plan = decode_plan(record.value)
            except Exception as error:
                bad.append(poison(record, error))
                continue
            asked = work.setdefault(patient, Work(plans_next=batch.next))
            asked.plans.append((plan, record))
        await put_aside(self._parts, bad)
        await self._patients.change(grant, work)

    def use_protocols(self) -> None:
        """Versions of protocols were published or withdrawn: from now on they hold, for every patient whose
        partition is ours, whether or not a reading comes."""
        engine = self._parts.engine
        engine.use(engine.library.with_published(self._parts.plans.published()))
        log.info("worker.protocols", published=len(self._parts.plans.published()), stamp=engine.stamp)
        self._patients.evaluate_anew()

    async def tick_for_ever(self) -> None:
        """Tick every `tick_seconds`, and at once after a takeover, which also empties the outboxes."""
        due_at, round_ = 0.0, -1
        while True:
            await self._consumer.positioned.wait()
            if monotonic() >= due_at or self._consumer.round != round_:
                due_at, round_ = monotonic() + self._parts.settings.tick_seconds, self._consumer.round
                for partition in sorted(self._consumer.partitions()):
                    await self._tick(partition)
            await asyncio.sleep(min(LOOK_SECONDS, self._parts.settings.tick_seconds))

    async def _tick(self, partition: int) -> None:
        """Everything that is due in one partition, a part at a time so that readings come in between."""
        ticked = TICKED_AT_ONCE
        while ticked == TICKED_AT_ONCE:
            work = object()
            grant = self._consumer.begin(partition, work)
            if grant is None:
                return
            try:
                ticked = await self._patients.tick(grant, self._parts.clock.now_ms(TRANSIT_MS))
            except FencedError:
                return
            except Exception as error:
                log.exception("worker.failed", agent="ticker", partition=partition)
                self._parts.failed(error)
                return
            finally:
                self._consumer.end(work)
