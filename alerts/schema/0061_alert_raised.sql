-- The dashboards count the alerts that were raised within a range of time, of two years as of a day. An alert's row is
-- wide (its evidence, its explanation in two languages); the index has what is counted, a quarter of it.

create index alert_raised on scad.alert (raised_stored_at) include (
    patient, class, severity, peak_severity, state, protocol, rule, protocol_version, acknowledged_at, due_at, closed_at,
    outcome, false_reason, inhibited_by, suppressed);
