"""Grafana's dashboards, written in Python: one module each.

`python -m alerts.dashboards` writes the JSON that Grafana loads. Nothing here is needed to run the platform: the
package grafana-foundation-sdk belongs to the tests' dependencies.
"""

from __future__ import annotations

import json

from alerts.dashboards import care_team, fleet, footprint, patient, pipeline, protocol_quality
from alerts.dashboards.parts import Board

PAGE_URL = "http://127.0.0.1:8080/"
"""Where compose.yaml shows the page; `--page-url` names another."""


def boards(page_url: str = PAGE_URL) -> dict[str, Board]:
    """Every dashboard by the name of its file. `page_url` ends with a slash."""
    if not page_url.startswith(("http://", "https://")) or not page_url.endswith("/"):
        raise ValueError(f"{page_url!r} is no address of the page: give it as https://scad.example.org/")
    return {
        "patient": patient.board(page_url),
        "care-team": care_team.board(page_url),
        "protocol-quality": protocol_quality.board(page_url),
        "fleet": fleet.board(),
        "pipeline": pipeline.board(),
        "footprint": footprint.board(),
    }


def rendered(page_url: str = PAGE_URL) -> dict[str, str]:
    """File names and their text."""
    return {
        f"{name}.json": json.dumps(board.build(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, board in boards(page_url).items()
    }
