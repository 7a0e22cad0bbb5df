"""The hazard log names tests that exist, and says of every hazard what it must."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOG = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
HAZARDS = re.split(r"^## ", LOG, flags=re.MULTILINE)[1:]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", LOG)


@pytest.mark.parametrize("hazard", HAZARDS, ids=[hazard.partition(".")[0] for hazard in HAZARDS])
def test_a_hazard_says_harm_severity_causes_prevention_what_remains_and_its_tests(hazard: str):
    for word in ("Harm:", "Severity:", "Causes:", "Prevention:", "Remains:", "Tests:"):
        assert f"**{word}**" in hazard, word
    assert re.search(r"`tests/[\w/]+\.py::\w+`", hazard)


def test_hazards_are_numbered_in_turn():
    assert [hazard.partition(".")[0] for hazard in HAZARDS] == [f"H{n + 1}" for n in range(len(HAZARDS))]


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_that_is_named_exists(file: str):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert {name for of_file, name in NAMED if of_file == file} <= there
