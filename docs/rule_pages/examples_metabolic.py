"""Made-up series for diabetes, respiratory follow-up and oral anticoagulation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from rule_pages.story import Story, day

GLUCOSE = ("glucose", "glucose", "Glucose, mg/dL")
INR = ("inr", "inr", "INR")


def sensor(values: Sequence[float], step: int = 5, hour: float = 2.0) -> Story:
    story = Story()
    for index, value in enumerate(values):
        story.add(
            day(1, hour) + step * index,
            "glucose",
            {"glucose": round(value)},
            context={"sample": "interstitial"},
        )
    return story


def between(*corners: tuple[int, float]) -> list[float]:
    """Straight lines: (number of the sample, value) of each corner."""
    values: list[float] = []
    for (start, a), (stop, b) in itertools.pairwise(corners):
        values += [a + (b - a) * i / (stop - start) for i in range(stop - start)]
    return [*values, corners[-1][1]]


def ketones() -> Story:
    story = Story()
    for at, kind, name, value in (
        (8.0, "glucose", "glucose", 212.0), (10.0, "glucose", "glucose", 262.0), (10.2, "ketones", "ketones", 1.8),
        (10.5, "glucose", "glucose", 274.0), (12.0, "glucose", "glucose", 286.0), (14.0, "glucose", "glucose", 258.0),
        (14.2, "ketones", "ketones", 0.6), (16.0, "glucose", "glucose", 224.0), (18.0, "glucose", "glucose", 190.0),
    ):  # fmt: skip
        story.add(
            day(1, at), kind, {name: value}, context={"sample": "capillary"} if kind == "glucose" else None
        )
    return story


def saturation(values: Sequence[int], per_day: int = 2) -> Callable[[], Story]:
    def make() -> Story:
        story = Story()
        for index, value in enumerate(values):
            hour = 8 if index % per_day == 0 else 20
            story.add(day(1 + index // per_day, hour), "oxygen-saturation", {"spo2": value})
        return story

    return make


def news2() -> Story:
    story = Story()
    rows = (
        (16, 96, 124, 74, 36.8), (20, 95, 118, 92, 37.4), (22, 94, 112, 104, 38.2), (22, 93, 105, 115, 38.5),
        (21, 94, 112, 98, 37.9), (18, 96, 120, 86, 37.2),
    )  # fmt: skip
    for index, (breaths, spo2, systolic, pulse, celsius) in enumerate(rows):
        at = day(1 + index, 8)
        story.add(at, "respiratory-rate", {"respiratory_rate": breaths})
        story.add(at + 1, "oxygen-saturation", {"spo2": spo2}, context={"oxygen": "air"})
        story.add(at + 2, "blood-pressure", {"systolic": systolic, "diastolic": systolic - 48})
        story.add(at + 3, "temperature", {"temperature": celsius})
        story.add(at + 4, "symptoms", {"consciousness": "A"})
        story.add(at + 5, "heart-rate", {"heart_rate": pulse}, context={"activity": "rest"})
    return story


def fever() -> Story:
    story = Story()
    for index, celsius in enumerate((36.8, 37.4, 38.2, 39.2, 38.9, 38.4, 37.6, 37.0)):
        story.add(day(1 + index // 2, 8 + 12 * (index % 2)), "temperature", {"temperature": celsius})
    return story


def inr(*tests: tuple[int, float]) -> Callable[[], Story]:
    """(day, ratio) of each test."""

    def make() -> Story:
        story = Story(plan={"inr_target": [2.0, 3.0]})
        for number, ratio in tests:
            story.add(day(number, 9), "inr", {"inr": ratio})
        return story

    return make


def critical() -> Story:
    story = inr((1, 2.8), (15, 6.4), (16, 4.8), (18, 3.4), (22, 2.7))()
    story.add(day(26, 19), "symptoms", {"bleeding": True})
    story.add(day(27, 19), "symptoms", {"bleeding": False})
    return story


TTR = (2.4, 1.7, 1.8, 1.6, 1.9, 2.2, 2.5, 2.4, 2.6, 2.3, 2.5, 2.7, 2.4, 2.5)

EXAMPLES: dict[str, tuple[Any, ...]] = {
    "diabetes/glucose-very-low": (
        lambda: sensor(between((0, 120), (14, 50), (19, 46), (24, 62), (34, 108))),
        "A night on a sensor. The third sample below the limit raises the alert; three samples back in range end it.",
        "Glucose, mg/dL",
    ),
    "diabetes/glucose-low": (
        lambda: sensor(between((0, 118), (16, 64), (22, 61), (34, 104))),
        "A night on a sensor: below the first limit for a quarter of an hour, and never below the graver one.",
        "Glucose, mg/dL",
    ),
    "diabetes/glucose-high": (
        lambda: sensor(between((0, 170), (8, 262), (22, 284), (30, 240), (36, 205)), 10, 12),
        "After a meal the sensor stays above the limit. Nothing is raised for the first two hours.",
        "Glucose, mg/dL",
    ),
    "diabetes/glucose-very-high": (
        ketones,
        "Fingersticks of a sick day. The reading after the high ketones raises the alert.",
        "Glucose, mg/dL",
        (("ketones", "ketones", "Ketones, mmol/L"),),
    ),
    "diabetes/glucose-falling": (
        lambda: sensor(between((0, 150), (4, 147), (12, 84), (14, 75), (17, 76), (24, 108)), 5, 17),
        "Glucose falls fast. The line through the last samples would reach the limit; the alert comes before any low.",
        "Glucose expected, mg/dL",
        (GLUCOSE,),
    ),
    "respiratory/spo2-low": (
        saturation((96, 96, 95, 94, 93, 92, 91, 93, 95, 96)),
        "Two readings in a row for each level. One reading at the graver level's clear limit is not yet the end.",
        "Oxygen saturation, %",
    ),
    "respiratory/spo2-drop": (
        saturation((98, 99, 98, 98, 99, 98, 99, 98, 98, 99, 98, 98, 99, 98, 98, 95, 95, 96, 98, 98), 1),
        "A patient whose usual saturation is high (dashed) loses points, and stays above every absolute limit.",
        "Drop from the usual value, points of %",
        (("oxygen-saturation", "spo2", "Oxygen saturation, %"),),
    ),
    "respiratory/news2": (
        news2,
        "Each morning all inputs within a few minutes. On the fourth the score is an emergency.",
        "NEWS2, points",
    ),
    "respiratory/temperature": (
        fever,
        "A fever rises and falls; each level ends by its own clear limit.",
        "Temperature, °C",
    ),
    "anticoagulation/inr-low": (
        inr((1, 2.4), (29, 2.1), (57, 1.8), (64, 1.7), (71, 2.2), (85, 2.5)),
        "Two tests below the target, then back inside.",
        "INR",
    ),
    "anticoagulation/inr-high": (
        inr((1, 2.6), (29, 2.8), (57, 3.4), (64, 3.2), (71, 2.7), (85, 2.5)),
        "Two tests above the target, then back inside.",
        "INR",
    ),
    "anticoagulation/inr-critical": (
        critical,
        "A ratio at the limit, then, days after it has come down, a questionnaire that reports a bleeding.",
        "INR",
        (),
        ("bleeding",),
    ),
    "anticoagulation/ttr-low": (
        inr(*((1 + 10 * i, ratio) for i, ratio in enumerate(TTR))),
        "With the fifth test there is enough to judge. The share comes back slowly, because the window is long.",
        "Time in therapeutic range, %",
        (INR,),
    ),
}
