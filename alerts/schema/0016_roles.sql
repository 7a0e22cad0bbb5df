-- The feed's own role, and how the database knows who looks. Three group roles without a log-in:
--
--   scad_feed     what a person sees in the feed: rows of the own care teams, as row-level security allows
--   scad_login    the log-in itself: accounts with their hashes, sessions, second factors; no patient
--   scad_service  what the platform does by itself for every team: listener, escalation, metrics
--
-- The feed's log-in is a member of scad_feed only. It may become the other two for a transaction (set role), but
-- inherits neither: a query that forgot to ask sees nothing. Names of roles belong to the whole server, so they
-- may be there already; where they are not, whoever applies this needs CREATEROLE.

do $$
declare
    name text;
begin
    foreach name in array array['scad_feed', 'scad_login', 'scad_service'] loop
        begin
            if not exists (select from pg_roles where rolname = name) then
                execute format('create role %I nologin', name);
            end if;
        exception when duplicate_object or unique_violation then
            null;  -- somebody else was quicker
        end;
        -- the owner may become each of them; it inherits scad_service, which sees what the owner sees
        if not pg_has_role(current_user, name, 'set') then
            execute format('grant %I to current_user with inherit %s, set true', name,
                           case name when 'scad_service' then 'true' else 'false' end);
        end if;
    end loop;
    foreach name in array array['scad_login', 'scad_service'] loop
        if not pg_has_role('scad_feed', name, 'set') then
            execute format('grant %I to scad_feed with inherit false, set true', name);
        end if;
    end loop;
exception when insufficient_privilege then
    raise exception 'the roles scad_feed, scad_login and scad_service are missing, and % may not make them',
                    current_user
        using hint = 'let a superuser run the lines "create role" and "grant" of deploy/database-init.sh',
              errcode = 'insufficient_privilege';
end $$;

grant usage on schema scad, identity to scad_feed, scad_service;
grant usage on schema scad to scad_login;

-- A log-in with a second factor has stages: `code` and `enrol` have passed the password and see nothing yet.
alter table scad.session
    add column stage text not null default 'full' constraint session_stage check (stage in ('full', 'code', 'enrol')),
    add column method text not null default 'local' constraint session_method check (method in ('local', 'oidc')),
    add column id_token text;   -- the provider's, which its log-out asks for

-- One authenticator a person (RFC 6238). It counts from `confirmed_at` on, when a first code was right; `last_step`
-- is the last interval of 30 s whose code was taken: no code is taken twice.
create table scad.second_factor (
    login         text primary key references scad.account on delete cascade,
    secret        text not null,
    created_at    timestamptz not null,
    confirmed_at  timestamptz,
    last_step     bigint not null default 0
);

-- Codes on paper for a lost telephone: SHA-256 of 80 random bits each, good once.
create table scad.recovery_code (
    login      text not null references scad.account on delete cascade,
    code_hash  bytea not null check (length(code_hash) = 32),
    used_at    timestamptz,
    primary key (login, code_hash)
);

-- Log-ins, refusals, changes of accounts: who did what to whom. Never changed, never with a password or code.
create table scad.access_event (
    id       bigint generated always as identity primary key,
    at       timestamptz not null,
    actor    text not null,
    event    text not null,
    subject  text not null,
    detail   jsonb not null default '{}'
);
create index access_event_at on scad.access_event (at desc);

-- ── who looks ────────────────────────────────────────────────────────────────────────────────────────────────
-- A transaction says who looks by the hash of the session's token (setting scad.session, in hexadecimal), not by a
-- name: the token is random and known to its browser only, so that no mistake in the code, nor a login put into a
-- query by somebody else, can make a transaction look as another person. When a session has ended is decided by
-- the feed, which has the clock.

create function scad.my_account() returns scad.account
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select a from scad.session s join scad.account a on a.login = s.login
     where s.token_hash = decode(nullif(current_setting('scad.session', true), ''), 'hex')
       and s.stage = 'full' and a.disabled_at is null
$$;
revoke execute on function scad.my_account() from public;  -- it has the password's hash

create function scad.my_role() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select (scad.my_account()).role
$$;

-- The teams whose patients this transaction may see: that of a nurse or physician, that of an auditor, all for an
-- auditor without one. Empty without a session, and for roles that see no patient.
create function scad.my_teams() returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce((
        select case when a.role in ('nurse', 'physician', 'auditor') and a.care_team is not null
                    then array[a.care_team]
                    when a.role = 'auditor' then (select array_agg(t.care_team) from scad.care_team t) end
          from (select (scad.my_account()).*) a), '{}')
$$;

-- Whether this transaction may change what it sees of patients.
create function scad.may_act() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(scad.my_role() in ('nurse', 'physician'), false)
$$;

-- Whether the transaction sees every team: scad_service, the owner, a superuser. The role that was set, not that of
-- a function that runs with its owner's rights.
create function scad.serves_all() returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
    select pg_has_role(case current_setting('role') when 'none' then session_user::text
                            else current_setting('role') end, 'scad_service', 'usage')
$$;

-- Whether a patient is one of mine.
create function scad.is_mine(which text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from scad.patient p where p.patient = which and p.care_team = any(scad.my_teams()))
$$;

-- ── how a table is guarded ──────────────────────────────────────────────────────────────────────────────────

-- Rows about a patient: the feed's role reads those of its teams and writes them where its role may act.
-- `privileges` as grant takes them. The lists of teams and patients are found once a statement, not once a row.
create procedure scad.guard_by_patient(which regclass, privileges text) language plpgsql as $$
declare
    mine text := 'patient in (select p.patient from scad.patient p)';  -- itself guarded
begin
    if which = 'scad.patient'::regclass then
        mine := 'care_team = any((select scad.my_teams())::text[])';
    end if;
    call scad.guard(which, privileges, mine, format('%s and (select scad.may_act())', mine));
end $$;

-- Any other table: `seen` and `changed` are the conditions of reading and writing for scad_feed. Nothing is seen
-- without a viewer, and nothing is changed that is not seen.
create procedure scad.guard(which regclass, privileges text, seen text, changed text) language plpgsql as $$
begin
    seen := format('(select scad.my_role()) is not null and (%s)', seen);
    execute format('alter table %s enable row level security', which);
    execute format('create policy seen on %s for select to scad_feed using (%s)', which, seen);
    execute format('create policy added on %s for insert to scad_feed with check (%s)', which, changed);
    execute format('create policy changed on %s for update to scad_feed using ((%s) and (%s)) with check (%s)',
                   which, seen, changed, changed);
    execute format('create policy removed on %s for delete to scad_feed using ((%s) and (%s))', which, seen, changed);
    execute format('create policy service on %s to scad_service using (true) with check (true)', which);
    execute format('grant %s on %s to scad_feed', privileges, which);
end $$;
revoke execute on procedure scad.guard_by_patient(regclass, text) from public;
revoke execute on procedure scad.guard(regclass, text, text, text) from public;
