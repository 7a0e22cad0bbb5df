"""From a device's publish to the page: how long an alert takes at 1 %, 25 % and 75 % of what the machine can do.

    python -m bench.latency [--devices 1000] [--probes 1000] [--json bench/results/latency.json]

The whole real path: devices with the reference firmware, mosquitto, bridge, Kafka, worker with its writer,
TimescaleDB, feed, and its event stream. First what each process spends while nothing comes. Then a burst: readings
offered faster than they can be stored, one by one and several in a message, and what each process spends on them
beyond being there. Then the capacity: the highest rate, found by halving, at which what is not yet stored does not
grow; a burst is taken in large batches and says too much. Then, at each share of the capacity, devices send readings
one by one while probes, each of a patient of its own, send a dangerously low glucose; what is measured is the time
until the event stream has the alert. With fewer than 1,000 probes, p99.9 is the slowest of them. Everything, the
devices too, shares one machine. `--check` ends with status 1 when the goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "path"))

import httpx
from whole_platform import DAY_MS, DEVICE_PASSWORD, Platform, device, patient, reading  # type: ignore[import-not-found]

from bench.processes import RESULTS, cpu_seconds_of_family, result
from devices.driver import Driver
from devices.firmware import Firmware
from devices.outbox import OutboxStore
from scad.services import HOST, Kafka, Postgres
from streams.topics import READINGS

SAYS = "From publish to the page's event stream at 1 %, 25 % and 75 % of the capacity"
SHARES = (0.01, 0.25, 0.75)
GOAL_SHARE, GOAL_MS = 0.25, 500.0
PROBES_PER_S = 10.0
FEWER_PROBES = 300  # at the other shares
OFFERED_PER_S = 4_000.0  # above what any part of the path takes on two cores
BURST_READINGS = 50
"""Readings of each device while a capacity is measured: the bridge lets 60 pass before it calls them a backlog."""
TOGETHER = 10
REFILL_SECONDS = 32.0  # until it would let as many pass again
SETTLE_SECONDS = 600.0
IDLE_SECONDS = 30.0
HOLD_SECONDS = 15.0
"""How long a rate is offered to see whether the path keeps up."""
BEHIND_SECONDS = 1.0
"""A path that keeps up has all but the last second's readings stored."""
REACHED = 0.95  # of an offered rate the devices must have sent, or they are what is too slow
SEARCH_STEPS = 5  # a thirty-second of the burst's rate
STEP_SECONDS = 0.02
LOOK_SECONDS = 0.5
LOW_MG_DL = 45
# Only its alerts count: patients who never measured have one of another rule.
PROBED_RULE = "glucose-very-low"


