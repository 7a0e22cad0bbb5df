"""How each contender is started; each is a file beside this one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.field import FEW, PARTITIONS, SOME, environment_of_peer
from devices.times import format_instant
from streams import topics

RUN_SECONDS = 1_800.0
ERRORS_SHOWN = 3_000  # characters


Command = tuple[list[str], dict[str, str]]
"""A program, and variables of its environment."""


@dataclass(frozen=True)
class Field:
    """What every contender is given."""

    bootstrap: str
    python: Path
    """Of the peers' environment."""
    folder: Path
    """Empty, of this run alone."""
    patients: int
    begin_ms: int
    readings: dict[str, int]
    """How many are in each topic."""


@dataclass(frozen=True)
class Contender:
    """`command` gives the program and its environment's variables."""

    name: str
    keeps: str
    """What is durable when a reading is done."""
    command: Callable[[Field, str], Command]
    topic: str = topics.READINGS
    """Only the first patients' readings where the rate would make it last too long."""
    for_speed: bool = False
    """Its rules are those of rules.py; else, where it has rules in Python, those of rules_taught.py."""

    def run(self, field: Field) -> dict[str, Any]:
        """What the contender's stopwatch says. Raises RuntimeError with its last words."""
        command, more = self.command(field, self.topic)
        done = subprocess.run(
            command,
            env=environment_of_peer(**more),
            cwd=field.folder,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        for line in done.stdout.splitlines():
            if line.startswith("RESULT "):
                found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
                return found
        raise RuntimeError(f"{self.name}: {done.returncode}\n{(done.stdout + done.stderr)[-ERRORS_SHOWN:]}")


def _bare(field: Field, topic: str) -> Command:
    arguments = [field.bootstrap, topic, str(PARTITIONS), str(field.readings[topic])]
    arguments += [str(field.patients), format_instant(field.begin_ms)]
    return [sys.executable, "-m", "bench.peers.bare", *arguments], {}


def _names(field: Field, topic: str) -> dict[str, str]:
    return {"BOOTSTRAP": field.bootstrap, "TOPIC": topic, "COUNT": str(field.readings[topic])}


def _faust(field: Field, topic: str) -> Command:
    command = [str(field.python), "-m", "bench.peers.faust_taught", "worker", "-l", "warn", "--without-web"]
    return command, {**_names(field, topic), "PARTITIONS": str(PARTITIONS)}


def _quix(module: str, *way: str) -> Callable[[Field, str], Command]:
    def command(field: Field, topic: str) -> Command:
        arguments = [field.bootstrap, topic, str(field.folder / "state"), str(field.readings[topic])]
        return [str(field.python), "-m", f"bench.peers.{module}", *arguments, *way], {}

    return command


def _bytewax(way: str, recovery: bool) -> Callable[[Field, str], Command]:
    def command(field: Field, topic: str) -> Command:
        program = [str(field.python), "-m", "bytewax.run", f"bench.peers.bytewax_state:{way}"]
        if recovery:
            store = field.folder / "recovery"
            store.mkdir()
            subprocess.run(
                [str(field.python), "-m", "bytewax.recovery", str(store), str(PARTITIONS)], check=True
            )
            program += ["-r", str(store), "-s", "2", "-b", "0"]  # a snapshot every 2 s
        return program, _names(field, topic)

    return command


BARE = Contender("bare loop, the same engine", "nothing", _bare)
QUIX_KEEPS = "state in RocksDB and a changelog, every 5 s"
RECOVERY_KEEPS = "state in SQLite, every 2 s"
TAUGHT, FOR_SPEED = "taught", "for_speed"
PEERS = (
    Contender("Quix Streams, state", QUIX_KEEPS, _quix("quix_state", TAUGHT)),
    Contender(
        "Quix Streams, state, rules for speed", QUIX_KEEPS, _quix("quix_state", FOR_SPEED), for_speed=True
    ),
    Contender("Quix Streams, windows", QUIX_KEEPS, _quix("quix_windows"), SOME),
    Contender("Bytewax, state in memory", "nothing", _bytewax(TAUGHT, recovery=False)),
    Contender(
        "Bytewax, state in memory, rules for speed",
        "nothing",
        _bytewax(FOR_SPEED, recovery=False),
        for_speed=True,
    ),
    Contender("Bytewax, recovery store", RECOVERY_KEEPS, _bytewax(TAUGHT, recovery=True)),
    Contender(
        "Bytewax, recovery store, rules for speed",
        RECOVERY_KEEPS,
        _bytewax(FOR_SPEED, recovery=True),
        for_speed=True,
    ),
    Contender("Faust as its manual teaches", "each window in a changelog, not waited for", _faust, FEW),
)
"""With state: the rules as the libraries' documentation teaches, and the same rules written for speed."""
WORKER = "scad worker"
WORKER_KEEPS = "state, signals and offsets in Kafka, acknowledged before a batch is done"
