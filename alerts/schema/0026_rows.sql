-- Who may see which rows: the decision on every table, after all of them are there. A table without a decision here
-- is closed to scad_feed; a later migration opens its own with `call scad.guard_by_patient('scad.x', 'select')`.

-- ── tables about patients ───────────────────────────────────────────────────────────────────────────────────

call scad.guard_by_patient('scad.patient', 'select, insert, update');
call scad.guard_by_patient('identity.person', 'select, insert, update');

do $$
declare
    which regclass;
begin
    -- every other table that names a patient in its rows, but for those that are read through views (below) or
    -- by the writer only
    for which in
        select c.oid from pg_class c join pg_attribute a on a.attrelid = c.oid
         where c.relnamespace = 'scad'::regnamespace and c.relkind = 'r' and a.attname = 'patient'
           and not a.attisdropped and c.relname not in
               ('patient', 'reading', 'alert_event', 'reading_daily_rows', 'signal_cursor')
    loop
        call scad.guard_by_patient(which, 'select, insert, update, delete');
    end loop;
end $$;

-- A device is seen by the team whose patient has or had it, and by everybody while nobody has it.
create function scad.is_free(which text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select not exists (select from scad.assignment a where a.device = which and a.to_at is null)
$$;
call scad.guard('scad.device', 'select, insert, update',
                'device in (select a.device from scad.assignment a) or scad.is_free(device)',
                '(select scad.may_act())');
call scad.guard('scad.device_status', 'select', 'device in (select a.device from scad.assignment a)', 'false');
-- Refused bytes: an engineer sees them all, by serial; whose the device is the engineer does not see.
call scad.guard('scad.quarantine', 'select',
                '(select scad.my_role()) = ''engineer'' or device in (select a.device from scad.assignment a)', 'false');
-- What is to be said on Kafka is written with a change and read by the publisher only.
call scad.guard('scad.outbox', 'insert', 'false', '(select scad.may_act())');

-- ── tables without patients ────────────────────────────────────────────────────────────────────────────────

call scad.guard('scad.care_team', 'select, insert, update', 'true', '(select scad.my_role()) = ''administrator''');
call scad.guard('scad.account', 'delete', '(select scad.my_role()) is not null',
                '(select scad.my_role()) = ''administrator''');
call scad.guard('scad.session', 'delete', '(select scad.my_role()) = ''administrator''',
                '(select scad.my_role()) = ''administrator''');
call scad.guard('scad.second_factor', 'delete', '(select scad.my_role()) = ''administrator''',
                '(select scad.my_role()) = ''administrator''');
call scad.guard('scad.recovery_code', 'delete', '(select scad.my_role()) = ''administrator''',
                '(select scad.my_role()) = ''administrator''');
call scad.guard('scad.access_event', 'select, insert',
                '(select scad.my_role()) in (''administrator'', ''auditor'')', '(select scad.my_role()) is not null');
revoke delete on scad.account from scad_feed;
grant select (login) on scad.session, scad.recovery_code to scad_feed;
grant select (login, created_at, confirmed_at) on scad.second_factor to scad_feed;
grant select on scad.migration to scad_feed, scad_login;

-- Everything of an account but its password's hash, which nobody but the log-in reads.
do $$
declare
    columns text;
begin
    select string_agg(quote_ident(attname), ', ') into columns from pg_attribute
     where attrelid = 'scad.account'::regclass and attnum > 0 and not attisdropped and attname <> 'password_hash';
    execute format('grant select (%s) on scad.account to scad_feed, scad_service', columns);
end $$;
grant insert, update on scad.account to scad_feed;

-- ── the log-in ─────────────────────────────────────────────────────────────────────────────────────────────

grant select, insert, update, delete on scad.session, scad.second_factor, scad.recovery_code to scad_login;
grant select, update on scad.account to scad_login;
grant insert on scad.access_event to scad_login;
do $$
declare
    which regclass;
begin
    foreach which in array array['scad.session', 'scad.second_factor', 'scad.recovery_code', 'scad.account',
                                 'scad.access_event']::regclass[] loop
        execute format('create policy login on %s to scad_login using (true) with check (true)', which);
    end loop;
end $$;

-- ── readings and events: TimescaleDB refuses row-level security on a hypertable with a columnstore ─────────

create view scad.my_reading with (security_barrier) as
    select r.* from scad.reading r
     where (select scad.serves_all()) or r.patient in
           (select p.patient from scad.patient p where p.care_team = any((select scad.my_teams())::text[]));
create view scad.my_reading_daily with (security_barrier) as
    select r.* from scad.reading_daily r
     where (select scad.serves_all()) or r.patient in
           (select p.patient from scad.patient p where p.care_team = any((select scad.my_teams())::text[]));
create view scad.my_alert_event with (security_barrier) as
    select e.* from scad.alert_event e
     where (select scad.serves_all()) or e.patient in
           (select p.patient from scad.patient p where p.care_team = any((select scad.my_teams())::text[]));
grant select on scad.my_reading, scad.my_reading_daily, scad.my_alert_event to scad_feed, scad_service;

-- The last reading of each patient and kind. A view that is a barrier sorts all of a patient's readings to find
-- the last one; this looks into the index, once for each patient that may be seen.
create function scad.last_readings(patients text[], kinds text[], since timestamptz)
returns table (patient text, kind text, value double precision, second double precision,
               measured_at timestamptz, received_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select p.patient, k.kind, r.value, r.second, r.measured_at, r.received_at
      from scad.patient p cross join unnest(kinds) k(kind)
     cross join lateral (
           select d.value, (d."values" ->> 'diastolic')::double precision as second, d.measured_at, d.received_at
             from scad.reading d
            where d.patient = p.patient and d.kind = k.kind and d.marks = '{}' and d.measured_at > since
            order by d.measured_at desc limit 1) r
     where p.patient = any(patients)
       and ((select scad.serves_all()) or p.care_team = any((select scad.my_teams())::text[]))
$$;

-- When the newest of the readings by measurement were received: how old everything is, of no patient in particular.
create function scad.newest_received(until timestamptz, among integer) returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select max(received_at) from (select r.received_at from scad.reading r where r.measured_at <= until
                                   order by r.measured_at desc limit among) newest
$$;

-- Events are written by people too, but only about patients of their own. Their ids are no secret: the highest is
-- the page's cursor.
grant select (id), insert on scad.alert_event to scad_feed;
grant usage, select on scad.alert_event_id_seq to scad_feed, scad_service;
create function scad.alert_event_mine() returns trigger language plpgsql as $$
begin
    if not (scad.is_mine(new.patient) and scad.may_act()) then
        raise exception 'no event may be written about a patient of another team, nor by a role that does not act'
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;
create trigger alert_event_mine before insert on scad.alert_event
    for each row when (not scad.serves_all()) execute function scad.alert_event_mine();

-- ── views and the rest ─────────────────────────────────────────────────────────────────────────────────────

-- A view reads with the rights of its owner unless it says otherwise; then its tables' guards would not count.
do $$
declare
    which record;
begin
    for which in
        select c.oid::regclass as name from pg_class c
         where c.relnamespace = 'scad'::regnamespace and c.relkind = 'v'
           and c.relname not in ('my_reading', 'my_reading_daily', 'my_alert_event', 'reading_daily',
                                'reading_daily_continuous')
    loop
        execute format('alter view %s set (security_invoker = true)', which.name);
        execute format('grant select on %s to scad_feed', which.name);
    end loop;
end $$;

-- The platform itself, for every team: all of scad but secrets. Later tables are its too.
do $$
declare
    which regclass;
begin
    for which in
        select c.oid from pg_class c
         where c.relnamespace = 'scad'::regnamespace and c.relkind in ('r', 'v', 'm')
           and c.relname not in ('account', 'session', 'second_factor', 'recovery_code', 'migration')
    loop
        execute format('grant select, insert, update, delete on %s to scad_service', which);
    end loop;
end $$;
grant select on scad.migration to scad_service;
grant select, insert, update on identity.person to scad_service;
grant usage, select on all sequences in schema scad to scad_feed, scad_service, scad_login;
alter default privileges in schema scad grant select, insert, update, delete on tables to scad_service;
alter default privileges in schema scad grant usage, select on sequences to scad_feed, scad_service;
