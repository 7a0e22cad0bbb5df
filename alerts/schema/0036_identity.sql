-- Identities encrypted by the application (alerts.identity, docs/identity.md). A row of identity.person is one of
--
--   plain    from before; `scad identity encrypt` seals it
--   sealed   `sealed`: the traits under the patient's own data key (AES-256-GCM); `wrapped`: that key under a master
--            key, which is in a file that the database never sees
--   erased   nothing but when: the key is destroyed
--
-- and is looked up by blind indexes: HMACs whose key is wrapped likewise.

alter table identity.person
    alter family_name drop not null,
    alter given_names drop not null,
    alter birth_date drop not null,
    alter sex drop not null,
    add column sealed      bytea,
    add column wrapped     bytea,
    add column ins_index   bytea unique,
    add column name_index  bytea,
    add column group_sex   text check (group_sex in ('female', 'male', 'unknown')),  -- for statistics of the ward:
    add column group_age   text,                                                    -- no more than these two
    add column erased_at   timestamptz,
    add constraint person_state check (case
        when erased_at is not null then num_nonnulls(sealed, wrapped, ins_index, name_index, group_sex, group_age,
             family_name, given_names, birth_date, sex, ins, ins_oid, phone) = 0
        when sealed is not null then wrapped is not null and name_index is not null
             and num_nonnulls(family_name, given_names, birth_date, sex, ins, ins_oid, phone) = 0
        else num_nonnulls(family_name, given_names, birth_date, sex) = 4
             and num_nonnulls(wrapped, ins_index, name_index) = 0 end);
create index person_name_index on identity.person (name_index);

-- The key of the blind indexes, wrapped by a master key. One row.
create table identity.index_key (
    one      boolean primary key default true check (one),
    wrapped  bytea not null
);

-- What an identity was before it was corrected, under the same data key: it goes with it.
create table identity.former (
    id           bigint generated always as identity primary key,
    patient      text not null references scad.patient,
    sealed       bytea not null,
    replaced_at  timestamptz not null,
    replaced_by  text not null,
    why          text not null
);
create index former_patient on identity.former (patient);

-- Two files of one person: while the link stands, `patient` is shown as the person of `holder`. Nothing else moves:
-- devices, readings, alerts and plans stay with the file that they were recorded in, so that the link can end.
create table identity.link (
    id         bigint generated always as identity primary key,
    patient    text not null references scad.patient,
    holder     text not null references scad.patient,
    linked_at  timestamptz not null,
    linked_by  text not null,
    why        text not null check (why <> ''),
    ended_at   timestamptz,
    ended_by   text,
    ended_why  text,
    check (patient <> holder),
    check (ended_at >= linked_at),
    check ((ended_at is null) = (ended_by is null) and (ended_at is null) = (ended_why is null))
);
create unique index link_standing on identity.link (patient) where ended_at is null;
create index link_holder on identity.link (holder) where ended_at is null;

-- Whose key was destroyed, when, by whom and why, and what remained.
create table identity.erasure (
    patient    text primary key references scad.patient,
    erased_at  timestamptz not null,
    erased_by  text not null,
    why        text not null check (why <> ''),
    remains    jsonb not null
);

-- A holder is nobody's file: otherwise one would have to follow links.
create function identity.link_is_flat() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock(hashtext('identity.link'));
    if new.ended_at is null and exists (
            select from identity.link l where l.ended_at is null and l.id <> new.id
               and (l.patient = new.holder or l.holder = new.patient)) then
        raise exception 'a file that is merged into another cannot hold one, nor the other way round'
            using errcode = 'integrity_constraint_violation';
    end if;
    return new;
end $$;
create trigger link_is_flat before insert or update on identity.link
    for each row execute function identity.link_is_flat();

-- Who may: the feed what its viewer may see, enrolment what it needs; the platform itself needs no names.
revoke all on identity.person from scad_service;
revoke usage on schema identity from scad_service;
call scad.guard_by_patient('identity.link', 'select');
call scad.guard_by_patient('identity.former', 'insert');
call scad.guard('identity.index_key', 'select, insert', 'true', '(select scad.may_act())');
alter table identity.erasure enable row level security;
revoke all on identity.link, identity.erasure from scad_enrol;
grant select on identity.link to scad_enrol;
revoke update, delete on identity.index_key, identity.former from scad_enrol;
do $$
declare
    which regclass;
begin
    foreach which in array array['identity.index_key', 'identity.former', 'identity.link']::regclass[] loop
        execute format('create policy scad_enrol on %s to scad_enrol using (true) with check (true)', which);
    end loop;
end $$;

-- Coarse groups for the dashboards, as before: from the sealed row's two groups, or from a plain one.
create or replace view scad.panel_patient with (security_barrier) as
    select p.patient, p.care_team, p.enrolled_at, coalesce(i.group_sex, i.sex, 'unknown') as sex,
           case when i.group_age is not null then i.group_age
                when i.birth_date is null then 'unknown'
                when age < 50 then 'under 50' when age < 65 then '50-64' when age < 75 then '65-74'
                when age < 85 then '75-84' else '85 and over' end as age_group
      from scad.patient p
      left join identity.person i using (patient)
     cross join lateral (select extract(year from age(p.enrolled_at, i.birth_date)) as age) as at_enrolment
     where p.care_team <> 'synthetic';
