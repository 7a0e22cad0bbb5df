"""How good the rules are: what they raised, what came of it, and how sure that is."""

# ruff: noqa: S608 - the names in braces are parts of queries; what a person chooses is quoted by Grafana

from __future__ import annotations

from alerts.dashboards.care_team import TEXT
from alerts.dashboards.parts import TEAM, ZONE, Board, Panel, Sql, chosen, page_variable, team_variable

UID = "scad-protocol-quality"
SCOPE = (
    f"care_team in ({TEAM}) and protocol in (${{protocol:sqlstring}}) and class = 'clinical'"
    " and $__timeFilter(raised_stored_at)"
)

# Of the judged alerts, how many were worth it, and between which shares the truth lies (95 %).
FIGURES = """count(*) as "raised", count(verdict) as "judged",
       count(*) filter (where verdict = 'acted') as "acted on",
       count(*) filter (where verdict = 'none') as "no action",
       count(*) filter (where verdict = 'false') as "false",
       count(*) filter (where verdict = 'acted')::float8 / nullif(count(verdict), 0) as "ppv",
       scad.wilson_low(count(*) filter (where verdict = 'acted'), count(verdict)) as "ppv from",
       scad.wilson_high(count(*) filter (where verdict = 'acted'), count(verdict)) as "ppv to\""""

RULES = f"""
select protocol, rule, {FIGURES}
  from scad.panel_alert
 where {SCOPE}
 group by protocol, rule
 order by protocol, rule
"""

VERSIONS = f"""
select protocol, rule, protocol_version as "version", {FIGURES}
  from scad.panel_alert
 where {SCOPE}
 group by protocol, rule, protocol_version
 order by protocol, rule, protocol_version
"""

# Patients first: their age and sex are looked up once for each, not for each alert.
PEOPLE = f"""
with mine as (
    select patient, count(*) as n, count(verdict) as judged, count(*) filter (where verdict = 'acted') as acted,
           count(*) filter (where verdict = 'none') as nothing, count(*) filter (where verdict = 'false') as untrue
      from scad.panel_alert
     where {SCOPE}
     group by patient),
figures as (
    select age_group, sex, count(*) as patients, sum(n)::bigint as n, sum(judged)::bigint as judged,
           sum(acted)::bigint as acted, sum(nothing)::bigint as nothing, sum(untrue)::bigint as untrue
      from mine join scad.panel_patient using (patient)
     group by age_group, sex)
select age_group as "age group", sex, patients as "patients", n as "raised", judged as "judged", acted as "acted on",
       nothing as "no action", untrue as "false", acted::float8 / nullif(judged, 0) as "ppv",
       scad.wilson_low(acted, judged) as "ppv from", scad.wilson_high(acted, judged) as "ppv to"
  from figures
 order by array_position(array['under 50', '50-64', '65-74', '75-84', '85 and over'], age_group), sex
"""

FALSE_REASONS = f"""
select rule,
       count(*) filter (where false_reason = 'wrong-patient') as "wrong patient",
       count(*) filter (where false_reason = 'technique') as "technique",
       count(*) filter (where false_reason = 'device') as "device",
       count(*) filter (where false_reason = 'artefact') as "artefact",
       count(*) filter (where false_reason = 'known-condition') as "known condition",
       count(*) filter (where false_reason = 'limit-too-tight') as "limit too tight",
       count(*) filter (where false_reason = 'other') as "other"
  from scad.panel_alert
 where {SCOPE} and false_reason is not null
 group by rule
 order by count(*) desc, rule
"""

MONTHS = f"""
select date_trunc('month', raised_stored_at, {ZONE}) as time, protocol as metric,
       count(*) filter (where verdict = 'acted')::float8 / count(verdict) as value
  from scad.panel_alert
 where {SCOPE}
 group by 1, 2
having count(verdict) > 0
 order by 1, 2
"""

SHARES = {"ppv": "percentunit", "ppv from": "percentunit", "ppv to": "percentunit"}
PPV_STEPS = ((None, "red"), (0.2, "orange"), (0.4, "green"))
HOW = (
    "*ppv*, the positive predictive value: of the judged alerts, the share that led to an action; *from* and *to* are "
    "its 95 % interval (Wilson). Alerts that nobody judged, or whose patient was not reached, are not in it."
)
COLORED = dict.fromkeys(SHARES, TEXT)


def board(page_url: str) -> Board:
    return Board(
        uid=UID,
        title="Protocol quality",
        says="Per rule: raised, acted on, false and why; by version, age and sex. For whoever sets the limits.",
        since="now-90d",
        refresh="15m",
        variables=[
            team_variable(),
            chosen(
                "protocol",
                "Protocol",
                "Protocols whose rules count: those of any care plan.",
                "select distinct unnest(protocols) from scad.panel_plan order by 1",
                several=True,
            ),
            page_variable(page_url),
        ],
        rows=[
            (
                "Rules",
                [
                    Panel(
                        "Rules",
                        "table",
                        f"What each rule raised and what came of it. {HOW}",
                        "fewer than one in five alerts of the rule led to anything. Where *ppv to* is red as well, it "
                        "is no accident: try other limits with `scad score` and publish a new version.",
                        "short",
                        [Sql(RULES)],
                        PPV_STEPS,
                        width=24,
                        height=11,
                        units=SHARES,
                        overrides=COLORED,
                    ),
                    Panel(
                        "False alerts by reason",
                        "barchart",
                        "Why alerts were marked as false, by rule.",
                        "nothing here turns red. *Technique* and *device*: train the patient, change the device; "
                        "*limit too tight*: change the limit; *wrong patient*: somebody else uses the device.",
                        "short",
                        [Sql(FALSE_REASONS)],
                    ),
                    Panel(
                        "Positive predictive value by month",
                        "timeseries",
                        f"By protocol. {HOW}",
                        "a protocol has fallen below one in five: compare *By version*.",
                        "percentunit",
                        [Sql(MONTHS, "time_series")],
                        ((None, "red"), (0.2, "green")),
                        least=0,
                        most=1,
                    ),
                ],
            ),
            (
                "Who and since when",
                [
                    Panel(
                        "By version",
                        "table",
                        "The same by the protocol's version, so that a change can be judged: intervals that do not "
                        f"overlap differ. {HOW}",
                        "the newer version is worse: go back to the former with `scad protocol`.",
                        "short",
                        [Sql(VERSIONS)],
                        PPV_STEPS,
                        width=24,
                        units=SHARES,
                        overrides=COLORED,
                    ),
                    Panel(
                        "By age and sex",
                        "table",
                        "Whether the rules serve everybody alike; the age is that at enrolment. A group of fewer than "
                        f"ten patients says little, and may point to a person: keep it to yourself. {HOW}",
                        "one group's *ppv to* lies below another's *ppv from*: the limits do not fit that group.",
                        "short",
                        [Sql(PEOPLE)],
                        PPV_STEPS,
                        width=24,
                        units=SHARES,
                        overrides=COLORED,
                    ),
                ],
            ),
        ],
    )
