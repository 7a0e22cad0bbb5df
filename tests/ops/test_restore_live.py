"""The operation page, followed on a fresh machine: settings, schema, start, check, enrol, back up, break the database,
restore it.

Every command is the page's; only addresses, folders and passwords are the test's, and `systemctl` starts and stops
what the units in deploy/systemd describe, with the settings that the page has put into /etc/scad. Kafka, mosquitto and
PostgreSQL are there, and so is the program."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from whole_platform import DEVICE_PASSWORD, NURSE_PASSWORD, Platform, reading, ready

import scad
from devices.times import format_instant
from scad.services import Kafka, Postgres, Program, free_port, wait_until
from scad.services.places import postgres_bin
from tests.conftest import obtain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]

ROOT = Path(scad.__file__).resolve().parents[1]
PAGE = (ROOT / "docs/operation.md").read_text()
SECONDS = 150.0
PASSWORD = "drawn-for-this-test"
AS_POSTGRES = "setpriv --reuid=postgres --regid=postgres --init-groups "
QUICK = ("SCAD_PARTITIONS", "SCAD_TICK_SECONDS", "SCAD_SESSION_SECONDS")
SYNTHETIC = "select count(*) from scad.reading where device = 'synthetic-1'"


def steps(name: str) -> list[str]:
    """The lines of the block behind `<!-- name: … -->`."""
    (block,) = re.findall(rf"<!-- {name}: [^>]*-->\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [line.split("   #")[0].strip() for line in block.splitlines() if line.strip()]


class Machine:
    """A shell in which the page's commands do what they say."""

    def __init__(self, folder: Path, kafka: Kafka, database: Postgres) -> None:
        self.folder, self.database = folder, database
        self.platform = Platform(folder, kafka, database, prepared=False)
        self.settings, self.unit_files = folder / "etc", folder / "units"
        self.unit_files.mkdir()
        self.backups = folder / "backups"
        self.ports = {f":{port}": f":{free_port()}" for port in (9101, 9102, 9103, 8080)}
        self.environment: dict[str, str] = {}
        """What the operator's shell knows beside what every shell does."""
        self.units: dict[str, Callable[[str], Any]] = {
            "postgresql@17-main": lambda verb: getattr(self.database, verb)(),
        }

    def _path(self) -> dict[str, str]:
        return {"PATH": f"{Path(sys.executable).parent}:{postgres_bin()}:{os.environ['PATH']}"}

    def _here(self, line: str, replaced: dict[str, str]) -> str:
        """The page's line with the addresses, folders and passwords of this machine."""
        platform = self.platform.environment
        for before, after in {
            AS_POSTGRES: "",  # on this machine all is done by one user
            " -o postgres -g postgres": "",
            "$(cat /etc/scad/secrets/mqtt_bridge_password)": platform["SCAD_MQTT_PASSWORD"],
            "$(cut -d '\"' -f 4 /etc/scad/secrets/synthetic_accounts)": DEVICE_PASSWORD,
            "postgresql://scad:$(cat /etc/scad/secrets/database_password)@127.0.0.1:5432/scad": platform[
                "SCAD_DATABASE"
            ],
            "127.0.0.1:5432": f"127.0.0.1:{self.database.port}",
            "PASSWORD-OF-BACKUP": PASSWORD,
            "/etc/scad": str(self.settings),
            "/etc/systemd/system/": str(self.unit_files),
            "deploy/systemd/": f"{ROOT}/deploy/systemd/",
            "/var/lib/scad": str(self.folder / "data"),
            "127.0.0.1:9092": platform["SCAD_KAFKA"],
            "127.0.0.1:1883": platform["SCAD_MQTT"],
            **self.ports,
            **{
                before.replace(":", "PORT="): after.replace(":", "PORT=")
                for before, after in self.ports.items()
            },
            "/var/backups/scad": str(self.backups),
            "/var/lib/postgresql/17/main": str(self.database.data),
            **replaced,
        }.items():
            line = line.replace(before, after)
        return line

    def write_settings(self) -> None:
        """The page's block as a whole, and at the end of each file what makes a test quick and a log complete."""
        self.shell(self._here("\n".join(steps("settings")), {}))
        own = {
            "SCAD_FEED_PORT": self.ports[":8080"].lstrip(":"),
            "SCAD_LOG_LEVEL": "debug",  # a line for each reading
        } | {name: self.platform.environment[name] for name in QUICK}
        for file in self.settings.glob("*.env"):
            with file.open("a") as lines:
                lines.writelines(f"{name}={value}\n" for name, value in own.items())

    def do(self, name: str, **replaced: str) -> None:
        for line in steps(name):
            line = self._here(line, replaced)
            print(f"$ {line}")  # pytest shows it where the test failed
            if line.startswith("systemctl "):
                self._systemctl(*shlex.split(line)[1:])
            elif line.startswith("set -a;"):
                self.environment = dict(
                    pair.split("=", 1)
                    for pair in self.shell(f"{line}; env -0").split("\0")
                    if "SCAD_" in pair
                )
            else:
                self.shell(line)

    def _systemctl(self, verb: str, *words: str) -> None:
        wanted = [word for word in words if not word.startswith("-")]
        timers = [unit for unit in wanted if unit.endswith(".timer")]
        for timer in timers:  # nothing is due while the test lasts
            assert (self.unit_files / timer).is_file()
            assert (self.unit_files / timer).with_suffix(".service").is_file()
        with ThreadPoolExecutor() as pool:
            begun = [pool.submit(self._unit, unit, verb) for unit in wanted if unit not in timers]
            for one in begun:
                one.result()

    def _unit(self, unit: str, verb: str) -> None:
        if unit not in self.units:
            self.units[unit] = self._installed(unit)
        self.units[unit]("start" if verb == "enable" else verb)

    def _installed(self, unit: str) -> Callable[[str], Any]:
        """What the unit's file describes, with the settings that its file names."""
        template, at, instance = unit.partition("@")
        text = (self.unit_files / f"{template}{at}.service").read_text().replace("%i", instance)
        said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        program, *words = shlex.split(self._here(said["ExecStart"], {}))
        assert program == "/opt/scad/bin/scad"
        assert said["User"] == ("scad" if at else "postgres")
        file = self._here(said["EnvironmentFile"], {})
        environment = dict(line.split("=", 1) for line in Path(file).read_text().splitlines())
        port = environment.get("SCAD_FEED_PORT" if instance == "feed" else "SCAD_METRICS_PORT")
        name = instance or template
        made = Program(
            name,
            [sys.executable, "-m", "scad", *words],
            self.folder / name,
            {**environment, **self._path()},
            (lambda: ready(int(port))) if port else None,
        )
        self.platform.add(name, made)
        return lambda verb: getattr(made, verb)()

    def shell(self, line: str) -> str:
        superuser = {"PGHOST": "127.0.0.1", "PGPORT": str(self.database.port), "PGUSER": "postgres"}
        password = self.database.admin_dsn.split("//postgres:")[1].split("@")[0]
        env = {**os.environ, **self.environment, **self._path(), **superuser, "PGPASSWORD": password}
        done = subprocess.run(
            ["/bin/sh", "-euc", line],
            env=env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}\n{self.platform.log()}"
        return done.stdout

    def close(self) -> None:
        if not self.database.running:
            self.database.start()
        self.platform.stop()


