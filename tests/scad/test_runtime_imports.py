"""What runs on the operator's machines imports nothing that only the tests' dependencies bring."""

from __future__ import annotations

import subprocess
import sys

import pytest

PARTS = ("alerts.feed.server", "scad.main", "streams.worker", "streams.bridge", "alerts.escalation.process")


@pytest.mark.parametrize("part", PARTS)
def test_a_process_starts_where_the_tests_packages_are_not_installed(part: str) -> None:
    code = (
        "import sys\n"
        "for name in ('grafana_foundation_sdk', 'pytest', 'hypothesis', 'playwright'):\n"
        "    sys.modules[name] = None\n"
        f"import {part}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
