"""`python stand_in_worker.py`: `scad worker` without the writer, on the stand-in engine. Settings from SCAD_*."""

from __future__ import annotations

import os

from stand_in import StandInEngine

from scad.process import run_until_stopped, settings_or_exit
from streams.worker import Worker

if __name__ == "__main__":
    settings = settings_or_exit("worker")
    session = float(os.environ.get("SCAD_SESSION_SECONDS", "6"))
    run_until_stopped(Worker(settings, settings.make_clock(), StandInEngine(), session_seconds=session).run)
