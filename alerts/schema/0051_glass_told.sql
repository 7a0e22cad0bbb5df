-- Breaking the glass is told to the administrators over the channels of escalation (docs/audit.md, docs/escalation.md).
-- The process that sends learns that a glass was broken, when, and by somebody of which team; neither the patient nor
-- the reason, which somebody may have named a person in.

-- Where administrators are told. One address a channel and person; without a row the page alone tells them.
create table scad.administrator_contact (
    login    text not null references scad.account on delete cascade,
    channel  text not null check (channel in ('mail', 'webhook')),
    address  text not null check (length(address) between 3 and 500),
    primary key (login, channel)
);
call scad.guard('scad.administrator_contact', 'select, insert, update, delete',
                '(select scad.my_role()) = ''administrator''', '(select scad.my_role()) = ''administrator''');
grant select on scad.administrator_contact to scad_escalation;
create policy scad_escalation on scad.administrator_contact for select to scad_escalation using (true);

-- Since when it is on its way to them; null: not yet. What was opened before this release nobody is woken for.
alter table scad.glass add column told_at timestamptz;
update scad.glass set told_at = opened_at;
create index glass_untold on scad.glass (id) where told_at is null;
grant select (id, login, opened_at, told_at, reviewed_at), update (told_at) on scad.glass to scad_escalation;
create policy scad_escalation on scad.glass to scad_escalation using (true) with check (true);

-- Who is an administrator, and whose team somebody is of. No name, no password.
grant select (login, role, care_team, language, disabled_at) on scad.account to scad_escalation;
create policy scad_escalation on scad.account for select to scad_escalation using (true);

alter table scad.notification drop constraint notification_kind_check;
alter table scad.notification add constraint notification_kind_check check (kind in ('escalation', 'digest', 'glass'));

-- Which broken glasses a message is about. The key is what keeps anybody from being told twice of the same.
create table scad.notification_glass (
    glass         bigint not null references scad.glass,
    channel       text not null,
    person        text not null,
    notification  bigint not null references scad.notification,
    primary key (glass, channel, person)
);
create index notification_glass_notification on scad.notification_glass (notification);
call scad.guard('scad.notification_glass', 'select',
                '(select scad.my_role()) in (''administrator'', ''engineer'', ''auditor'')', 'false');
grant select, insert on scad.notification_glass to scad_escalation;
create policy scad_escalation on scad.notification_glass to scad_escalation using (true) with check (true);
