"""The SQL of the queue: which patients in which order, with what beside their alerts.

A row holds the alerts that stand (scad.queue), and inside them those that a graver one inhibits. Snoozed alerts
have a queue of their own. Every statement carries the condition on care teams, and row-level security a second
one; the synthetic reading's patient is in nobody's queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from alerts import synthetic
from alerts.feed import filters
from alerts.feed.adherence import DAYS, adherence, rhythms
from alerts.feed.database import Connection
from alerts.feed.filters import Filter
from alerts.feed.kinds import CURVE_KINDS
from alerts.feed.models import Adherence, Alert, AlertClass, Counts, OfflineDevice
from alerts.feed.queries import ALERT_COLUMNS
from alerts.feed.viewer import Viewer
from devices.times import from_datetime
from scad.clock import Clock
from streams.protocols import load_published

# People of a team that an alert can be given to; a team that has more is not one.
COLLEAGUES_MAX = 100

_SEEN = f"(%(all)s or p.care_team = any(%(teams)s)) and p.care_team <> '{synthetic.TEAM}'"

_STANDS = """
    a.inhibited_by is null and a.suppressed is null
    and case when %(snoozed)s then a.state = 'snoozed'
             else a.state in ('open', 'escalated', 'acknowledged', 'in-progress') end"""
_LIVE = "a.state in ('open', 'escalated', 'acknowledged', 'in-progress', 'snoozed')"


_library = cache(load_published)


def _who(viewer: Viewer, **more: Any) -> dict[str, Any]:
    return {"all": viewer.sees_all, "teams": list(viewer.teams), **more}


async def patients(
    conn: Connection, viewer: Viewer, class_: AlertClass, chosen: Filter, now: datetime, limit: int
) -> tuple[list[str], int]:
    """The first `limit` patients of the queue in its order, and how many there are.

    Order: the gravest alert, rows in which nobody has taken note of it first, then the time left for it, its
    age, the name. RowView.order says the same for the script.
    """
    result = await conn.execute(
        f"""
        with live as (
            select a.patient, a.opened_at, scad.severity_rank(a.severity) as rank,
                   a.state in ('open', 'escalated') as waiting,
                   case when a.state in ('open', 'escalated') then a.due_at end as due,
                   max(scad.severity_rank(a.severity)) over patient as top,
                   bool_or({filters.SQL}) over patient as wanted
              from scad.alert a join scad.patient p using (patient)
             where {_LIVE} and {_STANDS} and a.class = %(class)s and {_SEEN}
            window patient as (partition by a.patient)
        )
        select patient, count(*) over () as total
          from live where wanted
         group by patient, top
         order by top desc, bool_or(waiting and rank = top) desc,
                  min(due) filter (where rank = top) nulls last,
                  min(opened_at) filter (where rank = top), patient
         limit %(limit)s""",  # noqa: S608 - only constants of this module are put in
        _who(viewer, **chosen.parameters(viewer, now), **{"class": class_, "limit": limit}),
    )
    rows = await result.fetchall()
    return [row["patient"] for row in rows], (rows[0]["total"] if rows else 0)


async def alerts(
    conn: Connection, viewer: Viewer, patients: Sequence[str], snoozed: bool = False
) -> dict[str, tuple[list[Alert], list[Alert]]]:
    """By patient: the alerts that stand (with `snoozed` those that are snoozed), in the order of a row, and those
    that are shown inside one of them. One whose graver alert is not in the row is shown by itself: nothing is lost."""
    result = await conn.execute(
        f"""
        select {ALERT_COLUMNS} from scad.alert a join scad.patient p using (patient)
         where a.patient = any(%(patients)s) and {_LIVE} and ({_SEEN} or p.patient = any(%(glass)s))
           and (a.inhibited_by is not null or ({_STANDS}))""",  # noqa: S608
        _who(viewer, patients=list(patients), snoozed=snoozed, glass=list(viewer.glass)),
    )
    standing: dict[str, list[Alert]] = defaultdict(list)
    inside: dict[str, list[Alert]] = defaultdict(list)
    for row in await result.fetchall():
        alert = Alert.model_validate(row)
        (standing if alert.inhibited_by is None else inside)[alert.patient].append(alert)
    found = {}
    for patient, mine in standing.items():
        names = {alert.alert for alert in mine}
        orphans = [] if snoozed else [a for a in inside[patient] if a.inhibited_by not in names]
        kin = [alert for alert in inside[patient] if alert.inhibited_by in names]
        found[patient] = (
            sorted([*mine, *orphans], key=lambda alert: alert.order),
            sorted(kin, key=lambda alert: alert.order),
        )
    return found


async def counts(conn: Connection, viewer: Viewer, now: datetime) -> Counts:
    """What the header says: of the whole queue, whatever the filter."""
    result = await conn.execute(
        f"""
        select count(*) filter (where a.class = 'clinical' and severity = 'high' and stands) as high,
               count(*) filter (where a.class = 'clinical' and severity = 'medium' and stands) as medium,
               count(*) filter (where a.class = 'clinical' and severity = 'low' and stands) as low,
               count(*) filter (where a.class = 'technical' and stands) as technical,
               count(*) filter (where waiting) as open,
               count(*) filter (where a.class = 'clinical' and severity = 'high' and waiting
                                  and condition = 'raised' and not late) as ringing,
               count(*) filter (where waiting and due_at < %(now)s) as overdue,
               count(*) filter (where state = 'snoozed') as snoozed
          from (select a.*, a.state <> 'snoozed' as stands, a.state in ('open', 'escalated') as waiting
                  from scad.alert a join scad.patient p using (patient)
                 where {_LIVE} and a.inhibited_by is null and a.suppressed is null and {_SEEN}) a""",  # noqa: S608
        _who(viewer, now=now),
    )
    return Counts.model_validate(await result.fetchone())


async def path_check(conn: Connection, clock: Clock) -> synthetic.PathCheck | None:
    """What the last synthetic reading says; None where there is none. Needs the service's role."""
    result = await conn.execute(
        """
        select measured_at, stored_at from scad.reading
         where patient = %s and kind = %s order by measured_at desc limit 1""",
        (synthetic.PATIENT, synthetic.KIND),
    )
    row = await result.fetchone()
    if row is None:
        return None
    return synthetic.check(clock, from_datetime(row["measured_at"]), from_datetime(row["stored_at"]))


