-- Merging, splitting and erasing from the feed's pages (docs/identity.md): what `scad identity` does as the owner, under
-- the rights of whoever is logged in. Each row says who did it, and nobody can say that it was somebody else.

-- ── two files of one person: a nurse or physician of the team that both are of ─────────────────────────────
grant insert (patient, holder, linked_at, linked_by, why), update (ended_at, ended_by, ended_why)
    on identity.link to scad_feed;
create policy of_one_team on identity.link as restrictive for insert to scad_feed with check (
    linked_by = (select scad.my_login()) and ended_at is null
    and exists (select from scad.patient p join scad.patient h using (care_team)
                 where p.patient = identity.link.patient and h.patient = identity.link.holder
                   and p.care_team = any((select scad.my_teams())::text[])));
create policy ended_by_whom on identity.link as restrictive for update to scad_feed
    using (true) with check (ended_by is null or ended_by = (select scad.my_login()));

-- ── erasure: a physician ────────────────────────────────────────────────────────────────────────────────────
call scad.guard_by_patient('identity.erasure', 'select, insert');
create policy by_a_physician on identity.erasure as restrictive for insert to scad_feed
    with check ((select scad.my_role()) = 'physician' and erased_by = (select scad.my_login()));
grant select (patient), delete on identity.former to scad_feed;
create policy by_a_physician on identity.former as restrictive for delete to scad_feed
    using ((select scad.my_role()) = 'physician');
create policy erased_by_a_physician on identity.person as restrictive for update to scad_feed
    using (true) with check (erased_at is null or (select scad.my_role()) = 'physician');
