"""All SQL of the feed that reads or changes alerts. Each function takes a connection and who is looking.

What a person sees is decided here, in the query: every statement that touches a patient carries the
condition on care teams. Pages read in one repeatable-read transaction (alerts.feed.database), so the queue
and the cursor that it hands to the browser are of the same instant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from alerts.feed.database import Connection, vault_in
from alerts.feed.kinds import unit_of
from alerts.feed.models import (
    Alert,
    AlertEvent,
    Device,
    LastReading,
    Person,
    PlanSummary,
    ReadingOut,
)
from alerts.feed.viewer import Viewer
from alerts.identity.vault import reveal
from devices.readings import Reading
from devices.times import from_datetime

# An alert's history page; older ones are reached with `before`.
HISTORY_ALERTS = 50
# Steps shown on a patient's page: some months of an unstable patient.
HISTORY_EVENTS = 200
# The last value is looked for this far back; what is older says "no reading" better than a number.
LAST_VALUE_DAYS = 90
# Freshness is that of the newest readings by measurement: enough that a few late ones do not hide the others.
FRESH_READINGS = 200

_SEEN = "(%(all)s or p.care_team = any(%(teams)s) or p.patient = any(%(glass)s))"

ALERT_COLUMNS = """
    a.alert, a.patient, a.protocol, a.protocol_version, a.rule, a.class, a.severity, a.condition, a.state,
    a.opened_at, a.last_at, a.cleared_at, a.reason, a.late, a.value, a.limit_value as "limit", a.unit,
    a.explanation, a.evidence, a.supersedes, a.superseded_by, a.acknowledged_by, a.acknowledged_at,
    a.assignee, a.started_by, a.started_at, a.snoozed_until, a.snooze_reason, a.outcome, a.false_reason,
    a.closed_by, a.closed_at, a.escalation_level, a.escalated_at, a.due_at, a.outside_hours,
    a.inhibited_by, a.version, a.changed_at,
    (select display_name from scad.account where login = a.acknowledged_by) as acknowledged_name,
    (select display_name from scad.account where login = a.assignee) as assignee_name,
    (select display_name from scad.account where login = a.closed_by) as closed_name
"""

_EVENT = """
    e.id, e.at, e.recorded_at, e.patient, e.alert, a.rule, e.kind, e.event, e.actor,
    (select display_name from scad.account where login = e.actor) as actor_name,
    e.body ->> 'severity' as severity,
    case e.kind when 'action' then e.body
         else jsonb_strip_nulls(jsonb_build_object('reason', e.body -> 'reason', 'value', e.body -> 'value',
                                'limit', e.body -> 'limit', 'unit', e.body -> 'unit')) end as body
