"""What the engine costs: CPU time of a reading with all six protocols, of each part of it, and bytes of a patient.

    python -m bench.engine [--patients 40] [--days 60] [--repeat 5] [--json bench/results/engine.json] [--check]

`--check` ends with status 1 when a goal is missed. docs/engine.md explains the figures.
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path
from typing import Any

from bench.machine import cost_us
from bench.memory import sizes
from bench.parts import parts
from bench.processes import RESULTS, circumstances, result
from bench.vectors import crossover
from bench.ward import Bed, batches, kinds, mixes, ward
from streams.engine import Engine
from streams.protocols import load_published
from streams.protocols.model import Library
from streams.state import PatientState

BATCHES = (1, 8, 64)
"""Readings of a patient in one call: as they come live, a device that was away for a while, a backlog. The
worker fetches at most 2,000 records and calls once for each patient in them."""

SAYS = "CPU time of a reading with all six protocols, of each part of it, and bytes of a patient"

GOAL_US = 15.0
GOAL_BYTES = {"daily measurements": 12 * 1024, "glucose every 5 min": 48 * 1024}


WARM = 0.1
"""Share of each patient's readings that is evaluated before the clock starts: plans are compiled and rules laid out
once for a patient, not for a reading."""


class Evaluation:
    """All readings in order, `size` of a patient in a call, as the worker does it."""

    def __init__(self, library: Library, beds: list[Bed], size: int) -> None:
        self._library = library
        self._size = size
        self._beds = [(bed.plan, bed.part(0.0, WARM), bed.part(WARM, 1.0)) for bed in beds]
        self._ready: list[tuple[PatientState, Bed]] = []
        self.count = sum(len(rest.readings) for _, _, rest in self._beds)

    def prepare(self) -> None:
        self._engine = Engine(self._library, silence_by_ticks=True)
        self._ready = []
        for plan, first, rest in self._beds:
            state = self._engine.new_state(plan.patient)
            self._engine.apply(state, first.readings, plans=[plan])
            self._ready.append((state, rest))

    def run(self) -> None:
        apply = self._engine.apply
        for state, bed in self._ready:
            for readings in batches(bed, self._size):
                apply(state, readings)


def cost_of(library: Library, beds: list[Bed], size: int, repeat: int) -> dict[str, float]:
    """CPU time in µs a reading."""
    evaluation = Evaluation(library, beds, size)
    return cost_us(evaluation.run, evaluation.count, repeat, evaluation.prepare)


def measure(seed: int, patients: int, days: int, repeat: int) -> dict[str, Any]:
    """All figures: see docs/engine.md."""
    library = load_published()
    beds = ward(library, seed, patients, days)
    gc.freeze()  # the readings to come are no part of what is measured
    found: dict[str, Any] = {}
    for name, of in mixes(beds).items():
        found[name] = {
            "patients": len(of),
            "readings": kinds(of),
            "us_per_reading": {str(size): cost_of(library, of, size, repeat) for size in BATCHES},
            "parts_us": parts(library, of, repeat),
            "state": sizes(library, of),
        }
    by_kind = {}
    for kind in kinds(beds):
        alone = [bed.of_kind(kind) for bed in beds]
        by_kind[kind] = cost_of(library, [b for b in alone if b.readings], 8, repeat)
    return circumstances() | {
        "cohort": {"seed": seed, "patients": patients, "days": days, "repeat": repeat},
        "mixes": found,
        "kinds_us_per_reading_in_batches_of_8": by_kind,
        "numpy_beside_python": crossover(repeat),
    }


EVERYTHING = "with rhythm recordings"


def everything(figures: dict[str, Any], size: str) -> float:
    """Least CPU time of a reading of the whole ward, recordings of heart rhythm among them, in µs."""
    mixes = [
        figures["mixes"][name] for name in ("all but rhythm", "heart rhythm") if name in figures["mixes"]
    ]
    numbers = [sum(mix["readings"].values()) for mix in mixes]
    spent = sum(n * mix["us_per_reading"][size]["min"] for n, mix in zip(numbers, mixes, strict=True))
    return float(spent / sum(numbers))


def cost_table(figures: dict[str, Any]) -> str:
    """Markdown: least CPU time of a reading in µs, by mix, and the parts of it."""
    mixes = figures["mixes"]
    ward = [mixes[name] for name in ("all but rhythm", "heart rhythm") if name in mixes]
    total = sum(sum(mix["readings"].values()) for mix in ward)
    numbers = [f"{sum(mix['readings'].values()):,}" for mix in mixes.values()]
    lines = [
        f"| | {' | '.join(mixes)} | *{EVERYTHING}* |",
        "| --- |" + " ---: |" * (len(mixes) + 1),
        f"| readings | {' | '.join(numbers)} | {total:,} |",
    ]
    for size in sorted(map(str, BATCHES), key=int, reverse=True):
        cells = [f"{mix['us_per_reading'][size]['min']:,.1f}" for mix in mixes.values()]
        words = f"**evaluate, {size} of a patient a call**" if size != "1" else "evaluate, 1 a call"
        lines.append(f"| {words} | {' | '.join(cells)} | {everything(figures, size):,.1f} |")
    for part in next(iter(mixes.values()))["parts_us"]:
        cells = [f"{mix['parts_us'][part]['min']:,.1f}" for mix in mixes.values()]
        lines.append(f"| {part} | {' | '.join(cells)} | |")
    return "\n".join(lines)


def vectors_table(figures: dict[str, Any]) -> str:
    """Markdown: Python beside numpy, µs a value."""
    by_what = figures["numpy_beside_python"]
    sizes = list(next(iter(by_what.values())))
    lines = [f"| µs a value | {' | '.join(sizes)} |", "| --- |" + " ---: |" * len(sizes)]
    for what, by_size in by_what.items():
        for form, name in (("python", "Python"), ("numpy", "numpy")):
            cells = " | ".join(f"{by_size[size][form]:.2f}" for size in sizes)
            lines.append(f"| {what}: {name} | {cells} |")
    return "\n".join(lines)


def table(figures: dict[str, Any]) -> str:
    """The figures for people: least CPU time, with the median behind it."""
    where = figures["machine"]
    lines = [f"{figures['date']}  {where['cpu']}, {where['cores']} cores, Python {where['python']}", ""]
    for name, mix in figures["mixes"].items():
        total = sum(mix["readings"].values())
        lines.append(f"{name}: {total} readings of {mix['patients']} patients")
        for size, cost in mix["us_per_reading"].items():
            lines.append(f"  {'evaluate, ' + size + ' a call':32}{_cost(cost)} a reading")
        for part, cost in mix["parts_us"].items():
            lines.append(f"    {part:30}{_cost(cost)}")
        state = mix["state"]
        lines.append(
            f"  state on disk {state['bytes_median']} bytes (median), {state['bytes_max']} (largest); "
            f"in memory {state['memory_median']} bytes (median)"
        )
        lines.append("")
    lines.append("one kind by itself, 8 a call:")
    for kind, cost in figures["kinds_us_per_reading_in_batches_of_8"].items():
        lines.append(f"  {kind:32}{_cost(cost)}")
    lines += ["", "numpy beside Python, µs a value:"]
    for what, by_size in figures["numpy_beside_python"].items():
        for size, pair in by_size.items():
            lines.append(f"  {what + ', ' + size + ' at once':44}{pair['python']:8.2f}{pair['numpy']:8.2f}")
    return "\n".join(lines)


def _cost(cost: dict[str, float]) -> str:
    return f"{cost['min']:9.2f} µs (median {cost['median']:.2f})"


def missed(figures: dict[str, Any]) -> list[str]:
    """Goals that these figures miss, in words."""
    faults = []
    best = min(everything(figures, str(size)) for size in BATCHES if size > 1)
    if best > GOAL_US:
        faults.append(f"a reading in batches costs {best:.1f} µs, more than {GOAL_US:g}")
    for name, goal in GOAL_BYTES.items():
        largest = figures["mixes"].get(name, {}).get("state", {}).get("bytes_max", 0)
        if largest > goal:
            faults.append(f"a state of {name} has {largest} bytes, more than {goal}")
    return faults


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=SAYS)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--days", type=int, default=60, help="a state is whole after 49 days")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, default=RESULTS / "engine.json")
    parser.add_argument("--check", action="store_true", help="status 1 when a goal is missed")
    asked = parser.parse_args(arguments)
    with result(asked.json) as figures:
        figures.update(measure(asked.seed, asked.patients, asked.days, asked.repeat))
    print(table(figures))
    faults = missed(figures)
    for fault in faults:
        print(f"missed: {fault}", file=sys.stderr)
    return 1 if faults and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
