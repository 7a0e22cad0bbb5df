-- Readings, and what was refused. No foreign key leads from a stream's row to enrolment: what a device said is
-- kept even where the enrolment that explains it was restored from an older backup.

-- `digest` names the content (alerts.store.content_digest): the same identity with other content is a second
-- row, the same content again is no row. `value` is the kind's main number (systolic for blood pressure), so
-- that a curve needs no JSON. `received_at` is the earliest of the copies' instants.
create table scad.reading (
    measured_at  timestamptz not null,
    device       text not null,
    epoch        bigint not null,
    seq          bigint not null,
    digest       bytea not null check (length(digest) = 16),
    patient      text not null,
    kind         text not null,
    value        double precision,
    "values"     jsonb not null,
    flags        text[] not null default '{}',
    context      jsonb not null default '{}',
    marks        text[] not null default '{}',
    offset_min   smallint not null default 0,
    too_late     boolean not null default false,
    received_at  timestamptz not null,
    stored_at    timestamptz not null,
    primary key (measured_at, device, epoch, seq, digest)
);
create index reading_patient_kind on scad.reading (patient, kind, measured_at desc);

-- The index over (device, epoch, seq) that a hypertable cannot have, because its unique indexes contain the
-- time: finds a conflict and, for `scad trace`, a reading, without looking into every chunk.
create table scad.reading_identity (
    device       text not null,
    epoch        bigint not null,
    seq          bigint not null,
    digest       bytea not null,
    measured_at  timestamptz not null,
    primary key (device, epoch, seq, digest)
);
create index reading_identity_measured_at on scad.reading_identity (measured_at);

-- An identity that came with more than one content; all of them are in scad.reading.
create table scad.reading_conflict (
    device     text not null,
    epoch      bigint not null,
    seq        bigint not null,
    contents   integer not null check (contents > 1),
    first_at   timestamptz not null,
    last_at    timestamptz not null,
    primary key (device, epoch, seq)
);

-- What was refused, whole. `source_*` say where the record lay in Kafka: for an entry of topic scad.quarantine
-- the newest such record (a higher offset after a replay means: refused again), for a poison record of any
-- other topic the record itself. States: open; replayed (sent through again, nothing heard yet); resolved (its
-- reading is stored).
create table scad.quarantine (
    id                text primary key,
    device            text not null,
    epoch             bigint not null default 0,
    seq               bigint,
    reason            text not null,
    detail            text not null,
    received_at       timestamptz not null,
    raw               bytea not null,
    state             text not null default 'open'
                      constraint quarantine_state check (state in ('open', 'replayed', 'resolved')),
    times             integer not null default 1,
    source_topic      text not null,
    source_partition  integer not null,
    source_offset     bigint not null,
    source_key        bytea,
    stored_at         timestamptz not null,
    replayed_at       timestamptz,
    resolved_at       timestamptz
);
create index quarantine_state_received on scad.quarantine (state, received_at desc);
create index quarantine_identity on scad.quarantine (device, epoch, seq);

-- The last that each device said of itself.
create table scad.device_status (
    device       text primary key,
    state        text not null check (state in ('online', 'offline')),
    battery      smallint check (battery between 0 and 100),
    firmware     text,
    received_at  timestamptz not null
);

-- How long each kind of data is kept; `scad schema retain`, or the database's own scheduler on the community
-- edition, deletes what is older. Twenty years is what French law asks of a hospital's record (code de la
-- santé publique, R. 1112-7).
create table scad.retention (
    data  text primary key check (data in ('reading', 'quarantine')),
    keep  interval not null check (keep >= interval '36 days')  -- never inside the horizon of late readings
);
insert into scad.retention values ('reading', interval '20 years'), ('quarantine', interval '1 year');
