"""Server-sent events: every step of an alert reaches every browser that may see it, once and in order.

One connection a process LISTENs; a notification only wakes it, and the cursor (alert_event.id, whose ids
become visible in their order) decides what is new. A browser that comes back says the last id it has and is
given what it missed from the table; from there on it lives on the hub's queue. The seam is exact: the
table serves ids up to the hub's cursor at the moment of subscription, the queue those after it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import structlog

from alerts.feed.database import UNAVAILABLE, Connection, Database
from alerts.feed.metrics import FeedMetrics
from alerts.feed.viewer import Viewer
from devices.times import format_instant
from scad.clock import Clock

log = structlog.get_logger()

CHANNEL = "scad_feed"
# Events waiting for one browser; one that is further behind is cut off and catches up from the table.
QUEUE_MAX = 256
# Events read at once from the table: half a queue, so that a burst of any length cuts nobody off who reads. Browsers
# take theirs while the next page is asked for.
PAGE = QUEUE_MAX // 2
# Proxies drop silent connections after 30 to 60 seconds; the page notices a dead one after two heartbeats.
HEARTBEAT_S = 10.0
# How often a stream looks whether its session still stands: a log-out ends it within a minute.
CHECK_EVERY_S = 60.0
# Streams of one process: each costs a socket and at most QUEUE_MAX events, some 100 kB.
STREAMS_MAX = 1000
# Without a notification the table is looked at this often: a lost connection may have lost one.
POLL_S = 5.0
RECONNECT_S = 1.0
RETRY_MS = 1000  # what the browser waits before it comes back

_EVENTS = """
    select e.id, e.patient, p.care_team, e.alert, e.event, a.rule, a.class, a.severity, a.state, a.condition,
           a.late,
           coalesce((e.n = a.rang_n or e.body ->> 'ring' = 'true')
             and a.state in ('open', 'escalated') and a.condition = 'raised', false) as ring
      from scad.my_alert_event e join scad.patient p using (patient) left join scad.alert a on a.alert = e.alert
     where e.id > %(after)s and (%(until)s::bigint is null or e.id <= %(until)s)
       and (%(all)s or p.care_team = any(%(teams)s))
     order by e.id limit %(limit)s
"""
"""`ring`: the one step with which an alert asks for attention (alerts.inhibition decides, once in an alert's
life), while nobody has taken note of it and its condition holds."""


@dataclass(frozen=True, slots=True)
class Event:
    """One step, ready to be sent. Empty `care_team` never happens: every patient has one."""

    id: int
    care_team: str
    message: bytes


@dataclass(eq=False, slots=True)
class Subscriber:
    """One browser's stream: what waits for it, and from where on the hub serves it."""

    viewer: Viewer
    start: int
    queue: asyncio.Queue[Event | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_MAX))
    cut_off: bool = False


class TooManyStreamsError(RuntimeError):
    """This process serves STREAMS_MAX streams already."""


