"""What a protocol file becomes once it has been checked: rules with their statistic, levels and sentences."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from streams.rolling import PERSONAL_FACTS, Measure, Statistic
from streams.signal import SEVERITY_RANK, AlertClass, Severity

Comparison = Literal["at_least", "above", "at_most", "below"]
FLOAT_NOISE = 1e-9
"""61.02 kg less 60.16 kg is 0.86 kg to everybody but a processor."""

UPWARD: frozenset[str] = frozenset({"at_least", "above"})


@dataclass(frozen=True, slots=True)
class Level:
    """One severity of a rule: the condition, how long it must hold, and when it is over.

    `limits` and `clears` have one number for each channel of the statistic; None: the channel does not
    count here. `at_least` and `at_most` are met with `tolerance` to spare, for scales that speak pounds; `above` and
    `below` are met by what is truly beyond. An upward level is over at or below its clear, a downward one at or
    above, both with `tolerance` to spare as well: back at the clear limit by a scale that speaks pounds is back.
    `count` of the last `of` measures must meet it, the first and the last at most `within_ms` apart; or it must hold
    for `for_ms` without a gap of more than `max_gap_ms`.
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

    def may_apply(self, facts: tuple[str, ...]) -> bool:
        """Whether the level would apply if every fact that is uncertain (`symptoms?`) held."""
        held = {fact.removesuffix("?") for fact in facts}
        return self.when.issubset(held) and self.unless.isdisjoint(facts)

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
            return value > limit + FLOAT_NOISE
        if self.comparison == "at_most":
            return value <= limit + slack
        return value < limit - FLOAT_NOISE

    def over(self, measure: Measure) -> bool:
        """Whether no channel is still on the wrong side of its clear limit, or the level is of another sort of
        reading or patient. A fact that is only uncertain ends nothing: who has not answered is not well again."""
        if (self.when or self.unless) and not self.may_apply(measure.facts):
            return True
        upward = self.comparison in UPWARD
        slack = max(self.tolerance, FLOAT_NOISE)
        for value, clear in zip(measure.values, self.clears, strict=True):
            if clear is None:
                continue
            if value > clear + slack if upward else value < clear - slack:
                return False
        return True

    def with_limits(self, given: dict[str, float], rule: Rule) -> Level:
        """This level with a patient's own numbers; the clear limit keeps its distance."""
        limits, clears = list(self.limits), list(self.clears)
        for index in range(len(self.limits)):
            limit, clear = limits[index], clears[index]
            for name in rule.names(self, index):
                if name in given and limit is not None:
                    limits[index] = given[name]
                    clears[index] = None if clear is None else given[name] + (clear - limit)
        return replace(self, limits=tuple(limits), clears=tuple(clears))

    def void(self, personal_facts: frozenset[str]) -> bool:
        """Whether the level cannot apply to a patient whose care plan has these facts, whatever is measured."""
        wanted = self.when & PERSONAL_FACTS
        return not wanted <= personal_facts or not self.unless.isdisjoint(personal_facts)

    def excludes(self, other: Level) -> bool:
        """Whether no patient can have both levels: one is for pregnancy and the other not."""
        scales = {frozenset(("scale-1", "scale-2")), frozenset(("known", "new"))}
        pairs = {frozenset((a, b)) for a in self.when for b in other.when}
        words = (self.when & other.unless) | (other.when & self.unless)
        return bool(words & PERSONAL_FACTS) or bool(pairs & scales)

    def never(self) -> Level:
        """This level without its limits: for patients to whom it cannot apply. It keeps its place."""
        return replace(self, limits=tuple(None for _ in self.limits))

    def names(self, channel: str, sole_channel: bool, sole_level: bool) -> tuple[str, ...]:
        """The names under which a care plan may set this limit: `limit`, `high`, `systolic`, `high-systolic`; none
        for a fixed one. `sole_level`: no other level limits the channel."""
        if self.fixed:
            return ()
        if sole_channel:
            return ("limit", self.name) if sole_level else (self.name,)
        if sole_level:
            return (channel, f"{self.name}-{channel}")
        return (f"{self.name}-{channel}",)


