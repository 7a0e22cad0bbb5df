"""Who logged in, and who changed whose access: one row each in scad.access_event, never with a secret."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from alerts.audit import watch
from alerts.feed.database import Connection


async def note(conn: Connection, at: datetime, actor: str, event: str, subject: str, **detail: Any) -> None:
    """Write down that `actor` did `event` to the account `subject`, in the transaction of what was done.

    The request's line in the trail of accesses (alerts.audit) says it too.
    """
    watch.says(by=actor, did=event, about=subject if subject != actor else "")
    await conn.execute(
        "insert into scad.access_event (at, actor, event, subject, detail) values (%s, %s, %s, %s, %s)",
        (at, actor, event, subject, Jsonb(detail)),
    )