def message(event: str, data: dict[str, Any], id_: int | None = None) -> bytes:
    """One server-sent event on the wire."""
    head = f"id: {id_}\n" if id_ is not None else ""
    return f"{head}event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class Hub:
    """Reads new events once a process and hands them to every subscriber."""

    def __init__(self, database: Database, clock: Clock, metrics: FeedMetrics) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._subscribers: set[Subscriber] = set()
        self._closing = False
        self._turn = asyncio.Lock()
        self.cursor: int | None = None

    async def run(self) -> None:
        """Listen for ever; where the database goes away, come back and go on from the cursor."""
        while not self._closing:
            try:
                await self._listen()
            except psycopg.Error as error:
                log.warning("the feed's listener lost the database", error=str(error).strip())
            except UNAVAILABLE as error:
                log.warning("the feed's listener waits for the database", error=str(error))
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        async with await psycopg.AsyncConnection.connect(
            self._database.dsn, autocommit=True, connect_timeout=5, application_name="scad feed listener"
        ) as conn:
            await conn.execute(f"listen {CHANNEL}")
            while not self._closing:
                await self.catch_up()
                async for _ in conn.notifies(timeout=POLL_S, stop_after=1):
                    pass

    async def catch_up(self) -> None:
        """Hand on everything after the cursor. The first time the cursor is what is there."""
        async with self._turn:
            await self._catch_up()

    async def _catch_up(self) -> None:
        if self.cursor is None:
            async with self._database.service() as conn:
                result = await conn.execute("select coalesce(max(id), 0) as id from scad.alert_event")
                row = await result.fetchone()
                self.cursor = int(row["id"]) if row else 0
            return
        while True:
            async with self._database.service() as conn:
                found = await self._events(conn, None, self.cursor, None, PAGE)
            for event in found:
                self._hand_on(event)
                self.cursor = event.id
            if len(found) < PAGE:
                return

    def _hand_on(self, event: Event) -> None:
        self._metrics.events.inc()
        for subscriber in list(self._subscribers):
            if not subscriber.viewer.sees(event.care_team):
                continue
            try:
                subscriber.queue.put_nowait(event)
            except asyncio.QueueFull:
                subscriber.cut_off = True
                self._subscribers.discard(subscriber)
                self._metrics.cut_off.inc()

    async def _events(
        self, conn: Connection, viewer: Viewer | None, after: int, until: int | None, limit: int
    ) -> list[Event]:
        result = await conn.execute(
            _EVENTS,
            {
                "after": after,
                "until": until,
                "limit": limit,
                "all": viewer is None or viewer.sees_all,
                "teams": list(viewer.teams) if viewer is not None else [],
            },
        )
        now = self.clock_now()
        return [
            Event(row["id"], row["care_team"], message("alert", _payload(row) | now, row["id"]))
            for row in await result.fetchall()
        ]

    def clock_now(self) -> dict[str, Any]:
        """The instant by the server's clock, and how fast it runs: a demo's time may be quicker."""
        now_ms = self._clock.now_ms()
        rate = self._clock.rate if self._clock.wall() < self._clock.caught_up_ms else 1.0
        return {"now": format_instant(now_ms), "rate": rate}

    async def stream(
        self, viewer: Viewer, after: int | None, still_valid: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        """Everything that `viewer` may see after the event `after` (None: from now on), then what comes.

        Ends when the session does, when the browser is too slow, or when the process stops. Raises
        TooManyStreamsError before anything is sent.
        """
        if len(self._subscribers) >= STREAMS_MAX:
            raise TooManyStreamsError
        if self.cursor is None:
            await self.catch_up()
        subscriber = Subscriber(viewer, self.cursor or 0)
        self._subscribers.add(subscriber)
        self._metrics.streams.set(len(self._subscribers))
        try:
            yield f"retry: {RETRY_MS}\n\n".encode() + message("clock", self.clock_now())
            sent = subscriber.start if after is None else after
            async for event in self._missed(viewer, sent, subscriber.start):
                yield event.message
                sent = event.id
            async for part in self._live(subscriber, sent, still_valid):
                yield part
        finally:
            self._subscribers.discard(subscriber)
            self._metrics.streams.set(len(self._subscribers))

    async def _missed(self, viewer: Viewer, after: int, until: int) -> AsyncIterator[Event]:
        """Events in (after, until] from the table, however many: a page at a time, as fast as the browser takes them,
        and with no connection of the pool while it does."""
        while after < until:
            async with self._database.reading(viewer) as conn:
                found = await self._events(conn, viewer, after, until, PAGE)
            for event in found:
                yield event
            after = found[-1].id if len(found) == PAGE else until

    async def _live(
        self, subscriber: Subscriber, sent: int, still_valid: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        time = asyncio.get_running_loop().time
        checked = time()
        while not self._closing:
            if time() - checked > CHECK_EVERY_S:
                checked = time()
                if not await still_valid():
                    yield message("ended", self.clock_now())
                    return
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    event = await subscriber.queue.get()
            except TimeoutError:
                yield b": heartbeat\n\n" + message("clock", self.clock_now())
                continue
            if event is None:
                return
            if event.id > sent:
                sent = event.id
                yield event.message
            if subscriber.cut_off and subscriber.queue.empty():
                return

    def close(self) -> None:
        """End every stream: a process that stops does not wait for browsers."""
        self._closing = True
        for subscriber in list(self._subscribers):
            subscriber.cut_off = True
            while subscriber.queue.full():
                subscriber.queue.get_nowait()
            subscriber.queue.put_nowait(None)


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "patient": row["patient"],
        "alert": str(row["alert"]) if row["alert"] is not None else None,
        "event": row["event"],
        "rule": row["rule"],
        "class": row["class"],
        "severity": row["severity"],
        "state": row["state"],
        "condition": row["condition"],
        "late": row["late"],
        "ring": row["ring"],
    }
