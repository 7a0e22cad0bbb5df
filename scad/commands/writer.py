"""`scad writer`: stores readings, signals and quarantine, apart from the worker."""

from __future__ import annotations

import asyncio

import typer


def register(app: typer.Typer) -> None:
    app.command()(writer)


def writer() -> None:
    """Run one writer: from Kafka into the database. Workers then run with --without-writer."""
    from scad.metrics_server import MetricsServer
    from scad.process import run_until_stopped, settings_or_exit
    from streams.writer import run_writer

    settings = settings_or_exit("writer")

    async def run(stop: asyncio.Event) -> None:
        server = MetricsServer(settings.metrics_host, settings.metrics_port, ready=lambda: "")
        if settings.metrics_port:
            await server.start()
        try:
            await run_writer(settings, settings.make_clock(), stop)
        finally:
            await server.stop()

    run_until_stopped(run)
