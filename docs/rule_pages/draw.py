"""From an outcome to its chart: what was measured, what the rule compares, its limits, and the alert."""

from __future__ import annotations

import itertools

from devices.readings import Reading
from devices.times import parse_instant
from rule_pages.curves import Chart, Limit, Line, Mark, Panel
from rule_pages.examples import Example, Measured
from rule_pages.story import START_MS, Outcome
from streams.protocols import Protocol, Rule
from streams.protocols.model import Level
from streams.signal import AlertSignal

SIGNS = {"at_least": "≥", "above": ">", "at_most": "≤", "below": "<"}
MAX_DOTS = 900  # a recording's intervals are thinned to so many dots: more are not seen, and weigh
SEPARATE: dict[tuple[str, ...], dict[str, str]] = {
    ("score", "worst"): {"score": "NEWS2 score, points", "worst": "Highest points of a single input"},
}
"""Channels that are different things, and get a panel each."""


def minutes(at_ms: int) -> float:
    return (at_ms - START_MS) / 60_000


def chart(protocol: Protocol, rule: Rule, example: Example, outcome: Outcome) -> Chart:
    panels = [measured_panel(outcome, wanted) for wanted in example.measured]
    if rule.statistic is None:
        panels.append(silence_panel(protocol, rule, example, outcome))
    else:
        panels += own_panels(rule, example, outcome)
    channels = rule.statistic.channels if rule.statistic is not None else ()
    if usual := usual_line(outcome, channels):
        first = panels[0]
        panels[0] = Panel(first.title, (usual, *first.lines), first.limits)
    title = f"{protocol.title['en']}: {rule.name}. {example.shows}"
    return Chart(title, panels, marks(outcome.signals), minutes(outcome.until_ms))


def measured_panel(outcome: Outcome, wanted: Measured) -> Panel:
    kind, name, title = wanted
    readings = [r for r in outcome.readings if r.kind == kind]
    if kind == "rr-intervals":
        return Panel(title, (intervals(readings),))
    points = tuple((minutes(r.measured_at_ms), float(r.values[name])) for r in readings)
    faulty = frozenset(minutes(r.measured_at_ms) for r in readings if r.marks)
    return Panel(title, (Line(points, faulty=faulty),))


