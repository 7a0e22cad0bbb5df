"""What a change of the plan would have done over the last three months: the engine over stored readings. Pure.

Both the present and the proposed version are evaluated as if each had been in force all the time, over the same
readings, by the engine that evaluates live; the difference is what the change means. Only protocols that the
change concerns are evaluated, each whole, because its rules share baselines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from alerts.feed.formats import DAY_MS
from devices.readings import Reading
from devices.times import format_instant, parse_instant
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion
from streams.protocols.model import Library
from streams.signal import StandingEpisode

DAYS = 90
LEAD_DAYS = 35
"""Readings before the window that let baselines and windows fill; episodes that begin there are not counted."""
READINGS_MAX = 10_000
"""The engine evaluates some 50,000 readings a second on one core, twice for a preview: with 10,000 the answer
stands within a second. A daily patient has some 600 in four months, a glucose sensor fills it in five weeks."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One alert that would have stood: when it began and ended (None: it stands), milliseconds."""

    protocol: str
    rule: str
    severity: str
    cls: str
    start_ms: int
    end_ms: int | None

    def overlaps(self, other: Episode) -> bool:
        ends = self.end_ms is None or self.end_ms >= other.start_ms
        return ends and (other.end_ms is None or other.end_ms >= self.start_ms)


@dataclass(frozen=True, slots=True)
class RuleChange:
    """What becomes of one rule. `changed`: (before, after) of the same episode with another beginning or
    severity."""

    protocol: str
    rule: str
    before: tuple[Episode, ...]
    after: tuple[Episode, ...]
    added: tuple[Episode, ...]
    gone: tuple[Episode, ...]
    changed: tuple[tuple[Episode, Episode], ...]

    @property
    def differs(self) -> bool:
        return bool(self.added or self.gone or self.changed)


@dataclass(frozen=True, slots=True)
class Preview:
    """The answer. `begin_ms` is later than asked where the readings were too many (`truncated`)."""

    begin_ms: int
    end_ms: int
    readings: int
    truncated: bool
    rules: tuple[RuleChange, ...]

    @property
    def differing(self) -> tuple[RuleChange, ...]:
        return tuple(rule for rule in self.rules if rule.differs)

    @property
    def unchanged(self) -> tuple[RuleChange, ...]:
        """Rules with alerts that stay as they are."""
        return tuple(rule for rule in self.rules if not rule.differs and rule.before)

    @property
    def added(self) -> int:
        return sum(len(rule.added) for rule in self.rules)

    @property
    def gone(self) -> int:
        return sum(len(rule.gone) for rule in self.rules)

    @property
    def moved(self) -> int:
        return sum(len(rule.changed) for rule in self.rules)

    @property
    def days(self) -> int:
        return max(1, round((self.end_ms - self.begin_ms) / DAY_MS))


def concerned(before: PlanVersion | None, after: PlanVersion) -> tuple[str, ...]:
    """The protocols whose evaluation may differ between two versions."""
    if before is None:
        return after.protocols
    names = tuple(dict.fromkeys((*after.protocols, *before.protocols)))
    same = msgspec.structs.replace(
        before,
        version=after.version,
        from_=after.from_,
        author=after.author,
        protocols=after.protocols,
        limits=after.limits,
    )
    if same != after:  # a schedule, a personal number, the zone: any protocol may look at it
        return names
    return tuple(
        name
        for name in names
        if (name in before.protocols) != (name in after.protocols)
        or before.limits.get(name, {}) != after.limits.get(name, {})
    )


def kinds_of(library: Library, protocols: Iterable[str]) -> list[str]:
    """The kinds that these protocols look at."""
    names = [name for name in protocols if name in library.protocols]
    return sorted({kind for name in names for rule in library.protocols[name].rules for kind in rule.kinds})


