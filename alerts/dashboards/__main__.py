"""Write the dashboards' JSON: `python -m alerts.dashboards [--page-url URL] [FOLDER]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from alerts.dashboards import PAGE_URL, rendered

FOLDER = Path("deploy/grafana/dashboards")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m alerts.dashboards", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help=f"where to (default: {FOLDER})")
    parser.add_argument("--page-url", default=PAGE_URL, help=f"the clinicians' page (default: {PAGE_URL})")
    given = parser.parse_args()
    if not given.folder.is_dir():
        sys.exit(f"{given.folder} is no folder; run this in the checkout, or name a folder that is there")
    try:
        files = rendered(given.page_url)
    except ValueError as error:
        sys.exit(str(error))
    for name, text in files.items():
        (given.folder / name).write_text(text)
        print(given.folder / name)


if __name__ == "__main__":
    main()
