"""Why was there no alert? What the database knows about an instant of a patient, as sentences.

Alerts come first (they may have stood, been hidden or been dealt with), then absences, then the readings that
were looked at and those that were not, and what was refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal
from uuid import UUID

from alerts.feed.database import Connection
from alerts.feed.formats import Formats
from alerts.feed.kinds import unit_of
from alerts.feed.models import Model
from alerts.feed.texts import LANGUAGES, Texts
from devices.times import from_datetime
from streams.protocols import Library, Rule, load_published

LOOK_BACK = timedelta(days=14)
"""Readings are looked for this far back: the longest schedule of daily measurements, twice a week, four times."""
REFUSED_BACK = timedelta(hours=24)
REASONS_MAX = 50  # more would be a page of its own; the latest alerts come first

Code = Literal[
    "stood", "acknowledged", "snoozed", "closed", "inhibited", "refractory", "absence", "away", "not-yet-known",
    "without-cause", "no-plan", "not-on-plan", "unknown-rule", "no-readings", "too-late", "not-yet-received",
    "artefact", "within-limits", "quarantined",
]  # fmt: skip


class Reason(Model):
    """One reason, by name and in words. `alert` where it is about one."""

    reason: Code
    fr: str
    en: str
    alert: UUID | None = None
    rule: str | None = None
    kind: str | None = None
    value: float | None = None
    unit: str | None = None
    measured_at: datetime | None = None


_ALERTS = """
select a.alert, a.rule, a.peak_severity, a.opened_at, a.raised_stored_at, a.reason
  from scad.alert a
 where a.patient = %(patient)s and a.opened_at <= %(at)s and a.superseded_by is null
   and (%(rule)s::text is null or a.rule = %(rule)s)
   and coalesce(greatest(a.cleared_at, a.closed_at), 'infinity') >= %(at)s
 order by a.opened_at desc, a.alert limit %(limit)s"""

# The last of each sort of step that was on record by then. Undo restores what was before: its body says it.
_STEPS = """
select distinct on (e.alert, e.event in ('inhibited', 'suppressed', 'released'))
       e.alert, e.event, e.recorded_at, e.body, coalesce(c.display_name, e.actor) as who,
       (select rule from scad.alert b where b.alert::text = e.body ->> 'by') as by_rule
  from scad.my_alert_event e left join scad.account c on c.login = e.actor
 where e.alert = any(%(alerts)s) and e.kind = 'action' and e.recorded_at <= %(at)s
   and (e.event in ('inhibited', 'suppressed', 'released') or e.body ? 'after')
 order by e.alert, e.event in ('inhibited', 'suppressed', 'released'), e.id desc"""

_ABSENCES = """
select kind, from_at, to_at from scad.absence
 where patient = %(patient)s and from_at <= %(at)s and to_at > %(at)s and recorded_at <= %(at)s
 order by from_at"""

_PLAN = """
select v.version, v.document, t.time_zone
  from scad.patient p join scad.care_team t using (care_team)
  left join lateral (select version, document from scad.care_plan
                      where patient = p.patient and from_at <= %(at)s
                      order by from_at desc, version desc limit 1) v on true
 where p.patient = %(patient)s"""

_READINGS = """
select distinct on (kind) kind, value, measured_at, received_at, marks, too_late
  from scad.my_reading
 where patient = %(patient)s and measured_at <= %(at)s and measured_at > %(since)s
 order by kind, measured_at desc"""

_REFUSED = """
select q.reason, count(*) as n from scad.quarantine q
 where q.received_at between %(since)s and %(at)s
   and q.device in (select s.device from scad.assignment s
                     where s.patient = %(patient)s and s.from_at <= %(at)s
                       and coalesce(s.to_at, 'infinity') > %(since)s)
 group by q.reason order by q.reason"""


@cache
def _library() -> Library:
    return load_published()


class _Sentences:
    """Makes reasons: the same values in every language, instants by the clocks of the patient's team."""

    def __init__(self, zone: str, at: datetime) -> None:
        self._formats = [Formats(Texts(language), zone) for language in LANGUAGES]
        self._at_ms = from_datetime(at)

    def __call__(self, code: Code, fields: Mapping[str, Any] | None = None, **values: Any) -> Reason:
        """`values` fill the sentence in; `fields` are those of the answer."""
        words = {}
        for formats in self._formats:
            shown = {name: self._shown(formats, name, value) for name, value in values.items()}
            words[formats.language] = formats.texts(f"why.{code}", **shown)
        return Reason.model_validate({"reason": code, **words, **(fields or {})})

    def _shown(self, formats: Formats, name: str, value: Any) -> Any:
        if isinstance(value, datetime):
            return formats.moment(from_datetime(value), self._at_ms)
        if name == "value":
            return formats.quantity(value[0], value[1])
        if name == "limits":
            shown = [
                f"{formats.texts.term('rule', rule)} {sign} {formats.quantity(limit, unit, exact=True)}"
                for rule, sign, limit, unit in value
            ]
            return formats.texts("why.limits", list=", ".join(shown)) if shown else ""
        if isinstance(value, tuple):  # a term of the catalogue: its table and name
            return formats.texts.term(*value)
        return value


