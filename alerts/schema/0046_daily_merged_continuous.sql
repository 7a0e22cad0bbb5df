-- needs: community
-- The writer calls it on every edition; the continuous aggregate keeps itself up to date.

create or replace function scad.merge_daily(
    patients text[], kinds text[], instants timestamptz[], amounts double precision[]
) returns void language sql as $$ select $$;
