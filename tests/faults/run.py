"""A fault run: devices send, parts fail as a seed decides, and at the end every station holds equal sets.

    make faults SEED=7                       a million readings, 200 faults, in .scad/faults/7
    make faults SEED=7 READINGS=20000 FAULTS=12

Ctrl-C stops it; the same command goes on from there (what devices still hold, which faults are done), or says
again what came of it. The seed of a failing run reproduces its faults and readings.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "path"))

import checker
import httpx
from faults import Fault, Kind, draw, kinds, part_of
from live_clients import Listener
from load import Devices, enrolment, recording, write_lines
from region import Region
from whole_platform import NURSE, NURSE_PASSWORD, TEAM

from alerts.feed.accounts import create_account
from devices.times import to_datetime

STALLED_SECONDS = 180.0
"""Without a fault, so long without a receipt is a failure: devices send again after 15 s, groups settle in 20."""
SETTLE_SECONDS = 300.0
"""From the last receipt until the database and the feed have everything."""
AT_ONCE = 2
"""Faults at the same time, on different parts; one of Kafka's brokers at most."""
POLL_SECONDS = 0.1
REVIVE_SECONDS = 2.0
EACH_MAX = 5_000
"""Readings of one patient: more patients rather than longer histories."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    seed: int
    readings: int = 1_000_000
    faults: int = 200
    patients: int = 0

    @property
    def people(self) -> int:
        return self.patients or max(12, -(-self.readings // EACH_MAX))

    @property
    def each(self) -> int:
        return -(-self.readings // self.people)


class FaultRun:
    """One run in one folder."""

    def __init__(self, folder: Path, size: Size, say: Callable[[str], None] = print) -> None:
        self.folder, self.size, self.say = folder, size, say
        folder.mkdir(parents=True, exist_ok=True)
        self._diary = folder / "diary.json"
        self.diary: dict[str, Any] = self._opened()
        self.lines = recording(size.people, size.each, self.diary["end_ms"], size.seed)
        self.done: list[Fault] = []
        self._undo: list[tuple[float, Fault, Kind]] = []

    def _opened(self) -> dict[str, Any]:
        asked = {"seed": self.size.seed, "readings": self.size.readings, "faults": self.size.faults}
        if self._diary.exists():
            found: dict[str, Any] = json.loads(self._diary.read_text())
            if found["asked"] != asked:
                raise SystemExit(
                    f"{self.folder} holds another run ({found['asked']}): remove it, or ask for that"
                )
            return found
        return {"asked": asked, "end_ms": int(time.time() * 1000), "done": 0, "seconds": 0.0, "deaths": []}

    def _note(self, **what: Any) -> None:
        self.diary |= what
        self._diary.write_text(json.dumps(self.diary))

    def run(self) -> checker.Findings:
        """Bring the region up, send and break, then compare. The region is stopped in any case."""
        self._note()
        region = Region(self.folder, self.size.readings)
        try:
            region.start()
            plans = self._enrol(region)
            with self._devices(region) as devices, self._browser(region) as browser:
                self._break(region, devices)
                return self._compare(region, devices, browser, plans)
        except BaseException:
            (self.folder / "logs.txt").write_text(region.log())
            raise
        finally:
            region.stop()

    # ── the run ───────────────────────────────────────────────────────────────────────────────────────

    def _enrol(self, region: Region) -> Path:
        document = enrolment(self.size.people, self.diary["end_ms"], region.care_team)
        path = write_lines(self.folder / "enrolment.json", [document])
        region.add_devices(f"d-{index}" for index in range(self.size.people))
        region.scad("enrol", path)
        with region.database() as conn:
            found = conn.execute("select 1 from scad.account where login = %s", (NURSE,)).fetchone()
            if not found:
                create_account(
                    conn, NURSE, NURSE_PASSWORD, "nurse", TEAM, at=to_datetime(self.diary["end_ms"])
                )
        return path

    @contextmanager
    def _devices(self, region: Region) -> Iterator[Devices]:
        names = [f"d-{index}" for index in range(self.size.people)]
        devices = Devices(self.folder, names, region.device_port)
        try:
            devices.measure(self.lines)
            devices.start()
            yield devices
        finally:
            devices.stop()

    @contextmanager
    def _browser(self, region: Region) -> Iterator[Listener]:
        with httpx.Client(base_url=region.feed_url, timeout=60) as client:
            answer = client.post("/login", data={"user": NURSE, "password": NURSE_PASSWORD})
            assert answer.status_code == 303, answer.text
            with Listener(client) as browser:
                yield browser

    def _break(self, region: Region, devices: Devices) -> None:
        known = kinds(region)
        plan = draw(self.size.seed, self.size.faults, known)[self.diary["done"] :]
        total = len(self.lines)
        moved = revived = begin = time.monotonic()
        before = devices.waiting
        while plan or self._undo or devices.waiting:
            now = time.monotonic()
            waiting = devices.waiting
            if waiting != before or self._undo:
                before, moved = waiting, now
            self._heal(region, now)
            if now - revived >= REVIVE_SECONDS:
                revived = now
                for name in region.revive():
                    self.say(f"{name} had ended by itself and was started again")
            share = 1 - waiting / total
            if plan and (share >= plan[0].share or not waiting) and self._free_for(plan[0]):
                self._do(region, plan.pop(0), known)
                self._note(done=self.size.faults - len(plan), seconds=self.diary["seconds"] + now - begin)
                begin = now
            if now - moved > STALLED_SECONDS:
                raise AssertionError(
                    f"seed {self.size.seed}: no receipt for {STALLED_SECONDS:.0f} s, {waiting} readings wait; "
                    f"{devices.errors()}\n{region.log()}"
                )
            time.sleep(POLL_SECONDS)
        self._note(seconds=self.diary["seconds"] + time.monotonic() - begin)

    def _free_for(self, fault: Fault) -> bool:
        busy = {part_of(other.target) for _, other, _ in self._undo}
        return len(busy) < AT_ONCE and part_of(fault.target) not in busy

    def _do(self, region: Region, fault: Fault, known: dict[str, Kind]) -> None:
        kind = known[fault.kind]
        self.say(fault.sentence)
        if kind.holds:
            region.held.add(fault.target)
        self._undo.append((time.monotonic() + fault.seconds, fault, kind))
        kind.do(region, fault.target)

    def _heal(self, region: Region, now: float) -> None:
        for entry in [entry for entry in self._undo if entry[0] <= now]:
            _, fault, kind = entry
            kind.undo(region, fault.target)
            if kind.holds:
                region.held.discard(fault.target)
            self._undo.remove(entry)
            self.done.append(fault)

    # ── what came of it ───────────────────────────────────────────────────────────────────────────────

    def _compare(self, region: Region, devices: Devices, browser: Listener, plans: Path) -> checker.Findings:
        first = browser.began_after
        findings = checker.Findings()
        findings.none("readings that were rejected", devices.rejected())
        begin = time.monotonic()
        self._until(lambda: checker.stored_count(region) >= len(self.lines), region)
        # In the order of measuring, which the live path never saw: the pure engine then has nothing to evaluate
        # again (a tenth of the time), and an episode that hangs on the order of arrival cannot be equal.
        in_order = sorted(self.lines, key=lambda line: (line["measured_at"], line["device"], line["seq"]))
        readings = write_lines(self.folder / "readings.jsonl", in_order)
        expected = checker.expected_episodes(region, readings, plans, int(time.time() * 1000))
        self._until(lambda: checker.standing(region) == expected, region)
        settled = time.monotonic() - begin
        findings.same("standing episodes against the pure engine", checker.standing(region), expected)
        checker.check_database(region, self.lines, findings)
        checker.check_kafka(region, self.lines, findings)
        last = checker.last_step(region)
        self._until(lambda: max(browser.ids, default=first) >= last, region)
        checker.check_feed(region, browser.ids, first, last, findings)
        figures = {
            **self.diary["asked"],
            "patients": self.size.people,
            "sent": len(self.lines),
            "faults_done": self.diary["done"],
            "kinds_of_faults": sorted(kinds(region)),
            "minutes": round(self.diary["seconds"] / 60, 1),
            "seconds_from_last_receipt_to_equal": round(settled, 1),
            "episodes": len(expected),
            "browser_connections": browser.connections,
            "ended_by_themselves": sorted(region.deaths),
            "machine": f"{platform.machine()}, {platform.processor() or platform.system()}",
            "date": time.strftime("%Y-%m-%d"),
        }
        checker.write_report(self.folder / "report.json", findings, figures)
        return findings

    def _until(self, reached: Callable[[], bool], region: Region) -> None:
        """Wait; at the deadline the comparison that follows says what is missing."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while not reached() and time.monotonic() < deadline:
            region.revive()
            time.sleep(5 * POLL_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path(".scad/faults"))
    parser.add_argument("--keep", action="store_true", help="keep the services' data when all is well")
    given = parser.parse_args()
    folder = (given.folder / str(given.seed)).resolve()
    run = FaultRun(folder, Size(given.seed, given.readings, given.faults))
    try:
        findings = run.run()
    except KeyboardInterrupt:
        sys.exit(
            f"seed {given.seed}: stopped after {run.diary['done']} faults; the same command goes on from there"
        )
    print((folder / "report.json").read_text())
    if findings.wrong:
        sys.exit(f"seed {given.seed}: " + "; ".join(findings.wrong))
    if not given.keep:
        clear(folder)


def clear(folder: Path) -> None:
    """Everything but the report goes."""
    import subprocess

    for place in (folder / "postgres", folder / "kafka" / "node-3"):
        subprocess.run(["umount", str(place)], capture_output=True)
    for entry in folder.iterdir():
        if entry.name != "report.json":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


if __name__ == "__main__":
    main()
