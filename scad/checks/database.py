"""The database: log-in, schema, roles, room; the clock; what arrived last."""

from __future__ import annotations

from typing import Any

import psycopg

from alerts.schema import SchemaError, schema_status
from alerts.store.connection import Connection
from alerts.synthetic import DEVICE
from alerts.synthetic import check as path_check
from devices.times import from_datetime
from scad.checks.finding import Finding, fault, fine, warning
from scad.clock import Clock
from scad.settings import Settings

PART = "database"
CONNECT_SECONDS = 5
ROLES = ("scad_feed", "scad_login", "scad_service", "scad_writer", "scad_escalation", "scad_enrol")
CLOCK_WARNING_MS = 2_000
CLOCK_FAULT_MS = 60_000  # a device's clock may be 10 minutes ahead; ours must be beyond doubt
CONNECTIONS_SHARE = 0.8
OUTBOX_SECONDS = 60
MANY_CONNECTIONS = "run fewer feeds and writers, or raise max_connections"
OLD_TRANSACTIONS = "end transactions that are open for hours, and let autovacuum work"
NO_SYNTHETIC = "one comes a minute: is `scad synthetic` running? Else see the parts above"
NO_OUTBOX = "a worker that writes sends them: is one running?"
NOT_ENROLLED = "enrol them again under the same pseudonyms (docs/backup.md)"
PROCESSES = {
    "scad feed listener": ("feed", "start `scad feed`, and see its log"),
    "scad escalation": (
        "escalation",
        "start `scad escalation`: nobody is told of alerts that nobody answers",
    ),
}
"""Connections by which a process is known to be there."""


def check_database(settings: Settings, clock: Clock) -> list[Finding]:
    try:
        with psycopg.connect(
            settings.database, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="scad check"
        ) as conn:
            return [*_schema(conn), *_rest(conn, clock)]
    except psycopg.OperationalError as error:
        said = str(error).strip().splitlines()[0]
        return [
            fault(
                PART, f"it cannot be used: {said}", "is it running, and SCAD_DATABASE its address and log-in?"
            )
        ]


def _schema(conn: Connection) -> list[Finding]:
    found = []
    try:
        status = schema_status(conn)
        if status.pending:
            found.append(
                fault(
                    PART,
                    f"the schema lacks {', '.join(status.pending)}",
                    "run `scad schema apply` as the owner",
                )
            )
        else:
            found.append(fine(PART, f"schema current ({len(status.applied)} migrations, {status.version})"))
    except SchemaError as error:
        found.append(
            fault(PART, str(error), "run the release that made it, or restore a backup (docs/backup.md)")
        )
    except psycopg.Error as error:
        return [
            fault(
                PART, f"its schema cannot be read: {error}", "run `scad schema apply`; see docs/security.md"
            )
        ]
    there = {
        row[0] for row in conn.execute("select rolname from pg_roles where rolname = any(%s)", (list(ROLES),))
    }
    if missing := [role for role in ROLES if role not in there]:
        found.append(
            fault(
                PART,
                f"no role {', '.join(missing)}",
                "let a superuser run deploy/database-init.sh's lines for them",
            )
        )
    return found


def _rest(conn: Connection, clock: Clock) -> list[Finding]:
    found = [*_clock(conn, clock), *_room(conn), *_processes(conn)]
    try:
        found += [*_path(conn, clock), *_outbox(conn), *_unknown(conn)]
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        pass  # the schema's finding says it
    except psycopg.errors.InsufficientPrivilege as error:
        found.append(
            warning(
                PART,
                f"not everything could be looked at: {error.diag.message_primary}",
                "run it as the owner",
            )
        )
    return found


def _one(conn: Connection, query: str, *parameters: Any) -> Any:
    row = conn.execute(query.encode(), parameters).fetchone()
    return None if row is None else row[0]


def _clock(conn: Connection, clock: Clock) -> list[Finding]:
    before = clock.wall()
    theirs = from_datetime(_one(conn, "select clock_timestamp()"))
    after = clock.wall()
    apart = max(before - theirs, theirs - after, 0)
    if apart > CLOCK_WARNING_MS:
        make = fault if apart > CLOCK_FAULT_MS else warning
        return [
            make(
                "clock",
                f"this machine's clock and the database's are {apart / 1000:.1f} s apart",
                "set both by NTP",
            )
        ]
    return [fine("clock", "this machine's clock and the database's agree")]


def _room(conn: Connection) -> list[Finding]:
    used, most, size, age = conn.execute(
        "select (select count(*) from pg_stat_activity where backend_type = 'client backend'),"
        " current_setting('max_connections')::int, pg_database_size(current_database()),"
        " (select age(datfrozenxid) from pg_database where datname = current_database())"
    ).fetchone() or (0, 1, 0, 0)
    found = [fine(PART, f"{size >> 20} MB, {used} of {most} connections")]
    if used > most * CONNECTIONS_SHARE:
        found.append(
            warning(
                PART,
                f"{used} of {most} connections are used",
                MANY_CONNECTIONS,
            )
        )
    if age > 1_000_000_000:
        found.append(
            warning(
                PART,
                f"its oldest transaction is {age / 1e9:.1f} thousand million old",
                OLD_TRANSACTIONS,
            )
        )
    return found


def _processes(conn: Connection) -> list[Finding]:
    there = {row[0] for row in conn.execute("select application_name from pg_stat_activity")}
    return [
        fine(process, "connected to the database")
        if name in there
        else fault(process, "none is connected to the database", remedy)
        for name, (process, remedy) in PROCESSES.items()
    ]


def _path(conn: Connection, clock: Clock) -> list[Finding]:
    row = conn.execute(
        "select measured_at, stored_at from scad.reading where device = %s order by measured_at desc limit 1",
        (DEVICE,),
    ).fetchone()
    if row is None:
        return [
            warning(
                "path",
                "no synthetic reading has ever arrived",
                "start `scad synthetic`: it proves the whole path",
            )
        ]
    last = path_check(clock, from_datetime(row[0]), from_datetime(row[1]))
    text = f"the last synthetic reading took {last.round_trip_ms / 1000:.1f} s, {last.age_ms // 1000} s ago"
    if last.stalled:
        return [
            fault(
                "path",
                text,
                NO_SYNTHETIC,
            )
        ]
    if last.slow:
        return [warning("path", text, "which stage is slow? Dashboard Pipeline, and docs/runbooks.md")]
    return [fine("path", text)]


def _outbox(conn: Connection) -> list[Finding]:
    waiting, age = conn.execute(
        "select count(*), coalesce(extract(epoch from clock_timestamp() - min(queued_at)), 0) from scad.outbox"
    ).fetchone() or (0, 0)
    if waiting and age > OUTBOX_SECONDS:
        return [
            fault(
                PART,
                f"{waiting} enrolments or plans wait for Kafka since {age:.0f} s",
                "a worker that writes sends them: is one running?",
            )
        ]
    return []


def _unknown(conn: Connection) -> list[Finding]:
    """After a restore to an earlier instant: patients who were enrolled after it."""
    unknown = _one(
        conn,
        "select count(*) from scad.signal_cursor c where not exists"
        " (select from scad.patient p where p.patient = c.patient)",
    )
    if unknown:
        return [
            fault(
                PART,
                f"{unknown} patients have alerts and are not enrolled here",
                "enrol them again under the same pseudonyms (docs/backup.md)",
            )
        ]
    return []
