"""What a report says, collected once for every form it takes.

Statistics are those of `scad summary` (streams.summary), over the patient's stored readings of the period; curves those
of the patient's page. Everything is read in the caller's transaction, under its rights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from alerts.absence import PlannedAbsence
from alerts.feed import assemble, queries
from alerts.feed.adherence import rhythms
from alerts.feed.curves import Curve
from alerts.feed.database import Connection
from alerts.feed.formats import DAY_MS, zone
from alerts.feed.kinds import CURVE_KINDS
from alerts.feed.limits import LimitLine
from alerts.feed.models import Alert, Person
from alerts.feed.questionnaire.store import Sitting, sittings_of
from alerts.feed.ward import store
from alerts.report.kept import Kept, kept
from alerts.report.limits import lines_of, target
from devices.readings import Reading
from devices.times import from_datetime, to_datetime
from streams.plans import PlanVersion
from streams.protocols.model import Library
from streams.summary import Summary

DAYS_MAX = 366
"""A longer report is not read; its curves would show nothing."""
READINGS_MAX = 120_000
"""A glucose sensor's readings of a year, and some; beyond it the report says that it counted the newest only."""
ALERTS_MAX = 200
SITTINGS_MAX = 400
IMPLANTS_MAX = 60  # a storm of shocks is an alert and a stay in hospital, not a list
FIGURE_KINDS = (*CURVE_KINDS, "rr-intervals")
"""Kinds with statistics; strips of an electrocardiogram are reviewed, not averaged."""


class ReportError(ValueError):
    """A period that cannot be reported; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Statistics of one kind, as `scad summary` names them; `set_aside` failed an artefact gate and do not count."""

    kind: str
    n: int
    first_at: datetime
    last_at: datetime
    statistics: dict[str, float | None]
    episodes: dict[str, int | None]
    set_aside: int


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that somebody did about an alert."""

    at: datetime
    who: str
    event: str
    outcome: str
    reason: str
    note: str


@dataclass(frozen=True, slots=True)
class AlertLine:
    """An alert of the period and what was done about it, in order. `minutes`: until somebody took note."""

    alert: Alert
    steps: tuple[Step, ...]
    minutes: float | None


@dataclass(frozen=True, slots=True)
class ImplantEvent:
    """What the remote follow-up of a pacemaker or defibrillator reported: how often, and what share of the time (%)."""

    at: datetime
    event: str
    count: float | None
    burden: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report says. The period is from `first` to `last`, local days, both with them."""

    person: Person
    first: date
    last: date
    made_at: datetime
    plan: PlanVersion | None
    plan_number: int | None
    plan_from: datetime | None
    author: str
    figures: tuple[Figures, ...]
    curves: tuple[Curve, ...]
    alerts: tuple[AlertLine, ...]
    alerts_left_out: int
    kept: tuple[Kept, ...]
    absences: tuple[PlannedAbsence, ...]
    sittings: tuple[Sitting, ...]
    implants: tuple[ImplantEvent, ...]
    truncated: bool

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def count(self, severity: str, sort: str = "clinical") -> int:
        """Alerts of the period with this severity."""
        return sum(1 for line in self.alerts if line.alert.severity == severity and line.alert.class_ == sort)

    @property
    def outcomes(self) -> list[tuple[str, int]]:
        """How alerts were closed, the most frequent first."""
        return Counter(line.alert.outcome for line in self.alerts if line.alert.outcome).most_common()


def period(first: date, last: date, time_zone: str) -> tuple[int, int]:
    """The instants, in milliseconds, from the beginning of `first` to the end of `last`. Raises ReportError."""
    if last < first:
        raise ReportError(f"the period ends ({last}) before it begins ({first})")
    if (last - first).days >= DAYS_MAX:
        raise ReportError(f"{(last - first).days + 1} days are more than {DAYS_MAX}")
    here = zone(time_zone)
    begin = datetime(first.year, first.month, first.day, tzinfo=here)
    after = last + timedelta(days=1)
    return from_datetime(begin), from_datetime(datetime(after.year, after.month, after.day, tzinfo=here))


