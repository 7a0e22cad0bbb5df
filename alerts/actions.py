"""People's actions on alerts, in the database; and what time itself does.

Each function belongs in the caller's transaction: it locks the patients, decides (alerts.lifecycle), settles
what hides what (alerts.inhibition), writes the rows, and appends the events last. Two people at once go one
after the other; the second meets what the first has made and is told who it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row, tuple_row

from alerts.lifecycle import CLOCK, Action, ActionRequest, Decided, Refused, decide
from alerts.row import AlertRow, Consequence
from alerts.store.rows import (
    APPEND,
    LOAD,
    SURROUNDINGS,
    UPSERT,
    Work,
    append_parameters,
    count_suppressions,
    entry,
    from_record,
    load_parameters,
    surroundings,
    to_records,
)
from devices.times import from_datetime, to_datetime

Connection = psycopg.AsyncConnection[Any]

BULK_MAX = 200
"""Alerts of one call: four pages of fifty. All are locked until the end, so nobody else acts on them."""
BULK_ACTIONS: frozenset[Action] = frozenset({"acknowledge", "note", "assign"})
"""What may be done to many at once: nothing that closes or hides an alert, which wants a look at each."""
PATIENTS_AT_ONCE = 100
"""Patients whom one call of `pass_time` brings up to date: a transaction of well under a second."""

_PATIENTS = "select alert::text, patient from scad.alert where alert = any(%s::uuid[])"
_ASSIGNABLE = """
select p.patient from scad.patient p join scad.account c on c.login = %(to)s
 where p.patient = any(%(patients)s) and c.disabled_at is null and c.role in ('nurse', 'physician')
   and c.care_team = p.care_team"""
_DUE = """
select patient from scad.alert where snoozed_until <= %(at)s and state = 'snoozed'
 union select patient from scad.alert
        where suppressed_until <= %(at)s and state in ('open', 'escalated', 'acknowledged', 'in-progress', 'snoozed')
 union select patient from scad.absence where not begun and from_at <= %(at)s
 order by 1 limit %(limit)s"""
_BEGUN = "update scad.absence set begun = true where not begun and from_at <= %s and patient = any(%s)"


@dataclass(frozen=True, slots=True)
class Done:
    """The alert after the action. `event` is the name of the event that was appended."""

    alert: UUID
    event: str
    row: AlertRow


async def act(conn: Connection, which: UUID, request: ActionRequest, by: str, at: datetime) -> Done | Refused:
    """Do `request` to one alert. Refused("unknown") where there is none that this connection may see."""
    return (await act_on_all(conn, [which], request, by, at))[which]


async def act_in_bulk(
    conn: Connection,
    alerts: Sequence[UUID],
    request: ActionRequest,
    by: str,
    at: datetime,
    versions: Mapping[UUID, int] | None = None,
) -> dict[UUID, Done | Refused]:
    """Do `request` to each alert, with what became of each; never to a high one. `versions`: those that were seen,
    of alerts that have changed since it is not done.

    Raises ValueError for more than BULK_MAX alerts.
    """
    if len(alerts) > BULK_MAX:
        raise ValueError(f"{len(alerts)} alerts at once; {BULK_MAX} are allowed, send them in parts")
    if request.action not in BULK_ACTIONS:
        return {which: Refused(refusal="not-in-bulk") for which in alerts}
    return await act_on_all(conn, alerts, request, by, at, bulk=True, versions=versions)


async def act_on_all(
    conn: Connection,
    alerts: Sequence[UUID],
    request: ActionRequest,
    by: str,
    at: datetime,
    *,
    bulk: bool = False,
    versions: Mapping[UUID, int] | None = None,
) -> dict[UUID, Done | Refused]:
    """What `act` does, for several alerts in one transaction."""
    at_ms = from_datetime(at)
    async with conn.transaction():
        names = [str(which) for which in alerts]
        patients = dict(await _fetch(conn, _PATIENTS, (names,)))
        work = await _begin(conn, names, sorted(set(patients.values())), at_ms)
        assignable = await _assignable(conn, request, sorted(set(patients.values())))
        results: dict[UUID, Done | Refused] = {}
        for which in dict.fromkeys(alerts):
            row = work.rows.get(str(which))
            if row is None:
                results[which] = Refused(refusal="unknown")
            elif bulk and row.severity == "high":
                results[which] = Refused(refusal="high-in-bulk")
            elif row.patient not in assignable:
                results[which] = Refused(refusal="unknown-assignee")
            else:
                seen = (versions or {}).get(which, request.version)
                wanted = msgspec.structs.replace(request, version=seen)
                results[which] = _apply(work, which, wanted, by, at_ms)
        await _finish(conn, work, at_ms)
    return results


async def resettle(conn: Connection, patients: Iterable[str], at: datetime) -> None:
    """Bring what hides what up to date, after something other than an alert has changed (an absence)."""
    at_ms = from_datetime(at)
    async with conn.transaction():
        work = await _begin(conn, [], sorted(set(patients)), at_ms)
        await _finish(conn, work, at_ms)


async def pass_time(conn: Connection, at: datetime) -> int:
    """Do what is due at `at`: snoozes end, alerts that were held back come out, absences begin.

    Returns how many patients it concerned, at most PATIENTS_AT_ONCE; call it again until it says 0. Needs a
    connection that sees every team. Any number of processes may call it.
    """
    at_ms = from_datetime(at)
    async with conn.transaction():
        found = await _fetch(conn, _DUE, {"at": at, "limit": PATIENTS_AT_ONCE})
        patients = [patient for (patient,) in found]
        if not patients:
            return 0
        work = await _begin(conn, [], patients, at_ms)
        for row in list(work.rows.values()):
            if row.state == "snoozed" and row.snoozed_until is not None and row.snoozed_until <= at_ms:
                _apply(work, UUID(row.alert), ActionRequest(action="wake"), CLOCK, at_ms)
        await conn.execute(_BEGUN, (at, patients))
        await _finish(conn, work, at_ms)
    return len(patients)


def _apply(work: Work, which: UUID, request: ActionRequest, by: str, at_ms: int) -> Done | Refused:
    row = work.rows[str(which)]
    decided = decide(row, request, by, at_ms)
    if not isinstance(decided, Decided):
        return decided
    work.rows[row.alert] = decided.row
    work.consequences.append(Consequence(row.patient, row.alert, decided.event, decided.body, by))
    return Done(which, decided.event, decided.row)


async def _begin(conn: Connection, alerts: Sequence[str], patients: Sequence[str], at_ms: int) -> Work:
    """The patients' locks, then their rows as they are under them."""
    if not patients:
        return Work({}, {}, at_ms)
    await conn.execute("select scad.lock_patients(%s)", (list(patients),))
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(LOAD, load_parameters(alerts, patients, at_ms))
        rows = {row.alert: row for row in map(from_record, await cursor.fetchall())}
        await cursor.execute(SURROUNDINGS, {"patients": list(patients), "now": to_datetime(at_ms)})
        return Work(rows, surroundings(await cursor.fetchall()), at_ms)


async def _finish(conn: Connection, work: Work, at_ms: int) -> None:
    rows = work.finish()
    if rows:
        await conn.execute(UPSERT.encode(), (to_records(rows),))
    if work.consequences:
        count_suppressions(work.consequences)
        entries = [entry(consequence, at_ms) for consequence in work.consequences]
        await conn.execute(APPEND, append_parameters(entries, at_ms))


async def _assignable(conn: Connection, request: ActionRequest, patients: Sequence[str]) -> set[str]:
    """The patients to whose team the assignee belongs; all of them where nobody is to be assigned."""
    if request.action != "assign" or not request.to:
        return set(patients)
    found = await _fetch(conn, _ASSIGNABLE, {"to": request.to, "patients": list(patients)})
    return {patient for (patient,) in found}


async def _fetch(conn: Connection, query: str, parameters: Any) -> list[tuple[Any, ...]]:
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query.encode(), parameters)
        return await cursor.fetchall()


__all__ = ["BULK_ACTIONS", "BULK_MAX", "Done", "act", "act_in_bulk", "pass_time", "resettle"]
