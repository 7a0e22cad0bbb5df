-- A patient's objection to research with the own data. Rows are added, never changed: the last one by id holds.
create table scad.research_objection (
    id           bigint generated always as identity primary key,
    patient      text not null references scad.patient,
    objects      boolean not null,          -- false: the objection was withdrawn
    recorded_at  timestamptz not null,
    recorded_by  text not null
);
create index research_objection_patient on scad.research_objection (patient, id desc);
call scad.guard_by_patient('scad.research_objection', 'select, insert');
