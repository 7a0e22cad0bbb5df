"""The command `scad`. Each command imports what it needs when it runs, so that `scad --help` is quick."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="scad",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Clinical follow-up at home: device readings become alerts that a nurse can trust.",
)


def run() -> None:
    """Entry point of the installed command."""
    app()
