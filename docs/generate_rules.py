"""Writes the pages of docs/protocols: one for each rule, with a curve that the real engine made.

python docs/generate_rules.py           write
python docs/generate_rules.py --check   only compare; exit status 1 and a difference when something is stale
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))  # the folder is no package: its modules are for this program alone

from rule_pages.book import pages  # noqa: E402 - after the path

PROTOCOLS = DOCS / "protocols"


def wanted() -> dict[Path, str]:
    """Every file of docs/protocols with its text."""
    return {PROTOCOLS / name: text for name, text in pages().items()}


def main(arguments: list[str]) -> int:
    files = wanted()
    present = {path for path in PROTOCOLS.rglob("*") if path.suffix in (".md", ".svg")}
    left_over = sorted(present - set(files))
    checking = arguments == ["--check"]
    stale = len(left_over)
    for path, text in files.items():
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if before == text:
            continue
        stale += 1
        if checking:
            lines = difflib.unified_diff(before.splitlines(True), text.splitlines(True), str(path))
            sys.stdout.writelines(lines)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in left_over:
        sys.stdout.write(f"{path} belongs to no rule\n")
        if not checking:
            path.unlink()
    return int(checking and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
