"""`scad demo`: everything embedded, with simulated patients."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    patients: Annotated[int, typer.Option(min=1, max=500, help="Simulated patients.")] = 50,
    minutes: Annotated[
        float, typer.Option(min=0.2, max=20_160, help="Minutes that the simulated fortnight takes.")
    ] = 3.0,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the page; 0 for a free one.")] = 8080,
    seed: Annotated[int, typer.Option(help="The same seed gives the same patients and readings.")] = 1,
) -> None:
    """Start brokers, database, bridge, worker, feed and a fleet of simulated patients on this machine, and
    stop them all on Ctrl-C. Needs neither Docker, Java nor root; `make setup` fetches what it needs."""
    from scad.demo import Demo, DemoError
    from scad.services import ServiceError, free_port

    try:
        Demo(patients, minutes, port or free_port(), seed).run()
    except (DemoError, ServiceError) as error:
        typer.echo(f"scad demo: {error}", err=True)
        raise typer.Exit(1) from None