async def why(conn: Connection, patient: str, at: datetime, rule: str | None = None) -> list[Reason]:
    """The reasons for what was and was not in the queue about `patient` at `at`, as known now.

    With `rule` only what concerns it. The patient must be one whom the viewer may see.
    """
    asked = {"patient": patient, "at": at, "rule": rule, "since": at - LOOK_BACK, "limit": REASONS_MAX}
    found = await (await conn.execute(_PLAN, asked)).fetchone()
    zone = found["time_zone"] if found is not None else "Europe/Paris"
    say = _Sentences(zone, at)
    reasons = await _of_alerts(conn, say, asked)
    for row in await (await conn.execute(_ABSENCES, asked)).fetchall():
        away = {"kind": ("absence", row["kind"]), "from": row["from_at"], "until": row["to_at"]}
        reasons.append(say("away", **away))
    if found is None or found["version"] is None:
        return [*reasons, say("no-plan")]
    rules = _rules(found["document"]["protocols"], from_datetime(at))
    if rule is not None:
        reasons += _of_rule(say, rule, rules, found["version"])
    reasons += await _of_readings(conn, say, asked, rules, found)
    refused = {**asked, "since": at - REFUSED_BACK}
    rows = await (await conn.execute(_REFUSED, refused)).fetchall()
    if rows:
        total, hours = sum(row["n"] for row in rows), int(REFUSED_BACK.total_seconds() // 3600)
        reasons.append(
            say("quarantined", n=total, hours=hours, reasons=", ".join(row["reason"] for row in rows))
        )
    return reasons[:REASONS_MAX]


async def _of_alerts(conn: Connection, say: _Sentences, asked: Mapping[str, Any]) -> list[Reason]:
    alerts = await (await conn.execute(_ALERTS, asked)).fetchall()
    steps: dict[tuple[UUID, bool], dict[str, Any]] = {}
    if alerts:
        query = {"alerts": [row["alert"] for row in alerts], "at": asked["at"]}
        for row in await (await conn.execute(_STEPS, query)).fetchall():
            steps[row["alert"], row["event"] in ("inhibited", "suppressed", "released")] = row
    return [_of_alert(say, row, steps, asked["at"]) for row in alerts]


def _of_alert(
    say: _Sentences, row: dict[str, Any], steps: Mapping[tuple[UUID, bool], dict[str, Any]], at: datetime
) -> Reason:
    about = {"alert": row["alert"], "rule": row["rule"]}
    rule = ("rule", row["rule"])
    if row["raised_stored_at"] > at:
        return say("not-yet-known", about, rule=rule, time=row["raised_stored_at"])
    if row["reason"] is not None:
        return say("without-cause", about, rule=rule)
    hiding, acted = steps.get((row["alert"], True)), steps.get((row["alert"], False))
    if hiding is not None and hiding["event"] == "inhibited":
        return say("inhibited", about, rule=rule, by=("rule", hiding["by_rule"] or ""))
    if hiding is not None and hiding["event"] == "suppressed":
        code: Code = "absence" if hiding["body"]["reason"] == "absence" else "refractory"
        until = datetime.fromtimestamp(hiding["body"]["until"] / 1000, tz=at.tzinfo)
        return say(code, about, rule=rule, until=until)
    codes: dict[str, Code] = {
        "acknowledged": "acknowledged",
        "in-progress": "acknowledged",
        "snoozed": "snoozed",
        "resolved": "closed",
        "false-alert": "closed",
    }
    state = acted["body"]["after"] if acted is not None else "open"
    if acted is not None and state in codes:
        return say(codes[state], about, rule=rule, who=acted["who"], time=acted["recorded_at"])
    severity = ("severity", row["peak_severity"])
    return say("stood", about, rule=rule, severity=severity, since=row["opened_at"])


def _rules(protocols: Iterable[str], at_ms: int) -> list[Rule]:
    """The rules that were in force for these protocols."""
    found = (_library().in_force(name, at_ms) for name in protocols)
    return [rule for protocol in found if protocol is not None for rule in protocol.rules]


def _of_rule(say: _Sentences, name: str, rules: list[Rule], version: int) -> list[Reason]:
    """Where the rule that was asked for is not on the plan."""
    if any(rule.name == name for rule in rules):
        return []
    known = any(p.rule(name) is not None for p in _library().protocols.values())
    if not known:
        return [say("unknown-rule", {"rule": name}, rule=name)]
    return [say("not-on-plan", {"rule": name}, what=("rule", name), version=version)]


async def _of_readings(
    conn: Connection, say: _Sentences, asked: Mapping[str, Any], rules: list[Rule], plan: Mapping[str, Any]
) -> list[Reason]:
    """What was measured last of each kind, and why it raised nothing."""
    rows = await (await conn.execute(_READINGS, asked)).fetchall()
    named = [rule for rule in rules if asked["rule"] in (None, rule.name)]
    if asked["rule"] is not None:
        wanted = {kind for rule in named for kind in rule.kinds}
        rows = [row for row in rows if row["kind"] in wanted]
        if not named:
            return []
    if not rows:
        return [say("no-readings", days=LOOK_BACK.days)]
    return [_of_reading(say, row, named, plan, asked["at"]) for row in rows]


def _of_reading(
    say: _Sentences, row: dict[str, Any], rules: list[Rule], plan: Mapping[str, Any], at: datetime
) -> Reason:
    kind, unit = row["kind"], unit_of(row["kind"]) or None
    about = {"kind": kind, "value": row["value"], "unit": unit, "measured_at": row["measured_at"]}
    shown = {"kind": ("kind", kind), "time": row["measured_at"]}
    watching = [rule for rule in rules if kind in rule.kinds]
    if not watching:
        return say("not-on-plan", about, what=("kind", kind), version=plan["version"])
    if row["too_late"]:
        return say("too-late", about, **shown, received=row["received_at"])
    if row["received_at"] > at:
        return say("not-yet-received", about, **shown, received=row["received_at"])
    if row["marks"]:
        return say("artefact", about, **shown, marks=", ".join(row["marks"]))
    limits = _limits(watching, plan["document"].get("limits", {}))
    return say("within-limits", about, **shown, value=(row["value"], unit), limits=limits)


_SIGNS = {"at_least": "≥", "above": ">", "at_most": "≤", "below": "<"}


def _limits(
    rules: list[Rule], personal: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> list[tuple[str, str, float, str | None]]:
    """Rule, sign, limit and unit of the rules that have one plain limit; the personal one where there is one."""
    found = []
    for rule in rules:
        if rule.statistic is None or rule.cls != "clinical" or len(rule.levels) != 1:
            continue
        level = rule.levels[0]
        numbers = [limit for limit in level.limits if limit is not None]
        if len(numbers) != 1 or level.comparison not in _SIGNS:
            continue
        own = personal.get(rule.protocol, {}).get(rule.name, {})
        found.append((rule.name, _SIGNS[level.comparison], own.get("limit", numbers[0]), rule.unit))
    return found
