"""Pieces of the deployment on real programs, for tests: secrets from its script, the broker with its files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import scad
from scad.services import HOST, Mosquitto, free_port, wait_until
from scad.services.mosquitto import ACCEPTED, ACL_FILE, BRIDGE_USER, LIMITS_FILE, connack
from scad.tls import client_context

ROOT = Path(scad.__file__).resolve().parents[1]


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
