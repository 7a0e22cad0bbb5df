"""A care team: what waits, how fast it is answered, how much there is of it and what comes of it."""

# ruff: noqa: S608 - the names in braces are parts of queries; what a person chooses is quoted by Grafana

from __future__ import annotations

from alerts.dashboards.adherence import ADHERENCE, ADHERENCE_DAYS
from alerts.dashboards.parts import FROM, TEAM, TO, ZONE, Board, Panel, Sql, page_variable, team_variable

UID = "scad-care-team"
OURS = f"care_team in ({TEAM})"
RAISED = f"{OURS} and class = 'clinical' and $__timeFilter(raised_stored_at)"
DAY = f"date_trunc('day', raised_stored_at, {ZONE})"

# Days with nothing are rows as well: a line from one day with alerts to the next would tell of days between.
EVERY_DAY = f"""select generate_series(({FROM} at time zone {ZONE})::date::timestamp,
                           ({TO} at time zone {ZONE})::date::timestamp,
                           interval '1 day') at time zone {ZONE} as day"""

SEVERITY_ORDER = "array_position(array['high', 'medium', 'low'], severity)"

OPEN = f"""
select severity, count(*) as "waiting"
  from scad.panel_alert
 where {OURS} and class = 'clinical' and in_queue
 group by severity
 order by {SEVERITY_ORDER}
"""

AGES = f"""
select case when age < interval '1 hour' then '1: under 1 h' when age < interval '4 hours' then '2: 1 to 4 h'
            when age < interval '1 day' then '3: 4 to 24 h' when age < interval '3 days' then '4: 1 to 3 days'
            else '5: over 3 days' end as "age",
       count(*) filter (where severity = 'high') as "high",
       count(*) filter (where severity = 'medium') as "medium",
       count(*) filter (where severity = 'low') as "low"
  from scad.panel_alert cross join lateral (select {TO} - raised_stored_at as age) a
 where {OURS} and class = 'clinical' and in_queue and raised_stored_at <= {TO}
 group by 1
 order by 1
"""


def _nine_of_ten(of: str, which: str) -> str:
    """By day and severity, of the acknowledged alerts; null for a day without one, so that no line is drawn over it."""
    return f"""
with took as (
    select {DAY} as day, severity, percentile_cont(0.9) within group (order by {of})::float8 as value
      from scad.panel_alert
     where {RAISED} and acknowledged_at is not null and {which}
     group by 1, 2)
select d.day as time, s.severity as metric, t.value
  from ({EVERY_DAY}) d
 cross join (select distinct severity from took) s
  left join took t on t.day = d.day and t.severity = s.severity
 order by 1, 2
"""


TO_ACKNOWLEDGE = _nine_of_ten("extract(epoch from acknowledged_at - raised_stored_at)", "true")

# One is the service time: what is due when depends on the severity and on the team's hours (alerts/service_times.py).
OF_SERVICE_TIME = _nine_of_ten(
    "extract(epoch from acknowledged_at - raised_stored_at) / extract(epoch from due_at - raised_stored_at)",
    "due_at > raised_stored_at",
)

IN_TIME = f"""
select severity, avg(coalesce(answered <= due_at, false)::int)::float8 as "in time"
  from (select severity, state, due_at, least(acknowledged_at, closed_at) as answered
          from scad.panel_alert
         where {RAISED} and due_at <= {TO}) due
 where answered is not null or state in ('open', 'escalated')
 group by severity
 order by {SEVERITY_ORDER}
"""

RATE = f"""
with counted as (
    select {DAY} as day, coalesce(severity, 'all') as line, count(*) as n
      from scad.panel_alert
     where {RAISED}
     group by grouping sets (({DAY}, severity), ({DAY})))
select d.day as time, s.line as metric,
       100.0 * coalesce(c.n, 0) / nullif((select count(*) from scad.panel_patient
                                           where {OURS} and enrolled_at <= {TO}), 0) as value
  from ({EVERY_DAY}) d
 cross join (select distinct line from counted) s
  left join counted c on c.day = d.day and c.line = s.line
 order by 1, 2
"""

ACTED = f"""
select count(*) filter (where verdict = 'acted')::float8 / nullif(count(verdict), 0) as "led to an action"
  from scad.panel_alert
 where {RAISED}
"""

JUDGED = f"""
select count(verdict)::float8 / nullif(count(*), 0) as "judged"
  from scad.panel_alert
 where {RAISED} and state in ('resolved', 'false-alert', 'cleared')
"""

