"""How long a worker takes from its start until it is back at work, and the memory, by number of patients.

    python -m bench.recovery [--patients 10000,100000,1000000] [--json bench/results/recovery.json]

Simulates some patients on daily measurements for six weeks, so that their histories are whole, and writes their states
under many names into the changelog of a real Kafka. Then a real `scad worker` starts on it. It is back at work when it
has evaluated a reading of each partition that was waiting for it. Then one reading each of up to 200,000 patients
comes at once, none of whom the worker has seen since: the rate at which rarely seen patients are evaluated, and what a
round of ticks costs. A million patients need 8 GB of disk, some 10 GB of memory and, beforehand, minutes of writing.
`--check` ends with status 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from prometheus_client import Histogram

from bench.processes import RESULTS, cpu_seconds, memory_mib, result, scrape, total
from devices.physiology import Cohort
from devices.readings import Reading, to_wire
from scad.services import Kafka, Program, free_port, wait_until
from scad.settings import Settings
from streams import topics
from streams.engine import Engine
from streams.kafka import PATIENTS_CHANGELOG, SPECS, ensure_topics
from streams.plans import CarePlan, PlanVersion
from streams.protocols import load_published
from streams.record import Head, dump_record
from streams.score_run import deliveries
from streams.tables import Token, encode_key

SAYS = "From a worker's start until it is back at work, and its memory, by number of patients"
DAY_MS = 86_400_000
PARTITIONS = 12
TEMPLATES = 64
"""Simulated patients; each stands for many. Their states differ in size as real ones do."""
HISTORY_DAYS = 45
DAILY = frozenset({"heart-failure", "hypertension"})
NAME = "p-{:07d}"
SENT_AT_ONCE = 4_000
BACK_SECONDS = 1_800.0
DISTINCT = 200_000
"""Readings of as many patients, after the recovery; fewer where there are fewer patients."""
FED_SECONDS = 900.0
TICK_SECONDS = 15.0  # as a worker's default
TICK_ROUNDS = 2
AGENT = 'agent="thresholds"'
POLL_SECONDS = 0.25
GOALS_S = {100_000: 20.0, 1_000_000: 180.0}
GOAL_MIB = {1_000_000: 16 * 1024}


class Template:
    """A dumped state of a made-up patient that can be given another name of the same length."""

    def __init__(
        self, engine: Engine, name: str, plan: CarePlan, readings: list[Reading], now_ms: int
    ) -> None:
        state = engine.new_state(name)
        engine.apply(state, readings, plans=[plan], tick_ms=now_ms)
        dumped = engine.dump(state)
        end = 4 + int.from_bytes(dumped[:4], "little")
        self._name = name.encode()
        self._record = zlib.decompress(dumped[4:end])
        self._blocks = dumped[end:]
        self._head = Head(0, 0, engine.next_deadline_ms(state), [], engine.stamp)

    def named(self, name: bytes) -> bytes:
        """The worker's record of a patient of that name."""
        record = zlib.compress(self._record.replace(self._name, name), 1)
        state = b"".join((len(record).to_bytes(4, "little"), record, self._blocks))
        return dump_record(self._head, state)


def templates(seed: int, now_ms: int) -> list[Template]:
    """Patients who measure daily, with whole histories up to now."""
    engine = Engine(load_published(), silence_by_ticks=True)
    begin_ms = (now_ms // DAY_MS - HISTORY_DAYS) * DAY_MS
    cohort = Cohort(seed=seed, patients=4 * TEMPLATES, start_ms=begin_ms, days=HISTORY_DAYS)
    found: list[Template] = []
    for number, patient in enumerate(cohort.patients):
        document = patient.care_plan(cohort.begin_ms)
        if not DAILY.issuperset(document["protocols"]) or len(found) == TEMPLATES:
            continue
        name = NAME.format(9_000_000 + number)
        plan = CarePlan(patient=name, versions=(msgspec.convert(document, PlanVersion),))
        sent = [r for _, together in deliveries(patient.patient, cohort.readings(patient)) for r in together]
        readings = [msgspec.structs.replace(r, patient=name) for r in sent if r.measured_at_ms <= now_ms]
        found.append(Template(engine, name, plan, readings, now_ms))
    return found


def records(of: list[Template], patients: int) -> Iterator[tuple[int, bytes, bytes]]:
    """(partition, key, value) of the changelog."""
    partition_of, every = DefaultPartitioner(), list(range(PARTITIONS))
    token = Token(0, 1)
    for number in range(patients):
        name = NAME.format(number)
        value = of[number % len(of)].named(name.encode())
        yield partition_of(name.encode(), every, every), encode_key(name, token), value


async def write(kafka: Kafka, of: list[Template], patients: int, now_ms: int) -> int:
    """The changelog, and one waiting reading a partition; the changelog's bytes."""
    await ensure_topics(Settings(kafka=kafka.bootstrap, partitions=PARTITIONS), SPECS)
    written = 0
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, max_batch_size=1 << 20) as producer:
        waiting: list[Any] = []
        for partition, key, value in records(of, patients):
            written += len(key) + len(value)
            waiting.append(await producer.send(PATIENTS_CHANGELOG, value, key, partition=partition))
            if len(waiting) >= SENT_AT_ONCE:
                await asyncio.gather(*waiting)
                waiting.clear()
        waiting += [await producer.send(topics.READINGS, *pair, partition=p) for p, pair in _readings(now_ms)]
        await asyncio.gather(*waiting)
    return written


