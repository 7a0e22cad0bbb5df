"""SQL of the patient's page and of the ward's forms. Patients come from queries.persons, which asks who may
see them; row-level security asks again (views scad.my_…)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from alerts.absence import PlannedAbsence, of_patient
from alerts.feed import queries
from alerts.feed.api import MissingError
from alerts.feed.database import Connection
from alerts.feed.models import Person
from alerts.feed.viewer import Viewer
from devices.readings import Reading
from devices.times import from_datetime, to_datetime
from streams.plans import PlanVersion

VERSIONS_MAX = 50  # of one plan's history on a page; a plan that is changed weekly fills it in a year
MANUAL_MAX = 20
NOTES_MAX = 20
SPARSE = 4
"""Readings of one kind and day that the timeline shows one by one; more are one line of the day."""
READING_LINES_MAX = 400  # lines of readings in one window of the timeline: 14 days of ten kinds with a margin
EVENT_LINES_MAX = 300
INR_TESTS_MAX = 60  # more than a year of weekly tests


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One row of scad.care_plan. `plan` is None for a document that this release cannot read."""

    number: int
    from_at: datetime
    recorded_at: datetime
    author: str
    reason: str
    recorded_by: str | None
    proposed_by: str | None
    plan: PlanVersion | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A version that waits for a physician."""

    id: int
    base: int
    plan: PlanVersion
    reason: str
    proposed_by: str
    proposed_login: str
    proposed_at: datetime


async def person(conn: Connection, viewer: Viewer, patient: str) -> Person:
    """Who the patient is. Raises MissingError when there is none that the viewer may see."""
    found = await queries.persons(conn, viewer, [patient]) if "\x00" not in patient else {}
    if patient not in found:
        raise MissingError("patient")
    return found[patient]


async def teams(conn: Connection, viewer: Viewer) -> list[dict[str, Any]]:
    """The care teams whose patients the viewer may enrol."""
    result = await conn.execute(
        "select care_team, name, time_zone from scad.care_team where care_team = any(%s) order by name",
        (list(viewer.teams),),
    )
    return await result.fetchall()


async def versions(conn: Connection, patient: str) -> list[StoredVersion]:
    """The versions of the patient's plan, the newest first."""
    result = await conn.execute(
        """
        select c.version, c.from_at, c.recorded_at, c.author, c.reason, c.document,
               coalesce(r.display_name, c.recorded_by) as recorded_by,
               coalesce(p.display_name, c.proposed_by) as proposed_by
          from scad.care_plan c left join scad.account r on r.login = c.recorded_by
          left join scad.account p on p.login = c.proposed_by
         where c.patient = %s order by c.version desc limit %s""",
        (patient, VERSIONS_MAX),
    )
    return [
        StoredVersion(
            row["version"],
            row["from_at"],
            row["recorded_at"],
            row["author"],
            row["reason"],
            row["recorded_by"],
            row["proposed_by"],
            plan_of(row["document"]),
        )
        for row in await result.fetchall()
    ]


def plan_of(document: Any) -> PlanVersion | None:
    """A stored document as a version; None for one that this release cannot read."""
    try:
        return msgspec.convert(document, PlanVersion)
    except msgspec.ValidationError:
        return None


def in_force(found: Sequence[StoredVersion], now_ms: int) -> StoredVersion | None:
    """Of versions (newest first) the one that holds now: the latest `from` that has come."""
    begun = [v for v in found if from_datetime(v.from_at) <= now_ms]
    return max(begun, key=lambda v: (v.from_at, v.number), default=None)


async def proposal(conn: Connection, patient: str) -> Proposal | None:
    """The proposal that waits."""
    result = await conn.execute(
        """
        select p.id, p.base, p.document, p.reason, p.proposed_by, p.proposed_at,
               coalesce(a.display_name, p.proposed_by) as name
          from scad.plan_proposal p left join scad.account a on a.login = p.proposed_by
         where p.patient = %s and p.state = 'open'""",
        (patient,),
    )
    row = await result.fetchone()
    plan = plan_of(row["document"]) if row else None
    if row is None or plan is None:
        return None
    return Proposal(
        row["id"], row["base"], plan, row["reason"], row["name"], row["proposed_by"], row["proposed_at"]
    )