async def collect(
    conn: Connection, person: Person, first: date, last: date, now: datetime, library: Library
) -> Report:
    """The report of one patient, whom the caller may see. Raises ReportError."""
    begin_ms, end_ms = period(first, last, person.time_zone)
    if begin_ms > from_datetime(now):
        raise ReportError(f"the period begins ({first}) in the future")
    shown_ms = min(end_ms, from_datetime(now))
    found = await store.versions(conn, person.patient)
    current = store.in_force(found, shown_ms)
    plan = current.plan if current is not None else None
    readings = await _readings(conn, person.patient, begin_ms, end_ms)
    lines, left_out = await _alerts(conn, person.patient, to_datetime(begin_ms), to_datetime(end_ms))
    limits = lines_of(plan, library, (line.alert for line in lines))
    away = await store.absences(conn, person.patient)
    sittings = await sittings_of(conn, person.patient, person.time_zone, SITTINGS_MAX, to_datetime(begin_ms))
    return Report(
        person=person,
        first=first,
        last=last,
        made_at=now,
        plan=plan,
        plan_number=current.number if current is not None else None,
        plan_from=current.from_at if current is not None else None,
        author=(current.recorded_by or current.author) if current is not None else "",
        figures=figures_of(readings),
        curves=tuple(await _curves(conn, person.patient, plan, begin_ms, shown_ms, limits)),
        alerts=tuple(lines),
        alerts_left_out=left_out,
        kept=tuple(_kept(readings, plan, current, person.time_zone, first, last, now, library)),
        absences=tuple(
            a for a in away if from_datetime(a.to_at) > begin_ms and from_datetime(a.from_at) < end_ms
        ),
        sittings=tuple(one for one in sittings if from_datetime(one.at) < end_ms),
        implants=tuple(await _implants(conn, person.patient, to_datetime(begin_ms), to_datetime(end_ms))),
        truncated=len(readings) >= READINGS_MAX,
    )


def figures_of(readings: Sequence[Reading]) -> tuple[Figures, ...]:
    """Statistics by kind in the order of the page; a kind without a reading that counts is left out."""
    aside = Counter(reading.kind for reading in readings if reading.artefact)
    with Summary() as summary:
        for reading in readings:
            summary.add(reading)
        lines = [msgspec.json.decode(line) for line in summary.lines()]
    made = {
        line["kind"]: Figures(
            line["kind"],
            line["n"],
            datetime.fromisoformat(line["from"]),
            datetime.fromisoformat(line["to"]),
            line["statistics"],
            line["episodes"],
            aside[line["kind"]],
        )
        for line in lines
    }
    return tuple(made[kind] for kind in FIGURE_KINDS if kind in made)


async def _readings(conn: Connection, patient: str, begin_ms: int, end_ms: int) -> list[Reading]:
    found = await store.stored_readings(conn, patient, FIGURE_KINDS, begin_ms, READINGS_MAX)
    return [reading for reading in found if reading.measured_at_ms < end_ms]


async def _implants(conn: Connection, patient: str, begin: datetime, end: datetime) -> list[ImplantEvent]:
    """The latest first, IMPLANTS_MAX at most."""
    result = await conn.execute(
        """
        select patient, measured_at, "values" from scad.my_reading
         where patient = %s and kind = 'implant-report' and measured_at >= %s and measured_at < %s and marks = '{}'
         order by measured_at desc, seq desc limit %s""",
        (patient, begin, end, IMPLANTS_MAX),
    )
    return [
        ImplantEvent(
            row["measured_at"],
            row["values"]["event"],
            row["values"].get("count"),
            row["values"].get("burden"),
        )
        for row in await result.fetchall()
    ]