def intervals(readings: list[Reading]) -> Line:
    dots = []
    for reading in readings:
        at_ms = float(reading.measured_at_ms)
        for rr in reading.values["rr"]:
            at_ms += rr
            dots.append(((at_ms - START_MS) / 60_000, float(rr)))
    step = -(-len(dots) // MAX_DOTS)
    longest = {dot for dot in dots if dot[1] > 2000}
    return Line(tuple(d for i, d in enumerate(dots) if i % step == 0 or d in longest), "dots")


def usual_line(outcome: Outcome, channels: tuple[str, ...]) -> Line | None:
    """The baseline that the rule has learnt, where it has one."""
    points = tuple(
        (minutes(p.at_ms), float(p.measure.extra["usual"]))
        for p in outcome.points
        if "usual" in p.measure.extra
    )
    name = "long mean" if "difference" in channels else "usual"
    return Line(points, "usual", name) if points else None


def own_panels(rule: Rule, example: Example, outcome: Outcome) -> list[Panel]:
    """What the rule compares, with the limits of the levels that could apply."""
    assert rule.statistic is not None  # noqa: S101 - the caller has looked
    facts = {p.measure.facts for p in outcome.points}
    levels = [lv for lv in rule.levels if lv.name not in example.hide and any(map(lv.applies, facts))]
    channels = rule.statistic.channels
    if channels == ("inr", "below", "above"):
        return [inr_panel(levels, example, outcome)]
    titles = SEPARATE.get(channels)
    panels = []
    lines: list[Line] = []
    limits: list[Limit] = []
    counted = [i for i in range(len(channels)) if any(lv.limits[i] is not None for lv in rule.levels)]
    if channels == ("systolic", "diastolic"):
        counted = [0, 1]
    grade = channels == ("grade",)
    rhythm = all(r.kind == "rr-intervals" for r in outcome.readings)
    for place, index in enumerate(counted):
        points = tuple((minutes(p.at_ms), p.measure.values[index]) for p in outcome.points)
        style = "steps" if grade or rhythm else "second" if place and titles is None else "line"
        if rhythm:  # what was found in a recording holds for its whole length
            points = (*points, (recording_end(outcome), points[-1][1]))
        label = channels[index] if len(counted) > 1 and titles is None else ""
        lines.append(
            Line(
                points,
                style,
                label if not any(lv.limits[index] is not None for lv in levels) else "",
                whole=grade,
            )
        )
        limits += level_limits(levels, index, channels[index] + " " if label else "")
        if titles is not None:
            panels.append(Panel(titles[channels[index]], tuple(lines), tuple(limits)))
            lines, limits = [], []
    return panels or [Panel(example.title, tuple(lines), tuple(limits))]


def recording_end(outcome: Outcome) -> float:
    last = outcome.readings[-1]
    return minutes(last.measured_at_ms) + float(sum(last.values["rr"])) / 60_000


def level_limits(levels: list[Level], index: int, what: str) -> list[Limit]:
    """A line for each limit and each clear limit; levels that share one share its line."""
    found: dict[tuple[str, float], Limit] = {}
    several = len({lv.severity for lv in levels}) < len(levels)
    for level in levels:
        limit, clear = level.limits[index], level.clears[index]
        if limit is None:
            continue
        named = f", {level.name}" if several and level.name != level.severity else ""
        label = f"{what}{SIGNS[level.comparison]} {limit:g} {level.severity}{named}"
        found.setdefault((level.severity, limit), Limit(limit, label, level.severity))
        if clear is not None and clear != limit:
            back = "≤" if level.comparison in ("at_least", "above") else "≥"
            found.setdefault(("clear", clear), Limit(clear, f"{what}over at {back} {clear:g}", "clear"))
    return list(found.values())


def inr_panel(levels: list[Level], example: Example, outcome: Outcome) -> Panel:
    """The ratio itself, although levels may compare its distance to the target."""
    points = tuple((minutes(p.at_ms), p.measure.values[0]) for p in outcome.points)
    extra = outcome.points[-1].measure.extra
    limits = level_limits([lv for lv in levels if lv.limits[0] is not None], 0, "")
    for level in levels:
        for index, end in ((1, "low"), (2, "high")):
            if level.limits[index] is not None:
                value, sign = float(extra[end]), "<" if end == "low" else ">"
                limits.append(Limit(value, f"{sign} {value:g} {level.severity}: target", level.severity))
    return Panel(example.title, (Line(points),), tuple(limits))


def silence_panel(protocol: Protocol, rule: Rule, example: Example, outcome: Outcome) -> Panel:
    """Hours since the last reading: a saw that each reading brings back to nothing."""
    times = [minutes(r.measured_at_ms) for r in outcome.readings]
    points = [(times[0], 0.0)]
    for before, after in itertools.pairwise(times):
        points += [(after - 0.01, (after - before) / 60), (after, 0.0)]
    (kind,) = {r.kind for r in outcome.readings}
    usual = protocol.schedule[kind]
    limits = (
        Limit(usual.overdue_hours, f"≥ {usual.overdue_hours:g} medium", "medium"),
        Limit(usual.grave_hours, f"≥ {usual.grave_hours:g} high", "high"),
    )
    faultless = Line(tuple(points), "plain")
    return Panel(example.title, (faultless,), limits)


def marks(signals: list[AlertSignal]) -> list[Mark]:
    """Instants of the alert; an update has a label only where the severity changes."""
    found: list[Mark] = []
    severity = ""
    for signal in signals:
        at = minutes(parse_instant(signal.at)[0])
        label = {"raised": f"raised {signal.severity}", "updated": f"now {signal.severity}"}.get(
            signal.state, "cleared"
        )
        told = signal.state != "updated" or signal.severity != severity
        severity = signal.severity
        found.append(Mark(at, signal.state, signal.severity, label if told else ""))
    return found
