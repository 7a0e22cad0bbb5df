"""What the long-running commands share: stopping on SIGTERM and SIGINT, and the exit status.

0: stopped when asked to. 1: failed, start me again. Whatever happens the process ends within seconds: a
library's thread that does not stop is left behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog
import typer

from scad.log import configure_logs
from scad.settings import Settings, SettingsError, load_settings

log = structlog.get_logger()


def settings_or_exit(process: str) -> Settings:
    """The settings, with the logs set up. Exits with status 2 and the list of what is wrong."""
    try:
        settings = load_settings()
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    configure_logs(settings.log_level, process)
    return settings


def run_until_stopped(main: Callable[[asyncio.Event], Awaitable[None]]) -> NoReturn:
    """Run `main(stop)`; SIGTERM and SIGINT set `stop`."""

    async def supervised() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            await main(stop)
        except Exception:
            log.exception("process.failed")
            return 1
        return 0

    status = asyncio.run(supervised())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a thread of a library may still wait for a broker that is away
