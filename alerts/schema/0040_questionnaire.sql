-- The patient's tablet: a credential that opens the daily questions of one patient and nothing else, and what was said.

-- A tablet is a device like any other (its readings have its serial and their own numbers). It is linked by a code that
-- a nurse reads out and that is good once; from then on it has a token. Both are kept as SHA-256.
create table scad.tablet (
    device      text primary key references scad.device,
    patient     text not null references scad.patient,
    code_hash   bytea check (length(code_hash) = 32),
    code_until  timestamptz,
    token_hash  bytea unique check (length(token_hash) = 32),
    linked_at   timestamptz,
    issued_by   text not null,
    issued_at   timestamptz not null,
    check ((code_hash is null) = (code_until is null)),
    check ((token_hash is null) = (linked_at is null))
);
create unique index tablet_code on scad.tablet (code_hash);
create index tablet_patient on scad.tablet (patient);
call scad.guard_by_patient('scad.tablet', 'insert, update');
grant select (device, patient, code_until, linked_at, issued_by, issued_at) on scad.tablet to scad_feed;

-- One sitting, word for word: `answers` [{"question","choice","fr":[q,c],"en":[q,c]}], `advice` [{"key","level","fr","en"}]
-- as they were shown, `followed` {advice of an earlier day: "yes" | "partly" | "no"}. Its values took the way of every
-- reading under (device, seq).
create table scad.questionnaire_sitting (
    sitting   uuid primary key,
    patient   text not null references scad.patient,
    device    text not null,
    seq       bigint not null check (seq > 0),
    at        timestamptz not null,
    version   text not null,
    answers   jsonb not null,
    advice    jsonb not null,
    followed  jsonb not null,
    red       boolean not null,
    unique (device, seq)
);
create index questionnaire_sitting_patient on scad.questionnaire_sitting (patient, at desc);
call scad.guard_by_patient('scad.questionnaire_sitting', 'select');

-- The tablet's three doors. They run with the owner's rights for scad_login, which sees no table about patients: a token
-- opens its own patient's questions, and nothing asks for a patient by name.

create function scad.tablet_link(code bytea, token bytea, now_ timestamptz) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with linked as (
        update scad.tablet set token_hash = token, linked_at = now_, code_hash = null, code_until = null
         where code_hash = code and code_until > now_ returning 1)
    select exists (select from linked)
$$;

-- Whose questions the token opens: as long as the device is the patient's. `plan` is the version in force; `advised` the
-- keys of all advice of the last day with an answer, which the next day asks about.
create function scad.tablet_of(token bytea, now_ timestamptz)
returns table (device text, time_zone text, plan jsonb, last_at timestamptz, last_advice jsonb, last_red boolean,
               advised text[])
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select t.device, c.time_zone,
           (select v.document from scad.care_plan v where v.patient = t.patient and v.from_at <= now_
             order by v.from_at desc, v.version desc limit 1),
           s.at, s.advice, s.red,
           array(select one ->> 'key' from scad.questionnaire_sitting q cross join jsonb_array_elements(q.advice) one
                  where q.patient = t.patient
                    and (q.at at time zone c.time_zone)::date = (s.at at time zone c.time_zone)::date
                  order by q.at)
      from scad.tablet t
      join scad.assignment a on a.device = t.device and a.patient = t.patient
           and a.from_at <= now_ and (a.to_at is null or a.to_at > now_)
      join scad.patient p on p.patient = t.patient
      join scad.care_team c on c.care_team = p.care_team
      left join lateral (select q.at, q.advice, q.red from scad.questionnaire_sitting q
                          where q.patient = t.patient order by q.at desc, q.seq desc limit 1) s on true
     where t.token_hash = token
$$;

-- Keep a sitting and send its reading, once: the same sitting again changes nothing. `payload` is the reading without
-- device and number, which are put in here. True when it is new.
create function scad.tablet_store(token bytea, now_ timestamptz, sitting_ uuid, version_ text, answers_ jsonb,
                                  advice_ jsonb, followed_ jsonb, red_ boolean, payload jsonb, headers_ jsonb)
returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    which text;
    whose text;
    number bigint;
begin
    select t.device, t.patient into which, whose
      from scad.tablet t
      join scad.assignment a on a.device = t.device and a.patient = t.patient
           and a.from_at <= now_ and (a.to_at is null or a.to_at > now_)
     where t.token_hash = token for update of t;
    if which is null then
        raise exception 'the tablet is not linked' using errcode = 'insufficient_privilege';
    end if;
    if exists (select from scad.questionnaire_sitting s where s.sitting = sitting_) then
        return false;
    end if;
    select coalesce(max(s.seq), 0) + 1 into number from scad.questionnaire_sitting s where s.device = which;
    insert into scad.questionnaire_sitting (sitting, patient, device, seq, at, version, answers, advice, followed, red)
    values (sitting_, whose, which, number, now_, version_, answers_, advice_, followed_, red_);
    insert into scad.outbox (topic, key, value, headers, queued_at)
    values ('scad.telemetry', which,
            convert_to((payload || jsonb_build_object('device', which, 'seq', number))::text, 'UTF8'), headers_, now_);
    return true;
end $$;

revoke execute on function scad.tablet_link(bytea, bytea, timestamptz), scad.tablet_of(bytea, timestamptz),
    scad.tablet_store(bytea, timestamptz, uuid, text, jsonb, jsonb, jsonb, boolean, jsonb, jsonb) from public;
grant execute on function scad.tablet_link(bytea, bytea, timestamptz), scad.tablet_of(bytea, timestamptz),
    scad.tablet_store(bytea, timestamptz, uuid, text, jsonb, jsonb, jsonb, boolean, jsonb, jsonb) to scad_login;
