"""`scad trace`: one reading's way."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("trace")(trace)


def trace(
    device: Annotated[str, typer.Argument(help="The device's serial.")],
    seq: Annotated[int, typer.Argument(help="The reading's number.")],
    epoch: Annotated[int | None, typer.Option(help="Only this epoch of the device's numbers.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Follow one reading: measured, received, stored, evaluated, evidence of which alerts, or why refused.

    A look at a patient's reading is a line of the trail of accesses. Exit status: 1 when the database knows nothing
    of it.
    """
    import msgspec

    from alerts.audit import record, shell_user
    from alerts.audit.entry import entry
    from alerts.trace import sentences
    from alerts.trace import trace as follow
    from scad.database import opened_database

    with opened_database() as (settings, conn):
        found = follow(conn, device, seq, epoch)
        if found.stored:  # before it is shown: what cannot be put on record is not shown
            whose = tuple(sorted({reading.patient for reading in found.stored}))
            record(conn, entry(settings.make_clock().wall(), shell_user(), "trace", patients=whose))
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        for line in sentences(found):
            print(line)
    if not found.found:
        raise typer.Exit(1)
