"""A curve as a small SVG: panels over one time axis, limits drawn in, instants of the alert marked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

WIDTH, LEFT, RIGHT = 720, 50, 168
PLOT = WIDTH - LEFT - RIGHT
PANEL, GAP, ROW, FOOT = 118, 30, 15, 30
MAX_TICKS = 9
LABEL_CHAR = 7.2  # width of a bold letter at 11 px, enough to keep labels apart

STYLE = """
.paper{fill:#fff}.ink{fill:#1b2a33}.soft{fill:#566670}.grid{stroke:#e3e9ed}
.line{stroke:#0b6e8f}.dot{fill:#0b6e8f}.hollow{fill:#fff;stroke:#0b6e8f}.second{stroke:#7a5aa6}.dot2{fill:#7a5aa6}
.usual{stroke:#566670}.clear{stroke:#2e7d32}.text-clear{fill:#226326}
.high{stroke:#b3261e}.text-high{fill:#b3261e}.band-high{fill:#b3261e}
.medium{stroke:#b06000}.text-medium{fill:#8f4e00}.band-medium{fill:#d98200}
.low{stroke:#0b6e8f}.text-low{fill:#0b6e8f}.band-low{fill:#0b6e8f}
@media (prefers-color-scheme:dark){.paper{fill:#141c21}.ink{fill:#e4ebef}.soft{fill:#a3b1ba}.grid{stroke:#2b373f}
.line{stroke:#62c1e0}.dot{fill:#62c1e0}.hollow{fill:#141c21;stroke:#62c1e0}.second{stroke:#c0a3ea}.dot2{fill:#c0a3ea}
.usual{stroke:#a3b1ba}.clear{stroke:#81c784}.text-clear{fill:#81c784}
.high{stroke:#ff8a80}.text-high{fill:#ff8a80}.band-high{fill:#ff8a80}
.medium{stroke:#ffb74d}.text-medium{fill:#ffb74d}.band-medium{fill:#ffb74d}
.low{stroke:#62c1e0}.text-low{fill:#62c1e0}.band-low{fill:#62c1e0}}
text{font:11px system-ui,sans-serif}.title{font-weight:600}
"""


@dataclass(frozen=True)
class Line:
    """A series. `style` line, second, usual (dashed, no dots), steps, dots; `faulty` are drawn hollow."""

    points: tuple[tuple[float, float], ...]
    style: str = "line"
    name: str = ""
    faulty: frozenset[float] = frozenset()
    whole: bool = False
    """Grades: the axis shows whole numbers only."""


@dataclass(frozen=True)
class Limit:
    """A horizontal line with its label. `style` is a severity, or clear."""

    value: float
    label: str
    style: str


@dataclass(frozen=True)
class Panel:
    """One picture over the time axis."""

    title: str
    lines: tuple[Line, ...]
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class Mark:
    """An instant of the alert: raised, updated or cleared, with the severity from then on."""

    at: float
    state: str
    severity: str
    label: str = ""


@dataclass
class Chart:
    """Times are minutes since the first day's midnight."""

    title: str
    panels: list[Panel]
    marks: list[Mark] = field(default_factory=list)
    end: float = 0.0

    def svg(self) -> str:
        times = [t for panel in self.panels for line in panel.lines for t, _ in line.points]
        times += [mark.at for mark in self.marks]
        self.first, self.last = min(times), max([*times, self.end])
        pad = (self.last - self.first) * 0.03
        self.first, self.last = self.first - pad, self.last + pad
        labels, rows = self._labels()
        top = 26 + rows * ROW
        heights = len(self.panels) * (PANEL + GAP)
        height = top + heights + FOOT - 8
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img">',
            f"<title>{escape(self.title)}</title><style>{STYLE.strip()}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>',
        ]
        bottom = top + heights
        parts += self._bands(top + GAP - 8, bottom)
        parts += self._axis(top + GAP - 8, bottom)
        for index, panel in enumerate(self.panels):
            parts += self._panel(panel, top + index * (PANEL + GAP) + GAP)
        parts += self._marks(labels, bottom)
        return "\n".join([*parts, "</svg>"]) + "\n"

    def x(self, at: float) -> float:
        return round(LEFT + PLOT * (at - self.first) / (self.last - self.first), 1)

    # ── the alert ─────────────────────────────────────────────────────────────────────────────────────

    def _labels(self) -> tuple[list[tuple[Mark, int, float]], int]:
        """Labels in as many rows as keep them apart: (mark, row, left edge)."""
        placed: list[tuple[Mark, int, float]] = []
        ends: list[float] = []
        for mark in self.marks:
            if not mark.label:
                continue
            width = len(mark.label) * LABEL_CHAR
            left = min(max(self.x(mark.at) + 3, LEFT), WIDTH - width - 6)
            row = next((r for r, end in enumerate(ends) if end + 8 < left), len(ends))
            ends[row : row + 1] = [left + width]
            placed.append((mark, row, left))
        return placed, max(1, len(ends))

    def _bands(self, top: float, bottom: float) -> list[str]:
        """Where the alert is open, in the colour of its severity."""
        parts = []
        for index, mark in enumerate(self.marks):
            if mark.state == "cleared":
                continue
            stop = self.marks[index + 1].at if index + 1 < len(self.marks) else self.last
            left, right = self.x(mark.at), self.x(stop)
            parts.append(
                f'<rect class="band-{mark.severity}" opacity=".13" x="{left}" y="{top:g}" '
                f'width="{round(right - left, 1)}" height="{bottom - top:g}"/>'
            )
        return parts

    def _marks(self, labels: list[tuple[Mark, int, float]], bottom: float) -> list[str]:
        parts = []
        for mark, row, left in labels:
            style = "clear" if mark.state == "cleared" else mark.severity
            y = 20 + row * ROW
            x = self.x(mark.at)
            parts.append(
                f'<path class="{style}" stroke-width="1.2" d="M{x} {y - 9}V{bottom:g}"/>'
                f'<text class="text-{style} title" x="{round(left, 1)}" y="{y}">{escape(mark.label)}</text>'
            )
        return parts

    # ── axes and curves ───────────────────────────────────────────────────────────────────────────────

    def _axis(self, top: float, bottom: float) -> list[str]:
        span = self.last - self.first
        unit = 1440 if span > 2.5 * 1440 else 60 if span > 150 else 10 if span > 30 else 2
        step = next(s for s in (1, 2, 3, 4, 6, 7, 12, 14, 28, 56) if span / (unit * s) <= MAX_TICKS) * unit
        parts = []
        at = step * -(-self.first // step)
        while at <= self.last:
            x = self.x(at)
            text = (
                f"day {round(at / 1440) + 1}"
                if unit == 1440
                else f"{int(at // 60) % 24:02}:{int(at % 60):02}"
            )
            parts.append(
                f'<path class="grid" d="M{x} {top:g}V{bottom:g}"/>'
                f'<text class="soft" text-anchor="middle" x="{x}" y="{bottom + 15:g}">{text}</text>'
            )
            at += step
        return parts

    def _panel(self, panel: Panel, top: float) -> list[str]:
        values = [v for line in panel.lines for _, v in line.points] + [limit.value for limit in panel.limits]
        low, high = min(values), max(values)
        pad = (high - low or 1.0) * 0.09
        low, high = low - pad, high + pad

        def y(value: float) -> float:
            return round(top + PANEL - PANEL * (value - low) / (high - low), 1)

        parts = [f'<text class="ink title" x="{LEFT}" y="{top - 10:g}">{escape(panel.title)}</text>']
        least = 1.0 if any(line.style == "steps" and line.whole for line in panel.lines) else 0.0
        for tick in ticks(low, high, least):
            parts.append(
                f'<path class="grid" d="M{LEFT} {y(tick)}h{PLOT}"/>'
                f'<text class="soft" text-anchor="end" x="{LEFT - 6}" y="{y(tick) + 4}">{tick:g}</text>'
            )
        for limit in panel.limits:
            dash = "2 4" if limit.style == "clear" else "7 4"
            parts.append(
                f'<path class="{limit.style}" stroke-width="1.3" stroke-dasharray="{dash}" '
                f'd="M{LEFT} {y(limit.value)}h{PLOT}"/>'
            )
        for at, limit in spread(
            [(y(limit.value) + 4, limit) for limit in panel.limits], top, top + PANEL + 4
        ):
            text = escape(limit.label)
            parts.append(f'<text class="text-{limit.style}" x="{LEFT + PLOT + 6}" y="{at:g}">{text}</text>')
        for line in panel.lines:
            parts += self._line(line, y)
        return parts

    def _line(self, line: Line, y: Callable[[float], float]) -> list[str]:
        points = [(self.x(t), y(v), t) for t, v in line.points]
        if not points:
            return []
        if line.style == "dots":
            path = "".join(f"M{px:g} {py:g}h0" for px, py, _ in points)
            return [f'<path class="line" stroke-width="2" stroke-linecap="round" d="{path}"/>']
        kind = {"second": "second", "usual": "usual", "threshold": "medium"}.get(line.style, "line")
        if line.style == "steps":
            path = "H".join([f"M{points[0][0]} {points[0][1]}", *(f"{px}V{py}" for px, py, _ in points[1:])])
        else:
            path = "M" + "L".join(f"{px} {py}" for px, py, _ in points)
        dash = ' stroke-dasharray="5 3"' if line.style in ("usual", "threshold") else ""
        parts = [f'<path class="{kind}" fill="none" stroke-width="1.5"{dash} d="{path}"/>']
        if line.style in ("line", "second"):
            radius = 2.8 if len(points) <= 40 else 1.6
            dot = "dot2" if line.style == "second" else "dot"
            parts += [
                f'<circle class="{"hollow" if t in line.faulty else dot}" cx="{px}" cy="{py}" r="{radius}"/>'
                for px, py, t in points
            ]
        if line.name:
            _px, py, _ = points[-1]
            parts.append(
                f'<text class="soft" x="{LEFT + PLOT + 6}" y="{py + 4:g}">{escape(line.name)}</text>'
            )
        return parts


def ticks(low: float, high: float, least: float) -> list[float]:
    """Three to seven round numbers between two, at least `least` apart."""
    size = 10.0**-3
    while True:
        for factor in (1, 2, 5):
            step = size * factor
            if (high - low) / step <= 6 and step >= least:
                first = -(-low // step)
                count = int((high - first * step) // step)
                return [round((first + i) * step, 6) + 0.0 for i in range(count + 1)]
        size *= 10


def spread(labels: list[tuple[float, Limit]], top: float, bottom: float) -> list[tuple[float, Limit]]:
    """Move labels apart that would lie over each other, 13 px from one to the next."""
    placed = sorted(labels, key=lambda entry: entry[0])
    for index in range(1, len(placed)):
        least = placed[index - 1][0] + 13
        if placed[index][0] < least:
            placed[index] = (least, placed[index][1])
    over = placed[-1][0] - bottom if placed else 0.0
    if over > 0:
        for index in range(len(placed) - 1, -1, -1):
            most = bottom if index == len(placed) - 1 else placed[index + 1][0] - 13
            placed[index] = (min(placed[index][0], most), placed[index][1])
    return placed
