"""What has to be done once a day: old readings and old lines of the trail go, the trail is vouched for.

Each part is done whatever became of the others, and all of them may be done again at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import psycopg

from alerts.audit import record, shell_user, store
from alerts.audit.entry import entry
from alerts.identity.keys import MasterKeys
from alerts.store.connection import Connection
from devices.times import to_datetime


class Done(msgspec.Struct, frozen=True):
    """One part: what was done, or in words why it could not be."""

    part: Literal["readings", "trail", "checkpoint"]
    ok: bool
    said: str


def keep_house(conn: Connection, keys: MasterKeys | None, now_ms: int) -> list[Done]:
    """Do all of it, as the owner of the database. The checkpoint comes last and vouches for what is left."""
    parts: list[tuple[Literal["readings", "trail", "checkpoint"], Callable[[], str]]] = [
        ("readings", lambda: retain_readings(conn, now_ms)),
        ("trail", lambda: retain_trail(conn, keys, now_ms)),
        ("checkpoint", lambda: vouch(conn, keys, now_ms)),
    ]
    found = []
    for part, work in parts:
        try:
            found.append(Done(part, True, work()))
        except psycopg.OperationalError:
            raise  # the database is away: nothing more can be done
        except (store.TrailError, psycopg.Error) as error:
            found.append(Done(part, False, str(error).strip()))
    return found


def retain_readings(conn: Connection, now_ms: int, keep: str | None = None) -> str:
    """Delete readings and quarantine entries that are older than they must be kept. `keep`: of readings, instead of
    what table scad.retention says."""
    now = to_datetime(now_ms)
    row = conn.execute(
        "select scad.apply_retention(coalesce(%s::interval, (select r.keep from scad.retention r"
        " where r.data = 'reading')), %s), scad.forget_quarantine(%s)",
        (keep, now, now),
    ).fetchone()
    readings, entries = row or (0, 0)
    return (
        f"deleted: {readings} (chunks of readings, or rows on plain PostgreSQL), {entries} quarantine entries"
    )


def retain_trail(conn: Connection, keys: MasterKeys | None, now_ms: int) -> str:
    """Delete the trail's lines that were kept their time; that is on record. Raises TrailError: it has a fault."""
    gone = store.retain(conn, keys, now_ms)
    if gone:
        record(conn, entry(now_ms, shell_user(), "audit-retain", about=f"{gone} lines"))
    return f"deleted: {gone} lines"


def vouch(conn: Connection, keys: MasterKeys | None, now_ms: int) -> str:
    """A checkpoint of the trail: LINE:HASH, to be kept where the database's owner cannot write."""
    made = store.checkpoint(conn, keys, now_ms)
    return "the trail is empty" if made is None else f"{made[0]}:{made[1].hex()}"
