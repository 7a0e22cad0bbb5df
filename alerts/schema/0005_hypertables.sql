-- needs: timescaledb
-- Readings come at some 5 a day and patient, continuous glucose at 288: a thousand patients of whom 50 wear a
-- sensor write 20,000 rows a day. A chunk of a week then has 140,000 rows, 40 MB with its indexes: small enough
-- that the chunks a fortnight's curve touches stay in memory, large enough that twenty years are 1,040 chunks.
-- Events are fewer than one for ten readings and are read by id over all chunks: a quarter of a year each.
-- migrate_data: on a database that was plain PostgreSQL before, the rows move.

select create_hypertable('scad.reading', by_range('measured_at', interval '7 days'),
                         create_default_indexes => false, migrate_data => true);
select create_hypertable('scad.alert_event', by_range('at', interval '90 days'),
                         create_default_indexes => false, migrate_data => true);
