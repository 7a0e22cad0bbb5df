"""One worker process: the Faust application, what it leans on, and beside it the writer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from scad.clock import Clock
from scad.metrics_server import MetricsServer
from scad.settings import Settings
from streams import metrics, topics
from streams.agents import Parts, build_app
from streams.intake import decode_intervals
from streams.kafka import ensure_topics, make_producer
from streams.patients import EngineLike
from streams.published import PlansView
from streams.transport import BatchApp, BatchConsumer
from streams.views import CompactedView

log = structlog.get_logger()

STOP_SECONDS = 4.0
"""For the batch in hand and its commit when we are asked to stop; what is not done then is done again."""
CLOSE_SECONDS = 2.0
"""For Faust, and for connections, to close. All together stay under the 10 s that supervisors commonly grant,
even while no broker answers."""
STUCK_SECONDS = 120.0
"""A record that waits this long for its commit: /health/ready says so (a broker is away, or we are stuck)."""
DEAD_SECONDS = 600.0  # and then /health/live: restart me

Companion = Callable[[Settings, Clock, asyncio.Event], Awaitable[None]]
"""What runs beside the agents in the same process until the event is set: the writer."""


class WorkerFailedError(RuntimeError):
    """The worker cannot go on; a new process can. The cause is chained."""


class Worker:
    """Runs until `stop` is set or something fails."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        engine: EngineLike,
        companions: tuple[Companion, ...] = (),
        session_seconds: float | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._engine = engine
        self._companions = companions
        self._session_seconds = session_seconds
        self._failure: asyncio.Future[BaseException] | None = None
        self._app: BatchApp | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Raises WorkerFailedError when it has to end for another reason than `stop`."""
        self._failure = asyncio.get_running_loop().create_future()
        server = MetricsServer(
            self._settings.metrics_host, self._settings.metrics_port, self.why_not_ready, self.why_dead
        )
        if self._settings.metrics_port:
            await server.start()
        running = asyncio.create_task(self._run(stop), name="worker")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            ends: set[asyncio.Future[Any]] = {running, stopping, self._failure}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await self._raise_failure(running)
            stop.set()
            if self._app is None:  # still waiting for a broker: there is nothing to finish
                running.cancel()
            await asyncio.wait({running}, timeout=STOP_SECONDS + 2 * CLOSE_SECONDS)
            if running.done() and not running.cancelled():
                running.result()
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.wait({running, stopping}, timeout=CLOSE_SECONDS)
            await server.stop()

    async def _raise_failure(self, running: asyncio.Task[None]) -> None:
        cause: BaseException | None = None
        if self._failure is not None and self._failure.done():
            cause = self._failure.result()
        elif running.done() and not running.cancelled():
            cause = running.exception()
        raise WorkerFailedError(f"the worker ends: {type(cause).__name__}: {cause}") from cause

    def failed(self, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_result(error)

    # -- health ----------------------------------------------------------------------------------------

    @property
    def _consumer(self) -> BatchConsumer | None:
        return None if self._app is None else self._app.batches

    def waiting_seconds(self) -> float:
        return 0.0 if self._consumer is None else self._consumer.waiting_seconds()

    def behind(self) -> dict[tuple[str, int], int]:
        """Records of each partition of ours that are not worked on yet."""
        return {} if self._consumer is None else self._consumer.behind()

    def why_not_ready(self) -> str:
        consumer = self._consumer
        if consumer is None or not consumer.positioned.is_set():
            return "partitions are being taken over"
        waited = consumer.waiting_seconds()
        return f"a record has waited {waited:.0f} s for its commit" if waited > STUCK_SECONDS else ""

    def why_dead(self) -> str:
        waited = self.waiting_seconds()
        if waited > DEAD_SECONDS:
            return f"a record has waited {waited:.0f} s for its commit"
        paused = 0.0 if self._consumer is None else self._consumer.paused_seconds()
        return f"partitions have been taken over for {paused:.0f} s" if paused > DEAD_SECONDS else ""

    # -- life ------------------------------------------------------------------------------------------

    async def _run(self, stop: asyncio.Event) -> None:
        settings, me = self._settings, self._settings.worker_id
        await ensure_topics(settings)
        producer = await make_producer(settings, me, exact_ends=False)
        changelogs = await make_producer(settings, f"{me}-changelogs")
        assignments = CompactedView(settings, topics.ASSIGNMENTS, decode_intervals, client_id=me)
        plans = PlansView(settings, client_id=me)
        companions = [
            asyncio.create_task(self._accompany(companion, stop), name="companion")
            for companion in self._companions
        ]
        try:
            await asyncio.gather(assignments.start(), plans.start())
            await asyncio.gather(assignments.caught_up(), plans.caught_up())
            self._engine.use(self._engine.library.with_published(plans.published()))
            parts = Parts(
                settings=settings,
                clock=self._clock,
                engine=self._engine,
                producer=producer,
                changelogs=changelogs,
                assignments=assignments,
                plans=plans,
                failed=self.failed,
            )
            self._app = build_app(parts, self._session_seconds)
            self._app.conf.datadir.mkdir(parents=True, exist_ok=True)
            metrics.COMMIT_AGE.set_function(self.waiting_seconds)
            metrics.LAG.source = self.behind
            await self._run_app(self._app, stop)
            await asyncio.gather(*companions)
        finally:
            for task in companions:
                task.cancel()
            await _within(
                CLOSE_SECONDS,
                *companions,
                *(view.stop() for view in (assignments, plans)),
                *(each.stop() for each in (producer, changelogs)),
            )

    async def _run_app(self, app: BatchApp, stop: asyncio.Event) -> None:
        """Start Faust, wait, and stop it with nothing in hand."""
        starting = asyncio.create_task(app.start(), name="faust")
        crashed = asyncio.create_task(app.wait_crashed(), name="crash")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({starting, crashed, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and not stop.is_set():
                starting.result()
                log.info("worker.started", worker=self._settings.worker_id)
                await asyncio.wait({crashed, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if crashed.done():
                raise WorkerFailedError("Faust crashed") from app.crash_reason
        finally:
            for task in (starting, crashed, stopping):
                task.cancel()
            await asyncio.gather(starting, crashed, stopping, return_exceptions=True)
            if self._consumer is not None:
                await _within(STOP_SECONDS, self._consumer.drain())
            await _within(CLOSE_SECONDS, app.stop())
            log.info("worker.stopped", worker=self._settings.worker_id)

    async def _accompany(self, companion: Companion, stop: asyncio.Event) -> None:
        try:
            await companion(self._settings, self._clock, stop)
        except Exception as error:
            log.exception("worker.companion_failed")
            self.failed(error)
            return
        if not stop.is_set():
            self.failed(RuntimeError("the writer ended by itself"))


async def _within(seconds: float, *work: Awaitable[Any]) -> None:
    """Wait for all of it, but not longer; what it raises is not of interest any more."""
    tasks = [asyncio.ensure_future(each) for each in work]
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
