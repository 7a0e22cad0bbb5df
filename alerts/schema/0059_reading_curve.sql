-- A curve of 90 days of a glucose sensor is 26,000 readings, and they lie in the order in which everybody's came: each
-- on a page of its own. The index now carries what a curve and the figures beside it show, so that one patient's are
-- read from some hundred pages. It takes some 40 bytes a reading more. Made anew once; writers wait meanwhile (some
-- three minutes for a hundred million readings).

drop index scad.reading_patient_kind;
create index reading_patient_kind on scad.reading (patient, kind, measured_at desc) include (value, received_at, marks);
