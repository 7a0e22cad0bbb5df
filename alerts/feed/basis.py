"""What an alert rests on: the rule with its version, the plan, the readings that decided, and what is usual.

The usual value is not in the signal. It is had anew as the engine has it: the engine itself passes over the stored
readings up to the one that decided, under the patient's own plans, and its statistic's state is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, Literal

import msgspec

from alerts.feed.database import Connection
from alerts.feed.kinds import unit_of
from alerts.feed.models import Alert, Baseline, Basis, DecidingReading
from alerts.feed.queries import reading_of
from devices.readings import Reading
from devices.times import from_datetime
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion
from streams.protocols import Library, Rule, load_published
from streams.rolling.baseline import Baseline as Learnt
from streams.rolling.personal import Means, Sessions, Sum
from streams.timeline import PlanError

LOOK_BACK = timedelta(days=90)
"""Three windows of 28 days: what a baseline was before that, no longer shows in it."""
READINGS_MAX = 5_000
"""A tenth of a second of the engine; ten readings a day of each of five kinds for 90 days are 4,500."""
PLANS_MAX = 50
LEARNT = (Learnt, Sessions, Sum, Means)
"""What a statistic keeps that compares with the patient's usual value."""
NOON_MIN = 12 * 60

_RECEIVED = """
select device, epoch, seq, measured_at, kind, received_at from scad.my_reading
 where patient = %(patient)s and measured_at = any(%(instants)s) and device = any(%(devices)s)
 order by received_at"""

_PLANS = """
select version, from_at, document from scad.care_plan
 where patient = %s order by version desc limit %s"""

_READINGS = """
select measured_at, device, epoch, seq, kind, "values", flags, context, marks, offset_min, received_at
  from scad.my_reading
 where patient = %(patient)s and kind = any(%(kinds)s) and measured_at > %(since)s and measured_at <= %(until)s
   and not too_late
 order by measured_at desc limit %(limit)s"""


@cache
def _library() -> Library:
    return load_published()


async def basis_of(conn: Connection, alert: Alert) -> Basis:
    """Why there is this alert. The viewer must be one who may see it."""
    plans = await (await conn.execute(_PLANS, (alert.patient, PLANS_MAX))).fetchall()
    rule = _rule(alert)
    return Basis(
        protocol=alert.protocol,
        protocol_version=alert.protocol_version,
        rule=alert.rule,
        source=rule.source if rule is not None else None,
        page=f"docs/protocols/{alert.protocol}/{alert.rule}.md" if rule is not None else None,
        plan_version=_version_at(plans, alert.last_at),
        value=alert.value,
        limit=alert.limit,
        unit=alert.unit,
        evidence=await _evidence(conn, alert),
        baseline=await _baseline(conn, alert, rule, plans),
    )


def _rule(alert: Alert) -> Rule | None:
    """The rule in the version that raised the alert; None where this release does not have it."""
    protocol = _library().in_force(alert.protocol, from_datetime(alert.last_at))
    found = protocol.rules if protocol is not None and protocol.version == alert.protocol_version else ()
    return next((rule for rule in found if rule.name == alert.rule), None)


def _version_at(plans: Sequence[dict[str, Any]], at: datetime) -> int | None:
    begun = [plan for plan in plans if plan["from_at"] <= at]
    if not begun:
        return None
    return int(max(begun, key=lambda plan: (plan["from_at"], plan["version"]))["version"])


async def _evidence(conn: Connection, alert: Alert) -> list[DecidingReading]:
    """The readings that decided, the latest first. One that is not stored (yet) has no instant of arrival."""
    asked = {
        "patient": alert.patient,
        "instants": [one.measured_at for one in alert.evidence],
        "devices": [one.device for one in alert.evidence],
    }
    rows = await (await conn.execute(_RECEIVED, asked)).fetchall() if alert.evidence else []
    known = {(row["device"], row["epoch"], row["seq"], row["measured_at"]): row for row in reversed(rows)}
    found = []
    for one in sorted(alert.evidence, key=lambda one: one.measured_at, reverse=True):
        row = known.get((one.device, one.epoch, one.seq, one.measured_at))
        kind = one.kind or (row["kind"] if row is not None else "")
        received = row["received_at"] if row is not None else None
        said = {**one.model_dump(), "kind": kind}
        found.append(DecidingReading(**said, unit=unit_of(kind), received_at=received))
    return found


