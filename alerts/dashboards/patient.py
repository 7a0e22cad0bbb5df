"""One patient: each measurement with the personal limits and what is usual, alerts, gaps, late data."""

# ruff: noqa: S608 - the names in braces are parts of queries; what a person chooses is quoted by Grafana

from __future__ import annotations

from alerts.dashboards.parts import (
    FROM,
    PATIENT,
    TEAM,
    TO,
    ZONE,
    AlertMarks,
    Board,
    Panel,
    Sql,
    chosen,
    page_variable,
    team_variable,
)
from alerts.drawn_limits import limit_rows

UID = "scad-patient"
KIND = "${kind:sqlstring}"
RAW_DAYS = 90
"""Up to here readings are drawn one by one (a glucose sensor: 26,000), beyond it the days' means."""

OF_KIND = f"patient = {PATIENT} and kind = {KIND}"

MEASURED = f"""
select measured_at as time, value as "measured"
  from scad.reading
 where {OF_KIND} and $__timeFilter(measured_at) and value is not null and marks = '{{}}'
   and {TO} - {FROM} <= interval '{RAW_DAYS} days'
union all
select day, mean
  from scad.reading_daily
 where {OF_KIND} and $__timeFilter(day) and {TO} - {FROM} > interval '{RAW_DAYS} days'
 order by 1
"""

DIASTOLIC = f"""
select measured_at as time, ("values" ->> 'diastolic')::float8 as "diastolic"
  from scad.reading
 where {OF_KIND} and {KIND} = 'blood-pressure' and $__timeFilter(measured_at) and marks = '{{}}'
 order by 1
"""

# The day itself is not part of what is usual on it; half a day's slack, because a day in spring has 23 hours.
USUAL = f"""
with days as (
    select day, avg(mean) over w as middle, stddev_samp(mean) over w as spread, count(*) over w as n
      from scad.reading_daily
     where {OF_KIND} and day >= {FROM} - interval '29 days' and day <= {TO}
    window w as (order by day range between interval '28 days 12 hours' preceding
                                        and interval '12 hours' preceding))
select day as time, middle - 2 * spread as "usual, low", middle + 2 * spread as "usual, high"
  from days
 where n >= 7 and $__timeFilter(day)
 order by 1
"""

LIMITS = f"""
with drawn (protocol, rule, label, kind, standard, names) as (
    values {limit_rows()}),
lines as (
    select greatest(p.from_at, {FROM}) as begins, least(p.to_at - interval '1 second', {TO}) as ends, d.label,
           case d.rule when 'dry-weight' then p.dry_weight_kg else 0 end
           + coalesce((select (p.limits -> d.protocol -> d.rule ->> n)::float8
                         from unnest(d.names) with ordinality as named(n, i)
                        where p.limits -> d.protocol -> d.rule ->> n is not null order by i limit 1),
                      d.standard) as level
      from scad.panel_plan p join drawn d on d.kind = {KIND} and d.protocol = any(p.protocols)
     where p.patient = {PATIENT} and p.from_at < {TO} and coalesce(p.to_at > {FROM}, true))
select begins as time, label as metric, level as value from lines where level is not null
union all
select ends, label, level from lines where level is not null
 order by 1, 2
"""

# The rule compares with the earlier weights of three days before, and those may lie before the range.
GAIN = f"""
with mine as (
    select measured_at, value, (measured_at at time zone {ZONE})::date as day
      from scad.reading
     where {OF_KIND} and kind = 'body-weight' and marks = '{{}}' and value is not null
       and measured_at between {FROM} - interval '4 days' and {TO} and {TO} - {FROM} <= interval '{RAW_DAYS} days')
select r.measured_at as time,
       l.lowest + coalesce((p.limits -> 'heart-failure' -> 'weight-gain-3d' ->> 'limit')::float8,
                           (p.limits -> 'heart-failure' -> 'weight-gain-3d' ->> 'high')::float8, 2.0)
       as "gain in 3 days, limit"
  from mine r
  join scad.panel_plan p on p.patient = {PATIENT} and r.measured_at >= p.from_at
       and coalesce(r.measured_at < p.to_at, true) and 'heart-failure' = any(p.protocols)
 cross join lateral (select min(o.value) as lowest from mine o
                      where o.measured_at < r.measured_at and o.day >= r.day - 3) l
 where $__timeFilter(r.measured_at) and l.lowest is not null
 order by 1
"""

