"""What a storm costs: memory of every process, and the time until all is well again, beside the prediction.

    python -m bench.storm gathered [--devices 1000] [--readings 200000]    a region's devices reconnect at once
    python -m bench.storm away [--seconds 3600] [--per-second 100]         the database is away, devices go on
    python -m bench.storm bridge [--seconds 3600]      the bridge is away, and mosquitto has forgotten its session
    python -m bench.storm overload [--seconds 600]     twice the capacity, then normal load until the lag is gone

Starts real Kafka, TimescaleDB, mosquitto, bridge, worker and feed of their own, and devices with the reference
firmware in this process. One more device measures every second all the while: its readings' way to the database is
what a patient's live reading takes. Prints JSON, and then the storm's row of the table in docs/backlog.md;
`--json bench/results/storm.json` keeps it there, a row for each storm. The capacity is measured first, by a backlog of
`--measure` readings, or given (`--capacity`, readings a second). The exit status is 1 when a reading is missing at the
end or is there twice, a process has grown beyond its bound, or the lag took longer than predicted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "path"))

import psycopg
from whole_platform import (  # type: ignore[import-not-found]
    DAY_MS,
    DEVICE_PASSWORD,
    Platform,
    device,
    patient,
    reading,
)

from bench.machine import machine
from devices.driver import Driver
from devices.firmware import Firmware
from devices.outbox import OutboxStore
from scad.services import HOST, Kafka, Postgres
from scad.settings import Settings

LIVE = "sc-live"
SAMPLE_SECONDS = 1.0
CALM_READINGS = 10
SETTLE_SECONDS = 1_800.0
"""A recovery that takes longer than this is none."""
PROCESSES = ("bridge", "worker", "feed")
MEMORY_MIB = {"bridge": 256, "worker": 1024, "feed": 512, "mosquitto": 1024}
"""Bounds: what compose.yaml gives each container, beyond which it is killed."""
TOLERANCE, TOLERANCE_SECONDS = 1.5, 15.0
"""A recovery may take so much longer than predicted, and so many seconds more: the capacity is one measurement of a
minute or less on a machine that may have other work, and the load that goes on costs processor time too."""
NOTICED_SECONDS = 15.0
"""Until a writer notices that the database is back (its longest wait and its connection), or devices the broker."""
CALM_LAG_SECONDS = 2.0
"""The lag is gone when no more waits than this much of the normal load: what is on its way in any case."""
LOOK_SECONDS = 2.0
RESEND_SECONDS = 600.0
"""A device without receipt sends again ever less often, at last every 10 minutes (docs/backlog.md)."""


class Watch:
    """Memory of the processes, and how long each live reading was on its way, once a second."""

    def __init__(self, platform: Platform, store: OutboxStore) -> None:
        self.memory: dict[str, list[int]] = {}
        self.cpu_s: dict[str, list[float]] = {}
        self._platform = platform
        self._sent_s: dict[int, float] = {}
        self.took_s: list[float] = []
        self.before = 0
        """Live readings that came before the storm."""
        self.device = Firmware(LIVE, store.open(LIVE), password=DEVICE_PASSWORD)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._measure, self._weigh_on)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _weigh_on(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._weigh()

    def _measure(self) -> None:
        last_s = 0.0
        with psycopg.connect(self._platform.dsn, autocommit=True) as conn:
            while not self._stop.wait(SAMPLE_SECONDS / 10):
                if time.monotonic() - last_s >= SAMPLE_SECONDS:
                    last_s = time.monotonic()
                    seq = self.device.measure("heart-rate", {"heart_rate": 70}, self._platform.now_ms(), 60)
                    self._sent_s[seq] = last_s
                self._look(conn)

    def _look(self, conn: psycopg.Connection[Any]) -> None:
        query = "select seq from scad.reading_identity where device = %s and seq = any(%s)"
        for (seq,) in conn.execute(query, (LIVE, list(self._sent_s))).fetchall():
            self.took_s.append(time.monotonic() - self._sent_s.pop(seq))

    def _weigh(self) -> None:
        for name, pid in self._pids().items():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            except OSError:  # ended meanwhile
                continue
            for line in status.splitlines():
                if line.startswith("VmRSS"):
                    self.memory.setdefault(name, []).append(int(line.split()[1]) // 1024)
            self.cpu_s.setdefault(name, []).append((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"))

    def _pids(self) -> dict[str, int]:
        programs = {name: self._platform._program(name).pid for name in PROCESSES}
        programs["mosquitto"] = self._platform.mosquitto.pid
        return {name: pid for name, pid in programs.items() if pid is not None}

    def figures(self) -> dict[str, Any]:
        """MiB at the beginning, at most, and at the end; seconds of the live readings."""
        took = sorted(self.took_s[self.before :])
        return {
            "memory_mib": {
                name: {"first": mib[0], "most": max(mib), "last": mib[-1]}
                for name, mib in self.memory.items()
            },
            "cpu_seconds": {name: round(spent[-1] - spent[0], 1) for name, spent in self.cpu_s.items()},
            "live_readings": len(took),
            "live_seconds_before": round(median(self.took_s[: self.before]), 2),
            "live_seconds": {
                "median": round(median(took), 2),
                "p99": round(took[int(len(took) * 0.99)], 2),
                "most": round(took[-1], 2),
            },
        }


class Storm:
    """The platform and its devices."""

    def __init__(self, folder: Path, kafka: Kafka, postgres: Postgres, devices: int) -> None:
        self.postgres = postgres
        self.platform = Platform(folder, kafka, postgres)
        self.names = [f"sc-{number}" for number in range(devices)]
        begin_ms = self.platform.now_ms() - 30 * DAY_MS
        self.platform.enrol(
            *(
                patient(f"p-{name}", [device(name, begin_ms)], ["heart-failure"], begin_ms)
                for name in (LIVE, *self.names)
            )
        )
        self.platform.start()
        self._store = OutboxStore(folder / "outbox", durable=False)
        self.clients = [
            Firmware(name, self._store.open(name), password=DEVICE_PASSWORD) for name in self.names
        ]
        self._next = [0] * devices
        self._base_ms = self.platform.now_ms() - 10 * DAY_MS

    @contextmanager
    def watched(self) -> Iterator[tuple[Driver, Watch]]:
        driver = Driver(HOST, self.platform.mosquitto.port)
        with driver, Watch(self.platform, self._store) as watch:
            driver.add(watch.device)
            yield driver, watch

    def calm(self, watch: Watch) -> None:
        """Some live readings come before the storm."""
        self.platform.until(lambda: len(watch.took_s) > CALM_READINGS, "live readings before the storm")
        watch.before = len(watch.took_s)

    def measure(self, number: int, count: int) -> None:
        """One device measures so many times."""
        first = self._next[number]
        self._next[number] += count
        name = self.names[number]
        self.clients[number].submit(
            *(
                reading(name, seq, "body-weight", self._base_ms + seq * 60_000, weight=80.0)
                for seq in range(first, first + count)
            )
        )

    @property
    def measured(self) -> int:
        return sum(self._next)

    def stored(self) -> int:
        return int(self.platform.count("select count(*) from scad.reading where device <> %s", LIVE))

    def wrong(self) -> dict[str, int]:
        """Identities that are missing, and rows that are there again."""
        query = "select count(*), count(distinct (device, epoch, seq)) from scad.reading where device <> %s"
        ((rows, identities),) = self.platform.rows(query, LIVE)
        return {"missing": self.measured - identities, "twice": rows - identities}

    def capacity(self, driver: Driver, asked: argparse.Namespace) -> float:
        """Readings a second from devices that hold a backlog to rows: given, or measured now with one."""
        for client in self.clients:
            driver.add(client)
        if asked.capacity:
            return float(asked.capacity)
        for number in range(len(self.clients)):
            self.measure(number, max(1, asked.measure // len(self.clients)))
        return self.measured / self.until_stored()

    def until_calm(self, driver: Driver, per_s: float) -> float:
        """Normal load goes on, one reading at a time; seconds until no more waits than is on its way in any case."""
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < SETTLE_SECONDS:
            self.load(driver, LOOK_SECONDS, per_s, 1)
            if self.measured - self.stored() <= max(per_s * CALM_LAG_SECONDS, CALM_READINGS):
                return passed + LOOK_SECONDS
        raise TimeoutError(
            f"after {SETTLE_SECONDS:.0f} s of normal load {self.measured - self.stored()} wait"
        )

    def until_stored(self) -> float:
        """Seconds until everything that was measured is a row, and no device waits for a receipt."""
        begun = time.monotonic()
        self.platform.until(
            lambda: not any(client.waiting for client in self.clients), "receipts", SETTLE_SECONDS
        )
        self.platform.until(lambda: self.stored() >= self.measured, "rows", SETTLE_SECONDS)
        return time.monotonic() - begun

    def ended(self, watch: Watch) -> None:
        """The live readings of the storm have come as well, or some of them: what is measured is their way."""
        self.platform.until(
            lambda: len(watch.took_s) > watch.before + CALM_READINGS, "live readings", SETTLE_SECONDS
        )

    def load(self, driver: Driver, seconds: float, per_s: float, size: int) -> None:
        """Devices take turns; each sends `size` readings at once, all together `per_s` readings a second."""
        begun, sent = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < seconds:
            while sent < passed * per_s:
                self.measure(sent // size % len(self.clients), size)
                sent += size
            time.sleep(0.02)

    def stop(self) -> None:
        self.platform.stop()
        self._store.close()


def gathered(storm: Storm, asked: argparse.Namespace) -> dict[str, Any]:
    for number in range(asked.devices):
        storm.measure(number, asked.readings // asked.devices)
    with storm.watched() as (driver, watch):
        storm.calm(watch)
        for client in storm.clients:
            driver.add(client)
        recovered = storm.until_stored()
        storm.ended(watch)
    rate = Settings().backlog_rate
    return {
        "recovery_seconds": round(recovered, 1),
        "predicted_seconds": round(storm.measured / rate, 1),
    } | watch.figures()


def away(storm: Storm, asked: argparse.Namespace) -> dict[str, Any]:
    with storm.watched() as (driver, watch):
        capacity = storm.capacity(driver, asked)
        before = storm.measured
        storm.calm(watch)
        storm.postgres.pause()
        storm.load(driver, asked.seconds, asked.per_second, 1)
        storm.postgres.resume()
        recovered = storm.until_stored()
        storm.ended(watch)
    missed = storm.measured - before
    return {
        "recovery_seconds": round(recovered, 1),
        "predicted_seconds": round(missed / capacity + NOTICED_SECONDS, 1),
        "capacity": round(capacity),
        "readings_per_second_after": round(missed / recovered),
    } | watch.figures()


def bridge(storm: Storm, asked: argparse.Namespace) -> dict[str, Any]:
    """mosquitto's restart without the bridge stands for the end of the bridge's session after an hour: either way the
    broker knows nobody who wants readings, and says so to devices."""
    with storm.watched() as (driver, watch):
        capacity = storm.capacity(driver, asked)
        before = storm.measured
        storm.calm(watch)
        storm.platform.kill("bridge")
        storm.load(driver, asked.seconds / 2, asked.per_second, 1)
        storm.platform.mosquitto.restart()
        storm.load(driver, asked.seconds / 2, asked.per_second, 1)
        held = sum(client.waiting for client in storm.clients)
        storm.platform.start("bridge")
        recovered = storm.until_stored()
        storm.ended(watch)
    return {
        "recovery_seconds": round(recovered, 1),
        "predicted_seconds": round((storm.measured - before) / capacity + RESEND_SECONDS, 1),
        "capacity": round(capacity),
        "waiting_in_devices": held,
    } | watch.figures()


def overload(storm: Storm, asked: argparse.Namespace) -> dict[str, Any]:
    """Half of what comes waits. The lag goes at what the capacity leaves beside the normal load. What comes a hundred
    in a message goes the slow way: its capacity is SCAD_BACKLOG_RATE, where the machine can do as much."""
    with storm.watched() as (driver, watch):
        capacity = min(storm.capacity(driver, asked), Settings().backlog_rate)
        storm.calm(watch)
        storm.load(driver, asked.seconds, 2 * capacity, 100)
        waiting = storm.measured - storm.stored()
        recovered = storm.until_calm(driver, asked.per_second)
        storm.until_stored()
        storm.ended(watch)
    return {
        "recovery_seconds": round(recovered, 1),
        "predicted_seconds": round(waiting / max(capacity - asked.per_second, 1), 1),
        "capacity": round(capacity),
        "waiting_at_the_end": waiting,
    } | watch.figures()


STORMS = {"gathered": gathered, "away": away, "bridge": bridge, "overload": overload}


def faults(figures: dict[str, Any]) -> list[str]:
    """What is not as promised, in sentences."""
    found = [f"{count} readings {word}" for word, count in figures["wrong"].items() if count]
    for name, mib in figures["memory_mib"].items():
        if mib["most"] > MEMORY_MIB[name]:
            found.append(f"{name} took {mib['most']} MiB; {MEMORY_MIB[name]} are allowed")
    took, allowed = figures["recovery_seconds"], allowed_s(figures["predicted_seconds"])
    if took > allowed:
        found.append(f"recovered after {took:.0f} s; {allowed:.0f} s are allowed")
    return found


def allowed_s(predicted_s: float) -> float:
    return predicted_s * TOLERANCE + TOLERANCE_SECONDS


def keep(path: Path, figures: dict[str, Any]) -> None:
    """A storm's row takes the place of the one before."""
    rows = json.loads(path.read_text()) if path.exists() else {}
    rows[figures["storm"]["storm"]] = figures
    path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


