"""Kafka, filled alike for every contender, and our own worker on it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from bench.peers.made import DAY_MS, PLANNED_DAYS_BEFORE, PROTOCOL, Row, plan
from bench.processes import cpu_seconds, memory_mib, scrape, total
from devices.times import format_instant
from scad.services import Kafka, Program, free_port, wait_until
from scad.settings import Settings
from streams import topics
from streams.kafka import SPECS, TopicSpec, ensure_topics
from streams.plans import ProtocolVersion

PARTITIONS = 4
SOME, FEW = "bench.some", "bench.few"
"""The first patients only, each with a whole history: for contenders that would need minutes or an hour for all."""
KEPT = {"retention.ms": "-1"}
"""The readings are weeks old by their timestamps, and must not be taken for old ones."""
POLL_SECONDS = 0.1
READY_SECONDS = 120.0
READINGS_SECONDS = 1_800.0
LINGER_MS = 20
SENT_AT_ONCE = 5_000
BATCH_BYTES = 1 << 18
BATCHES_AT_ONCE = 64

FAUST_TABLES = ("lowest", "rate-n", "rate-sum", "rate-squares", "glucose-n", "glucose-low", "standing")
"""Their changelogs are made before it starts: an agent that finds a topic half made loses the event at hand."""
ALERTS = ("bare", "faust", "quix-state", "quix-windows", "bytewax")


def settings(kafka: Kafka) -> Settings:
    return Settings(kafka=kafka.bootstrap, partitions=PARTITIONS)


async def _send(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes, int | None]]) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=LINGER_MS, max_batch_size=BATCH_BYTES
    ) as producer:
        waiting: list[Any] = []
        for key, value, at_ms in records:
            waiting.append(await producer.send(topic, value, key, timestamp_ms=at_ms))
            if len(waiting) >= SENT_AT_ONCE:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)


def make_topics(kafka: Kafka) -> None:
    """Every topic anew."""
    kafka.delete_topics()
    names = (SOME, FEW, *(f"bench.alerts.{name}" for name in ALERTS))
    names += tuple(f"bench-faust-taught-{table}-changelog" for table in FAUST_TABLES)
    specs = [TopicSpec(spec.name, {**spec.config, **KEPT}) for spec in (*SPECS, *map(TopicSpec, names))]
    asyncio.run(ensure_topics(settings(kafka), specs))


def fill(kafka: Kafka, topic: str, rows: Iterable[Row]) -> None:
    """The records' timestamps are the instants of measurement, so that frameworks have event time."""
    asyncio.run(_fill(kafka.bootstrap, topic, rows))


async def _fill(bootstrap: str, topic: str, rows: Iterable[Row]) -> None:
    """Whole batches made here, each partition in order: a million records in seconds."""
    partitions = list(range(PARTITIONS))
    place, places = DefaultPartitioner(), dict[str, int]()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=BATCH_BYTES) as producer:
        building = {partition: producer.create_batch() for partition in partitions}
        sent: list[Any] = []
        for at_ms, patient, value in rows:
            key = patient.encode()
            partition = places.get(patient)
            if partition is None:
                partition = places[patient] = place(key, partitions, partitions)
            if building[partition].append(timestamp=at_ms, key=key, value=value) is None:  # it is full
                sent.append(await producer.send_batch(building[partition], topic, partition=partition))
                building[partition] = producer.create_batch()
                building[partition].append(timestamp=at_ms, key=key, value=value)
            if len(sent) >= BATCHES_AT_ONCE:
                await asyncio.gather(*sent)
                sent.clear()
        for partition, batch in building.items():
            if batch.record_count():
                sent.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*sent)


def publish_plans(kafka: Kafka, patients: int, begin_ms: int) -> None:
    """The three rules as a version of a protocol, and a care plan for every patient."""
    version = ProtocolVersion(
        protocol=PROTOCOL,
        version="2026.1",
        from_=format_instant(begin_ms - (PLANNED_DAYS_BEFORE + 1) * DAY_MS),
        document=Path(__file__).with_name("three_rules.toml").read_text(encoding="utf-8"),
    )
    encode = msgspec.json.encode
    records: list[tuple[bytes, bytes, int | None]] = [(version.key.encode(), encode(version), None)]
    records += [
        (of.patient.encode(), encode(of), None) for of in (plan(n, begin_ms) for n in range(patients))
    ]
    asyncio.run(_send(kafka.bootstrap, topics.CARE_PLANS, records))


class OurWorker:
    """`scad worker --without-writer`, as a process of its own."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.port = free_port()
        environment = {
            "SCAD_KAFKA": kafka.bootstrap,
            "SCAD_PARTITIONS": str(PARTITIONS),
            "SCAD_METRICS_PORT": str(self.port),
            "SCAD_DATA_DIR": str(folder / "data"),
            "SCAD_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "scad", "worker", "--without-writer"]
        self.program = Program("worker", command, folder, environment)

    @property
    def pid(self) -> int:
        assert self.program.pid is not None  # noqa: S101 - it runs
        return self.program.pid

    def done(self, agent: str) -> int:
        """Records that are worked on and durable."""
        found = scrape(self.port)
        return int(total(found, "scad_worker_batch_records_sum", f'agent="{agent}"'))

    def take_plans(self, count: int) -> None:
        """Run until every care plan is in a state."""
        with self.program:
            wait_until(lambda: self.done("care-plans") >= count, READY_SECONDS, "care plans")

    def run(self, readings: int) -> dict[str, Any]:
        """Run until all readings are done: from the first look at which some are to the end."""
        with self.program:
            first, began, cpu = 0, 0.0, 0.0
            deadline = time.monotonic() + READINGS_SECONDS
            while True:
                done, at = self.done("thresholds"), time.perf_counter()
                if done and not first:
                    first, began, cpu = done, at, cpu_seconds(self.pid)
                if done >= readings:
                    break
                if time.monotonic() > deadline or not self.program.running:
                    raise RuntimeError(f"{done} of {readings} readings\n{self.program.log_tail()}")
                time.sleep(POLL_SECONDS)
            signals = scrape(self.port)
            return {
                "readings": readings - first,
                "seconds": at - began,
                "cpu_seconds": cpu_seconds(self.pid) - cpu,
                "memory_mib": memory_mib(self.pid),
                "alerts": int(total(signals, "scad_signals_total", 'state="raised"')),
            }


def environment_of_peer(**more: str) -> dict[str, str]:
    """The checkout on the path, and nothing of ours in the environment."""
    root = str(Path(__file__).parents[2])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SCAD_")}
    return {**kept, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1", **more}
