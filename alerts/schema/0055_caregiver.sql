-- A caregiver: one person to whom the patient has given a look at the own follow-up, until it is taken back
-- (docs/caregiver.md). Who the person is lies in schema identity, sealed under the patient's data key; everything else
-- knows the drawn login, which is the access's name as well.

alter table scad.account drop constraint account_role_check;
alter table scad.account add constraint account_role_check
    check (role in ('nurse', 'physician', 'administrator', 'engineer', 'auditor', 'caregiver'));

create table scad.caregiver_access (
    access       text primary key check (access ~ '^aidant-[a-z2-7]{8}$'),
    patient      text not null references scad.patient,
    readings     boolean not null,          -- values and their curves
    alerts       boolean not null,          -- the sentences of clinical alerts; never what people wrote about them
    adherence    boolean not null,          -- how many of the expected measurements were taken
    until        timestamptz,               -- null: until it is taken back
    granted_at   timestamptz not null,
    granted_by   text not null,             -- who recorded the patient's wish
    code_hash    bytea check (length(code_hash) = 32),
    code_until   timestamptz,
    wrong_codes  smallint not null default 0,
    accepted_at  timestamptz,
    ended_at     timestamptz,
    ended_by     text,
    check (readings or alerts or adherence),
    check (until > granted_at),
    check ((code_hash is null) = (code_until is null)),
    check ((ended_at is null) = (ended_by is null))
);
create index caregiver_access_patient on scad.caregiver_access (patient, granted_at desc);
call scad.guard_by_patient('scad.caregiver_access', 'insert');
grant select (access, patient, readings, alerts, adherence, until, granted_at, granted_by, code_until, wrong_codes,
              accepted_at, ended_at, ended_by) on scad.caregiver_access to scad_feed;

create table identity.caregiver (
    access   text primary key references scad.caregiver_access on delete cascade,
    patient  text not null references scad.patient,
    sealed   bytea not null
);
create index caregiver_patient on identity.caregiver (patient);
revoke all on identity.caregiver from scad_enrol;
call scad.guard_by_patient('identity.caregiver', 'select, insert');

-- ── in every table a caregiver is nobody ───────────────────────────────────────────────────────────────────
-- The policies of all tables ask these functions who looks; with no account there is no role, no team, no glass and no
-- row, in tables that are there and in those to come. What a caregiver sees is in the views below, and nowhere else.

create or replace function scad.my_account() returns scad.account
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select a from scad.session s join scad.account a on a.login = s.login
     where s.token_hash = decode(nullif(current_setting('scad.session', true), ''), 'hex')
       and s.stage = 'full' and a.disabled_at is null and a.role <> 'caregiver'
$$;

-- The access by which this transaction looks. The database's own clock ends one that has a date.
create function scad.my_care_access() returns scad.caregiver_access
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select c from scad.session s
      join scad.account a on a.login = s.login and a.role = 'caregiver' and a.disabled_at is null
      join scad.caregiver_access c on c.access = a.login
     where s.token_hash = decode(nullif(current_setting('scad.session', true), ''), 'hex') and s.stage = 'full'
       and c.accepted_at is not null and c.ended_at is null and (c.until is null or c.until > now())
$$;
revoke execute on function scad.my_care_access() from public;

