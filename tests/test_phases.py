"""Every test runs in one phase of `make test` and in no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import phases
import pytest
from phases import Counts

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("path", "fixtures", "live"),
    [
        ("streams/test_glucose.py", {"tmp_path", "monkeypatch"}, False),
        ("alerts/test_schema.py", {"tmp_path", "store", "postgres"}, False),
        ("test_compose.py", {"docker_compose"}, False),
        ("streams/test_writer.py", {"postgres", "fresh_kafka", "kafka"}, True),
        ("alerts/test_page.py", {"chromium"}, True),
        ("ops/test_upgrade_live.py", set(), True),
        ("path/test_of_a_newcomer.py", set(), True),
    ],
)
def test_what_a_test_asks_for_and_where_it_lies_decide_its_phase(path: str, fixtures: set[str], live: bool):
    assert phases.live_module(Path(path), fixtures) is live


@pytest.mark.parametrize(
    ("parallel", "serial", "says"),
    [
        (Counts(10, 7, 7, True), Counts(10, 3, 3, True), None),
        (Counts(10, 0, 0, True), Counts(10, 10, 10, True), None),
        (Counts(10, 7, 6, True), Counts(10, 3, 3, True), "the first phase has 7 tests and 6 ran"),
        (Counts(10, 7, 7, True), Counts(10, 3, 2, True), "the second phase has 3 tests and 2 ran"),
        (Counts(10, 7, 7, True), Counts(10, 2, 2, True), "10 tests were asked for, 7 and 2 are in a phase"),
        (Counts(11, 7, 7, True), Counts(10, 3, 3, True), "different tests: 11 and 10"),
        (Counts(10, 7, 1, False), Counts(10, 3, 3, True), None),
    ],
)
def test_phases_that_lose_a_test_are_found_out(parallel: Counts, serial: Counts, says: str | None):
    fault = phases.fault_of(parallel, serial)
    assert fault is None if says is None else says in str(fault)


FOLDER_CONFTEST = """
import phases
import pytest
from pathlib import Path

def pytest_addoption(parser):
    parser.addoption(phases.OPTION)

def pytest_configure(config):
    if config.getoption(phases.OPTION):
        config.pluginmanager.register(phases.Phase(config))

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    phases.mark(items, Path(__file__).parent)

@pytest.fixture
def kafka():
    return 4
"""
FOLDER_TESTS = """
import os

def test_pure():
    assert "PYTEST_XDIST_WORKER" in os.environ
"""
FOLDER_LIVE_TESTS = """
import os

def test_served(kafka):
    assert "PYTEST_XDIST_WORKER" not in os.environ

def test_beside_one_that_is_served():
    assert "PYTEST_XDIST_WORKER" not in os.environ

def test_wrong(kafka):
    assert {wrong}
"""


BARE = {
    **{"PATH": "/usr/bin:/bin", "PYTHONPATH": str(HERE), "PYTEST_XDIST_AUTO_NUM_WORKERS": "1"},
    **{"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"},  # seconds less
}


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(HERE / "phases.py"), "--rootdir", str(folder), str(folder), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=BARE,
    )
    return done.returncode, done.stdout + done.stderr


def test_both_phases_run_and_the_failure_of_one_fails_the_command(tmp_path: Path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n services: one\n live: two\n browser: three\n")
    (tmp_path / "conftest.py").write_text(FOLDER_CONFTEST)
    (tmp_path / "test_pure.py").write_text(FOLDER_TESTS)
    (tmp_path / "test_served.py").write_text(FOLDER_LIVE_TESTS.format(wrong=True))
    status, said = run(tmp_path, "-q")
    assert (status, "1 tests side by side, 3 one after the other: 4 in all" in said) == (0, True), said
    (tmp_path / "test_served.py").write_text(FOLDER_LIVE_TESTS.format(wrong=False))
    status, said = run(tmp_path, "-q", "-k", "wrong")
    assert (status, "1 failed" in said) == (1, True), said