async def _curves(
    conn: Connection,
    patient: str,
    plan: PlanVersion | None,
    begin_ms: int,
    end_ms: int,
    limits: Sequence[LimitLine],
) -> list[Curve]:
    days = max(-(-(end_ms - begin_ms) // DAY_MS), 1)
    drawn = await assemble.curves(conn, [patient], CURVE_KINDS, end_ms, days)
    made = []
    for kind in CURVE_KINDS:
        curve = drawn.get((patient, kind))
        if curve is None:
            continue
        inside = _within(curve, begin_ms, end_ms)
        if inside.points:
            limited = assemble.with_limits(inside, limits)
            made.append(_with_target(limited, target(kind, plan)))
    return made


def _within(curve: Curve, begin_ms: int, end_ms: int) -> Curve:
    """The curve without points outside the period: the query asks for what is newer than its beginning only."""
    return Curve(
        curve.kind,
        begin_ms,
        end_ms,
        tuple(point for point in curve.points if begin_ms <= point.at_ms < end_ms),
        tuple(point for point in curve.second if begin_ms <= point.at_ms < end_ms),
    )


def _with_target(curve: Curve, target: tuple[float, float] | None) -> Curve:
    return Curve(curve.kind, curve.begin_ms, curve.end_ms, curve.points, curve.second, curve.limits, target)


async def _alerts(
    conn: Connection, patient: str, begin: datetime, end: datetime
) -> tuple[list[AlertLine], int]:
    """Alerts that stood within the period, the latest first, without those that another replaced; how many more
    there are than ALERTS_MAX."""
    result = await conn.execute(
        f"""
        select {queries.ALERT_COLUMNS}, a.raised_stored_at, count(*) over () as total
          from scad.alert a
         where a.patient = %(patient)s and a.state <> 'superseded'
           and a.opened_at < %(end)s and greatest(a.opened_at, a.last_at) >= %(begin)s
         order by a.opened_at desc, a.alert limit %(limit)s""",  # noqa: S608
        {"patient": patient, "begin": begin, "end": end, "limit": ALERTS_MAX},
    )
    rows = await result.fetchall()
    alerts = [(Alert.model_validate(row), row["raised_stored_at"]) for row in rows]
    steps = await _steps(conn, patient, [alert.alert for alert, _ in alerts])
    lines = []
    for alert, known in alerts:
        mine = steps.get(str(alert.alert), ())
        noted = next((step.at for step in mine if step.event != "escalated"), None)
        minutes = (noted - known).total_seconds() / 60 if noted is not None else None
        lines.append(AlertLine(alert, tuple(mine), max(minutes, 0.0) if minutes is not None else None))
    return lines, (rows[0]["total"] - len(rows)) if rows else 0


async def _steps(conn: Connection, patient: str, alerts: Sequence[Any]) -> dict[str, list[Step]]:
    """What people did about these alerts, in order; what the platform did by itself is left out, escalation not."""
    result = await conn.execute(
        """
        select e.alert, e.at, e.event, e.body, coalesce(c.display_name, e.actor) as who
          from scad.my_alert_event e left join scad.account c on c.login = e.actor
         where e.patient = %s and e.alert = any(%s) and e.kind = 'action' and e.actor <> 'engine'
         order by e.id""",
        (patient, list(alerts)),
    )
    found: dict[str, list[Step]] = {}
    for row in await result.fetchall():
        body: dict[str, Any] = row["body"]
        found.setdefault(str(row["alert"]), []).append(
            Step(
                row["at"],
                row["who"],
                row["event"],
                str(body.get("outcome") or ""),
                str(body.get("reason") or ""),
                str(body.get("note") or ""),
            )
        )
    return found


def _kept(
    readings: Sequence[Reading],
    plan: PlanVersion | None,
    current: store.StoredVersion | None,
    time_zone: str,
    first: date,
    last: date,
    now: datetime,
    library: Library,
) -> list[Kept]:
    """Of each kind that the plan in force at the end expects, since it was in force."""
    if plan is None or current is None:
        return []
    here = zone(time_zone)
    asked = {kind: rhythm.every_hours for kind, rhythm in plan.schedule.items()}
    expected = rhythms(plan.protocols, asked, library)
    begin = max(first, current.from_at.astimezone(here).date())
    today = now.astimezone(here).date()
    taken: dict[str, Counter[date]] = {kind: Counter() for kind in expected}
    for reading in readings:
        if reading.kind in taken and not reading.artefact:
            taken[reading.kind][to_datetime(reading.measured_at_ms).astimezone(here).date()] += 1
    return [
        kept(kind, every, begin, min(last, today), today, taken[kind])
        for kind, every in expected.items()
        if kind in CURVE_KINDS
    ]
