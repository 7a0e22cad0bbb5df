"""`scad schema`: creates, upgrades and tidies the database."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    schema = typer.Typer(no_args_is_help=True, help="The database's schema.")
    app.add_typer(schema, name="schema")
    schema.command("apply")(apply)
    schema.command("status")(status)
    schema.command("retain")(retain)


def apply() -> None:
    """Create or upgrade the database (SCAD_DATABASE). Again, it changes nothing."""
    import psycopg

    from alerts.schema import SchemaError, apply_schema, detect_edition
    from scad.database import opened_database

    with opened_database(SchemaError, psycopg.Error) as (_, conn):
        for name in apply_schema(conn):
            print(f"applied {name}")
        edition, version = detect_edition(conn)
        print(f"the schema is up to date ({version}, edition: {edition})")


def status(as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False) -> None:
    """Which migrations are applied, which are pending, which are for another edition.

    Exit status: 1 when some are pending.
    """
    import msgspec

    from alerts.schema import SchemaError, schema_status
    from scad.database import opened_database

    with opened_database(SchemaError) as (_, conn):
        found = schema_status(conn)
    if as_json:
        print(json.dumps(msgspec.to_builtins(found)))
    else:
        print(f"{found.version}, edition: {found.edition}")
        for title in ("applied", "pending", "elsewhere"):
            for name in getattr(found, title):
                print(f"{title if title != 'elsewhere' else 'for another edition':<20} {name}")
    if found.pending:
        raise typer.Exit(1)


def retain(
    keep: Annotated[
        str | None,
        typer.Option(
            help="Keep readings this long, such as '20 years'. Without it as table scad.retention says."
        ),
    ] = None,
) -> None:
    """Delete readings that are older than they must be kept. For a daily timer, where the database has none."""
    import psycopg

    from scad.database import opened_database
    from scad.housekeeping import retain_readings

    with opened_database(psycopg.DataError) as (settings, conn):
        print(retain_readings(conn, settings.make_clock().now_ms(), keep))
