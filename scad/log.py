"""Structured logs: one line an event on standard error, JSON unless a person is watching.

No name, birth date or INS ever reaches a log; `patient` is a pseudonym. A reading is followed
across processes by `device`, `epoch` and `seq`: at level debug each process writes a line for it (`follow`).
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable
from typing import NamedTuple, TextIO, cast

import structlog

from scad.tracing import Traced, tracing

_followed = False


class Named(NamedTuple):
    """A reading of which no more than its name is known."""

    device: str
    epoch: int
    seq: int | None


def followed() -> bool:
    """Whether anybody asks which readings a process is done with: at level debug, since a worker takes thousands
    a second, or where there are traces."""
    return _followed or tracing() is not None


def follow(event: str, readings: Iterable[Traced]) -> None:
    """A process is done with a batch of readings: a line for each, in which `device`, `epoch` and `seq` find it in
    every log, and the spans of the batch (scad/tracing.py)."""
    if not followed():
        return
    batch = list(readings)
    if _followed:
        log = structlog.get_logger()
        for reading in batch:
            log.debug(event, device=reading.device, epoch=reading.epoch, seq=reading.seq)
    if (traces := tracing()) is not None and batch:
        traces.batch(event, batch)


class _StandardError(io.TextIOBase):
    """Standard error as it is when a line is written: a command that is called from a test, or from a process
    that has redirected it, leaves no logger behind that writes into a closed file."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logs(level: str = "info", process: str = "scad") -> None:
    """Set structlog and the standard library's logging up for this process."""
    global _followed
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    _followed = number <= logging.DEBUG
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    tty, output = sys.stderr.isatty(), cast("TextIO", _StandardError())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if tty else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))  # libraries speak only of trouble
