"""`scad escalation`: tells the next person when nobody answers, and what time does to alerts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scad.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(escalation)


def escalation(
    once: Annotated[
        bool, typer.Option("--once", help="Do one round, print what it did as JSON, and end.")
    ] = False,
) -> None:
    """Wake snoozed alerts, escalate unanswered ones, send digests, until Ctrl-C or SIGTERM. Two may run."""
    from scad.process import settings_or_exit
    from scad.settings import SettingsError

    settings = settings_or_exit("escalation")
    try:
        if once:
            _one_round(settings)
        else:
            _run(settings)
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _one_round(settings: Settings) -> None:
    import json

    import psycopg

    from alerts.escalation.process import once

    try:
        typer.echo(json.dumps(asyncio.run(once(settings, settings.make_clock()))))
    except psycopg.Error as error:
        typer.echo(f"the database cannot be used (SCAD_DATABASE): {str(error).strip()}", err=True)
        raise typer.Exit(1) from None


def _run(settings: Settings) -> None:
    import time

    from alerts.escalation.process import Escalation
    from scad.metrics_server import MetricsServer
    from scad.process import run_until_stopped

    process = Escalation(settings, settings.make_clock(), time.monotonic)

    async def run(stop: asyncio.Event) -> None:
        server = MetricsServer(settings.metrics_host, settings.metrics_port, ready=process.ready)
        if settings.metrics_port:
            await server.start()
        try:
            await process.run(stop)
        finally:
            await server.stop()

    run_until_stopped(run)