def _readings(now_ms: int) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    """One reading for a patient of each partition, as (value, key)."""
    partition_of, every = DefaultPartitioner(), list(range(PARTITIONS))
    missing, number = set(every), 0
    while missing:
        name = NAME.format(number)
        number += 1
        partition = partition_of(name.encode(), every, every)
        if partition in missing:
            missing.discard(partition)
            yield partition, (_weight(number - 1, 1_000_000, now_ms), name.encode())


def _weight(number: int, seq: int, now_ms: int) -> bytes:
    return to_wire(
        Reading(
            device=f"sc-{number}", seq=seq, kind="body-weight", patient=NAME.format(number),
            measured_at_ms=now_ms, received_at_ms=now_ms, values={"weight": 80.0},
        )
    )  # fmt: skip


async def _send(kafka: Kafka, readings: int, now_ms: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, max_batch_size=1 << 20) as producer:
        waiting: list[Any] = []
        for number in range(readings):
            value, key = _weight(number, 1_000_001, now_ms), NAME.format(number).encode()
            waiting.append(await producer.send(topics.READINGS, value, key))
            if len(waiting) >= SENT_AT_ONCE:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)


def distinct(kafka: Kafka, port: int, pid: int, patients: int) -> dict[str, Any]:
    """One reading each of many patients, and rounds of ticks after them."""
    readings = min(patients, DISTINCT)
    before, spent = scrape(port), cpu_seconds(pid)
    wanted = total(before, "scad_worker_batch_records_sum", AGENT) + readings
    began = time.perf_counter()
    asyncio.run(_send(kafka, readings, time.time_ns() // 1_000_000))
    wait_until(
        lambda: total(scrape(port), "scad_worker_batch_records_sum", AGENT) >= wanted,
        FED_SECONDS,
        "the readings",
    )
    took, fed_s, after = time.perf_counter() - began, cpu_seconds(pid) - spent, scrape(port)
    time.sleep(TICK_ROUNDS * TICK_SECONDS)
    rested = scrape(port)
    return {
        "readings": readings,
        "readings_per_second": round(readings / took),
        "cpu_us_a_reading": round(fed_s / readings * 1e6, 1),
        "batch_p99_seconds": batch_at(0.99, before, after),
        "ticked_patients": round(
            total(rested, "scad_worker_ticks_total") - total(before, "scad_worker_ticks_total")
        ),
        "ticks_cpu_seconds_a_round": round((cpu_seconds(pid) - spent - fed_s) / TICK_ROUNDS, 2),
    }


def batch_at(rank: float, before: dict[str, float], after: dict[str, float]) -> float:
    """The bound of the bucket in which that share of the batches between two scrapes ended, in seconds."""
    name = "scad_worker_batch_seconds_bucket"
    since = {
        key: value - before.get(key, 0.0)
        for key, value in after.items()
        if key.startswith(name) and AGENT in key
    }
    by_bound = sorted(
        (float(key.partition('le="')[2].partition('"')[0]), number) for key, number in since.items()
    )
    most = by_bound[-1][1] if by_bound else 0.0
    return next((bound for bound, number in by_bound if number >= rank * most), 0.0)


def start(kafka: Kafka, folder: Path, patients: int) -> dict[str, Any]:
    """Start a worker, wait until it is back at work, and give it readings."""
    port = free_port()
    environment = {
        "SCAD_KAFKA": kafka.bootstrap,
        "SCAD_PARTITIONS": str(PARTITIONS),
        "SCAD_METRICS_PORT": str(port),
        "SCAD_DATA_DIR": str(folder / "data"),
        "SCAD_LOG_LEVEL": "warning",
        "SCAD_TICK_SECONDS": str(TICK_SECONDS),
    }
    command = [sys.executable, "-m", "scad", "worker", "--without-writer"]

    def done() -> bool:
        return total(scrape(port), "scad_worker_batch_records_sum", AGENT) >= PARTITIONS

    began = time.perf_counter()
    with Program("worker", command, folder, environment) as worker:
        wait_until(done, BACK_SECONDS, f"the worker\n{worker.log_tail()}")
        took, pid = time.perf_counter() - began, worker.pid or 0
        back = {
            "seconds": round(took, 1),
            "cpu_seconds": round(cpu_seconds(pid), 1),
            "memory_mib": round(memory_mib(pid)),
            "patients_held": int(total(scrape(port), "scad_worker_patients")),
        }
        return back | {
            "distinct": distinct(kafka, port, pid, patients),
            "memory_mib_after": round(memory_mib(pid)),
        }


def measure(seed: int, patients: int, kafka: Kafka, folder: Path) -> dict[str, Any]:
    """One line of the result; everything in Kafka is made anew."""
    now_ms = time.time_ns() // 1_000_000
    kafka.delete_topics()
    began = time.perf_counter()
    written = asyncio.run(write(kafka, templates(seed, now_ms), patients, now_ms))
    said = {"patients": patients, "changelog_bytes_a_patient": round(written / patients)}
    print(
        f"{patients:,} patients written in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True
    )
    return said | start(kafka, folder / f"worker-{patients}", patients)


def distinct_table(figures: dict[str, Any]) -> str:
    """Markdown: patients who are rarely seen, after the recovery."""
    lines = [
        "| patients | readings, one of each | readings/s | CPU µs a reading | p99 of a batch, s "
        "| CPU s of a round of ticks | peak memory, MiB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for of in figures["recovery"]:
        if fed := of.get("distinct"):
            before = (of["patients"], fed["readings"], fed["readings_per_second"], fed["cpu_us_a_reading"])
            after = (fed["ticks_cpu_seconds_a_round"], of["memory_mib_after"])
            cells = [f"{cell:,}" for cell in before]
            cells += [longest(fed["batch_p99_seconds"]), *(f"{cell:,}" for cell in after)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def longest(seconds: float | None) -> str:
    """Of a histogram: what lies beyond its last bound is infinite, and nothing in JSON."""
    known = seconds is not None and seconds < float("inf")
    return f"{seconds:,}" if known else f"more than {Histogram.DEFAULT_BUCKETS[-2]:g}"


def missed(lines: list[dict[str, Any]]) -> list[str]:
    """Goals that are missed, in words."""
    faults = []
    for line in lines:
        patients = line["patients"]
        if line["seconds"] > (goal := GOALS_S.get(patients, BACK_SECONDS)):
            faults.append(f"{patients:,} patients: {line['seconds']} s, more than {goal:g}")
        if line["memory_mib"] > (most := GOAL_MIB.get(patients, 1 << 40)):
            faults.append(f"{patients:,} patients: {line['memory_mib']} MiB, more than {most}")
    return faults


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=SAYS)
    parser.add_argument(
        "--patients",
        type=lambda text: [int(n) for n in text.split(",")],
        default=[10_000, 100_000, 1_000_000],
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, default=RESULTS / "recovery.json")
    parser.add_argument("--check", action="store_true", help="status 1 when a goal is missed")
    asked = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="scad-bench-") as name,
        Kafka(Path(name) / "kafka") as kafka,
        result(asked.json) as figures,
    ):
        lines = figures["recovery"] = []
        for patients in asked.patients:
            lines.append(measure(asked.seed, patients, kafka, Path(name)))
            print(lines[-1], flush=True)
    faults = missed(figures["recovery"])
    for fault in faults:
        print(f"missed: {fault}", file=sys.stderr)
    return 1 if faults and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
