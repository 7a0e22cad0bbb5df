"""The documentation says what the program does: settings, topics, metrics, commands, paths and links."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import prometheus_client
import pytest
import typer
import yaml

import scad
from alerts.enrolment import parse_enrolment
from alerts.feed.metrics import FeedMetrics
from scad.main import build_app
from scad.settings import Settings, SettingsError, load_settings
from scad.settings_checks import NOT_OURS
from streams import metrics, topics, worker, writer
from streams.history import DENSE_HORIZON_MS, HORIZON_MS, SLACK_MS
from streams.kafka import SESSION_MS, SPECS
from streams.protocols import load_published
from streams.stored import FORMAT, READABLE

ROOT = Path(scad.__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
EVERY_PAGE = [
    page
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "prose" not in page.parts  # templates of generated pages, which are looked at themselves
]
OPERATION = (ROOT / "docs/operation.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
DAY_MS = 86_400_000
OF_THE_TESTS = NOT_OURS  # of `python -m scad.services`, for developers, and of deploy/make-secrets.sh

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
each_of_every_page = pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))


def rows(text: str, first: str) -> dict[str, list[str]]:
    """Rows of tables whose first cell is code that begins with `first`: that cell to the others."""
    found = re.findall(rf"^\| `({first}[^`]*)` \| (.*) \|$", text, re.MULTILINE)
    return {cell: [other.strip() for other in rest.split(" | ")] for cell, rest in found}


def test_the_table_of_settings_has_every_setting_with_its_default():
    table = rows(OPERATION, "SCAD_")
    assert set(table) == {f"SCAD_{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    for field in msgspec.structs.fields(Settings):
        default = msgspec.json.encode(field.default).decode().strip('"')
        shown, meaning = table[f"SCAD_{field.name.upper()}"]
        assert shown == (f"`{default}`" if default else "(empty)"), field.name
        assert meaning


def test_no_command_reads_a_variable_that_is_not_in_the_table():
    known = {f"SCAD_{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    for command in commands_below(typer.main.get_command(build_app())):
        for parameter in command.params:
            assert parameter.envvar is None, f"{command.name}: {parameter.envvar} belongs into scad.settings"
    for folder in ("alerts", "devices", "scad", "streams"):
        for path in (ROOT / folder).rglob("*.py"):
            named = {
                name.removesuffix("_FILE") for name in re.findall(r"\bSCAD_[A-Z_]+[A-Z]\b", path.read_text())
            }
            assert named <= known | OF_THE_TESTS, path


def commands_below(command):
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from commands_below(below)


def test_every_wrong_setting_is_named_at_once_whichever_process_needs_it():
    wrong = {"SCAD_SESSION_SECONDS": "1", "SCAD_PARTITIONS": "many", "SCAD_OTEL_SHARE": "2"}
    with pytest.raises(SettingsError) as refused:
        load_settings({**wrong, "SCAD_SYNTHETIC_PASSWORD_FILE": "/nowhere/at/all"})
    for name in (*wrong, "SCAD_SYNTHETIC_PASSWORD_FILE"):
        assert name in str(refused.value)


def test_the_table_of_topics_is_that_of_the_program():
    table = rows(OPERATION, "scad[.-]")
    kept = {}
    for spec in SPECS:
        days = int(spec.config.get("retention.ms", 0)) // DAY_MS
        kept[spec.name] = f"{days} day{'s' * (days > 1)}" if days else "compacted"
    assert {name: cells[1] for name, cells in table.items() if len(cells) == 2 and name in kept} == kept
    for name in topics.ALL:
        assert f"`{name}`" in OPERATION


def test_every_metric_that_is_named_exists():
    known = {
        sample
        for registry in (prometheus_client.REGISTRY, FeedMetrics().registry)
        for metric in registry.collect()
        for sample in (metric.name, f"{metric.name}_total")
    }
    assert {metrics.READINGS._name, writer.LAG_SECONDS._name} <= known
    named = set(re.findall(r"`(scad_\w+)`", OPERATION + ARCHITECTURE))
    assert named
    assert named <= known


def test_the_enrolment_that_is_shown_is_accepted():
    example, away = (block for language, block in code_blocks(OPERATION) if language == "json")
    (absent,) = parse_enrolment(away.encode(), "ward.json", load_published()).patients
    assert [absence.kind for absence in absent.absences] == ["hospital"]
    enrolment = parse_enrolment(example.encode(), "ward.json", load_published())
    assert [team.care_team for team in enrolment.care_teams] == ["caen"]
    (patient,) = enrolment.patients
    assert patient.care_plan.protocols == ("heart-failure", "hypertension")


def test_every_protocol_is_named():
    for path in (ROOT / "streams/protocols").glob("*.toml"):
        assert f"`{path.stem}`" in OPERATION


def test_the_figures_are_those_of_the_program():
    assert f"({HORIZON_MS // DAY_MS} days; {DENSE_HORIZON_MS // DAY_MS} for continuous" in ARCHITECTURE
    assert SLACK_MS == 7 * DAY_MS  # "and a week more"
    assert Settings().session_seconds == SESSION_MS / 1000  # bridges and writers leave their groups as late
    assert f"replaced by the others after {SESSION_MS // 1000} seconds" in OPERATION
    assert (worker.STUCK_SECONDS, worker.DEAD_SECONDS) == (120, 600)  # 2 and 10 minutes
    assert Settings().tick_seconds == 15  # "every 15 s"


def test_the_page_on_upgrades_names_the_state_formats_of_the_program():
    readable = " and ".join(str(number) for number in READABLE)
    page = (ROOT / "docs/capacity.md").read_text()
    assert f"**This release writes format {FORMAT}, and reads {readable}.**" in page


OURS = re.compile(
    r"^(?:\(.*; )?(?:setpriv (?:--\S+ )+)?"
    r"(?:scad|(?:\.venv|/opt/scad)/bin/scad|docker compose run (?:--?\S+ (?:\"[^\"]*\" )?)*scad) (?=[a-z])"
)
"""How a command of ours begins in a shell: as it is installed, in a checkout, in a container, as another user."""


def test_a_command_is_recognised_however_it_is_started():
    for start in (
        "scad",
        ".venv/bin/scad",
        "docker compose run --rm scad",
        'docker compose run --rm --user "$(id -u)" scad',
        "(set -a; . /etc/scad/backup.env; setpriv --reuid=postgres --init-groups scad",
    ):
        assert OURS.sub("scad ", f"{start} check --json") == "scad check --json"


@each_of_every_page
def test_every_command_that_is_shown_exists_with_its_options(page):
    application = typer.main.get_command(build_app())
    text = page.read_text()
    lines = [
        OURS.sub("scad ", line.strip()).rstrip(")")
        for language, block in code_blocks(text)
        if language == "sh"
        for line in block.splitlines()
        if OURS.match(line.strip())
    ]
    if page.name != "CHANGELOG.md":  # it names several commands of a group in one breath
        lines += re.findall(r"`(scad [a-z][^`]*)`", text)
    for line in lines:
        words = re.split(r"#|[|>&;]", line)[0].split()[1:]
        command = application
        while hasattr(command, "commands") and words:  # a group alone shows its help
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


@each_of_every_page
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        assert not anchor or anchor in headings(other), target


def headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@each_page
def test_every_path_that_is_named_exists(page):
    named = re.findall(r"`((?:deploy|scad|streams|devices|alerts|tests|docs)/[\w./-]*)`", page.read_text())
    for path in named:
        drawn = path.startswith("deploy/secrets")  # by deploy/make-secrets.sh
        assert drawn or (ROOT / path).exists(), path


def shell(block: str) -> None:
    done = subprocess.run(["/bin/sh", "-n"], input=block, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)


READ: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "python": lambda block: compile(block, "block", "exec"),
    "sh": shell,
    "toml": tomllib.loads,
    "yaml": lambda block: list(yaml.safe_load_all(block)),
}
SHOWN = {"", "mermaid", "sql", "text"}  # for people's eyes; SQL is run where a page says so


def code_blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of every fenced block, also of those that are indented in a list."""
    found = re.findall(r"^ *(?:[0-9]+\. |- )?```([^\n`]*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [(language.strip(), textwrap.dedent(block)) for language, block in found]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_code_block_is_what_it_says_it_is(page):
    text = page.read_text()
    found = code_blocks(text)
    assert 2 * len(found) == text.count("```")  # none is left open
    for language, block in found:
        assert language in READ.keys() | SHOWN, f"{language}: {block}"
        if language in READ:
            try:
                READ[language](block)
            except (ValueError, SyntaxError, yaml.YAMLError) as fault:
                pytest.fail(f"{language}: {fault}\n{block}", pytrace=False)


@pytest.mark.parametrize(
    ("language", "block"),
    [("json", "{,}"), ("python", "if"), ("sh", "if true"), ("toml", "a ="), ("yaml", "a: [")],
)
def test_a_block_that_is_not_what_it_says_is_noticed(language, block):
    ((said, content),) = code_blocks(f"- in a list:\n\n  ```{language}\n  {block}\n  ```\n")
    assert (said, content) == (language, f"{block}\n")
    with pytest.raises((ValueError, SyntaxError, yaml.YAMLError)):
        READ[language](content)


def test_the_scripts_can_be_run():
    for name in ("make-secrets.sh", "database-init.sh", "revoke.sh"):
        path = ROOT / "deploy" / name
        assert os.access(path, os.X_OK)
        assert path.read_text().startswith("#!/bin/sh\n")


def test_the_licence_is_the_one_that_the_package_names():
    assert (ROOT / "LICENSE").read_text().startswith("EUROPEAN UNION PUBLIC LICENCE v. 1.2\n")
    assert '"EUPL-1.2"' in (ROOT / "pyproject.toml").read_text()
