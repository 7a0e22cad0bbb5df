-- What the role `grafana` may read: pseudonyms and numbers; no names (schema identity), no accounts and sessions, no
-- bytes of refused messages, no note or other free text, not who did what. Run by the owner after
-- `scad schema apply`; again, it changes nothing.
revoke all on all tables in schema scad from grafana; -- an earlier release gave more
grant usage on schema scad to grafana;

-- Views of 0033 and 0053: rows about people.
grant select on scad.panel_patient, scad.panel_team, scad.panel_alert, scad.panel_plan, scad.panel_absence,
    scad.panel_device to grafana;
grant execute on function scad.footprint() to grafana;

-- Numbers of one patient at a time, and what no view has to hide.
grant select on scad.reading, scad.reading_daily, scad.retention, scad.migration to grafana;
grant select (id, at, recorded_at, patient, alert, kind, n, event) on scad.alert_event to grafana;
grant select (device, epoch, seq, reason, received_at, state, times, stored_at, replayed_at, resolved_at)
    on scad.quarantine to grafana;

-- Row-level security hides every row from a role without a policy; the dashboards count all teams' pseudonyms.
do $$
declare
    name text;
begin
    foreach name in array array['care_team', 'patient', 'device', 'assignment', 'care_plan', 'alert', 'device_status'] loop
        execute format('drop policy if exists dashboards on scad.%I', name);
    end loop;
    drop policy if exists dashboards on scad.quarantine;
    create policy dashboards on scad.quarantine for select to grafana using (true);
end $$;
