"""Every rule has its page, made from the protocol file, with a curve in which the real engine raises the alert."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
import typer

import scad
from scad.main import build_app
from streams.plans import CarePlan, PlanVersion
from streams.protocols import LEVEL_FIELDS, RULE_FIELDS, load_published, parse
from streams.rolling import STATISTICS
from streams.timeline import check_plan

ROOT = Path(scad.__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import generate_rules  # noqa: E402 - docs is no package
from rule_pages import book  # noqa: E402
from rule_pages.page import MARKS, texts  # noqa: E402
from rule_pages.words import prose  # noqa: E402

FOLDER = DOCS / "protocols"
LIBRARY = load_published()
RULES = {f"{p.name}/{rule.name}": rule for p in LIBRARY.protocols.values() for rule in p.rules}
PAGES = sorted(FOLDER.rglob("*.md"))

each_rule = pytest.mark.parametrize("key", RULES)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(FOLDER)))


@pytest.fixture(scope="module")
def ran():
    return book.outcomes(LIBRARY)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_pages_are_what_protocols_prose_and_engine_say_today():
    wanted = generate_rules.wanted()
    stale = [path.name for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    assert not stale, "run: python docs/generate_rules.py"
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == set(wanted)


@each_rule
def test_a_rule_has_a_page_and_a_curve(key):
    page = (FOLDER / f"{key}.md").read_text()
    rule = RULES[key]
    for language in ("fr", "en"):
        assert rule.sentence[language] in page
    assert rule.source in page
    assert f"]({rule.name}.svg)" in page
    for name in rule.limit_names():
        assert f"`{name}`" in page
    picture = ET.fromstring((FOLDER / f"{key}.svg").read_text())  # noqa: S314 - our own file
    words = ["".join(text.itertext()) for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert any(word.startswith("raised") for word in words)
    assert "cleared" in words


@each_rule
def test_the_example_raises_and_clears_the_rule(ran, key):
    signals = ran[key].signals
    assert signals[0].state == "raised"
    assert signals[-1].state == "cleared"
    assert all(signal.reason is msgspec.UNSET for signal in signals)
    assert {(signal.protocol, signal.rule) for signal in signals} == {tuple(key.split("/"))}


@each_rule
def test_no_example_mixes_technical_and_clinical_alerts(ran, key):
    protocol = key.split("/")[0]
    raised = {RULES[f"{protocol}/{name}"].cls for name in ran[key].others} | {RULES[key].cls}
    assert len(raised) == 1


@each_rule
def test_the_prose_of_a_rule_says_what_why_and_what_not_with_marked_evidence(key):
    words = texts(RULES[key])
    for part in ("watches", "why", "blind"):
        assert words[part].strip()
    assert words["evidence"]
    for row in words["evidence"]:
        figure, mark, where = row
        assert figure
        assert where
        assert mark in MARKS


@each_rule
def test_the_care_plan_that_is_shown_is_accepted(key):
    found = LIBRARY.rule(*key.split("/"))
    if found is not None and found.statistic is not None and not found.limit_names():
        assert blocks((FOLDER / f"{key}.md").read_text(), "json") == []
        return
    (shown,) = blocks((FOLDER / f"{key}.md").read_text(), "json")
    version = msgspec.convert({"version": 1, **json.loads(shown)}, PlanVersion)
    check_plan(LIBRARY, CarePlan(patient="example", versions=(version,)))


def test_prose_belongs_to_a_rule():
    for protocol in LIBRARY.protocols.values():
        assert set(prose(protocol.name)["rules"]) <= {rule.name for rule in protocol.rules}


def test_the_example_of_a_whole_file_is_a_protocol():
    (example,) = blocks((FOLDER / "writing.md").read_text(), "toml")
    assert [rule.name for rule in parse(example, "fever.toml").rules] == ["fever", "no-reading"]


def test_every_field_and_every_statistic_is_described():
    page = (FOLDER / "writing.md").read_text()
    described = set(re.findall(r"`([\w.-]+)`", page))
    assert described >= RULE_FIELDS | LEVEL_FIELDS
    assert set(re.findall(r"^### (.*)$", page, re.MULTILINE)) == set(STATISTICS)
    assert set(prose("statistics")) == {*STATISTICS, "silence"}


def test_every_fact_that_is_asked_for_or_stated_is_described(ran):
    page = (FOLDER / "writing.md").read_text()
    described = {
        fact for line in re.findall(r"^Facts for .*?\.$|^Facts for [^.]*\.", page, re.MULTILINE)
        for fact in re.findall(r"`([\w?-]+)`", line)
    }  # fmt: skip
    asked = {fact for rule in RULES.values() for level in rule.levels for fact in level.when | level.unless}
    stated = {
        fact.removesuffix("?")
        for outcome in ran.values()
        for point in outcome.points
        for fact in point.measure.facts
    }
    assert asked | stated <= described


@each_page
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {title.lower().replace(" ", "-") for title in headings}, target


@each_page
def test_every_command_that_is_shown_exists_with_its_options(page):
    application = typer.main.get_command(build_app())
    text = page.read_text()
    lines = [line for block in blocks(text, "sh") for line in block.splitlines() if line.startswith("scad ")]
    lines += re.findall(r"`(scad [a-z][^`]*)`", text)
    for line in lines:
        name, *rest = line.split()[1:]
        known = {option for parameter in application.commands[name].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, line


def test_nothing_is_called_validated():
    for page in PAGES:
        words = re.sub(r"^```toml\n.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for sentence in re.findall(r"[^.\n]*\bvalidated\b[^.\n]*", words):
            assert re.search(r"\b(not|nothing)\b", sentence, re.IGNORECASE), f"{page.name}: {sentence}"
