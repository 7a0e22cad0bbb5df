"""The benchmark of the engine runs, and says what docs/engine.md says it says. Its figures are not judged here: they
are the machine's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import engine as bench
from bench.vectors import SIZES

PARTS = {
    "decode (from scad.readings)",
    "reduce to an observation",
    "insert into the history",
    "statistics",
    "rules and episodes",
    "signals",
    "dump of a state (one)",
}


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return bench.measure(seed=11, patients=8, days=6, repeat=1)


def test_each_part_of_a_reading_is_measured_in_each_mix(figures: dict[str, Any]) -> None:
    assert {"all but rhythm", "daily measurements", "glucose every 5 min"} <= set(figures["mixes"])
    for mix in figures["mixes"].values():
        assert set(mix["parts_us"]) == PARTS
        assert all(cost["min"] > 0 for cost in mix["us_per_reading"].values())
        assert mix["state"]["bytes_median"] <= mix["state"]["bytes_max"]


def test_the_table_names_machine_and_every_kind(figures: dict[str, Any]) -> None:
    table = bench.table(figures)
    assert figures["machine"]["cpu"] in table
    assert all(kind in table for kind in figures["kinds_us_per_reading_in_batches_of_8"])
    assert all(set(by_size) == set(map(str, SIZES)) for by_size in figures["numpy_beside_python"].values())


def test_a_goal_that_is_missed_is_named(figures: dict[str, Any]) -> None:
    slow = msgspec.json.decode(msgspec.json.encode(figures))
    mix = slow["mixes"]["all but rhythm"]
    mix["us_per_reading"] = {size: {"min": 99.0, "median": 99.0} for size in mix["us_per_reading"]}
    slow["mixes"]["daily measurements"]["state"]["bytes_max"] = 20_000
    assert len(bench.missed(slow)) == 2
    assert "99.0 µs" in bench.missed(slow)[0]


def test_the_figures_in_the_repository_are_of_this_script() -> None:
    kept = msgspec.json.decode((Path(bench.__file__).parent / "results" / "engine.json").read_bytes())
    assert {"date", "machine", "cohort", "mixes", "numpy_beside_python"} <= set(kept)
    assert all(set(mix["parts_us"]) == PARTS for mix in kept["mixes"].values())


def test_a_page_shows_every_mix_and_says_what_recordings_of_rhythm_cost(figures: dict[str, Any]) -> None:
    lines = bench.cost_table(figures).splitlines()
    assert all(name in lines[0] for name in (*figures["mixes"], bench.EVERYTHING))
    assert len({line.count("|") for line in lines}) == 1
    alone = figures["mixes"]["all but rhythm"]["us_per_reading"]["8"]["min"]
    assert ("heart rhythm" not in figures["mixes"]) or bench.everything(figures, "8") > alone
    assert len(bench.vectors_table(figures).splitlines()) == 2 + 2 * len(figures["numpy_beside_python"])
