"""A short fault run on the real parts; `make faults` does the long ones."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import draw, part_of
from run import FaultRun, Size

from scad.services import Kafka, Mosquitto, Postgres

SEED = 4
SIZE = Size(SEED, readings=8_000, faults=8, patients=12)
"""Kinds come in turns: eight faults are each of them once."""


@pytest.fixture
def folder(service_folder: Path) -> Iterator[Path]:
    place = service_folder / "faults"
    yield place
    for disk in (place / "postgres", place / "kafka" / "node-3"):
        subprocess.run(["umount", str(disk)], capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_region_in_which_everything_fails_once_ends_with_equal_sets(
    folder: Path, kafka: Kafka, mosquitto: Mosquitto, postgres: Postgres
) -> None:
    run = FaultRun(folder, SIZE)
    findings = run.run()
    assert findings.wrong == []
    assert len(run.done) == SIZE.faults
    assert {fault.kind for fault in run.done} >= {"kill -9", "pause", "cut", "vanish", "slow", "restart"}


def test_a_seed_draws_the_same_faults_again(folder: Path) -> None:
    from faults import Kind

    nothing = Kind(("worker-1", "kafka-2"), 1.0, 2.0, lambda *_: None, lambda *_: None)
    known = {"one": nothing, "other": nothing}
    assert draw(7, 20, known) == draw(7, 20, known)
    assert draw(7, 20, known) != draw(8, 20, known)
    shares = [fault.share for fault in draw(7, 20, known)]
    assert shares == sorted(shares)


def test_two_brokers_of_kafka_count_as_one_part() -> None:
    assert part_of("kafka-1") == part_of("clients→kafka-3") == "kafka"
    assert part_of("writer-1") != part_of("writer-2")
