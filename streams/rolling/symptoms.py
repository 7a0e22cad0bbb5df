"""What the daily questionnaire said, as facts that other rules may ask for (reference sections 1.1, 1.4)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streams.history import SYMPTOM_ITEMS, Observation

_INDEX = {name: index for index, name in enumerate(SYMPTOM_ITEMS)}

CONGESTION = ("dyspnoea", "oedema", "dizziness", "night_dyspnoea", "orthopnoea_pillows")
"""BEAT-HF groups 1 and 2: short of breath, swelling, light-headed, woke breathless, slept propped up."""

ORTHOPNOEA_PILLOWS = 2
"""More than one extra pillow counts as sleeping propped up: one pillow is how most people sleep."""

MEMORY_MS = 36 * 3_600_000
"""How long an answer speaks for later readings. The questionnaire is daily; 36 hours spans an evening's
answers and the measurement of the morning after next's breakfast at the latest."""


def item(o: Observation, name: str) -> float:
    """The answer's number, 0 when the question was not answered."""
    return o.x[_INDEX[name]] or 0.0


def positive(o: Observation, names: Iterable[str] = CONGESTION) -> tuple[str, ...]:
    """Which of the items the answers affirm: a grade of at least 1, yes, or more than one pillow."""
    found = []
    for name in names:
        value = item(o, name)
        if value > (ORTHOPNOEA_PILLOWS - 1 if name == "orthopnoea_pillows" else 0):
            found.append(name)
    if "wellbeing" not in names and item(o, "wellbeing") >= 3.0:
        found.append("wellbeing")
    return tuple(found)


class LastAnswers(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last questionnaire: when, and which congestion items it affirmed."""

    at_ms: int = 0
    symptoms: tuple[str, ...] = ()

    def facts(self, at_ms: int) -> tuple[str, ...]:
        if self.symptoms and at_ms - self.at_ms <= MEMORY_MS:
            return ("symptoms",)
        return ()


def answered(o: Observation) -> LastAnswers:
    return LastAnswers(o.at_ms, positive(o))
