"""Small curves as inline SVG: readings over days, the personal limit, gaps and late points.

Dense readings are gathered into buckets: a band from the lowest to the highest and a line through the means,
so that a short extreme stays visible. Pure: points in, markup out; colours are the style sheet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10
from statistics import median
from typing import Any

from markupsafe import Markup, escape

from alerts.feed.formats import DAY_MS, HOUR_MS, Formats
from alerts.feed.kinds import unit_of
from alerts.feed.limits import LimitLine
from devices.times import from_datetime

# Every series has a point each bucket at most: 14 days of a glucose sensor are 84 points, some 1 kB.
BUCKETS = 84
# Points are drawn one by one up to here; beyond it they would run together.
DOTS_MAX = 62
# A line is broken where the distance between readings is this many times their usual one.
GAP_FACTOR = 2.2
# The least range shown, so that noise does not look like drama.
LEAST_RANGE = {
    "body-weight": 2.0,
    "blood-pressure": 40.0,
    "glucose": 100.0,
    "heart-rate": 30.0,
    "oxygen-saturation": 6.0,
    "temperature": 1.5,
    "respiratory-rate": 8.0,
    "inr": 1.5,
    "ketones": 1.0,
}


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket: when its last reading was measured, lowest, highest and mean value, how many, any late."""

    at_ms: int
    low: float
    high: float
    mean: float
    n: int
    late: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """What is drawn for one kind. `second` is diastolic pressure; instants are milliseconds. `target` is a range
    that the plan sets, `usual` what is usual for the patient: fields from edge to edge."""

    kind: str
    begin_ms: int
    end_ms: int
    points: tuple[Point, ...]
    second: tuple[Point, ...] = ()
    limits: tuple[LimitLine, ...] = ()
    target: tuple[float, float] | None = None
    usual: tuple[float, float] | None = None

    @property
    def unit(self) -> str:
        return unit_of(self.kind)

    @property
    def days(self) -> int:
        return round((self.end_ms - self.begin_ms) / DAY_MS)


@dataclass(frozen=True, slots=True)
class Size:
    """In units of the picture, which scales with its box. `text` is the height of letters, `ticks` how many
    values the left edge names, `right` the room for the limits' numbers."""

    width: int
    height: int
    text: int = 10
    ticks: int = 0
    right: int = 30


SMALL = Size(270, 84)
LARGE = Size(960, 340, 28, ticks=4, right=92)

Place = tuple[int, int]


def points_of(rows: Sequence[dict[str, Any]], *, second: bool = False) -> tuple[Point, ...]:
    """Rows of `queries.buckets` of one patient and kind as points; `second`: of the diastolic pressure."""
    prefix = "second_" if second else ""
    return tuple(
        Point(
            from_datetime(row["at"]),
            row[f"{prefix}low"],
            row[f"{prefix}high"],
            row[f"{prefix}mean"],
            row["n"],
            row["late"],
        )
        for row in rows
        if row[f"{prefix}mean"] is not None
    )


def gap_after_ms(points: Sequence[Point]) -> int:
    """A distance beyond which two readings are not joined: GAP_FACTOR times the usual, 6 hours at least."""
    distances = [b.at_ms - a.at_ms for a, b in pairwise(points)]
    usual = median(distances) if distances else DAY_MS
    return int(max(GAP_FACTOR * usual, 6 * HOUR_MS))


def runs(points: Sequence[Point], gap_ms: int) -> list[list[Point]]:
    """The points in stretches without a gap."""
    found: list[list[Point]] = []
    for point in points:
        if found and point.at_ms - found[-1][-1].at_ms <= gap_ms:
            found[-1].append(point)
        else:
            found.append([point])
    return found


