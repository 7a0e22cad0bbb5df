"""A patient's lanes laid out for another timeline: after a care plan, and after a version of a protocol.

Which kinds share a lane follows from the rules, so a protocol's new version may join lanes or part them. What
rules and statistics remember is carried by name; what nothing was known of begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from streams.episodes import IDLE, Episode, RuleState
from streams.history import History, Key
from streams.program import Program
from streams.state import NOTHING_BEFORE, SEVERAL, Checkpoint, Lane, PatientState
from streams.timeline import RuleKey, Timeline


@dataclass(slots=True)
class Loose:
    """A lane without its place: what its rules and statistics remember, by name."""

    base_key: Key
    base_stats: dict[str, Any]
    base_states: dict[RuleKey, RuleState]
    states: dict[RuleKey, RuleState]
    history: History
    closed: list[tuple[Key, Episode]]

    @property
    def kinds(self) -> set[str]:
        return {o.kind for o in self.history.observations}


def loosen(lane: Lane) -> Loose:
    """A lane as its program evaluated it."""
    layout = lane.program.layout
    return Loose(
        lane.base.key,
        dict(zip(layout.stat_keys, lane.base.stats, strict=True)),
        dict(zip(layout.keys, lane.base.states, strict=True)),
        dict(zip(layout.keys, lane.states, strict=True)),
        lane.history,
        lane.closed,
    )


def lay(
    loose: Iterable[Loose], timeline: Timeline, program_of: Callable[[str], Program]
) -> tuple[dict[str, Lane], list[Episode]]:
    """The lanes under a timeline, to be evaluated from their bases on; and the episodes of rules that no stretch of
    it has, for the caller to withdraw."""
    lane_of = timeline.library.lanes
    home = {rule.key: lane_of[min(rule.kinds)] for rule in timeline.rules if rule.statistic is not None}
    gone: list[Episode] = []
    closed: dict[str, list[tuple[Key, Episode]]] = {}
    sources: dict[str, dict[int, Loose]] = {}
    for number, one in enumerate(loose):
        names = {lane_of.get(kind, "other") for kind in one.kinds}
        for key, state in one.states.items():
            if key in home:
                names.add(home[key])
            elif state.open is not None:
                gone.append(state.open)
        for at, episode in one.closed:
            if episode.key in home:
                names.add(home[episode.key])
                closed.setdefault(home[episode.key], []).append((at, episode))
            else:
                gone.append(episode)
        for name in names:
            sources.setdefault(name, {})[number] = one
    lanes = {}
    for name in sorted(sources):
        lane = lanes[name] = _lane(name, list(sources[name].values()), timeline, program_of(name))
        lane.closed = sorted(closed.get(name, ()), key=lambda entry: entry[0])
    return lanes, gone


def _lane(name: str, of: list[Loose], timeline: Timeline, program: Program) -> Lane:
    base_stats = {key: state for one in of for key, state in one.base_stats.items()}
    base_states = {key: state for one in of for key, state in one.base_states.items()}
    states = {key: state for one in of for key, state in one.states.items()}
    base_key = min(one.base_key for one in of)
    version = -1 if base_key == NOTHING_BEFORE else timeline.index_at(base_key[0])
    layout, active = program.layout, program.rules[version + 1]
    fresh = zip(layout.stat_keys, layout.initial_stats(), strict=True)
    base = Checkpoint(
        base_key,
        tuple(base_stats.get(key, initial) for key, initial in fresh),
        tuple(_held(base_states, key, active[i] is not None) for i, key in enumerate(layout.keys)),
        version,
    )
    lane = Lane(program, base, _history(name, of, timeline.library.lanes))
    lane.states = [_held(states, key, True) for key in layout.keys]
    lane.settle()
    return lane


def _held(states: dict[RuleKey, RuleState], key: RuleKey, active: bool) -> RuleState:
    state = states.get(key, IDLE)
    return IDLE if not active or state == IDLE else state


def _history(name: str, of: list[Loose], lane_of: dict[str, str]) -> History:
    """The observations of a lane's kinds; a history that stays whole is kept with what is packed of it."""
    if len(of) == 1 and all(lane_of.get(kind, "other") == name for kind in of[0].kinds):
        return of[0].history
    here = [o for one in of for o in one.history.observations if lane_of.get(o.kind, "other") == name]
    conflicts = {identity for one in of for identity in one.history.conflicts}
    return History(sorted(here, key=lambda o: o.key), conflicts)


def note_senders(state: PatientState) -> None:
    """Which lane each device speaks in, from the lanes."""
    state.senders = {}
    for name, lane in state.lanes.items():
        for device in lane.history.newest_seq:
            state.senders[device] = name if state.senders.get(device, name) == name else SEVERAL
