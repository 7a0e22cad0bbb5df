"""Which rules of a care plan concern a lane, laid out for quick passes."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from streams.episodes import IDLE, RuleState
from streams.protocols.model import FLOAT_NOISE, UPWARD, Level, Library, Rule
from streams.rolling import Statistic
from streams.timeline import RuleKey, Timeline


def lanes_of(library: Library) -> dict[str, str]:
    """Kind → name of its lane. Kinds that one rule watches share a lane, named after the first of them."""
    group: dict[str, set[str]] = {}
    for protocol in library.protocols.values():
        for rule in protocol.rules:
            if rule.statistic is None:
                continue
            joined = set(rule.statistic.kinds)
            for kind in rule.statistic.kinds:
                joined |= group.get(kind, set())
            for kind in joined:
                group[kind] = joined
    return {kind: min(members) for kind, members in group.items()}


Band = tuple[float, float]
"""Values strictly between meet no level, whatever the facts are."""


class Watched(NamedTuple):
    """One statistic to advance for a kind, and the rules that hold levels against its measures."""

    place: int
    statistic: Statistic
    rules: tuple[tuple[int, Rule], ...]


class Program:
    """The rules of one timeline that watch one lane's kinds.

    Rules with the same statistic and parameters share its state. `by_kind` gives what to advance; under version
    i of the plan, `levels[i + 1][position]` are the levels of a rule, None where the version does not have it,
    and `bands[i + 1][position]` its band for each channel.
    """

    __slots__ = (
        "bands", "by_kind", "clinical", "keys", "levels", "places", "rules", "stat_keys", "statistics", "timeline",
    )  # fmt: skip

    def __init__(self, timeline: Timeline, lane: str, lane_of: dict[str, str]) -> None:
        self.timeline = timeline
        self.rules: list[Rule] = [
            rule
            for rule in timeline.rules
            if rule.statistic is not None
            and any(lane_of.get(kind, "other") == lane for kind in rule.statistic.kinds)
        ]
        self.statistics: dict[str, Statistic] = {}
        for rule in self.rules:
            if rule.statistic is not None:
                self.statistics.setdefault(rule.statistic_key, rule.statistic)
        self.stat_keys = tuple(self.statistics)
        self.keys: tuple[RuleKey, ...] = tuple(rule.key for rule in self.rules)
        self.places = {key: i for i, key in enumerate(self.keys)}
        self.by_kind: dict[str, list[Watched]] = {}
        for place, (key, statistic) in enumerate(self.statistics.items()):
            watching = tuple((i, rule) for i, rule in enumerate(self.rules) if rule.statistic_key == key)
            for kind in statistic.kinds:
                self.by_kind.setdefault(kind, []).append(Watched(place, statistic, watching))
        self.clinical: dict[str, frozenset[RuleKey]] = {
            kind: frozenset(rule.key for one in watched for _, rule in one.rules if rule.cls == "clinical")
            for kind, watched in self.by_kind.items()
        }
        self.levels: list[tuple[tuple[Level, ...] | None, ...]] = [tuple(None for _ in self.keys)]
        for version in timeline.versions:
            self.levels.append(tuple(version.levels.get(key) for key in self.keys))
        self.bands = [tuple(map(_bands, levels)) for levels in self.levels]

    def initial_stats(self) -> tuple[Any, ...]:
        return tuple(statistic.initialize() for statistic in self.statistics.values())

    def read_rules(self, keys: list[RuleKey], raw: list[Any]) -> tuple[RuleState, ...]:
        """States from their form on disk, by the rules' names; a rule that was not there begins anew."""
        found = {tuple(key): msgspec.convert(value, RuleState) for key, value in zip(keys, raw, strict=True)}
        states = (found.get(key, IDLE) for key in self.keys)
        return tuple(IDLE if state == IDLE else state for state in states)

    def read_stats(self, keys: list[str], raw: list[Any]) -> tuple[Any, ...]:
        """States of statistics, by name and parameters: with other parameters one begins anew."""
        found = dict(zip(keys, raw, strict=True))
        return tuple(
            msgspec.convert(found[key], statistic.State) if key in found else statistic.initialize()
            for key, statistic in self.statistics.items()
        )


def _bands(levels: tuple[Level, ...] | None) -> tuple[Band, ...] | None:
    """For each channel the open interval in which no level can be met; None for a rule that does not hold."""
    if levels is None:
        return None
    bands = []
    for channel in range(len(levels[0].limits) if levels else 0):
        low, high = float("-inf"), float("inf")
        for level in levels:
            limit = level.limits[channel]
            if limit is None:
                continue
            slack = max(level.tolerance, FLOAT_NOISE)
            if level.comparison in UPWARD:
                high = min(high, limit - slack)
            else:
                low = max(low, limit + slack)
        bands.append((low, high))
    return tuple(bands)