def _plausible(limit: float) -> tuple[float, float]:
    low, high = sorted((limit / 3.0, limit * 3.0))
    return (low, high) if limit else (-1.0, 1.0)


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
    plausible: tuple[tuple[float, float] | None, ...] = (None,) * 8
    """By channel, between which numbers a patient's own limit may lie; None: a third to three times the limit."""
    statistic_key: str = ""
    """Name and parameters of the statistic: rules with the same one share its state."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.protocol, self.name)

    @property
    def kinds(self) -> frozenset[str]:
        return self.statistic.kinds if self.statistic is not None else frozenset(self.silence_kinds)

    def names(self, level: Level, index: int) -> tuple[str, ...]:
        """The names under which a care plan may set a level's limit of a channel; a technical rule has none."""
        if self.statistic is None or self.cls == "technical" or level.limits[index] is None:
            return ()
        channels = self.statistic.channels
        sole = all(
            other is level or other.limits[index] is None or other.excludes(level) for other in self.levels
        )
        return level.names(channels[index], len(channels) == 1, sole)

    def limit_ranges(self, personal_facts: frozenset[str] | None = None) -> dict[str, tuple[float, float]]:
        """Every name that a care plan may set under this rule, with the least and the greatest number for it; with
        facts of a patient only those of levels that can apply."""
        found = {}
        for level in self.levels:
            if personal_facts is not None and level.void(personal_facts):
                continue
            for index, limit in enumerate(level.limits):
                for name in self.names(level, index):
                    found[name] = self.plausible[index] or _plausible(limit or 0.0)
        return found

    def limit_names(self) -> frozenset[str]:
        """Every name that a care plan may set under this rule."""
        return frozenset(self.limit_ranges())

    def personal_levels(self, given: dict[str, float]) -> tuple[Level, ...]:
        if not given or self.statistic is None:
            return self.levels
        return tuple(level.with_limits(given, self) for level in self.levels)


Expected = Literal["always", "alone", "asked"]

FOREVER_AGO_MS = -(1 << 53)
"""From when what the release brings holds: before any reading."""


@dataclass(frozen=True, slots=True)
class ExpectedEvery:
    """The protocol's rhythm of one kind, for schedules that do not say their own hours.

    `expected` says what holds when a care plan names the protocol and not this kind: `always` it is expected all
    the same, `alone` when the plan schedules none of the protocol's kinds, `asked` only kinds that the plan
    schedules are. A plan's own rhythm scales the hours, but `overdue_hours` not below `overdue_at_least_hours`
    (a sensor that measures every five minutes is not missed after twenty), and may not lie beyond
    `overdue_at_most_hours`: rarer, but never switched off.
    """

    every_hours: float
    overdue_hours: float
    grave_hours: float
    expected: Expected = "asked"
    overdue_at_least_hours: float = 0.0
    overdue_at_most_hours: float = 336.0

    def overdue_of(self, every_hours: float) -> float:
        """Hours after which a kind that is expected `every_hours` is overdue."""
        return max(self.overdue_at_least_hours, self.overdue_hours * every_hours / self.every_hours)

    def grave_of(self, every_hours: float) -> float:
        return self.overdue_of(every_hours) * self.grave_hours / self.overdue_hours


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol file."""

    name: str
    version: str
    title: dict[str, str]
    schedule: dict[str, ExpectedEvery]
    rules: tuple[Rule, ...]
    path: str = ""
    digest: int = 0
    """A number that tells the contents of two files apart (CRC-32)."""

    def rule(self, name: str) -> Rule | None:
        return next((r for r in self.rules if r.name == name), None)


@dataclass(frozen=True, slots=True)
class Dated:
    """A version of a protocol that holds from an instant on, until the next one's."""

    from_ms: int
    protocol: Protocol

    @property
    def order(self) -> tuple[int, str, int]:
        """Of two versions of one instant the later name holds, whichever came first."""
        return (self.from_ms, self.protocol.version, self.protocol.digest)


