-- Planned absences of patients: in hospital, on holiday. Always with an end; a change of plans ends one early.
create table scad.absence (
    absence      bigint generated always as identity primary key,
    patient      text not null references scad.patient,
    from_at      timestamptz not null,
    to_at        timestamptz not null,
    kind         text not null check (kind in ('hospital', 'holiday', 'other')),
    note         text,
    recorded_by  text not null,
    recorded_at  timestamptz not null,
    ended_by     text,                  -- who ended it before its time; to_at is then when
    ended_at     timestamptz,
    begun        boolean not null default false,  -- whether standing alerts have been held back for it
    check (to_at > from_at or ended_at is not null),
    check ((ended_by is null) = (ended_at is null))
);
create index absence_patient on scad.absence (patient, from_at);
create index absence_to_begin on scad.absence (from_at) where not begun;