async def _baseline(
    conn: Connection, alert: Alert, rule: Rule | None, plans: Sequence[dict[str, Any]]
) -> Baseline | None:
    if rule is None or rule.statistic is None or len(rule.kinds) != 1 or not alert.evidence:
        return None
    if not isinstance(rule.statistic.initialize(), LEARNT):
        return None
    asked = {
        "patient": alert.patient,
        "kinds": sorted(_kinds_beside(rule)),
        "since": alert.last_at - LOOK_BACK,
        "until": alert.last_at,
        "limit": READINGS_MAX,
    }
    rows = await (await conn.execute(_READINGS, asked)).fetchall()
    readings = [reading_of(alert.patient, row) for row in rows]
    versions = tuple(_versions(plans))
    return await asyncio.to_thread(baseline_at, _library(), rule, readings, versions)


def _kinds_beside(rule: Rule) -> set[str]:
    """The kinds of the rule's lane: an open alert about one of them keeps the baseline from learning."""
    lanes = _library().lanes
    mine = {lanes.get(kind) for kind in rule.kinds}
    return {kind for kind, lane in lanes.items() if lane in mine} | set(rule.kinds)


def _versions(plans: Sequence[dict[str, Any]]) -> list[PlanVersion]:
    found = []
    for plan in reversed(plans):
        try:
            found.append(msgspec.convert(plan["document"], PlanVersion))
        except msgspec.ValidationError:
            continue  # a version that this release cannot read holds for nobody
    return found


def baseline_at(
    library: Library, rule: Rule, readings: Sequence[Reading], plans: tuple[PlanVersion, ...]
) -> Baseline | None:
    """What the engine held to be usual when the last of `readings` (of any order) was measured: before that reading, as
    it was compared; a moving average (weight-macd) includes it. None where the rule had none, or no plan holds it.
    """
    (kind,) = rule.kinds
    ordered = sorted(readings, key=lambda reading: reading.order)
    last = next((one for one in reversed(ordered) if one.kind == kind), None)
    if last is None or not plans:
        return None
    includes = isinstance(rule.statistic.initialize(), Means) if rule.statistic is not None else False
    engine = Engine(library, retention_ms=None)
    state = engine.new_state(last.patient or "")
    try:
        engine.apply(state, plans=[CarePlan(patient=last.patient or "", versions=plans)])
    except PlanError:
        return None
    used = [one for one in ordered if one is not last and one.order < last.order]
    engine.apply(state, readings=[*used, last] if includes else used)
    version = state.timeline.versions[max(state.timeline.index_at(last.measured_at_ms), 0)]
    day, minute = version.local(last.measured_at_ms, last.offset_min)
    for lane in state.lanes.values():
        keys = lane.program.layout.stat_keys
        if rule.statistic_key in keys:
            return _said(lane.stats[keys.index(rule.statistic_key)], kind, day, minute)
    return None


def _said(state: Any, kind: str, day: int, minute: int) -> Baseline | None:
    session: Literal["morning", "evening"] | None = None
    if isinstance(state, Sessions):
        session = "evening" if minute >= NOON_MIN else "morning"
        state = state.evening if session == "evening" else state.morning
    elif isinstance(state, Sum):
        state = state.baseline
    if isinstance(state, Means):
        days = [one for one in state.days if one[0] <= day]
        centre, scale = (sum(mean for _, mean, _ in days) / len(days) if days else None), None
    else:
        days, centre, scale = list(state.days), state.centre, state.scale
    if centre is None or not days:
        return None
    return Baseline(
        kind=kind,
        unit=unit_of(kind),
        centre=centre,
        scale=scale,
        session=session,
        readings=sum(number for _, _, number in days),
        days=len(days),
        first_day=_date(days[0][0]),
        last_day=_date(days[-1][0]),
    )


def _date(day: int) -> date:
    """A patient-local day by its number since 1970-01-01."""
    return date(1970, 1, 1) + timedelta(days=day)