def preview(
    library: Library,
    readings: Sequence[Reading],
    before: PlanVersion | None,
    after: PlanVersion,
    begin_ms: int,
    end_ms: int,
    *,
    truncated: bool = False,
) -> Preview:
    """Evaluate both versions over `readings` (of one patient, of any order); `begin_ms` is where counting begins.

    Raises streams.timeline.PlanError for a version that cannot be used.
    """
    names = concerned(before, after)
    only = Library({name: library.protocols[name] for name in names if name in library.protocols})
    ordered = sorted(readings, key=lambda reading: reading.order)
    if truncated and ordered:
        # The readings begin in the middle of the history: what their first days say has no baseline behind it.
        lead = min(LEAD_DAYS * DAY_MS, (end_ms - ordered[0].measured_at_ms) // 4)
        begin_ms = max(begin_ms, ordered[0].measured_at_ms + lead)
    first_ms = min([begin_ms - LEAD_DAYS * DAY_MS, *(r.measured_at_ms for r in ordered[:1])])
    old = _episodes(only, ordered, before, first_ms, begin_ms, end_ms)
    new = _episodes(only, ordered, after, first_ms, begin_ms, end_ms)
    keys = dict.fromkeys((e.protocol, e.rule) for e in (*old, *new))
    order = {
        rule.key: place for place, rule in enumerate(r for p in only.protocols.values() for r in p.rules)
    }
    rules = tuple(
        _compare(
            key,
            [e for e in old if (e.protocol, e.rule) == key],
            [e for e in new if (e.protocol, e.rule) == key],
        )
        for key in sorted(keys, key=lambda key: order.get(key, len(order)))
    )
    return Preview(begin_ms, end_ms, len(ordered), truncated, rules)


def _episodes(
    library: Library,
    readings: Sequence[Reading],
    version: PlanVersion | None,
    first_ms: int,
    begin_ms: int,
    end_ms: int,
) -> list[Episode]:
    """The episodes that begin in the window, were the version in force from before the first reading."""
    if version is None:
        return []
    protocols = tuple(name for name in version.protocols if name in library.protocols)
    kinds = {kind for name in protocols for kind in library.protocols[name].schedule}
    held = msgspec.structs.replace(
        version,
        from_=format_instant(first_ms),
        protocols=protocols,
        limits={name: of for name, of in version.limits.items() if name in protocols},
        schedule={kind: asked for kind, asked in version.schedule.items() if kind in kinds},
        next_tests=msgspec.UNSET,  # a day of one silence, not of three months
    )
    engine = Engine(library, retention_ms=None)
    state = engine.new_state("-")
    engine.apply(state, plans=[CarePlan(patient="-", versions=(held,))])
    engine.apply(state, readings=readings)
    engine.apply(state, tick_ms=end_ms)
    found = [_episode(standing) for standing in engine.standing(state)]
    return [episode for episode in found if begin_ms <= episode.start_ms <= end_ms]


def _episode(standing: StandingEpisode) -> Episode:
    return Episode(
        standing.protocol,
        standing.rule,
        standing.severity,
        standing.cls,
        parse_instant(standing.start)[0],
        None if standing.end is None else parse_instant(standing.end)[0],
    )


def _compare(key: tuple[str, str], old: list[Episode], new: list[Episode]) -> RuleChange:
    """Pair the episodes of one rule in order of time, each with at most one that it overlaps; what is left over
    was added or is gone. Episodes of one rule never overlap each other."""
    before, after = (sorted(episodes, key=lambda e: e.start_ms) for episodes in (old, new))
    added: list[Episode] = []
    gone: list[Episode] = []
    changed: list[tuple[Episode, Episode]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        was, would = before[i], after[j]
        if was.overlaps(would):
            if (was.start_ms, was.severity) != (would.start_ms, would.severity):
                changed.append((was, would))
            i, j = i + 1, j + 1
        elif was.start_ms < would.start_ms:
            gone.append(was)
            i += 1
        else:
            added.append(would)
            j += 1
    gone += before[i:]
    added += after[j:]
    return RuleChange(*key, tuple(before), tuple(after), tuple(added), tuple(gone), tuple(changed))
