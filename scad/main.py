"""The command `scad`. Each command is a module of `scad.commands` and imports what it needs when it runs,
so that `scad --help` is quick."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import typer

import scad.commands

HELP = "Clinical follow-up at home: device readings become alerts that a nurse can trust."


def build_app() -> typer.Typer:
    """The application with every command of `scad.commands` registered, in alphabetical order."""
    app = typer.Typer(
        name="scad",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help=HELP,
    )
    app.callback(help=HELP)(_commands)
    for module in sorted(info.name for info in pkgutil.iter_modules(scad.commands.__path__)):
        import_module(f"scad.commands.{module}").register(app)
    return app


def _commands() -> None:
    """Keeps `scad` a group of commands whatever their number."""


def run() -> None:
    """Entry point of the installed command."""
    build_app()()
