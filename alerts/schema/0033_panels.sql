-- What Grafana's dashboards read: pseudonyms and numbers. Views with their owner's rights and a barrier, so that the
-- role `grafana` (deploy/grafana/grants.sql) needs no right on the tables: no names, logins, notes or free text, and
-- of a person only the sex and the age group at enrolment. The synthetic reading's patient is in none of them.

create view scad.panel_patient with (security_barrier) as
    select p.patient, p.care_team, p.enrolled_at, coalesce(i.sex, 'unknown') as sex,
           case when i.birth_date is null then 'unknown'
                when age < 50 then 'under 50' when age < 65 then '50-64' when age < 75 then '65-74'
                when age < 85 then '75-84' else '85 and over' end as age_group
      from scad.patient p
      left join identity.person i using (patient)
     cross join lateral (select extract(year from age(p.enrolled_at, i.birth_date)) as age) as at_enrolment
     where p.care_team <> 'synthetic';

create view scad.panel_team with (security_barrier) as
    select care_team, name from scad.care_team where care_team <> 'synthetic';

-- `verdict`: what became of an alert. `false`: marked as a false alert; `acted`: resolved, and something was done;
-- `none`: resolved, and nothing was; null: nobody has judged it (yet), or the patient was not reached.
create view scad.panel_alert with (security_barrier) as
    select a.alert, a.patient, p.care_team, p.sex, p.age_group, a.protocol, a.protocol_version, a.rule, a.class,
           a.severity, a.peak_severity, a.condition, a.state, a.late, a.opened_at, a.last_at, a.cleared_at,
           a.raised_stored_at, a.value, a.limit_value, a.unit, a.acknowledged_at, a.due_at, a.closed_at, a.outcome,
           a.false_reason, a.escalation_level, a.inhibited_by is not null as inhibited, a.suppressed,
           a.state in ('open', 'escalated', 'acknowledged', 'in-progress') and a.inhibited_by is null
               and a.suppressed is null as in_queue,
           case when a.false_reason is not null then 'false'
                when a.outcome = 'no-action' then 'none'
                when a.outcome <> 'unreachable' then 'acted' end as verdict
      from scad.alert a join scad.panel_patient p using (patient)
     where a.state <> 'superseded';

-- Each version of a plan with the time it is in force; not who wrote it.
create view scad.panel_plan with (security_barrier) as
    select c.patient, c.version, c.from_at,
           lead(c.from_at) over (partition by c.patient order by c.from_at, c.version) as to_at,
           (select array_agg(t) from jsonb_array_elements_text(c.document -> 'protocols') t) as protocols,
           (c.document ->> 'dry_weight_kg')::double precision as dry_weight_kg,
           coalesce(c.document -> 'limits', '{}') as limits, coalesce(c.document -> 'schedule', '{}') as schedule
      from scad.care_plan c join scad.panel_patient p using (patient);

-- Devices without their patients: whose a device is, is nobody's matter who looks after the fleet.
create view scad.panel_device with (security_barrier) as
    select d.device, coalesce(d.model, 'unknown') as model, a.device is not null as assigned, p.care_team,
           s.state, s.battery, coalesce(s.firmware, 'unknown') as firmware, s.received_at as status_at
      from scad.device d
      left join scad.assignment a on a.device = d.device and a.to_at is null
      left join scad.patient p using (patient)
      left join scad.device_status s on s.device = d.device
     where coalesce(p.care_team, '') <> 'synthetic';

-- How sure a share is: Wilson's score interval (E. B. Wilson 1927) at 95 %, z = 1.959964. Null where there was no
-- trial.
create function scad.wilson(hits bigint, trials bigint, side integer) returns double precision
language sql immutable parallel safe as $$
    select greatest(0, least(1, (hits + 1.9207295 + side * 1.959964
                                 * sqrt(hits * (trials - hits) / trials::float8 + 0.96036474)) / (trials + 3.841459)))
     where trials > 0
$$;
create function scad.wilson_low(hits bigint, trials bigint) returns double precision
language sql immutable parallel safe as $$ select scad.wilson(hits, trials, -1) $$;
create function scad.wilson_high(hits bigint, trials bigint) returns double precision
language sql immutable parallel safe as $$ select scad.wilson(hits, trials, 1) $$;

-- What the tables take: bytes with indexes and what is out of line, rows as the planner estimates them.
-- `uncompressed`: what the same rows took before compression. 0034 and 0035 say it better where they can.
create function scad.footprint() returns table (relation text, rows_estimate bigint, bytes bigint, uncompressed bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select n.nspname || '.' || c.relname, greatest(c.reltuples, 0)::bigint, s.bytes, s.bytes
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     cross join lateral (select pg_total_relation_size(c.oid) as bytes) s
     where n.nspname in ('scad', 'identity') and c.relkind = 'r'
$$;
revoke execute on function scad.footprint() from public;
