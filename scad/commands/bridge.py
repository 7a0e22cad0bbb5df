"""`scad bridge`: what devices publish goes to Kafka, receipts go back."""

from __future__ import annotations

import asyncio

import typer


def register(app: typer.Typer) -> None:
    app.command()(bridge)


def bridge() -> None:
    """Run one bridge between MQTT and Kafka. Several share the load; give each its own SCAD_WORKER_ID."""
    from scad.metrics_server import MetricsServer
    from scad.process import run_until_stopped, settings_or_exit
    from streams.bridge import Bridge

    settings = settings_or_exit("bridge")

    async def run(stop: asyncio.Event) -> None:
        running = Bridge(settings, settings.make_clock())
        server = MetricsServer(settings.metrics_host, settings.metrics_port, running.why_not_ready)
        if settings.metrics_port:
            await server.start()
        try:
            await running.run(stop)
        finally:
            await server.stop()

    run_until_stopped(run)
