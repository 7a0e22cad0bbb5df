"""What every rolling statistic is: `initialize`, `add`, and a measure that levels are held against.

A statistic is stateless; its state is an immutable value that the engine keeps, copies by reference into
checkpoints and writes to disk. `add` takes a state and one observation, in order of measurement, and gives
the next state and, when there is something to judge, a measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import msgspec

from devices.times import format_instant
from streams.history import Observation
from streams.signal import Evidence


@lru_cache(
    maxsize=8192
)  # the last readings of some thousand patients: each is named by several rules, several times
def instant_text(at_ms: int, offset_min: int) -> str:
    """An instant as signals have it."""
    return format_instant(at_ms, offset_min)


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
            measured_at=instant_text(self.at_ms, self.offset_min),
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


Told = tuple[tuple[Ref, ...], dict[str, float | str]]
"""The readings that decided, and the numbers and words that feed the sentence."""


class Measure(msgspec.Struct, gc=False):
    """What a statistic says at one observation.

    `values` has one number for each of the statistic's channels. `facts` are words that a level may ask
    for (`when`, `unless`). `tell` is a function with its arguments that gives the rest: it is called when a rule
    asks, which is once for some ten measures, because most lie within all levels of idle rules.
    """

    values: tuple[float, ...]
    tell: tuple[Any, ...]
    facts: tuple[str, ...] = ()
    shown: dict[int, tuple[float, float]] | None = None
    """By channel, the value and the limit to show in the place of those compared: an INR and its target, where
    the distance to the target is what a level is held against."""
    told: Told | None = None

    def _told(self) -> Told:
        told = self.told
        if told is None:
            told = self.told = self.tell[0](*self.tell[1:])
        return told

    @property
    def refs(self) -> tuple[Ref, ...]:
        """The readings that decided."""
        return self._told()[0]

    @property
    def extra(self) -> dict[str, float | str]:
        """What feeds the sentence, beside value and limit."""
        return self._told()[1]


NO_EXTRA: dict[str, float | str] = {}


def tell_reading(now: Ref) -> Told:
    """The reading alone decided."""
    return (now,), NO_EXTRA


def tell_two(now: Ref, first: str, a: float, second: str, b: float) -> Told:
    """The reading alone decided; the sentence has two more numbers."""
    return (now,), {first: a, second: b}


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

    __slots__ = (
        "answers", "beat", "clinical_open", "conflicts", "day", "minute", "now", "own_open", "personal",
    )  # fmt: skip

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
        self.now: Ref | None = None
        """The observation as a reference with its first number, once some statistic has asked for it."""
        self.beat: Ref | None = None
        """The observation as a reference with its pulse, once some statistic has asked for it."""
        self.answers: Any = None
        """The observation as the answers that speak for later readings (symptoms.LastAnswers), once asked for."""

    def observe(self) -> None:
        """The next observation begins."""
        self.now = self.beat = self.answers = None

    def ref(self, o: Observation) -> Ref:
        """The observation with its first number: one object for all statistics that keep or name it."""
        now = self.now
        if now is None:
            x = o.x
            now = self.now = Ref(o.at_ms, o.offset_min, o.device, o.epoch, o.seq, o.kind, x[0] if x else None)
        return now

    def pulse(self, o: Observation, value: float) -> Ref:
        """The observation with the pulse that a cuff or an oximeter counted: one object for all statistics."""
        beat = self.beat
        if beat is None:
            beat = self.beat = ref(o, value)
        return beat


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
