"""Pieces of the deployment on real programs, for tests: secrets from its script, and the three servers with its own
configuration; only folders, ports and passwords are a test's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import scad
from scad.services import HOST, KafkaNode, Mosquitto, Postgres, free_port, wait_until
from scad.services.admin import broker_ids
from scad.services.kafka import listens
from scad.services.mosquitto import ACCEPTED, ACL_FILE, BRIDGE_USER, LIMITS_FILE, connack
from scad.settings import Settings
from scad.tls import client_context, kafka_security

ROOT = Path(scad.__file__).resolve().parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def need_openssl() -> None:
    """Skip, or fail where services are required, when the program openssl is not there."""
    if shutil.which("openssl") is None:
        if os.environ.get("SCAD_REQUIRE_SERVICES") == "1":
            pytest.fail("openssl: install the package openssl", pytrace=False)
        pytest.skip("openssl: install the package openssl")


def make_secrets(folder: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run deploy/make-secrets.sh on a folder of this test's own."""
    return subprocess.run(
        ["/bin/sh", ROOT / "deploy/make-secrets.sh", *words],
        input=text,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "SCAD_SECRETS": str(folder)},
    )


class ComposedMosquitto(Mosquitto):
    """The broker with the configuration of the deployment; only paths and ports are this test's."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        super().__init__(
            folder / "broker", {"bridge": (secrets / "mqtt_bridge_password").read_text().strip()}
        )
        self.secrets = secrets
        self.tls_port = free_port([self.port])
        self.certificate_port = free_port([self.port, self.tls_port])
        self.tls = client_context((secrets / "ca_certificate").read_text())

    def prepare(self) -> None:
        (self.folder / "conf.d").mkdir(exist_ok=True)
        (self.folder / "data").mkdir(exist_ok=True)
        shutil.copy(LIMITS_FILE, self.folder / "conf.d/limits.conf")
        shutil.copy(ACL_FILE, self.folder / "acl")
        text = (ROOT / "deploy/mosquitto.conf").read_text()
        for before, after in (
            ("/mosquitto/config", str(self.folder)),
            ("/mosquitto/data", str(self.folder / "data")),
            ("/run/secrets", str(self.secrets)),
            ("listener 8885\n", f"listener {self.port} {HOST}\n"),
            ("listener 8883\n", f"listener {self.tls_port} {HOST}\n"),
            ("listener 8884\n", f"listener {self.certificate_port} {HOST}\n"),
        ):
            assert before in text
            text = text.replace(before, after)
        root = "user root\n" if os.geteuid() == 0 else ""  # else it becomes a user who cannot read this
        (self.folder / "mosquitto.conf").write_text(root + text)

    def answers(self) -> bool:
        return self.connack(BRIDGE_USER, self.bridge_password) == ACCEPTED

    def connack(self, user: str | None = None, password: str = "") -> int | None:
        """The answer on the listener of the platform's own processes."""
        return connack(self.port, user, password, self.tls)

    def reload(self) -> None:
        """What `docker compose kill -s HUP mosquitto` does."""
        self._reload()

    def reread(self, user: str, password: str, answer: int) -> None:
        """The same, until the user gets the wanted answer."""
        self._reload()
        wait_until(lambda: self.connack(user, password) == answer, 10.0, f"the answer {answer}")


