"""Which rules of a care plan concern a lane, laid out for quick passes."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.episodes import RuleState
from streams.protocols.model import Level, Library, Rule
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


class Program:
    """The rules of one timeline that watch one lane's kinds.

    `by_kind` gives (position, rule, statistic) of the rules to advance; `levels[i + 1][position]` the levels
    of a rule under version i of the plan, None where the version does not have the rule.
    """

    __slots__ = ("by_kind", "clinical", "keys", "levels", "places", "rules", "timeline")

    def __init__(self, timeline: Timeline, lane: str, lane_of: dict[str, str]) -> None:
        self.timeline = timeline
        self.rules: list[tuple[Rule, Statistic]] = []
        self.by_kind: dict[str, list[tuple[int, Rule, Statistic]]] = {}
        for rule in timeline.rules:
            if rule.statistic is None:
                continue
            kinds = [k for k in rule.statistic.kinds if lane_of.get(k, "other") == lane]
            if not kinds:
                continue
            position = len(self.rules)
            self.rules.append((rule, rule.statistic))
            for kind in kinds:
                self.by_kind.setdefault(kind, []).append((position, rule, rule.statistic))
        self.clinical: dict[str, frozenset[RuleKey]] = {
            kind: frozenset(rule.key for _, rule, _ in watching if rule.cls == "clinical")
            for kind, watching in self.by_kind.items()
        }
        self.keys: tuple[RuleKey, ...] = tuple((*rule.key,) for rule, _ in self.rules)
        self.places = {key: i for i, key in enumerate(self.keys)}
        none: tuple[tuple[Level, ...] | None, ...] = tuple(None for _ in self.keys)
        self.levels: list[tuple[tuple[Level, ...] | None, ...]] = [none]
        for version in timeline.versions:
            self.levels.append(tuple(version.levels.get(key) for key in self.keys))

    def initial(self) -> tuple[RuleState, ...]:
        return tuple(RuleState(statistic.initialize()) for _, statistic in self.rules)

    def read(self, keys: list[RuleKey], raw: list[Any]) -> tuple[RuleState, ...]:
        """States from their form on disk, by the rules' names; a rule that was not there begins anew."""
        found = {tuple(key): value for key, value in zip(keys, raw, strict=True)}
        states = list(self.initial())
        for position, (rule, statistic) in enumerate(self.rules):
            value = found.get(rule.key)
            if value is not None:
                state = msgspec.convert(value, RuleState)
                stat = msgspec.convert(state.stat, statistic.State)
                states[position] = RuleState(stat, state.runs, state.clear_since_ms, state.open)
        return tuple(states)
