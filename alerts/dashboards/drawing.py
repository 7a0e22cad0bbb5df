"""Panels as SVG and HTML, near enough to what Grafana draws to judge a query's answer by: no script, no server."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any

Steps = Sequence[Mapping[str, Any]]
Point = tuple[float, float | None]

COLORS = {"red": "#d92d20", "orange": "#e8830c", "green": "#2e8540", "blue": "#2b6cb0", "purple": "#8250df"}
PALETTE = ("#2b6cb0", "#2e8540", "#b7791f", "#8250df", "#0e7c86", "#c2410c", "#6b7280", "#be185d")
INK, FAINT = "#1f2933", "#d5dbe1"
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 8, 20
TICKS = 4
LEAST_SPAN = 1e-9  # of an axis: all values the same make no axis


@dataclass(frozen=True, slots=True)
class Line:
    """One curve. `points`: seconds since 1970 and values; a null value, or a longer wait than `gap_s`, breaks it."""

    name: str
    points: Sequence[Point]
    color: str
    style: str = "line"
    width: float = 1.5
    dots: bool = False
    gap_s: float | None = None
    below_to: str | None = None
    """The curve down to which the area is filled."""
    right: bool = False
    unit: str = ""
    """Another than the chart's."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything of a time series panel. `marks`: from, to (null: an instant or still going on), colour."""

    lines: Sequence[Line]
    begin: float
    end: float
    unit: str
    width: int
    height: int
    limits: Steps = ()
    least: float | None = None
    most: float | None = None
    marks: Sequence[tuple[float, float | None, str]] = field(default_factory=tuple)


def shown(value: Any, unit: str) -> str:
    """A value with its unit, as Grafana abbreviates it."""
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{value:%d/%m/%Y %H:%M}"
    if isinstance(value, str):
        return value
    number = float(value)
    if unit == "s":
        return _span(number)
    if unit == "percentunit":
        return f"{round(number * 100, 1):g} %"
    if unit in ("bytes", "decbytes"):
        return f"{_short(number)}B"
    ends = {"percent": " %", "reqps": " /s", "masskg": " kg", "d": " d"}
    return f"{_short(number).strip()}{ends.get(unit, '')}"


def _short(number: float) -> str:
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if name == 'k' else size):.3g} {name}"
    return f"{number:.4g} "


