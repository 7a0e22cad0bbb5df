"""Pictures of the dashboards for the documentation: the made-up ward, drawn by the preview, taken by Chromium.

    python tests/alerts/served/dashboard_pictures.py [FOLDER]     (default: docs/images)

Starts a database of its own, fills it with the ward of the panels' tests and asks every query as Grafana would. What
Prometheus would answer are the figures that promtool computes of the tests' recorded series; those rise evenly, so
their curves are level.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from dashboards_fixture import NOW, PRESSURE, add_to_ward, as_grafana, grant
from made_up_ward import NOW_MS, fill
from panel_series import EXPECTED

from alerts.dashboards import boards
from alerts.dashboards.macros import expand
from alerts.dashboards.parts import Board, Panel, Prom, Sql
from alerts.dashboards.preview import Answer, page
from alerts.schema import apply_schema
from scad.services import Postgres, chromium_program

DAYS = {
    "patient": 28,
    "care-team": 28,
    "protocol-quality": 28,
    "fleet": 7,
    "pipeline": 2 / 24,
    "footprint": 7,
}
CHOSEN: dict[str, str | Sequence[str]] = {
    "team": ("bayeux", "caen"),
    "protocol": ("arrhythmia", "diabetes", "heart-failure", "hypertension"),
    "patient": PRESSURE,
    "kind": "blood-pressure",
}
COLORS = 128  # of a picture: text and lines need no more, and the file is a third
WIDTH = 1420
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def legends(board: str, panel: Panel, begin: datetime, end: datetime) -> Iterator[tuple[str, Answer]]:
    """What Prometheus would answer to each query of a panel, by its letter."""
    for query in panel.queries:
        if isinstance(query, Prom):
            curves = {}
            for labels, value in EXPECTED[f"{board}: {panel.title}/{query.ref}"].items():
                name = query.legend
                for pair in filter(None, labels.strip("{}").split(", ")):
                    label, _, said = pair.partition("=")
                    name = name.replace(f"{{{{{label}}}}}", said.strip('"'))
                curves[name] = [(at.timestamp(), value) for at in (begin, end)]
            yield query.ref, Answer(curves=curves)


def answers(
    conn: psycopg.Connection[Any], name: str, board: Board, begin: datetime, end: datetime
) -> dict[tuple[str, str], Answer]:
    """Every query's answer: of the real database as the role `grafana`, of Prometheus from the recorded series."""
    found: dict[tuple[str, str], Answer] = {}

    def ask(sql: str) -> Answer:
        first, last = (round(at.timestamp() * 1000) for at in (begin, end))
        cursor = conn.execute(expand(sql, first, last, CHOSEN))
        return Answer([column.name for column in cursor.description or ()], cursor.fetchall())

    for marks in board.annotations:
        found[marks.name, ""] = ask(marks.sql)
    for panel in board.panels:
        found |= {(panel.title, ref): answer for ref, answer in legends(name, panel, begin, end)}
        found |= {(panel.title, q.ref): ask(q.sql) for q in panel.queries if isinstance(q, Sql)}
    return found


def pages() -> Iterator[tuple[str, str]]:
    """The dashboards' names and their pages."""
    with tempfile.TemporaryDirectory(prefix="scad-pictures-") as place:
        Path(place).chmod(0o711)  # PostgreSQL runs as nobody
        with Postgres(Path(place) / "postgres") as server:
            with psycopg.connect(server.dsn, autocommit=True) as owner:
                apply_schema(owner)
                fill(owner, NOW_MS)
                add_to_ward(owner)
                grant(server, "scad", owner)
            with as_grafana(server, "scad") as reader:
                for name, board in boards().items():
                    begin = NOW - timedelta(days=DAYS[name])
                    chosen = f"Patient {PRESSURE}, blood pressure." if name == "patient" else ""
                    found = answers(reader, name, board, begin, NOW)
                    yield name, page(board.build(), found, begin, NOW, chosen)


def main() -> None:
    from PIL import Image
    from playwright.sync_api import sync_playwright

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[3] / "docs" / "images"
    drawn = dict(pages())
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as work:
        browser = playwright.chromium.launch(executable_path=str(chromium_program()), args=ARGUMENTS)
        view = browser.new_page(viewport={"width": WIDTH, "height": 800})
        for name, text in drawn.items():
            view.set_content(text)
            view.screenshot(path=f"{work}/{name}.png", full_page=True)
            target = folder / f"dashboard-{name}.png"
            with Image.open(f"{work}/{name}.png") as picture:
                picture.convert("RGB").quantize(COLORS).save(target, optimize=True)
            print(target, target.stat().st_size)
        browser.close()


if __name__ == "__main__":
    main()
