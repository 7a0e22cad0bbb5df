-- Breaking the glass: a nurse or physician sees one patient of another team, for an hour, and says why
-- (docs/audit.md). Seeing is all it opens: what is written stays with the patient's own team.

create table scad.glass (
    id           bigint generated always as identity primary key,
    patient      text not null references scad.patient,
    login        text not null references scad.account,
    reason       text not null check (length(btrim(reason)) >= 10),
    opened_at    timestamptz not null default now(),
    expires_at   timestamptz not null,
    closed_at    timestamptz,
    reviewed_by  text,
    reviewed_at  timestamptz,
    review_note  text not null default '',
    check (expires_at > opened_at and expires_at <= opened_at + interval '1 hour'),
    check ((reviewed_by is null) = (reviewed_at is null))
);
create index glass_open on scad.glass (login, expires_at) where closed_at is null;
create index glass_unreviewed on scad.glass (opened_at) where reviewed_at is null;

-- Patients whom this transaction may see though they are another team's. The database's own clock decides: an hour
-- is an hour, also where the feed's clock is a demonstration's.
create function scad.my_glass() returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce((
        select array_agg(g.patient) from scad.glass g, scad.my_account() a
         where g.login = a.login and a.role in ('nurse', 'physician')
           and g.closed_at is null and g.expires_at > now()), '{}')
$$;

-- Open one patient's file: by pseudonym or by a blind index of the identity (INS, or names with birth date). Null where
-- there is none, or several. Who may act is decided by the session, as everywhere.
create function scad.break_glass(which text, index_ bytea, reason text)
returns table (patient text, expires_at timestamptz)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    me text := (scad.my_account()).login;
    found_ text[];
begin
    if me is null or not scad.may_act() then
        raise exception 'only a nurse or a physician breaks the glass' using errcode = 'insufficient_privilege';
    end if;
    select array_agg(p.patient) into found_
      from (select p.patient from scad.patient p where p.patient = which
            union
            select i.patient from identity.person i where i.ins_index = index_ or i.name_index = index_) p;
    if coalesce(cardinality(found_), 0) <> 1 then
        return;
    end if;
    if scad.is_mine(found_[1]) then
        return query select found_[1], null::timestamptz;  -- one's own: there is no glass
        return;
    end if;
    return query
        insert into scad.glass as g (patient, login, reason, opened_at, expires_at)
        values (found_[1], me, reason, now(), now() + interval '1 hour')
        returning g.patient, g.expires_at;
end $$;
revoke execute on function scad.break_glass(text, bytea, text) from public;
grant execute on function scad.break_glass(text, bytea, text) to scad_feed;

-- Close what one has opened, before the hour is over.
create function scad.mend_glass(which text) returns integer
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with closed as (
        update scad.glass g set closed_at = now()
         where g.patient = which and g.login = (scad.my_account()).login and g.closed_at is null
           and g.expires_at > now()
        returning 1)
    select count(*)::integer from closed
$$;
revoke execute on function scad.mend_glass(text) from public;
grant execute on function scad.mend_glass(text) to scad_feed;

-- Who looks, by login alone (scad.my_account has the password's hash, and is closed).
create function scad.my_login() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select (scad.my_account()).login
$$;
call scad.guard('scad.glass', 'select',
                'login = (select scad.my_login()) or (select scad.my_role()) in (''administrator'', ''auditor'')',
                '(select scad.my_role()) = ''administrator''');
grant update (reviewed_by, reviewed_at, review_note) on scad.glass to scad_feed;
grant select on scad.glass to scad_login;
create policy login on scad.glass for select to scad_login using (true);

-- ── what the glass opens: reading ──────────────────────────────────────────────────────────────────────────

create policy glass on scad.patient for select to scad_feed
    using (patient = any((select scad.my_glass())::text[]));

-- Tables about patients are read by "patient in (select patient from scad.patient)", so the policy above opens them
-- all; what is written must not be about a patient behind glass. For tables that are there and those to come.
create or replace procedure scad.guard_by_patient(which regclass, privileges text) language plpgsql as $$
declare
    mine text := 'patient in (select p.patient from scad.patient p)';  -- itself guarded
begin
    if which = 'scad.patient'::regclass then
        mine := 'care_team = any((select scad.my_teams())::text[])';
    end if;
    call scad.guard(which, privileges, mine, format('%s and (select scad.may_act())', mine));
    call scad.guard_glass(which);
end $$;

create procedure scad.guard_glass(which regclass) language plpgsql as $$
declare
    outside text := 'patient <> all((select scad.my_glass())::text[])';
begin
    execute format('create policy glass_added on %s as restrictive for insert to scad_feed with check (%s)',
                   which, outside);
    execute format('create policy glass_changed on %s as restrictive for update to scad_feed using (%s)',
                   which, outside);
    execute format('create policy glass_removed on %s as restrictive for delete to scad_feed using (%s)',
                   which, outside);
end $$;
revoke execute on procedure scad.guard_glass(regclass) from public;

do $$
declare
    which regclass;
begin
    for which in
        select p.polrelid from pg_policy p join pg_class c on c.oid = p.polrelid
          join pg_attribute a on a.attrelid = c.oid and a.attname = 'patient' and not a.attisdropped
         where p.polname = 'changed' and c.oid <> 'scad.glass'::regclass
    loop
        call scad.guard_glass(which);
    end loop;
end $$;

-- A device is seen with its patient, and is not the viewer's to rename.
create policy glass_changed on scad.device as restrictive for update to scad_feed
    using (not exists (select from scad.assignment a where a.device = scad.device.device
                          and a.patient = any((select scad.my_glass())::text[])));

-- Readings and events are seen through barriers.
create or replace view scad.my_reading with (security_barrier) as
    select r.* from scad.reading r
     where (select scad.serves_all()) or r.patient in
           (select p.patient from scad.patient p where p.care_team = any((select scad.my_teams())::text[])
             union all select unnest((select scad.my_glass())));
create or replace view scad.my_reading_daily with (security_barrier) as
    select r.* from scad.reading_daily r
     where (select scad.serves_all()) or r.patient in
           (select p.patient from scad.patient p where p.care_team = any((select scad.my_teams())::text[])
             union all select unnest((select scad.my_glass())));
create or replace view scad.my_alert_event with (security_barrier) as
    select e.* from scad.alert_event e
     where (select scad.serves_all()) or e.patient in
           (select p.patient from scad.patient p where p.care_team = any((select scad.my_teams())::text[])
             union all select unnest((select scad.my_glass())));

create or replace function scad.last_readings(patients text[], kinds text[], since timestamptz)
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
       and ((select scad.serves_all()) or p.care_team = any((select scad.my_teams())::text[])
            or p.patient = any((select scad.my_glass())::text[]))
$$;
