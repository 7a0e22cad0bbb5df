"""The worker beside its peers: the same readings, the same three rules, one run.

    python -m bench.peers [--patients 1900] [--days 16] [--repeat 2] [--only bare,quix]
    python -m bench.peers --patients 300,3000,10000       # how each grows

Starts a real Kafka of its own, makes the peers' environment from bench/peers/requirements.txt where it is missing,
and runs one contender after the other. Prints a table, writes bench/results/peers.json (with several numbers of
patients: growth.json) and, with `--draw`, the plot. `--check` ends with status 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.peers import made, rules_taught
from bench.peers.contenders import BARE, PEERS, WORKER, WORKER_KEEPS, Contender, Field
from bench.peers.field import FEW, SOME, OurWorker, fill, make_topics, publish_plans
from bench.peers.rules import RULES, VALUE, Rule, judge
from bench.processes import RESULTS, result
from bench.report import growth_table, peers_plot, peers_table
from scad.services import Kafka, services_dir
from streams import topics

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SOME_SHARE, FEW_PATIENTS = 4, 20
"""One patient in four has the readings that windows get, twenty patients those that Faust as taught gets."""
GROWTH_READINGS = 600_000
"""So many readings, at least, for each number of patients: more patients have shorter histories."""
GROWTH_DAYS_MIN = 2
GROWS = (
    "bare loop, the same engine",
    "Quix Streams, state",
    "Bytewax, state in memory",
    "Bytewax, recovery store",
)

GOALS = {
    "bare loop, the same engine": 0.6,
    "Quix Streams, state": 1.0,
    "Quix Streams, windows": 2.0,
    "Bytewax, state in memory": 1.0,
    "Bytewax, recovery store": 1.0,
    "Faust as its manual teaches": 30.0,
}
"""How many times a contender's readings a second the worker is to reach; rules for speed are shown without a goal."""


def installed() -> Path | None:
    """Python of the peers' environment; None when it has not been made for these requirements."""
    folder = services_dir() / "peers"
    mark = folder / REQUIREMENTS.name
    there = mark.is_file() and mark.read_bytes() == REQUIREMENTS.read_bytes()
    return folder / "bin" / "python" if there else None


