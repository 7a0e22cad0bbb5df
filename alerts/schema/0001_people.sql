-- People, devices and care plans. Names live in schema `identity` and nowhere else: everything in schema
-- `scad` knows a patient by a pseudonym, so that a dump or a read-only account of `scad` names nobody.

create schema identity;

create table scad.care_team (
    care_team   text primary key check (care_team <> ''),
    name        text not null,
    time_zone   text not null default 'Europe/Paris'
);

create table scad.patient (
    patient      text primary key check (patient <> ''),
    care_team    text not null references scad.care_team,
    enrolled_at  timestamptz not null
);
create index patient_care_team on scad.patient (care_team);

create table identity.person (
    patient      text primary key references scad.patient on delete cascade,
    family_name  text not null,
    given_names  text not null,
    birth_date   date not null,
    sex          text not null check (sex in ('female', 'male', 'unknown')),
    ins          text,
    ins_oid      text,
    phone        text,
    check ((ins is null) = (ins_oid is null))
);
create unique index person_ins on identity.person (ins_oid, ins);

create table scad.device (
    device       text primary key check (device ~ '^[A-Za-z0-9._-]{1,64}$'),
    model        text,
    enrolled_at  timestamptz not null
);

-- Whose a device was when: from inclusive, to exclusive, open when null. Intervals of one device never
-- overlap; alerts.enrol computes them as a whole and holds the device's row while it does.
create table scad.assignment (
    device   text not null references scad.device,
    patient  text not null references scad.patient,
    from_at  timestamptz not null,
    to_at    timestamptz,
    primary key (device, from_at),
    check (to_at > from_at)
);
create index assignment_patient on scad.assignment (patient);
create unique index assignment_open on scad.assignment (device) where to_at is null;

-- `document` is the version as scad.care-plans carries it (streams.plans.PlanVersion). Versions are never
-- changed: a change is a new version.
create table scad.care_plan (
    patient      text not null references scad.patient,
    version      integer not null check (version > 0),
    from_at      timestamptz not null,
    author       text not null default '',
    document     jsonb not null,
    recorded_at  timestamptz not null,
    primary key (patient, version)
);

-- What is to be said on Kafka about a change, written in the change's own transaction. A publisher sends the
-- rows in order of id and deletes them: a crash between the two sends twice, and both topics are compacted.
create table scad.outbox (
    id          bigint generated always as identity primary key,
    topic       text not null,
    key         text not null,
    value       bytea not null,
    queued_at   timestamptz not null
);