# Patients first: to count the different ones of each rule in one step, all alerts are sorted.
NOISY_RULES = f"""
with mine as (
    select protocol, rule, patient, count(*) as alerts, count(verdict) as judged,
           count(*) filter (where verdict = 'false') as untrue,
           count(*) filter (where inhibited or suppressed is not null) as held
      from scad.panel_alert
     where {RAISED}
     group by protocol, rule, patient)
select protocol, rule, sum(alerts)::bigint as "alerts", count(*) as "patients",
       sum(untrue)::float8 / nullif(sum(judged), 0)::float8 as "false", sum(held)::bigint as "held back"
  from mine
 group by protocol, rule
 order by "alerts" desc, protocol, rule
 limit 10
"""

NOISY_PATIENTS = f"""
select patient, count(*) as "alerts", count(*) filter (where peak_severity = 'high') as "high",
       count(*) filter (where verdict = 'false') as "false", max(raised_stored_at) as "last"
  from scad.panel_alert
 where {RAISED}
 group by patient
 order by "alerts" desc, patient
 limit 10
"""

# Each time that an alert was kept from the queue is an event of it; why, stands on the alert while it holds.
KEPT_BACK = f"""
with counted as (
    select {DAY} as day,
           case when e.event = 'inhibited' then 'inhibited' else coalesce(a.suppressed, 'held, since released') end
           as cause, count(*) as n
      from scad.panel_alert a join scad.alert_event e using (alert)
     where {RAISED} and e.event in ('inhibited', 'suppressed')
     group by 1, 2)
select d.day as time, s.cause as metric, coalesce(c.n, 0) as value
  from ({EVERY_DAY}) d
 cross join (select distinct cause from counted) s
  left join counted c on c.day = d.day and c.cause = s.cause
 order by 1, 2
"""


