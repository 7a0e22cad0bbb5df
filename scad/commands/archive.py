"""`scad archive`: old readings into Parquet files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("archive")(archive)


def archive(
    folder: Annotated[Path, typer.Argument(help="Where the files go, and are.")],
    before: Annotated[str, typer.Option(help="Whole periods that end by this date (2025-01-01, UTC).")],
    drop: Annotated[
        bool, typer.Option("--drop", help="Delete from the database what was written and read back.")
    ] = False,
) -> None:
    """Write old readings into Parquet files, one a week (TimescaleDB) or month, and check each by reading it again.

    Nothing is deleted without --drop. Stopped at any moment, the same command goes on.
    """
    import psycopg

    from scad.database import opened_database

    try:
        from scad import archive as work
    except ImportError:
        print("pyarrow is not installed: pip install pyarrow", file=sys.stderr)
        raise typer.Exit(1) from None
    from devices.times import to_datetime

    rows = 0
    with opened_database(work.ArchiveError, psycopg.Error) as (settings, conn):
        now = to_datetime(settings.make_clock().now_ms())
        for done in work.archive(conn, folder, work.start_of_day(before), now, drop):
            rows += done.rows
            print(f"{done.path.name}: {done.rows} readings{', deleted from the database' if drop else ''}")
        (folder / "manifest.jsonl").write_text(work.manifest(folder))
    print(f"{rows} readings in {folder}")