async def schedules(
    conn: Connection, patients: Sequence[str], now: datetime
) -> dict[str, tuple[date, dict[str, float]]]:
    """By patient: the first day of the plan in force, and every how many hours each kind is expected."""
    result = await conn.execute(
        """
        select distinct on (patient) patient, (from_at at time zone 'Europe/Paris')::date as begin,
               document
          from scad.care_plan where patient = any(%s) and from_at <= %s
         order by patient, from_at desc, version desc""",
        (list(patients), now),
    )
    return {row["patient"]: (row["begin"], _rhythms(row["document"])) for row in await result.fetchall()}


def _rhythms(document: dict[str, Any]) -> dict[str, float]:
    schedule: dict[str, dict[str, float]] = document.get("schedule") or {}
    asked = {kind: entry["every_hours"] for kind, entry in schedule.items()}
    found = rhythms(document.get("protocols", ()), asked, _library())
    return {kind: hours for kind, hours in found.items() if kind in CURVE_KINDS}


async def adherences(
    conn: Connection, plans: dict[str, tuple[date, dict[str, float]]], now: datetime
) -> dict[str, list[Adherence]]:
    """Of the scheduled measurements how many were taken, by patient."""
    kinds = sorted({kind for _, schedule in plans.values() for kind in schedule})
    if not kinds:
        return {}
    result = await conn.execute(
        """
        select patient, kind, (day at time zone 'Europe/Paris')::date as day, n
          from scad.my_reading_daily
         where patient = any(%(patients)s) and kind = any(%(kinds)s) and day > %(begin)s and day <= %(now)s""",
        {"patients": list(plans), "kinds": kinds, "begin": now - timedelta(days=DAYS + 1), "now": now},
    )
    taken: dict[tuple[str, str], dict[date, int]] = defaultdict(dict)
    for row in await result.fetchall():
        taken[row["patient"], row["kind"]][row["day"]] = row["n"]
    today = await _today(conn, now)
    away = await _away(conn, list(plans), now)
    return {
        patient: [
            adherence(kind, every, begin, today, taken[patient, kind], away[patient])
            for kind, every in schedule.items()
        ]
        for patient, (begin, schedule) in plans.items()
    }


async def _away(conn: Connection, patients: Sequence[str], now: datetime) -> dict[str, set[date]]:
    """By patient: the days of the last fortnight that a planned absence touches."""
    result = await conn.execute(
        """
        select a.patient, d.day::date as day
          from scad.absence a
         cross join lateral generate_series((a.from_at at time zone 'Europe/Paris')::date::timestamp,
                                            (least(a.to_at, %(now)s) at time zone 'Europe/Paris')::date::timestamp,
                                            interval '1 day') d(day)
         where a.patient = any(%(patients)s) and a.from_at <= %(now)s and a.to_at > %(begin)s
           and a.to_at > a.from_at""",
        {"patients": list(patients), "now": now, "begin": now - timedelta(days=DAYS + 1)},
    )
    found: dict[str, set[date]] = defaultdict(set)
    for row in await result.fetchall():
        found[row["patient"]].add(row["day"])
    return found


async def teams(conn: Connection, viewer: Viewer) -> list[dict[str, Any]]:
    """The teams that the viewer may choose among: none where there is one."""
    result = await conn.execute(
        f"""
        select p.care_team, p.name from scad.care_team p where {_SEEN} order by p.name""",  # noqa: S608
        _who(viewer),
    )
    found = await result.fetchall()
    return found if len(found) > 1 else []


async def _today(conn: Connection, now: datetime) -> date:
    result = await conn.execute("select (%s at time zone 'Europe/Paris')::date as day", (now,))
    row = await result.fetchone()
    assert row is not None  # noqa: S101 - a query without a table has one row
    return date.fromisoformat(str(row["day"]))


async def offline(conn: Connection, patients: Sequence[str], now: datetime) -> dict[str, list[OfflineDevice]]:
    """Devices of these patients whose last word was that they are offline."""
    result = await conn.execute(
        """
        select s.patient, s.device, d.model, t.received_at as since
          from scad.assignment s join scad.device d using (device) join scad.device_status t using (device)
         where s.patient = any(%(patients)s) and t.state = 'offline'
           and s.from_at <= %(now)s and (s.to_at is null or s.to_at > %(now)s)
         order by s.patient, s.device""",
        {"patients": list(patients), "now": now},
    )
    found: dict[str, list[OfflineDevice]] = defaultdict(list)
    for row in await result.fetchall():
        found[row["patient"]].append(OfflineDevice.model_validate(row))
    return found


async def colleagues(conn: Connection, viewer: Viewer) -> list[dict[str, Any]]:
    """Who an alert can be given to: nurses and physicians of the viewer's teams, the viewer first."""
    result = await conn.execute(
        """
        select login, display_name from scad.account
         where care_team = any(%(teams)s) and role in ('nurse', 'physician') and disabled_at is null
         order by login <> %(me)s, display_name limit %(max)s""",
        {"teams": list(viewer.teams), "me": viewer.login, "max": COLLEAGUES_MAX},
    )
    return await result.fetchall()