-- The patient of whom this transaction may see `what`; null for everybody else.
create function scad.my_care_of(what text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select c.patient from (select (scad.my_care_access()).*) c
     where case what when 'readings' then c.readings when 'alerts' then c.alerts when 'adherence' then c.adherence end
$$;

-- What the page begins with: the scope, the team, and the patient's sealed name with what opens it.
create function scad.my_care()
returns table (access text, patient text, readings boolean, alerts boolean, adherence boolean, until timestamptz,
               team_name text, time_zone text, sealed bytea, wrapped bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select c.access, c.patient, c.readings, c.alerts, c.adherence, c.until, t.name, t.time_zone, i.sealed, i.wrapped
      from (select (scad.my_care_access()).*) c
      join scad.patient p on p.patient = c.patient
      join scad.care_team t on t.care_team = p.care_team
      left join identity.person i on i.patient = c.patient
$$;
revoke execute on function scad.my_care_of(text), scad.my_care() from public;
grant execute on function scad.my_care_of(text), scad.my_care() to scad_feed;

-- Kinds that are one number over time; answers to questions and strips stay between the patient and the team.
create view scad.cared_reading with (security_barrier) as
    select r.patient, r.kind, r.measured_at, r.received_at, r.value,
           (r."values" ->> 'diastolic')::double precision as second
      from scad.reading r
     where r.patient = (select scad.my_care_of('readings')) and r.marks = '{}' and r.value is not null
       and r.kind in ('body-weight', 'blood-pressure', 'heart-rate', 'glucose', 'oxygen-saturation', 'temperature',
                      'respiratory-rate', 'inr', 'ketones');
-- The engine's sentence and what became of it, without who and without what anybody wrote. Left out: what had no cause
-- or was replaced, what was judged false, and what a graver alert says already.
create view scad.cared_alert with (security_barrier) as
    select a.patient, a.alert, a.severity, a.opened_at, a.explanation, a.condition = 'raised' as lasts,
           a.acknowledged_at is not null or a.closed_at is not null as seen
      from scad.alert a
     where a.patient = (select scad.my_care_of('alerts')) and a.class = 'clinical' and a.reason is null
       and a.superseded_by is null and a.inhibited_by is null and a.state not in ('superseded', 'false-alert');
-- Days and how many, not what was measured; which measurements the plan asks for; on which days none is expected.
create view scad.cared_day with (security_barrier) as
    select d.patient, d.kind, (d.day at time zone 'Europe/Paris')::date as day, d.n
      from scad.reading_daily d where d.patient = (select scad.my_care_of('adherence'));
create view scad.cared_plan with (security_barrier) as
    select c.patient, c.version, c.from_at, c.document -> 'protocols' as protocols, c.document -> 'schedule' as schedule
      from scad.care_plan c where c.patient = (select scad.my_care_of('adherence'));
create view scad.cared_absence with (security_barrier) as
    select a.patient, a.from_at, a.to_at
      from scad.absence a where a.patient = (select scad.my_care_of('adherence'));
grant select on scad.cared_reading, scad.cared_alert, scad.cared_day, scad.cared_plan, scad.cared_absence to scad_feed;

-- ── the invitation ─────────────────────────────────────────────────────────────────────────────────────────
-- Login and code together open an account, once. Five wrong codes end the invitation, whoever tried.
create function scad.care_join(login_ text, code bytea, password text, language_ text, now_ timestamptz) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    found_ scad.caregiver_access;
begin
    select * into found_ from scad.caregiver_access c
     where c.access = login_ and c.code_hash is not null and c.ended_at is null for update;
    if not found then
        return false;
    end if;
    if found_.code_hash <> code or found_.code_until <= now_ or found_.wrong_codes >= 5 then
        update scad.caregiver_access set wrong_codes = least(wrong_codes + 1, 5) where access = login_;
        return false;
    end if;
    insert into scad.account (login, display_name, password_hash, role, language, created_at)
    values (login_, login_, password, 'caregiver', language_, now_);
    update scad.caregiver_access set code_hash = null, code_until = null, accepted_at = now_ where access = login_;
    return true;
end $$;
revoke execute on function scad.care_join(text, bytea, text, text, timestamptz) from public;
grant execute on function scad.care_join(text, bytea, text, text, timestamptz) to scad_login;

-- The patient has taken it back: the invitation, the account and its sessions end in this transaction. For a nurse or
-- physician of the patient's team. Whether there was something to end.
create function scad.care_end(which text, whose text, by_ text, now_ timestamptz) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not (scad.may_act() and scad.is_mine(whose)) then
        raise exception 'only the patient''s own team ends an access' using errcode = 'insufficient_privilege';
    end if;
    return scad.care_ended(which, whose, by_, now_) > 0;
end $$;

create function scad.care_ended(which text, whose text, by_ text, now_ timestamptz) returns integer
language sql set search_path = pg_catalog, pg_temp as $$
    with ended as (
        update scad.caregiver_access c set ended_at = now_, ended_by = by_, code_hash = null, code_until = null
         where c.patient = whose and (which is null or c.access = which) and c.ended_at is null returning c.access),
    gone as (delete from scad.session s using ended e where s.login = e.access),
    shut as (update scad.account a set disabled_at = now_ from ended e where a.login = e.access)
    select count(*)::integer from ended
$$;
revoke execute on function scad.care_end(text, text, text, timestamptz), scad.care_ended(text, text, text, timestamptz)
    from public;
grant execute on function scad.care_end(text, text, text, timestamptz) to scad_feed;

-- An identity that is erased takes the names and the accesses of its caregivers with it.
create function identity.erased_with_caregivers() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform scad.care_ended(null, new.patient, 'erasure', new.erased_at);
    delete from identity.caregiver where patient = new.patient;
    return null;
end $$;
create trigger erased_with_caregivers after update of erased_at on identity.person
    for each row when (new.erased_at is not null) execute function identity.erased_with_caregivers();