@pytest.fixture
def machine(service_folder: Path, fresh_kafka: Kafka) -> Iterator[Machine]:
    server = Postgres(service_folder / "database")
    with obtain(server.start):
        if os.geteuid() == 0:  # as Debian's /var/lib/postgresql/17 belongs to the server's user
            shutil.chown(server.folder, "nobody", "nogroup")
        made = Machine(service_folder, fresh_kafka, server)
        yield made
        made.close()


def test_who_follows_the_operation_page_loses_nothing_when_the_database_is_lost(machine: Machine) -> None:
    platform = machine.platform
    (ward,) = re.findall(r"<!-- enrolment: [^>]*-->\n```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (machine.folder / "ward.json").write_text(ward)
    (machine.folder / "password").write_text(NURSE_PASSWORD)
    platform.add_devices(["sc-1", "synthetic-1"])
    machine.write_settings()
    machine.do("start")
    machine.do("enrol")
    machine.do("backup-role")
    machine.do("backup-start")
    wait_until(lambda: bool(list(machine.backups.glob("wal/*/*"))), SECONDS, "the log is being kept")
    machine.do("backup-take")

    send(platform, 1, 2, 3)
    until_stored(platform, 3)
    machine.do("account", **{'"A. Martin"': '"A. Martin" --password-file password'})
    wait_until(lambda: platform.count(SYNTHETIC) > 0, SECONDS, "a synthetic reading")
    machine.do("check")
    at = format_instant(platform.now_ms())  # up to here everything is to come back from the backup

    send(platform, 4, 5)
    until_stored(platform, 5)
    wait_until(lambda: len(standing(platform)) > 0, SECONDS, "an alert")
    right = standing(platform)
    a_nurse_sees_the_patient(machine)
    platform.rows(
        "update scad.alert set severity = 'low' returning 1"
    )  # somebody's mistake, and then the disk
    before = signals(platform)
    platform._conn.close()
    machine.database.kill()
    send(platform, 6)  # nobody tells the patient

    machine.do("restore", **{"2026-11-22T14:30:00+01:00": at})
    platform._conn = platform._open.enter_context(psycopg.connect(platform.dsn, autocommit=True))
    until_stored(platform, 6)
    wait_until(lambda: signals(platform)[: len(before)] == before, SECONDS, "every signal once, in its order")
    wait_until(lambda: standing(platform) == right, SECONDS, "the alert as it was")
    for event in ("bridge.forwarded", "intake.accepted", "engine.evaluated", "writer.stored"):
        wait_until(lambda event=event: followed(machine, event) >= {1, 2, 3, 4, 5, 6}, SECONDS, event)
    assert platform.count("select count(*) from scad.account where login = 'a.martin'") == 1
    wait_until(lambda: ready(int(machine.ports[":8080"].lstrip(":"))), SECONDS, "the feed is back")
    a_nurse_sees_the_patient(machine)
    assert platform.count("select count(*) from scad.reading_conflict") == 0
    wait_until(
        lambda: (machine.backups / "wal/00000002").is_dir(), SECONDS, "the new timeline is being followed"
    )
    machine.do("restored")


def a_nurse_sees_the_patient(machine: Machine) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1{machine.ports[':8080']}", timeout=30) as client:
        answer = client.post("/login", data={"user": "a.martin", "password": NURSE_PASSWORD})
        assert answer.status_code == 303, answer.text
        assert "PATIENT" in client.get("/").text


def send(platform: Platform, *numbers: int) -> None:
    now = platform.now_ms()
    for seq in numbers:  # a weight an hour, the last ones 3 kg above the first
        message = reading(
            "sc-1", seq, "body-weight", now - (10 - seq) * 3_600_000, weight=80.0 if seq < 4 else 84.0
        )
        platform.publish("sc-1", json.dumps(message))


def until_stored(platform: Platform, number: int) -> None:
    query = "select coalesce(array_agg(seq order by seq), '{}') from scad.reading where device = 'sc-1'"
    platform.until_equal(lambda: platform.rows(query)[0][0], list(range(1, number + 1)), SECONDS)


def signals(platform: Platform) -> list[tuple[Any, ...]]:
    return platform.rows(
        "select n, alert, event, body from scad.alert_event where kind = 'signal' order by patient, n"
    )


def followed(machine: Machine, event: str) -> set[int]:
    """The numbers of the device's readings of which some process's log says so."""
    text = "".join((machine.folder / name / f"{name}.log").read_text() for name in ("bridge", "worker"))
    lines = [json.loads(line) for line in text.splitlines() if f'"{event}"' in line]
    return {line["seq"] for line in lines if line["device"] == "sc-1"}


def standing(platform: Platform) -> list[str]:
    return [row[0] for row in platform.rows("select severity from scad.alert where rule = 'weight-gain-1d'")]