def peers_python() -> Path:
    """Python of the peers' environment, which is made when the requirements have changed."""
    if (found := installed()) is not None:
        return found
    folder = services_dir() / "peers"
    python = folder / "bin" / "python"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    uv = shutil.which("uv")
    installer = (
        [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    )
    subprocess.run([*installer, "--quiet", "-r", str(REQUIREMENTS)], check=True)
    (folder / REQUIREMENTS.name).write_bytes(REQUIREMENTS.read_bytes())
    return python


def alerts_taught(rows: Iterable[made.Row]) -> int:
    """How many alerts the rules as taught raise on these readings: those of the worker."""
    states: dict[tuple[str, str], rules_taught.State] = {}
    alerts = 0
    for at_ms, patient, value in rows:
        reading = msgspec.json.decode(value)
        of = patient, kind = patient, reading["kind"]
        states[of], raised = rules_taught.judge(states.get(of), kind, at_ms, reading["values"][VALUE[kind]])
        alerts += raised is not None
    return alerts


def alerts_for_speed(rows: Iterable[made.Row]) -> int:
    """How many alerts the rules for speed raise on these readings."""
    rules: dict[tuple[str, str], Rule] = {}
    alerts = 0
    for at_ms, patient, value in rows:
        reading = msgspec.json.decode(value)
        kind = reading["kind"]
        rule = rules.get((patient, kind))
        if rule is None:
            rule = rules[patient, kind] = RULES[kind]()
        alerts += judge(rule, at_ms, reading["values"][VALUE[kind]]) is not None
    return alerts


class Race:
    """One Kafka, the readings, and every contender on them."""

    def __init__(self, folder: Path, kafka: Kafka, seed: int, patients: int, days: int) -> None:
        self._folder = folder
        self._kafka = kafka
        self._patients = patients
        self._begin_ms = (time.time_ns() // 1_000_000 // made.DAY_MS - days) * made.DAY_MS
        rows = list(made.readings(seed, patients, days, self._begin_ms))
        some = {made.name_of(n) for n in range(max(FEW_PATIENTS, patients // SOME_SHARE))}
        few = {made.name_of(n) for n in range(FEW_PATIENTS)}
        self._rows = {
            topics.READINGS: rows,
            SOME: [row for row in rows if row[1] in some],
            FEW: [row for row in rows if row[1] in few],
        }
        self.readings = {topic: len(of) for topic, of in self._rows.items()}
        self._taught = {topic: alerts_taught(of) for topic, of in self._rows.items()}
        self._for_speed = alerts_for_speed(rows)

    def expected(self, contender: Contender | None = None) -> int:
        """Alerts that the plain rules of a contender raise on its readings; the worker's without one."""
        if contender is None:
            return self._taught[topics.READINGS]
        return self._for_speed if contender.for_speed else self._taught[contender.topic]

    def worker(self) -> dict[str, Any]:
        """Everything anew: topics, plans, readings; then our worker."""
        make_topics(self._kafka)
        publish_plans(self._kafka, self._patients, self._begin_ms)
        OurWorker(self._kafka, self._new_folder()).take_plans(self._patients + 1)
        for topic, rows in self._rows.items():
            fill(self._kafka, topic, rows)
        return OurWorker(self._kafka, self._new_folder()).run(self.readings[topics.READINGS])

    def contender(self, contender: Contender, python: Path) -> dict[str, Any]:
        return contender.run(
            Field(
                bootstrap=self._kafka.bootstrap,
                python=python,
                folder=self._new_folder(),
                patients=self._patients,
                begin_ms=self._begin_ms,
                readings=self.readings,
            )
        )

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="run-", dir=self._folder))


def line(keeps: str, expected: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
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
        "alerts_expected": expected,
    }


def measure(race: Race, chosen: Sequence[Contender], repeat: int) -> dict[str, Any]:
    python = peers_python()
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(repeat):
        took = [(WORKER, race.worker())]
        _say(*took[0])
        for contender in chosen:
            took.append((contender.name, race.contender(contender, python)))
            _say(*took[-1])
        for name, run in took:
            runs.setdefault(name, []).append(run)
    keeps = {WORKER: WORKER_KEEPS, **{c.name: c.keeps for c in chosen}}
    expected = {WORKER: race.expected(), **{c.name: race.expected(c) for c in chosen}}
    return {name: line(keeps[name], expected[name], of) for name, of in runs.items()}


def _say(name: str, run: dict[str, Any]) -> None:
    print(f"{name}: {run['readings'] / run['seconds']:,.0f} readings/s", file=sys.stderr, flush=True)


def missed(contenders: dict[str, Any]) -> list[str]:
    """Goals that the worker misses, in words."""
    ours = contenders[WORKER]["readings_per_second"]
    faults = [
        f"{ours} readings a second are {ours / theirs:.2f} of {name}: {theirs}; the goal is {goal:g}"
        for name, goal in GOALS.items()
        if name in contenders and ours < goal * (theirs := contenders[name]["readings_per_second"])
    ]
    bare = contenders.get(BARE.name)
    if bare and bare["alerts"] != contenders[WORKER]["alerts"]:
        faults.append(f"the same engine raises {bare['alerts']} and {contenders[WORKER]['alerts']} alerts")
    return faults


def grow(asked: argparse.Namespace, folder: Path, kafka: Kafka) -> list[dict[str, Any]]:
    """As many readings for each number of patients, over fewer days when they are more."""
    found = []
    for patients in asked.patients:
        days = max(GROWTH_DAYS_MIN, math.ceil(GROWTH_READINGS / made.count(patients, 1)))
        race = Race(folder, kafka, asked.seed, patients, days)
        chosen = [contender for contender in (BARE, *PEERS) if contender.name in GROWS]
        contenders = measure(race, chosen, 1)
        readings = race.readings[topics.READINGS]
        found.append({"patients": patients, "days": days, "readings": readings, "contenders": contenders})
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--patients",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[1_900],
        help="a million readings with 16 days; several: how each grows",
    )
    parser.add_argument("--days", type=int, default=16, help="the heart rate's baseline needs 14")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument(
        "--only", type=lambda text: text.lower().split(","), default=[], help="words of names"
    )
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--draw", type=Path, default=None, help="where the plot goes (SVG)")
    parser.add_argument("--check", action="store_true", help="status 1 when a goal is missed")
    asked = parser.parse_args(arguments)
    growing = len(asked.patients) > 1
    path = asked.json or RESULTS / ("growth.json" if growing else "peers.json")
    with (
        tempfile.TemporaryDirectory(prefix="scad-bench-") as name,
        Kafka(Path(name) / "kafka") as kafka,
        result(path) as figures,
    ):
        figures["kafka"] = kafka.version
        if growing:
            figures["growth"] = grow(asked, Path(name), kafka)
        else:
            figures["set"] = {key: getattr(asked, key) for key in ("seed", "days", "repeat")}
            figures["set"]["patients"] = asked.patients[0]
            wanted = [
                c for c in (BARE, *PEERS) if not asked.only or any(w in c.name.lower() for w in asked.only)
            ]
            race = Race(Path(name), kafka, asked.seed, asked.patients[0], asked.days)
            figures["contenders"] = measure(race, wanted, asked.repeat)
    if growing:
        print(growth_table(figures))
        return 0
    print(peers_table(figures))
    if asked.draw:
        asked.draw.write_text(peers_plot(figures), encoding="utf-8")
    faults = missed(figures["contenders"])
    for fault in faults:
        print(f"missed: {fault}", file=sys.stderr)
    return 1 if faults and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
