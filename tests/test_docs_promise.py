"""docs/promise.md: the table of Faust's faults is whole, and every test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/promise.md").read_text(encoding="utf-8")
NOTES = ROOT.parent / "shared" / "reference" / "faust.md"
NO_FAULTS = {655, 706, 714, 1023}
"""Numbers in the notes that are no faults: Kafka 4.0 tried, tests that run against it, wishes."""


def faults() -> list[list[str]]:
    section = PAGE.partition("## Faust's known faults")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    return [row.split(" | ") for row in rows if not row.startswith(("fault ", "---"))]


def test_every_fault_has_a_cure_and_tests_that_exist() -> None:
    known = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    table = faults()
    assert len(table) > 20
    for fault, cure, tests in table:
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, fault
        assert cure, fault
        assert set(named) <= known, set(named) - known


def test_every_fault_of_the_notes_is_in_the_table() -> None:
    if not NOTES.is_file():
        pytest.skip(f"{NOTES.name} is not beside the checkout")
    text = NOTES.read_text(encoding="utf-8")
    numbers = {int(number) for number in re.findall(r"(?:issues/|pull/|#)(\d{2,4})\b", text)}
    told = {int(number) for fault, *_ in faults() for number in re.findall(r"#(\d+)", fault)}
    assert numbers - told - NO_FAULTS == set()
