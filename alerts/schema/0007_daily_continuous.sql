-- needs: community
-- The daily roll-up as a continuous aggregate, behind the view of the other editions: same name, columns and rows.
-- The view is replaced in place, so what was built on it stays when a database is upgraded. Real-time aggregation
-- covers what is not yet materialised. The policy has no start: it refreshes whatever was touched since, however
-- old (on an upgraded database everything, once), so a late reading is in its day's row after a quarter of an
-- hour at most.

create materialized view scad.reading_daily_continuous
    with (timescaledb.continuous, timescaledb.materialized_only = false) as
    select patient, kind, time_bucket('1 day', measured_at, 'Europe/Paris') as day,
           count(*) as n, min(value) as min, max(value) as max, avg(value) as mean,
           last(value, measured_at) as last
      from scad.reading
     where value is not null and marks = '{}'
     group by patient, kind, day
    with no data;
select add_continuous_aggregate_policy('scad.reading_daily_continuous', start_offset => null,
                                       end_offset => interval '1 day', schedule_interval => interval '15 minutes');

create or replace view scad.reading_daily as
    select patient, kind, day, n, min, max, mean, last from scad.reading_daily_continuous;
drop table if exists scad.reading_daily_rows;

-- The writer calls it on every edition; here there is nothing to do.
create or replace function scad.refresh_daily(patients text[], kinds text[], instants timestamptz[]) returns void
language sql as $$ select $$;
