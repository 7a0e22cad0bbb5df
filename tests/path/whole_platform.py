"""The whole platform for a test: real brokers and a real database, bridge, worker and feed as real processes.

It is put together as an operator would do it, on free ports; only the folder and the passwords are the test's
own. (Not named `platform`: that is a module of Python's.)
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg

from alerts.feed.accounts import create_account
from devices.times import format_instant, from_datetime, parse_instant
from scad.services import HOST, Kafka, Mosquitto, Postgres, Program, free_port

TEAM = "tests"
NURSE, NURSE_PASSWORD = "nurse", "a-long-password-of-a-test"
DEVICE_PASSWORD = "secret-of-a-test-device"
COMMAND_SECONDS = 120
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.05
DAY_MS = 86_400_000

# For scripts, which have no conftest: what identities of made-up patients are encrypted by.
os.environ.setdefault(
    "SCAD_IDENTITY_KEYS", "1 " + base64.b64encode(b"a key that everybody may know ok").decode()
)

Episode = tuple[str, str, str, str, str, str, int, int, int | None]
"""A line of `scad replay --standing` with its instants in milliseconds, so that offsets do not matter."""


class Platform:
    """Brokers and database are there when it is made, unless not to be `prepared` with the schema and a care team in
    it; `start()` starts the processes that are not running."""

    def __init__(self, folder: Path, kafka: Kafka, postgres: Postgres, *, prepared: bool = True) -> None:
        kafka.delete_topics()
        self.folder = folder
        self.mosquitto = Mosquitto(folder / "mosquitto").start()
        self._postgres = postgres
        self.dsn = postgres.create_database()
        self._ports = {name: free_port() for name in ("bridge", "worker", "feed")}
        self._open = ExitStack()
        self.environment = {
            "SCAD_KAFKA": kafka.bootstrap,
            "SCAD_PARTITIONS": "4",
            "SCAD_MQTT": self.mosquitto.address,
            "SCAD_MQTT_PASSWORD": self.mosquitto.bridge_password,
            "SCAD_DATABASE": self.dsn,
            "SCAD_FEED_PORT": str(self._ports["feed"]),
            "SCAD_TICK_SECONDS": "0.5",
            "SCAD_SESSION_SECONDS": "6",
            "SCAD_DATA_DIR": str(folder / "data"),
            "SCAD_FLEET_PASSWORD": DEVICE_PASSWORD,
        }
        self._programs: dict[str, Program] = {}
        self._conn = self._open.enter_context(psycopg.connect(self.dsn, autocommit=True))
        if prepared:
            self.scad("schema", "apply")
            self.enrol()  # the care team

    # ── processes ─────────────────────────────────────────────────────────────────────────────────────

    def start(self, *names: str) -> Platform:
        """Start processes (all by default) at once and wait until each says that it is ready."""
        wanted = names or tuple(self._ports)
        with ThreadPoolExecutor(len(wanted)) as pool:
            list(pool.map(lambda name: self._program(name).start(), wanted))
        return self

    def add(self, name: str, program: Program) -> None:
        """A process that somebody else describes: its log is shown, and it ends with the others."""
        self._programs[name] = program

    def kill(self, *names: str) -> None:
        """kill -9."""
        for name in names:
            self._programs[name].kill()

    def stop(self) -> None:
        self._open.close()
        for program in self._programs.values():
            program.stop()
        self.mosquitto.stop()
        self._postgres.drop_database(self.dsn)

    def log(self) -> str:
        """How the processes' logs end, for a failure's message."""
        return "\n".join(f"--- {name}\n{program.log_tail()}" for name, program in self._programs.items())

    def _program(self, name: str) -> Program:
        if name not in self._programs:
            port = self._ports[name]
            environment = self.environment | {"SCAD_WORKER_ID": f"{name}-1"}
            if name != "feed":
                environment["SCAD_METRICS_PORT"] = str(port)
            command = [sys.executable, "-m", "scad", name]
            folder = self.folder / name
            self._programs[name] = Program(name, command, folder, environment, lambda: ready(port))
        return self._programs[name]

    # ── commands ──────────────────────────────────────────────────────────────────────────────────────

    def scad(self, *arguments: str | Path, status: int = 0) -> str:
        """Run a command to its end; its standard output. Fails when it exits otherwise than with `status`."""
        done = subprocess.run(
            [sys.executable, "-m", "scad", *map(str, arguments)],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        said = f"scad {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == status, said[-4000:]
        return done.stdout

    def enrol(self, *patients: dict[str, Any], **more: Any) -> Path:
        """Write an enrolment file with these patients, make accounts for their devices, and enrol them."""
        team = {"care_team": TEAM, "name": "Équipe d'essai", "time_zone": "Europe/Paris"}
        path = self.write("enrolment", {"care_teams": [team], "patients": list(patients), **more})
        self.add_devices(device["device"] for patient in patients for device in patient["devices"])
        self.scad("enrol", path)
        return path

    def add_devices(self, devices: Iterable[str]) -> None:
        """MQTT accounts; no enrolment."""
        self.mosquitto.add_accounts(dict.fromkeys(devices, DEVICE_PASSWORD))

    def publish(self, device: str, message: str) -> None:
        """What a person at a shell would do for a device: mosquitto_pub."""
        topic, port = f"scad/v1/{device}/readings", str(self.mosquitto.port)
        command = [self.mosquitto.program("mosquitto_pub"), "-V", "mqttv5", "-h", HOST, "-p", port, "-q", "1"]
        subprocess.run(
            [*command, "-u", device, "-P", DEVICE_PASSWORD, "-t", topic, "-m", message],
            check=True,
            capture_output=True,
            timeout=COMMAND_SECONDS,
        )

    def engine(self, readings: Path, care_plans: Path, *, until_ms: int | None = None) -> list[Episode]:
        """What the pure engine says of a file: `scad replay --standing`."""
        until = format_instant(self.now_ms() if until_ms is None else until_ms)
        plans = ("--care-plans", care_plans, "--until", until, "--standing")
        said = self.scad("replay", readings, "--protocol", "heart-failure", *plans)
        return sorted(map(episode, said.splitlines()))

    def write(self, name: str, content: Any) -> Path:
        """A new file in the test's folder: JSON, or JSON lines for a list."""
        path = self.folder / f"{name}-{secrets.token_hex(3)}.json"
        lines = content if isinstance(content, list) else [content]
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        return path

    # ── what has come of it ───────────────────────────────────────────────────────────────────────────

    @staticmethod
    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    def rows(self, query: str, *parameters: Any, **named: Any) -> list[tuple[Any, ...]]:
        return self._conn.execute(query, named or parameters).fetchall()

    def count(self, query: str, *parameters: Any) -> int:
        return int(self.rows(query, *parameters)[0][0])

    def stored(self, *patients: str) -> int:
        """Rows of readings, repeats included if there were any."""
        return self.count("select count(*) from scad.reading where patient = any(%s)", list(patients))

    def standing(self, *patients: str) -> list[Episode]:
        """The episodes in the database that have a cause."""
        found = self.rows(
            "select patient, opened_at, protocol, rule, alert::text, class, severity, last_at, cleared_at"
            " from scad.alert where reason is null and patient = any(%s)",
            list(patients),
        )
        return sorted(
            (alert, patient, protocol, rule, cls, severity, from_datetime(opened), from_datetime(last),
             None if cleared is None else from_datetime(cleared))
            for patient, opened, protocol, rule, alert, cls, severity, last, cleared in found
        )  # fmt: skip

    def feed_login(self) -> httpx.Client:
        """A nurse of the tests' care team, logged in; writes carry the token that they need."""
        if not self.rows("select 1 from scad.account where login = %s", NURSE):
            create_account(self._conn, NURSE, NURSE_PASSWORD, "nurse", TEAM, at=datetime.now(UTC))
        client = self._open.enter_context(httpx.Client(base_url=self.feed_url, timeout=30))
        answer = client.post("/login", data={"user": NURSE, "password": NURSE_PASSWORD})
        assert answer.status_code == 303, answer.text
        client.headers["X-CSRF-Token"] = client.get("/api/session").json()["csrf_token"]
        return client

    def metrics(self, name: str) -> bytes:
        """What a process tells Prometheus."""
        with urllib.request.urlopen(f"http://{HOST}:{self._ports[name]}/metrics", timeout=10) as answer:
            return bytes(answer.read())

    @property
    def feed_url(self) -> str:
        return f"http://{HOST}:{self._ports['feed']}"

    def until(self, reached: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
        """What `reached` returns once it is true; fails with `what` and the logs after the deadline."""
        deadline = time.monotonic() + seconds
        while not (found := reached()):
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}\n{self.log()}"
            time.sleep(POLL_SECONDS)
        return found

    def until_equal(self, actual: Callable[[], Any], expected: Any, seconds: float = WAIT_SECONDS) -> None:
        """Wait until `actual()` is what is expected; at the deadline pytest shows the difference."""
        deadline = time.monotonic() + seconds
        while actual() != expected and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        assert actual() == expected, self.log()


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def episode(line: str | bytes) -> Episode:
    """One line of `scad replay --standing`."""
    said = json.loads(line)
    start, last = (parse_instant(said[name])[0] for name in ("start", "last"))
    end = None if said["end"] is None else parse_instant(said["end"])[0]
    names = ("alert", "patient", "protocol", "rule", "class", "severity")
    alert, patient, protocol, rule, cls, severity = (str(said[name]) for name in names)
    return alert, patient, protocol, rule, cls, severity, start, last, end


def patient(
    name: str, devices: Sequence[dict[str, Any]], protocols: Sequence[str], from_ms: int, **plan: Any
) -> dict[str, Any]:
    """A made-up patient for an enrolment file; `plan` are further fields of the care plan."""
    version = {"version": 1, "from": format_instant(from_ms), "protocols": list(protocols), **plan}
    identity = {
        "family_name": "ESSAI",
        "given_names": "Camille",
        "birth_date": "1948-03-01",
        "sex": "unknown",
    }
    return {
        "patient": name,
        "care_team": TEAM,
        "identity": identity,
        "devices": list(devices),
        "care_plan": version,
    }


def device(serial: str, from_ms: int, to_ms: int | None = None) -> dict[str, Any]:
    """A device of a patient's in an enrolment file."""
    to = None if to_ms is None else format_instant(to_ms)
    return {"device": serial, "from": format_instant(from_ms), "to": to}


def reading(serial: str, seq: int, kind: str, measured_at_ms: int, **values: Any) -> dict[str, Any]:
    """What a device sends."""
    measured_at = format_instant(measured_at_ms, 60)
    return {"v": 1, "device": serial, "seq": seq, "kind": kind, "measured_at": measured_at, "values": values}
