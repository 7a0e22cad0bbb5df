"""`scad worker`: readings become alert signals (Faust), and the writer that stores both."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(worker)


def worker(
    without_writer: Annotated[
        bool, typer.Option("--without-writer", help="Leave the database to `scad writer` processes.")
    ] = False,
    session_seconds: Annotated[
        float | None,
        typer.Option(
            min=2.0,
            max=300.0,
            help="After this long without a sign of life other workers take over (SCAD_SESSION_SECONDS).",
        ),
    ] = None,
) -> None:
    """Run one worker: intake, thresholds, and unless told otherwise the writer. Add more for more load."""
    from scad.process import run_until_stopped, settings_or_exit
    from streams.engine import Engine
    from streams.protocols import load_published
    from streams.worker import Companion, Worker

    settings = settings_or_exit("worker")
    companions: tuple[Companion, ...] = ()
    if not without_writer:
        from streams.writer import run_writer

        companions = (run_writer,)
    running = Worker(
        settings,
        settings.make_clock(),
        Engine(load_published(), silence_by_ticks=True, state_format=settings.state_format),
        companions,
        session_seconds=session_seconds,
    )
    run_until_stopped(running.run)
