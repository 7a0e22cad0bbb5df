"""Documentation and dashboards agree: pictures are of what the code draws, and a panel that a page names exists."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from alerts.dashboards import boards, rendered
from alerts.dashboards.parts import Prom

ROOT = Path(__file__).parents[2]
BOARDS = boards()
TITLES = {panel.title for board in BOARDS.values() for panel in board.panels}
CURVES = {q.legend for b in BOARDS.values() for p in b.panels for q in p.queries if isinstance(q, Prom)}

OVERRIDES = {
    *("unit", "color", "links", "mappings", "thresholds", "custom.axisPlacement", "custom.cellOptions"),
    *(
        "custom.drawStyle",
        "custom.fillBelowTo",
        "custom.fillOpacity",
        "custom.insertNulls",
        "custom.lineWidth",
    ),
    *("custom.showPoints", "custom.thresholdsStyle"),
}
"""Fields of Grafana's options that a panel overrides for one curve or column; others it ignores."""

NAMED = re.compile(r"[Dd]ashboard \*?(?:[A-Z]\w+)\*?, \*([^*]+)\*|panels? \*([^*]+)\*")
"""How a text names a panel or a curve of it: dashboard *Fleet*, *Battery*; panel *Waiting*."""


def named(text: str) -> list[str]:
    return [one or other for one, other in NAMED.findall(" ".join(text.split()))]


def test_the_pictures_are_of_the_dashboards_as_they_are():
    kept = json.loads((ROOT / "docs/images/dashboard-pictures.json").read_text())
    now = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in rendered().items()}
    stale = sorted(name for name in now if kept.get(name) != now[name])
    assert not stale, f"{stale}: python tests/alerts/served/dashboard_pictures.py, and look at what it took"
    page = (ROOT / "docs/dashboards.md").read_text()
    shown = set(re.findall(r"images/(dashboard-[\w-]+\.png)", page))
    assert shown == {path.name for path in (ROOT / "docs/images").glob("dashboard-*.png")}
    assert {f"dashboard-{name}.png" for name in BOARDS} <= shown


def test_an_override_is_of_an_option_that_grafana_has():
    for name, text in rendered().items():
        for panel in json.loads(text)["panels"]:
            for override in panel.get("fieldConfig", {}).get("overrides", ()):
                ids = {entry["id"] for entry in override["properties"]}
                assert ids <= OVERRIDES, f"{name}: {panel['title']}"


@pytest.mark.parametrize("name", BOARDS)
def test_a_panel_that_another_panel_names_exists(name: str):
    for panel in BOARDS[name].panels:
        for title in named(f"{panel.says} {panel.red}"):
            assert title in TITLES, panel.title


def test_a_panel_that_a_page_names_exists():
    found = 0
    for path in sorted((ROOT / "docs").rglob("*.md")):
        for title in named(path.read_text()):
            assert title in TITLES | CURVES, f"{path.relative_to(ROOT)} names a panel {title!r}"
            found += 1
    assert found >= 4
