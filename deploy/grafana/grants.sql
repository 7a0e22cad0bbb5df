-- What the role `grafana` may read: pseudonyms only, no names (schema identity), no accounts and sessions, no
-- bytes of refused messages. Run by the owner after `scad schema apply`; again, it changes nothing.
grant usage on schema scad to grafana;
grant select on scad.care_team, scad.patient, scad.device, scad.assignment, scad.care_plan, scad.reading,
    scad.reading_daily, scad.reading_conflict, scad.alert, scad.queue, scad.device_status, scad.migration
    to grafana;
grant select (id, at, recorded_at, patient, alert, kind, n, event) on scad.alert_event to grafana;
grant select (id, device, epoch, seq, reason, received_at, state, times, source_topic, stored_at, replayed_at,
    resolved_at) on scad.quarantine to grafana;

-- Row-level security hides every row from a role without a policy; dashboards count all teams' pseudonyms.
do $$
declare
    name text;
begin
    foreach name in array array['care_team', 'patient', 'device', 'assignment', 'care_plan', 'alert', 'device_status',
                                'quarantine'] loop
        execute format('drop policy if exists dashboards on scad.%I', name);
        execute format('create policy dashboards on scad.%I for select to grafana using (true)', name);
    end loop;
end $$;
