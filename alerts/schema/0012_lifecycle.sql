-- The whole life-cycle of an alert (alerts.lifecycle), and what keeps an alert from the queue (alerts.inhibition).

alter table scad.alert drop constraint alert_state;
alter table scad.alert add constraint alert_state check (state in
    ('open', 'escalated', 'acknowledged', 'in-progress', 'snoozed', 'resolved', 'false-alert', 'cleared',
     'superseded'));

-- What people did: facts, from which `state` follows (alerts.lifecycle.settled_state).
alter table scad.alert
    add assignee           text,
    add started_by         text,
    add started_at         timestamptz,
    add snoozed_by         text,
    add snoozed_at         timestamptz,
    add snoozed_until      timestamptz,
    add snooze_reason      text,
    add snoozed_severity   text check (snoozed_severity in ('high', 'medium', 'low')),
    add outcome            text check (outcome in ('call-made', 'unreachable', 'advice', 'drug-change',
                               'gp-contact', 'consultation', 'hospital', 'device-fault', 'technique', 'no-action')),
    add false_reason       text check (false_reason in ('wrong-patient', 'technique', 'device', 'artefact',
                               'known-condition', 'limit-too-tight', 'other')),
    add closed_by          text,
    add closed_at          timestamptz,
    add closed_severity    text check (closed_severity in ('high', 'medium', 'low')),
    add closed_condition   text check (closed_condition in ('raised', 'cleared')),
    add close_reason       text,               -- why it was resolved while its condition held
    add escalation_level   smallint not null default 0 check (escalation_level between 0 and 3),
    add escalated_at       timestamptz,
    add last_action        jsonb,              -- {"action","by","at","changes":{fact: [before, after]}}: for undo
    add version            integer not null default 1,  -- rises when a person must know of it before acting
    add due_at             timestamptz,        -- by when somebody is to have acknowledged it
-- What keeps it from the queue, and what people have seen and heard of it.
    add inhibited_by       uuid,               -- it is shown inside this graver alert of the same problem
    add suppressed         text constraint alert_suppressed check (suppressed in ('refractory', 'absence')),
    add suppressed_until   timestamptz,
    add in_digest          boolean not null default false,  -- medium, waiting: the morning digest tells of it
    add shown_at           timestamptz,        -- when it first stood in the queue
    add rang_at            timestamptz,        -- when it rang: once
    add rang_n             bigint,             -- the signal with which it rang; null: it was let out, see the events
    add constraint alert_started check ((started_by is null) = (started_at is null)),
    add constraint alert_snoozed check ((snoozed_by is null) = (snoozed_until is null)),
    add constraint alert_closed check ((closed_by is null) = (closed_at is null)
                                   and (closed_at is not null or (outcome is null and false_reason is null))),
    add constraint alert_held_back check ((suppressed is null) = (suppressed_until is null));

-- Alerts from before stood in the queue of the day and rang when they were raised.
update scad.alert
   set shown_at = raised_stored_at,
       rang_at = case when class = 'clinical' and peak_severity = 'high' and not late then raised_stored_at end;

drop index scad.alert_live;
create index alert_live on scad.alert (patient)
 where state in ('open', 'escalated', 'acknowledged', 'in-progress', 'snoozed');
create index alert_ended on scad.alert (patient, cleared_at, closed_at)
 where state not in ('open', 'escalated', 'acknowledged', 'in-progress', 'snoozed', 'superseded');
create index alert_snoozed_until on scad.alert (snoozed_until) where snoozed_until is not null;
create index alert_suppressed_until on scad.alert (suppressed_until) where suppressed_until is not null;
create index alert_inhibited_by on scad.alert (inhibited_by) where inhibited_by is not null;

-- What a nurse has to look at: alerts that stand, and those that latched (condition 'cleared', but nobody has
-- acknowledged it, or whoever has started on it has not resolved it). Not here: snoozed ones, which come back;
-- those shown inside a graver one (inhibited_by); those held back for a time (suppressed); the history.
drop view scad.queue;
create view scad.queue as
    select alert.*,
           scad.severity_rank(severity) as rank,
           condition = 'cleared' as latched
      from scad.alert
     where state in ('open', 'escalated', 'acknowledged', 'in-progress')
       and inhibited_by is null and suppressed is null;

drop function scad.acknowledge(uuid, text, timestamptz, text);

-- Whoever changes alerts of patients, the writer or a person, goes one at a time for each of them: what hides
-- what depends on all of a patient's alerts. Call it before any of their rows is read. Open to every role that may
-- change alerts; it shows nothing.
create function scad.lock_patients(patients text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into scad.signal_cursor (patient, last_n) select distinct p, 0 from unnest(patients) as p order by 1
        on conflict do nothing;
    perform from scad.signal_cursor where patient = any(patients) order by patient for update;
end $$;