class _Canvas:
    """Maps instants and values to whole units of the picture: finer would not be seen, only sent."""

    def __init__(self, curve: Curve, size: Size) -> None:
        self.size = size
        self.top, self.bottom = size.text // 2, size.height - size.text - 6
        self.left = 3 + 3 * size.text * bool(size.ticks)
        self.right = size.width - 5 - (size.right if curve.limits else 0)
        self.begin, self.span = curve.begin_ms, max(curve.end_ms - curve.begin_ms, 1)
        edges = [line.level for line in curve.limits] + [*(curve.target or ()), *(curve.usual or ())]
        lows = [p.low for p in (*curve.points, *curve.second)] + edges
        highs = [p.high for p in (*curve.points, *curve.second)] + edges
        low, high = min(lows, default=0.0), max(highs, default=1.0)
        missing = LEAST_RANGE.get(curve.kind, 1.0) - (high - low)
        margin = max(missing, 0.0) / 2 + 0.06 * (high - low)
        self.low, self.high = low - margin, high + margin

    def x(self, at_ms: int) -> int:
        part = min(max((at_ms - self.begin) / self.span, 0.0), 1.0)
        return round(self.left + part * (self.right - self.left))

    def y(self, value: float) -> int:
        part = (value - self.low) / (self.high - self.low)
        return round(self.bottom - part * (self.bottom - self.top))

    def means(self, points: Sequence[Point]) -> list[Place]:
        return [(self.x(p.at_ms), self.y(p.mean)) for p in points]

    def outline(self, points: Sequence[Point]) -> list[Place]:
        """Along the highest values and back along the lowest."""
        high = [(self.x(p.at_ms), self.y(p.high)) for p in points]
        return high + [(self.x(p.at_ms), self.y(p.low)) for p in reversed(points)]


def _path(places: Sequence[Place]) -> str:
    """A line through the places in SVG's shortest words: M17 63l17-1 17 1."""
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(places)]
    words = "".join(f" {dx}{dy}" if dy < 0 else f" {dx} {dy}" for dx, dy in steps)
    return f"M{places[0][0]} {places[0][1]}" + (f"l{words[1:]}" if words else "")


def _dots(places: Sequence[Place], style: str) -> str:
    """Strokes of no length with round ends."""
    return f'<path class="{style}" d="{"".join(f"M{x} {y}h0" for x, y in places)}"/>' if places else ""


def draw(curve: Curve, formats: Formats, size: Size = SMALL) -> Markup:
    """The curve as an SVG image with a text that says the same to who cannot see it."""
    canvas = _Canvas(curve, size)
    gap_ms = gap_after_ms(curve.points)
    parts = [
        f'<svg class="curve" viewBox="0 0 {size.width} {size.height}" role="img"'
        f' aria-label="{escape(describe(curve, formats))}">',
        _frame(canvas, curve, formats),
        _field(canvas, curve.target, "target"),
        _field(canvas, curve.usual, "usual"),
        _gaps(canvas, curve, gap_ms),
    ]
    for points, name in ((curve.second, "line second"), (curve.points, "line")):
        parts += _series(canvas, points, gap_ms, name)
    parts.append(_limits(canvas, curve, formats))
    if curve.points:
        parts.append(_dots(canvas.means(curve.points[-1:]), "dots last"))
    parts.append(_dots(canvas.means([p for p in curve.points if p.late]), "dots late"))
    parts.append(_dots(canvas.means([p for p in curve.points if p.late]), "dots hole"))
    parts.append("</svg>")
    return Markup("".join(parts))  # noqa: S704 - numbers, our own words, and escaped texts


def describe(curve: Curve, formats: Formats) -> str:
    """The curve in a sentence."""
    texts = formats.texts
    if not curve.points:
        return f"{texts.term('kind', curve.kind)} : {texts('curve.empty')}"
    unit = formats.unit(curve.unit)
    sentences = [
        texts(
            "curve.label_days",
            kind=texts.term("kind", curve.kind),
            days=curve.days,
            low=formats.number(min(p.low for p in curve.points), curve.unit),
            high=formats.number(max(p.high for p in curve.points), curve.unit),
            last=formats.number(curve.points[-1].mean, curve.unit),
            unit=unit,
        )
    ]
    for line in curve.limits:
        level = formats.number(line.level, curve.unit)
        sentences.append(texts("curve.limit", limit=level, unit=unit))
    for edges, key in ((curve.target, "curve.target"), (curve.usual, "curve.usual")):
        if edges is not None:
            low, high = (formats.number(edge, curve.unit) for edge in edges)
            sentences.append(texts(key, low=low, high=high, unit=unit))
    if any(p.late for p in curve.points):
        sentences.append(texts("curve.late"))
    return " ".join(sentences).replace(" .", ".")


