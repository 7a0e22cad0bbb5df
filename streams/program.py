"""Which rules of a care plan concern a lane, laid out for quick passes.

A `Layout` is what all patients with the same rules share; a `Program` adds what a patient's own plan says. Parts
of programs are shared too, so that ten thousand patients on the protocols' own limits hold one set of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from streams.episodes import IDLE, RuleState
from streams.protocols.model import FLOAT_NOISE, UPWARD, Level, Rule
from streams.rolling import Statistic
from streams.rolling.technical import ClockFault, DeviceFault
from streams.timeline import RuleKey, Timeline

LAYOUTS_MAX = 512
STEPS_MAX = 8192
"""Entries of the two caches before they are emptied: combinations of protocols times lanes, and of personal limits
on top. An entry is some kilobytes and made anew in a millisecond."""


Band = tuple[float, float]
"""Values strictly between meet no level, whatever the facts are."""

NO_BOUND: Band = (float("-inf"), float("inf"))


class Held(NamedTuple):
    """A rule that holds: the place of its state, and its levels with the band of each channel."""

    position: int
    rule: Rule
    levels: tuple[Level, ...]
    bands: tuple[Band, ...]


class Step(NamedTuple):
    """One statistic to advance for a kind under one version, and the rules that hold levels against its measures.

    `low` and `high` are the band of all its rules together when it has one channel, `bands` those of the channels
    when it has several: while the rules are idle and each value is within, as nearly always, nothing more is
    looked at. `mask` has the statistic's bit; `positions` are the rules that use it in any version. A statistic of
    the devices whose state is `sound` says that all is well to every reading without a blemish: it is not asked.
    """

    place: int
    mask: int
    add: Callable[[Any, Any, Any], tuple[Any, Any]]
    low: float
    high: float
    bands: tuple[Band, ...]
    held: tuple[Held, ...]
    positions: tuple[int, ...]
    sound: object

    def within(self, values: tuple[float, ...]) -> bool:
        """Whether no level can be met by these values."""
        if not self.bands:
            return self.low < values[0] < self.high
        return all(low < value < high for (low, high), value in zip(self.bands, values, strict=True))


LOUD = object()
"""In the place of `sound`: no state of a statistic."""

ALL_WELL = 0.0  # what statistics of the devices say of a reading without a blemish

Steps = dict[str, tuple[Step, ...]]


class Layout:
    """The rules that watch one lane's kinds: places of their states and of their statistics' states.

    Rules with the same statistic and parameters share its state. A rule that versions of its protocol define
    differently has one place, and each version's rule is held against its own statistic.
    """

    __slots__ = ("clinical", "keys", "mask_of", "places", "rules", "stat_keys", "statistics", "users")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.statistics: dict[str, Statistic] = {}
        for rule in rules:
            if rule.statistic is not None:
                self.statistics.setdefault(rule.statistic_key, rule.statistic)
        self.stat_keys = tuple(self.statistics)
        self.keys: tuple[RuleKey, ...] = tuple(dict.fromkeys(rule.key for rule in rules))
        self.places = {key: i for i, key in enumerate(self.keys)}
        self.users: tuple[tuple[int, ...], ...] = tuple(
            tuple(sorted({self.places[rule.key] for rule in rules if rule.statistic_key == key}))
            for key in self.stat_keys
        )
        """For each statistic, the places of the rules that use it."""
        self.mask_of = tuple(
            sum(1 << place for place, users in enumerate(self.users) if position in users)
            for position in range(len(self.keys))
        )
        """For each rule, the bits of the statistics that it uses."""
        kinds = {kind for statistic in self.statistics.values() for kind in statistic.kinds}
        self.clinical: dict[str, frozenset[RuleKey]] = {
            kind: frozenset(r.key for r in rules if r.cls == "clinical" and kind in r.kinds) for kind in kinds
        }

    def steps(self, rules: Sequence[Rule], levels: Sequence[tuple[Level, ...]]) -> Steps:
        """What to do for a reading of each kind while these rules hold with these levels."""
        held: dict[str, list[Held]] = {}
        for rule, of_rule in zip(rules, levels, strict=True):
            entry = Held(self.places[rule.key], rule, of_rule, _bands(of_rule))
            held.setdefault(rule.statistic_key, []).append(entry)
        found: dict[str, list[Step]] = {}
        for place, (key, statistic) in enumerate(self.statistics.items()):
            holding = tuple(held.get(key, ()))
            bands = tuple(
                (max(low for low, _ in of_channel), min(high for _, high in of_channel))
                for of_channel in zip(*(h.bands for h in holding), strict=True)
            )
            low, high = bands[0] if len(bands) == 1 else NO_BOUND
            sound: object = LOUD
            if isinstance(statistic, DeviceFault | ClockFault) and low < ALL_WELL < high:
                sound = statistic.initialize()
            step = Step(
                place, 1 << place, statistic.add, low, high, bands if len(bands) > 1 else (), holding,
                self.users[place], sound,
            )  # fmt: skip
            for kind in statistic.kinds:
                found.setdefault(kind, []).append(step)
        return {kind: tuple(steps) for kind, steps in found.items()}

    def initial_stats(self) -> tuple[Any, ...]:
        return tuple(statistic.initialize() for statistic in self.statistics.values())

    def busy(self, states: Sequence[RuleState]) -> int:
        """The bits of the statistics whose rules are not all idle."""
        busy = 0
        for position, state in enumerate(states):
            if state is not IDLE:
                busy |= self.mask_of[position]
        return busy

    def read_rules(self, keys: list[RuleKey], raw: list[Any]) -> tuple[RuleState, ...]:
        """States from their form on disk, by the rules' names; a rule that was not there begins anew."""
        found = {tuple(key): msgspec.convert(value, RuleState) for key, value in zip(keys, raw, strict=True)}
        states = (found.get(key, IDLE) for key in self.keys)
        return tuple(IDLE if state == IDLE else state for state in states)

    def read_stats(self, keys: list[str], raw: list[Any]) -> tuple[Any, ...]:
        """States of statistics, by name and parameters: with other parameters one begins anew."""
        found = dict(zip(keys, raw, strict=True))
        states = []
        for key, statistic in self.statistics.items():
            state = statistic.initialize()
            if key in found:
                read = msgspec.convert(found[key], statistic.State)
                state = state if read == state else read  # the very object: see Step.sound
            states.append(state)
        return tuple(states)


