"""What every rolling statistic is: `initialize`, `add`, and a measure that levels are held against.

A statistic is stateless; its state is an immutable value that the engine keeps, copies by reference into
checkpoints and writes to disk. `add` takes a state and one observation, in order of measurement, and gives
the next state and, when there is something to judge, a measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import msgspec

from devices.times import format_instant
from streams.history import Observation
from streams.signal import Evidence


class Ref(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A reading that decided, with the number that was compared."""

    at_ms: int
    offset_min: int
    device: str
    epoch: int
    seq: int
    kind: str
    value: float | None

    def evidence(self) -> Evidence:
        return Evidence(
            device=self.device,
            epoch=self.epoch,
            seq=self.seq,
            kind=self.kind,
            measured_at=format_instant(self.at_ms, self.offset_min),
            value=self.value,
        )


def ref(observation: Observation, value: float | None) -> Ref:
    return Ref(
        observation.at_ms,
        observation.offset_min,
        observation.device,
        observation.epoch,
        observation.seq,
        observation.kind,
        value,
    )


class Measure(msgspec.Struct, frozen=True, gc=False):
    """What a statistic says at one observation.

    `values` has one number for each of the statistic's channels. `facts` are words that a level may ask
    for (`when`, `unless`). `refs` are the readings that decided. `extra` feeds the sentence.
    """

    values: tuple[float, ...]
    refs: tuple[Ref, ...]
    facts: tuple[str, ...] = ()
    extra: dict[str, float | str] = {}
    shown: dict[int, tuple[float, float]] | None = None
    """By channel, the value and the limit to show in the place of those compared: an INR and its target, where
    the distance to the target is what a level is held against."""


class Personal(msgspec.Struct, frozen=True):
    """What a statistic may know of the patient at the instant of an observation (the care plan's version)."""

    dry_weight_kg: float | None = None
    known_atrial_fibrillation: bool = False
    pregnancy: bool = False
    spo2_scale: int = 1
    inr_target: tuple[float, float] | None = None
    mechanical_valve: bool = False

    @property
    def facts(self) -> frozenset[str]:
        """The facts that follow from the care plan alone, whatever is measured."""
        held = {
            "pregnancy": self.pregnancy,
            "scale-1": self.spo2_scale == 1,
            "scale-2": self.spo2_scale == 2,
            "known": self.known_atrial_fibrillation,
            "new": not self.known_atrial_fibrillation,
            "mechanical-valve": self.mechanical_valve,
        }
        return frozenset(fact for fact, holds in held.items() if holds)


PERSONAL_FACTS = frozenset({"pregnancy", "scale-1", "scale-2", "known", "new", "mechanical-valve"})
"""Every word of `Personal.facts`."""


class Moment:
    """Where in the patient's own time an observation stands. One object is reused for a whole pass."""

    __slots__ = ("clinical_open", "conflicts", "day", "minute", "own_open", "personal")

    def __init__(self) -> None:
        self.day = 0
        """Number of the patient-local day since 1970-01-01."""
        self.minute = 0
        """Minute of the patient-local day."""
        self.personal = Personal()
        self.conflicts: frozenset[tuple[str, int, int]] = frozenset()
        self.own_open = False
        """Whether an alert of a rule that uses this very statistic is open."""
        self.clinical_open = False
        """Whether a clinical alert that watches this kind is open: a baseline does not learn meanwhile."""


NO_FACTS: frozenset[str] = frozenset()


class Statistic(Protocol):
    """One rolling statistic with its parameters. `State` is what msgspec needs to read a state back."""

    channels: ClassVar[tuple[str, ...]]
    facts: frozenset[str]
    """Every word that a measure of it may hold in `facts`."""
    State: ClassVar[Any]
    kinds: frozenset[str]

    def initialize(self) -> Any: ...

    def add(self, state: Any, o: Observation, moment: Moment) -> tuple[Any, Measure | None]: ...


class Stateless:
    """A statistic of the reading alone, which remembers nothing."""

    State: ClassVar[type] = type(None)

    def initialize(self) -> None:
        return None


class Parameters:
    """The parameters that a protocol file gives a statistic; unknown or missing ones are errors."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = dict(given)
        self.asked: set[str] = set()

    def number(self, name: str, default: float | None = None, *, low: float, high: float) -> float:
        self.asked.add(name)
        value = self.given.get(name, default)
        if value is None:
            raise ValueError(f"`{name}` is missing: a number from {low:g} to {high:g}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"`{name}` is {value!r}: a number from {low:g} to {high:g} is allowed")
        return float(value)

    def text(self, name: str, default: str | None = None) -> str:
        self.asked.add(name)
        value = self.given.get(name, default)
        if not isinstance(value, str):
            raise ValueError(f"`{name}` is {value!r}: a text is needed")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        self.asked.add(name)
        value = self.given.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            raise ValueError(f"`{name}` is {value!r}: a list of texts is needed")
        return tuple(value)

    def unknown(self) -> list[str]:
        return sorted(set(self.given) - self.asked)
