-- Planned absences for the dashboards: who is away, and when. Adherence leaves those days out, as the page does. Not why
-- somebody is away, no note, not who recorded it; one that was ended before it began is none.
create view scad.panel_absence with (security_barrier) as
    select a.patient, a.from_at, a.to_at
      from scad.absence a join scad.panel_patient p using (patient)
     where a.to_at > a.from_at;
