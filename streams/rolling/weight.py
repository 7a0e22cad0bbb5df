"""Rolling statistics of body weight, in kg and patient-local days (reference sections 1.1 and 1.3)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from streams.history import Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Ref, Stateless, Told, tell_two


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
        sign, day, now = self.sign, moment.day, moment.ref(o)
        first_day = day - self.window_days
        own, best = sign * weight, _NO_CANDIDATE
        lowest: Ref | None = None
        kept = []
        for candidate in state.candidates:
            on = candidate.day
            if on < first_day - 1:
                continue
            other = candidate.ref
            height = sign * (other.value or 0.0)
            if on >= first_day and height < best:
                lowest, best = other, height
            if height < own or on > day:
                kept.append(candidate)
        kept.append(_Weighing(day, now))
        after = Extreme(tuple(kept))
        if lowest is None or lowest.value is None:
            return after, None
        return after, Measure((sign * (weight - lowest.value),), (_tell_change, now, lowest))


_NO_CANDIDATE = float("inf")


def _tell_change(now: Ref, lowest: Ref) -> Told:
    return (lowest, now), {"weight": now.value or 0.0, "from": lowest.value or 0.0}


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
        return None, Measure((weight - dry,), (tell_two, moment.ref(o), "weight", weight, "dry", dry))
