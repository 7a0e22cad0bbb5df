"""The deployment's own servers with its own secrets, once for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployed import make_secrets, need_openssl
from secured import Broker, Devices
from stronghold import Stronghold

from scad.services.postgres import has_timescale


@pytest.fixture(scope="session")
def devices(services_folder: Path) -> Devices:
    need_openssl()
    if shutil.which("awk") is None:
        if os.environ.get("SCAD_REQUIRE_SERVICES") == "1":
            pytest.fail("awk: install the package mawk", pytrace=False)
        pytest.skip("awk: install the package mawk")
    folder = services_folder / "security"
    done = make_secrets(folder, "mqtt.example.org")
    assert done.returncode == 0, done.stderr
    passwords = {}
    for device in ("sc-1", "sc-2", "sc-gone", "sc-back"):
        passwords[device] = make_secrets(folder, "device", device).stdout.strip()
    for device in ("ecg-1", "ecg-2", "ecg-gone"):
        assert make_secrets(folder, "certificate", device).returncode == 0
    return Devices(folder, passwords)


@pytest.fixture(scope="session")
def broker(mosquitto: object, devices: Devices, services_folder: Path) -> Iterator[Broker]:
    with Broker(services_folder / "secured", devices.secrets) as running:
        yield running


@pytest.fixture
def openssl(devices: Devices) -> Callable[..., None]:
    def run(*words: str | Path) -> None:
        done = subprocess.run(["openssl", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="session")
def stronghold(
    kafka: object, postgres: object, broker: Broker, devices: Devices, services_folder: Path
) -> Iterator[Stronghold]:
    if not has_timescale():
        pytest.skip("the deployment's database is TimescaleDB, and plain PostgreSQL is installed here")
    folder = services_folder / "stronghold"
    folder.mkdir(mode=0o711)
    running = Stronghold(folder, broker, devices)
    yield running
    running.close()
