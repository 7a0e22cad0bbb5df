"""Rolling statistics of body weight, in kg and patient-local days (reference sections 1.1 and 1.3)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streams.history import Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Ref, Stateless, ref


class _Weighing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    day: int
    ref: Ref


class Extreme(msgspec.Struct, frozen=True, array_like=True):
    """The weighings that can still be the window's lowest (or highest), in order of time."""

    candidates: tuple[_Weighing, ...] = ()


class Gain:
    """Weight above the lowest earlier reading of the last `window_days` patient-local days, in kg.

    The same day counts; the earlier reading is at most `window_days` days before. Needs one earlier
    reading. The state keeps only readings that could still be the lowest: each is lower than all that came
    after it. Source: reference 1.3 (rule of thumb), contract appendix for the days.
    """

    channels: ClassVar[tuple[str, ...]] = ("gain",)
    facts = NO_FACTS
    State: ClassVar[type] = Extreme
    sign = 1.0

    def __init__(self, parameters: Parameters) -> None:
        self.window_days = int(parameters.number("window_days", low=1, high=28))
        self.kinds = frozenset({"body-weight"})

    def initialize(self) -> Extreme:
        return Extreme()

    def add(self, state: Extreme, o: Observation, moment: Moment) -> tuple[Extreme, Measure | None]:
        weight = o.x[0]
        if o.artefact or weight is None:
            return state, None
        # Clocks of two devices, or a new zone, may put a later instant on an earlier day, by one at most: a
        # candidate is kept a day longer than the window, and the lowest is looked for among all of the window.
        first_day = moment.day - self.window_days
        kept = [w for w in state.candidates if w.day >= first_day - 1]
        window = [w for w in kept if w.day >= first_day]
        measure = None
        if window:
            lowest = min(window, key=lambda w: self.sign * (w.ref.value or 0.0)).ref
            if lowest.value is not None:
                change = self.sign * (weight - lowest.value)
                measure = Measure(
                    (change,), (lowest, ref(o, weight)), extra={"weight": weight, "from": lowest.value}
                )
        kept = [
            w for w in kept if w.day > moment.day or self.sign * (w.ref.value or 0.0) < self.sign * weight
        ]
        kept.append(_Weighing(moment.day, ref(o, weight)))
        return Extreme(tuple(kept)), measure


class Loss(Gain):
    """Weight below the highest earlier reading of the last `window_days` patient-local days, in kg."""

    channels: ClassVar[tuple[str, ...]] = ("loss",)
    facts = NO_FACTS
    sign = -1.0


class AboveDryWeight(Stateless):
    """Weight above the dry weight that the clinician has set in the care plan, in kg; nothing without one."""

    channels: ClassVar[tuple[str, ...]] = ("excess",)
    facts = NO_FACTS

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"body-weight"})

    def add(self, state: None, o: Observation, moment: Moment) -> tuple[None, Measure | None]:
        weight, dry = o.x[0], moment.personal.dry_weight_kg
        if o.artefact or weight is None or dry is None:
            return None, None
        return None, Measure((weight - dry,), (ref(o, weight),), extra={"weight": weight, "dry": dry})