def _frame(canvas: _Canvas, curve: Curve, formats: Formats) -> str:
    """A line each week, and the ends of the time axis in words."""
    size, texts = canvas.size, formats.texts
    weeks = range(curve.end_ms - 7 * DAY_MS, curve.begin_ms, -7 * DAY_MS)
    lines = "".join(f"M{canvas.x(at)} {canvas.top}V{canvas.bottom}" for at in weeks)
    values = nice_values(canvas.low, canvas.high, size.ticks)
    lines += "".join(f"M{canvas.left} {canvas.y(v)}H{canvas.right}" for v in values)
    ticks = "".join(
        f'<text class="end" x="{canvas.left - 8}" y="{canvas.y(v) + size.text // 3}">'
        f"{escape(formats.number(v, curve.unit))}</text>"
        for v in values
    )
    y = size.height - 2
    return (
        f'<path class="grid" d="{lines}M{canvas.left} {canvas.bottom + 1}H{canvas.right}"/>{ticks}'
        f'<text x="{canvas.left}" y="{y}">{texts("curve.from_days", n=curve.days)}</text>'
        f'<text class="end" x="{canvas.right}" y="{y}">{texts("curve.to")}</text>'
    )


def _gaps(canvas: _Canvas, curve: Curve, gap_ms: int) -> str:
    """A pale field wherever readings are missing, up to now."""
    if not curve.points:
        return ""
    instants = [curve.begin_ms, *(p.at_ms for p in curve.points), curve.end_ms]
    fields = [(canvas.x(a), canvas.x(b)) for a, b in pairwise(instants) if b - a > gap_ms]
    height = canvas.bottom - canvas.top
    return "".join(
        f'<rect class="gap" x="{a}" y="{canvas.top}" width="{b - a}" height="{height}"/>' for a, b in fields
    )


def _field(canvas: _Canvas, edges: tuple[float, float] | None, style: str) -> str:
    """A range from edge to edge."""
    if edges is None:
        return ""
    top, bottom = canvas.y(edges[1]), canvas.y(edges[0])
    width = canvas.right - canvas.left
    return (
        f'<rect class="{style}" x="{canvas.left}" y="{top}" width="{width}" height="{max(bottom - top, 1)}"/>'
    )


def _series(canvas: _Canvas, points: Sequence[Point], gap_ms: int, name: str) -> list[str]:
    """Band, line and dots. A small picture of dense readings is its band alone: the line would hide in it."""
    dense = len(points) > DOTS_MAX
    stretches = runs(points, gap_ms)
    bands = "".join(_path(canvas.outline(run)) for run in stretches if any(p.high > p.low for p in run))
    line = "".join(_path(canvas.means(run)) for run in stretches if len(run) > 1)
    alone = [run[0] for run in stretches if len(run) == 1]
    parts = []
    if bands:
        parts.append(f'<path class="band" d="{bands}"/>')
    if line and not (dense and bands and not canvas.size.ticks):
        parts.append(f'<path class="{name}" d="{line}"/>')
    parts.append(_dots(canvas.means(alone if dense else points), "dots"))
    return parts


def _limits(canvas: _Canvas, curve: Curve, formats: Formats) -> str:
    """A dashed line for each limit, and its number at the right edge; numbers move apart where they would
    lie on each other."""
    parts: list[str] = []
    text = canvas.size.text
    lowest = canvas.bottom
    for line in sorted(curve.limits, key=lambda line: line.level):
        y = canvas.y(line.level)
        begin = canvas.x(line.from_ms if line.from_ms is not None else curve.begin_ms)
        label_y = min(y + text // 3, lowest)
        lowest = label_y - text
        label = escape(formats.number(line.level, curve.unit))
        parts.append(
            f'<path class="limit" d="M{begin} {y}H{canvas.right + 2}"/>'
            f'<text class="limit-label" x="{canvas.right + 5}" y="{label_y}">{label}</text>'
        )
    return "".join(parts)


def nice_values(low: float, high: float, about: int) -> list[float]:
    """Round values within the range, some `about` of them, a step of 1, 2 or 5 times a power of ten apart."""
    if about <= 0 or high <= low:
        return []
    raw = 0.75 * (high - low) / about
    power = 10.0 ** floor(log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = ceil(low / step)
    return [round(n * step, 6) for n in range(first, floor(high / step) + 1)]
