"""PostgreSQL 17, with TimescaleDB where that was fetched, on 127.0.0.1."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from scad.services.base import HOST, Service, free_port, guarded
from scad.services.places import ServiceError, fetched, postgres_bin

Edition = Literal["community", "apache", "none"]

ADMIN = "postgres"
OWNER = "scad"
DATABASE = "scad"
EMPTY = "scad_empty"
"""Template of new databases: nothing in it but the extension."""
CONNECT_SECONDS = 5
INITDB_SECONDS = 60

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a socket's path has at most 107 characters; folders of tests are longer
    "fsync": "on",
    "jit": "off",  # our queries are short: compiling them costs more than it gives
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "max_worker_processes": "64",  # TimescaleDB takes one for each database that has it
    "log_checkpoints": "off",
}
TIMESCALE_SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timescaledb.max_background_workers": "48",
}


class Postgres(Service):
    """The server with the database `scad`, owned by the role `scad`.

    The owner may create roles but is no superuser; `admin_dsn` is the superuser's. Passwords are drawn at
    the first start and kept in the folder, so the same folder can be started again.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # ends sessions; SIGTERM would wait for them
    as_nobody = True

    def __init__(
        self, folder: Path, port: int | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        """`options`: further settings of the server, as `ssl` and its files."""
        super().__init__(folder)
        self.port = port or free_port()
        self.options = dict(options or {})
        self.edition: Edition = "none"
        self.timescale_version: str | None = None
        self._version = ""
        self._password = ""
        self._new_databases = 0

    @property
    def dsn(self) -> str:
        """The address of the database `scad` as its owner."""
        return self.dsn_of(DATABASE)

    @property
    def admin_dsn(self) -> str:
        return self.dsn_of(DATABASE, ADMIN)

    def dsn_of(self, database: str, user: str = OWNER) -> str:
        return f"postgresql://{user}:{self._password}@{HOST}:{self.port}/{database}"

    @property
    def version(self) -> str:
        """As `17.11, TimescaleDB 2.19.3 (apache)`; known once it was started."""
        extra = f", TimescaleDB {self.timescale_version} ({self.edition})" if self.timescale_version else ""
        return f"{self._version}{extra}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def program(self, name: str) -> str:
        """Path of a program of this PostgreSQL: `psql`, `pg_dump`, …"""
        return str(postgres_bin() / name)

    def command(self) -> list[str]:
        settings = {**SETTINGS, "port": str(self.port)}
        if has_timescale():
            settings |= TIMESCALE_SETTINGS
        settings |= self.options
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", str(self.data), *options]

    def prepare(self) -> None:
        secret = self.folder / "password"
        if self.data.exists() and secret.is_file():
            self._password = secret.read_text()
            return
        self._password = secrets.token_urlsafe(16)
        work = self.folder / "new"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        (work / "password").write_text(self._password)
        if os.geteuid() == 0:
            shutil.chown(work, "nobody", "nogroup")
        self._initdb(work)
        secret.touch(0o600)
        secret.write_text(self._password)
        (work / "data").rename(self.data)
        shutil.rmtree(work)

    def _initdb(self, work: Path) -> None:
        options = [
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8"),
            *("--auth-local=scram-sha-256", "--auth-host=scram-sha-256", f"--username={ADMIN}"),
            f"--pwfile={work / 'password'}",
        ]
        done = subprocess.run(
            guarded([self.program("initdb"), "-D", str(work / "data"), *options], nobody=True),
            cwd=work,
            capture_output=True,
            text=True,
            timeout=INITDB_SECONDS,
        )
        if done.returncode != 0:
            raise ServiceError(f"initdb failed: {done.stderr.strip()}")

    def answers(self) -> bool:
        try:
            with self._admin("postgres") as connection:
                connection.execute("select 1")
        except psycopg.Error:
            return False
        return True

    def started(self) -> None:
        """Make the role, the template and the database if this folder does not have them yet."""
        with self._admin("postgres") as connection:
            self._version = connection.info.parameter_status("server_version") or ""
            self._version = self._version.split(" ")[0]
            if not connection.execute("select 1 from pg_roles where rolname = %s", [OWNER]).fetchone():
                connection.execute(
                    sql.SQL("create role {} login createrole password {}").format(
                        sql.Identifier(OWNER), sql.Literal(self._password)
                    )
                )
            made = {
                row[0] for row in connection.execute("select datname from pg_database where datistemplate")
            }
        if EMPTY not in made:
            self._make_empty_template()
        with self._admin("postgres") as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
                self.create_database(DATABASE)
        with self._admin(DATABASE) as connection:
            row = connection.execute(
                "select extversion, current_setting('timescaledb.license') from pg_extension"
                " where extname = 'timescaledb'"
            ).fetchone()
        if row is not None:
            self.timescale_version = str(row[0])
            self.edition = "apache" if row[1] == "apache" else "community"

    def _make_empty_template(self) -> None:
        with self._admin("postgres") as connection:
            self._drop(connection, EMPTY)  # a start that was interrupted here
            connection.execute(
                sql.SQL("create database {} owner {}").format(*map(sql.Identifier, (EMPTY, OWNER)))
            )
        if has_timescale():
            with self._admin(EMPTY) as connection:
                connection.execute("create extension timescaledb")
        self.make_template(EMPTY)

    def create_database(self, name: str | None = None, template: str = EMPTY) -> str:
        """A new database, a copy of `template`, owned by `scad`; returns its address as the owner.

        Without a name one is drawn. A copy takes some 50 ms.
        """
        if name is None:
            self._new_databases += 1
            name = f"scad_{self._new_databases}_{secrets.token_hex(3)}"
        with self._admin("postgres") as connection:
            names = map(sql.Identifier, (name, template, OWNER))
            # file_copy takes the template's files as they are, after a checkpoint; WAL logs each page
            connection.execute(sql.SQL("create database {} template {} owner {}").format(*names))
        return self.dsn_of(name)

    def make_template(self, name: str) -> None:
        """Freeze a database for `create_database(template=name)` to copy: nobody may connect again."""
        with self._admin("postgres") as connection:
            connection.execute(
                sql.SQL("alter database {} with is_template true allow_connections false").format(
                    sql.Identifier(name)
                )
            )
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                [name],
            )

    def drop_database(self, name: str) -> None:
        """Drop a database with the sessions in it; `name` may be its address."""
        with self._admin("postgres") as connection:
            self._drop(connection, name.rpartition("/")[2])

    def _drop(self, connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
        connection.execute(
            "update pg_database set datistemplate = false, datallowconn = true where datname = %s", [name]
        )
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def _admin(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.dsn_of(database, ADMIN), autocommit=True, connect_timeout=CONNECT_SECONDS)


def has_timescale() -> bool:
    """Whether the PostgreSQL that is found here has the extension."""
    return fetched("timescaledb") is not None
