-- 0050_writer_offsets
-- How far the writer has come in each partition of Kafka, written in the transaction that writes the records. Kafka
-- has the group's offsets too, but they know nothing of a database that was restored: the writer begins at the lower
-- of the two, so what a backup lacks comes again. No device, no patient.

create table scad.writer_offset (
    topic        text not null,
    partition    integer not null,
    next_offset  bigint not null check (next_offset >= 0),  -- of the first record that is not in this database
    moved_at     timestamptz not null,
    primary key (topic, partition)
);
grant select, insert, update on scad.writer_offset to scad_writer;
