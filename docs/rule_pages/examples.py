"""Which made-up series shows which rule. The numbers are chosen to raise the alert, and mean nothing more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rule_pages import examples_heart, examples_metabolic
from rule_pages.story import Story, day

Measured = tuple[str, str, str]
"""A panel of its own above the rule's: kind of reading, name of the value, title."""


@dataclass(frozen=True)
class Example:
    """A story, how it is drawn, and what it shows in one sentence."""

    make: Callable[[], Story]
    shows: str
    title: str
    measured: tuple[Measured, ...] = ()
    hide: tuple[str, ...] = ()
    """Levels whose limit is not drawn: those that no number decides."""


def technique(
    kind: str, values: Sequence[float | dict[str, object]], name: str, flag: str, at: range
) -> Story:
    """One reading a day, those of the places in `at` with a flag."""
    story = Story()
    for index, value in enumerate(values):
        given = value if isinstance(value, dict) else {name: value}
        context = {"sample": "capillary"} if kind == "glucose" else None
        story.add(day(1 + index), kind, given, [flag] if index in at else (), context)
    return story


def clock(kind: str, name: str, value: float) -> Story:
    """A device that has lost its time for two days of six."""
    return technique(kind, [value] * 6, name, "clock-unset", range(2, 4))


def cuff(*pairs: tuple[int, int]) -> list[float | dict[str, object]]:
    return [{"systolic": high, "diastolic": low} for high, low in pairs]


def faulty(make: Callable[[], Story], shows: str, measured: Measured) -> Example:
    return Example(make, shows, "Grade of the fault", (measured,))


def silent(
    kind: str, name: str, value: float, every_hours: float, before: Sequence[float], again: float
) -> Callable[[], Story]:
    """Readings at the hours `before`, none until the hour `again`."""

    def make() -> Story:
        story = Story(plan={"schedule": {kind: {"every_hours": every_hours}}})
        for hour in (*before, again, again + every_hours):
            values = {"systolic": value, "diastolic": 84} if kind == "blood-pressure" else {name: value}
            story.add(round(hour * 60), kind, values)
        return story

    return make


QUIET = (
    "The hours since the last reading grow; the alert opens, becomes graver and ends with the next reading."
)
CLOCK = "For two days the device says that its clock is not set."
SINCE = "Hours since the last reading"
DAILY = (7.0, 31.0, 55.0)
FAULTS = "Three readings in a row cannot be used (hollow); the next good one ends the alert."

EXAMPLES: dict[str, Example] = {
    **{key: Example(*given) for key, given in examples_heart.EXAMPLES.items()},
    **{key: Example(*given) for key, given in examples_metabolic.EXAMPLES.items()},
    "heart-failure/no-reading": Example(silent("body-weight", "weight", 80.0, 24, DAILY, 151), QUIET, SINCE),
    "hypertension/no-reading": Example(silent("blood-pressure", "", 134, 24, DAILY, 247), QUIET, SINCE),
    "diabetes/no-reading": Example(silent("glucose", "glucose", 120, 6, (7, 13, 19, 31), 109), QUIET, SINCE),
    "arrhythmia/no-reading": Example(silent("heart-rate", "heart_rate", 64, 24, DAILY, 247), QUIET, SINCE),
    "respiratory/no-reading": Example(
        silent("oxygen-saturation", "spo2", 96, 24, DAILY, 175), QUIET, SINCE
    ),
    "anticoagulation/inr-overdue": Example(silent("inr", "inr", 2.5, 672, (9,), 1509), QUIET, SINCE),
    "heart-failure/device-fault": faulty(
        lambda: technique("body-weight", [80.0, 80.2, 80.1, 63.4, 80.3, 80.2], "weight", "device-fault", range(3, 4)),
        "The scale itself reports a fault (hollow): one such reading is enough. The next sound one ends the alert.",
        ("body-weight", "weight", "Weight, kg"),
    ),
    "hypertension/device-fault": faulty(
        lambda: technique(
            "blood-pressure",
            cuff((134, 82), (136, 84), (151, 99), (160, 70), (147, 103), (135, 83), (133, 82)),
            "", "movement", range(2, 5),
        ),
        FAULTS,
        ("blood-pressure", "systolic", "Systolic pressure, mm[Hg]"),
    ),
    "diabetes/device-fault": faulty(
        lambda: technique(
            "glucose", [118, 124, 60, 205, 80, 190, 70, 66, 121, 117], "glucose", "sample-insufficient", range(2, 8)
        ),
        "Six strips in a row had too little blood (hollow); the next good one ends the alert.",
        ("glucose", "glucose", "Glucose, mg/dL"),
    ),
    "arrhythmia/device-fault": faulty(
        lambda: technique(
            "heart-rate", [64, 66, 31, 148, 40, 65, 63], "heart_rate", "contact-lost", range(2, 5)
        ),
        FAULTS,
        ("heart-rate", "heart_rate", "Heart rate, /min"),
    ),
    "respiratory/device-fault": faulty(
        lambda: technique(
            "oxygen-saturation", [96, 97, 78, 71, 83, 96, 97], "spo2", "contact-lost", range(2, 5)
        ),
        FAULTS,
        ("oxygen-saturation", "spo2", "Oxygen saturation, %"),
    ),
    "anticoagulation/device-fault": faulty(
        lambda: technique("inr", [2.4, 2.6, 1.1, 4.9, 0.8, 2.5, 2.6], "inr", "strip-fault", range(2, 5)),
        FAULTS,
        ("inr", "inr", "INR"),
    ),
    "heart-failure/clock-fault": Example(lambda: clock("body-weight", "weight", 80.0), CLOCK, "Clock fault"),
    "hypertension/clock-fault": Example(
        lambda: technique("blood-pressure", cuff(*[(134, 82)] * 6), "", "clock-unset", range(2, 4)),
        CLOCK, "Clock fault",
    ),
    "diabetes/clock-fault": Example(lambda: clock("glucose", "glucose", 120), CLOCK, "Clock fault"),
    "arrhythmia/clock-fault": Example(lambda: clock("heart-rate", "heart_rate", 64), CLOCK, "Clock fault"),
    "respiratory/clock-fault": Example(lambda: clock("oxygen-saturation", "spo2", 96), CLOCK, "Clock fault"),
    "anticoagulation/clock-fault": Example(lambda: clock("inr", "inr", 2.5), CLOCK, "Clock fault"),
}  # fmt: skip