"""


def _who(viewer: Viewer, **more: Any) -> dict[str, Any]:
    return {"all": viewer.sees_all, "teams": list(viewer.teams), "glass": list(viewer.glass), **more}


async def cursor(conn: Connection) -> int:
    """The highest event id that is visible; ids become visible in their order (0003_alerts.sql)."""
    result = await conn.execute("select coalesce(max(id), 0) as id from scad.alert_event")
    row = await result.fetchone()
    return int(row["id"]) if row else 0


async def queue_alerts(conn: Connection, viewer: Viewer, patients: Sequence[str]) -> dict[str, list[Alert]]:
    """Standing alerts of these patients, in the order in which a row shows them."""
    result = await conn.execute(
        f"""
        select {ALERT_COLUMNS} from scad.queue a join scad.patient p using (patient)
         where a.patient = any(%(patients)s) and {_SEEN}""",  # noqa: S608
        _who(viewer, patients=list(patients)),
    )
    found: dict[str, list[Alert]] = defaultdict(list)
    for row in await result.fetchall():
        found[row["patient"]].append(Alert.model_validate(row))
    for alerts in found.values():
        alerts.sort(key=lambda alert: alert.order)
    return found


async def persons(conn: Connection, viewer: Viewer, patients: Iterable[str]) -> dict[str, Person]:
    """Who these patients are; those that the viewer may not see are not in the answer.

    A file that was merged into another is shown as the other's person (`holder`).
    """
    result = await conn.execute(
        f"""
        select p.patient, p.care_team, t.name as team_name, t.time_zone, coalesce(l.holder, p.patient) as holder,
               i.family_name, i.given_names, i.birth_date, coalesce(i.sex, 'unknown') as sex, i.phone,
               i.sealed, i.wrapped
          from scad.patient p join scad.care_team t using (care_team)
          left join identity.link l on l.patient = p.patient and l.ended_at is null
          left join identity.person i on i.patient = coalesce(l.holder, p.patient)
         where p.patient = any(%(patients)s) and {_SEEN}""",  # noqa: S608
        _who(viewer, patients=list(patients)),
    )
    vault = vault_in(conn)
    return {
        row["patient"]: Person.model_validate({**row, **reveal(vault, row)})
        for row in await result.fetchall()
    }


async def current_to(conn: Connection, now: datetime) -> datetime | None:
    """When the last reading of any patient was received: the age of everything that the page shows.

    Looks at the newest readings by measurement, which an index gives at once however many there are.
    """
    result = await conn.execute(
        "select scad.newest_received(%s + interval '10 minutes', %s) as at", (now, FRESH_READINGS)
    )
    row = await result.fetchone()
    return row["at"] if row else None


async def last_readings(
    conn: Connection, patients: Sequence[str], kinds: Sequence[str], now: datetime
) -> dict[str, list[LastReading]]:
    """The last value by measurement of each patient and kind, artefacts left out.

    The patients must have come from a query that asked who may see them; so for the two below.
    """
    result = await conn.execute(
        """
        select patient, kind, value, second, measured_at, received_at,
               received_at - measured_at > interval '24 hours' as late
          from scad.last_readings(%(patients)s, %(kinds)s, %(now)s - make_interval(days => %(days)s))
         order by patient, array_position(%(kinds)s::text[], kind)""",
        {"patients": list(patients), "kinds": list(kinds), "now": now, "days": LAST_VALUE_DAYS},
    )
    found: dict[str, list[LastReading]] = defaultdict(list)
    for row in await result.fetchall():
        unit = unit_of(row["kind"])
        found[row["patient"]].append(LastReading.model_validate({**row, "unit": unit}))
    return found


async def buckets(
    conn: Connection, patients: Sequence[str], kinds: Sequence[str], begin: datetime, bucket_s: int
) -> list[dict[str, Any]]:
    """Readings since `begin` gathered into buckets of `bucket_s` seconds, for curves.

    Per patient, kind and bucket: `at` of its last reading, lowest, highest and mean of the main value and of
    the diastolic pressure (second_…), `n`, and whether any arrived more than 24 hours late.
    """
    result = await conn.execute(
        """
        select patient, kind, max(measured_at) as at, count(*) as n,
               min(value) as low, max(value) as high, avg(value) as mean,
               min(second) as second_low, max(second) as second_high, avg(second) as second_mean,
               bool_or(received_at - measured_at > interval '24 hours') as late
          from (select *, ("values" ->> 'diastolic')::float8 as second from scad.my_reading
                 where patient = any(%(patients)s) and kind = any(%(kinds)s) and measured_at >= %(begin)s
                   and marks = '{}' and value is not null) r
         group by patient, kind, floor(extract(epoch from measured_at) / %(bucket_s)s)
         order by patient, kind, at""",
        {"patients": list(patients), "kinds": list(kinds), "begin": begin, "bucket_s": bucket_s},
    )
    return await result.fetchall()


async def kinds_of(conn: Connection, patient: str, begin: datetime) -> list[str]:
    """The kinds of which the patient has readings since `begin`."""
    result = await conn.execute(
        "select distinct kind from scad.my_reading where patient = %s and measured_at >= %s order by kind",
        (patient, begin),
    )
    return [row["kind"] for row in await result.fetchall()]


async def readings(
    conn: Connection, patient: str, kind: str | None, begin: datetime, end: datetime, limit: int
) -> list[ReadingOut]:
    result = await conn.execute(
        """
        select device, epoch, seq, kind, measured_at, received_at, value, "values", flags, context, marks,
               too_late
          from scad.my_reading
         where patient = %(patient)s and (%(kind)s::text is null or kind = %(kind)s)
           and measured_at >= %(begin)s and measured_at < %(end)s
         order by measured_at, device, epoch, seq limit %(limit)s""",
        {"patient": patient, "kind": kind, "begin": begin, "end": end, "limit": limit},
    )
    return [ReadingOut.model_validate(row) for row in await result.fetchall()]


async def devices(conn: Connection, patient: str) -> list[Device]:
    result = await conn.execute(
        """
        select s.device, d.model, s.from_at, s.to_at, t.state, t.battery, t.received_at as status_at
          from scad.assignment s join scad.device d using (device)
          left join scad.device_status t using (device)
         where s.patient = %s order by s.to_at desc nulls first, s.from_at desc limit 20""",
        (patient,),
    )
    return [Device.model_validate(row) for row in await result.fetchall()]


async def plan(conn: Connection, patient: str, now: datetime) -> PlanSummary | None:
    """The version of the care plan that is in force."""
    result = await conn.execute(
        """
        select version, from_at, author, document from scad.care_plan
         where patient = %s and from_at <= %s order by from_at desc, version desc limit 1""",
        (patient, now),
    )
    row = await result.fetchone()
    return PlanSummary.model_validate(row) if row else None


async def alerts(
    conn: Connection,
    viewer: Viewer,
    *,
    patient: str | None = None,
    state: str | None = None,
    rule: str | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = HISTORY_ALERTS,
) -> list[Alert]:
    """Alerts of every state, the latest opened first; only those that come after `before` in this order."""
    at, last = before if before is not None else (None, None)
    result = await conn.execute(
        f"""
        select {ALERT_COLUMNS} from scad.alert a join scad.patient p using (patient)
         where {_SEEN} and (%(patient)s::text is null or a.patient = %(patient)s)
           and (%(state)s::text is null or a.state = %(state)s)
           and (%(rule)s::text is null or a.rule = %(rule)s)
           and (%(at)s::timestamptz is null or (a.opened_at, a.alert) < (%(at)s, %(alert)s::uuid))
         order by a.opened_at desc, a.alert desc limit %(limit)s""",  # noqa: S608
        _who(viewer, patient=patient, state=state, rule=rule, limit=limit, at=at, alert=last),
    )
    return [Alert.model_validate(row) for row in await result.fetchall()]


async def alert(conn: Connection, viewer: Viewer, which: UUID) -> Alert | None:
    result = await conn.execute(
        f"""
        select {ALERT_COLUMNS} from scad.alert a join scad.patient p using (patient)
         where a.alert = %(alert)s and {_SEEN}""",  # noqa: S608
        _who(viewer, alert=which),
    )
    row = await result.fetchone()
    return Alert.model_validate(row) if row else None


async def events(
    conn: Connection, *, patient: str | None = None, which: UUID | None = None, limit: int = HISTORY_EVENTS
) -> list[AlertEvent]:
    """Steps of one alert, or those of a patient's alerts that changed state or severity; the latest first.

    A patient's alert that stands is updated with every reading: a page of those would say nothing.
    """
    column, value = ("alert", which) if which is not None else ("patient", patient)
    result = await conn.execute(
        f"""
        select {_EVENT}
          from (select *, lag(body ->> 'severity') over (partition by alert, kind order by id) as before
                  from scad.my_alert_event where {column} = %(value)s) e
          left join scad.alert a on a.alert = e.alert
         where %(all)s or e.event <> 'updated' or e.before is distinct from e.body ->> 'severity'
         order by e.id desc limit %(limit)s""",  # noqa: S608
        {"value": value, "limit": limit, "all": which is not None},
    )
    return [AlertEvent.model_validate(row) for row in await result.fetchall()]


async def schema_names(conn: Connection) -> set[str]:
    """Names of the migrations that this database has; empty where it has none."""
    result = await conn.execute("select to_regclass('scad.migration') is not null as there")
    row = await result.fetchone()
    if not row or not row["there"]:
        return set()
    result = await conn.execute("select name from scad.migration")
    return {found["name"] for found in await result.fetchall()}


async def room(conn: Connection) -> dict[str, int]:
    """Bytes of this database, connections to its server, and how many it allows, for the metrics."""
    result = await conn.execute(
        "select pg_database_size(current_database()) as size, sum(numbackends)::int as connections,"
        " current_setting('max_connections')::int as most from pg_stat_database"
    )
    found = await result.fetchone()
    if found is None:
        raise RuntimeError("an aggregate without a row: not PostgreSQL?")
    return found


async def open_alert_counts(conn: Connection) -> list[dict[str, Any]]:
    """Standing alerts of all teams by class, severity and state, for the metrics."""
    result = await conn.execute(
        "select class, severity, state, count(*) as n from scad.queue group by class, severity, state"
    )
    return await result.fetchall()


def reading_of(patient: str, row: dict[str, Any]) -> Reading:
    """A row of `scad.my_reading` as what the engine takes."""
    return Reading(
        device=row["device"],
        epoch=row["epoch"],
        seq=row["seq"],
        kind=row["kind"],
        measured_at_ms=from_datetime(row["measured_at"]),
        received_at_ms=from_datetime(row["received_at"]),
        values=row["values"],
        flags=tuple(row["flags"]),
        context=row["context"],
        marks=tuple(row["marks"]),
        offset_min=row["offset_min"],
        patient=patient,
    )
