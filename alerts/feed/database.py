"""The feed's connections: one bounded pool, and transactions that read one instant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from alerts.feed.viewer import Viewer

Connection = psycopg.AsyncConnection[dict[str, Any]]

# A request holds a connection for milliseconds; ten serve some hundred pages a second on two cores.
POOL_MIN, POOL_MAX = 1, 10
# How long a request waits for a connection before it says "unavailable".
POOL_WAIT_S = 5.0
# Requests that may wait; beyond it a page that says so at once is kinder than one that hangs.
POOL_WAITING_MAX = 200
# No statement of the feed takes a second; one that takes ten has met a lock or a lost index.
STATEMENT_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_S = 5

UNAVAILABLE = (psycopg.OperationalError, PoolTimeout, TooManyRequests)
"""What a request meets while the database is away."""


class Database:
    """Opens and closes with the application. Raises UNAVAILABLE's errors while the database is away."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            min_size=POOL_MIN,
            max_size=POOL_MAX,
            timeout=POOL_WAIT_S,
            max_waiting=POOL_WAITING_MAX,
            open=False,
            name="feed",
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "scad feed",
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
            },
        )

    async def open(self) -> None:
        """Start the pool; does not wait for the database, so the process can say that it is away."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def reading(self, viewer: Viewer | None) -> AsyncIterator[Connection]:
        """A transaction in which every statement sees the same instant and none may write.

        The database shows what `viewer` may see; to nobody (None) no row about a patient.
        """
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute("set transaction isolation level repeatable read, read only")
            await _become(conn, viewer)
            yield conn

    @asynccontextmanager
    async def writing(self, viewer: Viewer | None) -> AsyncIterator[Connection]:
        """A transaction that commits at the end of the block, or nothing of it; seen as in `reading`."""
        async with self._pool.connection() as conn, conn.transaction():
            await _become(conn, viewer)
            yield conn

    @asynccontextmanager
    async def service(self) -> AsyncIterator[Connection]:
        """A transaction of the process itself, which sees every team: the listener, metrics, and enrolment,
        which must know all intervals of a device. Whoever asks for it answers for what leaves it."""
        async with self._pool.connection() as conn, conn.transaction():
            yield conn


async def _become(conn: Connection, viewer: Viewer | None) -> None:
    """Say for this transaction who looks: by the hash of the session's token, which nobody can guess."""
    session = viewer.token_hash.hex() if viewer is not None else ""
    await conn.execute("select set_config('scad.session', %s, true)", (session,))
