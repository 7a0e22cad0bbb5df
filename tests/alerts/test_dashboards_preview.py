"""The preview draws every panel of every dashboard from the rows it is given."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts.dashboards import boards
from alerts.dashboards.drawing import Line, runs, shown, threshold_color, ticks
from alerts.dashboards.parts import Board, Panel, Prom, Query
from alerts.dashboards.preview import Answer, page

END = datetime(2026, 11, 22, 9, 42, tzinfo=UTC)
BEGIN = END - timedelta(days=28)
DAYS = [BEGIN + timedelta(days=n) for n in range(29)]
BOARDS = boards()
DRAWN = {"timeseries": "<path", "barchart": "<rect", "bargauge": "<u ", "stat": "<b ", "table": "<td"}
"""By the kind of panel: what is in it when something is drawn."""


def answer(panel: Panel, query: Query) -> Answer:
    """Made-up rows of the shape that the query has."""
    if isinstance(query, Prom):
        return Answer(curves={query.legend or "value": [(at.timestamp(), 4.0) for at in DAYS]})
    if query.shape == "time_series":
        return Answer(["time", "metric", "value"], [(at, "high", float(n)) for n, at in enumerate(DAYS)])
    if panel.kind == "stat":
        return Answer(["value"], [(0.4,)])
    return Answer(["name", "high", "medium"], [("first", 3, 2.5), ("second & last", 1, 4)])


def answers(board: Board) -> dict[tuple[str, str], Answer]:
    found = {
        (panel.title, query.ref): answer(panel, query) for panel in board.panels for query in panel.queries
    }
    marks = Answer(
        ["time", "timeend", "text", "tags"], [(DAYS[3], None, "a", "b"), (DAYS[5], DAYS[6], "c", "d")]
    )
    return found | {(one.name, ""): marks for one in board.annotations}


def sections(text: str) -> dict[str, str]:
    """Panels by title."""
    found = re.findall(r"<section.*?</section>", text, flags=re.DOTALL)
    return {re.findall(r"<h3>(.*?)<em>", one)[0]: one for one in found}


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_is_drawn_with_its_title_and_what_it_says(name: str):
    board = BOARDS[name]
    drawn = sections(page(board.build(), answers(board), BEGIN, END))
    assert list(drawn) == [panel.title for panel in board.panels]
    for panel in board.panels:
        assert DRAWN[panel.kind] in drawn[panel.title]
        assert panel.says.replace("*", "")[:30].replace("'", "&#x27;") in drawn[panel.title]
        assert "No data" not in drawn[panel.title]


def test_a_panel_without_rows_says_so_and_a_query_without_an_answer_is_an_error():
    board = BOARDS["care-team"]
    empty: dict[tuple[str, str], Answer] = dict.fromkeys(answers(board), Answer())
    drawn = sections(page(board.build(), empty, BEGIN, END))
    assert all("No data" in one for one in drawn.values())
    with pytest.raises(KeyError):
        page(board.build(), {}, BEGIN, END)


def test_the_curve_has_its_band_its_limits_and_the_alerts_marks():
    board = BOARDS["patient"]
    title = "Measurement, limits and what is usual"
    found = answers(board)
    found[title, "A"] = Answer(["time", "measured"], [(at, 80.0 + n) for n, at in enumerate(DAYS) if n != 9])
    found[title, "C"] = Answer(["time", "usual, low", "usual, high"], [(at, 78.0, 90.0) for at in DAYS])
    drawn = sections(page(board.build(), found, BEGIN, END))[title]
    assert drawn.count("<polygon") == 1
    assert drawn.count('stroke-dasharray="3 3"') == 4  # two marks of either kind of alert
    assert drawn.count("<circle") == 28
    assert "measured <b>108</b>" in drawn


def test_a_curve_is_broken_where_a_reading_is_missing():
    line = Line("weight", [(0, 1.0), (10, 2.0), (50, 3.0), (60, None), (70, 4.0)], "#000", gap_s=30)
    assert list(runs(line)) == [[(0, 1.0), (10, 2.0)], [(50, 3.0)], [(70, 4.0)]]


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(0.954, "percentunit", "95.4 %"), (8e-9, "percentunit", "0 %"), (5400, "s", "1.5 h"), (12e6, "decbytes", "12 MB"),
     (None, "s", "–"), ("high", "short", "high"), (0.25, "reqps", "0.25 /s")],
)  # fmt: skip
def test_a_value_is_shown_with_its_unit(value: Any, unit: str, expected: str):
    assert shown(value, unit) == expected


def test_a_value_has_the_colour_of_the_highest_step_it_reached():
    steps = [
        {"value": None, "color": "green"},
        {"value": 10, "color": "orange"},
        {"value": 20, "color": "red"},
    ]
    assert [threshold_color(v, steps) for v in (9.9, 10, 25)] == ["#2e8540", "#e8830c", "#d92d20"]


def test_the_ticks_of_an_axis_are_round_and_within_it():
    assert ticks(0, 103) == [0, 50, 100]
    assert ticks(71.2, 74.1) == [72, 73, 74]
