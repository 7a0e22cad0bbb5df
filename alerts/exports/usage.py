"""The usage extract: per patient and month what the follow-up did, from which its use can be controlled.

French law asks that such extracts can be made (arrêté of 22 June 2023); their official layout is not confirmed in our
reference, so this is a plain table with a line for each patient and protocol. It names patients by pseudonym.
"""

from __future__ import annotations

import calendar
import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from alerts.exports.pseudonyms import ExportError
from alerts.feed.adherence import rhythms
from alerts.feed.formats import zone
from alerts.report.kept import kept
from alerts.store.connection import Connection
from streams.plans import PlanVersion
from streams.protocols.model import Library


@dataclass(frozen=True, slots=True)
class Usage:
    """One patient and protocol in one month. Days are the care team's local days."""

    month: str
    patient: str
    care_team: str
    protocol: str
    days_followed: int
    """Days of the month on which the protocol was in the plan in force (at the day's end)."""
    days_with_reading: int
    """Of these, days with at least one reading of a kind that the protocol expects."""
    readings: int
    expected: int
    """Readings that the plan in force at the month's end expects of these days; 0 where it sets no rhythm."""
    done: int
    alerts_clinical: int
    alerts_no_reading: int
    alerts_technical: int
    alerts_seen: int
    """Of all of these, how many somebody took note of."""
    absent_days: int


def month_of(text: str) -> tuple[date, date]:
    """First and last day of a month like 2026-11. Raises ExportError."""
    try:
        first = date.fromisoformat(f"{text}-01")
    except ValueError:
        raise ExportError(f"month {text!r} is not like 2026-11") from None
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])


def usage(conn: Connection, month: str, library: Library, now: datetime) -> list[Usage]:
    """Lines sorted by patient and protocol, up to now for the month that runs. Raises ExportError."""
    first, last = month_of(month)
    lines: list[Usage] = []
    with conn.transaction():
        conn.execute("set transaction isolation level repeatable read, read only")
        rows = conn.execute(
            "select p.patient, p.care_team, t.time_zone from scad.patient p join scad.care_team t using (care_team)"
            " order by p.patient"
        ).fetchall()
        for patient, team, time_zone in rows:
            here = zone(time_zone)
            today = now.astimezone(here).date()
            if first <= today:
                lines += _patient(conn, month, patient, team, here, first, min(last, today), today, library)
    return lines


def _patient(
    conn: Connection,
    month: str,
    patient: str,
    team: str,
    here: ZoneInfo,
    first: date,
    last: date,
    today: date,
    library: Library,
) -> Iterable[Usage]:
    begin = datetime(first.year, first.month, first.day, tzinfo=here)
    after = last + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=here)
    on = _days_on(conn, patient, here, first, last)
    if not on:
        return []
    taken = _taken(conn, patient, here, begin, end)
    away = _absent(conn, patient, here, first, last, end)
    lines = []
    for protocol in sorted(on):
        days, plan = on[protocol]
        known = library.protocols.get(protocol)
        asked = {kind: rhythm.every_hours for kind, rhythm in plan.schedule.items()}
        expected = rhythms([protocol], asked, library)
        kinds = set(known.schedule) | set(expected) if known is not None else set(expected)
        mine = [taken.get(kind, {}) for kind in sorted(kinds)]
        counts = [
            kept(kind, hours, min(days), max(days), today, taken.get(kind, {}))
            for kind, hours in expected.items()
        ]
        alerts = _alerts(conn, patient, protocol, begin, end)
        lines.append(
            Usage(
                month,
                patient,
                team,
                protocol,
                len(days),
                sum(1 for day in days if any(found.get(day, 0) for found in mine)),
                sum(found.get(day, 0) for found in mine for day in days),
                sum(one.expected for one in counts),
                sum(one.done for one in counts),
                *alerts,
                len(away & days),
            )
        )
    return lines


def _days_on(
    conn: Connection, patient: str, here: ZoneInfo, first: date, last: date
) -> dict[str, tuple[set[date], PlanVersion]]:
    """By protocol the days on which it was in force, and the last version that had it."""
    versions = conn.execute(
        "select from_at, document from scad.care_plan where patient = %s order by from_at, version",
        (patient,),
    ).fetchall()
    found: dict[str, tuple[set[date], PlanVersion]] = {}
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        document = None
        for from_at, one in versions:
            if from_at.astimezone(here).date() <= day:
                document = one
        try:
            plan = msgspec.convert(document, PlanVersion) if document is not None else None
        except msgspec.ValidationError as error:
            raise ExportError(f"the plan of {patient} is of a later release: {error}") from None
        for protocol in plan.protocols if plan is not None else ():
            days = found[protocol][0] if protocol in found else set()
            found[protocol] = (days | {day}, plan) if plan is not None else found[protocol]
    return found


def _taken(
    conn: Connection, patient: str, here: ZoneInfo, begin: datetime, end: datetime
) -> dict[str, dict[date, int]]:
    """By kind how many readings that count, by local day."""
    found: dict[str, dict[date, int]] = {}
    for kind, day, n in conn.execute(
        """
        select kind, (measured_at at time zone %s)::date, count(*) from scad.reading
         where patient = %s and measured_at >= %s and measured_at < %s and marks = '{}' group by 1, 2""",
        (here.key, patient, begin, end),
    ).fetchall():
        found.setdefault(kind, {})[day] = n
    return found


def _absent(
    conn: Connection, patient: str, here: ZoneInfo, first: date, last: date, end: datetime
) -> set[date]:
    """Local days that a recorded absence touches."""
    days: set[date] = set()
    for from_at, to_at in conn.execute(
        "select from_at, to_at from scad.absence where patient = %s and from_at < %s", (patient, end)
    ).fetchall():
        begin, until = from_at.astimezone(here).date(), to_at.astimezone(here).date()
        day = max(begin, first)
        while day <= min(until, last):
            days.add(day)
            day += timedelta(days=1)
    return days


def _alerts(
    conn: Connection, patient: str, protocol: str, begin: datetime, end: datetime
) -> tuple[int, int, int, int]:
    """Clinical, missing readings, other technical, and how many of all somebody took note of."""
    row = conn.execute(
        """
        select count(*) filter (where class = 'clinical'), count(*) filter (where rule = 'no-reading'),
               count(*) filter (where class = 'technical' and rule <> 'no-reading'),
               count(*) filter (where acknowledged_at is not null or closed_by is not null)
          from scad.alert where patient = %s and protocol = %s and opened_at >= %s and opened_at < %s
           and state <> 'superseded'""",
        (patient, protocol, begin, end),
    ).fetchone()
    clinical, missing, technical, seen = row if row is not None else (0, 0, 0, 0)
    return int(clinical), int(missing), int(technical), int(seen)


def as_csv(lines: Iterable[Usage]) -> str:
    """The lines as CSV with a head, separated by commas."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in fields(Usage)]
    writer.writerow(names)
    for line in lines:
        row: list[Any] = [getattr(line, name) for name in names]
        writer.writerow(row)
    return out.getvalue()
