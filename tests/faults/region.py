"""A small region on real parts: three Kafka brokers (two must be in sync), mosquitto, TimescaleDB, two bridges,
two workers, two writers, a feed and, at their ends, devices; between them wires that can be cut.

Everything lies in one folder, so that a run that was stopped goes on from there. A process of ours that ends
by itself is started again, as the deployment's restart policy does, and counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from whole_platform import DEVICE_PASSWORD, TEAM, ready
from wired import WiredKafka
from wires import Wires

from scad.services import HOST, Mosquitto, Postgres, Program, free_port
from scad.services.base import Service

KAFKA_NODES = 3
PARTITIONS = 6
SESSION_SECONDS = 6.0
"""The workers' group forgets a member after this; a pause lasts longer."""
SCRAPE_SECONDS = 1.0  # a paused process does not answer
COMMAND_SECONDS = 1_800  # a replay of a million readings, on a machine with other work
DISK_BYTES = {"database": (1 << 30, 2 << 10), "kafka-3": (1 << 29, 4 << 10)}
"""Sizes of the disks that are filled: to begin with, and for each reading; twice what is needed."""
BALLAST = "ballast"
PAGE_BYTES = 4096

OURS = ("bridge-1", "bridge-2", "worker-1", "worker-2", "worker-3", "writer-1", "writer-2", "feed-1")
SPARE = "worker-3"
"""Joins and leaves; all others run from the start."""
ALONE = ("worker-1", "bridge-1", "writer-1")
"""Those that can be cut off from Kafka by themselves, while their fellows go on."""


