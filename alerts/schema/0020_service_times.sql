-- Service times: until when an alert wants an answer, whom an unanswered one goes to, and what was sent.

-- `due_at` (0012): until when somebody should have acknowledged it, on the team's working calendar
-- (alerts/service_times.py). `due_severity`: the severity it was reckoned for, so that a rise is noticed once;
-- `due_from`: since when it counts. `outside_hours`: it came while the team was closed.
alter table scad.alert
    add due_severity   text constraint alert_due_severity check (due_severity in ('high', 'medium', 'low')),
    add due_from       timestamptz,
    add outside_hours  boolean not null default false;
create index alert_due on scad.alert (due_at) where state in ('open', 'escalated');

-- The queue of 0012 with the new columns.
drop view scad.queue;
create view scad.queue as
    select alert.*,
           scad.severity_rank(severity) as rank,
           condition = 'cleared' as latched
      from scad.alert
     where state in ('open', 'escalated', 'acknowledged', 'in-progress')
       and inhibited_by is null and suppressed is null;

-- What a team has set: hours, holidays, due times, chain, digest (alerts.service_times.ServiceTimes). A change
-- is a new version; the highest one holds, a team without one has the defaults.
create table scad.service_times (
    care_team    text not null references scad.care_team on delete cascade,
    version      integer not null check (version > 0),
    document     jsonb not null,
    recorded_at  timestamptz not null,
    recorded_by  text not null,
    primary key (care_team, version)
);

-- A message to one person over one channel. It holds no patient and no text: what it says is counted when it
-- is sent. `state`: waiting, sent; failed (refused for good, or tried often enough); withdrawn (nothing left to
-- say: all acknowledged); off (the channel is not set up). `not_before`: the next attempt; a claim on it while
-- an attempt runs. `delivery` is the same in every attempt, so that a receiver can tell a repetition.
create table scad.notification (
    id           bigint generated always as identity primary key,
    delivery     uuid not null unique,
    care_team    text not null,
    kind         text not null check (kind in ('escalation', 'digest')),
    person       text not null,
    channel      text not null check (channel in ('mail', 'webhook')),
    address      text not null,
    language     text not null check (language in ('fr', 'en')),
    state        text not null default 'waiting'
                 constraint notification_state check (state in ('waiting', 'sent', 'failed', 'withdrawn', 'off')),
    attempts     integer not null default 0,
    not_before   timestamptz not null,
    created_at   timestamptz not null,
    settled_at   timestamptz,
    check ((state = 'waiting') = (settled_at is null))
);
create index notification_waiting on scad.notification (not_before) where state = 'waiting';
create index notification_person on scad.notification (care_team, person, channel, address, settled_at);

-- Which alerts a message is about, and at which step of the chain. The key is what keeps anybody from being
-- told twice of the same; a new due time (the severity rose, or it was raised anew) is a new matter.
create table scad.notification_alert (
    alert         uuid not null,
    due_at        timestamptz not null,
    level         smallint not null check (level >= 0),
    channel       text not null,
    person        text not null,
    notification  bigint not null references scad.notification,
    primary key (alert, due_at, level, channel, person)
);
create index notification_alert_notification on scad.notification_alert (notification);

-- Every attempt, from its beginning to what came of it: started, then sent, retry, failed, withdrawn or off. A
-- started one without an end is a process that died meanwhile.
create table scad.notification_attempt (
    id            bigint generated always as identity primary key,
    notification  bigint not null references scad.notification,
    attempt       integer not null,
    at            timestamptz not null,
    outcome       text not null
                  check (outcome in ('started', 'sent', 'retry', 'failed', 'withdrawn', 'off')),
    detail        text not null default ''
);
create index notification_attempt_notification on scad.notification_attempt (notification, id);

create function scad.notification_attempt_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'scad.notification_attempt is append-only: % refused', lower(tg_op)
        using hint = 'a further attempt is a further row', errcode = 'integrity_constraint_violation';
end $$;
create trigger notification_attempt_append_only before update or delete on scad.notification_attempt
    for each row execute function scad.notification_attempt_append_only();
create trigger notification_attempt_no_truncate before truncate on scad.notification_attempt
    for each statement execute function scad.notification_attempt_append_only();

-- The morning digest of a team's day: once, whatever becomes of the process. `alerts`: how many it was about.
create table scad.digest (
    care_team  text not null,
    day        date not null,
    at         timestamptz not null,
    alerts     integer not null,
    primary key (care_team, day)
);

-- Everybody sees a team's hours, the administrator sets them; who was told of what, those who look after the
-- platform. No row names a patient.
call scad.guard('scad.service_times', 'select, insert', 'true', '(select scad.my_role()) = ''administrator''');
call scad.guard('scad.digest', 'select', 'true', 'false');
do $$
declare
    name text;
begin
    foreach name in array array['notification', 'notification_alert', 'notification_attempt'] loop
        call scad.guard(('scad.' || name)::regclass, 'select',
                        '(select scad.my_role()) in (''administrator'', ''engineer'', ''auditor'')', 'false');
    end loop;
end $$;
