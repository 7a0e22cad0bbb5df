-- A role for each process that does not serve people, with what it needs and nothing beyond:
--
--   scad_writer      `scad writer`, or the worker that writes: what devices said and what the engine made of it; no
--                    name, no account, no session
--   scad_escalation  `scad escalation`: alerts, service times, messages; no reading, no name, no password
--   scad_enrol       `scad enrol`, `scad synthetic`: persons, devices, care plans; no alert, no reading, no account
--
-- Their log-ins are members of one of them (deploy/database-init.sh). The bridge needs no database at all. Row-level
-- security lets them see every team: a process has no viewer. docs/security.md has the table.

do $$
declare
    name text;
begin
    foreach name in array array['scad_writer', 'scad_escalation', 'scad_enrol'] loop
        begin
            if not exists (select from pg_roles where rolname = name) then
                execute format('create role %I nologin', name);
            end if;
        exception when duplicate_object or unique_violation then
            null;  -- somebody else was quicker
        end;
        -- the owner may become each of them
        if not pg_has_role(current_user, name, 'set') then
            execute format('grant %I to current_user with inherit false, set true', name);
        end if;
    end loop;
exception when insufficient_privilege then
    raise exception 'the roles scad_writer, scad_escalation and scad_enrol are missing, and % may not make them',
                    current_user
        using hint = 'let a superuser run the lines "create role" of deploy/database-init.sh',
              errcode = 'insufficient_privilege';
end $$;

grant usage on schema scad to scad_writer, scad_escalation, scad_enrol;
grant usage on schema identity to scad_enrol;
grant select on scad.migration to scad_writer, scad_escalation, scad_enrol;

-- ── the writer ─────────────────────────────────────────────────────────────────────────────────────────────
-- "select ... for update" asks for the right to update. Nothing of what devices said can be deleted, and of a reading
-- only when it came may be corrected (an earlier copy).

grant select, insert on scad.reading_identity, scad.alert_event to scad_writer;
grant select, insert on scad.reading to scad_writer;
do $$
begin
    grant update (received_at, too_late) on scad.reading to scad_writer;
exception when undefined_column then  -- a columnstore's own tables do not have them: it takes rights on the whole
    grant update on scad.reading to scad_writer;
end $$;
grant select, insert, update on scad.reading_conflict, scad.signal_cursor, scad.alert, scad.quarantine,
    scad.device_status to scad_writer;
grant select on scad.absence, scad.patient, scad.care_team, scad.service_times to scad_writer;
grant select, delete on scad.outbox to scad_writer;  -- what the page changed goes to Kafka, and out of the table
do $$
begin
    if to_regclass('scad.reading_daily_rows') is not null then
        grant select, insert, update on scad.reading_daily_rows to scad_writer;
    end if;
end $$;

-- ── escalation ─────────────────────────────────────────────────────────────────────────────────────────────

grant select, insert, update on scad.alert to scad_escalation;
grant select, insert on scad.alert_event, scad.digest, scad.notification_alert, scad.notification_attempt
    to scad_escalation;
grant select, insert, update on scad.notification to scad_escalation;
grant select, update (begun) on scad.absence to scad_escalation;
grant select on scad.patient, scad.care_team, scad.service_times, scad.signal_cursor to scad_escalation;

-- ── enrolment ──────────────────────────────────────────────────────────────────────────────────────────────

grant select, insert, update on scad.care_team, scad.patient, scad.device, scad.care_plan, identity.person
    to scad_enrol;
grant select, insert, update, delete on scad.assignment, scad.outbox to scad_enrol;
grant execute on function scad.device_intervals(text) to scad_enrol;
alter default privileges in schema identity grant select, insert, update, delete on tables to scad_enrol;

grant usage, select on all sequences in schema scad to scad_writer, scad_escalation, scad_enrol;

-- ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────
-- Where row-level security holds, a role with a right on the table sees all its rows.

do $$
declare
    which record;
begin
    for which in
        select c.oid::regclass as name, r.rolname as role
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
          cross join unnest(array['scad_writer', 'scad_escalation', 'scad_enrol']::regrole[]) with ordinality as u(id, i)
          join pg_roles r on r.oid = u.id
         where n.nspname in ('scad', 'identity') and c.relkind in ('r', 'p') and c.relrowsecurity
           and (has_table_privilege(r.oid, c.oid, 'select') or has_any_column_privilege(r.oid, c.oid, 'select'))
    loop
        execute format('create policy %I on %s to %I using (true) with check (true)', which.role, which.name, which.role);
    end loop;
end $$;

-- Events: a process writes about every patient, a person about patients of the own team (0026).
create or replace function scad.alert_event_mine() returns trigger language plpgsql as $$
begin
    -- the role that was set counts, as in scad.serves_all
    if not (pg_has_role(current_user, 'scad_writer', 'usage') or pg_has_role(current_user, 'scad_escalation', 'usage')
            or (scad.is_mine(new.patient) and scad.may_act())) then
        raise exception 'no event may be written about a patient of another team, nor by a role that does not act'
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end $$;