def _span(seconds: float) -> str:
    for size, name in ((86_400 * 365.25, "years"), (86_400, "days"), (3600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s"


def threshold_color(value: float, steps: Steps) -> str:
    """The colour of the highest step that the value has reached."""
    name = "blue"
    for step in steps:
        if step["value"] is None or value >= step["value"]:
            name = step["color"]
    return COLORS.get(name, name)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from one to the other, some four."""
    raw = (high - low) / TICKS
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= raw)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def scale(chart: Chart, lines: Sequence[Line]) -> tuple[float, float]:
    """The least and the most of an axis."""
    values = [v for line in lines for _, v in line.points if v is not None]
    low = min(values, default=0.0) if chart.least is None else chart.least
    high = max(values, default=1.0)
    near = [s["value"] for s in chart.limits if s["value"] is not None and low <= s["value"] <= high * 2]
    high = max([high, *near]) if chart.most is None else chart.most
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low = low if chart.least is not None else low - pad
    return low, max(high if chart.most is not None else high + pad, low + LEAST_SPAN)


def runs(line: Line) -> Iterator[list[tuple[float, float]]]:
    """The parts of a curve that are joined."""
    run: list[tuple[float, float]] = []
    for at, value in line.points:
        if run and (value is None or (line.gap_s is not None and at - run[-1][0] > line.gap_s)):
            yield run
            run = []
        if value is not None:
            run.append((at, value))
    if run:
        yield run


def time_series(chart: Chart) -> str:
    """The curves with axes, limits, areas and marks, and below them the names with the last values."""
    left = [line for line in chart.lines if not line.right]
    right = [line for line in chart.lines if line.right]
    low, high = scale(chart, left)
    body = [_grid(chart, low, high), *(_mark(chart, *mark) for mark in chart.marks)]
    body += [
        _limit(chart, step, low, high) for step in chart.limits if low <= (step["value"] or low - 1) <= high
    ]
    for group in (left, right):
        if group:
            bounds = scale(chart, group)
            by_name = {line.name: line for line in group}
            for line in group:
                if line.below_to in by_name:
                    body.append(_area(chart, line, by_name[line.below_to], *bounds))
                body.append(_curve(chart, line, *bounds))
    if right:
        low, high = scale(chart, right)
        body += [
            f'<text x="{chart.width - 2}" y="{_y(chart, v, low, high) - 2:.1f}" text-anchor="end">'
            f"{shown(v, chart.unit)}</text>"
            for v in ticks(low, high)
        ]
    names = "".join(_name(line, line.unit or chart.unit) for line in chart.lines)
    return (
        f'<svg viewBox="0 0 {chart.width} {chart.height}" width="{chart.width}" height="{chart.height}">'
        f'{"".join(body)}</svg><div class="names">{names}</div>'
    )


def _x(chart: Chart, at: float) -> float:
    share = (at - chart.begin) / (chart.end - chart.begin)
    return LEFT + min(max(share, 0), 1) * (chart.width - LEFT - RIGHT)


def _y(chart: Chart, value: float, low: float, high: float) -> float:
    share = min(max((value - low) / (high - low), 0), 1)
    return chart.height - BOTTOM - share * (chart.height - TOP - BOTTOM)


def _grid(chart: Chart, low: float, high: float) -> str:
    parts = []
    for value in ticks(low, high):
        y = _y(chart, value, low, high)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{chart.width - RIGHT}" stroke="{FAINT}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown(value, chart.unit)}</text>'
        )
    form = (
        "%H:%M"
        if chart.end - chart.begin < 2 * 86_400
        else "%d/%m"
        if chart.end - chart.begin < 86_400 * 200
        else "%m/%Y"
    )
    for n in range(5):
        at = chart.begin + n * (chart.end - chart.begin) / 4
        anchor = "start" if n == 0 else "end" if n == 4 else "middle"
        day = datetime.fromtimestamp(at).astimezone()
        parts.append(
            f'<text x="{_x(chart, at):.1f}" y="{chart.height - 4}" text-anchor="{anchor}">{day:{form}}</text>'
        )
    return "".join(parts)


def _mark(chart: Chart, begin: float, end: float | None, color: str) -> str:
    left, right = _x(chart, begin), _x(chart, chart.end if end is None else end)
    top, foot = TOP, chart.height - BOTTOM
    return (
        f'<rect x="{left:.1f}" y="{top}" width="{max(right - left, 1):.1f}" height="{foot - top}" fill="{color}" '
        f'opacity=".08"/>'
        f'<path d="M{left:.1f} {top}V{foot}" stroke="{color}" stroke-dasharray="3 3"/>'
        f'<path d="M{left - 4:.1f} {foot + 6}h8l-4 -6z" fill="{color}"/>'
    )


def _limit(chart: Chart, step: Mapping[str, Any], low: float, high: float) -> str:
    y, color = _y(chart, step["value"], low, high), COLORS.get(step["color"], step["color"])
    return f'<path d="M{LEFT} {y:.1f}H{chart.width - RIGHT}" stroke="{color}" stroke-dasharray="8 5"/>'


def _area(chart: Chart, upper: Line, lower: Line, low: float, high: float) -> str:
    there = [(at, value) for at, value in upper.points if value is not None]
    back = [(at, value) for at, value in reversed(lower.points) if value is not None]
    corners = " ".join(f"{_x(chart, at):.1f},{_y(chart, value, low, high):.1f}" for at, value in there + back)
    return f'<polygon points="{corners}" fill="{upper.color}" opacity=".15"/>'


def _curve(chart: Chart, line: Line, low: float, high: float) -> str:
    parts = []
    for run in runs(line):
        places = [(_x(chart, at), _y(chart, value, low, high)) for at, value in run]
        if line.style == "bars":
            wide = max((chart.width - LEFT - RIGHT) / max(len(line.points), 1) * 0.7, 1)
            foot = chart.height - BOTTOM
            parts += [
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{foot - y:.1f}" fill="{line.color}" '
                f'opacity=".7"/>'
                for x, y in places
            ]
            continue
        if line.style == "line" and line.width:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            parts.append(f'<path d="M{path}" fill="none" stroke="{line.color}" stroke-width="{line.width}"/>')
        if line.style == "points" or line.dots or (len(run) == 1 and line.width):
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{line.color}"/>' for x, y in places]
    return "".join(parts)


def _name(line: Line, unit: str) -> str:
    last = next((value for _, value in reversed(line.points) if value is not None), None)
    return f'<span><i style="background:{line.color}"></i>{escape(line.name)} <b>{escape(shown(last, unit))}</b></span>'


def bars(rows: Sequence[tuple[str, float]], unit: str, steps: Steps, most: float | None) -> str:
    """A bar gauge: a name, a bar and its value for each row."""
    longest = most or max((value for _, value in rows), default=1.0) or 1.0
    return "".join(
        f'<div class="bar"><span>{escape(name)}</span><i><u style="width:{100 * min(value / longest, 1):.1f}%;'
        f'background:{threshold_color(value, steps)}"></u></i><b>{escape(shown(value, unit))}</b></div>'
        for name, value in rows
    )


def groups(
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    colors: Mapping[str, str],
    width: int,
    height: int,
) -> str:
    """A bar chart: groups of standing bars, one group for each name."""
    high = max((value for values in series.values() for value in values), default=1.0) or 1.0
    wide = (width - LEFT - RIGHT) / max(len(names), 1)
    each = wide * 0.8 / max(len(series), 1)
    foot, parts = height - BOTTOM, []
    for value in ticks(0, high):
        y = foot - value / high * (foot - TOP)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{width - RIGHT}" stroke="{FAINT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown(value, "short")}</text>')
    for index, name in enumerate(names):
        x = LEFT + index * wide + wide * 0.1
        for turn, (label, values) in enumerate(series.items()):
            tall = values[index] / high * (foot - TOP)
            parts.append(
                f'<rect x="{x + turn * each:.1f}" y="{foot - tall:.1f}" width="{max(each - 1, 1):.1f}" '
                f'height="{tall:.1f}" fill="{colors[label]}"/>'
            )
        parts.append(
            f'<text x="{x + wide * 0.4:.1f}" y="{height - 4}" text-anchor="middle">{escape(name)}</text>'
        )
    legend = "".join(
        f'<span><i style="background:{colors[label]}"></i>{escape(label)}</span>' for label in series
    )
    svg = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(parts)}</svg>'
    return f'{svg}<div class="names">{legend}</div>'
