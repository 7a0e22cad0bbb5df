"""A fault run: devices send, parts fail as a seed decides, and at the end every station holds equal sets.

    make faults SEED=7                       a million readings, 200 faults, in .scad/faults/7
    make faults SEED=7 READINGS=20000 FAULTS=12

Ctrl-C stops it; the same command goes on from there (what devices still hold, which faults are done, what the browser
has had). A folder of a run that failed or ended is left as it is; --again begins anew. A seed draws the same faults
again; with `--end` (the report's end_ms) the readings are the same too, to the millisecond.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "path"))

import checker
import httpx
from diary import REPORT, Browser, Diary
from faults import Fault, Kind, draw, kinds, part_of
from load import Devices, enrolment, recording, write_lines
from region import SPARE, Region
from whole_platform import NURSE, NURSE_PASSWORD, TEAM
from witness import Witness, unseen

from alerts.feed.accounts import create_account
from devices.firmware import RESEND_AFTER_MAX_S
from devices.times import to_datetime

STALLED_SECONDS = RESEND_AFTER_MAX_S + 180.0
"""Without a fault, so long without a receipt is a failure: a device whose readings wait for minutes sends again after
ten at the latest, groups settle in 20 s."""
SETTLE_SECONDS = 300.0
"""From the last receipt until the database and the feed have everything."""
AT_ONCE = 2
"""Faults at the same time, on different parts; one of Kafka's brokers at most."""
POLL_SECONDS = 0.1
REVIVE_SECONDS = 2.0
EACH_MAX = 5_000
"""Readings of one patient: more patients rather than longer histories."""
WORKERS = ("worker-1", "worker-2", SPARE)


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    seed: int
    readings: int = 1_000_000
    faults: int = 200
    patients: int = 0
    end_ms: int | None = None
    """The last reading's time; the present when it is not given."""

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
        asked = {"seed": size.seed, "readings": size.readings, "faults": size.faults}
        self.diary = Diary(folder, asked, size.end_ms)
        self.lines = recording(size.people, size.each, self.diary["end_ms"], size.seed)
        self.done: list[Fault] = []
        self._undo: list[tuple[float, Fault, Kind]] = []

    def run(self) -> checker.Findings:
        """Bring the region up, send and break, then compare. The region is stopped in any case. A stop by
        KeyboardInterrupt can be gone on from; anything else that ends it early is a failure, and noted."""
        region = Region(self.folder, self.size.readings)
        try:
            region.start()
            plans = self._enrol(region)
            with self._browser(region) as browser:
                region.start_all()
                with self._devices(region) as devices:
                    self._break(region, devices)
                    return self._compare(region, devices, browser, plans)
        except BaseException as error:
            (self.folder / "logs.txt").write_text(region.log())
            if not isinstance(error, KeyboardInterrupt):
                self.diary.note(failed=f"{type(error).__name__}: {error}".partition("\n")[0])
            raise
        finally:
            region.stop()
            self.diary.note(deaths=sorted([*self.diary["deaths"], *region.deaths]))

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
    def _browser(self, region: Region) -> Iterator[Browser]:
        with httpx.Client(base_url=region.feed_url, timeout=60) as client:
            answer = client.post("/login", data={"user": NURSE, "password": NURSE_PASSWORD})
            assert answer.status_code == 303, answer.text
            browser = Browser(client, self.folder, self.diary)
            with browser:
                yield browser

    def _break(self, region: Region, devices: Devices) -> None:
        known = kinds(region)
        wanted = {name: known[name] for name in self.diary.kinds(sorted(known))}
        plan = draw(self.size.seed, self.size.faults, wanted)[self.diary["done"] :]
        witness = Witness(WORKERS, region.metric_of_running)
        try:
            self._strike(region, devices, known, plan, witness)
        finally:
            for name, counts in (("asked_of_faults", witness.answered), ("seen_of_faults", witness.seen)):
                for what, count in counts.items():
                    self.diary.count(name, what, count)

    def _strike(
        self, region: Region, devices: Devices, known: dict[str, Kind], plan: list[Fault], witness: Witness
    ) -> None:
        total = len(self.lines)
        moved = revived = begin = time.monotonic()
        before = devices.waiting
        while plan or self._undo or devices.waiting or witness.waiting:
            now = time.monotonic()
            waiting = devices.waiting
            if waiting != before or self._undo or not waiting:
                before, moved = waiting, now
            witness.look(now)
            self._heal(region, now, witness)
            if now - revived >= REVIVE_SECONDS:
                revived = now
                for name in region.revive():
                    self.say(f"{name} had ended by itself and was started again")
            share = 1 - waiting / total
            if plan and (share >= plan[0].share or not waiting) and self._free_for(plan[0]):
                witness.begins(plan[0], now)
                self._do(region, plan.pop(0), known)
                self.diary.note(
                    done=self.size.faults - len(plan), seconds=self.diary["seconds"] + now - begin
                )
                begin = now
            if now - moved > STALLED_SECONDS:
                raise AssertionError(
                    f"seed {self.size.seed}: no receipt for {STALLED_SECONDS:.0f} s, {waiting} readings wait; "
                    f"{devices.errors()}\n{region.log()}"
                )
            time.sleep(POLL_SECONDS)
        self.diary.note(seconds=self.diary["seconds"] + time.monotonic() - begin)

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
        self.diary.count("counts", fault.kind)

    def _heal(self, region: Region, now: float, witness: Witness) -> None:
        for entry in [entry for entry in self._undo if entry[0] <= now]:
            _, fault, kind = entry
            if witness.waits_for(fault):
                continue
            kind.undo(region, fault.target)
            if kind.holds:
                region.held.discard(fault.target)
            self._undo.remove(entry)
            self.done.append(fault)

    # ── what came of it ───────────────────────────────────────────────────────────────────────────────

    def _compare(self, region: Region, devices: Devices, browser: Browser, plans: Path) -> checker.Findings:
        first = self.diary["heard_after"]
        findings = checker.Findings()
        findings.wrong += unseen(self.diary["asked_of_faults"], self.diary["seen_of_faults"])
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
        signals = checker.check_kafka(region, self.lines, findings)
        checker.check_signals(region, signals, expected, findings)
        last = checker.last_step(region)
        self._until(lambda: max(browser.heard, default=first) >= last, region)
        checker.check_feed(region, browser.heard, first, last, findings)
        figures = {
            **self.diary["asked"],
            "patients": self.size.people,
            "sent": len(self.lines),
            "faults_done": self.diary["done"],
            "kinds_of_faults": self.diary["counts"],
            "left_out": region.left_out,
            "of_faults": [
                f"{self.diary['seen_of_faults'].get(what, 0)} of {count} {what}"
                for what, count in self.diary["asked_of_faults"].items()
            ],
            "minutes": round(self.diary["seconds"] / 60, 1),
            "seconds_from_last_receipt_to_equal": round(settled, 1),
            "episodes": len(expected),
            "browser_connections": browser.connections,
            "ended_by_themselves": sorted([*self.diary["deaths"], *region.deaths]),
            **self.diary.circumstances(),
        }
        checker.write_report(self.folder / REPORT, findings, figures)
        self.diary.note(failed="; ".join(findings.wrong))
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
    parser.add_argument("--end", type=int, help="time of the last reading, ms since 1970: a report's end_ms")
    parser.add_argument("--again", action="store_true", help="remove what is in the folder, and begin anew")
    given = parser.parse_args()
    folder = (given.folder / str(given.seed)).resolve()
    if given.again and folder.exists():
        clear(folder, keep=())
    run = FaultRun(folder, Size(given.seed, given.readings, given.faults, end_ms=given.end))
    try:
        findings = run.run()
    except KeyboardInterrupt:
        sys.exit(
            f"seed {given.seed}: stopped after {run.diary['done']} faults; the same command goes on from there"
        )
    print((folder / REPORT).read_text())
    if findings.wrong:
        sys.exit(f"seed {given.seed}: " + "; ".join(findings.wrong))
    if not given.keep:
        clear(folder)


def clear(folder: Path, keep: tuple[str, ...] = (REPORT,)) -> None:
    """Everything but the report goes."""
    for place in (folder / "postgres", folder / "kafka" / "node-3"):
        subprocess.run(["umount", str(place)], capture_output=True)
    for entry in folder.iterdir():
        if entry.name not in keep:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


if __name__ == "__main__":
    main()
