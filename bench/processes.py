"""What a process takes, seen from outside, and how a result is kept."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from bench.machine import machine
from scad.services import HOST

RESULTS = Path(__file__).parent / "results"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
READY_SECONDS = 2.0
SCRAPE_SECONDS = 30.0  # a worker that takes a million patients over does not answer at once


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all its threads so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS_PER_S


def cpu_seconds_of_family(pid: int) -> float:
    """CPU time of a process and of every process that it has, or had, started."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    spent = sum(int(word) for word in words[11:15]) / TICKS_PER_S
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        with suppress(OSError):  # it ended meanwhile
            spent += cpu_seconds_of_family(int(child))
    return spent


def memory_mib(pid: int, peak: bool = True) -> float:
    """Resident memory of a process: the most so far, or now."""
    name = "VmHWM" if peak else "VmRSS"
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(name))


def scrape(port: int) -> dict[str, float]:
    """The metrics of a process by name with labels, as Prometheus would read them; {} when it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=SCRAPE_SECONDS) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def ready(port: int) -> bool:
    """Whether a process says that it is."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health/ready", timeout=READY_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def total(metrics: Mapping[str, float], name: str, label: str = "") -> float:
    """The sum over all label values that contain `label`."""
    return sum(value for key, value in metrics.items() if key.partition("{")[0] == name and label in key)


def circumstances(*packages: str) -> dict[str, Any]:
    """Machine, date, versions, and how busy the machine is now."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {package: version(package) for package in ("faust-streaming", "aiokafka", *packages)},
        "load_average_before": [round(load, 1) for load in os.getloadavg()],
    }


@contextmanager
def result(path: Path, *packages: str) -> Iterator[dict[str, Any]]:
    """A dictionary to be filled; it is written as JSON when all went well."""
    figures = circumstances(*packages)
    yield figures
    figures["load_average_after"] = [round(load, 1) for load in os.getloadavg()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