PER_DAY = f"""
select day as time, n as "readings"
  from scad.reading_daily
 where {OF_KIND} and $__timeFilter(day)
 order by 1
"""

# Two readings of one instant are no gap, so their order does not matter. Long ranges show each day's longest.
_AT = f"""case when {TO} - {FROM} <= interval '{RAW_DAYS} days' then measured_at
            else date_trunc('day', measured_at, {ZONE}) end"""

# With the last reading before the range: a gap that began before it counts.
GAPS = f"""
with mine as (
    select measured_at from scad.reading where {OF_KIND} and $__timeFilter(measured_at)
    union all
    (select measured_at from scad.reading where {OF_KIND} and measured_at < {FROM} order by measured_at desc limit 1))
select {_AT} as time, extract(epoch from max(gap))::float8 as "since the one before"
  from (select measured_at, measured_at - lag(measured_at) over (order by measured_at) as gap from mine) r
 where $__timeFilter(measured_at)
 group by 1
 order by 1
"""

DELAY = f"""
select {_AT} as time, extract(epoch from max(received_at - measured_at))::float8 as "on the way"
  from scad.reading
 where {OF_KIND} and $__timeFilter(measured_at)
 group by 1
 order by 1
"""

SILENCE = f"""
select extract(epoch from {TO} - max(measured_at))::float8 as "since the last"
  from scad.reading
 where {OF_KIND} and measured_at <= {TO}
"""

LATE = f"""
select avg((received_at - measured_at > interval '24 hours')::int)::float8 as "late"
  from scad.reading
 where {OF_KIND} and $__timeFilter(measured_at)
"""

ALERTS = f"""
select opened_at as "opened", cleared_at as "over", protocol, rule, severity, state, value, limit_value as "limit",
       unit, coalesce(verdict, 'not judged') as verdict
  from scad.panel_alert
 where patient = {PATIENT} and opened_at <= {TO} and coalesce(cleared_at >= {FROM}, true)
 order by opened_at desc, rule
"""

PLANS = f"""
select version, from_at as "from", to_at as "to", array_to_string(protocols, ', ') as protocols,
       dry_weight_kg as "dry weight", limits::text as "own limits"
  from scad.panel_plan
 where patient = {PATIENT} and from_at <= {TO} and coalesce(to_at > {FROM}, true)
 order by version desc
"""

MARKS = f"""
select opened_at as time, cleared_at as timeend, rule || ' (' || severity || ')' as text,
       protocol || ',' || severity as tags
  from scad.panel_alert
 where patient = {PATIENT} and class = '%s' and opened_at <= {TO} and coalesce(cleared_at >= {FROM}, true)
 order by 1
"""

CALL = "open the patient's page (link above) and do what the alert's card says"


