"""`scad demo`: the whole platform on this machine, with simulated patients, and nothing left behind.

The processes are the real ones, started as an operator would start them; only the services are the
embedded ones. Time starts a fortnight ago and runs fast until it has caught up with now, so that there is
a history to look at and a decompensation can be watched from the first hundred grams to the alert.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO, Any, LiteralString

import psycopg

from alerts.identity.keys import make_master_key
from scad.clock import Clock, wall_ms
from scad.services import HOST, Mosquitto, Postgres, Program, Service, Tansu, free_port

DAY_MS = 86_400_000
SPAN_DAYS = 14
START_MARGIN_MS = 20_000
"""Time stands still this long while the processes start: they were ready after 10 to 17 s on two busy cores.
If time ran before, a minute of start would be a week without readings."""

READY_SECONDS = 90.0
"""A process that does not answer by then will not: the slowest machine tried took 25 s."""

PASSWORD_WORDS = 3
SYNTHETIC = "synthetic-1"  # the device of `scad synthetic`
ON_CALL = {
    "steps": [
        {"after": 0, "to": [{"person": "second-nurse", "channel": "mail", "address": "nurse@example.org"}]},
        {"after": 30, "to": [{"person": "physician", "channel": "mail", "address": "physician@example.org"}]},
    ],
    "digest": {"to": [{"person": "nurse", "channel": "mail", "address": "nurse@example.org"}]},
}
"""Whom the demo would tell: no mail server is set up, so nothing is sent, and the demo says what would be."""
TOLD = {"escalation": "nobody has answered an alert", "digest": "the medium alerts of the morning"}
TOLD_LINES = 3  # of one look; a fast fortnight has some fifty messages
POLL_SECONDS = 0.5
STATUS_SECONDS = 5.0


class DemoError(RuntimeError):
    """The demo cannot start or go on; the message says what to do."""


class _StopError(Exception):
    """SIGTERM, or the terminal was closed."""


@dataclass
class Demo:
    """One run of the demo. `minutes`: how long the simulated fortnight takes."""

    patients: int
    minutes: float
    port: int
    seed: int
    out: IO[str] = field(default_factory=lambda: sys.stdout)
    _running: list[Service] = field(default_factory=list)
    _last_told: int = 0

    def run(self, seconds: float | None = None) -> None:
        """Run until Ctrl-C, or for `seconds` once the page is there. Raises DemoError, ServiceError."""
        folder = Path(tempfile.mkdtemp(prefix="scad-demo-"))
        folder.chmod(0o711)  # PostgreSQL runs as nobody where the demo runs as root
        previous = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            self._start(folder)
            self._watch(seconds)
        except (KeyboardInterrupt, _StopError):
            pass
        finally:
            for number in previous:
                signal.signal(number, signal.SIG_IGN)
            self._say("stopping")
            with _deaf_to_interrupts():
                for service in reversed(self._running):
                    service.stop()
                shutil.rmtree(folder, ignore_errors=True)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._say("stopped; nothing is left behind")

    # ── starting ──────────────────────────────────────────────────────────────────────────────────────

    def _start(self, folder: Path) -> None:
        begin = time.monotonic()
        mosquitto, postgres, tansu = self._services(folder)
        self.dsn = postgres.dsn
        environment = {
            "SCAD_KAFKA": tansu.bootstrap,
            "SCAD_KAFKA_EMBEDDED": "true",
            "SCAD_PARTITIONS": "4",
            "SCAD_MQTT": mosquitto.address,
            "SCAD_MQTT_PASSWORD": mosquitto.bridge_password,
            "SCAD_DATABASE": postgres.dsn,
            "SCAD_IDENTITY_KEYS": make_master_key(),
            "SCAD_FEED_PORT": str(self.port),
            "SCAD_PAGE_URL": f"http://{HOST}:{self.port}/",
            "SCAD_TICK_SECONDS": "1",
            "SCAD_DATA_DIR": str(folder / "data"),
        }
        accounts = self._enrol(folder, environment)
        mosquitto.add_accounts(accounts)
        login, password = self._login()
        # The clock starts now that everything slow is done, and stands while the processes start.
        environment["SCAD_CLOCK"] = self._begin_time(START_MARGIN_MS)
        self._processes(folder, environment, accounts)
        self._say("")
        self._say(f"  the page    http://{HOST}:{self.port}/")
        self._say(f"  log in as   {login}   password   {password}")
        self._say("")
        self._say(
            f"ready after {time.monotonic() - begin:.0f} s; the last fortnight plays in {self.minutes:g} minutes, "
            "then time is real. Ctrl-C stops everything."
        )

    def _services(self, folder: Path) -> tuple[Mosquitto, Postgres, Tansu]:
        mosquitto, postgres, tansu = (
            Mosquitto(folder / "mosquitto"),
            Postgres(folder / "postgres"),
            Tansu(folder / "tansu"),
        )
        # One after the other and from this thread: a child dies with the thread that started it, by design.
        for service in (mosquitto, tansu, postgres):
            self._running.append(service)
            service.start()
        self._say(f"started mosquitto {mosquitto.version} (MQTT)")
        self._say(f"started tansu {tansu.version} (Kafka's protocol; real deployments run Kafka)")
        self._say(f"started PostgreSQL {postgres.version}")
        return mosquitto, postgres, tansu

    def _begin_time(self, in_ms: int) -> str:
        """Set the clock: a fortnight ago, running from `in_ms` on. Returns it as SCAD_CLOCK."""
        self.clock = Clock.catching_up(SPAN_DAYS * DAY_MS, int(self.minutes * 60_000), in_ms)
        return self.clock.text()

    def _fleet(self) -> list[str]:
        """The fleet's command; the same words draw the same patients."""
        return [
            "fleet", "--patients", str(self.patients), "--seed", str(self.seed),
            "--days", str(SPAN_DAYS + 2), "--profile", "demo",
        ]  # fmt: skip

    def _enrol(self, folder: Path, environment: dict[str, str]) -> dict[str, str]:
        """Draw the patients and enrol them. Returns a password for each device."""
        self._command(["schema", "apply"], environment)
        self._say("made the database's schema")
        enrolment = folder / "enrolment.json"
        # The fleet remembers the day on which its patients begin, so that it is the same when it sends.
        self._command(
            [*self._fleet(), "--enrolment", str(enrolment)],
            {**environment, "SCAD_CLOCK": self._begin_time(0)},
        )
        document = json.loads(enrolment.read_text())
        devices = [device["device"] for patient in document["patients"] for device in patient["devices"]]
        self._command(["enrol", str(enrolment)], environment)
        service_times = folder / "service-times.json"
        teams = {team["care_team"]: ON_CALL for team in document["care_teams"]}
        service_times.write_text(json.dumps({"care_teams": teams}))
        self._command(["service-times", "set", str(service_times)], environment)
        self._say(
            f"enrolled {self.patients} made-up patients with {len(devices)} devices and their care plans"
        )
        return {device: secrets.token_urlsafe(12) for device in [*devices, SYNTHETIC]}

    def _login(self) -> tuple[str, str]:
        from alerts.feed.accounts import create_account

        login, password = "nurse", "-".join(secrets.token_hex(2) for _ in range(PASSWORD_WORDS))
        with psycopg.connect(self.dsn) as conn:
            team = conn.execute("SELECT care_team FROM scad.care_team LIMIT 1").fetchone()
            create_account(
                conn,
                login,
                password,
                "nurse",
                team[0] if team else None,
                at=datetime.now(UTC),
                display_name="Camille Infirmière",
            )
        return login, password

    def _command(self, arguments: list[str], environment: dict[str, str]) -> None:
        """Run one of our commands to its end. Raises DemoError with what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "scad", *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise DemoError(f"`scad {' '.join(arguments)}` failed:\n{done.stderr[-2000:]}")

    def _processes(self, folder: Path, environment: dict[str, str], accounts: dict[str, str]) -> None:
        account_file = folder / "accounts.json"
        account_file.write_text(json.dumps(accounts))
        ports: dict[str, int] = {}
        for name in ("bridge", "worker", "escalation"):
            ports[name] = free_port(list(ports.values()))
        programs = {
            "bridge": self._program(folder, "bridge", ["bridge"], environment, ports["bridge"]),
            "worker": self._program(folder, "worker", ["worker"], environment, ports["worker"]),
            "feed": self._program(folder, "feed", ["feed", "--demonstration"], environment, None),
            "escalation": self._program(
                folder, "escalation", ["escalation"], environment, ports["escalation"]
            ),
        }
        for program in programs.values():  # all at once, then wait for each
            self._running.append(program)
            program.start()
        for name, program in programs.items():
            self._wait(program, ports.get(name, self.port))
            self._say(f"started the {name}")
        for name, words in (("fleet", self._fleet()), ("synthetic", ["synthetic"])):
            program = self._program(
                folder, name, [*words, "--accounts", str(account_file)], environment, None
            )
            self._running.append(program)
            program.start()
        self._say(f"started the fleet: {len(accounts) - 1} devices, and a synthetic one that tests the path")

    def _program(
        self, folder: Path, name: str, arguments: list[str], environment: dict[str, str], port: int | None
    ) -> Program:
        own = dict(environment)
        if port is not None:
            own |= {"SCAD_METRICS_PORT": str(port), "SCAD_WORKER_ID": f"{name}-1"}
        return Program(name, [sys.executable, "-m", "scad", *arguments], folder / name, own)

    def _wait(self, program: Program, port: int) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not _healthy(port):
            if time.monotonic() > deadline or not program.running:
                raise DemoError(
                    f"the {program.name} does not start; its log ends with:\n{program.log_tail()}"
                )
            time.sleep(POLL_SECONDS)

    # ── running ───────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, seconds: float | None) -> None:
        """Say how it goes until it is stopped; a process that ends by itself is a fault."""
        deadline = None if seconds is None else time.monotonic() + seconds
        shown = ""
        next_status = time.monotonic()
        while deadline is None or time.monotonic() < deadline:
            for service in self._running:
                if not service.running:
                    raise DemoError(f"{service.name} has ended; its log ends with:\n{service.log_tail()}")
            if time.monotonic() >= next_status:
                status = self._status()
                if status != shown:
                    self._say(status)
                    shown = status
                for line in self._told():
                    self._say(line)
                next_status += STATUS_SECONDS if wall_ms() < self.clock.caught_up_ms else 60.0
            time.sleep(POLL_SECONDS)

    def _status(self) -> str:
        with psycopg.connect(self.dsn) as conn:
            readings = _count(conn, "SELECT count(*) FROM scad.reading")
            standing = _count(conn, "SELECT count(*) FROM scad.queue")
            raised = _count(conn, "SELECT count(*) FROM scad.alert")
        now = datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC).astimezone()
        return f"{now:%a %d %b %H:%M}  {readings:,} readings stored, {raised} alerts raised, {standing} in the queue"

    def _told(self) -> list[str]:
        """A line for each message that would have gone out since the last look; the last ones of many."""
        with psycopg.connect(self.dsn) as conn:
            rows = conn.execute(
                "SELECT id, settled_at, kind, person, channel FROM scad.notification"
                " WHERE state = 'off' AND id > %s ORDER BY id DESC",
                (self._last_told,),
            ).fetchall()
        self._last_told = rows[0][0] if rows else self._last_told
        lines = [
            f"  {at.astimezone():%a %d %b %H:%M}  would tell {person} by {channel}: {TOLD[kind]}"
            for _, at, kind, person, channel in reversed(rows[:TOLD_LINES])
        ]
        return lines if len(rows) <= TOLD_LINES else [f"  … {len(rows) - TOLD_LINES} messages before", *lines]

    def _say(self, text: str) -> None:
        print(text, file=self.out, flush=True)


def _count(conn: psycopg.Connection[Any], query: LiteralString) -> int:
    row = conn.execute(query).fetchone()
    return row[0] if row is not None else 0


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(number: int, frame: FrameType | None) -> None:
    raise _StopError


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A second Ctrl-C must not leave half of the processes behind."""
    before: Callable[[int, FrameType | None], object] | int | None = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
