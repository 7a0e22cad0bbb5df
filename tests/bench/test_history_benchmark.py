"""What the benchmark of the dashboards asks, and how its table is made; the database itself is filled on request."""

from __future__ import annotations

from typing import Any

from alerts.dashboards import boards
from alerts.dashboards.parts import Sql
from bench.history import PAGE, filled, queries, slow, table
from bench.made_history import A_PATIENT_A_DAY, WEEKS, patients

FIGURES: dict[str, Any] = {
    "date": "2026-11-22T12:00:00+00:00",
    "machine": {"cpu": "a processor", "cores": 2, "python": "3.11"},
    "load_average_before": [0.1],
    "load_average_after": [2.0],
    "database": {"readings": 99_000_000, "daily_rows": 16, "patients": 7, "alerts": 3, "gigabytes": 41.23,
                 "server": "17"},
    "queries": [
        {"dashboard": "patient", "query": "Gaps", "range": "6 h", "ms": [1.0, 2.0, 9.0], "rows": 3},
        {"dashboard": "patient", "query": "Gaps", "range": "2 y", "ms": [1200.0, 300.0, 400.0], "rows": 3},
        {"dashboard": "fleet", "query": "Battery", "range": "6 h", "ms": [4.0, 4.0, 4.0], "rows": 4},
        {"dashboard": "fleet", "query": "Battery", "range": "2 y", "ms": [5.0, 5.0, 5.0], "rows": 4},
    ],
}  # fmt: skip


def test_every_query_to_the_database_is_asked_with_those_of_annotations_and_variables():
    asked = {(query.board, query.sql) for query in queries()}
    panels = {
        (name, query.sql)
        for name, board in boards().items()
        for panel in board.panels
        for query in panel.queries
        if isinstance(query, Sql)
    }
    marks = {(name, one.sql) for name, board in boards().items() for one in board.annotations}
    assert panels | marks <= asked
    assert {query.name for query in queries() if query.name.startswith("variable")} == {
        f"variable {name}" for name in ("team", "patient", "kind", "protocol")
    }


def test_the_table_has_the_median_and_the_worst_of_each_dashboard_and_range():
    lines = table(FIGURES).splitlines()
    assert lines[2] == "| patient | 2 / 9 | 400 / 1,200 | *Gaps* |"
    assert lines[3] == "| fleet | 4 / 4 | 5 / 5 | *Battery* |"


def test_what_took_more_than_a_second_is_told():
    assert [entry["query"] for entry in slow(FIGURES["queries"])] == ["Gaps"]
    assert slow(FIGURES["queries"], 2000.0) == []


def test_the_page_has_a_place_for_the_table_and_keeps_the_rest():
    text = PAGE.read_text(encoding="utf-8")
    again = filled(text, FIGURES)
    assert "99,000,000 readings of 7 patients" in again
    assert "1 of 4 took more than a second" in again
    assert again.partition("<!-- begin history -->")[0] == text.partition("<!-- begin history -->")[0]
    assert filled(again, FIGURES) == again


def test_a_hundred_million_readings_are_those_of_seven_thousand_patients():
    people = patients(100)
    assert people * A_PATIENT_A_DAY * 7 * WEEKS > 99_900_000
    assert 7_000 < people < 7_600
