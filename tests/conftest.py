"""The real services of a test run, started when the first test asks for one and stopped at the end.

A test names what it needs as an argument:

    mosquitto      the broker, one for the run; add_account(user, password) makes a device's account
    postgres       the database server, one for the run: create_database(), make_template(), drop_database()
    database       address of an empty database of this test's own (extension there, schema not)
    kafka          real Apache Kafka, one node, one for the run
    fresh_kafka    the same broker with every topic deleted, and with them the groups' offsets: topic names
                   are fixed by contract, so tests cannot have their own (another broker would take 3 s)
    start_kafka    start_kafka(nodes=3): a cluster of this test's own, to be killed and paused
    tansu          the embedded Kafka-protocol broker, new for each test (60 ms)
    prometheus     makes a Prometheus server of this test's own: prometheus(targets={job: [address]}, rules=(),
                   before=...): `before` gets the server before its start
    chromium, promtool, docker_compose    paths of programs
    service_folder a folder of this test's own that the user nobody can reach (tmp_path is closed to it)

A missing service skips the test with the reason, and fails it with SCAD_REQUIRE_SERVICES=1 (CI). Tests that
use one are marked `services` (chromium: `browser`): `pytest -m "not services"` runs the pure ones. `make test`
runs what asks for no broker side by side, with a database for each worker: tests/phases.py.
"""

from __future__ import annotations

import base64
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import phases
import pytest
from hypothesis import HealthCheck, settings

from scad.services import (
    Kafka,
    MissingServiceError,
    Mosquitto,
    Postgres,
    Prometheus,
    Tansu,
    chromium_program,
    compose_program,
    promtool_program,
)
from scad.services.debian import run

REQUIRE_VARIABLE = "SCAD_REQUIRE_SERVICES"

# Tests claim what holds, not how fast it is computed: beside other tests an example may take its time.
settings.register_profile("scad", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scad")

# What the processes and commands of the tests encrypt identities by; made-up patients, so anybody may read it.
os.environ.setdefault(
    "SCAD_IDENTITY_KEYS", "1 " + base64.b64encode(b"a key that everybody may know ok").decode()
)

T = TypeVar("T")

used: dict[str, str] = {}
"""What the closing line names: service to version."""


def obtain(make: Callable[[], T]) -> T:
    """What `make` returns; where the service is missing, skip with the reason, or fail where required."""
    try:
        return make()
    except MissingServiceError as missing:
        if os.environ.get(REQUIRE_VARIABLE) == "1":
            pytest.fail(f"{missing} ({REQUIRE_VARIABLE}=1)", pytrace=False)
        pytest.skip(str(missing))


def pytest_addoption(parser: pytest.Parser) -> None:
    chosen = (phases.PARALLEL, phases.SERIAL)
    parser.addoption(phases.OPTION, choices=chosen, help="of `make test`: only this phase's tests")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption(phases.OPTION):
        config.pluginmanager.register(phases.Phase(config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    phases.mark(items, Path(__file__).parent)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Thousands of tests and their modules stay to the end: the garbage collector need not go through them again
    and again. A measurement that collects before each run is four times as fast."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes: the first of them writes the line
        session.config.workeroutput["used"] = used


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    used.update(getattr(node, "workeroutput", {}).get("used", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The line that says which real services this run used."""
    named = "; ".join(f"{name} {version}" for name, version in sorted(used.items()))
    terminalreporter.write_line(f"real services used: {named or 'none'}")


def open_folder(parent: Path | None = None) -> Path:
    """A new folder that the user nobody can reach: PostgreSQL runs as nobody when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="scad-test-", dir=parent))
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="session")
def services_folder() -> Iterator[Path]:
    folder = open_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def service_folder(services_folder: Path) -> Iterator[Path]:
    folder = open_folder(services_folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mosquitto(services_folder: Path) -> Iterator[Mosquitto]:
    with obtain(Mosquitto(services_folder / "mosquitto").start) as broker:
        used["mosquitto"] = broker.version
        yield broker


@pytest.fixture(scope="session")
def postgres(services_folder: Path) -> Iterator[Postgres]:
    with obtain(Postgres(services_folder / "postgres").start) as server:
        used["PostgreSQL"] = server.version
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    address = postgres.create_database()
    yield address
    postgres.drop_database(address)


@pytest.fixture(scope="session")
def kafka(services_folder: Path) -> Iterator[Kafka]:
    with obtain(Kafka(services_folder / "kafka").start) as broker:
        used["Apache Kafka"] = broker.version
        yield broker


@pytest.fixture
def fresh_kafka(kafka: Kafka) -> Kafka:
    kafka.delete_topics()
    return kafka


@pytest.fixture
def start_kafka(service_folder: Path) -> Iterator[Callable[[int], Kafka]]:
    started: list[Kafka] = []

    def start(nodes: int = 1) -> Kafka:
        cluster = Kafka(service_folder / f"kafka-{len(started)}", nodes)
        started.append(cluster)
        obtain(cluster.start)
        used["Apache Kafka"] = cluster.version
        return cluster

    yield start
    for cluster in started:
        cluster.stop()


@pytest.fixture
def tansu(service_folder: Path) -> Iterator[Tansu]:
    with obtain(Tansu(service_folder / "tansu").start) as broker:
        used["tansu"] = broker.version
        yield broker


@pytest.fixture(scope="session")
def chromium() -> Path:
    program = obtain(chromium_program)
    used["Chromium"] = run([program, "--version"], "reinstall chromium").split()[1]
    return program


@pytest.fixture(scope="session")
def promtool() -> Path:
    program = obtain(promtool_program)
    used["promtool"] = run([program, "--version"], "reinstall prometheus").split()[2]
    return program


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    started: list[Prometheus] = []

    def start(
        targets: dict[str, list[str]],
        rules: tuple[Path, ...] = (),
        before: Callable[[Prometheus], object] = lambda _: None,
    ) -> Prometheus:
        server = Prometheus(tmp_path / f"prometheus-{len(started)}", targets, rules)
        before(server)
        obtain(server.start)
        started.append(server)
        used["Prometheus"] = server.version
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def docker_compose() -> Path:
    program = obtain(compose_program)
    used["docker-compose"] = run([program, "version", "--short"], "reinstall docker-compose").strip()
    return program
