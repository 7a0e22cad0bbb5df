-- `scad enrol` records planned absences too. It may add one and see what is known, and neither change nor end one: people
-- do that on the page. Alerts that stand are held back by `scad escalation`, as for an absence that begins later.
grant select, insert on scad.absence to scad_enrol;

do $$
begin
    if (select relrowsecurity from pg_class where oid = 'scad.absence'::regclass) then
        create policy scad_enrol on scad.absence to scad_enrol using (true) with check (true);
    end if;
end $$;
