"""What a protocol file becomes once it has been checked: rules with their statistic, levels and sentences."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from streams.rolling import Measure, Statistic
from streams.signal import SEVERITY_RANK, AlertClass, Severity

Comparison = Literal["at_least", "above", "at_most", "below"]
FLOAT_NOISE = 1e-9
"""61.02 kg less 60.16 kg is 0.86 kg to everybody but a processor."""

UPWARD: frozenset[str] = frozenset({"at_least", "above"})


@dataclass(frozen=True, slots=True)
class Level:
    """One severity of a rule: the condition, how long it must hold, and when it is over.

    `limits` and `clears` have one number for each channel of the statistic; None: the channel does not
    count here. A limit is met with `tolerance` to spare; an upward level is over at or below its clear, a
    downward one at or above. `count` of the last `of` measures must meet it, the first and the last at most
    `within_ms` apart; or it must hold for `for_ms` without a gap of more than `max_gap_ms`.
    """

    name: str
    severity: Severity
    comparison: Comparison
    limits: tuple[float | None, ...]
    clears: tuple[float | None, ...]
    tolerance: float = 0.0
    count: int = 1
    of: int = 1
    within_ms: int | None = None
    for_ms: int = 0
    max_gap_ms: int | None = None
    when: frozenset[str] = frozenset()
    unless: frozenset[str] = frozenset()
    sentence: dict[str, str] | None = None
    fixed: bool = False
    """A care plan may not move this limit."""

    @property
    def rank(self) -> int:
        return SEVERITY_RANK[self.severity]

    @property
    def immediate(self) -> bool:
        """Whether one measure is enough."""
        return self.count == 1 and self.for_ms == 0

    def applies(self, facts: tuple[str, ...]) -> bool:
        return self.when.issubset(facts) and self.unless.isdisjoint(facts)

    def met(self, measure: Measure) -> tuple[float, float] | None:
        """(value, limit) of the channel that is furthest beyond its limit, or None."""
        if (self.when or self.unless) and not self.applies(measure.facts):
            return None
        worst: tuple[float, float] | None = None
        excess = 0.0
        for channel, limit in enumerate(self.limits):
            if limit is None:
                continue
            value = measure.values[channel]
            if not self._beyond(value, limit):
                continue
            by = abs(value - limit)
            if worst is None or by > excess:
                shown = measure.shown.get(channel) if measure.shown is not None else None
                worst, excess = shown or (value, limit), by
        return worst

    def _beyond(self, value: float, limit: float) -> bool:
        slack = max(self.tolerance, FLOAT_NOISE)
        if self.comparison == "at_least":
            return value >= limit - slack
        if self.comparison == "above":
            return value > limit + slack
        if self.comparison == "at_most":
            return value <= limit + slack
        return value < limit - slack

    def over(self, measure: Measure) -> bool:
        """Whether no channel is still on the wrong side of its clear limit."""
        if (self.when or self.unless) and not self.applies(measure.facts):
            return True
        upward = self.comparison in UPWARD
        slack = max(self.tolerance, FLOAT_NOISE)
        for value, clear in zip(measure.values, self.clears, strict=True):
            if clear is None:
                continue
            if value > clear + slack if upward else value < clear - slack:
                return False
        return True

    def with_limits(self, given: dict[str, float], channels: tuple[str, ...], sole: bool) -> Level:
        """This level with a patient's own numbers; the clear limit keeps its distance."""
        limits, clears = list(self.limits), list(self.clears)
        for index, channel in enumerate(channels):
            for name in self.names(channel, len(channels) == 1, sole):
                limit, clear = limits[index], clears[index]
                if name in given and limit is not None:
                    limits[index] = given[name]
                    clears[index] = None if clear is None else given[name] + (clear - limit)
        return replace(self, limits=tuple(limits), clears=tuple(clears))

    def names(self, channel: str, sole_channel: bool, sole_level: bool) -> tuple[str, ...]:
        """The names under which a care plan may set this limit: `limit`, `high`, `systolic`,
        `high-systolic`; none for a fixed one."""
        if self.fixed:
            return ()
        if sole_channel:
            return ("limit", self.name) if sole_level else (self.name,)
        if sole_level:
            return (channel, f"{self.name}-{channel}")
        return (f"{self.name}-{channel}",)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a protocol. `statistic` is None for a rule of the clock (`silence`)."""

    protocol: str
    version: str
    name: str
    cls: AlertClass
    unit: str | None
    decimals: int
    source: str
    sentence: dict[str, str]
    statistic: Statistic | None
    levels: tuple[Level, ...]
    clear_for_ms: int = 0
    silence_kinds: tuple[str, ...] = ()
    watches: str = ""
    statistic_key: str = ""
    """Name and parameters of the statistic: rules with the same one share its state."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.protocol, self.name)

    @property
    def kinds(self) -> frozenset[str]:
        return self.statistic.kinds if self.statistic is not None else frozenset(self.silence_kinds)

    def limit_names(self) -> frozenset[str]:
        """Every name that a care plan may set under this rule; a technical rule has none."""
        if self.statistic is None or self.cls == "technical":
            return frozenset()
        channels = self.statistic.channels
        sole = len(self.levels) == 1
        return frozenset(
            name
            for level in self.levels
            for index, channel in enumerate(channels)
            if level.limits[index] is not None
            for name in level.names(channel, len(channels) == 1, sole)
        )

    def personal_levels(self, given: dict[str, float]) -> tuple[Level, ...]:
        if not given or self.statistic is None:
            return self.levels
        sole = len(self.levels) == 1
        return tuple(level.with_limits(given, self.statistic.channels, sole) for level in self.levels)


@dataclass(frozen=True, slots=True)
class ExpectedEvery:
    """The protocol's default rhythm of one kind, for schedules that do not say their own hours."""

    every_hours: float
    overdue_hours: float
    grave_hours: float


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol file."""

    name: str
    version: str
    title: dict[str, str]
    schedule: dict[str, ExpectedEvery]
    rules: tuple[Rule, ...]
    path: str = ""


@dataclass(frozen=True, slots=True)
class Library:
    """The protocols that an engine knows, by name."""

    protocols: dict[str, Protocol] = field(default_factory=dict)

    def rule(self, protocol: str, name: str) -> Rule | None:
        found = self.protocols.get(protocol)
        return next((r for r in found.rules if r.name == name), None) if found else None

    def with_protocol(self, protocol: Protocol) -> Library:
        return Library({**self.protocols, protocol.name: protocol})
