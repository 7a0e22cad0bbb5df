"""A care team: what waits, how fast it is answered, how much there is of it and what comes of it."""

# ruff: noqa: S608 - the names in braces are parts of queries; what a person chooses is quoted by Grafana

from __future__ import annotations

from alerts.dashboards.limits import rhythm_rows
from alerts.dashboards.parts import FROM, TEAM, TO, ZONE, Board, Panel, Sql, page_variable, team_variable

UID = "scad-care-team"
OURS = f"care_team in ({TEAM})"
RAISED = f"{OURS} and class = 'clinical' and $__timeFilter(raised_stored_at)"
DAY = f"date_trunc('day', raised_stored_at, {ZONE})"

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

TO_ACKNOWLEDGE = f"""
select {DAY} as time, severity as metric,
       percentile_cont(0.9) within group (order by extract(epoch from acknowledged_at - raised_stored_at))::float8
       as value
  from scad.panel_alert
 where {RAISED} and acknowledged_at is not null
 group by 1, 2
 order by 1, 2
"""

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
select {DAY} as time, severity as metric,
       100.0 * count(*) / nullif((select count(*) from scad.panel_patient
                                   where {OURS} and enrolled_at <= {TO}), 0) as value
  from scad.panel_alert
 where {RAISED}
 group by 1, 2
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
select {DAY} as time,
       case when e.event = 'inhibited' then 'inhibited' else coalesce(a.suppressed, 'held, since released') end
       as metric, count(*) as value
  from scad.panel_alert a join scad.alert_event e using (alert)
 where {RAISED} and e.event in ('inhibited', 'suppressed')
 group by 1, 2
 order by 1, 2
"""

# As the page computes it (alerts/feed/adherence.py): days of Europe/Paris, a day counts at most what the plan asks
# for, a plan that asks less often than daily counts days. Whole days only; those since the plan began.
ADHERENCE_DAYS = 42
"""Of the range, its last six weeks: two years of seven thousand patients would take seconds (bench/history.py)."""
ADHERENCE = f"""
with usual (protocol, kind, every_hours, expected) as (
    values {rhythm_rows()}),
plan as (
    select distinct on (p.patient) p.* from scad.panel_plan p join scad.panel_patient q using (patient)
     where q.{OURS} and p.from_at <= {TO} order by p.patient, p.from_at desc, p.version desc),
asked as (
    select distinct on (p.patient, u.kind) p.patient, u.kind, p.from_at,
           coalesce((p.schedule -> u.kind ->> 'every_hours')::float8, u.every_hours) as every_hours
      from plan p join usual u on u.protocol = any(p.protocols)
     where p.schedule ? u.kind or u.expected = 'always'
        or (u.expected = 'alone' and not exists (select from usual o where o.protocol = u.protocol
                                                    and p.schedule ? o.kind))
     order by p.patient, u.kind, u.protocol),
span as (
    select *, greatest(date_trunc('day', from_at, {ZONE}), date_trunc('day', {FROM}, {ZONE}),
                     date_trunc('day', {TO} - interval '{ADHERENCE_DAYS} days', {ZONE})) as first,
           date_trunc('day', {TO}, {ZONE}) as until, greatest(round(24 / every_hours), 1) as daily
      from asked),
taken as (
    select s.patient, s.every_hours, s.daily, r.done,
           (s.until at time zone {ZONE})::date - (s.first at time zone {ZONE})::date as days
      from span s cross join lateral (
           select sum(case when s.every_hours > 24 then 1 else least(d.n, s.daily) end) as done
             from scad.reading_daily d
            where d.patient = s.patient and d.kind = s.kind and d.day >= s.first and d.day < s.until) r
     where s.until > s.first),
share as (
    select patient, avg(least(coalesce(done, 0) / expected, 1))::float8 as share
      from (select patient, done, case when every_hours > 24 then floor(days * 24 / every_hours)
                                       else daily * days end as expected from taken) t
     where expected > 0
     group by patient)
select tercile, count(*) as "patients", min(share) as "lowest", avg(share) as "mean", max(share) as "highest"
  from (select share, ntile(3) over (order by share, patient) as tercile from share) t
 group by tercile
 order by tercile
"""


def board(page_url: str) -> Board:
    hour = 3600.0
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
                        "high alerts wait for more than an hour: is anybody on duty? See docs/escalation.md for who "
                        "is told next.",
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
                        "Time to acknowledge",
                        "timeseries",
                        "Nine of ten alerts of a day were acknowledged within this time, by severity.",
                        "high alerts take more than an hour: see the services times and who was on duty that day.",
                        "s",
                        [Sql(TO_ACKNOWLEDGE, "time_series")],
                        ((None, "green"), (hour, "red")),
                        least=0,
                        overrides=by_severity,
                    ),
                    Panel(
                        "Alerts per 100 patients a day",
                        "timeseries",
                        "Clinical alerts raised each day, for 100 enrolled patients, by severity.",
                        "beyond 20 a day nurses stop reading them: look which rule is noisy, and try other limits in "
                        "the preview of the patient's page before changing them.",
                        "short",
                        [Sql(RATE, "time_series")],
                        ((None, "green"), (20, "red")),
                        least=0,
                        overrides=by_severity,
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
                        f"{ADHERENCE_DAYS} days at most), in three groups of the same size.",
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
                        "more is held back than rings: is an absence without end on record, or does one rule repeat "
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
