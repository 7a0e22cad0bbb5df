"""A short fault run on the real parts; `make faults` does the long ones."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faults import JOIN, Fault, Kind, draw, evenly, part_of, pause_span
from region import SESSION_SECONDS, SPARE
from run import FaultRun, Size, clear
from witness import AFTER_SECONDS, Witness, unseen

from scad.services import Kafka, Mosquitto, Postgres

SEED = 365
SIZE = Size(SEED, readings=8_000, faults=8, patients=12)
"""Kinds come in turns: eight faults are each of them once. This seed pauses a worker, cuts one off from all of
Kafka, and lets a writer's bytes to Kafka vanish."""
SMALL_END_MS = 1_763_800_000_000
SMALL = Size(SEED, readings=24, faults=2, patients=2, end_ms=SMALL_END_MS)
STOP_AT = 3
"""The run is stopped as this fault is to be done, and goes on."""


@pytest.fixture
def folder(service_folder: Path) -> Iterator[Path]:
    place = service_folder / "faults"
    yield place
    for disk in (place / "postgres", place / "kafka" / "node-3"):
        subprocess.run(["umount", str(disk)], capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_region_in_which_everything_fails_once_ends_with_equal_sets(
    folder: Path, kafka: Kafka, mosquitto: Mosquitto, postgres: Postgres
) -> None:
    run = stopped_run(folder)
    assert run.diary["done"] == STOP_AT - 1
    again = FaultRun(folder, SIZE)
    assert again.lines == run.lines
    findings = again.run()
    assert findings.wrong == []
    report = json.loads((folder / "report.json").read_text())
    assert report["equal"]
    assert report["starts"] == 2
    assert report["faults_done"] == sum(report["kinds_of_faults"].values()) == SIZE.faults
    done = set(report["kinds_of_faults"])
    assert done >= {"kill -9", "pause", "cut", "vanish", "slow", "restart", "join and leave"}
    assert "1 of 1 workers that joined and were given patients" in report["of_faults"]
    disks_can_be_filled = may_mount(folder)
    assert ("disk full" in done) == disks_can_be_filled, report["left_out"]
    with pytest.raises(SystemExit, match="another run"):
        FaultRun(folder, replace(SIZE, faults=9))


def stopped_run(folder: Path) -> FaultRun:
    """A run that somebody stops with Ctrl-C after some faults."""

    def say(sentence: str) -> None:
        if sentence.startswith(f"#{STOP_AT} "):
            raise KeyboardInterrupt

    run = FaultRun(folder, SIZE, say)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    return run


def may_mount(folder: Path) -> bool:
    """Whether the system allows it, asked apart from the run."""
    place = folder / "may-mount"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode
    ):
        return False
    subprocess.run(["umount", place], check=True)
    return True


def test_a_folder_of_a_run_that_failed_or_ended_is_left_as_it_is(tmp_path: Path) -> None:
    run = FaultRun(tmp_path, SMALL)
    run.diary.note(failed="one row is missing")
    with pytest.raises(SystemExit, match=r"one row is missing.*--again"):
        FaultRun(tmp_path, SMALL)
    (tmp_path / "diary.json").rename(tmp_path / "report.json")
    with pytest.raises(SystemExit, match="--again"):
        FaultRun(tmp_path, SMALL)
    clear(tmp_path, keep=())
    assert FaultRun(tmp_path, SMALL).diary["starts"] == 1


def test_a_seed_and_an_end_give_the_same_readings_to_the_millisecond(tmp_path: Path) -> None:
    one, other = (FaultRun(tmp_path / name, SMALL).lines for name in ("one", "other"))
    assert one == other
    assert FaultRun(tmp_path / "later", replace(SMALL, end_ms=SMALL_END_MS + 1)).lines != one


def test_a_run_goes_on_with_the_kinds_of_faults_that_it_began_with(tmp_path: Path) -> None:
    diary = FaultRun(tmp_path, SMALL).diary
    assert diary.kinds(["cut", "disk full"]) == ["cut", "disk full"]
    assert diary.kinds(["cut", "disk full", "new"]) == ["cut", "disk full"]
    with pytest.raises(SystemExit, match="disk full"):
        diary.kinds(["cut"])


def test_a_pause_of_a_worker_that_nobody_notices_is_found() -> None:
    takeovers = {"worker-1": 1.0, "worker-2": 1.0}
    witness = Witness(tuple(takeovers), lambda name, _: takeovers[name])
    for number in (1, 2, 3):
        witness.begins(Fault(number, 0.0, "pause", "worker-1", 8.0), 100.0)
    takeovers["worker-1"] = 2.0  # its own does not count
    witness.look(101.0)
    witness.look(100.0 + 8.0 + AFTER_SECONDS + 1)
    assert not witness.waiting
    (what,) = unseen(witness.answered, witness.seen)
    assert what.startswith("only 0 of 3 pauses of workers")
    witness.begins(Fault(4, 0.0, "pause", "worker-1", 8.0), 200.0)
    takeovers["worker-2"] = 2.0
    witness.look(202.0)
    assert witness.seen.total() == 1


def test_who_joins_stays_until_it_has_been_given_patients() -> None:
    has = {"scad_worker_takeovers_total": 0.0, "scad_worker_patients": 0.0}
    witness = Witness((SPARE,), lambda _, metric: has[metric])
    join = Fault(1, 0.0, JOIN, SPARE, 8.0)
    witness.begins(join, 100.0)
    witness.look(109.0)
    assert witness.waits_for(join)
    has |= {"scad_worker_takeovers_total": 1.0, "scad_worker_patients": 4.0}
    witness.look(111.0)
    assert not witness.waits_for(join)
    assert unseen(witness.answered, witness.seen) == []


@pytest.mark.parametrize(
    ("target", "session_s"),
    [("worker-1", SESSION_SECONDS), ("writer-2", 10.0), ("bridge-1", 10.0), ("kafka-3", 3.0)],
)
def test_a_pause_outlasts_the_session_of_what_is_paused(target: str, session_s: float) -> None:
    rng = random.Random(1)
    drawn = [pause_span(rng, target) for _ in range(40)]
    assert min(drawn) > session_s
    assert (max(drawn) > 45.0) == target.startswith("bridge")


def test_a_seed_draws_the_same_faults_again(folder: Path) -> None:
    nothing = Kind(("worker-1", "kafka-2"), evenly(1.0, 2.0), lambda *_: None, lambda *_: None)
    known = {"one": nothing, "other": nothing}
    assert draw(7, 20, known) == draw(7, 20, known)
    assert draw(7, 20, known) != draw(8, 20, known)
    shares = [fault.share for fault in draw(7, 20, known)]
    assert shares == sorted(shares)


def test_two_brokers_of_kafka_count_as_one_part() -> None:
    assert part_of("kafka-1") == part_of("clients→kafka-3") == "kafka"
    assert part_of("brokers→kafka-2") == part_of("worker-1→kafka") == "kafka"
    assert part_of("writer-1") != part_of("writer-2")
