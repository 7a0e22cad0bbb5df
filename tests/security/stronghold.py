"""Everything that compose.yaml runs for readings and alerts, locked as it is there: its own servers, its own
settings, its own roles. Only names, ports and folders are others, because all of it is on one machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex

import psycopg
from deployed import COMPOSE, ROOT, ComposedKafka, ComposedPostgres
from secured import Broker, Devices

from scad.services import HOST, Program, free_port

COMMAND_SECONDS = 120
PROCESSES = ("bridge", "worker", "feed", "escalation")
METRICS = {"SCAD_METRICS_HOST": HOST, "SCAD_FEED_HOST": HOST}
SECRET_OF_USER = {"scad": "database_password"}


class Stronghold:
    """Kafka and the database start when it is made; mosquitto is the tests' own."""

    def __init__(self, folder: Path, broker: Broker, devices: Devices) -> None:
        self.folder, self.broker, self.secrets = folder, broker, devices.secrets
        self._open = ExitStack()
        self._writer_password = token_hex()
        self._add_writer()
        self.kafka = ComposedKafka(folder / "kafka", self.secrets)
        self.database = ComposedPostgres(folder / "postgres", self.secrets)
        for server in (self.kafka, self.database):
            self._open.callback(server.stop)
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self.kafka.start)
            self.database.start()
            self.database.run("init")
            self.database.run("grants")
            starting.result()
        self.programs: dict[str, Program] = {}
        self.ports = {name: free_port() for name in PROCESSES}
        prepared = self.scad("topics", "kafka", "prepare")
        if prepared.returncode:
            self.close()
            raise AssertionError(prepared.stdout + prepared.stderr)

    def close(self) -> None:
        if self.programs:
            with ThreadPoolExecutor(len(self.programs)) as pool:
                list(pool.map(Program.stop, self.programs.values()))
        self._open.close()

    def address(self, user: str) -> str:
        """Of the database, as one of its log-ins; the server's certificate is checked."""
        return self.database.address(user, SECRET_OF_USER.get(user, f"{user}_database_password"))

    def _add_writer(self) -> None:
        """The account that compose.yaml does not have, as docs/security.md says: a word in `kafka_jaas`."""
        jaas = self.secrets / "kafka_jaas"
        text = jaas.read_text()
        jaas.unlink()
        word = f' user_writer="{self._writer_password}" user_enrol='
        assert text.count(" user_enrol=") == 1
        jaas.write_text(text.replace(" user_enrol=", word))

    def kafka_password(self, account: str) -> str:
        if account == "writer":
            return self._writer_password
        return (self.secrets / f"kafka_{account}_password").read_text().strip()

    def connect(self, user: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.address(user), autocommit=True)

    def environment(self, service: str) -> dict[str, str]:
        """The environment of a service of compose.yaml, with this machine's addresses."""
        given = {name: str(value) for name, value in COMPOSE["services"][service]["environment"].items()}
        found = {}
        for name, value in given.items():
            value = re.sub(r"\$\{\w+:?-(.*?)\}", r"\1", value).replace("/run/secrets", str(self.secrets))
            if match := re.search(r"/(?:(\w+)_)?database_url$", value):
                path = self.folder / f"{service}-database"
                path.write_text(self.address(match[1] or "scad"))
                value = str(path)
            found[name] = value
        port = self.ports.get(service, 0)
        found |= {name: HOST for name in METRICS if name in found}
        found |= {name: str(port) for name in ("SCAD_METRICS_PORT", "SCAD_FEED_PORT") if name in found}
        if "SCAD_KAFKA" in found:
            found |= {"SCAD_KAFKA": self.kafka.settings.kafka}
        if "SCAD_MQTT" in found:
            mqtt = self.broker.tls_port if found["SCAD_MQTT"].endswith(":8883") else self.broker.port
            found["SCAD_MQTT"] = f"localhost:{mqtt}"
        found["SCAD_DATA_DIR"] = str(self.folder / "data" / service)
        return found | {"SCAD_WORKER_ID": found.get("SCAD_WORKER_ID", "worker-a"), "PYTHONPATH": str(ROOT)}

    def start_all(self) -> None:
        with ThreadPoolExecutor(len(PROCESSES)) as pool:
            list(pool.map(self.start, PROCESSES))

    def start(self, service: str) -> Program:
        command = [sys.executable, "-m", "scad", service]
        port = self.ports[service]
        program = Program(
            service, command, self.folder / service, self.environment(service), lambda: ready(port)
        )
        self.programs[service] = program
        return program.start()

    def scad(self, service: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A command with the environment of a service."""
        return subprocess.run(
            [sys.executable, "-m", "scad", *map(str, words)],
            env={**os.environ, **self.environment(service)},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def listening(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket that this process listens on."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            inodes.add(match[1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:  # LISTEN
                address, port = words[1].split(":")
                found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """Of /proc/net: hexadecimal, each word of four bytes in the machine's order."""
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    if len(raw) == 4:
        return ".".join(map(str, raw))
    return "::ffff:127.0.0.1" if raw == bytes(10) + b"\xff\xff" + bytes([127, 0, 0, 1]) else raw.hex()
