"""What the daily questionnaire said, as facts that other rules may ask for (reference sections 1.1, 1.4)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streams.history import SYMPTOM_ITEMS, Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Stateless, Told, ref

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


def _affirmed(o: Observation, names: tuple[str, ...]) -> list[str]:
    x = o.x
    return [name for name in names if (x[_INDEX[name]] or 0.0) > _LEAST.get(name, 0)]


_LEAST = {"orthopnoea_pillows": ORTHOPNOEA_PILLOWS - 1}
"""What an answer must exceed to affirm its item; 0 for the others."""


def affirmed(o: Observation, names: tuple[str, ...]) -> int:
    """How many of just these items the answers affirm."""
    return len(_affirmed(o, names))


def positive(o: Observation, names: tuple[str, ...] = CONGESTION) -> tuple[str, ...]:
    """Which of the items the answers affirm: a grade of at least 1, yes, or more than one pillow."""
    found = _affirmed(o, names)
    if "wellbeing" not in names and item(o, "wellbeing") >= 3.0:
        found.append("wellbeing")
    return tuple(found)


class LastAnswers(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last questionnaire: when, and which congestion items it affirmed."""

    at_ms: int = 0
    symptoms: tuple[str, ...] = ()

    def facts(self, at_ms: int) -> tuple[str, ...]:
        """`symptoms` while the last answers that affirmed some are fresh; `symptoms?` once they are not and no other
        answer has denied them: that opens nothing, and ends nothing either."""
        if not self.symptoms:
            return ()
        return ("symptoms",) if at_ms - self.at_ms <= MEMORY_MS else ("symptoms?",)


def answered(o: Observation, moment: Moment) -> LastAnswers:
    """The questionnaire as later readings see it: one object for all statistics that remember it."""
    answers: LastAnswers | None = moment.answers
    if answers is None:
        answers = moment.answers = LastAnswers(o.at_ms, positive(o))
    return answers


RED = ("chest_pain", "syncope")
"""Immediately red, with dyspnoea at rest: call 15 or 112 (reference 1.4)."""

NIGHT = ("night_dyspnoea", "orthopnoea_pillows")
"""BEAT-HF group 2: woke breathless, slept propped up."""


class SymptomGrade(Stateless):
    """The questionnaire as a grade: 2 red (chest pain, syncope, dyspnoea at rest), 1 amber (a symptom of the
    night, much worse than yesterday, or two symptoms of the day), 0 otherwise.

    `names` in the sentence are the affirmed items. Grades of dyspnoea and oedema count from 2 (moderate) for
    amber: most patients with heart failure have a little of either on any day.
    """

    channels: ClassVar[tuple[str, ...]] = ("grade",)
    facts = NO_FACTS

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"symptoms"})

    def add(self, state: None, o: Observation, moment: Moment) -> tuple[None, Measure | None]:
        if o.artefact:
            return None, None
        red = [name for name in RED if item(o, name)]
        if item(o, "dyspnoea") >= 3:
            red.append("dyspnoea")
        night = list(positive(o, NIGHT))
        day = [name for name in ("dyspnoea", "oedema") if item(o, name) >= 2]
        day += [name for name in ("dizziness",) if item(o, name)]
        grade = 2.0 if red else 1.0 if night or len(day) >= 2 else 0.0
        return None, Measure((grade,), (_tell_grade, o, grade, red + night + day))


def _tell_grade(o: Observation, grade: float, affirmed: list[str]) -> Told:
    named = dict.fromkeys(affirmed)
    return (ref(o, grade),), {
        "what_fr": ", ".join(NAMES[name][0] for name in named),
        "what_en": ", ".join(NAMES[name][1] for name in named),
    }


NAMES = {
    "chest_pain": ("douleur thoracique", "chest pain"),
    "syncope": ("syncope", "syncope"),
    "dyspnoea": ("essoufflement", "shortness of breath"),
    "oedema": ("œdème", "swelling"),
    "dizziness": ("vertige", "dizziness"),
    "night_dyspnoea": ("réveil par essoufflement", "woke breathless"),
    "orthopnoea_pillows": ("besoin d'oreillers", "slept propped up"),
    "wellbeing": ("bien plus mal qu'hier", "much worse than yesterday"),
    "fatigue": ("fatigue", "fatigue"),
    "cough": ("toux", "cough"),
}
