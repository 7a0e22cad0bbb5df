"""`python earlier_worker.py`: `scad worker --without-writer` as a release that knows state format 1 alone."""

from __future__ import annotations

from scad.process import run_until_stopped, settings_or_exit
from streams import stored
from streams.engine import Engine
from streams.protocols import load_published
from streams.worker import Worker

if __name__ == "__main__":
    stored.FORMAT, stored.READABLE = 1, (1,)  # type: ignore[assignment]
    settings = settings_or_exit("worker")
    engine = Engine(load_published(), silence_by_ticks=True, state_format=1)
    run_until_stopped(Worker(settings, settings.make_clock(), engine).run)
