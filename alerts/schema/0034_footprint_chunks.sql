-- needs: timescaledb
-- A hypertable's bytes are its chunks'.

create or replace function scad.footprint()
returns table (relation text, rows_estimate bigint, bytes bigint, uncompressed bigint)
language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
    select n.nspname || '.' || c.relname, s.rows, s.bytes, s.bytes
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      left join timescaledb_information.hypertables h
             on h.hypertable_schema = n.nspname and h.hypertable_name = c.relname
     cross join lateral (
           select case when h.hypertable_name is null then pg_total_relation_size(c.oid)
                       else hypertable_size(c.oid) end as bytes,
                  case when h.hypertable_name is null then greatest(c.reltuples, 0)::bigint
                       else approximate_row_count(c.oid) end as rows) s
     where n.nspname in ('scad', 'identity') and c.relkind = 'r'
$$;
