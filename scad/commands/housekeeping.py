"""`scad housekeeping`: what has to be done once a day."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    app.command()(housekeeping)


def housekeeping() -> None:
    """Delete what was kept its time (readings, quarantine, the trail of accesses) and vouch for the trail.

    Once a day, as the owner of the database: by the timers of deploy/systemd or the CronJob of deploy/kubernetes.
    Again, it does no harm. The last line has LINE:HASH of the trail: let the log that it goes to be kept on another
    machine. Exit status: 1 when a part could not be done; the others were.
    """
    from alerts.identity.keys import KeyFileError
    from alerts.identity.vault import vault_of
    from scad.database import opened_database
    from scad.housekeeping import keep_house

    with opened_database(KeyFileError) as (settings, conn):
        vault = vault_of(settings.identity_keys)
        found = keep_house(conn, None if vault is None else vault.keys, settings.make_clock().now_ms())
    for done in found:
        typer.echo(f"{done.part}: {done.said}", err=not done.ok)
    if not all(done.ok for done in found):
        raise typer.Exit(1)
