"""A dashboard as one HTML page without Grafana: the generated JSON, and what its queries answered.

    page(model, answers, begin, end)

`model`: what `Board.build()` gives. `answers`: by panel title and the query's letter; annotations by their name and "".
An answer is a table (SQL) or curves by name (PromQL). The page needs no script, so that a browser can be pointed at it,
and a picture of it kept for the documentation (tests/alerts/served/dashboard_pictures.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any

from alerts.dashboards.drawing import (
    COLORS,
    PALETTE,
    Chart,
    Line,
    Point,
    bars,
    groups,
    shown,
    threshold_color,
    time_series,
)

COLUMN, ROW, GAP = 58, 30, 8  # pixels; Grafana's grid has 24 columns, a row of 30 px and 8 between
HEAD = 62  # of a panel: title and description
FOOT = 26  # below a curve: the names
LINE = 23  # of a table
UNITS = {"s": "time", "percentunit": "%", "reqps": "a second", "bytes": "bytes", "decbytes": "bytes"}
"""What is written beside a title."""

Model = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one query answered: a table, or (PromQL) curves by name."""

    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    curves: Mapping[str, Sequence[Point]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.rows and not self.curves


Answers = Mapping[tuple[str, str], Answer]

STYLE = """
body { margin: 0; padding: 14px; font: 13px/1.35 "DejaVu Sans", sans-serif; color: #1f2933; background: #eef1f4; }
h1 { font-size: 20px; margin: 0 0 2px } header p { margin: 0 0 10px; color: #52606d }
main { position: relative } h2 { position: absolute; font-size: 14px; margin: 5px 0 0 }
section { position: absolute; background: #fff; border: 1px solid #d5dbe1; border-radius: 3px; overflow: hidden;
          box-sizing: border-box; padding: 6px 8px }
h3 { font-size: 13px; margin: 0 } h3 em { float: right; font-weight: normal; font-size: 11px; color: #7b8794 }
section > p { margin: 1px 0 4px; font-size: 11px; line-height: 14px; height: 28px; overflow: hidden; color: #52606d }
svg { display: block; font-size: 11px; fill: #52606d }
.names { font-size: 11px; white-space: nowrap; overflow: hidden; margin-left: 50px }
.names span { margin-right: 12px } .names i { display: inline-block; width: 12px; height: 3px; margin-right: 4px;
          vertical-align: middle }
.bar { display: flex; align-items: center; margin: 6px 0; gap: 8px } .bar span { width: 38%; text-align: right }
.bar i { flex: 1; background: #eef1f4; height: 18px } .bar u { display: block; height: 18px } .bar b { width: 60px }
.stats { display: flex; justify-content: space-around; align-items: center; text-align: center }
.stats b { display: block; font-size: 30px } table { border-collapse: collapse; width: 100%; font-size: 12px }
th, td { text-align: left; padding: 2px 8px 2px 0; height: 18px; white-space: nowrap; border-bottom: 1px solid #eef1f4 }
"""


def page(model: Model, answers: Answers, begin: datetime, end: datetime, chosen: str = "") -> str:
    """The whole page. Raises KeyError where a query has no answer."""
    tall = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in model["panels"]) * (ROW + GAP)
    marks = [mark for one in model["annotations"].get("list", ()) for mark in _marks(one, answers)]
    panels = "".join(
        _heading(p) if p["type"] == "row" else _panel(p, answers, begin, end, marks) for p in model["panels"]
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(model["title"])}</title>'
        f"<style>{STYLE}</style><header><h1>{escape(model['title'])}</h1><p>{escape(model['description'])} "
        f"{begin:%d/%m/%Y %H:%M} to {end:%d/%m/%Y %H:%M}. {escape(chosen)}</p></header>"
        f'<main style="height:{tall}px;width:{24 * COLUMN}px">{panels}</main></html>'
    )