HEADS = (
    *("storm", "readings", "recovery", "predicted", "live before", "live in the storm: median, worst"),
    *("worker's memory, MiB", "load"),
)


def table(figures: dict[str, Any], asked: argparse.Namespace) -> str:
    """The table of docs/backlog.md with this storm's row."""
    said = {
        "gathered": f"{asked.devices:,} devices with {asked.readings // asked.devices} each reconnect at once",
        "away": f"database stopped for {asked.seconds:,.0f} s, {asked.per_second:g} readings a second meanwhile",
        "bridge": f"bridge away for {asked.seconds:,.0f} s, its session forgotten,"
        f" {asked.per_second:g} readings a second meanwhile",
        "overload": f"{asked.devices:,} devices bring twice the capacity ({2 * figures.get('capacity', 0):,} a second)"
        f" for {asked.seconds:,.0f} s, then {asked.per_second:g} a second",
    }
    live, memory = figures["live_seconds"], figures["memory_mib"]["worker"]
    cells = (
        said[asked.storm],
        f"{figures['readings']:,}",
        f"{figures['recovery_seconds']:.0f} s",
        f"{figures['predicted_seconds']:.0f} s",
        f"{figures['live_seconds_before']:.1f} s",
        f"{live['median']:.1f} s, {live['most']:.1f} s",
        f"{memory['first']} → {memory['most']}",
        f"{figures['load_average_after'][0]:.0f}",
    )
    lines = (HEADS, ("---",) * len(HEADS), cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("storm", choices=tuple(STORMS))
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--readings", type=int, default=200_000, help="gathered: waiting in all devices")
    parser.add_argument("--seconds", type=float, default=600.0, help="away, bridge, overload: how long")
    parser.add_argument(
        "--per-second", type=float, default=100.0, help="normal load: readings of all devices"
    )
    parser.add_argument("--capacity", type=float, default=0.0, help="readings a second; 0: measured first")
    parser.add_argument(
        "--measure", type=int, default=30_000, help="readings by which the capacity is measured"
    )
    parser.add_argument("--json", type=Path, help="keep the figures there, a row for each storm")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scad-storm-")))
        folder.chmod(0o711)  # PostgreSQL runs as nobody
        kafka = stack.enter_context(Kafka(folder / "kafka").start())
        postgres = stack.enter_context(Postgres(folder / "postgres").start())
        storm = Storm(folder, kafka, postgres, asked.devices)
        stack.callback(storm.stop)
        before = os.getloadavg()
        figures = STORMS[asked.storm](storm, asked)
        figures |= {
            "readings": storm.measured,
            "wrong": storm.wrong(),
            "machine": machine(),
            "commit": commit(),
        }
        figures |= {"storm": {name: value for name, value in vars(asked).items() if name != "json"}}
        figures |= {"date": datetime.now(UTC).isoformat(timespec="seconds")}
        figures |= {"load_average_before": before, "load_average_after": os.getloadavg()}
        figures["faults"] = faults(figures)
    print(json.dumps(figures, indent=1))
    print(table(figures, asked))
    if asked.json:
        keep(asked.json, figures)
    return 1 if figures["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
