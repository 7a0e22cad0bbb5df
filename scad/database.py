"""The database as a command meets it: opened by the settings, its failures one line on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import typer

from alerts.store.connection import Connection
from scad.settings import Settings, SettingsError, load_settings

CONNECT_SECONDS = 5  # a person is waiting


@contextmanager
def opened_database(*expected: type[Exception]) -> Iterator[tuple[Settings, Connection]]:
    """The settings and a connection in autocommit mode.

    `expected` errors, settings that cannot be used and a database that cannot be reached are printed on
    standard error and end the command with status 1.
    """
    reported: tuple[type[Exception], ...] = (SettingsError, *expected)
    try:
        settings = load_settings()
        with psycopg.connect(
            settings.database, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="scad"
        ) as conn:
            yield settings, conn
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        _end(
            f"the database has no schema, or an older one: run `scad schema apply` ({error.diag.message_primary})"
        )
    except psycopg.OperationalError as error:
        _end(f"the database cannot be used (SCAD_DATABASE): {str(error).strip()}")
    except reported as error:
        _end(str(error).strip())


def _end(message: str) -> None:
    print(message, file=sys.stderr)
    raise typer.Exit(1) from None