class Region:
    """`start()` brings everything up; `programs` and `services` are what faults act on, by name."""

    def __init__(self, folder: Path, readings: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.wires = Wires()
        self.left_out: list[str] = []
        """Disks that the system did not let us mount, and what it said."""
        self.disks = self._mount_disks(readings)
        self.kafka = WiredKafka(folder / "kafka", KAFKA_NODES, self.wires, ALONE)
        self.bootstrap = self.kafka.bootstrap_of("")
        self.mosquitto = Mosquitto(folder / "mosquitto")
        self.postgres = Postgres(folder / "postgres")
        self.services: dict[str, Service] = {
            "mosquitto": self.mosquitto,
            "database": self.postgres,
            **{f"kafka-{node.node}": node for node in self.kafka.nodes},
        }
        self._lay_wires()
        self.programs: dict[str, Program] = {}
        self._ports: dict[str, int] = {}
        self.deaths: list[str] = []
        self.held = {SPARE}
        """Parts that are to be down: a fault holds them, or they have not joined."""

    # ── wires and disks ───────────────────────────────────────────────────────────────────────────────

    def _lay_wires(self) -> None:
        self.device_port = self.wires.add("devices→mosquitto", self.mosquitto.port).port
        self._mqtt = {
            name: self.wires.add(f"{name}→mosquitto", self.mosquitto.port).address
            for name in ("bridge-1", "bridge-2")
        }
        self._database = {
            name: self.wires.add(f"{name}→database", self.postgres.port).port
            for name in ("writer-1", "writer-2", "feed-1")
        }

    def _mount_disks(self, readings: int) -> dict[str, Path]:
        """Disks of a known size, in memory, below the folders that are to run full; none where the system
        does not let us mount."""
        places = {"database": self.folder / "postgres", "kafka-3": self.folder / "kafka" / "node-3"}
        mounted: dict[str, Path] = {}
        for name, place in places.items():
            place.mkdir(parents=True, exist_ok=True)
            if not os.path.ismount(place):
                least, each = DISK_BYTES[name]
                options = f"size={least + readings * each}"
                command = ["mount", "-t", "tmpfs", "-o", options, "scad-fault-run", str(place)]
                why = "there is no program mount"
                with suppress(OSError):
                    why = subprocess.run(command, capture_output=True, text=True).stderr.strip()
            if os.path.ismount(place):
                mounted[name] = place
            else:
                self.left_out.append(f"disk full of {name}: {why}")
        return mounted

    def fill_disk(self, name: str) -> None:
        """Nothing more fits onto this part's disk."""
        space = os.statvfs(self.disks[name])
        step = space.f_bavail * space.f_frsize
        with (self.disks[name] / BALLAST).open("wb") as file:
            while step >= PAGE_BYTES:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), step)
                except OSError:  # somebody wrote meanwhile
                    step //= 2

    def free_disk(self, name: str) -> None:
        (self.disks[name] / BALLAST).unlink(missing_ok=True)

    # ── up and down ───────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Region:
        """The services and the feed, so that a browser is there before anything happens; `start_all` the others."""
        for name in self.disks:
            self.free_disk(name)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda part: part.start(), (self.kafka, self.mosquitto, self.postgres)))
        self.scad("schema", "apply")
        self.start_programs(["feed-1"])
        return self

    def start_all(self) -> None:
        self.start_programs(name for name in OURS if name not in (SPARE, "feed-1"))

    def start_programs(self, names: Iterable[str]) -> None:
        wanted = list(names)
        with ThreadPoolExecutor(len(wanted)) as pool:
            list(pool.map(lambda name: self.program(name).start(), wanted))

    def program(self, name: str) -> Program:
        if name not in self.programs:
            port = free_port(list(self._ports.values()))
            self._ports[name] = port
            command = [sys.executable, "-m", "scad", name.partition("-")[0]]
            if name.startswith("worker"):
                command.append("--without-writer")
            folder = self.folder / name
            ask = self._asking(port)
            self.programs[name] = Program(name, command, folder, self.environment(name, port), ask)
        return self.programs[name]

    @staticmethod
    def _asking(port: int) -> Callable[[], bool]:
        return lambda: ready(port)

    def environment(self, name: str, port: int) -> dict[str, str]:
        dsn = self.postgres.dsn
        if name in self._database:
            dsn = dsn.replace(f":{self.postgres.port}/", f":{self._database[name]}/")
        metrics = {} if name.startswith("feed") else {"SCAD_METRICS_PORT": str(port)}
        return {
            "SCAD_KAFKA": self.kafka.bootstrap_of(name),
            "SCAD_PARTITIONS": str(PARTITIONS),
            "SCAD_REPLICATION": str(KAFKA_NODES),
            "SCAD_MQTT": self._mqtt.get(name, self.mosquitto.address),
            "SCAD_MQTT_PASSWORD": self.mosquitto.bridge_password,
            "SCAD_DATABASE": dsn,
            "SCAD_FEED_PORT": str(port),
            "SCAD_TICK_SECONDS": "2",
            "SCAD_SESSION_SECONDS": str(SESSION_SECONDS),
            "SCAD_DATA_DIR": str(self.folder / name / "data"),
            "SCAD_WORKER_ID": name,
            **metrics,
        }

    def revive(self) -> list[str]:
        """Start again what has ended by itself, as a restart policy does; the names."""
        ended = [
            name
            for name, part in {**self.services, **self.programs}.items()
            if name not in self.held and not part.running
        ]
        self.deaths += ended
        for name in ended:
            self.part(name).launch()
        return ended

    def part(self, name: str) -> Service:
        return self.services[name] if name in self.services else self.program(name)

    def stop(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda program: program.stop(), self.programs.values()))
            ends = (self.mosquitto.stop, self.postgres.stop, self.kafka.stop)
            list(pool.map(lambda end: end(), ends))
        self.wires.close()

    def unmount(self) -> None:
        """The disks in memory, and what is on them, are gone."""
        for place in self.disks.values():
            subprocess.run(["umount", str(place)], check=True, capture_output=True)

    # ── from outside ──────────────────────────────────────────────────────────────────────────────────

    def scad(self, *arguments: str | Path) -> str:
        """A command to its end, with nothing between it and the services; its standard output."""
        environment = {**os.environ, **self.environment("command", 0)}
        done = subprocess.run(
            [sys.executable, "-m", "scad", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        said = f"scad {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said[-4000:]
        return done.stdout

    def add_devices(self, devices: Iterable[str]) -> None:
        self.mosquitto.add_accounts(dict.fromkeys(devices, DEVICE_PASSWORD))

    def database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.postgres.dsn, autocommit=True)

    def metric(self, name: str, metric: str) -> float:
        """A figure without labels that a process tells Prometheus; 0 when it does not answer."""
        url = f"http://{HOST}:{self._ports.get(name, 0)}/metrics"
        with suppress(OSError), urllib.request.urlopen(url, timeout=SCRAPE_SECONDS) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{metric} "):
                    return float(line.split()[1])
        return 0.0

    def metric_of_running(self, name: str, metric: str) -> float:
        """0 for who is down or paused: asking it would take time."""
        return 0.0 if name in self.held else self.metric(name, metric)

    @property
    def feed_url(self) -> str:
        return f"http://{HOST}:{self._ports['feed-1']}"

    @property
    def care_team(self) -> dict[str, str]:
        return {"care_team": TEAM, "name": "Équipe d'essai", "time_zone": "Europe/Paris"}

    def log(self) -> str:
        """How the logs end, for a failure's message."""
        parts = {**self.programs, **self.services}
        return "\n".join(f"--- {name}\n{part.log_tail()}" for name, part in parts.items())
