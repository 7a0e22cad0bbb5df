"""The process `scad escalation`: a round every few seconds, on a connection that is opened anew when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any

import psycopg
import structlog

from alerts.escalation import metrics
from alerts.escalation.channels import Channels
from alerts.escalation.delivery import deliver
from alerts.escalation.tick import tick
from devices.times import to_datetime
from scad.clock import Clock
from scad.settings import Settings

log = structlog.get_logger()

Connection = psycopg.AsyncConnection[Any]

ROLE = "scad_escalation"  # sees every team, and no more than it needs (alerts/schema/0030_processes.sql)
TICK_SECONDS_MAX = 30.0
"""Longest pause between two rounds, whatever SCAD_TICK_SECONDS says: an escalation is this late at most."""
STALE_ROUNDS = 4
STALE_SECONDS_MIN = 60.0
"""Without a round for this long (and four pauses) the process is not ready: an attempt to send takes 30 s."""
CONNECT_SECONDS = 5
OPTIONS: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    # a database that vanishes without a word is noticed after some 15 s
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": f"-c role={ROLE} -c statement_timeout=60000 -c lock_timeout=30000 -c timezone=UTC",
    "application_name": "scad escalation",
}


async def connect(settings: Settings) -> Connection:
    """A connection for `tick` and `deliver`. Raises psycopg.Error."""
    return await psycopg.AsyncConnection.connect(settings.database, autocommit=True, **OPTIONS)


async def once(settings: Settings, clock: Clock) -> dict[str, Any]:
    """One round; what it did. Raises psycopg.Error, SettingsError."""
    channels = Channels.from_settings(settings)
    async with await connect(settings) as conn:
        return await _round(conn, channels, to_datetime(clock.now_ms()))


class Escalation:
    """The loop. `monotonic` measures how long ago the last round was; never simulated."""

    def __init__(self, settings: Settings, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._channels = Channels.from_settings(settings)
        self._monotonic = monotonic
        self._pause = min(settings.tick_seconds, TICK_SECONDS_MAX)
        self._last: float | None = None
        self._trouble = "the first round is not done yet"

    def ready(self) -> str:
        """Why alerts are not escalated now; empty when they are."""
        if self._last is None:
            return self._trouble
        age = self._monotonic() - self._last
        limit = max(STALE_SECONDS_MIN, STALE_ROUNDS * self._pause)
        return "" if age <= limit else f"no round for {age:.0f} s: {self._trouble}"

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. A database that is away is waited for."""
        conn: Connection | None = None
        for name in ("mail", "webhook"):
            if name not in self._channels.channels:
                log.warning("escalation.channel_off", channel=name)
        try:
            while not stop.is_set():
                try:
                    if conn is None or conn.closed or conn.broken:
                        conn = await connect(self._settings)
                    done = await _round(conn, self._channels, to_datetime(self._clock.now_ms()))
                    self._note(done)
                except psycopg.Error as error:
                    metrics.TICKS.labels(outcome="failed").inc()
                    self._trouble = f"the database: {type(error).__name__}"
                    log.warning("escalation.failed", error=type(error).__name__, detail=str(error).strip())
                    await _closed(conn)
                    conn = None
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._pause)
        finally:
            await _closed(conn)

    def _note(self, done: dict[str, Any]) -> None:
        self._last, self._trouble = self._monotonic(), "it hangs"
        metrics.TICKS.labels(outcome="done").inc()
        metrics.LAST_TICK.set_to_current_time()
        if any(value for name, value in done.items() if name != "led"):
            log.info("escalation.round", **done)


async def _round(conn: Connection, channels: Channels, now: datetime) -> dict[str, Any]:
    ticked = await tick(conn, now)
    return {**asdict(ticked), "notifications": await deliver(conn, channels, now)}


async def _closed(conn: Connection | None) -> None:
    if conn is not None:
        with suppress(psycopg.Error):
            await conn.close()
