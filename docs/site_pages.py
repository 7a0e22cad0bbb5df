"""What mkdocs.yml cannot say: a page for each rule, and pages that were added and not named there yet.

Called by MkDocs (`hooks`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
MORE = "More"
NO_NOTICE = "NO_MKDOCS_2_WARNING"
"""The theme prints an advertisement about MkDocs 2 unless this is set; it is no warning about our pages."""

os.environ.setdefault(NO_NOTICE, "true")


def on_config(config: Any) -> Any:
    """Fill *Protocols*, and put pages that nobody named under *More*, so that none is out of reach."""
    named = set(_named(config.nav))
    for entry in config.nav:
        if "Protocols" in entry:
            entry["Protocols"] = _protocols()
    others = [page.name for page in sorted(DOCS.glob("*.md")) if page.name not in named]
    if others:
        config.nav.append({MORE: others})
    return config


def _protocols() -> list[Any]:
    folder = DOCS / "protocols"
    pages: list[Any] = ["protocols/index.md"]
    pages += [f"protocols/{page.name}" for page in sorted(folder.glob("*.md")) if page.name != "index.md"]
    for protocol in sorted(path for path in folder.iterdir() if path.is_dir()):
        inside = sorted(protocol.glob("*.md"), key=lambda page: (page.name != "index.md", page.name))
        pages.append({_title(inside[0]): [str(page.relative_to(DOCS)) for page in inside]})
    return pages


def _title(page: Path) -> str:
    found = re.search(r"^# (.*)$", page.read_text(), re.MULTILINE)
    return found[1] if found else page.stem


def _named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [name for part in parts for name in _named(part)]
