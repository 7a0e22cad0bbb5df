"""The report for the command: collected under the rights of the log-in that the database address names."""

from __future__ import annotations

from datetime import date

import msgspec

from alerts.audit import shell_user
from alerts.audit.entry import entry, lines_of
from alerts.feed import queries
from alerts.feed.database import Database
from alerts.feed.viewer import Viewer
from alerts.feed.ward.plans import library
from alerts.identity.vault import vault_of
from alerts.report.collect import Report, ReportError, collect
from devices.times import to_datetime
from scad.settings import Settings

WHOLE = Viewer("scad report", "scad report", "auditor", ())
"""Sees every team, as far as the log-in does."""


async def made_report(settings: Settings, patient: str, first: date, last: date) -> Report:
    """The report of the period. Raises ReportError, psycopg.Error."""
    database = Database(settings.database, vault_of(settings.identity_keys))
    await database.open()
    try:
        async with database.plain() as conn:
            found = await queries.persons(conn, WHOLE, [patient]) if "\x00" not in patient else {}
            if patient not in found:
                raise ReportError(f"there is no patient {patient!r}")
        made = entry(settings.make_clock().wall(), shell_user(), "report", patients=(patient,))
        async with database.plain() as conn:  # before anything leaves, and apart: the trail's lock is short
            await conn.execute("select audit.append(%s)", (lines_of([made]),))
        async with database.plain() as conn:
            now = to_datetime(settings.make_clock().now_ms())
            return await collect(conn, found[patient], first, last, now, library())
    finally:
        await database.close()


def as_json(report: Report) -> bytes:
    """The report's figures for programs, without identity: the pseudonym, statistics, adherence, alerts."""
    return msgspec.json.encode(
        {
            "patient": report.person.patient,
            "from": report.first,
            "to": report.last,
            "figures": [
                {
                    "kind": one.kind,
                    "n": one.n,
                    "set_aside": one.set_aside,
                    "statistics": one.statistics,
                    "episodes": one.episodes,
                }
                for one in report.figures
            ],
            "adherence": [
                {"kind": one.kind, "done": one.done, "expected": one.expected, "days": one.days}
                for one in report.kept
            ],
            "alerts": [
                {
                    "alert": str(line.alert.alert),
                    "rule": line.alert.rule,
                    "severity": line.alert.severity,
                    "opened_at": line.alert.opened_at,
                    "state": line.alert.state,
                    "outcome": line.alert.outcome,
                    "steps": len(line.steps),
                }
                for line in report.alerts
            ],
        }
    )
