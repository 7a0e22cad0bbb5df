"""A curve of the report as a drawing of the PDF library: the same points that the page draws as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from reportlab.lib import colors
from reportlab.platypus import Flowable

from alerts.feed.curves import (
    DOTS_MAX,
    LEAST_RANGE,
    Curve,
    Point,
    gap_after_ms,
    nice_values,
    runs,
)
from alerts.feed.formats import DAY_MS, Formats
from devices.times import from_datetime, to_datetime

LEFT, RIGHT, TOP, BOTTOM = 26.0, 30.0, 4.0, 13.0  # points around the field, for words
INK, BAND = colors.HexColor("#0b4f8a"), colors.HexColor("#cfe0ef")
SECOND, GRID = colors.HexColor("#5b8db8"), colors.HexColor("#dde3e8")
WORDS, LIMIT = colors.HexColor("#56636f"), colors.HexColor("#b3141f")
TARGET = colors.HexColor("#e3f2e5")
TICKS_X = 7  # dates named below the field, at most
TICKS_Y = 4


class CurvePicture(Flowable):
    """One curve, `width` by `height` points."""

    def __init__(self, curve: Curve, formats: Formats, width: float, height: float) -> None:
        super().__init__()
        self.width, self.height = width, height
        self._curve, self._formats = curve, formats
        levels = [line.level for line in curve.limits] + [*(curve.target or ())]
        points = [*curve.points, *curve.second]
        low = min([p.low for p in points] + levels)
        high = max([p.high for p in points] + levels)
        room = max(LEAST_RANGE.get(curve.kind, 1.0) - (high - low), 0.0) / 2 + 0.06 * (high - low)
        self._low, self._high = low - room, high + room

    def _x(self, at_ms: int) -> float:
        span = max(self._curve.end_ms - self._curve.begin_ms, 1)
        return LEFT + (self.width - LEFT - RIGHT) * (at_ms - self._curve.begin_ms) / span

    def _y(self, value: float) -> float:
        return BOTTOM + (self.height - TOP - BOTTOM) * (value - self._low) / (self._high - self._low)

    def draw(self) -> None:
        canvas, curve = self.canv, self._curve
        right, top = self.width - RIGHT, self.height - TOP
        canvas.setFont("Vera", 6.5)
        canvas.setLineWidth(0.4)
        if curve.target is not None:
            low, high = (self._y(edge) for edge in curve.target)
            canvas.setFillColor(TARGET)
            canvas.rect(LEFT, low, right - LEFT, high - low, stroke=0, fill=1)
        canvas.setStrokeColor(GRID)
        canvas.setFillColor(WORDS)
        for value in nice_values(self._low, self._high, TICKS_Y):
            y = self._y(value)
            canvas.line(LEFT, y, right, y)
            canvas.drawRightString(LEFT - 3, y - 2, self._formats.number(value, curve.unit))
        for at_ms in self._midnights():
            x = self._x(at_ms)
            canvas.line(x, BOTTOM, x, top)
            canvas.drawCentredString(x, 3, self._formats.day(at_ms).replace("\u202f", "\u00a0"))
        canvas.setStrokeColor(WORDS)
        canvas.line(LEFT, BOTTOM, right, BOTTOM)
        gap_ms = gap_after_ms(curve.points)
        for points, colour in ((curve.second, SECOND), (curve.points, INK)):
            self._series(points, gap_ms, colour)
        self._limits()

    def _midnights(self) -> list[int]:
        """Local midnights to name, evenly apart."""
        begin = to_datetime(self._curve.begin_ms).astimezone(self._formats.zone)
        days = max(round((self._curve.end_ms - self._curve.begin_ms) / DAY_MS), 1)
        step = -(-days // TICKS_X)
        day = begin.replace(hour=0, minute=0, second=0, microsecond=0)
        if day < begin:
            day += timedelta(days=1)
        marks = [from_datetime(day + timedelta(days=n)) for n in range(0, days, step)]
        return [at_ms for at_ms in marks if at_ms <= self._curve.end_ms]

    def _series(self, points: Sequence[Point], gap_ms: int, colour: colors.Color) -> None:
        canvas = self.canv
        for run in runs(points, gap_ms):
            if any(p.high > p.low for p in run):
                outline = canvas.beginPath()
                for n, p in enumerate(run):
                    (outline.lineTo if n else outline.moveTo)(self._x(p.at_ms), self._y(p.high))
                for p in reversed(run):
                    outline.lineTo(self._x(p.at_ms), self._y(p.low))
                canvas.setFillColor(BAND)
                canvas.drawPath(outline, stroke=0, fill=1)
            line = canvas.beginPath()
            for n, p in enumerate(run):
                (line.lineTo if n else line.moveTo)(self._x(p.at_ms), self._y(p.mean))
            canvas.setStrokeColor(colour)
            canvas.setLineWidth(1.1)
            canvas.drawPath(line, stroke=1, fill=0)
        canvas.setStrokeColor(colour)
        canvas.setLineWidth(0.8)
        for p in points if len(points) <= DOTS_MAX else [p for p in points if p.late]:
            canvas.setFillColor(colors.white if p.late else colour)
            canvas.circle(self._x(p.at_ms), self._y(p.mean), 1.5, stroke=1, fill=1)

    def _limits(self) -> None:
        canvas, curve = self.canv, self._curve
        canvas.setStrokeColor(LIMIT)
        canvas.setFillColor(LIMIT)
        canvas.setLineWidth(0.8)
        canvas.setDash(3, 2)
        lowest = -10.0
        for limit in sorted(curve.limits, key=lambda one: one.level):
            y = self._y(limit.level)
            begin = curve.begin_ms if limit.from_ms is None else max(limit.from_ms, curve.begin_ms)
            canvas.line(self._x(begin), y, self.width - RIGHT, y)
            lowest = max(y - 2, lowest + 7)
            canvas.drawString(self.width - RIGHT + 3, lowest, self._formats.number(limit.level, curve.unit))
        canvas.setDash()
