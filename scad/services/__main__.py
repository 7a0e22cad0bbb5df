"""`python -m scad.services fetch --for demo|test`: set up local services in the folder `.scad`."""

from __future__ import annotations

import argparse
import os
import sys

from rich.console import Console

from scad.services.fetch import fetch
from scad.services.places import services_dir


def main() -> int:
    """0 when every needed service is there, 1 otherwise, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m scad.services", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("fetch", help="fetch what is absent; what is there is left alone")
    command.add_argument("--for", dest="purpose", choices=("demo", "test"), default="demo")
    purpose = parser.parse_args().purpose
    console = Console(highlight=False, soft_wrap=True, stderr=True)
    require_all = os.environ.get("SCAD_REQUIRE_SERVICES") == "1"
    try:
        outcomes = fetch(purpose, lambda line: console.print(f"  {line}", markup=False), require_all)
    except KeyboardInterrupt:
        console.print("interrupted; run the same again and it goes on")
        return 130
    for outcome in outcomes:
        if outcome.problem is not None:
            console.print(f"{outcome.name} is missing: {outcome.problem}", markup=False)
    there = [outcome.name for outcome in outcomes if outcome.problem is None]
    console.print(f"services in {services_dir()}: {', '.join(there) or 'none'}", markup=False)
    return 1 if any(outcome.needed and outcome.problem for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
