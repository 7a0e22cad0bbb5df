"""`scad export`: the usage extract of a month, data for research, and who objects to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    export = typer.Typer(no_args_is_help=True, help="Files that leave the platform.")
    app.add_typer(export, name="export")
    export.command("usage")(usage)
    export.command("research")(research)
    export.command("objection")(objection)


def usage(
    month: Annotated[str, typer.Option(help="As 2026-11.")],
    out: Annotated[Path | None, typer.Option(help="Write here instead of standard output.")] = None,
) -> None:
    """Per patient and protocol: days followed, readings, alerts and how many were seen, as CSV.

    Exit status: 0 when it is written, 1 when it cannot be made, 2 for wrong usage.
    """
    from alerts.audit import record, shell_user
    from alerts.audit.entry import entry
    from alerts.exports.pseudonyms import ExportError
    from alerts.exports.usage import as_csv
    from alerts.exports.usage import usage as lines
    from devices.times import to_datetime
    from scad.database import opened_database
    from streams.protocols import load_published

    with opened_database(ExportError) as (settings, conn):
        now = to_datetime(settings.make_clock().now_ms())
        text = as_csv(lines(conn, month, load_published(), now))
        record(conn, entry(settings.make_clock().wall(), shell_user(), "export-usage", about=month))
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")


def research(
    project: Annotated[
        str, typer.Option(help="Small letters, digits, hyphens: each project has its own names.")
    ],
    key_file: Annotated[
        Path, typer.Option(help="Base64 of 32 bytes or more; keep it apart from the export.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    first: Annotated[str, typer.Option("--from", help="First day (UTC), as 2026-01-01.")],
    last: Annotated[str, typer.Option("--to", help="Last day, with it.")],
) -> None:
    """Readings and alerts of patients who do not object, as Parquet under the project's own pseudonyms.

    Exit status: 0 when it is written, 1 when it cannot be made, 2 for wrong usage.
    """
    from datetime import UTC, datetime, timedelta

    from alerts.audit import record, shell_user
    from alerts.audit.entry import entry
    from alerts.exports.pseudonyms import ExportError, Pseudonyms, read_key
    from alerts.exports.research import export_research
    from devices.times import to_datetime
    from scad.database import opened_database

    with opened_database(ExportError) as (settings, conn):
        try:
            begin = datetime.fromisoformat(first).replace(tzinfo=UTC)
            end = datetime.fromisoformat(last).replace(tzinfo=UTC) + timedelta(days=1)
        except ValueError as error:
            raise ExportError(f"--from and --to are days like 2026-01-01: {error}") from None
        names = Pseudonyms(project, read_key(key_file))
        now = to_datetime(settings.make_clock().now_ms())
        about = f"project {project}, {first} to {last}"
        record(conn, entry(settings.make_clock().wall(), shell_user(), "export-research", about=about))
        done = export_research(conn, names, out, begin, end, now)
    print(
        f"{out}: {done.patients} patients, {done.readings} readings, {done.alerts} alerts;"
        f" {done.objecting} patients object and are not in it"
    )


def objection(
    patient: Annotated[str, typer.Argument(help="The patient's pseudonym.")],
    by: Annotated[str, typer.Option(help="Who records it.")],
    withdraw: Annotated[bool, typer.Option("--withdraw", help="The patient objects no longer.")] = False,
) -> None:
    """Record that a patient objects to research with the own data, or withdraws the objection.

    Exit status: 0 when it is recorded, 1 when there is no such patient, 2 for wrong usage.
    """
    from alerts.audit import record, shell_user
    from alerts.audit.entry import entry
    from alerts.exports.objections import record_objection
    from alerts.exports.pseudonyms import ExportError
    from devices.times import to_datetime
    from scad.database import opened_database

    with opened_database(ExportError) as (settings, conn), conn.transaction():
        now = to_datetime(settings.make_clock().now_ms())
        new = record_objection(conn, patient, not withdraw, by, now)
        did = "objection-withdrawn" if withdraw else "objection"
        record(conn, entry(settings.make_clock().wall(), shell_user(), did, patients=(patient,), about=by))
    said = "objects to research" if not withdraw else "does not object to research"
    print(f"{patient} {said}" + ("" if new else " (as before)"))
