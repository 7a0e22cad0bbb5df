-- needs: community
-- Chunks older than 60 days go to the columnstore: 25 days after the last reading that can still be evaluated.
-- A reading that is later still can be stored, at more cost. TimescaleDB refuses row-level security on such a
-- table: who may see which patient's readings is decided by security-barrier views, never on the table itself.

alter table scad.reading set (timescaledb.compress, timescaledb.compress_segmentby = 'patient, kind',
                              timescaledb.compress_orderby = 'measured_at desc, device, epoch, seq');
select add_compression_policy('scad.reading', interval '60 days');
