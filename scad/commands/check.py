"""`scad check`: is everything as it has to be?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MARKS = {"ok": "ok", "warning": "WARNING", "fault": "FAULT"}


def register(app: typer.Typer) -> None:
    app.command("check")(check)


def check(
    process: Annotated[
        list[str] | None,
        typer.Option(
            help="Address of a process's metrics or of a feed, as http://host:9100; may be repeated."
        ),
    ] = None,
    disk: Annotated[
        list[Path] | None, typer.Option(help="A folder whose disk is to have room; may be repeated.")
    ] = None,
    backups: Annotated[Path | None, typer.Option(help="The folder of `scad backup`.")] = None,
    accounts: Annotated[
        Path | None,
        typer.Option(
            help="The folder of Kafka's passwords (deploy/secrets): log in as each account and look."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON array.")] = False,
) -> None:
    """Test this deployment from end to end and say what is wrong and what to do. Changes nothing.

    With the settings of a process (or of all, as the owner of the database). Exit status: 1 when anything is at fault;
    warnings do not count.
    """
    import logging

    import msgspec

    from scad.checks import check_all
    from scad.log import configure_logs

    configure_logs("error", "check")
    logging.getLogger().setLevel(logging.CRITICAL)  # libraries complain of what the findings name
    found = check_all(None, process or (), disk or (), backups, accounts)
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        for finding in found:
            print(f"{MARKS[finding.state]:<8} {finding.part:<13} {finding.what}")
            if finding.remedy:
                print(f"{'':<22} → {finding.remedy}")
    if any(finding.state == "fault" for finding in found):
        raise typer.Exit(1)