@dataclass(frozen=True, slots=True)
class Library:
    """The protocols that an engine knows: those of the release, by name, and the versions published since, which
    hold from their own `from` on. A value: publishing gives another one."""

    protocols: dict[str, Protocol] = field(default_factory=dict)
    published: dict[str, tuple[Dated, ...]] = field(default_factory=dict)
    """By protocol, sorted by `Dated.order`."""
    lanes: dict[str, str] = field(init=False, repr=False, compare=False)
    """Kind → name of its lane: kinds that one rule of any version watches share a lane, named after the first."""
    stamp: int = field(init=False, repr=False, compare=False)
    """A number that tells two libraries apart: a state that was evaluated under another one is evaluated again."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lanes", _lanes(rule for p in self._all() for rule in p.rules))
        content = [(d.order, d.protocol.name) for name in self.names() for d in self.versions(name)]
        object.__setattr__(self, "stamp", zlib.crc32(repr(content).encode()))

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.protocols, *sorted(self.published))))

    def versions(self, name: str) -> tuple[Dated, ...]:
        """All versions of a protocol in the order in which they hold; () when there is none of the name."""
        own = self.protocols.get(name)
        released = (Dated(FOREVER_AGO_MS, own),) if own is not None else ()
        return (*released, *self.published.get(name, ()))

    def in_force(self, name: str, at_ms: int) -> Protocol | None:
        """The version that holds at an instant; None before the first."""
        found = None
        for dated in self.versions(name):
            if dated.from_ms <= at_ms:
                found = dated.protocol
        return found

    def rule(self, protocol: str, name: str, version: str | None = None) -> Rule | None:
        """A rule as a version of its protocol has it, else as any version has it, the release's first."""
        found = [r for r in (d.protocol.rule(name) for d in self.versions(protocol)) if r is not None]
        return next((r for r in found if r.version == version), found[0] if found else None)

    def limit_ranges(
        self, protocol: str, name: str, personal_facts: frozenset[str] | None = None
    ) -> dict[str, tuple[float, float]]:
        """Every name that a care plan may set under a rule, in any version of it, with its range in the latest."""
        found = {}
        for rule in (d.protocol.rule(name) for d in self.versions(protocol)):
            found.update(rule.limit_ranges(personal_facts) if rule is not None else {})
        return found

    def with_protocol(self, protocol: Protocol) -> Library:
        """With a protocol in the place of the release's one of that name."""
        return Library({**self.protocols, protocol.name: protocol}, self.published)

    def with_published(self, published: Iterable[Dated]) -> Library:
        """With exactly these versions published; in whatever order they came, the same."""
        by_name: dict[str, list[Dated]] = {}
        for dated in published:
            by_name.setdefault(dated.protocol.name, []).append(dated)
        return Library(
            self.protocols, {name: tuple(sorted(of, key=lambda d: d.order)) for name, of in by_name.items()}
        )

    def _all(self) -> Iterator[Protocol]:
        for name in self.names():
            for dated in self.versions(name):
                yield dated.protocol


def _lanes(rules: Iterable[Rule]) -> dict[str, str]:
    """Kinds that one rule watches belong together, also those of two versions of a rule."""
    watched: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        if rule.statistic is not None:
            watched.setdefault(rule.key, set()).update(rule.statistic.kinds)
    group: dict[str, set[str]] = {}
    for kinds in watched.values():
        joined = set(kinds).union(*(group.get(kind, ()) for kind in kinds))
        for kind in joined:
            group[kind] = joined
    return {kind: min(members) for kind, members in group.items()}
