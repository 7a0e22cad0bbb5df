"""`make test`: the tests that need no service but a database side by side, then all others one after the other.

    python tests/phases.py [arguments of pytest]

Which phase a test belongs to is decided here and nowhere else, from what the test asks for, so a new test needs to
do nothing; `live` is the mark of the second phase. A test module belongs to one phase as a whole: what its tests
share is made once. At the end the phases' numbers have to add up to all tests that were asked for.

Plain `pytest` knows no phases and runs everything.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import randbelow
from typing import Any, NamedTuple

import pytest

OPTION = "--phase"
PARALLEL, SERIAL = "parallel", "serial"
COUNTS_VARIABLE = "SCAD_TEST_COUNTS"
"""Path of the file that a phase writes its numbers to."""

MOST_WORKERS = 8
"""Each imports every test module, some 15 s of a processor: more of them gain nothing."""

BROWSER_FIXTURE = "chromium"
BROKER_FIXTURES = {"mosquitto", "kafka", "fresh_kafka", "start_kafka", "tansu"}
"""With them tests start processes that wait for each other: these have the machine to themselves."""
OTHER_FIXTURES = {"postgres", "database", "promtool", "prometheus", "docker_compose"}
"""Of these each worker has its own: what asks for no more runs side by side."""
SERVICE_FIXTURES = BROKER_FIXTURES | OTHER_FIXTURES
LIVE_FOLDERS = {"browser", "faults", "path", "security", "services"}
"""Of `tests`: what is in there starts processes or waits for them, also where it names no service."""
LIVE_ENDING = "_live"

NOTHING_CHOSEN = 5  # pytest's exit status when no test was selected: of one phase that is no failure


class Counts(NamedTuple):
    """One phase: all tests that were asked for (of both phases), those that were its own, and those that ran."""

    asked: int
    own: int
    ran: int
    judged: bool
    """False where something else than the phase chose among its tests (--lf), or ended it early."""


def live_module(path: Path, fixtures: Iterable[str]) -> bool:
    """Whether a test module is of the serial phase. `fixtures`: of all its tests, with those that they need."""
    names = set(fixtures)
    return (
        not names.isdisjoint(BROKER_FIXTURES | {BROWSER_FIXTURE})
        or path.stem.endswith(LIVE_ENDING)
        or not LIVE_FOLDERS.isdisjoint(path.parts)
    )


def mark(items: Sequence[pytest.Item], root: Path) -> None:
    """Put `services`, `browser` and `live` on the tests. Call with all of a module's tests: before -k and -m."""
    modules: dict[Path, set[str]] = defaultdict(set)
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        modules[item.path] |= names
        if names & SERVICE_FIXTURES:
            item.add_marker("services")
        if BROWSER_FIXTURE in names:
            item.add_marker("browser")
    live = {path for path, names in modules.items() if live_module(_below(path, root), names)}
    for item in items:
        if item.path in live:
            item.add_marker("live")


def _below(path: Path, root: Path) -> Path:
    """Without the folders above: those may be called anything."""
    return path.relative_to(root) if path.is_relative_to(root) else Path(path.name)


class Phase:
    """Chooses one phase's tests, and counts. In a process that has workers (xdist) these do the choosing."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.live = config.getoption(OPTION) == SERIAL
        self.asked = self.own = 0
        self.seen: set[str] = set()

    @pytest.hookimpl(trylast=True)  # what -k and -m left
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.asked = len(items)
        others = [item for item in items if ("live" in item.keywords) is not self.live]
        items[:] = [item for item in items if ("live" in item.keywords) is self.live]
        self.own = len(items)
        self.config.hook.pytest_deselected(items=others)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seen.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.asked, self.own = getattr(node, "workeroutput", {}).get("phase", (self.asked, self.own))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["phase"] = (self.asked, self.own)
        elif path := os.environ.get(COUNTS_VARIABLE):
            option = self.config.option
            narrowed = any(getattr(option, name, None) for name in ("lf", "stepwise", "collectonly"))
            judged = exitstatus in (0, NOTHING_CHOSEN) and not narrowed
            Path(path).write_text(json.dumps(Counts(self.asked, self.own, len(self.seen), judged)))


def fault_of(parallel: Counts, serial: Counts) -> str | None:
    """What is wrong with the numbers of two phases, or None."""
    if not (parallel.judged and serial.judged):
        return None
    if parallel.asked != serial.asked:
        return f"the phases were asked for different tests: {parallel.asked} and {serial.asked}"
    if parallel.own + serial.own != serial.asked:
        return f"{serial.asked} tests were asked for, {parallel.own} and {serial.own} are in a phase"
    for name, counts in (("first", parallel), ("second", serial)):
        if counts.ran != counts.own:
            return f"the {name} phase has {counts.own} tests and {counts.ran} ran"
    return None


def run_phase(options: Sequence[str], arguments: Sequence[str], counts: Path) -> tuple[int, Counts]:
    """Exit status and numbers of one pytest; -1 for all numbers where it did not come to write them."""
    counts.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    # workers refuse to begin unless all of them find the same tests in the same order: so the same order of sets
    environment = {"PYTHONHASHSEED": str(randbelow(2**32)), **os.environ, COUNTS_VARIABLE: str(counts)}
    process = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while (status := process.poll()) is None:
        with suppress(KeyboardInterrupt):  # it has heard Ctrl-C itself, and has services to stop
            process.wait()
    known = Counts(*json.loads(counts.read_text())) if counts.exists() else Counts(-1, -1, -1, False)
    return status, known


def main(arguments: Sequence[str]) -> int:
    """Run both phases. Returns the first failure's exit status; a second phase is run after a failed first one
    too, but not when the first could not begin (a module that cannot be imported, wrong usage, Ctrl-C)."""
    with tempfile.TemporaryDirectory(prefix="scad-phases-") as folder:
        counts = Path(folder) / "counts"
        side_by_side = ["-n", "auto", "--maxprocesses", str(MOST_WORKERS), "--dist", "loadfile"]
        first, parallel = run_phase([OPTION, PARALLEL, *side_by_side], arguments, counts)
        if first not in (0, 1, NOTHING_CHOSEN):
            return first
        second, serial = run_phase([OPTION, SERIAL], arguments, counts)
    if first == second == NOTHING_CHOSEN:
        return NOTHING_CHOSEN
    if failed := next((status for status in (first, second) if status not in (0, NOTHING_CHOSEN)), 0):
        return failed
    if fault := fault_of(parallel, serial):
        print(f"the two phases do not add up: {fault}", file=sys.stderr)
        return 1
    print(f"{parallel.ran} tests side by side, {serial.ran} one after the other: {serial.asked} in all")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
