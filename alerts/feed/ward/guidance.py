"""What the reference says to an INR, and when to test again. Pure. It never doses.

The table for an INR above the target is HAS 2008 (asymptomatic; clinical reference, section 5): test again the
next day in every case. The other intervals are the project's defaults: a week after a value out of range, the
plan's own rhythm once two tests in a row were within it. A physician confirms or changes every date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

TARGET = (2.0, 3.0)
HIGH_TARGET_FROM = 3.0
"""The middle of a target from which the column for ≥ 3 holds (2.5 to 3.5, 3 to 4.5)."""

VALVE_LOW = 1.5
"""Below it on a mechanical valve is red (project default)."""

AFTER_OUT_OF_RANGE_DAYS = 7
PLAN_DAYS = 28  # a stable patient's rhythm where the plan has none (streams/protocols/anticoagulation.toml)
STEADY_TESTS = 2  # tests in a row within the target before the plan's rhythm holds again

Level = Literal["in-range", "low", "low-valve", "above", "four", "six", "ten", "bleeding"]
Colour = Literal["green", "orange", "red"]

COLOURS: dict[Level, Colour] = {
    "in-range": "green",
    "low": "orange",
    "low-valve": "red",
    "above": "orange",
    "four": "orange",
    "six": "red",
    "ten": "red",
    "bleeding": "red",
}


@dataclass(frozen=True, slots=True)
class Guidance:
    """`key` names the sentence (texts guidance.*), `days` the distance of the next test."""

    level: Level
    column: Literal["usual", "high"]
    days: int

    @property
    def colour(self) -> Colour:
        return COLOURS[self.level]

    @property
    def key(self) -> str:
        """Sentences differ by target only where the table has two columns."""
        if self.level in ("above", "four", "six", "ten"):
            return f"{self.level}_{self.column}"
        return self.level.replace("-", "_")


def guide(
    values: Sequence[float],
    target: tuple[float, float] | None = None,
    *,
    every_days: float | None = None,
    mechanical_valve: bool = False,
    bleeding: bool = False,
) -> Guidance | None:
    """What the reference says to the last of `values` (in order of measurement); None without one."""
    if not values:
        return None
    low, high = target or TARGET
    column: Literal["usual", "high"] = "high" if (low + high) / 2 >= HIGH_TARGET_FROM else "usual"
    last = values[-1]
    level: Level
    if bleeding:
        level = "bleeding"
    elif last >= 10.0:
        level = "ten"
    elif last >= 6.0:
        level = "six"
    elif last > high:
        level = "four" if last >= 4.0 else "above"
    elif last < low:
        level = "low-valve" if mechanical_valve and last < VALVE_LOW else "low"
    else:
        level = "in-range"
    return Guidance(level, column, _days(level, values, (low, high), every_days))


def _days(
    level: Level, values: Sequence[float], target: tuple[float, float], every_days: float | None
) -> int:
    if level not in ("in-range", "low"):
        return 1
    rhythm = max(1, round(every_days if every_days is not None else PLAN_DAYS))
    recent = values[-STEADY_TESTS:]
    steady = len(recent) == STEADY_TESTS and all(target[0] <= value <= target[1] for value in recent)
    return rhythm if steady else min(AFTER_OUT_OF_RANGE_DAYS, rhythm)


def next_test(measured: date, guidance: Guidance, today: date) -> date:
    """The proposed day: counted from the last test, today at the earliest."""
    return max(measured + timedelta(days=guidance.days), today)
