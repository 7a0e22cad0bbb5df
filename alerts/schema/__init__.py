"""The database schema: numbered plain SQL files beside this module, and what applies them.

Each file runs once, in a transaction of its own, and is recorded with its checksum. Headers say where a
file belongs:

    -- needs: timescaledb      on TimescaleDB, Apache or community edition
    -- needs: community        on TimescaleDB's community edition
    -- without: timescaledb    on plain PostgreSQL only
    -- without: community      on plain PostgreSQL and the Apache edition

A file that does not belong is left out, and looked at again at the next run: a database that is upgraded to
a better edition gets the files it lacked. Refused are a recorded file whose text has changed or that is gone,
and an edition that can no longer do what a recorded file needs.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Literal, LiteralString

import psycopg

Edition = Literal["plain", "apache", "community"]
Connection = psycopg.Connection[tuple[object, ...]]

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_HEADER = re.compile(r"^-- (needs|without): (\S+)$", re.MULTILINE)
_OFFERS: dict[Edition, frozenset[str]] = {
    "plain": frozenset(),
    "apache": frozenset({"timescaledb"}),
    "community": frozenset({"timescaledb", "community"}),
}

_EXTENSION_VERSION: LiteralString = "select extversion from pg_extension where extname = 'timescaledb'"

LOCK_KEY = 0x5CAD_0001  # advisory lock of the applier; any number that nobody else in this database uses


class SchemaError(RuntimeError):
    """The database and the migration files do not fit together; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file. `needs` and `without` are the features of its headers."""

    number: int
    name: str
    sql: str
    needs: frozenset[str]
    without: frozenset[str]

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def belongs_to(self, edition: Edition) -> bool:
        return self.needs <= _OFFERS[edition] and not self.without & _OFFERS[edition]


@dataclass(frozen=True, slots=True)
class Status:
    """What `scad schema status` prints: file names in order of their numbers."""

    edition: Edition
    version: str
    applied: tuple[str, ...]
    pending: tuple[str, ...]
    elsewhere: tuple[str, ...]
    """Files for other editions than the installed one."""


def parse_migration(file_name: str, sql: str) -> Migration:
    """Read number and headers of one file. Raises SchemaError for a bad name or an unknown feature."""
    match = _FILE_NAME.fullmatch(file_name)
    if match is None:
        raise SchemaError(f"{file_name}: a migration is called 0001_words.sql")
    headers: dict[str, set[str]] = {"needs": set(), "without": set()}
    for word, feature in _HEADER.findall(sql):
        if feature not in _OFFERS["community"]:
            raise SchemaError(f"{file_name}: {word} {feature!r}; known are timescaledb and community")
        headers[word].add(feature)
    return Migration(
        number=int(match[1]),
        name=file_name,
        sql=sql,
        needs=frozenset(headers["needs"]),
        without=frozenset(headers["without"]),
    )


def load_migrations() -> tuple[Migration, ...]:
    """The migrations of this package in order. Raises SchemaError when two have the same number."""
    found = [
        parse_migration(f.name, f.read_text()) for f in files(__name__).iterdir() if f.name.endswith(".sql")
    ]
    found.sort(key=lambda migration: migration.number)
    for before, after in pairwise(found):
        if before.number == after.number:
            raise SchemaError(f"{before.name} and {after.name} have the same number")
    return tuple(found)


def detect_edition(conn: Connection) -> tuple[Edition, str]:
    """Which edition serves this database, with its version; creates the extension where it is installed.

    TimescaleDB counts only when the server preloads it. Raises SchemaError when it does, but this role may
    not create the extension.
    """
    server = f"PostgreSQL {conn.info.parameter_status('server_version')}"
    version = _one(conn, _EXTENSION_VERSION)
    if version is None:
        # A parameter of the loader; shared_preload_libraries itself is shown to superusers only.
        if _one(conn, "select current_setting('timescaledb.disable_load', true)") is None:
            return "plain", server
        try:
            conn.execute("create extension timescaledb")
        except psycopg.errors.InsufficientPrivilege:
            raise SchemaError(
                "TimescaleDB is installed, but this role may not create the extension; "
                f"let a superuser run in database {conn.info.dbname}: create extension timescaledb"
            ) from None
        version = _one(conn, _EXTENSION_VERSION)
    license_ = _one(conn, "select current_setting('timescaledb.license', true)")
    return ("community" if license_ == "timescale" else "apache"), f"TimescaleDB {version} on {server}"


def apply_schema(
    conn: Connection, migrations: tuple[Migration, ...] | None = None, edition: Edition | None = None
) -> tuple[str, ...]:
    """Bring the database up to date; returns the names of the files applied now (none: it was).

    `conn` must be in autocommit mode. Two appliers at once wait for each other. `edition` spares the look at
    the server: "plain" leaves an installed TimescaleDB unused. Raises SchemaError, and psycopg.Error when a
    file fails, which leaves the files before it applied.
    """
    migrations = load_migrations() if migrations is None else migrations
    conn.execute("select pg_advisory_lock(%s)", (LOCK_KEY,))
    try:
        edition = edition or detect_edition(conn)[0]
        conn.execute("create schema if not exists scad")
        conn.execute(
            "create table if not exists scad.migration (name text primary key, checksum text not null,"
            " edition text not null, applied_at timestamptz not null default clock_timestamp())"
        )
        pending = _pending(migrations, _recorded(conn), edition)
        for migration in pending:
            with conn.transaction():
                conn.execute(migration.sql)
                conn.execute(
                    "insert into scad.migration (name, checksum, edition) values (%s, %s, %s)",
                    (migration.name, migration.checksum, edition),
                )
        return tuple(migration.name for migration in pending)
    finally:
        conn.execute("select pg_advisory_unlock(%s)", (LOCK_KEY,))


def schema_status(conn: Connection, migrations: tuple[Migration, ...] | None = None) -> Status:
    """What is applied and what is not. Raises SchemaError as apply_schema does."""
    migrations = load_migrations() if migrations is None else migrations
    edition, version = detect_edition(conn)
    exists = _one(conn, "select to_regclass('scad.migration') is not null")
    recorded = _recorded(conn) if exists else {}
    return Status(
        edition=edition,
        version=version,
        applied=tuple(sorted(recorded)),
        pending=tuple(migration.name for migration in _pending(migrations, recorded, edition)),
        elsewhere=tuple(m.name for m in migrations if not m.belongs_to(edition) and m.name not in recorded),
    )


def _pending(
    migrations: tuple[Migration, ...], recorded: dict[str, str], edition: Edition
) -> list[Migration]:
    by_name = {migration.name: migration for migration in migrations}
    for name, checksum in recorded.items():
        migration = by_name.get(name)
        if migration is None:
            raise SchemaError(f"{name} is applied here but not part of this release: the database is newer")
        if migration.checksum != checksum:
            raise SchemaError(
                f"{name} has been changed since it was applied here; put the file back as it was "
                "and write the change as a new migration"
            )
        if not migration.needs <= _OFFERS[edition]:
            raise SchemaError(
                f"{name} is applied here and needs {', '.join(sorted(migration.needs))}, "
                f"which the installed edition ({edition}) does not offer"
            )
    return [m for m in migrations if m.name not in recorded and m.belongs_to(edition)]


def _recorded(conn: Connection) -> dict[str, str]:
    rows = conn.execute("select name, checksum from scad.migration order by name").fetchall()
    return {str(name): str(checksum) for name, checksum in rows}


def _one(conn: Connection, query: LiteralString) -> object:
    row = conn.execute(query).fetchone()
    return None if row is None else row[0]
