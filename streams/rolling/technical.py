"""Statistics of the devices themselves: never a clinical alert comes from these."""

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
from streams.words import KIND_NAMES


class Faults(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many readings in a row failed an artefact gate, by kind."""

    in_a_row: dict[str, int] = {}


class DeviceFault:
    """What is wrong with a device, as a grade: 2 it said so itself (device-fault, or its identity was used
    twice with other content), 1 `artefacts_in_a_row` readings in a row could not be used, 0 all is well.

    A single moved cuff is nobody's alarm; three in a row are a patient to be shown how (reference 7: 54 %
    of false alerts come from technique).
    """

    channels: ClassVar[tuple[str, ...]] = ("grade",)
    facts = NO_FACTS
    State: ClassVar[type] = Faults

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset(parameters.texts("kinds"))
        self.streak = int(parameters.number("artefacts_in_a_row", 3, low=1, high=20))

    def initialize(self) -> Faults:
        return _SOUND

    def add(self, state: Faults, o: Observation, moment: Moment) -> tuple[Faults, Measure | None]:
        conflict = bool(moment.conflicts) and o.identity in moment.conflicts
        if not (o.artefact or o.flags or conflict or state.in_a_row):
            return state, _ALL_WELL  # nearly every reading
        before = state.in_a_row.get(o.kind, 0)
        after = before + 1 if o.artefact else 0
        if after != before:
            rows = {kind: n for kind, n in {**state.in_a_row, o.kind: after}.items() if n}
            state = Faults(rows) if rows else _SOUND
        fault = conflict or "device-fault" in o.flags
        if o.artefact and not fault and after < self.streak:
            return state, None
        grade = 2.0 if fault else 1.0 if o.artefact else 0.0
        return state, Measure((grade,), (_tell_device, moment.ref(o)))


def _tell_device(now: Ref) -> Told:
    french, english = KIND_NAMES.get(now.kind, (now.kind, now.kind))
    return (now,), {"what_fr": french, "what_en": english}


_SOUND = Faults()
_ALL_WELL = Measure((0.0,), (), told=((), NO_EXTRA))


class ClockFault(Stateless):
    """1 when the device says that its clock is not set, 0 when a reading comes with a clock that is."""

    channels: ClassVar[tuple[str, ...]] = ("grade",)
    facts = NO_FACTS

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset(parameters.texts("kinds"))

    def add(self, state: None, o: Observation, moment: Moment) -> tuple[None, Measure | None]:
        if not o.flags:
            return None, _ALL_WELL
        grade = 1.0 if "clock-unset" in o.flags else 0.0
        return None, Measure((grade,), (tell_reading, moment.ref(o)))
