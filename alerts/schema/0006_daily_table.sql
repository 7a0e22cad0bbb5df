-- without: community
-- Daily roll-up per patient and kind where continuous aggregates are not to be had: a table that the writer
-- brings up to date for the days it touched (alerts.store calls scad.refresh_daily after each batch). The
-- community edition's view of the same name gives the same rows; tests compare both with a direct query.
-- A day is one of Europe/Paris. Readings that failed an artefact gate do not count, nor kinds without a number.

create table scad.reading_daily_rows (
    patient  text not null,
    kind     text not null,
    day      timestamptz not null,
    n        bigint not null,
    min      double precision not null,
    max      double precision not null,
    mean     double precision not null,
    last     double precision not null,
    primary key (patient, kind, day)
);
create view scad.reading_daily as
    select patient, kind, day, n, min, max, mean, last from scad.reading_daily_rows;

-- Bring the given days up to date; the arrays are parallel and name an instant of each day. A day is computed
-- anew from its readings (at most 288 a kind): adding to a mean would depend on the order of arrival.
-- The lock per patient lets a second writer see the first one's rows before it computes.
create function scad.refresh_daily(patients text[], kinds text[], instants timestamptz[]) returns void
language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtext('scad.reading_daily'), hashtext(p))
       from (select distinct p from unnest(patients) as p order by p) as locked;
    insert into scad.reading_daily_rows (patient, kind, day, n, min, max, mean, last)
    select d.patient, d.kind, d.day, count(*), min(r.value), max(r.value), avg(r.value),
           (array_agg(r.value order by r.measured_at desc, r.device desc, r.epoch desc, r.seq desc, r.digest desc))[1]
      from (select distinct p as patient, k as kind, date_trunc('day', i, 'Europe/Paris') as day
              from unnest(patients, kinds, instants) as touched(p, k, i)) as d
      join scad.reading r on r.patient = d.patient and r.kind = d.kind
           and r.measured_at >= d.day
           and r.measured_at < date_trunc('day', d.day + interval '26 hours', 'Europe/Paris')
     where r.value is not null and r.marks = '{}'
     group by d.patient, d.kind, d.day
    on conflict (patient, kind, day) do update
       set n = excluded.n, min = excluded.min, max = excluded.max, mean = excluded.mean, last = excluded.last;
end $$;

select scad.refresh_daily(array_agg(patient), array_agg(kind), array_agg(measured_at))
  from (select distinct patient, kind, date_trunc('day', measured_at, 'Europe/Paris') as measured_at
          from scad.reading) as existing
having count(*) > 0;
