"""Pictures of the dashboards for the documentation: the made-up ward, drawn by the preview, taken by Chromium.

    python tests/alerts/served/dashboard_pictures.py [FOLDER]     (default: docs/images)

Starts a database of its own, fills it with the ward of the panels' tests and asks every query as Grafana would. What
Prometheus would answer at the end of the range are the figures that promtool computes of the tests' recorded series;
the time before is made up, because a series that rises evenly has a level rate. Beside the pictures stays the hash of
the dashboards of which they are (dashboard-pictures.json), so that a test can say which are stale.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from math import pi, sin
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from dashboards_fixture import LATE, NOW, PRESSURE, add_to_ward, as_grafana, grant
from made_up_ward import NOW_MS, fill
from panel_series import EXPECTED

from alerts.dashboards import boards, rendered
from alerts.dashboards.drawing import Point
from alerts.dashboards.macros import expand
from alerts.dashboards.parts import Board, Panel, Prom, Sql
from alerts.dashboards.preview import Answer, Answers, page
from alerts.schema import apply_schema
from scad.services import Postgres, chromium_program

DAYS = {
    "patient": 28,
    "patient-weight": 28,
    "care-team": 28,
    "protocol-quality": 28,
    "fleet": 7,
    "pipeline": 2 / 24,
    "footprint": 7,
}
CHOSEN: dict[str, str | Sequence[str]] = {
    "team": ("bayeux", "caen"),
    "protocol": ("anticoagulation", "arrhythmia", "diabetes", "heart-failure", "hypertension"),
    "patient": PRESSURE,
    "kind": "blood-pressure",
}
ANOTHER = {"patient-weight": {**CHOSEN, "patient": LATE, "kind": "body-weight"}}
"""A second picture of the patient's dashboard: days missing, readings that came late, a dry weight."""
COLORS = 128  # of a picture: text and lines need no more, and the file is a third
WIDTH = 1420
POINTS = 60
FEW = 5
STATE = "dashboard-pictures.json"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def past(value: float, unit: str, begin: datetime, end: datetime, turn: int) -> list[Point]:
    """Rises, falls, and ends at the value; what is counted stays whole, and few stay as they are. `turn` sets curves
    apart."""
    if unit == "short" and value < FEW:
        return [(at.timestamp(), value) for at in (begin, end)]
    points: list[Point] = []
    for n in range(POINTS + 1):
        left = 1 - n / POINTS
        there = value * (
            1 - 0.45 * sin(pi * left * (1 + turn % 3)) ** 2 + 0.12 * left * sin(40 * left + turn)
        )
        points.append((begin.timestamp() + (end - begin).total_seconds() * n / POINTS, there))
    return [(at, float(round(v))) for at, v in points] if unit == "short" else points


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
                curves[name] = past(
                    value, panel.units.get(name, panel.unit), begin, end, len(curves) + panel.title.count("e")
                )
            yield query.ref, Answer(curves=curves)


def answers(
    conn: psycopg.Connection[Any],
    name: str,
    board: Board,
    begin: datetime,
    end: datetime,
    chosen: dict[str, str | Sequence[str]],
) -> dict[tuple[str, str], Answer]:
    """Every query's answer: of the real database as the role `grafana`, of Prometheus from the recorded series."""
    found: dict[tuple[str, str], Answer] = {}

    def ask(sql: str) -> Answer:
        first, last = (round(at.timestamp() * 1000) for at in (begin, end))
        cursor = conn.execute(expand(sql, first, last, chosen))
        return Answer([column.name for column in cursor.description or ()], cursor.fetchall())

    for marks in board.annotations:
        found[marks.name, ""] = ask(marks.sql)
    for panel in board.panels:
        found |= {(panel.title, ref): answer for ref, answer in legends(name, panel, begin, end)}
        found |= {(panel.title, q.ref): ask(q.sql) for q in panel.queries if isinstance(q, Sql)}
    return found


def hashes() -> dict[str, str]:
    """Of each dashboard's JSON, as Grafana loads it."""
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in rendered().items()}


def drawn(conn: psycopg.Connection[Any]) -> Iterator[tuple[str, Board, Answers, str]]:
    """Names of the pictures, their dashboards, what the queries answered, and the pages."""
    known = boards()
    for name, days in DAYS.items():
        begin, chosen = NOW - timedelta(days=days), ANOTHER.get(name, CHOSEN)
        of = "patient" if name in ANOTHER else name
        found = answers(conn, of, known[of], begin, NOW, chosen)
        says = f"Patient {chosen['patient']}, {chosen['kind']}." if of == "patient" else ""
        yield name, known[of], found, page(known[of].build(), found, begin, NOW, says)


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
                yield from ((name, text) for name, _, _, text in drawn(reader))


def main() -> None:
    from PIL import Image
    from playwright.sync_api import sync_playwright

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[3] / "docs" / "images"
    taken = dict(pages())
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as work:
        browser = playwright.chromium.launch(executable_path=str(chromium_program()), args=ARGUMENTS)
        view = browser.new_page(viewport={"width": WIDTH, "height": 800})
        for name, text in taken.items():
            view.set_content(text)
            view.screenshot(path=f"{work}/{name}.png", full_page=True)
            target = folder / f"dashboard-{name}.png"
            with Image.open(f"{work}/{name}.png") as picture:
                picture.convert("RGB").quantize(COLORS).save(target, optimize=True)
            print(target, target.stat().st_size)
        browser.close()
    (folder / STATE).write_text(json.dumps(hashes(), indent=2) + "\n")


if __name__ == "__main__":
    main()