class ComposedKafka(KafkaNode):
    """The broker with the environment of the deployment; only paths, ports and the name are this test's."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        self.environ = COMPOSE["services"]["kafka"]["environment"]
        broker = free_port()
        super().__init__(folder, 1, [(broker, free_port([broker]))], self.environ["CLUSTER_ID"])
        self.secrets = secrets
        self.jvm = (self.environ["KAFKA_OPTS"].replace("/run/secrets", str(secrets)),)
        self.settings = Settings(
            kafka=f"localhost:{broker}",
            kafka_tls=True,
            kafka_ca=(secrets / "ca_certificate").read_text(),
            kafka_user=SERVICES["scad"]["environment"]["SCAD_KAFKA_USER"],
            kafka_password=(secrets / "kafka_password").read_text().strip(),
            kafka_mechanism=SERVICES["worker"]["environment"]["SCAD_KAFKA_MECHANISM"],
        )

    def config(self, data: Path) -> str:
        ((broker, controller),) = self.ports
        own = ("KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_LOG4J_LOGGERS")
        text = "".join(  # as the image's own script names them
            f"{variable.removeprefix('KAFKA_').lower().replace('_', '.')}={value}\n"
            for variable, value in self.environ.items()
            if variable.startswith("KAFKA_") and variable not in own
        )
        for before, after in (
            (
                "CLIENTS://:9092,CONTROLLER://127.0.0.1:9093",
                f"CLIENTS://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
            ),
            ("CLIENTS://kafka:9092", f"CLIENTS://localhost:{broker}"),
            ("1@127.0.0.1:9093", f"1@{HOST}:{controller}"),
            ("/var/lib/kafka/data", str(data)),
            ("/run/secrets", str(self.secrets)),
        ):
            assert before in text
            text = text.replace(before, after)
        return text

    def answers(self) -> bool:
        return listens(self.address) and bool(broker_ids(self.settings.kafka, kafka_security(self.settings)))


class ComposedPostgres(Postgres):
    """A server that the deployment's own script sets up, as its image would."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        folder.mkdir(mode=0o711, parents=True)
        for name in ("database_key", "database_certificate", "pg_hba.conf"):
            source = secrets / name if name.startswith("database") else ROOT / "deploy" / name
            text = source.read_text()
            if name == "pg_hba.conf":  # the superuser's way in: the socket there, the test's own address here
                assert "local    all       postgres " in text
                text += "hostssl all postgres 127.0.0.1/32 scram-sha-256\n"
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(folder / name, "nobody", "nogroup")
        (line,) = COMPOSE["services"]["timescaledb"]["command"]
        options = dict(re.findall(r"-c (\w+)=(\S+)", line))
        for before, after in (
            ("/run/secrets/database_certificate", folder / "database_certificate"),
            ("/tmp/server.key", folder / "database_key"),  # noqa: S108
            ("/etc/scad/pg_hba.conf", folder / "pg_hba.conf"),
        ):
            assert before in options.values()
            options = {name: value.replace(before, str(after)) for name, value in options.items()}
        super().__init__(folder, options=options)
        self.secrets = secrets

    def started(self) -> None:
        done = subprocess.run(
            ["/bin/sh", ROOT / "deploy/database-init.sh"],
            env={
                "PATH": f"{Path(self.program('psql')).parent}:{os.environ['PATH']}",
                **{"PGHOST": HOST, "PGPORT": str(self.port), "PGPASSWORD": self._password},
                **{"POSTGRES_USER": "postgres", "SECRETS": str(self.secrets)},
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def run(self, step: str) -> None:
        """One of the deployment's steps, as its own shell runs it; only paths and the address are others."""
        (line,) = COMPOSE["services"][step]["command"]
        url = self.folder / "database_url"
        url.write_text(self.address("scad", "database_password"))
        for before, after in (
            ("$$", "$"),
            ("/run/secrets/database_url", str(url)),
            ("/run/secrets", str(self.secrets)),
            ("/grants.sql", str(ROOT / "deploy/grafana/grants.sql")),
        ):
            line = line.replace(before, after)
        path = os.pathsep.join([str(Path(sys.executable).parent), str(Path(self.program("psql")).parent)])
        done = subprocess.run(
            ["/bin/sh", "-euc", line],
            env={"PATH": f"{path}:{os.environ['PATH']}", "SCAD_DATABASE_FILE": str(url)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def address(self, user: str, secret: str) -> str:
        password = (self.secrets / secret).read_text().strip()
        verified = f"sslmode=verify-full&sslrootcert={self.secrets}/ca_certificate"
        return f"postgresql://{user}:{password}@localhost:{self.port}/scad?hostaddr={HOST}&{verified}"
