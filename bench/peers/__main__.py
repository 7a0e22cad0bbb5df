"""The worker beside its peers: the same readings, the same three rules, one run.

    python -m bench.peers [--patients 600] [--days 16] [--repeat 2] [--only bare,quix]

Starts a real Kafka of its own, makes the peers' environment from bench/peers/requirements.txt where it is missing,
and runs one contender after the other. Prints a table, writes bench/results/peers.json and, with `--draw`, the plot.
`--check` ends with status 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.peers import made
from bench.peers.contenders import BARE, PEERS, WORKER, WORKER_KEEPS, Contender, Field
from bench.peers.field import SMALL, OurWorker, fill, make_topics, publish_plans
from bench.processes import RESULTS, result
from bench.report import peers_plot, peers_table
from scad.services import Kafka, services_dir
from streams import topics

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SMALL_PATIENTS_SHARE = 40
"""One patient in so many is in the small topic; each with a whole history."""

GOALS = {
    "bare loop, the same engine": 0.6,
    "Quix Streams, state": 1.0,
    "Quix Streams, windows": 2.0,
    "Bytewax, state in memory": 1.0,
    "Bytewax, recovery store": 1.0,
    "Faust as its manual teaches": 30.0,
}
"""How many times a contender's readings a second the worker is to reach."""


def peers_python() -> Path:
    """Python of the peers' environment, which is made when the requirements have changed."""
    folder = services_dir() / "peers"
    python, mark = folder / "bin" / "python", folder / REQUIREMENTS.name
    wanted = REQUIREMENTS.read_bytes()
    if mark.is_file() and mark.read_bytes() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    uv = shutil.which("uv")
    installer = (
        [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    )
    subprocess.run([*installer, "--quiet", "-r", str(REQUIREMENTS)], check=True)
    mark.write_bytes(wanted)
    return python


class Race:
    """One Kafka, the readings, and every contender on them."""

    def __init__(self, asked: argparse.Namespace, folder: Path, kafka: Kafka) -> None:
        self._asked = asked
        self._folder = folder
        self._kafka = kafka
        self._begin_ms = (time.time_ns() // 1_000_000 // made.DAY_MS - asked.days) * made.DAY_MS
        self._rows = list(made.readings(asked.seed, asked.patients, asked.days, self._begin_ms))
        few = {made.name_of(n) for n in range(max(2, asked.patients // SMALL_PATIENTS_SHARE))}
        self._small = [row for row in self._rows if row[1] in few][: asked.small]
        self._runs = 0

    def worker(self) -> dict[str, Any]:
        """Everything anew: topics, plans, readings; then our worker."""
        make_topics(self._kafka)
        publish_plans(self._kafka, self._asked.patients, self._begin_ms)
        OurWorker(self._kafka, self._new_folder()).take_plans(self._asked.patients + 1)
        fill(self._kafka, topics.READINGS, self._rows)
        fill(self._kafka, SMALL, self._small)
        return OurWorker(self._kafka, self._new_folder()).run(len(self._rows))

    def contender(self, contender: Contender, python: Path) -> dict[str, Any]:
        return contender.run(
            Field(
                bootstrap=self._kafka.bootstrap,
                python=python,
                folder=self._new_folder(),
                patients=self._asked.patients,
                begin_ms=self._begin_ms,
                readings=len(self._rows),
                small=len(self._small),
            )
        )

    def _new_folder(self) -> Path:
        self._runs += 1
        folder = self._folder / f"run-{self._runs}"
        folder.mkdir()
        return folder


def line(keeps: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median of the runs; every run stands beside it."""
    rates = [run["readings"] / run["seconds"] for run in runs]
    return {
        "keeps": keeps,
        "readings": runs[0]["readings"],
        "readings_per_second": round(median(rates)),
        "readings_per_second_runs": [round(rate) for rate in rates],
        "cpu_seconds_per_million": round(
            median(run["cpu_seconds"] / run["readings"] for run in runs) * 1_000_000, 1
        ),
        "memory_mib": round(max(run["memory_mib"] for run in runs)),
        "alerts": runs[0]["alerts"],
    }


def measure(asked: argparse.Namespace, race: Race) -> dict[str, Any]:
    python = peers_python()
    chosen = [c for c in (BARE, *PEERS) if not asked.only or any(w in c.name.lower() for w in asked.only)]
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(asked.repeat):
        took = [(WORKER, race.worker())]
        _say(*took[0])
        for contender in chosen:
            took.append((contender.name, race.contender(contender, python)))
            _say(*took[-1])
        for name, run in took:
            runs.setdefault(name, []).append(run)
    keeps = {WORKER: WORKER_KEEPS, **{c.name: c.keeps for c in chosen}}
    return {name: line(keeps[name], of) for name, of in runs.items()}


def _say(name: str, run: dict[str, Any]) -> None:
    print(f"{name}: {run['readings'] / run['seconds']:,.0f} readings/s", file=sys.stderr, flush=True)


def missed(contenders: dict[str, Any]) -> list[str]:
    """Goals that the worker misses, in words."""
    ours = contenders[WORKER]["readings_per_second"]
    return [
        f"{ours} readings a second are {ours / theirs:.2f} of {name}: {theirs}; the goal is {goal:g}"
        for name, goal in GOALS.items()
        if name in contenders and ours < goal * (theirs := contenders[name]["readings_per_second"])
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--patients", type=int, default=600)
    parser.add_argument("--days", type=int, default=16, help="the heart rate's baseline needs 14")
    parser.add_argument("--small", type=int, default=8_000, help="readings for Faust as taught, at most")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument(
        "--only", type=lambda text: text.lower().split(","), default=[], help="words of names"
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "peers.json")
    parser.add_argument("--draw", type=Path, default=None, help="where the plot goes (SVG)")
    parser.add_argument("--check", action="store_true", help="status 1 when a goal is missed")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="scad-bench-") as name, Kafka(Path(name) / "kafka") as kafka:
        race = Race(asked, Path(name), kafka)
        with result(asked.json) as figures:
            figures["kafka"] = kafka.version
            figures["set"] = {key: getattr(asked, key) for key in ("seed", "patients", "days", "repeat")}
            figures["contenders"] = measure(asked, race)
    print(peers_table(figures))
    if asked.draw:
        asked.draw.write_text(peers_plot(figures), encoding="utf-8")
    faults = missed(figures["contenders"])
    for fault in faults:
        print(f"missed: {fault}", file=sys.stderr)
    return 1 if faults and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
