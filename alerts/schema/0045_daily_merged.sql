-- without: community
-- A batch is merged into the roll-up of its days, instead of reading those days again: a live glucose sensor's day has
-- up to 288 readings, and was read anew with each of them. What readers see stays the same, at the same instant. The
-- sum is kept as numeric, so that a mean does not depend on the order in which readings came. A day is still computed
-- from its readings where the row does not suffice: two last readings of one instant, or a row older than this file.

alter table scad.reading_daily_rows
    add column total    numeric,
    add column last_at  timestamptz;
comment on column scad.reading_daily_rows.total is 'sum of the values; null in a row that was made before it existed';
comment on column scad.reading_daily_rows.last_at is 'when `last` was measured';

create or replace function scad.refresh_daily(patients text[], kinds text[], instants timestamptz[]) returns void
language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtext('scad.reading_daily'), hashtext(p))
       from (select distinct p from unnest(patients) as p order by p) as locked;
    insert into scad.reading_daily_rows (patient, kind, day, n, min, max, mean, last, total, last_at)
    select d.patient, d.kind, d.day, count(*), min(r.value), max(r.value),
           sum(r.value::numeric)::double precision / count(*),
           (array_agg(r.value order by r.measured_at desc, r.device desc, r.epoch desc, r.seq desc, r.digest desc))[1],
           sum(r.value::numeric), max(r.measured_at)
      from (select distinct p as patient, k as kind, date_trunc('day', i, 'Europe/Paris') as day
              from unnest(patients, kinds, instants) as touched(p, k, i)) as d
      join scad.reading r on r.patient = d.patient and r.kind = d.kind
           and r.measured_at >= d.day
           and r.measured_at < date_trunc('day', d.day + interval '26 hours', 'Europe/Paris')
     where r.value is not null and r.marks = '{}'
     group by d.patient, d.kind, d.day
    on conflict (patient, kind, day) do update
       set n = excluded.n, min = excluded.min, max = excluded.max, mean = excluded.mean, last = excluded.last,
           total = excluded.total, last_at = excluded.last_at;
end $$;

-- Bring the days of these new readings up to date; the arrays are parallel. The readings must stand in scad.reading
-- already, must count (a value, no mark), and must be given once. The lock per patient is the one of refresh_daily.
create function scad.merge_daily(
    patients text[], kinds text[], instants timestamptz[], amounts double precision[]
) returns void language plpgsql as $$
declare
    again record;
begin
    perform pg_advisory_xact_lock(hashtext('scad.reading_daily'), hashtext(p))
       from (select distinct p from unnest(patients) as p order by p) as locked;
    with fresh as (
        select p as patient, k as kind, date_trunc('day', i, 'Europe/Paris') as day, count(*) as n,
               min(v) as min, max(v) as max, sum(v::numeric) as total, max(i) as last_at,
               (array_agg(v order by i desc))[1] as last, (array_agg(i order by i desc))[2] as last_but_one_at
          from unnest(patients, kinds, instants, amounts) as given(p, k, i, v)
         group by 1, 2, 3
    ), known as (
        select f.*, f.last_but_one_at is not distinct from f.last_at
                    or r.patient is not null and (r.last_at is null or r.last_at = f.last_at) as unclear
          from fresh f left join scad.reading_daily_rows r using (patient, kind, day)
    ), merged as (
        insert into scad.reading_daily_rows as r (patient, kind, day, n, min, max, mean, last, total, last_at)
        select patient, kind, day, n, min, max, total::double precision / n, last, total, last_at
          from known where not unclear
        on conflict (patient, kind, day) do update
           set n = r.n + excluded.n, min = least(r.min, excluded.min), max = greatest(r.max, excluded.max),
               mean = (r.total + excluded.total)::double precision / (r.n + excluded.n),
               last = case when excluded.last_at > r.last_at then excluded.last else r.last end,
               total = r.total + excluded.total, last_at = greatest(r.last_at, excluded.last_at)
    )
    select array_agg(patient) as patients, array_agg(kind) as kinds, array_agg(day) as days into again
      from known where unclear;
    if again.patients is not null then
        perform scad.refresh_daily(again.patients, again.kinds, again.days);
    end if;
end $$;
