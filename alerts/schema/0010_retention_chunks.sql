-- needs: timescaledb
-- A chunk goes when all of it is older than the cutoff: up to a week of older readings stays until then.

create or replace function scad.drop_readings(cutoff timestamptz) returns bigint language sql as $$
    select count(*) from drop_chunks('scad.reading', older_than => cutoff)
$$;