def _marks(annotation: Model, answers: Answers) -> list[tuple[float, float | None, str]]:
    if "target" not in annotation:
        return []
    color = COLORS[annotation["iconColor"]]
    rows = answers[annotation["name"], ""].rows
    return [(row[0].timestamp(), row[1].timestamp() if row[1] else None, color) for row in rows]


def _place(panel: Model) -> str:
    at = panel["gridPos"]
    left, top, wide, high = (at[key] for key in "xywh")
    return (
        f"left:{left * COLUMN}px;top:{top * (ROW + GAP)}px;width:{wide * COLUMN - GAP}px;"
        f"height:{high * (ROW + GAP) - GAP}px"
    )


def _heading(panel: Model) -> str:
    return f'<h2 style="{_place(panel)}">{escape(panel["title"])}</h2>'


def _panel(
    panel: Model,
    answers: Answers,
    begin: datetime,
    end: datetime,
    marks: Sequence[tuple[float, float | None, str]],
) -> str:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    says = panel["description"].partition("\n\n")[0].replace("*", "")
    mine = [(target, answers[panel["title"], target["refId"]]) for target in panel["targets"]]
    if all(answer.empty for _, answer in mine):
        body = '<p class="none">No data</p>'
    elif panel["type"] == "timeseries":
        body = _curves(panel, mine, begin, end, marks)
    else:
        body = {"stat": _stat, "table": _table, "bargauge": _gauge, "barchart": _groups}[panel["type"]](
            panel, mine
        )
    name = UNITS.get(unit, "")
    return (
        f'<section style="{_place(panel)}"><h3>{escape(panel["title"])}<em>{name}</em></h3>'
        f"<p>{escape(says)}</p>{body}</section>"
    )


Asked = Sequence[tuple[Model, Answer]]


def _size(panel: Model) -> tuple[int, int]:
    at = panel["gridPos"]
    return at["w"] * COLUMN - GAP - 18, at["h"] * (ROW + GAP) - GAP - HEAD - FOOT


