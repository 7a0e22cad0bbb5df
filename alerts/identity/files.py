"""Files of patients: erased, merged where two are one person, split where that was wrong.

A merge moves nothing. Readings, alerts, plans and devices stay with the file (the pseudonym) that they were recorded
in, and a link says that both files are one person, dated from and to; pages show the holder's identity on both. A
split ends the link. So whatever happens in between stands with the person whose device measured it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from alerts.identity.store import Change, IdentityError
from alerts.store.connection import Connection
from devices.times import to_datetime

# What an erasure leaves, and why; the words of `scad identity erase` and of docs/identity.md.
REMAINS = {
    "scad.reading": "readings: the record of care is kept twenty years (code de la santé publique, R. 1112-7)",
    "scad.alert": "alerts, and what was done: the same record",
    "scad.care_plan": "care plans: the same record; their reasons are free text that people wrote",
    "scad.absence": "absences: the same record; their notes are free text",
    "scad.manual_reading": "typed-in values: the same record; their notes are free text",
    "scad.assignment": "which devices the pseudonym had: without it a late reading would be another person's",
}


@dataclass(frozen=True, slots=True)
class Erased:
    """`remains`: table to rows that are left under the pseudonym."""

    patient: str
    remains: dict[str, int]


def remaining(conn: Connection, patient: str, *, as_feed: bool = False) -> dict[str, int]:
    """Table to rows that an erasure leaves. `as_feed`: with the rights of the pages, which read readings by a view."""
    view = {"scad.reading": "scad.my_reading"} if as_feed else {}
    return {table: _count(conn, view.get(table, table), patient) for table in REMAINS}


def erase(conn: Connection, patient: str, change: Change, *, as_feed: bool = False) -> Erased:
    """Destroy a patient's data key, and with it every sealed copy of the identity that is not in an older backup.

    `as_feed`: with the rights of the pages, under which it is a physician's.
    Raises IdentityError: nobody, erased already, no reason, devices still attached, or files merged into this one.
    """
    if not change.why.strip():
        raise IdentityError("an erasure needs a reason: --why", "why")
    with conn.transaction():
        row = conn.execute(
            "select erased_at from identity.person where patient = %s for update", (patient,)
        ).fetchone()
        if row is None:
            raise IdentityError(f"{patient!r} has no identity here", "nobody")
        if row[0] is not None:
            raise IdentityError(f"the identity of {patient} was erased already", "erased")
        if _exists(conn, "identity.link where ended_at is null and %s in (holder, patient)", patient):
            raise IdentityError(
                f"{patient} is merged with another file; split them first, then erase each", "is_merged"
            )
        if _exists(conn, "scad.assignment where patient = %s and to_at is null", patient):
            raise IdentityError(f"{patient} still has a device; release it first, then erase", "has_device")
        conn.execute("delete from identity.former where patient = %s", (patient,))
        conn.execute(
            "update identity.person set sealed = null, wrapped = null, ins_index = null, name_index = null,"
            " group_sex = null, group_age = null, family_name = null, given_names = null, birth_date = null,"
            " sex = null, ins = null, ins_oid = null, phone = null, erased_at = %s where patient = %s",
            (to_datetime(change.at_ms), patient),
        )
        remains = remaining(conn, patient, as_feed=as_feed)
        conn.execute(
            "insert into identity.erasure (patient, erased_at, erased_by, why, remains)"
            " values (%s, %s, %s, %s, %s)",
            (patient, to_datetime(change.at_ms), change.by, change.why, Jsonb(remains)),
        )
    return Erased(patient, remains)


def merge(conn: Connection, patient: str, holder: str, change: Change) -> None:
    """From now on `patient` is shown as the person of `holder`. Raises IdentityError."""
    if not change.why.strip():
        raise IdentityError("a merge needs a reason: --why", "why")
    teams: dict[str, str] = dict(
        conn.execute(
            "select patient, care_team from scad.patient where patient in (%s, %s)", (patient, holder)
        ).fetchall()
    )
    for name in (patient, holder):
        if name not in teams:
            raise IdentityError(f"there is no patient {name!r}", "no_file")
    if patient == holder:
        raise IdentityError("a file cannot be merged into itself", "itself")
    if teams[patient] != teams[holder]:
        raise IdentityError(
            f"{patient} is of team {teams[patient]}, {holder} of {teams[holder]}: whoever sees one would see the"
            " other's name; enrol one into the other's team first",
            "other_team",
        )
    if not _exists(conn, "identity.person where patient = %s and erased_at is null", holder):
        raise IdentityError(
            f"{holder} has no identity; give one (`scad enrol`), or merge the other way round",
            "holder_nobody",
        )
    try:
        with conn.transaction():
            conn.execute(
                "insert into identity.link (patient, holder, linked_at, linked_by, why) values (%s, %s, %s, %s, %s)",
                (patient, holder, to_datetime(change.at_ms), change.by, change.why),
            )
    except psycopg.errors.IntegrityError:
        raise IdentityError(
            f"{patient} or {holder} is merged already; a person's files are all merged into one: split first",
            "is_merged",
        ) from None


@dataclass(frozen=True, slots=True)
class Split:
    """`attached`: (device, file, from) of devices that either file got while they were one: a person must look whose
    they are."""

    holder: str
    attached: list[tuple[str, str, Any]]


def split(conn: Connection, patient: str, change: Change) -> Split:
    """End the link of a file that was merged into another. Raises IdentityError."""
    if not change.why.strip():
        raise IdentityError("a split needs a reason: --why", "why")
    with conn.transaction():
        row = conn.execute(
            "update identity.link set ended_at = %s, ended_by = %s, ended_why = %s"
            " where patient = %s and ended_at is null returning holder, linked_at",
            (to_datetime(change.at_ms), change.by, change.why, patient),
        ).fetchone()
        if row is None:
            raise IdentityError(f"{patient!r} is not merged into another file", "not_merged")
        holder, linked_at = row
        attached = conn.execute(
            "select device, patient, from_at from scad.assignment"
            " where patient in (%s, %s) and from_at >= %s order by from_at, device",
            (patient, holder, linked_at),
        ).fetchall()
    return Split(holder, attached)


def _exists(conn: Connection, what: str, patient: str) -> bool:
    query = f"select 1 from {what} limit 1"  # noqa: S608 - `what` is a text of this module
    return conn.execute(query.encode(), (patient,)).fetchone() is not None


def _count(conn: Connection, table: str, patient: str) -> int:
    row = conn.execute(f"select count(*) from {table} where patient = %s".encode(), (patient,)).fetchone()  # noqa: S608
    return 0 if row is None else int(row[0])
