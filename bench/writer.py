"""What a writer takes from Kafka into the database: rows a second until committed, CPU time, memory.

    python -m bench.writer [--readings 60000] [--writers 1,2] [--json bench/results/writer.json]

Readings in a real Kafka, and `scad writer` processes that put them into a real TimescaleDB, in two cases: *many
patients* with some readings each, as a morning brings them, and *a backlog*: few patients with sensors, thousands of
readings each. While Kafka is filled, a lock keeps the writers from their first batch; the time runs from its release.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from alerts.schema import apply_schema
from bench.processes import RESULTS, cpu_seconds, cpu_seconds_of_family, memory_mib, result, scrape, total
from devices.readings import Reading, to_wire
from scad.services import Kafka, Postgres, Program, free_port, wait_until
from scad.settings import Settings
from streams import topics
from streams.kafka import Record, ensure_topics, make_producer, produce

SAYS = "Rows a second from Kafka into the database, by number of writers"
PARTITIONS = 12
BACKLOG_PATIENTS = 20
READINGS_OF_MANY = 3
SENSOR_EVERY_MS, DAY_MS = 300_000, 86_400_000
SENT_AT_ONCE = 4_000
READY_SECONDS, STORED_SECONDS = 60.0, 300.0
LOOK_SECONDS = 0.1
DONE = "select coalesce(sum(next_offset), 0) from scad.writer_offset where topic = %s"


def many(readings: int, now_ms: int) -> Iterator[Reading]:
    """Some readings each of many patients, in turn: a weight, as most send."""
    patients = max(1, readings // READINGS_OF_MANY)
    for number in range(readings):
        seq, patient = divmod(number, patients)
        measured_ms = now_ms - (READINGS_OF_MANY - seq) * DAY_MS + patient % 1_000
        yield _reading(f"sc-{patient}", f"p-{patient:07d}", seq, "body-weight", measured_ms, weight=80.0)


def backlog(readings: int, now_ms: int) -> Iterator[Reading]:
    """Few sensors that were away for weeks: what they kept, one after the other."""
    each = max(1, readings // BACKLOG_PATIENTS)
    for number in range(readings):
        patient, seq = divmod(number, each)
        measured_ms = now_ms - (each - seq) * SENSOR_EVERY_MS
        yield _reading(
            f"cgm-{patient}", f"p-{patient:07d}", seq, "glucose", measured_ms, glucose=100 + seq % 80
        )


def _reading(device: str, patient: str, seq: int, kind: str, at_ms: int, **values: float) -> Reading:
    return Reading(
        device=device, seq=seq, kind=kind, patient=patient, measured_at_ms=at_ms, received_at_ms=at_ms + 2_000,
        values=dict(values),
    )  # fmt: skip


CASES = {"many patients": many, "backlog of few": backlog}


async def fill(settings: Settings, readings: Iterator[Reading]) -> None:
    producer = await make_producer(settings, "bench")
    try:
        while part := list(islice(readings, SENT_AT_ONCE)):
            await produce(
                producer, [Record(topics.READINGS, r.patient.encode(), to_wire(r)) for r in part if r.patient]
            )
    finally:
        await producer.stop()


def run(
    case: str, writers: int, asked: argparse.Namespace, folder: Path, services: Services
) -> dict[str, Any]:
    """One line of the result; Kafka and database are made anew."""
    kafka, postgres = services
    kafka.delete_topics()
    dsn = postgres.create_database()
    settings = Settings(kafka=kafka.bootstrap, partitions=PARTITIONS, database=dsn)
    asyncio.run(ensure_topics(settings))
    ports = [free_port() for _ in range(writers)]
    with ExitStack() as stack:
        conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        apply_schema(conn)
        programs = [
            stack.enter_context(_writer(number, port, folder / f"{case}-{writers}-{number}", settings))
            for number, port in enumerate(ports)
        ]
        # every writer has its partitions when each has placed them in the database and reads on
        wait_until(lambda: all(scrape(port) for port in ports), READY_SECONDS, "the writers' metrics")
        placed = "select count(*) from scad.writer_offset where topic = %s"
        wait_until(
            lambda: _number(conn, placed, topics.READINGS) == PARTITIONS,
            READY_SECONDS,
            "every partition's place",
        )
        now_ms = time.time_ns() // 1_000_000
        with conn.transaction():
            conn.execute("lock table scad.writer_offset in share row exclusive mode")
            asyncio.run(fill(settings, CASES[case](asked.readings, now_ms)))
            spent = _spent(programs, postgres, kafka)
        began = time.perf_counter()
        deadline = began + STORED_SECONDS
        while (done := _number(conn, DONE, topics.READINGS)) < asked.readings:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"{done} of {asked.readings} are stored\n{programs[0].log_tail()}")
            time.sleep(LOOK_SECONDS)
        took = time.perf_counter() - began
        rows = _number(conn, "select count(*) from scad.reading")
        if rows != asked.readings:
            raise RuntimeError(f"{rows} rows of {asked.readings} readings")
        after = _spent(programs, postgres, kafka)
        found = {
            "case": case,
            "writers": writers,
            "readings": asked.readings,
            "rows_per_second": round(asked.readings / took),
            "cpu_seconds_per_million": {
                name: round((after[name] - at) / asked.readings * 1_000_000, 1) for name, at in spent.items()
            },
            "batches": round(sum(total(scrape(port), "scad_writer_batch_seconds_count") for port in ports)),
            "memory_mib": max(round(memory_mib(program.pid or 0)) for program in programs),
        }
    postgres.drop_database(dsn)
    return found


Services = tuple[Kafka, Postgres]


def _writer(number: int, port: int, folder: Path, settings: Settings) -> Program:
    environment = {
        "SCAD_KAFKA": settings.kafka,
        "SCAD_PARTITIONS": str(PARTITIONS),
        "SCAD_DATABASE": settings.database,
        "SCAD_METRICS_PORT": str(port),
        "SCAD_WORKER_ID": f"writer-{number}",
        "SCAD_DATA_DIR": str(folder / "data"),
        "SCAD_LOG_LEVEL": "warning",
    }
    return Program("writer", [sys.executable, "-m", "scad", "writer"], folder, environment)


def _spent(programs: list[Program], postgres: Postgres, kafka: Kafka) -> dict[str, float]:
    return {
        "writers": sum(cpu_seconds(program.pid or 0) for program in programs),
        "postgres": cpu_seconds_of_family(postgres.pid or 0),
        "kafka": sum(cpu_seconds_of_family(node.pid or 0) for node in kafka.nodes),
    }


def _number(conn: psycopg.Connection[Any], query: str, *parameters: str) -> int:
    row = conn.execute(query.encode(), parameters).fetchone()
    return int(row[0]) if row else 0


def table(figures: dict[str, Any]) -> str:
    """Markdown."""
    shown = [
        "| case | writers | rows/s | CPU s per million: writers | postgres | kafka | memory of one, MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for of in figures["writer"]:
        cpu = " | ".join(f"{of['cpu_seconds_per_million'][n]:,.0f}" for n in ("writers", "postgres", "kafka"))
        shown.append(
            f"| {of['case']} | {of['writers']} | {of['rows_per_second']:,} | {cpu} | {of['memory_mib']:,} |"
        )
    return "\n".join(shown)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.writer", description=SAYS)
    parser.add_argument("--readings", type=int, default=60_000, help="of each run")
    parser.add_argument("--writers", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--json", type=Path, default=RESULTS / "writer.json")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="scad-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL runs as nobody
        kafka = stack.enter_context(Kafka(folder / "kafka"))
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        figures = stack.enter_context(result(asked.json))
        figures["writer"] = [
            run(case, writers, asked, folder, (kafka, postgres))
            for case in CASES
            for writers in asked.writers
        ]
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
