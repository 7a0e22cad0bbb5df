"""The feed's connections: one bounded pool, and transactions that say who looks.

Row-level security decides what a transaction sees (alerts/schema/0016_roles.sql, 0026_rows.sql), so every one
takes a role first: scad_feed for a person, whose teams the database finds by the session's token; scad_login for
the log-in; scad_service for the process itself. As scad_feed readings, their days and events are read from the
views scad.my_reading, scad.my_reading_daily and scad.my_alert_event; the tables below them are closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from alerts.audit.watch import watched_rows
from alerts.feed.viewer import Viewer
from alerts.identity.vault import Vault

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

FEED: LiteralString = "scad_feed"
LOGIN: LiteralString = "scad_login"
SERVICE: LiteralString = "scad_service"

UNAVAILABLE = (psycopg.OperationalError, PoolTimeout, TooManyRequests)
"""What a request meets while the database is away."""


class FeedConnection(psycopg.AsyncConnection[dict[str, Any]]):
    """A connection of the feed's pool, with what opens identities (None: the process has no key)."""

    vault: Vault | None = None


def vault_in(conn: Connection) -> Vault | None:
    """What opens the identities that this connection reads."""
    return conn.vault if isinstance(conn, FeedConnection) else None


class Database:
    """Opens and closes with the application. Raises UNAVAILABLE's errors while the database is away."""

    def __init__(self, dsn: str, vault: Vault | None = None) -> None:
        self.dsn, self.vault = dsn, vault

        async def configure(conn: Connection) -> None:
            if isinstance(conn, FeedConnection):
                conn.vault = vault

        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            connection_class=FeedConnection,
            configure=configure,
            min_size=POOL_MIN,
            max_size=POOL_MAX,
            timeout=POOL_WAIT_S,
            max_waiting=POOL_WAITING_MAX,
            open=False,
            name="feed",
            kwargs={
                "autocommit": True,
                "row_factory": watched_rows,
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
        async with self._transaction(FEED, viewer, "isolation level repeatable read, read only") as conn:
            yield conn

    @asynccontextmanager
    async def writing(self, viewer: Viewer | None) -> AsyncIterator[Connection]:
        """A transaction that commits at the end of the block, or nothing of it; seen as in `reading`."""
        async with self._transaction(FEED, viewer) as conn:
            yield conn

    @asynccontextmanager
    async def service(self) -> AsyncIterator[Connection]:
        """A transaction of the process itself, which sees every team: the listener, metrics, and enrolment,
        which must know all intervals of a device. Whoever asks for it answers for what leaves it."""
        async with self._transaction(SERVICE) as conn:
            yield conn

    @asynccontextmanager
    async def login(self) -> AsyncIterator[Connection]:
        """A transaction of the log-in: accounts, sessions and second factors, no patient."""
        async with self._transaction(LOGIN) as conn:
            yield conn

    @asynccontextmanager
    async def plain(self) -> AsyncIterator[Connection]:
        """A transaction as whoever the connection's address names: for the question whether the database has
        its schema at all."""
        async with self._pool.connection() as conn, conn.transaction():
            yield conn

    @asynccontextmanager
    async def _transaction(
        self, role: LiteralString, viewer: Viewer | None = None, characteristics: LiteralString = ""
    ) -> AsyncIterator[Connection]:
        """`role` for this transaction, and who looks: by the hash of the session's token, which nobody can
        guess. Both end with the transaction."""
        session = viewer.token_hash.hex() if viewer is not None else ""
        async with self._pool.connection() as conn, conn.transaction():
            if characteristics:
                await conn.execute(sql.SQL("set transaction ") + sql.SQL(characteristics))
            await conn.execute(
                "select set_config('role', %s, true), set_config('scad.session', %s, true)", (role, session)
            )
            yield conn
