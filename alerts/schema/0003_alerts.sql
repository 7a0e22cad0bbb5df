-- Alerts: one row of truth per alert, and the append-only events it came from.

-- The first part of a row is the engine's episode, folded from signals in order of n (alerts.folding); the last
-- part is what people did with it. `condition` says whether the clinical condition holds; `state` is the
-- life-cycle.
create table scad.alert (
    alert              uuid primary key,
    patient            text not null,
    protocol           text not null,
    protocol_version   text not null,
    rule               text not null,
    class              text not null check (class in ('clinical', 'technical')),
    severity           text not null check (severity in ('high', 'medium', 'low')),
    peak_severity      text not null check (peak_severity in ('high', 'medium', 'low')),
    condition          text not null check (condition in ('raised', 'cleared')),
    opened_at          timestamptz not null,   -- measured_at of the reading that opened the episode
    last_at            timestamptz not null,   -- measured_at of the last reading that met the condition
    cleared_at         timestamptz,            -- measured_at of the reading that cleared it
    reason             text,                   -- why it was cleared though nothing ended: there was no cause
    late               boolean not null,
    value              double precision,
    limit_value        double precision,
    unit               text,
    explanation        jsonb not null,         -- {"fr": ..., "en": ...}
    evidence           jsonb not null,         -- [{"device","seq","measured_at","value"?,"epoch"?,"kind"?}]
    supersedes         uuid[] not null default '{}',
    superseded_by      uuid,
    first_n            bigint not null,
    last_n             bigint not null,
    raised_stored_at   timestamptz not null,   -- when the platform first knew of the episode
    changed_at         timestamptz not null,   -- when this row last changed, by signal or by hand
    state              text not null
                       constraint alert_state check (state in ('open', 'acknowledged', 'cleared', 'superseded')),
    acknowledged_by       text,
    acknowledged_at       timestamptz,
    acknowledged_severity text check (acknowledged_severity in ('high', 'medium', 'low')),
    check ((condition = 'cleared') = (cleared_at is not null)),
    check ((acknowledged_by is null) = (acknowledged_at is null))
);
create index alert_patient on scad.alert (patient, opened_at desc);
create index alert_live on scad.alert (patient) where state in ('open', 'acknowledged');

-- The last signal of each patient that was folded. Its row is locked while a patient's signals are written, so
-- that two writers (one of them about to lose its partition) cannot interleave.
create table scad.signal_cursor (
    patient  text primary key,
    last_n   bigint not null
);

-- Everything that ever happened to an alert: the engine's signals and people's actions. `id` is the cursor of
-- the feed: the insert trigger below makes ids visible in their order.
create sequence scad.alert_event_id_seq as bigint;
create table scad.alert_event (
    id           bigint not null default nextval('scad.alert_event_id_seq'),
    at           timestamptz not null,   -- of the signal (event time), or of the action
    recorded_at  timestamptz not null,
    patient      text not null,
    alert        uuid,                   -- null: an event of the patient
    kind         text not null check (kind in ('signal', 'action')),
    n            bigint,                 -- number of the signal among its patient's
    event        text not null,          -- raised, updated, cleared; for actions: acknowledged, carried, reopened …
    actor        text not null,          -- login of the account; 'engine' for signals and their consequences
    body         jsonb not null,         -- the whole signal; or the action's details (note, before, after)
    primary key (id, at),
    unique (patient, n, at),
    check ((kind = 'signal') = (n is not null))
);
alter sequence scad.alert_event_id_seq owned by scad.alert_event.id;
create index alert_event_alert on scad.alert_event (alert, id);
create index alert_event_patient on scad.alert_event (patient, id);

-- An id is drawn when a row is inserted but seen when its transaction commits; with two writers a reader that
-- has seen id 12 would never look again for id 11. The lock, held to the commit, lets ids become visible in
-- order. Whoever inserts events therefore does it last in a transaction, after locking alert rows.
create function scad.alert_event_in_order() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtext('scad.alert_event'));
    return null;
end $$;
create trigger alert_event_in_order before insert on scad.alert_event
    for each statement execute function scad.alert_event_in_order();

-- Wakes the feed after the commit; the payload is the highest id, what has been missed the cursor says.
create function scad.alert_event_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('scad_feed', (select last_value from scad.alert_event_id_seq)::text);
    return null;
end $$;
create trigger alert_event_notify after insert on scad.alert_event
    for each statement execute function scad.alert_event_notify();

create function scad.alert_event_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'scad.alert_event is append-only: % refused', lower(tg_op)
        using hint = 'write a further event that says what changed',
              errcode = 'integrity_constraint_violation';
end $$;
create trigger alert_event_append_only before update or delete on scad.alert_event
    for each row execute function scad.alert_event_append_only();

create trigger alert_event_no_truncate before truncate on scad.alert_event
    for each statement execute function scad.alert_event_append_only();

create function scad.severity_rank(severity text) returns integer language sql immutable parallel safe as $$
    select case severity when 'high' then 3 when 'medium' then 2 when 'low' then 1 end
$$;

-- What a nurse has to look at: the condition holds, or a high alert's condition is over but nobody has
-- acknowledged it yet (latched: condition 'cleared', state still 'open'). Superseded alerts, alerts without a
-- cause and episodes that were past when they became known are state 'superseded' or 'cleared': history.
create view scad.queue as
    select alert.*,
           scad.severity_rank(severity) as rank,
           condition = 'cleared' as latched
      from scad.alert
     where state = 'open' or (state = 'acknowledged' and condition = 'raised');

-- Take note of an alert: `state` becomes 'acknowledged' while the condition holds and 'cleared' when it was
-- latched. The acknowledgement covers the worst severity so far; a worse one opens the alert again
-- (alerts.folding.settled_state says how the columns decide). Result: 'acknowledged', or why not, with who did:
-- 'already', 'superseded', 'cleared', 'unknown'.
create function scad.acknowledge(which uuid, login text, at_ timestamptz, note text default null)
returns table (result text, by_whom text, at_instant timestamptz) language plpgsql as $$
declare
    a scad.alert;
begin
    select * into a from scad.alert where alert = which for update;
    if not found then
        return query select 'unknown', null::text, null::timestamptz;
        return;
    end if;
    if a.state <> 'open' then
        return query select case a.state when 'acknowledged' then 'already' else a.state end,
                            a.acknowledged_by, a.acknowledged_at;
        return;
    end if;
    update scad.alert
       set state = case a.condition when 'raised' then 'acknowledged' else 'cleared' end,
           acknowledged_by = login, acknowledged_at = at_, acknowledged_severity = a.peak_severity,
           changed_at = at_
     where alert = which;
    insert into scad.alert_event (at, recorded_at, patient, alert, kind, event, actor, body)
    values (at_, at_, a.patient, which, 'action', 'acknowledged', login,
            jsonb_strip_nulls(jsonb_build_object('note', note, 'before', a.state, 'severity', a.peak_severity)));
    return query select 'acknowledged', login, at_;
end $$;