def board(page_url: str) -> Board:
    measurement = Panel(
        "Measurement, limits and what is usual",
        "timeseries",
        "Every reading (beyond 90 days the days' means) with the limits of the care plan in force, the patient's own "
        "where the plan has them; *usual* is the mean of the 28 days before, two standard deviations up and down, "
        "from seven days on. Alerts are marked. A line is broken where a reading is missing.",
        f"nothing here turns red by itself; a red mark is a high alert: {CALL}.",
        "none",
        [
            Sql(MEASURED, "time_series", "A"),
            Sql(DIASTOLIC, "time_series", "B"),
            Sql(USUAL, "time_series", "C"),
            Sql(LIMITS, "time_series", "D"),
            Sql(GAIN, "time_series", "E"),
        ],
        width=24,
        height=12,
        overrides={
            "measured": {"custom.showPoints": "always", "custom.insertNulls": 36 * 3_600_000},
            "diastolic": {"custom.showPoints": "always", "custom.insertNulls": 36 * 3_600_000},
            "usual, high": {
                "custom.fillBelowTo": "usual, low",
                "custom.lineWidth": 0,
                "custom.fillOpacity": 15,
            },
            "usual, low": {"custom.lineWidth": 0},
        },
    )
    day = 86_400.0
    return Board(
        uid=UID,
        title="Patient",
        says="One patient's measurements, limits, alerts, gaps and late data. A pseudonym, never a name.",
        since="now-30d",
        variables=[
            team_variable(),
            chosen(
                "patient",
                "Patient",
                "The pseudonym, as in the address of the patient's page.",
                f"select patient from scad.panel_patient where care_team in ({TEAM}) order by 1",
            ),
            chosen(
                "kind",
                "Measurement",
                "Kinds that this patient has readings of.",
                f"select distinct kind from scad.reading_daily where patient = {PATIENT} order by 1",
            ),
            page_variable(page_url),
        ],
        annotations=[
            AlertMarks("Clinical alerts", MARKS % "clinical", "red"),
            AlertMarks("Technical alerts", MARKS % "technical", "purple"),
        ],
        links=[("The patient's page", "${page}patients/${patient}")],
        rows=[
            ("Measurement", [measurement]),
            (
                "Is the picture complete?",
                [
                    Panel(
                        "Since the last reading",
                        "stat",
                        "Time from the last reading of this kind to the end of the range.",
                        "call the patient, or look whether the device speaks at all (dashboard Fleet, Silent devices).",
                        "s",
                        [Sql(SILENCE)],
                        ((None, "green"), (1.5 * day, "orange"), (3 * day, "red")),
                        width=6,
                    ),
                    Panel(
                        "Received more than a day late",
                        "stat",
                        "Share of the readings in the range that came more than 24 hours after they were measured.",
                        "the device or its telephone is often offline: ask about reception where it is used.",
                        "percentunit",
                        [Sql(LATE)],
                        ((None, "green"), (0.05, "orange"), (0.2, "red")),
                        width=6,
                    ),
                    Panel(
                        "Readings a day",
                        "timeseries",
                        "How many readings fit for use each day had. A day without one is a gap.",
                        "nothing here turns red; a gap of days is a matter for a call.",
                        "short",
                        [Sql(PER_DAY, "time_series")],
                        least=0,
                        overrides={"readings": {"custom.drawStyle": "bars", "custom.fillOpacity": 60}},
                    ),
                    Panel(
                        "Gaps",
                        "timeseries",
                        "Time from one reading to the next; beyond 90 days the longest of each day.",
                        "beyond 36 hours a daily measurement was missed: was the alert *no reading* answered?",
                        "s",
                        [Sql(GAPS, "time_series")],
                        ((None, "green"), (1.5 * day, "red")),
                        least=0,
                    ),
                    Panel(
                        "Time on the way",
                        "timeseries",
                        "From measured to received: seconds when the device is online, hours or days when it emptied "
                        "its memory. Beyond 90 days the longest of each day.",
                        "beyond 14 days (glucose, heart rhythm) or 35 days (all others) a reading is stored but not "
                        "evaluated: have the device connected more often.",
                        "s",
                        [Sql(DELAY, "time_series")],
                        ((None, "green"), (day, "orange"), (14 * day, "red")),
                        overrides={"on the way": {"custom.drawStyle": "points"}},
                    ),
                ],
            ),
            (
                "Alerts and plan",
                [
                    Panel(
                        "Alerts",
                        "table",
                        "Alerts that stood within the range, the newest first.",
                        f"a red line is a high alert: {CALL}.",
                        "none",
                        [Sql(ALERTS)],
                        width=24,
                        overrides={"severity": SEVERITY_COLORS},
                    ),
                    Panel(
                        "Care plans",
                        "table",
                        "Versions of the care plan in force within the range, with the patient's own limits.",
                        "nothing here turns red; limits are changed on the patient's page.",
                        "none",
                        [Sql(PLANS)],
                        width=24,
                        height=6,
                        units={"dry weight": "masskg"},
                    ),
                ],
            ),
        ],
    )


SEVERITY_COLORS = {
    "custom.cellOptions": {"type": "color-text"},
    "mappings": [
        {
            "type": "value",
            "options": {
                name: {"color": color, "index": index}
                for index, (name, color) in enumerate(
                    (("high", "red"), ("medium", "orange"), ("low", "blue"))
                )
            },
        }
    ],
}
