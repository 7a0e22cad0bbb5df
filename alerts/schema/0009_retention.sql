-- Retention: `scad schema retain` calls scad.apply_retention; on the community edition its scheduler does too.
-- scad.drop_readings is what the editions do differently; here by rows, on TimescaleDB (0010) by whole chunks.

create function scad.drop_readings(cutoff timestamptz) returns bigint language plpgsql as $$
declare dropped bigint;
begin
    delete from scad.reading where measured_at < cutoff;
    get diagnostics dropped = row_count;
    return dropped;
end $$;

-- Deletes readings measured more than `keep` before `as_of`, with their identities and conflicts. Returns the
-- number of readings (on TimescaleDB: chunks) that went. Refuses to reach into the horizon of late readings.
create function scad.apply_retention(keep interval, as_of timestamptz default now()) returns bigint
language plpgsql as $$
declare
    cutoff timestamptz := as_of - keep;
    dropped bigint;
begin
    if keep < interval '36 days' then
        raise exception 'readings cannot be kept for less than 36 days (asked: %)', keep
            using hint = 'a reading may arrive 35 days late and is evaluated with those before it',
                  errcode = 'invalid_parameter_value';
    end if;
    dropped := scad.drop_readings(cutoff);
    delete from scad.reading_conflict c
     where exists (select from scad.reading_identity i
                    where (i.device, i.epoch, i.seq) = (c.device, c.epoch, c.seq) and i.measured_at < cutoff);
    delete from scad.reading_identity i
     where i.measured_at < cutoff
       and not exists (select from scad.reading r
                        where (r.measured_at, r.device, r.epoch, r.seq, r.digest)
                            = (i.measured_at, i.device, i.epoch, i.seq, i.digest));
    return dropped;
end $$;

-- Deletes what left quarantine, or has lain there unmended, longer ago than table scad.retention says.
create function scad.forget_quarantine(as_of timestamptz default now()) returns bigint language plpgsql as $$
declare
    deleted bigint;
begin
    delete from scad.quarantine
     where stored_at < as_of - (select keep from scad.retention where data = 'quarantine');
    get diagnostics deleted = row_count;
    return deleted;
end $$;