class Page(threading.Thread):
    """One browser's event stream; remembers when it first heard of each patient's low glucose."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self.heard: dict[str, float] = {}
        self.open = threading.Event()

    def run(self) -> None:
        timeout = httpx.Timeout(30, read=None)
        with self._client.stream("GET", "/api/stream", timeout=timeout) as answer:
            self.open.set()
            for line in answer.iter_lines():
                if line.startswith("data: ") and f'"{PROBED_RULE}"' in line:
                    self.heard.setdefault(json.loads(line[6:])["patient"], time.perf_counter())


class WholePath:
    """The platform, its devices, and a page that listens."""

    def __init__(self, stack: ExitStack, folder: Path, asked: argparse.Namespace) -> None:
        kafka = stack.enter_context(Kafka(folder / "kafka").start())
        postgres = stack.enter_context(Postgres(folder / "postgres").start())
        self.platform = Platform(folder, kafka, postgres)
        stack.callback(self.platform.stop)
        begin_ms = self.platform.now_ms() - 30 * DAY_MS
        self.loads = [f"sc-{number}" for number in range(asked.devices)]
        probes = [f"pr-{number}" for number in range(sum(probes_at(asked, of) for of in SHARES))]
        self.probes = iter(probes)
        plans = [(name, "heart-failure") for name in self.loads] + [(name, "diabetes") for name in probes]
        self.platform.enrol(
            *(patient(f"p-{name}", [device(name, begin_ms)], [of], begin_ms) for name, of in plans)
        )
        self.platform.start()
        store = OutboxStore(folder / "outbox", durable=False)
        stack.callback(store.close)
        self.clients = {name: Firmware(name, store.open(name), password=DEVICE_PASSWORD) for name, _ in plans}
        self.driver = stack.enter_context(Driver(HOST, self.platform.mosquitto.port))
        for client in self.clients.values():
            self.driver.add(client)
        self.page = Page(self.platform.feed_login())
        self.page.start()
        self.page.open.wait()
        self.sent = 0
        self.idle: dict[str, float] = {}
        """Cores that each process keeps busy by being there."""
        self._kafka, self._folder = kafka, folder
        self._processes = {
            "mosquitto": self.platform.mosquitto,
            "kafka": kafka.nodes[0],
            "postgres": postgres,
            **{name: self.platform._program(name) for name in ("bridge", "worker", "feed")},
        }

    def spent(self) -> dict[str, float]:
        """CPU seconds of each process so far; ours are the devices'."""
        of = {name: cpu_seconds_of_family(part.pid or 0) for name, part in self._processes.items()}
        return {**of, "devices": time.process_time()}

    def kafka_bytes(self) -> dict[str, int]:
        """What each topic takes on the broker's disk."""
        found: dict[str, int] = {}
        for file in (self._folder / "kafka").glob("node-*/data/*/*.log"):
            topic = file.parent.name.rpartition("-")[0]
            found[topic] = found.get(topic, 0) + file.stat().st_size
        return found

    def load(self, readings: int) -> None:
        """So many more readings, the devices in turn; a weight that changes nothing."""
        now_ms = self.platform.now_ms()
        for _ in range(readings):
            client = self.clients[self.loads[self.sent % len(self.loads)]]
            client.measure("body-weight", {"weight": 80.0}, now_ms, 60)
            self.sent += 1

    def stored(self) -> int:
        return int(self.platform.count("select count(*) from scad.reading where device like 'sc-%%'"))

    def until_stored(self) -> None:
        """Looks now and then: counting rows takes from what is measured."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (stored := self.stored()) < self.sent:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{stored} of {self.sent} readings are stored\n{self.platform.log()}")
            time.sleep(LOOK_SECONDS)

    def rest(self) -> dict[str, Any]:
        """What each process spends while nothing comes, with every device on the line: CPU seconds of an hour."""
        self.load(len(self.loads))
        self.until_stored()
        spent, began = self.spent(), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        took, spent_now = time.perf_counter() - began, self.spent()
        self.idle = {name: (spent_now[name] - at) / took for name, at in spent.items()}
        return {
            "seconds": round(took),
            "cpu_seconds_an_hour": {name: round(of * 3_600, 1) for name, of in self.idle.items()},
        }

    def burst(self, together: int = 1) -> dict[str, Any]:
        """Readings a second that are stored when more are offered, `together` of a device in a message, and what a
        million of them cost beyond what the processes spend in that time anyway."""
        readings = BURST_READINGS * len(self.loads)
        spent, stood = self.spent(), self.kafka_bytes()
        before, began = self.sent, time.perf_counter()
        while self.sent - before < readings:
            due = min(readings, int((time.perf_counter() - began) * OFFERED_PER_S)) - (self.sent - before)
            if together == 1:
                self.load(due)
            else:
                self._gathered(together, due // together)
            time.sleep(STEP_SECONDS)
        self.until_stored()
        took, sent, spent_now = time.perf_counter() - began, self.sent - before, self.spent()
        return {
            "readings": sent,
            "together": together,
            "readings_per_second": round(sent / took),
            "cpu_seconds_per_million": {
                name: round(max(0.0, spent_now[name] - at - self.idle[name] * took) / sent * 1_000_000, 1)
                for name, at in spent.items()
            },
            "kafka_bytes_per_reading": {
                topic: round((size - stood.get(topic, 0)) / sent, 1)
                for topic, size in sorted(self.kafka_bytes().items())
                if size > stood.get(topic, 0) and topic.startswith("scad")
            },
        }

    def _gathered(self, together: int, messages: int) -> None:
        now_ms = self.platform.now_ms()
        for _ in range(messages):
            name = self.loads[self.sent // together % len(self.loads)]
            first = self.clients[name].outbox.next_seq()
            self.clients[name].submit(
                *(
                    reading(name, seq, "body-weight", now_ms - seq, weight=80.0)
                    for seq in range(first, first + together)
                )
            )
            self.sent += together

    def sustained(self, most_per_s: float) -> float:
        """The highest rate, of those below `most_per_s` that halving tries, at which nothing piles up."""
        low, high = 0.0, most_per_s
        for _ in range(SEARCH_STEPS):
            rate = (low + high) / 2
            if self._keeps_up(rate):
                low = rate
            else:
                high = rate
            self.until_stored()
        if not low:
            raise RuntimeError(f"the path does not even keep up with {high:.0f} readings a second")
        return low

    def _keeps_up(self, per_s: float) -> bool:
        began, before, there = time.perf_counter(), self.sent, self._passed()
        while (passed := time.perf_counter() - began) < HOLD_SECONDS:
            self.load(max(0, int(passed * per_s) - (self.sent - before)))
            time.sleep(STEP_SECONDS)
        sent = self.sent - before
        behind = sent - (self._passed() - there)
        print(f"{per_s:.0f}/s: {sent} sent, {behind} not yet stored", file=sys.stderr, flush=True)
        return sent >= REACHED * per_s * HOLD_SECONDS and behind <= per_s * BEHIND_SECONDS

    def _passed(self) -> int:
        """Readings that the database has, by the writer's offsets: looking costs nothing."""
        return int(
            self.platform.count(
                "select coalesce(sum(next_offset), 0)::bigint from scad.writer_offset where topic = %s",
                READINGS,
            )
        )

    def level(self, per_s: float, probes: int) -> list[float]:
        """Milliseconds of each probe, while devices send so many readings a second."""
        sent: dict[str, float] = {}
        began, before = time.perf_counter(), self.sent
        while len(sent) < probes:
            passed = time.perf_counter() - began
            self.load(max(0, int(passed * per_s) - (self.sent - before)))
            if passed * PROBES_PER_S >= len(sent):
                name = next(self.probes)
                sent[f"p-{name}"] = time.perf_counter()
                self.clients[name].measure("glucose", {"glucose": LOW_MG_DL}, self.platform.now_ms(), 60)
            time.sleep(STEP_SECONDS)
        self.platform.until(lambda: sent.keys() <= self.page.heard.keys(), "every alert", SETTLE_SECONDS)
        self.until_stored()
        return sorted((self.page.heard[name] - at) * 1_000 for name, at in sent.items())


