"""People's actions for tests that have a plain connection: the module that is tested is asynchronous."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg

from alerts.actions import Done
from alerts.actions import act as act_async
from alerts.lifecycle import ActionRequest
from alerts.store.connection import Connection
from devices.times import to_datetime


def act(
    store: Connection, alert: str, action: Any, by: str, at_ms: int, **request: Any
) -> str | tuple[str, str | None]:
    """The name of the event, or (refusal, who made it so)."""

    async def run() -> Any:
        info = store.info
        async with await psycopg.AsyncConnection.connect(
            info.dsn, password=info.password, autocommit=True
        ) as conn:
            wanted = ActionRequest(action=action, **request)
            return await act_async(conn, UUID(alert), wanted, by, to_datetime(at_ms))

    with ThreadPoolExecutor(1) as thread:  # the caller may have a loop of its own
        result = thread.submit(lambda: asyncio.run(run())).result()
    return result.event if isinstance(result, Done) else (result.refusal, result.by)
