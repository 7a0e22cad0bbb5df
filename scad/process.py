"""What the long-running commands share: stopping on SIGTERM and SIGINT, and the exit status.

0: stopped when asked to. 1: failed, start me again. Whatever happens the process ends within seconds: a
library's thread that does not stop is left behind.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog
import typer

from scad.log import configure_logs
from scad.settings import Settings, SettingsError, load_settings
from scad.tracing import TracingMissingError, start_tracing, stop_tracing

log = structlog.get_logger()

COLLECT_AFTER = 50_000
"""New objects after which Python looks for rings of garbage. Its own 700 come with every hundred readings, none of them
in a ring: a tenth of a worker's time. 50,000 small objects are some 10 MB."""
CALM_SECONDS = 10.0
CALM_KINDS_MAX = 1_000  # message templates remembered; libraries have some hundreds


def settings_or_exit(process: str) -> Settings:
    """The settings, with the logs set up. Exits with status 2 and the list of what is wrong."""
    try:
        settings = load_settings()
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    configure_logs(settings.log_level, process)
    try:
        start_tracing(settings.otel_endpoint, process, settings.otel_share)
    except TracingMissingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    return settings


def run_until_stopped(main: Callable[[asyncio.Event], Awaitable[None]]) -> NoReturn:
    """Run `main(stop)`; SIGTERM and SIGINT set `stop`, a second one ends the process where it is."""

    async def supervised() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def asked() -> None:
            if stop.is_set():
                os._exit(1)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked)
        status = 0
        try:
            await main(stop)
        except Exception:
            log.exception("process.failed")
            status = 1
        stop_tracing()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # tasks and threads of libraries may still wait for a broker that is away

    _calm_libraries()
    _spare_the_collector()
    asyncio.run(supervised())
    raise AssertionError("supervised() ends the process")


def _spare_the_collector() -> None:
    """What lives as long as the process is looked at no more, and the rest once per COLLECT_AFTER new objects."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


class Calm(logging.Filter):
    """Lets the same kind of message through once in a while: a Kafka client whose broker is away complains
    some forty times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, str(record.msg))
        before = self._last.get(kind)
        if before is not None and record.created - before < CALM_SECONDS:
            return False
        if len(self._last) >= CALM_KINDS_MAX:
            self._last.clear()
        self._last[kind] = record.created
        return True


def _calm_libraries() -> None:
    calm = Calm()
    for handler in logging.getLogger().handlers:
        handler.addFilter(calm)
