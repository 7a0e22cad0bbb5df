"""Curves: gaps are seen, limits lie where the rule compares, and what is drawn is well-formed."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_ward import DAY, HOUR, NOW_MS, one_signal

from alerts.feed.curves import DOTS_MAX, LARGE, SMALL, Curve, Point, draw, gap_after_ms, nice_values, runs
from alerts.feed.formats import Formats
from alerts.feed.limits import LimitLine, kinds_of_alert, limit_line
from alerts.feed.models import Alert
from alerts.feed.texts import Texts
from streams.signal import AlertSignal

SVG = Formats(Texts("en"))
BEGIN = NOW_MS - 14 * DAY


def point(at_ms: int, value: float, late: bool = False) -> Point:
    return Point(at_ms, value, value, value, 1, late)


def daily(days: list[int], kind: str = "body-weight", limits: tuple[LimitLine, ...] = ()) -> Curve:
    """A weight each of these days, counted back from now."""
    points = tuple(point(NOW_MS - day * DAY, 80.0 + day / 10) for day in sorted(days, reverse=True))
    return Curve(kind, BEGIN, NOW_MS, points, limits=limits)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - our own drawing


def drawn(curve: Curve) -> ElementTree.Element:
    return parsed(str(draw(curve, SVG)))


def classed(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [element for element in root if name in element.get("class", "").split()]


def alert_of(signal: AlertSignal, **more: object) -> Alert:
    return Alert.model_validate(
        {
            **{
                name: getattr(signal, name)
                for name in ("alert", "patient", "protocol", "protocol_version", "rule")
            },
            "class": signal.cls,
            "severity": signal.severity,
            "condition": "raised",
            "state": "open",
            "opened_at": signal.at,
            "last_at": signal.at,
            "late": signal.late,
            "value": signal.value,
            "limit": signal.limit,
            "unit": signal.unit,
            "explanation": signal.explanation,
            "evidence": [
                {
                    "device": e.device,
                    "seq": e.seq,
                    "measured_at": e.measured_at,
                    "value": e.value,
                    "kind": e.kind,
                }
                for e in signal.evidence
            ],
            "changed_at": signal.at,
            **more,
        }
    )


GAIN = alert_of(one_signal("p-1", 1, "00000000-0000-0000-0000-000000000001"))


def test_a_week_without_weighing_breaks_the_line_and_is_shaded():
    root = drawn(daily([0, 1, 2, 9, 10, 11, 12, 13]))
    (line,) = classed(root, "line")
    assert line.get("d", "").count("M") == 2
    assert len(classed(root, "gap")) == 1


def test_daily_weights_without_a_gap_are_one_line():
    root = drawn(daily(list(range(14))))
    assert classed(root, "line")[0].get("d", "").count("M") == 1
    assert classed(root, "gap") == []


def test_silence_up_to_now_is_shaded():
    root = drawn(daily([4, 5, 6, 7, 8, 9, 10, 11, 12, 13]))
    (gap,) = classed(root, "gap")
    assert float(gap.get("width", "0")) > 50


def test_late_readings_are_hollow_also_where_points_are_too_many_to_draw():
    points = [point(BEGIN + i * 3 * HOUR, 120.0, late=i == 40) for i in range(DOTS_MAX + 20)]
    root = drawn(Curve("glucose", BEGIN, NOW_MS, tuple(points)))
    (late,) = classed(root, "late")
    assert late.get("d", "").count("h0") == 1
    assert "late" in root.get("aria-label", "")


def test_the_limit_of_a_gain_is_the_lowest_of_the_window_plus_the_limit():
    line = limit_line(GAIN)
    assert line is not None
    assert line.kind == "body-weight"
    assert line.level == pytest.approx(80.0 + 2.0)
    assert line.from_ms == NOW_MS - 2 * DAY


@given(st.floats(40, 150), st.floats(0.1, 10), st.floats(0.5, 5))
def test_a_gain_is_over_its_limit_exactly_when_the_weight_is_above_the_line(
    lowest: float, gain: float, limit: float
):
    readings = [
        {**e.model_dump(), "value": v} for e, v in zip(GAIN.evidence, (lowest, lowest + gain), strict=True)
    ]
    alert = Alert.model_validate(
        {**GAIN.model_dump(by_alias=True), "evidence": readings, "value": gain, "limit": limit}
    )
    line = limit_line(alert)
    assert line is not None
    assert line.level == pytest.approx(lowest + limit)


def test_the_limit_of_a_loss_is_below_the_highest():
    readings = [{**e.model_dump(), "value": v} for e, v in zip(GAIN.evidence, (80.0, 77.5), strict=True)]
    alert = Alert.model_validate(
        {**GAIN.model_dump(by_alias=True), "rule": "weight-loss", "evidence": readings, "value": 2.5}
    )
    line = limit_line(alert)
    assert line is not None
    assert line.level == pytest.approx(78.0)


def test_an_absolute_limit_is_drawn_at_its_value_and_only_in_its_own_unit():
    evidence = [{**GAIN.evidence[0].model_dump(), "kind": "glucose", "value": 48.0}]
    base = {**GAIN.model_dump(by_alias=True), "rule": "glucose-very-low", "evidence": evidence, "limit": 54.0}
    line = limit_line(Alert.model_validate({**base, "unit": "mg/dL"}))
    assert line == LimitLine("glucose", 54.0)
    assert limit_line(Alert.model_validate({**base, "unit": "h"})) is None


def test_no_reading_has_a_curve_but_no_limit_in_it():
    alert = Alert.model_validate(
        {**GAIN.model_dump(by_alias=True), "rule": "no-reading", "evidence": [], "unit": "h"}
    )
    assert kinds_of_alert(alert) == ("body-weight",)
    assert limit_line(alert) is None


def test_numbers_of_limits_that_lie_close_together_do_not_overlap():
    limits = tuple(LimitLine("blood-pressure", level) for level in (169.0, 170.0, 171.0))
    root = drawn(daily([0, 1, 2], "blood-pressure", limits))
    heights = sorted(float(label.get("y", "0")) for label in classed(root, "limit-label"))
    assert len(heights) == 3
    assert all(b - a >= SMALL.text - 0.11 for a, b in pairwise(heights))


def test_a_curve_without_a_reading_says_so():
    root = drawn(Curve("inr", BEGIN, NOW_MS, ()))
    assert "no reading" in root.get("aria-label", "")


times = st.integers(BEGIN - DAY, NOW_MS + HOUR)
values = st.floats(1, 500)


@given(st.lists(st.tuples(times, values, values, st.booleans()), max_size=150), st.lists(values, max_size=3))
def test_whatever_is_drawn_is_well_formed_and_inside_the_picture(
    samples: list[tuple[int, float, float, bool]], levels: list[float]
):
    points = tuple(
        Point(at, min(a, b), max(a, b), (a + b) / 2, 2, late) for at, a, b, late in sorted(samples)
    )
    curve = Curve("glucose", BEGIN, NOW_MS, points, points, tuple(LimitLine("glucose", v) for v in levels))
    for size in (SMALL, LARGE):
        root = parsed(str(draw(curve, SVG, size)))
        for dots in classed(root, "dots"):
            for x, y in re.findall(r"M(-?\d+) (-?\d+)h0", dots.get("d", "")):
                assert 0 <= int(x) <= size.width
                assert 0 <= int(y) <= size.height


@given(st.lists(times, min_size=1, max_size=80, unique=True))
def test_stretches_keep_every_point_once_and_break_only_at_gaps(instants: list[int]):
    points = [point(at, 1.0) for at in sorted(instants)]
    gap_ms = gap_after_ms(points)
    stretches = runs(points, gap_ms)
    assert [p for stretch in stretches for p in stretch] == points
    assert all(b.at_ms - a.at_ms <= gap_ms for stretch in stretches for a, b in pairwise(stretch))
    assert all(b[0].at_ms - a[-1].at_ms > gap_ms for a, b in pairwise(stretches))


@given(st.floats(-1000, 1000), st.floats(0.01, 1000), st.integers(1, 8))
def test_axis_values_are_round_inside_and_few(low: float, span: float, about: int):
    found = nice_values(low, low + span, about)
    assert all(low - 1e-6 <= value <= low + span + 1e-6 for value in found)
    assert len(found) <= 2 * about + 2
