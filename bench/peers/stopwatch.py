"""How every peer is measured: from its first reading to its last commit, from within its own process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter, process_time


class Stopwatch:
    """Call `lap()` at the end of the work on a reading or a batch, `alert()` once an alert, and `print()` when the last
    commit is done, where the library says when that is.

    The first lap starts the watch and its readings are not counted: what was done before is the start.
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.seen = 0
        self.first = 0
        self.alerts = 0
        self._began = (0.0, 0.0)

    def lap(self, readings: int = 1) -> bool:
        """Whether that was the last reading."""
        if not self.seen:
            self.first = readings
            self._began = (perf_counter(), process_time())
        self.seen += readings
        return self.seen >= self.expected

    def alert(self, alerts: int = 1) -> None:
        self.alerts += alerts

    def print(self) -> None:
        """One line of JSON on standard output."""
        began, cpu = self._began
        result = {
            "readings": self.seen - self.first,
            "seconds": perf_counter() - began,
            "cpu_seconds": process_time() - cpu,
            "memory_mib": _peak_mib(),
            "alerts": self.alerts,
        }
        print("RESULT " + json.dumps(result), file=sys.__stdout__, flush=True)  # Faust has its own sys.stdout


def _peak_mib() -> float:
    """The most memory that was resident. (getrusage would count what the parent had at the fork.)"""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
