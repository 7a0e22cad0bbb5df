"""Oxygen, temperature and the National Early Warning Score 2 (reference section 5)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streams.history import SYMPTOM_ITEMS, Observation
from streams.rolling.base import (
    NO_EXTRA,
    NO_FACTS,
    Measure,
    Moment,
    Parameters,
    Ref,
    Stateless,
    Told,
    ref,
    tell_reading,
)

CONSCIOUSNESS_AT = SYMPTOM_ITEMS.index("consciousness")


class Saturation(Stateless):
    """Oxygen saturation in %, with the fact `scale-2` for patients whose clinician confirmed a hypercapnic
    risk in the care plan, else `scale-1`."""

    channels: ClassVar[tuple[str, ...]] = ("value",)
    facts = frozenset({"scale-1", "scale-2"})

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"oxygen-saturation"})

    def add(self, state: None, o: Observation, moment: Moment) -> tuple[None, Measure | None]:
        value = o.x[0]
        if o.artefact or value is None:
            return None, None
        facts = ("scale-2",) if moment.personal.spo2_scale == 2 else ("scale-1",)
        return None, Measure((value,), (tell_reading, moment.ref(o)), facts)


def _band(value: float, bands: tuple[tuple[float, int], ...], above: int) -> int:
    """Points of the first band whose upper end the value does not exceed, else `above`."""
    for upper, points in bands:
        if value <= upper:
            return points
    return above


def score_respiration(rate: float) -> int:
    return _band(rate, ((8, 3), (11, 1), (20, 0), (24, 2)), 3)


def score_saturation(spo2: float, scale: int, supplemental: bool) -> int:
    if scale == 1:
        return _band(spo2, ((91, 3), (93, 2), (95, 1)), 0)
    if spo2 <= 92 or not supplemental:
        return _band(spo2, ((83, 3), (85, 2), (87, 1)), 0)
    return _band(spo2, ((94, 1), (96, 2)), 3)


def score_systolic(systolic: float) -> int:
    return _band(systolic, ((90, 3), (100, 2), (110, 1), (219, 0)), 3)


def score_pulse(pulse: float) -> int:
    return _band(pulse, ((40, 3), (50, 1), (90, 0), (110, 1), (130, 2)), 3)


def score_temperature(celsius: float) -> int:
    return _band(celsius, ((35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1)), 2)


class Inputs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last reading of each input, with the number that it gave."""

    respiration: Ref | None = None
    saturation: Ref | None = None
    supplemental: bool = False
    systolic: Ref | None = None
    pulse: Ref | None = None
    consciousness: Ref | None = None
    temperature: Ref | None = None

    def refs(self) -> tuple[Ref, Ref, Ref, Ref, Ref, Ref] | None:
        """All six readings; None while one is missing."""
        respiration, saturation, systolic = self.respiration, self.saturation, self.systolic
        pulse, consciousness, temperature = self.pulse, self.consciousness, self.temperature
        if (
            respiration is None
            or saturation is None
            or systolic is None
            or pulse is None
            or consciousness is None
            or temperature is None
        ):
            return None
        return respiration, saturation, systolic, pulse, consciousness, temperature


class News2:
    """NEWS2 (Royal College of Physicians 2017, reproduced with acknowledgement), 0 to 20: from all inputs
    within `window_minutes`, otherwise nothing: what is missing is never counted as zero.

    Channels: `score`, and `worst`, the highest number of points of a single input.
    """

    channels: ClassVar[tuple[str, ...]] = ("score", "worst")
    facts = NO_FACTS
    State: ClassVar[type] = Inputs

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset(
            {
                "respiratory-rate",
                "oxygen-saturation",
                "blood-pressure",
                "heart-rate",
                "symptoms",
                "temperature",
            }
        )
        self.window_ms = int(parameters.number("window_minutes", 30, low=1, high=240) * 60_000)

    def initialize(self) -> Inputs:
        return Inputs()

    def add(self, state: Inputs, o: Observation, moment: Moment) -> tuple[Inputs, Measure | None]:
        if o.artefact:
            return state, None
        after = _with_input(state, o, moment)
        refs = after.refs()
        if refs is None or after is state:
            return after, None
        oldest_ms = o.at_ms - self.window_ms
        for r in refs:
            if r.at_ms < oldest_ms:
                return after, None
        respiration, saturation, systolic, pulse, consciousness, temperature = refs
        points = (
            score_respiration(respiration.value or 0.0),
            score_saturation(saturation.value or 0.0, moment.personal.spo2_scale, after.supplemental),
            2 if after.supplemental else 0,
            score_systolic(systolic.value or 0.0),
            score_pulse(pulse.value or 0.0),
            3 if consciousness.value else 0,
            score_temperature(temperature.value or 0.0),
        )
        return after, Measure((float(sum(points)), float(max(points))), (_tell_inputs, refs))


def _tell_inputs(refs: tuple[Ref, ...]) -> Told:
    return refs, NO_EXTRA


def _with_input(state: Inputs, o: Observation, moment: Moment) -> Inputs:
    """The inputs with what this observation brings; the same object when it brings none."""
    kind = o.kind
    respiration, saturation, supplemental = state.respiration, state.saturation, state.supplemental
    systolic, pulse = state.systolic, state.pulse
    consciousness, temperature = state.consciousness, state.temperature
    if kind == "symptoms":
        answer = o.x[CONSCIOUSNESS_AT]
        if answer is None:
            return state
        consciousness = ref(o, answer)
    elif not o.x or o.x[0] is None:
        return state
    elif kind == "blood-pressure":
        systolic = moment.ref(o)
        if o.x[2] is not None:
            pulse = moment.pulse(o, o.x[2])
    elif kind == "oxygen-saturation":
        saturation, supplemental = moment.ref(o), bool(o.x[1])
        if o.x[2] is not None:
            pulse = moment.pulse(o, o.x[2])
    elif kind == "heart-rate":
        pulse = moment.ref(o)
    elif kind == "temperature":
        temperature = moment.ref(o)
    elif kind == "respiratory-rate":
        respiration = moment.ref(o)
    else:
        return state
    return Inputs(respiration, saturation, supplemental, systolic, pulse, consciousness, temperature)
