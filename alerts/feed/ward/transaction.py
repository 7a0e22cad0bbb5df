"""A change in a transaction of its own, under the rights of who asked for it.

The functions of enrolment (alerts.enrol, alerts.changes) are the command's too and use a plain connection; here
they run on one in a thread, so that the pages go on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg

from alerts.feed.context import Feed
from alerts.feed.database import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_MS
from alerts.feed.viewer import Viewer
from alerts.store.connection import Connection

Result = TypeVar("Result")

CHANGES_AT_ONCE = 4
"""Changes are rare and hold one lock anyhow (alerts.enrol.ENROL_LOCK); more would only hold connections."""

_threads = ThreadPoolExecutor(CHANGES_AT_ONCE, "ward")


async def changing(feed: Feed, viewer: Viewer, work: Callable[[Connection], Result]) -> Result:
    """What `work` returns, committed; nothing of it when it raises. Raises database.UNAVAILABLE's errors."""

    def run() -> Result:
        with (
            psycopg.connect(
                feed.database.dsn,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="scad feed ward",
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
            ) as conn,
            conn.transaction(),
        ):
            conn.execute(
                "select set_config('role', 'scad_feed', true), set_config('scad.session', %s, true)",
                (viewer.token_hash.hex(),),
            )
            return work(conn)

    return await asyncio.get_running_loop().run_in_executor(_threads, run)
