-- without: community
-- Adherence of a team is how many readings each of 90 days had, of every patient: a million rows that lie in the order
-- of days. With the number in the index, those of one patient lie together. (The community edition's continuous
-- aggregate has its own indexes.) Made anew once: ten seconds for ten million days.

alter table scad.reading_daily_rows
    drop constraint reading_daily_rows_pkey,
    add constraint reading_daily_rows_pkey primary key (patient, kind, day) include (n);
