"""Planned absences: in hospital, on holiday. While one lasts, alerts are held back, but for the legal *no
reading* (and, outside a hospital, high clinical ones); what is still true at its end comes back.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec
from psycopg.rows import class_row

from alerts.actions import Connection, resettle

AbsenceKind = Literal["hospital", "holiday", "other"]
SHOWN_MAX = 100  # absences of a patient on a page
KINDS: tuple[AbsenceKind, ...] = get_args(AbsenceKind)

ABSENCE_MAX = timedelta(days=92)
"""Longest absence that can be planned at once: three months. What goes on is recorded again, by somebody who has
looked; one that was forgotten would keep a patient's alerts from the queue for ever."""
BACKDATED_MAX = timedelta(days=35)
"""How far back one may begin: no alert that is still evaluated is older (contract: the horizon)."""


class AbsenceError(ValueError):
    """An absence that cannot be recorded; `refusal` names why: end-needed, too-long, over, unknown, ended."""

    def __init__(self, refusal: str, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal


class PlannedAbsence(msgspec.Struct, frozen=True, kw_only=True):
    """A row of scad.absence."""

    absence: int
    patient: str
    from_at: datetime
    to_at: datetime
    kind: AbsenceKind
    note: str | None
    recorded_by: str
    recorded_at: datetime
    ended_by: str | None
    ended_at: datetime | None


_COLUMNS = "absence, patient, from_at, to_at, kind, note, recorded_by, recorded_at, ended_by, ended_at"
_INSERT = f"""
insert into scad.absence (patient, from_at, to_at, kind, note, recorded_by, recorded_at, begun)
select p.patient, %(from)s, %(to)s, %(kind)s, %(note)s, %(by)s, %(at)s, %(from)s <= %(at)s
  from scad.patient p where p.patient = %(patient)s
returning {_COLUMNS}"""  # noqa: S608 - only this module's columns are put in
_END = f"""
update scad.absence
   set to_at = greatest(from_at, %(at)s), ended_by = %(by)s, ended_at = %(at)s, begun = true
 where absence = %(absence)s and to_at > %(at)s and ended_at is null
returning {_COLUMNS}"""  # noqa: S608
_OF_PATIENT = f"""
select {_COLUMNS} from scad.absence where patient = %s
 order by from_at desc, absence desc limit %s"""  # noqa: S608


async def record(
    conn: Connection,
    patient: str,
    kind: AbsenceKind,
    from_at: datetime,
    to_at: datetime,
    by: str,
    at: datetime,
    note: str | None = None,
) -> PlannedAbsence:
    """Plan an absence from `from_at` (inclusive) to `to_at`; holds standing alerts back at once where it has
    begun. Raises AbsenceError."""
    if to_at <= from_at:
        raise AbsenceError("end-needed", f"the absence ends ({to_at}) before it begins ({from_at})")
    if to_at - from_at > ABSENCE_MAX:
        raise AbsenceError(
            "too-long", f"an absence lasts at most {ABSENCE_MAX.days} days; record it in parts"
        )
    if to_at <= at or from_at < at - BACKDATED_MAX:
        raise AbsenceError("over", f"the absence is over, or began more than {BACKDATED_MAX.days} days ago")
    async with conn.transaction(), conn.cursor(row_factory=class_row(PlannedAbsence)) as cursor:
        await cursor.execute(
            _INSERT,
            {
                "patient": patient,
                "from": from_at,
                "to": to_at,
                "kind": kind,
                "note": note,
                "by": by,
                "at": at,
            },
        )
        found = await cursor.fetchone()
        if found is None:
            raise AbsenceError("unknown", f"there is no patient {patient}")
        await resettle(conn, [patient], at)
    return found


async def end(conn: Connection, absence: int, by: str, at: datetime) -> PlannedAbsence:
    """End an absence now, or take back one that has not begun. Raises AbsenceError."""
    async with conn.transaction(), conn.cursor(row_factory=class_row(PlannedAbsence)) as cursor:
        await cursor.execute(
            _END,
            {"absence": absence, "by": by, "at": at},
        )
        found = await cursor.fetchone()
        if found is None:
            raise AbsenceError("ended", f"absence {absence} is over, was ended before, or is not known")
        await resettle(conn, [found.patient], at)
    return found


async def of_patient(conn: Connection, patient: str) -> list[PlannedAbsence]:
    """All absences of a patient, the latest first."""
    async with conn.cursor(row_factory=class_row(PlannedAbsence)) as cursor:
        await cursor.execute(_OF_PATIENT, (patient, SHOWN_MAX))
        return await cursor.fetchall()
