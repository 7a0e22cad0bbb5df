"""How every contender is measured: from its first reading to its last, from within its own process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter, process_time


class Stopwatch:
    """Call `lap()` once a reading, at the end of the work on it, and `alert()` once an alert."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.seen = 0
        self.alerts = 0
        self._began = (0.0, 0.0)

    def lap(self, readings: int = 1) -> bool:
        """Whether that was the last reading; then the result has been printed."""
        if not self.seen:
            self._began = (perf_counter(), process_time())
        self.seen += readings
        if self.seen < self.expected:
            return False
        self.print()
        return True

    def alert(self, alerts: int = 1) -> None:
        self.alerts += alerts

    def print(self) -> None:
        """One line of JSON on standard output."""
        began, cpu = self._began
        result = {
            "readings": self.seen,
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
