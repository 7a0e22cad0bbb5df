"""Broken glass is told to the administrators: that somebody of a team opened a file of another's, and where to look.

Nobody is named, neither who is ill nor who looked: this process may not even read it (0051_glass_told.sql).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

import psycopg
import structlog
from psycopg.rows import tuple_row

from alerts.escalation import metrics
from alerts.escalation.outbox import message_for
from alerts.service_times import Contact

log = structlog.get_logger()

Connection = psycopg.AsyncConnection[Any]

AT_ONCE = 200
"""Broken glasses of one transaction; a region has some a day."""

_UNTOLD = """
select g.id, coalesce(a.care_team, '') from scad.glass g left join scad.account a using (login)
 where g.told_at is null order by g.id limit %s for update of g skip locked"""

_CONTACTS = """
select c.login, c.channel, c.address, a.language
  from scad.administrator_contact c join scad.account a using (login)
 where a.role = 'administrator' and a.disabled_at is null order by c.login, c.channel"""

_PAIRS = """
insert into scad.notification_glass (glass, channel, person, notification)
select g, %s, %s, %s from unnest(%s::bigint[]) g on conflict do nothing"""

_TOLD = "update scad.glass set told_at = %s where id = any(%s)"


async def tell_administrators(conn: Connection, now: datetime) -> int:
    """Queue a message for each administrator, one for all that is new; returns how many glasses it was about.

    In one transaction with the note that they are told. `conn` is in autocommit mode. Raises psycopg.Error.
    """
    async with conn.transaction():
        untold = await _all(conn, _UNTOLD, (AT_ONCE,))
        if not untold:
            return 0
        by_team: dict[str, list[int]] = defaultdict(list)
        for number, team in untold:
            by_team[team].append(number)
        contacts = [
            Contact(person=login, channel=channel, address=address, language=language)
            for login, channel, address, language in await _all(conn, _CONTACTS, ())
        ]
        for team, glasses in by_team.items():
            for contact in contacts:
                notification, _ = await message_for(conn, "glass", team, contact, now)
                await conn.execute(_PAIRS, (contact.channel, contact.person, notification, glasses))
        await conn.execute(_TOLD, (now, [number for number, _ in untold]))
    if not contacts:
        metrics.GLASS_UNHEARD.inc(len(untold))
        log.warning("glass.nobody_to_tell", broken=len(untold))
    return len(untold)


async def unreviewed(conn: Connection) -> int:
    """How many broken glasses no administrator has looked into."""
    rows = await _all(conn, "select count(id) from scad.glass where reviewed_at is null", ())
    return int(rows[0][0])


async def _all(conn: Connection, query: str, parameters: Any) -> list[tuple[Any, ...]]:
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query.encode(), parameters)
        return await cursor.fetchall()
