-- Settings and digests of a team are that team's: 0020 showed them to everybody who had logged in. Administrators set
-- the times of every team; who looks after the platform sees of every digest when it was made and how many alerts
-- it was about, as they see the messages.

alter policy seen on scad.service_times using (
    (select scad.my_role()) is not null
    and (care_team = any((select scad.my_teams())::text[]) or (select scad.my_role()) = 'administrator'));
alter policy seen on scad.digest using (
    (select scad.my_role()) is not null
    and (care_team = any((select scad.my_teams())::text[]) or (select scad.my_role()) in ('administrator', 'engineer')));

-- Why a version was set, in a sentence; empty where nobody said.
alter table scad.service_times add column reason text not null default '';
