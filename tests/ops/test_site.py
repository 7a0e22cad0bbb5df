"""The documentation as a site: every page is in it, and building it warns of nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import scad

ROOT = Path(scad.__file__).resolve().parents[1]


def test_the_site_is_built_without_a_warning_and_has_every_page(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "true"},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARNING" not in said
    pages = [page for page in (ROOT / "docs").rglob("*.md") if "rule_pages" not in page.parts]
    assert len(pages) > 50
    for page in pages:
        name = page.relative_to(ROOT / "docs").with_suffix("")
        folder = name.parent if name.name == "index" else name
        assert (tmp_path / folder / "index.html").is_file(), page