def _override(panel: Model, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in panel["fieldConfig"]["overrides"]:
        if one["matcher"]["options"] == name:
            found |= {entry["id"]: entry["value"] for entry in one["properties"]}
    return found


def _steps(panel: Model, name: str = "") -> Sequence[Model]:
    own = _override(panel, name).get("thresholds") or panel["fieldConfig"]["defaults"]["thresholds"]
    steps: Sequence[Model] = own["steps"]
    return steps


def _unit(panel: Model, name: str) -> str:
    unit: str = _override(panel, name).get("unit", panel["fieldConfig"]["defaults"]["unit"])
    return unit


def _color(panel: Model, name: str, turn: int) -> str:
    fixed = _override(panel, name).get("color", {}).get("fixedColor")
    return COLORS.get(fixed, fixed) if fixed else PALETTE[turn % len(PALETTE)]


def series(answer: Answer) -> dict[str, list[Point]]:
    """Curves by name: a text column, where there is one, names them; else the columns do."""
    if answer.curves:
        return {name: list(points) for name, points in answer.curves.items()}
    found: dict[str, list[Point]] = {}
    text = answer.columns.index("metric") if "metric" in answer.columns else None
    for row in answer.rows:
        for index, value in enumerate(row):
            if index not in (0, text):
                name = answer.columns[index] if text is None else str(row[text])
                number = None if value is None else float(value)
                found.setdefault(name, []).append((row[0].timestamp(), number))
    return found


def _curves(
    panel: Model,
    mine: Asked,
    begin: datetime,
    end: datetime,
    marks: Sequence[tuple[float, float | None, str]],
) -> str:
    lines: list[Line] = []
    for _, answer in mine:
        for name, points in series(answer).items():
            own = _override(panel, name)
            gap = own.get("custom.insertNulls")
            lines.append(
                Line(
                    name,
                    points,
                    _color(panel, name, len(lines)),
                    style=own.get("custom.drawStyle", "line"),
                    width=own.get("custom.lineWidth", 1.5),
                    dots=own.get("custom.showPoints") == "always" and len(points) < 400,
                    gap_s=gap / 1000 if gap else None,
                    below_to=own.get("custom.fillBelowTo"),
                    right=own.get("custom.axisPlacement") == "right",
                    unit=_unit(panel, name),
                )
            )
    defaults = panel["fieldConfig"]["defaults"]
    dashed = defaults.get("custom", {}).get("thresholdsStyle", {}).get("mode") == "dashed"
    width, height = _size(panel)
    return time_series(
        Chart(
            lines,
            begin.timestamp(),
            end.timestamp(),
            defaults["unit"],
            width,
            height,
            limits=_steps(panel) if dashed else (),
            least=defaults.get("min"),
            most=defaults.get("max"),
            marks=marks,
        )
    )


def _values(mine: Asked) -> list[tuple[str, float | None]]:
    """Name and number of each row of a table, or the last of each curve."""
    found: list[tuple[str, float | None]] = []
    for _, answer in mine:
        found += [(name, points[-1][1]) for name, points in answer.curves.items()]
        for row in answer.rows:
            words = [str(cell) for cell in row if isinstance(cell, str)]
            number = next((cell for cell in row if not isinstance(cell, str)), None)
            found.append(
                (words[0] if words else answer.columns[-1], None if number is None else float(number))
            )
    return found


def _stat(panel: Model, mine: Asked) -> str:
    cells = "".join(
        f'<div><b style="color:{threshold_color(value or 0.0, _steps(panel, name))}">'
        f"{escape(shown(value, _unit(panel, name)))}</b>{escape(name)}</div>"
        for name, value in _values(mine)
    )
    return f'<div class="stats" style="height:{_size(panel)[1]}px">{cells}</div>'


def _gauge(panel: Model, mine: Asked) -> str:
    rows = [(name, value or 0.0) for name, value in _values(mine)]
    return bars(rows, _unit(panel, ""), _steps(panel), panel["fieldConfig"]["defaults"].get("max"))


def _groups(panel: Model, mine: Asked) -> str:
    ((_, answer),) = mine
    columns = answer.columns[1:]
    found = {name: [float(row[index]) for row in answer.rows] for index, name in enumerate(columns, start=1)}
    colors = {name: _color(panel, name, turn) for turn, name in enumerate(columns)}
    return groups([str(row[0]) for row in answer.rows], found, colors, *_size(panel))


def _table(panel: Model, mine: Asked) -> str:
    ((_, answer),) = mine
    room = max((panel["gridPos"]["h"] * (ROW + GAP) - GAP - HEAD) // LINE - 1, 1)
    rows = answer.rows if len(answer.rows) <= room else answer.rows[: room - 1]
    head = "".join(f"<th>{escape(name)}</th>" for name in answer.columns)
    lines = "".join(
        f"<tr>{''.join(_cell(panel, name, cell) for name, cell in zip(answer.columns, row, strict=True))}</tr>"
        for row in rows
    )
    more = len(answer.rows) - len(rows)
    rest = f'<tr><td colspan="{len(answer.columns)}">… {more} more</td></tr>' if more else ""
    return f"<table><tr>{head}</tr>{lines}{rest}</table>"


def _cell(panel: Model, name: str, value: Any) -> str:
    own, style = _override(panel, name), ""
    if own.get("custom.cellOptions", {}).get("type") == "color-text" and value is not None:
        color = threshold_color(float(value), _steps(panel, name)) if not isinstance(value, str) else ""
        for mapping in own.get("mappings", ()):
            named = mapping["options"].get(str(value), {}).get("color", "")
            color = COLORS.get(named, color)
        style = f' style="color:{color};font-weight:bold"'
    return f"<td{style}>{escape(shown(value, _unit(panel, name)))}</td>"