def probes_at(asked: argparse.Namespace, share: float) -> int:
    """Probes at a share of the capacity: all where there is a goal."""
    return int(asked.probes if share == GOAL_SHARE else min(asked.probes, FEWER_PROBES))


def line(share: float, per_s: float, took_ms: list[float]) -> dict[str, Any]:
    def at(rank: float) -> float:
        return round(took_ms[min(len(took_ms) - 1, int(len(took_ms) * rank))], 1)

    return {
        "share_of_capacity": share,
        "readings_per_second": round(per_s, 1),
        "probes": len(took_ms),
        "p50_ms": round(median(took_ms), 1),
        "p99_ms": at(0.99),
        "p99_9_ms": at(0.999),
        "most_ms": round(took_ms[-1], 1),
    }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scad-bench-")))
        folder.chmod(0o711)  # PostgreSQL runs as nobody
        path = WholePath(stack, folder, asked)
        rest = path.rest()
        costs = [path.burst()]
        time.sleep(REFILL_SECONDS)
        costs.append(path.burst(TOGETHER))
        print(rest, *costs, sep="\n", file=sys.stderr, flush=True)
        time.sleep(REFILL_SECONDS)
        capacity = path.sustained(float(costs[0]["readings_per_second"]))
        lines = []
        for share in SHARES:
            time.sleep(REFILL_SECONDS)
            lines.append(line(share, capacity * share, path.level(capacity * share, probes_at(asked, share))))
            print(lines[-1], file=sys.stderr, flush=True)
        return {
            "idle": rest,
            "capacity": costs,
            "sustained_readings_per_second": round(capacity),
            "devices": asked.devices,
            "latency": lines,
        }


def idle_table(figures: dict[str, Any]) -> str:
    """Markdown: what each process costs by being there."""
    idle = figures["idle"]["cpu_seconds_an_hour"]
    lines = ["| while nothing comes | CPU s an hour |", "| --- | ---: |"]
    return "\n".join([*lines, *(f"| {name} | {spent:,.0f} |" for name, spent in idle.items())])


def missed(figures: dict[str, Any]) -> list[str]:
    """The goal that is missed, in words."""
    return [
        f"p99 is {of['p99_ms']} ms at {of['share_of_capacity']:.0%} of the capacity, more than {GOAL_MS:g}"
        for of in figures["latency"]
        if of["share_of_capacity"] == GOAL_SHARE and of["p99_ms"] > GOAL_MS
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=SAYS)
    parser.add_argument(
        "--devices", type=int, default=1000, help="each may send 2 readings a second for ever"
    )
    parser.add_argument("--probes", type=int, default=1000, help="at 25 %% of the capacity; 10 a second")
    parser.add_argument("--json", type=Path, default=RESULTS / "latency.json")
    parser.add_argument("--check", action="store_true", help="status 1 when the goal is missed")
    asked = parser.parse_args(arguments)
    with result(asked.json) as figures:
        figures.update(measure(asked))
    faults = missed(figures)
    for fault in faults:
        print(f"missed: {fault}", file=sys.stderr)
    return 1 if faults and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
