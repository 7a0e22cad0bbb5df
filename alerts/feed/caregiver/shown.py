"""What a caregiver sees, read from the views that show nothing beyond the access (alerts/schema/0055_caregiver.sql)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from alerts.feed.adherence import DAYS, adherence, rhythms
from alerts.feed.curves import BUCKETS, Curve, points_of
from alerts.feed.database import Connection, vault_in
from alerts.feed.formats import DAY_MS
from alerts.feed.kinds import CURVE_KINDS, unit_of
from alerts.feed.models import Adherence, Explanation, LastReading
from alerts.feed.ward.plans import library
from devices.times import to_datetime

CURVE_DAYS = 30
ALERTS_SHOWN = 20  # of the last ALERT_DAYS: a page that somebody reads to its end
ALERT_DAYS = 30
LAST_DAYS = 90  # a value that is older is no news


@dataclass(frozen=True, slots=True)
class CaredAlert:
    """A sentence of the rules; `lasts`: the condition holds still; `seen`: the team has taken note of it."""

    opened_at: datetime
    explanation: Explanation
    lasts: bool
    seen: bool


@dataclass(slots=True)
class Care:
    """One patient's page. What the scope leaves out is None."""

    access: str
    name: str | None
    team_name: str
    time_zone: str
    until: datetime | None
    readings: list[tuple[LastReading, Curve | None]] | None = None
    alerts: list[CaredAlert] | None = None
    kept: list[Adherence] | None = None


async def care(conn: Connection, now_ms: int) -> Care | None:
    """What the viewer's access shows now; None when there is none (any more)."""
    row = await (await conn.execute("select * from scad.my_care()")).fetchone()
    if row is None:
        return None
    now = to_datetime(now_ms)
    found = Care(row["access"], _name(conn, row), row["team_name"], row["time_zone"], row["until"])
    if row["readings"]:
        found.readings = await _readings(conn, now_ms)
    if row["alerts"]:
        found.alerts = await _alerts(conn, now)
    if row["adherence"]:
        found.kept = await _kept(conn, now)
    return found


def _name(conn: Connection, row: dict[str, Any]) -> str | None:
    """Given and family name; nothing else of the sealed identity leaves this function."""
    vault = vault_in(conn)
    if vault is None or row["sealed"] is None:
        return None
    traits = vault.open(row["patient"], row["sealed"], row["wrapped"])
    return f"{traits.given_names} {traits.family_name}"


async def _readings(conn: Connection, now_ms: int) -> list[tuple[LastReading, Curve | None]]:
    """The last value of each kind, and its curve where there are readings lately."""
    begin_ms = now_ms - CURVE_DAYS * DAY_MS
    result = await conn.execute(
        """
        select distinct on (patient, kind) patient, kind, value, second, measured_at, received_at,
               received_at - measured_at > interval '24 hours' as late
          from scad.cared_reading where measured_at > %s
         order by patient, kind, measured_at desc""",
        (to_datetime(now_ms - LAST_DAYS * DAY_MS),),
    )
    last = {
        row["kind"]: LastReading.model_validate({**row, "unit": unit_of(row["kind"])})
        for row in await result.fetchall()
    }
    result = await conn.execute(
        """
        select patient, kind, max(measured_at) as at, count(*) as n,
               min(value) as low, max(value) as high, avg(value) as mean,
               min(second) as second_low, max(second) as second_high, avg(second) as second_mean,
               false as late
          from scad.cared_reading where measured_at >= %(begin)s
         group by patient, kind, floor(extract(epoch from measured_at) / %(bucket_s)s)
         order by kind, at""",
        {"begin": to_datetime(begin_ms), "bucket_s": CURVE_DAYS * DAY_MS // 1000 // BUCKETS},
    )
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in await result.fetchall():
        groups[row["kind"]].append(row)
    curves = {
        kind: Curve(kind, begin_ms, now_ms, points_of(rows), points_of(rows, second=True))
        for kind, rows in groups.items()
    }
    return [(last[kind], curves.get(kind)) for kind in CURVE_KINDS if kind in last]


async def _alerts(conn: Connection, now: datetime) -> list[CaredAlert]:
    """What lasts, and what began in the last ALERT_DAYS, the latest first."""
    result = await conn.execute(
        """
        select patient, opened_at, explanation, lasts, seen from scad.cared_alert
         where opened_at > %s or lasts order by lasts desc, opened_at desc, alert limit %s""",
        (now - timedelta(days=ALERT_DAYS), ALERTS_SHOWN),
    )
    return [
        CaredAlert(
            row["opened_at"], Explanation.model_validate(row["explanation"]), row["lasts"], row["seen"]
        )
        for row in await result.fetchall()
    ]


async def _kept(conn: Connection, now: datetime) -> list[Adherence]:
    """Of the expected measurements how many were taken, as the team's page counts them."""
    result = await conn.execute(
        """
        select patient, (from_at at time zone 'Europe/Paris')::date as begin, protocols, schedule,
               (%(now)s::timestamptz at time zone 'Europe/Paris')::date as today
          from scad.cared_plan where from_at <= %(now)s order by from_at desc, version desc limit 1""",
        {"now": now},
    )
    plan = await result.fetchone()
    if plan is None:
        return []
    asked = {kind: entry["every_hours"] for kind, entry in (plan["schedule"] or {}).items()}
    expected = rhythms(plan["protocols"] or (), asked, library())
    taken: dict[str, dict[date, int]] = defaultdict(dict)
    result = await conn.execute(
        "select patient, kind, day, n from scad.cared_day where day > %s",
        (plan["today"] - timedelta(days=DAYS + 1),),
    )
    for row in await result.fetchall():
        taken[row["kind"]][row["day"]] = row["n"]
    away = await _away(conn, now)
    found = [
        adherence(kind, hours, plan["begin"], plan["today"], taken[kind], away)
        for kind, hours in expected.items()
        if kind in CURVE_KINDS
    ]
    return [one for one in found if one.expected]


async def _away(conn: Connection, now: datetime) -> set[date]:
    """The days of the last fortnight that a planned absence touches."""
    result = await conn.execute(
        """
        select a.patient, d.day::date as day
          from scad.cared_absence a
         cross join lateral generate_series((a.from_at at time zone 'Europe/Paris')::date::timestamp,
                                            (least(a.to_at, %(now)s) at time zone 'Europe/Paris')::date::timestamp,
                                            interval '1 day') d(day)
         where a.from_at <= %(now)s and a.to_at > %(begin)s and a.to_at > a.from_at""",
        {"now": now, "begin": now - timedelta(days=DAYS + 1)},
    )
    return {row["day"] for row in await result.fetchall()}
