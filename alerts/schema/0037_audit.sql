-- The trail of accesses: who saw or did what, when, from where and why (alerts.audit, docs/audit.md).
--
-- A line is JSON text exactly as it was hashed, and carries its own number: hash = SHA-256 of the hash before, as 64
-- hexadecimal digits, and the line. Nobody but its owner can write into the tables: everybody else calls
-- audit.append, which numbers and chains. It holds one lock until its transaction ends, so it is called in a short
-- transaction of its own, with as many lines at once as there are.

create schema audit;

create table audit.entry (
    n     bigint primary key,
    line  text not null,
    hash  bytea not null check (length(hash) = 32)
);
create index entry_patients on audit.entry using gin ((line::jsonb -> 'patients'));
create index entry_at on audit.entry ((line::jsonb ->> 'at'));

-- What the chain was at a line, vouched for by who has the key (`mac`, alerts.audit.chain). With `cut` the lines up to
-- `n` were kept their time and deleted: the trail begins behind it.
create table audit.checkpoint (
    n     bigint not null,
    hash  bytea not null check (length(hash) = 32),
    at    timestamptz not null,
    cut   boolean not null default false,
    mac   bytea,
    primary key (n, cut)
);

-- How long lines are kept (clinical reference, section 9: six months at least, twelve recommended).
create table audit.retention (
    one   boolean primary key default true check (one),
    keep  interval not null default interval '12 months' check (keep >= interval '6 months')
);
insert into audit.retention default values;

-- Append lines: JSON objects as text, without a number. Returns the number and hash of the last.
create function audit.append(lines text[]) returns table (n bigint, hash bytea)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    place bigint;
    chain bytea;
    said text;
begin
    perform pg_advisory_xact_lock(hashtext('audit.entry'));
    select e.n, e.hash into place, chain from audit.entry e order by e.n desc limit 1;
    if not found then  -- empty, or everything was kept its time
        select c.n, c.hash into place, chain from audit.checkpoint c where c.cut order by c.n desc limit 1;
    end if;
    place := coalesce(place, 0);
    chain := coalesce(chain, decode(repeat('00', 32), 'hex'));
    foreach said in array lines loop
        if left(said, 2) <> '{"' or jsonb_typeof(said::jsonb) <> 'object' or position(E'\n' in said) > 0
                or said::jsonb ? 'n' then
            raise exception 'a line of the trail is a JSON object on one line, without a number of its own'
                using errcode = 'invalid_parameter_value';
        end if;
        place := place + 1;
        said := '{"n":' || place || ',' || substr(said, 2);
        chain := sha256(convert_to(encode(chain, 'hex') || said, 'UTF8'));
        insert into audit.entry values (place, said, chain);
    end loop;
    return query select place, chain;
end $$;
revoke execute on function audit.append(text[]) from public;

-- Vouch for the chain at a line that is there, once.
create function audit.vouch(which bigint, seen bytea, at_ timestamptz, mac bytea) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with added as (
        insert into audit.checkpoint (n, hash, at, mac)
        select which, seen, at_, mac
         where exists (select from audit.entry e where e.n = which and e.hash = seen)
        on conflict do nothing returning 1)
    select exists (select from added)
$$;
revoke execute on function audit.vouch(bigint, bytea, timestamptz, bytea) from public;

-- Nothing is changed; lines are deleted by audit.cut only.
create function audit.append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_setting('audit.cutting', true) = 'on' then
        return old;
    end if;
    raise exception '% is append-only: % refused', tg_relid::regclass, lower(tg_op)
        using hint = 'lines that were kept their time are deleted by `scad audit retain`',
              errcode = 'integrity_constraint_violation';
end $$;
create trigger entry_append_only before update or delete on audit.entry
    for each row execute function audit.append_only();
create trigger entry_no_truncate before truncate on audit.entry
    for each statement execute function audit.append_only();
create trigger checkpoint_append_only before update or delete on audit.checkpoint
    for each row execute function audit.append_only();
create trigger checkpoint_no_truncate before truncate on audit.checkpoint
    for each statement execute function audit.append_only();

-- Delete the lines up to `last`, whose hash is left as the anchor that the trail begins behind. For the owner.
create function audit.cut(last bigint, at_ timestamptz, mac bytea) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    gone bigint;
begin
    perform pg_advisory_xact_lock(hashtext('audit.entry'));
    insert into audit.checkpoint (n, hash, at, cut, mac)
    select e.n, e.hash, at_, true, mac from audit.entry e where e.n = last;
    if not found then
        raise exception 'line % is not in the trail', last;
    end if;
    perform set_config('audit.cutting', 'on', true);
    delete from audit.entry e where e.n <= last;
    get diagnostics gone = row_count;
    perform set_config('audit.cutting', '', true);
    return gone;
end $$;
revoke execute on function audit.cut(bigint, timestamptz, bytea) from public;

-- Who may read it: an auditor, of the own team's patients or all; each read is itself a line. Lines that name
-- patients of several teams are shown to who sees one of them; pseudonyms say nothing to others.
create function audit.lines(which text, after bigint, most integer)
returns table (n bigint, line text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select e.n, e.line from audit.entry e
     where (select scad.my_role()) = 'auditor' and e.n > after
       and case when which is not null
                then e.line::jsonb -> 'patients' ? which
                     and exists (select from scad.patient p
                                  where p.patient = which and p.care_team = any((select scad.my_teams())::text[]))
                else (select a.care_team is null from scad.my_account() a) end
     order by e.n limit most
$$;
revoke execute on function audit.lines(text, bigint, integer) from public;

grant usage on schema audit to scad_feed, scad_login, scad_service, scad_enrol, scad_escalation, scad_writer;
grant execute on function audit.append(text[]), audit.vouch(bigint, bytea, timestamptz, bytea)
    to scad_feed, scad_login, scad_service, scad_enrol, scad_escalation;
grant execute on function audit.lines(text, bigint, integer) to scad_feed;
