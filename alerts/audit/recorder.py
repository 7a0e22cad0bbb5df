"""Writing the trail from a process that serves many requests at once: one writer chains what has gathered.

The chain makes lines wait for each other, so lines are appended in groups: while one call is on its way to the
database, whatever else is said gathers, and is the next call. A request waits for its line before it answers: what
nobody could write down is not shown. Under load the groups grow and each line costs less.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

import psycopg
import structlog

from alerts.audit.chain import vouch
from alerts.audit.entry import LINES_MAX, Entry, lines_of
from alerts.identity.keys import MasterKeys
from devices.times import from_datetime

log = structlog.get_logger()

# Entries that wait while the database is slow or away; some seconds of a whole region's clicks.
WAITING_MAX = 10_000
# The chain is vouched for so often, and the hash is logged: what is rewritten later is found out.
CHECKPOINT_EVERY_MS = 3_600_000


class Service(Protocol):
    """What the recorder needs of the feed's database."""

    def service(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[dict[str, Any]]]: ...


class TrailFullError(psycopg.OperationalError):
    """More waits to be written down than can: as if the database were away."""


class Recorder:
    """Appends entries in groups. One for a process; lives in its event loop."""

    def __init__(self, database: Service, keys: MasterKeys | None) -> None:
        self._database, self._keys = database, keys
        self._waiting: deque[tuple[Entry, asyncio.Future[None]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._vouched_ms = 0

    async def record(self, *entries: Entry) -> None:
        """Return when the entries are in the trail. Raises the database's errors; then none of them may be."""
        if len(self._waiting) + len(entries) > WAITING_MAX:
            raise TrailFullError("the trail of accesses cannot be written as fast as it is asked for")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in entries]
        self._waiting.extend(zip(entries, futures, strict=True))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="trail of accesses")
        for future in futures:
            await future

    async def is_patient(self, name: str) -> bool:
        """Whether this is a pseudonym here."""
        async with self._database.service() as conn:
            result = await conn.execute("select from scad.patient where patient = %s", (name,))
            return await result.fetchone() is not None

    async def _write(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), LINES_MAX)
            group = [self._waiting.popleft() for _ in range(count)]
            try:
                await self._append([entry for entry, _ in group])
            except Exception as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                for _, future in group:
                    if not future.done():
                        future.set_result(None)

    async def _append(self, entries: list[Entry]) -> None:
        async with self._database.service() as conn:
            result = await conn.execute("select n, hash from audit.append(%s)", (lines_of(entries),))
            row = await result.fetchone()
        if row is None:
            return
        now_ms = from_datetime(datetime.fromisoformat(entries[-1].at))
        if abs(now_ms - self._vouched_ms) >= CHECKPOINT_EVERY_MS:
            self._vouched_ms = now_ms
            await self._checkpoint(row["n"], bytes(row["hash"]), entries[-1].at)

    async def _checkpoint(self, n: int, hash_: bytes, at: str) -> None:
        """The log is kept elsewhere: a hash in it is a witness that whoever owns the database cannot change."""
        mac = vouch(self._keys, n, hash_, at, False) if self._keys is not None else None
        async with self._database.service() as conn:
            await conn.execute("select audit.vouch(%s, %s, %s, %s)", (n, hash_, at, mac))
        log.info("trail of accesses", line=n, hash=hash_.hex())