async def stored_readings(
    conn: Connection, patient: str, kinds: Sequence[str], begin_ms: int, limit: int
) -> list[Reading]:
    """The patient's last `limit` readings of these kinds measured since `begin_ms`, the newest first."""
    result = await conn.execute(
        """
        select measured_at, device, epoch, seq, kind, "values", flags, context, marks, offset_min, received_at
          from scad.my_reading where patient = %s and kind = any(%s) and measured_at >= %s
         order by measured_at desc limit %s""",
        (patient, list(kinds), to_datetime(begin_ms), limit),
    )
    return [queries.reading_of(patient, row) for row in await result.fetchall()]


async def reading_lines(
    conn: Connection, patient: str, begin: datetime, end: datetime, time_zone: str
) -> list[dict[str, Any]]:
    """Readings of a window for the timeline: one by one where a day of a kind has few, else one row a day.

    Columns: kind, at, n, low, high, value, second, device, flags, marks, received_at, late; for a day's row
    `n` is more than one and device, flags and marks are of its last reading.
    """
    result = await conn.execute(
        """
        with found as (
            select kind, measured_at, received_at, value, ("values" ->> 'diastolic')::float8 as second, device,
                   flags, marks, "values", (measured_at at time zone %(zone)s)::date as day,
                   received_at - measured_at > interval '24 hours' as late,
                   count(*) over (partition by kind, (measured_at at time zone %(zone)s)::date) as of_day
              from scad.my_reading
             where patient = %(patient)s and measured_at >= %(begin)s and measured_at < %(end)s
        )
        select kind, measured_at as at, 1 as n, value as low, value as high, value, second, device, flags, marks,
               received_at, late, case when kind in ('symptoms', 'implant-report') then "values" end as answers
          from found where of_day <= %(sparse)s
        union all
        select kind, max(measured_at), count(*), min(value) filter (where marks = '{}'),
               max(value) filter (where marks = '{}'), avg(value) filter (where marks = '{}'), null, max(device),
               '{}', '{}', max(received_at), bool_or(late), null
          from found where of_day > %(sparse)s group by kind, day
         order by at desc limit %(limit)s""",
        {
            "patient": patient,
            "begin": begin,
            "end": end,
            "zone": time_zone,
            "sparse": SPARSE,
            "limit": READING_LINES_MAX,
        },
    )
    return await result.fetchall()


async def event_lines(conn: Connection, patient: str, begin: datetime, end: datetime) -> list[dict[str, Any]]:
    """Steps of a window: signals that changed state or severity, and everything that people did."""
    result = await conn.execute(
        """
        select e.id, e.at, e.recorded_at, e.alert, coalesce(a.rule, e.body ->> 'rule') as rule, e.kind, e.event,
               e.actor, coalesce(c.display_name, e.actor) as who, e.body
          from (select *, lag(body ->> 'severity') over (partition by alert, kind order by id) as before
                  from scad.my_alert_event where patient = %(patient)s) e
          left join scad.alert a on a.alert = e.alert
          left join scad.account c on c.login = e.actor
         where e.at >= %(begin)s and e.at < %(end)s
           and (e.kind = 'action' or e.event <> 'updated' or e.before is distinct from e.body ->> 'severity')
         order by e.at desc, e.id desc limit %(limit)s""",
        {"patient": patient, "begin": begin, "end": end, "limit": EVENT_LINES_MAX},
    )
    return await result.fetchall()


