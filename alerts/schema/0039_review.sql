-- The human guarantee (code de la santé publique, L. 4001-3): what people made of a rule's alerts is looked at by
-- people, and what they concluded is kept. `figures` are those that were on the page.
create table scad.rule_review (
    id           bigint generated always as identity primary key,
    care_team    text not null references scad.care_team,
    protocol     text not null,
    rule         text not null,
    from_at      timestamptz not null,
    to_at        timestamptz not null,
    figures      jsonb not null,
    decision     text not null
                 constraint rule_review_decision check (decision in ('keep', 'limits', 'rule', 'technique', 'stop')),
    note         text not null check (btrim(note) <> ''),
    reviewed_by  text not null,
    reviewed_at  timestamptz not null,
    check (to_at > from_at)
);
create index rule_review_rule on scad.rule_review (care_team, protocol, rule, reviewed_at desc);

call scad.guard('scad.rule_review', 'select, insert', 'care_team = any((select scad.my_teams())::text[])',
                '(select scad.my_role()) = ''physician'' and care_team = any((select scad.my_teams())::text[])');

create function scad.rule_review_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'scad.rule_review is append-only: % refused', lower(tg_op)
        using hint = 'a further review is a further row', errcode = 'integrity_constraint_violation';
end $$;
create trigger rule_review_append_only before update or delete on scad.rule_review
    for each row execute function scad.rule_review_append_only();
create trigger rule_review_no_truncate before truncate on scad.rule_review
    for each statement execute function scad.rule_review_append_only();
