-- Running a ward from the page: what a change is for, changes that wait for a physician, values that were
-- told on the telephone, and an outbox that is emptied as soon as something is in it.

-- Kafka's record headers as [[name, text], ...]: a typed-in value travels with its time of receipt.
alter table scad.outbox add column headers jsonb not null default '[]';

-- Wakes whoever publishes; what waits the table says.
create function scad.outbox_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('scad_outbox', '');
    return null;
end $$;
create trigger outbox_notify after insert on scad.outbox
    for each statement execute function scad.outbox_notify();

-- Why a version was made, and who proposed what somebody else confirmed. Free text stays in the database: the
-- document, which goes to Kafka, has neither.
alter table scad.care_plan
    add column reason text not null default '',
    add column proposed_by text,
    add column recorded_by text;

-- A version that somebody has proposed who may not set one. `document` is a PlanVersion as it will be saved;
-- `base` is the version that was in view (0: none). One proposal a patient waits at a time: a further one
-- replaces it.
create table scad.plan_proposal (
    id           bigint generated always as identity primary key,
    patient      text not null references scad.patient,
    base         integer not null check (base >= 0),
    document     jsonb not null,
    reason       text not null check (reason <> ''),
    proposed_by  text not null,
    proposed_at  timestamptz not null,
    state        text not null default 'open'
                 constraint plan_proposal_state check (state in ('open', 'confirmed', 'declined', 'replaced')),
    decided_by   text,
    decided_at   timestamptz,
    note         text not null default '',
    version      integer,                -- what it became
    check ((state = 'open') = (decided_at is null)),
    check ((state = 'confirmed') = (version is not null))
);
create unique index plan_proposal_open on scad.plan_proposal (patient) where state = 'open';
create index plan_proposal_patient on scad.plan_proposal (patient, id);

-- Values that somebody typed in. The value itself takes the way of every reading (outbox, scad.telemetry,
-- intake, scad.reading) under the patient's virtual device with `seq` as its number; this row says who typed it
-- and lets the page say whether it has come back.
create table scad.manual_reading (
    device       text not null,
    seq          bigint not null check (seq > 0),
    patient      text not null references scad.patient,
    kind         text not null,
    measured_at  timestamptz not null,
    "values"     jsonb not null,
    note         text not null default '',
    entered_by   text not null,
    entered_at   timestamptz not null,
    primary key (device, seq)
);
create index manual_reading_patient on scad.manual_reading (patient, entered_at desc);

-- Every interval of one device, whoever had it: whose a device is decides who may be given it, and what goes to
-- Kafka is the device's whole history. It names patients by pseudonym only.
create function scad.device_intervals(which text)
returns table (from_at timestamptz, patient text, to_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select a.from_at, a.patient, a.to_at from scad.assignment a where a.device = which order by a.from_at
$$;
