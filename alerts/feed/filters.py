"""What part of the queue somebody wants to see: kept in the address, so that it can be sent and kept.

A filter chooses rows: a patient's row is shown, with all its alerts, when one of them matches. The same rule
stands here twice, as SQL for the first page and in Python for rows that change; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Query

from alerts.feed.kinds import CURVE_KINDS
from alerts.feed.limits import PROTOCOL_KINDS, RULE_KINDS, kinds_of_alert
from alerts.feed.models import Alert, AlertClass, Severity
from alerts.feed.viewer import Viewer

Who = Literal["", "mine", "unassigned"]
SECTIONS: tuple[AlertClass, ...] = ("clinical", "technical")
KIND_PATTERN = r"^([a-z-]{1,32})?$"
TEAM_PATTERN = r"^[^\x00-\x1f/]{0,128}$"


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty fields leave everything in."""

    who: Who = ""
    severity: Severity | Literal[""] = ""
    measure: str = ""
    section: AlertClass | Literal[""] = ""
    overdue: bool = False
    escalated: bool = False
    snoozed: bool = False
    team: str = ""

    @property
    def sections(self) -> tuple[AlertClass, ...]:
        return (self.section,) if self.section else SECTIONS

    @property
    def empty(self) -> bool:
        return self == Filter()

    def query(self, **more: object) -> str:
        """The filter, and `more`, as an address: "?who=mine", or "/" for everything."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        given = {name: "1" if value is True else value for name, value in {**fields, **more}.items() if value}
        return f"/?{urlencode(given)}" if given else "/"

    def matches(self, alert: Alert, viewer: Viewer, now: datetime, care_team: str = "") -> bool:
        """Whether this alert puts its patient's row on the page; `care_team` is the patient's."""
        return (not self.team or care_team == self.team) and (
            (self.who != "mine" or alert.holder == viewer.login)
            and (self.who != "unassigned" or alert.holder is None)
            and (not self.severity or alert.severity == self.severity)
            and (not self.measure or self.measure in kinds_of_alert(alert))
            and (not self.overdue or (alert.waiting and alert.due_at is not None and alert.due_at < now))
            and (not self.escalated or alert.escalation_level > 0)
        )

    def parameters(self, viewer: Viewer, now: datetime) -> dict[str, Any]:
        """Values for SQL."""
        rules = [rule for rule, kinds in RULE_KINDS.items() if self.measure in kinds]
        return {
            "who": self.who,
            "me": viewer.login,
            "severity": self.severity,
            "measure": self.measure,
            "curve_kinds": list(CURVE_KINDS),
            "rules": rules,
            "other_rules": list(RULE_KINDS),
            "protocols": [p for p, kinds in PROTOCOL_KINDS.items() if self.measure in kinds],
            "overdue": self.overdue,
            "escalated": self.escalated,
            "snoozed": self.snoozed,
            "team": self.team,
            "now": now,
        }


SQL = """(
      (%(team)s = '' or p.care_team = %(team)s)
  and (%(who)s <> 'mine' or coalesce(a.assignee, a.acknowledged_by) = %(me)s)
  and (%(who)s <> 'unassigned' or coalesce(a.assignee, a.acknowledged_by) is null)
  and (%(severity)s = '' or a.severity = %(severity)s)
  and (%(measure)s = '' or case
        when exists (select from jsonb_array_elements(a.evidence) e
                      where e ->> 'kind' = any(%(curve_kinds)s::text[]))
        then exists (select from jsonb_array_elements(a.evidence) e where e ->> 'kind' = %(measure)s)
        when a.rule = any(%(other_rules)s::text[]) then a.rule = any(%(rules)s::text[])
        else a.protocol = any(%(protocols)s::text[]) end)
  and (not %(overdue)s or (a.state in ('open', 'escalated') and a.due_at < %(now)s))
  and (not %(escalated)s or a.escalation_level > 0))"""
"""`Filter.matches` over a row `a` of scad.queue with its patient `p`."""


def filter_of_request(
    who: Annotated[Who, Query()] = "",
    severity: Annotated[Severity | Literal[""], Query()] = "",
    measure: Annotated[str, Query(pattern=KIND_PATTERN)] = "",
    section: Annotated[AlertClass | Literal[""], Query()] = "",
    overdue: Annotated[bool, Query()] = False,
    escalated: Annotated[bool, Query()] = False,
    snoozed: Annotated[bool, Query()] = False,
    team: Annotated[str, Query(pattern=TEAM_PATTERN)] = "",
) -> Filter:
    """The dependency of the queue's routes."""
    return Filter(who, severity, measure, section, overdue, escalated, snoozed, team)


PRESETS: Mapping[str, Filter] = {
    "all": Filter(),
    "mine": Filter(who="mine"),
    "unassigned": Filter(who="unassigned"),
    "overdue": Filter(overdue=True),
    "high": Filter(severity="high"),
    "escalated": Filter(escalated=True),
    "technical": Filter(section="technical"),
    "snoozed": Filter(snoozed=True),
}
"""Name (a text filter.NAME) to the filter behind it."""
