"""The composite score of heart failure: several weak signs together (reference section 1.3).

No single parameter is good (section 1.2). Each sign gives points while it is fresh; the alert asks for a
sum that one sign alone does not reach.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streams.history import Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Ref, Told, ref
from streams.rolling.baseline import Baseline, Usual, forget, learn
from streams.rolling.personal import EMPTY
from streams.rolling.symptoms import NIGHT, affirmed, item

HOUR_MS = 3_600_000

WEIGHT = Usual(floor=0.25, prior_sd=0.6, drift_per_week=0.5)
RATE = Usual(floor=2.5, prior_sd=6.0, drift_per_week=2.0)
OXYGEN = Usual(floor=0.8, prior_sd=1.2, drift_per_week=0.5)
ILLNESS = Usual(floor=0.7, prior_sd=1.0, drift_per_week=0.5)
"""What is believed of each sign's scatter. Floors are the devices' resolution and repeatability; the drift of
weight is the reference's own cap, half a kilogram a week."""


class Sign(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One sign: its baseline, its smoothed deviation, when it was last renewed and by which reading."""

    baseline: Baseline = EMPTY
    smooth: float = 0.0
    at_ms: int = -(1 << 53)
    day: int = -(1 << 30)
    ref: Ref | None = None


class Signs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All signs of one patient."""

    weight: Sign = Sign()
    rate: Sign = Sign()
    oxygen: Sign = Sign()
    illness: Sign = Sign()


def illness_of(o: Observation) -> float:
    """A questionnaire as one number: grades of dyspnoea and oedema, half of fatigue and cough, two for each
    symptom of the night, one for dizziness and for a day worse than the last, two for much worse."""
    total = item(o, "dyspnoea") + item(o, "oedema") + 0.5 * item(o, "fatigue") + 0.5 * item(o, "cough")
    total += 2.0 * affirmed(o, NIGHT)
    total += item(o, "dizziness") + max(0.0, item(o, "wellbeing") - 1.0)
    return total


class Composite:
    """Sum of the smoothed deviations from the patient's own usual values, each limited to `cap`.

    A sign is the day's deviation in robust standard deviations, smoothed with weight `smoothing` a day (EWMA),
    cut below zero and above `cap`, so that no sign reaches the limit by itself; it counts for `memory_hours`.
    Signs: weight (also while it cannot be compared yet: nothing), resting heart rate, oxygen saturation
    (downwards), and the questionnaire. Its baselines do not learn while its own alert is open. An alert of a
    single sign does not stop them: one of those is open most of the time, and the score would be blind.
    """

    channels: ClassVar[tuple[str, ...]] = ("score",)
    facts = NO_FACTS
    State: ClassVar[type] = Signs

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset(
            {"body-weight", "heart-rate", "blood-pressure", "oxygen-saturation", "symptoms"}
        )
        self.smoothing = parameters.number("smoothing", 0.5, low=0.05, high=1.0)
        self.cap = parameters.number("cap", 2.5, low=0.5, high=10.0)
        self.memory_ms = int(parameters.number("memory_hours", 60, low=12, high=240) * HOUR_MS)
        self.weights = {name: parameters.number(f"weight_{name}", 1.0, low=0.0, high=5.0) for name in _SIGNS}
        self.shares = tuple(self.weights[name] for name in _SIGNS)

    def initialize(self) -> Signs:
        return _NOTHING

    def add(self, state: Signs, o: Observation, moment: Moment) -> tuple[Signs, Measure | None]:
        if o.artefact:
            return state, None
        kind, x = o.kind, o.x
        weight, rate, oxygen, illness = state.weight, state.rate, state.oxygen, state.illness
        if kind == "symptoms":
            value = illness_of(o)
            illness = self._sign(illness, ILLNESS, value, 1.0, o, moment, ref(o, value))
        elif not x or x[0] is None:
            return state, None
        elif kind == "blood-pressure":
            if x[2] is None:
                return state, None
            rate = self._sign(rate, RATE, x[2], 1.0, o, moment, moment.pulse(o, x[2]))
        elif kind == "heart-rate":
            if x[1]:
                return state, None
            rate = self._sign(rate, RATE, x[0], 1.0, o, moment, moment.ref(o))
        elif kind == "body-weight":
            weight = self._sign(weight, WEIGHT, x[0], 1.0, o, moment, moment.ref(o))
        elif kind == "oxygen-saturation":
            oxygen = self._sign(oxygen, OXYGEN, x[0], -1.0, o, moment, moment.ref(o))
        else:
            return state, None
        score, cap, oldest_ms = 0.0, self.cap, o.at_ms - self.memory_ms
        of_weight, of_rate, of_oxygen, of_illness = self.shares
        if (smooth := weight.smooth) > 0.0 and weight.at_ms >= oldest_ms:
            score += of_weight * (smooth if smooth < cap else cap)
        if (smooth := rate.smooth) > 0.0 and rate.at_ms >= oldest_ms:
            score += of_rate * (smooth if smooth < cap else cap)
        if (smooth := oxygen.smooth) > 0.0 and oxygen.at_ms >= oldest_ms:
            score += of_oxygen * (smooth if smooth < cap else cap)
        if (smooth := illness.smooth) > 0.0 and illness.at_ms >= oldest_ms:
            score += of_illness * (smooth if smooth < cap else cap)
        after = Signs(weight, rate, oxygen, illness)
        return after, Measure((score,), (self._tell, after, o))

    def _sign(
        self, sign: Sign, usual: Usual, value: float, way: float, o: Observation, moment: Moment, now: Ref
    ) -> Sign:
        """The sign after one more value: smoothed once a day, by the day's first value."""
        baseline, smooth, day = sign.baseline, sign.smooth, moment.day
        if day != sign.day and baseline.centre is not None:
            deviation = max(-1.0, min(2.0 * self.cap, way * baseline.z(value)))
            smooth += self.smoothing * (deviation - smooth)
        baseline = forget(baseline) if moment.own_open else learn(baseline, usual, o.at_ms, day, value)
        return Sign(baseline, smooth, o.at_ms, day, now)

    def _tell(self, signs: Signs, o: Observation) -> Told:
        """The signs that give half a point or more."""
        refs = []
        named: list[str] = []
        for name in _SIGNS:
            sign: Sign = getattr(signs, name)
            if o.at_ms - sign.at_ms > self.memory_ms:
                continue
            points = self.weights[name] * max(0.0, min(self.cap, sign.smooth))
            if points >= 0.5 and sign.ref is not None:
                refs.append(sign.ref)
                named.append(name)
        if not refs:
            refs = [ref(o, o.x[0] if o.x else None)]
        return tuple(refs), {
            "what_fr": ", ".join(_NAMES[n][0] for n in named),
            "what_en": ", ".join(_NAMES[n][1] for n in named),
        }


_SIGNS = ("weight", "rate", "oxygen", "illness")

_NOTHING = Signs()

_NAMES = {
    "weight": ("poids", "weight"),
    "rate": ("fréquence cardiaque", "heart rate"),
    "oxygen": ("saturation", "oxygen saturation"),
    "illness": ("symptômes", "symptoms"),
}
