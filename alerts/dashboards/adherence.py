"""Adherence in SQL, for many patients at once, as the page computes it for one (alerts/feed/adherence.py)."""

# ruff: noqa: S608 - the names in braces are parts of queries; what a person chooses is quoted by Grafana

from __future__ import annotations

from alerts.dashboards.parts import FROM, TEAM, TO, ZONE
from alerts.drawn_limits import rhythm_rows

ADHERENCE_DAYS = 42
"""Of the range, its last six weeks: two years of seven thousand patients would take seconds (bench/history.py)."""

# Days of Europe/Paris, whole ones, those since the plan began; a day counts at most what the plan asks for, a plan that
# asks less often than daily counts days. A day that a planned absence touches asks for nothing, and counts what was
# taken on it.
ADHERENCE = f"""
with usual (protocol, kind, every_hours, expected) as (
    values {rhythm_rows()}),
plan as (
    select distinct on (p.patient) p.* from scad.panel_plan p join scad.panel_patient q using (patient)
     where q.care_team in ({TEAM}) and p.from_at <= {TO} order by p.patient, p.from_at desc, p.version desc),
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
away as (
    select distinct a.patient, d.day at time zone {ZONE} as day
      from scad.panel_absence a
     cross join lateral generate_series(
           (greatest(a.from_at, {FROM}, {TO} - interval '{ADHERENCE_DAYS + 1} days')
            at time zone {ZONE})::date::timestamp,
           (least(a.to_at, {TO}) at time zone {ZONE})::date::timestamp, interval '1 day') d(day)
     where a.from_at <= {TO} and a.to_at >= date_trunc('day', {FROM}, {ZONE})),
gone as (
    select s.patient, s.kind, count(*) as days, sum(least(coalesce(d.n, 0), s.daily)) as unasked
      from span s join away a on a.patient = s.patient and a.day >= s.first and a.day < s.until
      left join scad.reading_daily d on d.patient = s.patient and d.kind = s.kind and d.day = a.day
     group by s.patient, s.kind),
taken as (
    select s.patient, s.every_hours, s.daily, r.done, coalesce(g.unasked, 0) as unasked,
           (s.until at time zone {ZONE})::date - (s.first at time zone {ZONE})::date - coalesce(g.days, 0) as days
      from span s left join gone g using (patient, kind)
     cross join lateral (
           select sum(case when s.every_hours > 24 then 1 else least(d.n, s.daily) end) as done
             from scad.reading_daily d
            where d.patient = s.patient and d.kind = s.kind and d.day >= s.first and d.day < s.until) r
     where s.until > s.first),
share as (
    select patient, avg(least(coalesce(done, 0) / expected, 1))::float8 as share
      from (select patient, done, case when every_hours > 24 then floor(days * 24 / every_hours)
                                       else daily * days + unasked end as expected from taken) t
     where expected > 0
     group by patient)
select tercile, count(*) as "patients", min(share) as "lowest", avg(share) as "mean", max(share) as "highest"
  from (select share, ntile(3) over (order by share, patient) as tercile from share) t
 group by tercile
 order by tercile
"""
