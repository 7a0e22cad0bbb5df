"""What holds for every dashboard: the committed files are the code's, and a panel explains itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.dashboards import boards, rendered
from alerts.dashboards.parts import Panel, Prom, Sql
from alerts.drawn_limits import drawn_limits

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/grafana/dashboards"
BOARDS = boards()
MODELS: dict[str, Any] = {name: json.loads(text) for name, text in rendered().items()}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board.panels]
EACH_PANEL = pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=[f"{name}: {panel.title}" for name, panel in PANELS]
)

UNITS = {
    "none",
    "short",
    "s",
    "d",
    "percent",
    "percentunit",
    "reqps",
    "bytes",
    "decbytes",
    "masskg",
    "dateTimeAsLocal",
}


def test_the_committed_files_are_those_that_the_code_writes():
    committed = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert committed == rendered(), "run `python -m alerts.dashboards` and commit what it writes"


def test_the_command_writes_the_same_files_with_another_address_of_the_page(tmp_path):
    command = [
        sys.executable,
        "-m",
        "alerts.dashboards",
        "--page-url",
        "https://scad.example.org/",
        str(tmp_path),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    expected = {
        name: text.replace("http://127.0.0.1:8080/", "https://scad.example.org/")
        for name, text in rendered().items()
    }
    assert written == expected


@pytest.mark.parametrize("url", ["scad.example.org", "https://scad.example.org", "ftp://scad.example.org/"])
def test_an_address_that_cannot_be_linked_to_is_refused_with_the_remedy(url):
    with pytest.raises(ValueError, match="give it as https://"):
        boards(url)


@EACH_PANEL
def test_a_panel_has_a_unit_a_description_and_says_what_to_do_when_it_is_red(board: str, panel: Panel):
    assert panel.unit in UNITS
    assert set(panel.units.values()) <= UNITS
    (model,) = (
        m for m in MODELS[f"{board}.json"]["panels"] if m["title"] == panel.title and m["type"] != "row"
    )
    assert model["fieldConfig"]["defaults"]["unit"] == panel.unit
    says, _, red = model["description"].partition("\n\n**When it is red:** ")
    assert len(says) > 20
    assert len(red) > 20
    colors = {step["color"] for step in model["fieldConfig"]["defaults"]["thresholds"]["steps"]}
    assert "red" in colors or colors == {"blue"}
    mapped = re.search(r'"color": "red"', json.dumps(model["fieldConfig"]["overrides"]))
    assert ("nothing here turns red" in red) == (
        colors == {"blue"} and not (mapped and panel.kind == "table")
    )


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    for model in MODELS.values():
        panels = [panel for panel in model["panels"] if panel["type"] != "row"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells: set[tuple[int, int]] = set()
        for panel in model["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            covered = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not covered & cells, f"{model['title']}: {panel['title']}"
            cells |= covered


def test_every_query_asks_a_data_source_that_is_provisioned():
    config = yaml.safe_load((ROOT / "deploy/grafana/datasources.yaml").read_text())
    known = {(source["type"], source["uid"]) for source in config["datasources"]}
    for name, model in MODELS.items():
        for panel in model["panels"]:
            for target in panel.get("targets", ()):
                source = target["datasource"]
                assert (source["type"], source["uid"]) in known, f"{name}: {panel['title']}"


def test_grafana_is_given_the_folder_of_the_dashboards():
    provider = yaml.safe_load((ROOT / "deploy/grafana/dashboards.yaml").read_text())["providers"][0]
    volumes = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    mounts = dict(volume.split(":")[1::-1] for volume in volumes)
    assert mounts[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert mounts["/etc/grafana/provisioning/dashboards/scad.yaml"] == "./deploy/grafana/dashboards.yaml"


def test_links_lead_to_dashboards_and_variables_that_exist():
    by_uid = {board.uid: board for board in BOARDS.values()}
    found = 0
    for name, model in MODELS.items():
        for uid, variable in re.findall(r"/d/([\w-]+)\?var-(\w+)=", json.dumps(model)):
            names = {v.build().name for v in by_uid[uid].variables}
            assert variable in names, f"{name} links to {uid}"
            found += 1
    assert found >= 2
    assert "${page}patients/${patient}" in [link["url"] for link in MODELS["patient.json"]["links"]]


def test_every_variable_in_a_query_is_one_of_the_dashboard():
    for name, board in BOARDS.items():
        known = {v.build().name for v in board.variables}
        texts = [q.sql for p in board.panels for q in p.queries if isinstance(q, Sql)]
        texts += [marks.sql for marks in board.annotations] + [link for _, link in board.links]
        used = set(re.findall(r"\$\{(\w+)(?::sqlstring)?\}", " ".join(texts)))
        assert used <= known, name


def test_what_a_person_chooses_is_quoted_in_every_query():
    for _, panel in PANELS:
        for query in panel.queries:
            if isinstance(query, Sql):
                assert not re.search(r"\$\{\w+\}|\$(?!__|\{)", query.sql), panel.title


def test_limits_that_are_drawn_are_those_of_the_published_protocols():
    found = {(one.rule, one.label): one.level for one in drawn_limits()}
    assert found["bp-crisis", "bp-crisis systolic"] == 180.0
    assert found["glucose-low", "glucose-low capillary"] == 70.0
    assert found["spo2-low", "spo2-low low"] == 92.0
    assert {one.kind for one in drawn_limits()} == {
        *("blood-pressure", "body-weight", "glucose", "heart-rate", "oxygen-saturation", "temperature", "inr")
    }


def test_runbooks_that_panels_name_exist():
    runbooks = (ROOT / "docs/runbooks.md").read_text()
    headings = set(re.findall(r"^## (\w+)$", runbooks, re.MULTILINE))
    named = {name for _, p in PANELS for name in re.findall(r"\*(Scad\w+)\*", p.red)}
    assert named
    assert named <= headings


def test_every_dashboard_has_queries_of_the_sort_it_is_about():
    kinds = {name: {type(q) for p in board.panels for q in p.queries} for name, board in BOARDS.items()}
    assert kinds["pipeline"] == {Prom}
    assert kinds["patient"] == kinds["care-team"] == kinds["protocol-quality"] == {Sql}
    assert kinds["fleet"] == kinds["footprint"] == {Sql, Prom}