class Program:
    """The rules of one timeline that watch one lane's kinds; in stretch i of the timeline, `steps[i + 1]`."""

    __slots__ = ("layout", "rules", "steps")

    def __init__(self, layout: Layout, rules: list[tuple[Rule | None, ...]], steps: list[Steps]) -> None:
        self.layout = layout
        self.rules = rules
        """`rules[i + 1][position]`: the rule as stretch i has it, None where it has none of the name."""
        self.steps = steps


class Programs:
    """Makes programs, and keeps what several share."""

    def __init__(self) -> None:
        self._layouts: dict[tuple[int, ...], Layout] = {}
        self._steps: dict[tuple[int, ...], tuple[tuple[object, ...], Steps]] = {}

    def make(self, timeline: Timeline, lane: str) -> Program:
        """The program of a lane."""
        lane_of = timeline.library.lanes
        rules = [
            rule
            for rule in timeline.rules
            if rule.statistic is not None
            and any(lane_of.get(kind, "other") == lane for kind in rule.statistic.kinds)
        ]
        layout = self._layout(rules)
        of_stretch: list[tuple[Rule | None, ...]] = [tuple(None for _ in layout.keys)]
        steps = [self._steps_of(layout, [], [])]
        for version in timeline.versions:
            holding = [rule for rule in rules if version.rules.get(rule.key) is rule]
            named = {rule.key: rule for rule in holding}
            of_stretch.append(tuple(named.get(key) for key in layout.keys))
            steps.append(self._steps_of(layout, holding, [version.levels[rule.key] for rule in holding]))
        return Program(layout, of_stretch, steps)

    def _layout(self, rules: list[Rule]) -> Layout:
        name = tuple(map(id, rules))  # the layout holds the rules, so that the numbers stay theirs
        layout = self._layouts.get(name)
        if layout is None:
            if len(self._layouts) >= LAYOUTS_MAX:
                self._layouts.clear()
            layout = self._layouts[name] = Layout(rules)
        return layout

    def _steps_of(self, layout: Layout, rules: list[Rule], levels: list[tuple[Level, ...]]) -> Steps:
        parts: tuple[object, ...] = (layout, *rules, *levels)
        name = tuple(map(id, parts))
        kept = self._steps.get(name)
        if kept is None:
            if len(self._steps) >= STEPS_MAX:
                self._steps.clear()
            kept = self._steps[name] = (parts, layout.steps(rules, levels))
        return kept[1]


def _bands(levels: tuple[Level, ...]) -> tuple[Band, ...]:
    """For each channel the open interval in which no level can be met."""
    bands = []
    for channel in range(len(levels[0].limits) if levels else 0):
        low, high = NO_BOUND
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
