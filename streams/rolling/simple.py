"""Statistics that are the reading itself, with facts a level may ask for."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streams.history import Observation
from streams.rolling.base import (
    NO_EXTRA,
    NO_FACTS,
    Measure,
    Moment,
    Parameters,
    Ref,
    Stateless,
    Told,
    tell_reading,
)


class Value(Stateless):
    """The first number of one kind: temperature, oxygen saturation and so on. Artefacts say nothing."""

    channels: ClassVar[tuple[str, ...]] = ("value",)
    facts = NO_FACTS

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({parameters.text("kind")})

    def add(self, state: None, o: Observation, moment: Moment) -> tuple[None, Measure | None]:
        value = o.x[0] if o.x else None
        if o.artefact or value is None:
            return None, None
        return None, Measure((value,), (tell_reading, moment.ref(o)))


class KetoneMemory(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last ketone reading that was high."""

    ketones: Ref | None = None


class Glucose:
    """Glucose in mg/dL, with the facts `interstitial` or `capillary`, `pregnancy` when the care plan says so, and
    `ketones` when a ketone reading of at least 1.5 mmol/L is less than twelve hours old (reference section 3)."""

    channels: ClassVar[tuple[str, ...]] = ("value",)
    facts = frozenset({"capillary", "interstitial", "ketones", "pregnancy"})
    State: ClassVar[type] = KetoneMemory
    KETONES_MMOL_L: ClassVar[float] = 1.5
    KETONES_MEMORY_MS: ClassVar[int] = 12 * 3_600_000

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"glucose", "ketones"})

    def initialize(self) -> KetoneMemory:
        return _NO_KETONES

    def add(self, state: KetoneMemory, o: Observation, moment: Moment) -> tuple[KetoneMemory, Measure | None]:
        value = o.x[0]
        if o.artefact or value is None:
            return state, None
        if o.kind == "ketones":
            return (KetoneMemory(moment.ref(o)) if value >= self.KETONES_MMOL_L else _NO_KETONES), None
        facts = _CGM if o.x[1] else _CAPILLARY
        if moment.personal.pregnancy:
            facts = (*facts, "pregnancy")
        ketones = state.ketones
        if ketones is not None and o.at_ms - ketones.at_ms <= self.KETONES_MEMORY_MS:
            return state, Measure((value,), (_tell_both, ketones, moment.ref(o)), (*facts, "ketones"))
        return state, Measure((value,), (tell_reading, moment.ref(o)), facts)


def _tell_both(ketones: Ref, now: Ref) -> Told:
    return (ketones, now), NO_EXTRA


_NO_KETONES = KetoneMemory()
_CAPILLARY: tuple[str, ...] = ("capillary",)
_CGM: tuple[str, ...] = ("interstitial",)