def board(page_url: str) -> Board:
    by_severity = {name: {"color": {"mode": "fixed", "fixedColor": color}} for name, color in
                   (("high", "red"), ("medium", "orange"), ("low", "blue"))}  # fmt: skip
    return Board(
        uid=UID,
        title="Care team",
        says="What waits, how fast it is answered, how much there is of it, what comes of it. Clinical alerts.",
        since="now-14d",
        variables=[team_variable(), page_variable(page_url)],
        links=[("The queue", "${page}")],
        rows=[
            (
                "Now",
                [
                    Panel(
                        "Waiting in the queue",
                        "bargauge",
                        "Clinical alerts that stand in the queue now, by severity.",
                        "more wait than one nurse can call in a morning: open the queue, the high ones first; if it "
                        "stays so for days, look at *Noisiest rules*.",
                        "short",
                        [Sql(OPEN)],
                        ((None, "green"), (20, "orange"), (50, "red")),
                        width=8,
                        least=0,
                    ),
                    Panel(
                        "How long they have waited",
                        "barchart",
                        "Alerts in the queue by the time since the platform knew of them.",
                        "nothing here turns red. Where high alerts wait for more than an hour: is anybody on duty? See "
                        "docs/escalation.md for who is told next.",
                        "short",
                        [Sql(AGES)],
                        width=10,
                        least=0,
                        overrides=by_severity,
                    ),
                    Panel(
                        "Acknowledged within the service time",
                        "bargauge",
                        "Of the alerts whose service time has run out within the range, the share that somebody had "
                        "acknowledged or closed by then.",
                        "answers come too late: compare the hours in which alerts come with those of the team "
                        "(`scad service-times`), or lengthen the chain of escalation.",
                        "percentunit",
                        [Sql(IN_TIME)],
                        ((None, "red"), (0.8, "orange"), (0.95, "green")),
                        width=6,
                        least=0,
                        most=1,
                    ),
                ],
            ),
            (
                "How fast, how much",
                [
                    Panel(
                        "Time to acknowledge against the service time",
                        "timeseries",
                        "Nine of ten alerts of a day were acknowledged within this share of their service time, by "
                        "severity; a service time runs in the team's hours and depends on the severity.",
                        "more than one in ten alerts of that day was answered too late: see the service times "
                        "(`scad service-times`) and who was on duty.",
                        "percentunit",
                        [Sql(OF_SERVICE_TIME, "time_series")],
                        ((None, "green"), (1, "red")),
                        width=8,
                        least=0,
                        overrides=by_severity,
                    ),
                    Panel(
                        "Time to acknowledge",
                        "timeseries",
                        "Nine of ten alerts of a day were acknowledged within this time, by severity.",
                        "nothing here turns red: what is too long depends on the severity and the hours, and stands "
                        "in the panel beside.",
                        "s",
                        [Sql(TO_ACKNOWLEDGE, "time_series")],
                        width=8,
                        least=0,
                        overrides=by_severity,
                    ),
                    Panel(
                        "Alerts per 100 patients a day",
                        "timeseries",
                        "Clinical alerts raised each day, for 100 enrolled patients: all, and by severity.",
                        "beyond 20 a day (all severities) nurses stop reading them: look which rule is noisy, and try "
                        "other limits in the preview of the patient's page before changing them.",
                        "short",
                        [Sql(RATE, "time_series")],
                        ((None, "green"), (20, "red")),
                        width=8,
                        least=0,
                        overrides={
                            **by_severity,
                            "all": {"color": {"mode": "fixed", "fixedColor": "purple"}},
                        },
                    ),
                ],
            ),
            (
                "What comes of it",
                [
                    Panel(
                        "Led to an action",
                        "stat",
                        "Of the alerts that somebody judged, the share that was resolved with something done (not "
                        "*no action*, not a false alert).",
                        "most alerts are for nothing: see *Protocol quality* for which rules, and change their limits.",
                        "percentunit",
                        [Sql(ACTED)],
                        ((None, "red"), (0.3, "orange"), (0.5, "green")),
                        width=6,
                    ),
                    Panel(
                        "Judged at all",
                        "stat",
                        "Share of the ended alerts for which an outcome was put on record.",
                        "the other figures rest on few alerts: ask the team to resolve with an outcome.",
                        "percentunit",
                        [Sql(JUDGED)],
                        ((None, "red"), (0.3, "orange"), (0.6, "green")),
                        width=6,
                    ),
                    Panel(
                        "Adherence by tercile",
                        "table",
                        "Patients ordered by the share of scheduled measurements they took within the range (its last "
                        f"{ADHERENCE_DAYS} days at most), in three groups of the same size. Days of a planned absence "
                        "are not asked for.",
                        "the lowest third takes less than half: these patients are not watched; call them, or agree "
                        "on another schedule.",
                        "percentunit",
                        [Sql(ADHERENCE)],
                        ((None, "red"), (0.5, "orange"), (0.8, "green")),
                        units={"tercile": "none", "patients": "short"},
                        overrides={"lowest": TEXT, "mean": TEXT, "highest": TEXT},
                    ),
                    Panel(
                        "Kept from the queue, by cause",
                        "timeseries",
                        "How often an alert was kept from the queue, by the day it was raised: inhibited (inside a "
                        "graver one of the same problem), refractory (soon after it was closed), absence (the patient "
                        "is away), or held for one of the last two and released since. All stay in the patient's file.",
                        "a hundred a day for one cause: is an absence without end on record, or does one rule repeat "
                        "itself? See *Noisiest rules*, column *held back*, and *why* on the patient's page.",
                        "short",
                        [Sql(KEPT_BACK, "time_series")],
                        ((None, "green"), (100, "red")),
                        least=0,
                    ),
                    Panel(
                        "Noisiest rules",
                        "table",
                        "The ten rules with the most clinical alerts in the range.",
                        "more than half of a rule's judged alerts are false: open *Protocol quality* for it.",
                        "short",
                        [Sql(NOISY_RULES)],
                        ((None, "green"), (0.5, "red")),
                        units={"false": "percentunit"},
                        overrides={"false": TEXT},
                        links={
                            "rule": (
                                "Protocol quality",
                                "/d/scad-protocol-quality?var-protocol=${__data.fields.protocol}",
                            )
                        },
                    ),
                    Panel(
                        "Noisiest patients",
                        "table",
                        "The ten patients with the most clinical alerts in the range.",
                        "more than ten alerts of one patient: the limits do not fit; give the patient own ones.",
                        "short",
                        [Sql(NOISY_PATIENTS)],
                        ((None, "green"), (10, "red")),
                        overrides={"alerts": TEXT},
                        units={"last": "dateTimeAsLocal"},
                        links={"patient": ("Patient", "/d/scad-patient?var-patient=${__value.raw}")},
                    ),
                ],
            ),
        ],
    )


TEXT = {"custom.cellOptions": {"type": "color-text"}}