async def notes(conn: Connection, patient: str) -> list[dict[str, Any]]:
    """What people wrote about the patient, alone or with an action, the latest first."""
    result = await conn.execute(
        """
        select e.at, e.event, coalesce(c.display_name, e.actor) as who, e.body ->> 'note' as note
          from scad.my_alert_event e left join scad.account c on c.login = e.actor
         where e.patient = %s and e.kind = 'action' and e.event not like 'plan-%%'
           and coalesce(e.body ->> 'note', '') <> ''
         order by e.id desc limit %s""",
        (patient, NOTES_MAX),
    )
    return await result.fetchall()


async def names(conn: Connection, logins: Iterable[str | None]) -> dict[str, str]:
    """How people are called, by login; somebody without an account keeps the login."""
    known = sorted({login for login in logins if login})
    result = await conn.execute(
        "select login, display_name from scad.account where login = any(%s)", (known,)
    )
    return dict.fromkeys(known, "") | {row["login"]: row["display_name"] for row in await result.fetchall()}


async def absences(conn: Connection, patient: str) -> list[PlannedAbsence]:
    """The patient's absences, the latest first, with names in the place of logins."""
    found = await of_patient(conn, patient)
    called = await names(conn, [login for one in found for login in (one.recorded_by, one.ended_by)])
    return [
        msgspec.structs.replace(
            one,
            recorded_by=called.get(one.recorded_by) or one.recorded_by,
            ended_by=one.ended_by and (called.get(one.ended_by) or one.ended_by),
        )
        for one in found
    ]


async def manual_values(conn: Connection, patient: str) -> list[dict[str, Any]]:
    """Typed-in values, the latest first, with what became of them: `stored`, `refused` (`reason`), `waiting`."""
    result = await conn.execute(
        """
        select m.seq, m.kind, m.measured_at, m."values", m.note, m.entered_at, q.reason, q.detail,
               coalesce(c.display_name, m.entered_by) as who,
               case when r.device is not null then 'stored' when q.id is not null then 'refused'
                    else 'waiting' end as fate
          from scad.manual_reading m
          left join scad.account c on c.login = m.entered_by
          left join lateral (select device from scad.my_reading r
                              where r.patient = m.patient and r.kind = m.kind and r.measured_at = m.measured_at
                                and r.device = m.device and r.seq = m.seq limit 1) r on true
          left join lateral (select id, reason, detail from scad.quarantine q
                              where q.device = m.device and q.seq = m.seq and q.state <> 'resolved' limit 1) q on true
         where m.patient = %s order by m.entered_at desc, m.seq desc limit %s""",
        (patient, MANUAL_MAX),
    )
    return await result.fetchall()


async def inr_tests(conn: Connection, patient: str) -> list[dict[str, Any]]:
    """INR results without artefacts, in order of measurement: measured_at, value, device, flags."""
    result = await conn.execute(
        """
        select measured_at, value, device, seq, flags from scad.my_reading
         where patient = %s and kind = 'inr' and marks = '{}' and value is not null
         order by measured_at desc limit %s""",
        (patient, INR_TESTS_MAX),
    )
    return (await result.fetchall())[::-1]


async def inr_decisions(conn: Connection, patient: str) -> list[dict[str, Any]]:
    """What physicians decided about the next test, the latest first."""
    result = await conn.execute(
        """
        select e.at, e.body, coalesce(c.display_name, e.actor) as who
          from scad.my_alert_event e left join scad.account c on c.login = e.actor
         where e.patient = %s and e.kind = 'action' and e.event = 'inr-decided' order by e.id desc limit 20""",
        (patient,),
    )
    return await result.fetchall()


async def bled_since(conn: Connection, patient: str, since: datetime) -> datetime | None:
    """When the patient last answered that there was bleeding, since the instant."""
    result = await conn.execute(
        """
        select max(measured_at) as at from scad.my_reading
         where patient = %s and kind = 'symptoms' and measured_at >= %s
           and "values" -> 'bleeding' = 'true'::jsonb""",
        (patient, since),
    )
    row = await result.fetchone()
    return row["at"] if row else None
