"""The engine: readings, care plans and ticks in, alert signals out. Pure: no clock, no I/O.

For a given set of readings and plans and a given latest instant, the standing episodes are the same
whatever the order, delay, repetition and batching in which they came. A reading in order advances the
rules it concerns. One out of order goes back to the checkpoint before it and advances again until the
states are what they were; the signals are the difference between the episodes before and after.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from devices.readings import Reading
from streams import no_reading
from streams.difference import Emitter, difference
from streams.episodes import IDLE, Episode, Instant, RuleState, judge
from streams.history import HORIZON_MS, SLACK_MS, History, Key, Observation, observe, too_late
from streams.packing import pack_block, unpack_block
from streams.plans import CarePlan
from streams.program import Program, Watched, lanes_of
from streams.protocols.model import Library
from streams.rolling import Moment
from streams.signal import AlertSignal, StandingEpisode
from streams.state import (
    FORMAT,
    LONG_AGO_MS,
    NOTHING_BEFORE,
    Checkpoint,
    Lane,
    PatientState,
    Stored,
    StoredLane,
    pack,
    unpack,
)
from streams.timeline import RuleKey, Timeline, compile_plan, default_timeline

CHECKPOINT_EVERY = 48
"""Observations between two checkpoints of a lane. A late reading re-evaluates half of that on average before
it reaches one, and then until the states agree again; 48 is a fortnight of daily weight with pressure, or
four hours of continuous glucose."""

RETENTION_MS = HORIZON_MS + SLACK_MS


class Engine:
    """Evaluates any number of patients against a library of protocols.

    `defaults` names the protocols of a patient without a care plan (`scad replay --protocol`); live it is
    empty: who has no plan is not watched, and the readings wait in the history. `retention_ms` None keeps
    histories whole, for files whose lines are in no order at all. With `silence_by_ticks` *no reading* is
    looked at only when a tick comes, so that a device that empties its buffer after days does not move the
    same silence with every reading of it.
    """

    def __init__(
        self,
        library: Library,
        defaults: Sequence[str] = (),
        retention_ms: int | None = RETENTION_MS,
        checkpoint_every: int = CHECKPOINT_EVERY,
        silence_by_ticks: bool = False,
    ) -> None:
        self.library = library
        self.retention_ms = retention_ms
        self.checkpoint_every = checkpoint_every
        self.silence_by_ticks = silence_by_ticks
        self._defaults = tuple(defaults)
        self._default = default_timeline(library, self._defaults)
        self._lane_of = lanes_of(library)
        self._programs: dict[tuple[int, str], Program] = {}
        self._moment = Moment()

    def use(self, library: Library) -> None:
        """From now on these protocols and versions hold. A patient's state follows when it is next applied to."""
        if library.stamp == self.library.stamp:
            return
        self.library = library
        self._default = default_timeline(library, self._defaults)
        self._lane_of = lanes_of(library)
        self._programs.clear()

    @property
    def stamp(self) -> int:
        """Tells the protocols apart that states were evaluated with."""
        return self.library.stamp

    def new_state(self, patient: str) -> PatientState:
        return PatientState(patient, self._default)

    def apply(
        self,
        state: PatientState,
        readings: Iterable[Reading] = (),
        plans: Iterable[CarePlan] = (),
        tick_ms: int | None = None,
    ) -> list[AlertSignal]:
        """Take in what arrived and return the signals that follow, in order, numbered.

        Raises timeline.PlanError for a plan that cannot be used; the state is then unchanged by it.
        """
        out = Emitter(state, self.library)
        for plan in plans:
            self._set_plan(state, plan, out)
        arrived: dict[str, list[Observation]] = {}
        for reading in readings:
            state.clock_ms = max(state.clock_ms, reading.received_at_ms)
            if too_late(reading):
                state.too_late += 1
                continue
            o = observe(reading)
            arrived.setdefault(self._lane_of.get(o.kind, "other"), []).append(o)
        for name, observations in arrived.items():
            self._take(state, name, observations, out)
        if tick_ms is not None:
            state.clock_ms = max(state.clock_ms, tick_ms)
        if len(state.timeline.starts) > 1:
            for name in state.lanes:
                self._cross(state, name, out)
        due = state.deadline_ms is not None and state.clock_ms >= state.deadline_ms
        if due and (tick_ms is not None or not self.silence_by_ticks):
            no_reading.look(state, self.library, self._cut_ms(state), out)
        if self.retention_ms is not None:
            self._forget(state, state.clock_ms - self.retention_ms)
        return out.signals

    def next_deadline_ms(self, state: PatientState) -> int | None:
        """The instant from which a tick can change something, or None."""
        changes = [state.deadline_ms] if state.deadline_ms is not None else []
        starts = state.timeline.starts
        ahead = bisect_left(starts, state.clock_ms + 1)
        if ahead < len(starts):
            changes.append(starts[ahead])
        return min(changes) if changes else None

    def standing(self, state: PatientState) -> list[StandingEpisode]:
        """The episodes that stand within the history kept, sorted by start, protocol and rule."""
        episodes = [e for lane in state.lanes.values() for _, e in lane.closed]
        episodes += [s.open for lane in state.lanes.values() for s in lane.states if s.open is not None]
        episodes += [e for found in state.silences.values() for e in found]
        emitter = Emitter(state, self.library)
        return sorted((emitter.standing(e) for e in episodes), key=lambda s: (s.start, s.protocol, s.rule))

    # ── readings ──────────────────────────────────────────────────────────────────────────────────────

    def _program(self, timeline: Timeline, lane: str) -> Program:
        key = (id(timeline), lane)
        program = self._programs.get(key)
        if program is None or program.timeline is not timeline:
            if len(self._programs) > 4096:  # programs are small and quickly made; plans come and go
                self._programs.clear()
            program = self._programs[key] = Program(timeline, lane, self._lane_of)
        return program

    def _lane(self, state: PatientState, name: str) -> Lane:
        lane = state.lanes.get(name)
        if lane is None:
            program = self._program(state.timeline, name)
            idle = tuple(IDLE for _ in program.keys)
            lane = state.lanes[name] = Lane(
                Checkpoint(NOTHING_BEFORE, program.initial_stats(), idle, -1), History()
            )
        return lane

    def _take(self, state: PatientState, name: str, arrived: list[Observation], out: Emitter) -> None:
        """Put observations in their places and evaluate: forwards when all are in order, else from before the
        earliest change."""
        lane = self._lane(state, name)
        program = self._program(state.timeline, name)
        arrived.sort(key=lambda o: o.key)
        first: Key | None = None
        last: Key = NOTHING_BEFORE
        late = False
        for o in arrived:
            if o.key <= lane.base.key:
                # It was in time by the clock of the bridge, but the history it belongs to is gone: a backlog
                # of more than SLACK_MS, or a replay from quarantine after the horizon.
                state.too_late += 1
                continue
            in_order = (not lane.history.keys or o.key > lane.history.keys[-1]) and (
                state.timeline.index_at(o.at_ms) >= lane.version
            )
            changed = lane.history.insert(o)
            if changed is None:
                state.duplicates += 1
                continue
            no_reading.note(state, o)
            self._contradict(state, name, o, out)
            if in_order and changed[0] == o.key and first is None:
                self._advance(state, lane, program, o, out)
                continue
            first = changed[0] if first is None else min(first, changed[0])
            last = max(last, changed[1], o.key)
            late = late or o.late
        if first is not None:
            self._rewind(state, lane, program, first, last, out, late)

    def _contradict(self, state: PatientState, name: str, o: Observation, out: Emitter) -> None:
        """One identity in two lanes (a hub that counts anew): both readings are a conflict."""
        for other_name, other in state.lanes.items():
            if other_name == name:
                continue
            found = other.history.contradicted(o.identity)
            if found is not None:
                state.lanes[name].history.conflicts |= {o.identity}
                program = self._program(state.timeline, other_name)
                self._rewind(state, other, program, *found, out, o.late)

    def _advance(
        self, state: PatientState, lane: Lane, program: Program, o: Observation, out: Emitter | None
    ) -> None:
        """Evaluate one observation that comes after all that the lane has seen. Without `out` nobody is told."""
        index = state.timeline.index_at(o.at_ms)
        if index != lane.version:
            self._enter(state, lane, program, index, out)
        watchers = program.by_kind.get(o.kind)
        if watchers:
            moment = self._moment
            version = state.timeline.versions[index] if index >= 0 else None
            if version is not None:
                moment.day, moment.minute = version.local(o.at_ms, o.offset_min)
                moment.personal = version.personal
            else:
                local_ms = o.at_ms + o.offset_min * 60_000
                moment.day, moment.minute = local_ms // 86_400_000, local_ms % 86_400_000 // 60_000
            moment.conflicts = lane.history.conflicts
            moment.clinical_open = bool(lane.open_rules) and not lane.open_rules.isdisjoint(
                program.clinical[o.kind]
            )
            self._judge(lane, program, index, watchers, o, out)
        lane.since_checkpoint += 1
        if lane.since_checkpoint >= self.checkpoint_every:
            lane.checkpoints.append(Checkpoint(o.key, tuple(lane.stats), tuple(lane.states), lane.version))
            lane.since_checkpoint = 0

    def _judge(
        self,
        lane: Lane,
        program: Program,
        index: int,
        watchers: list[Watched],
        o: Observation,
        out: Emitter | None,
    ) -> None:
        """Advance the statistics of the observation's kind and hold their rules' levels against them. A rule
        that is idle and within its band, as nearly all are nearly always, costs a comparison."""
        stats, states, moment = lane.stats, lane.states, self._moment
        moment.own_open = False
        levels_of, bands_of = program.levels[index + 1], program.bands[index + 1]
        for place, statistic, rules in watchers:
            if lane.open_rules:
                moment.own_open = any(states[position].open is not None for position, _ in rules)
            stats[place], measure = statistic.add(stats[place], o, moment)
            if measure is None:
                continue
            values = measure.values
            for position, rule in rules:
                bands, levels = bands_of[position], levels_of[position]
                if bands is None or levels is None:
                    continue
                before = states[position]
                if before is IDLE:
                    for value, (low, high) in zip(values, bands, strict=True):
                        if not low < value < high:
                            break
                    else:
                        continue
                states[position], changed = judge(rule, levels, before, o, measure)
                if changed is not None:
                    self._changed(lane, o.key, before.open, changed, out)

    def _changed(
        self, lane: Lane, key: Key, before: Episode | None, changed: Episode, out: Emitter | None
    ) -> None:
        if changed.end is not None:
            lane.closed.append((key, changed))
            lane.open_rules -= {changed.key}
        elif before is None:
            lane.open_rules |= {changed.key}
        if out is None:
            return
        if changed.end is not None:
            out.emit(changed, "cleared")
        else:
            out.emit(changed, "raised" if before is None else "updated")

    def _enter(
        self, state: PatientState, lane: Lane, program: Program, index: int, out: Emitter | None
    ) -> None:
        """Go over to a later version of the plan, by way of those between: episodes of rules that one of them does
        not have end at its `from`."""
        for step in range(lane.version + 1, index + 1):
            levels_of = program.levels[step + 1]
            start_ms = state.timeline.starts[step]
            for position, rule_state in enumerate(lane.states):
                if levels_of[position] is not None or rule_state is IDLE:
                    continue
                if rule_state.open is not None:
                    ended = msgspec.structs.replace(rule_state.open, end=Instant(start_ms, 0))
                    self._changed(lane, (start_ms, "", 0, 0, 0), rule_state.open, ended, out)
                lane.states[position] = IDLE
        lane.version = index

    def _cross(self, state: PatientState, name: str, out: Emitter) -> None:
        """Let a version of the plan take effect whose instant the clock has reached, without a reading."""
        lane = state.lanes[name]
        index = state.timeline.index_at(state.clock_ms)
        if index > lane.version:
            self._enter(state, lane, self._program(state.timeline, name), index, out)

    def _rewind(
        self,
        state: PatientState,
        lane: Lane,
        program: Program,
        first: Key,
        last: Key,
        out: Emitter,
        late: bool,
        reason: str = "late-data",
    ) -> None:
        """Evaluate again from the checkpoint before `first`; beyond `last` stop where the states agree."""
        cut = bisect_left(lane.checkpoints, first, key=lambda c: c.key)
        start = lane.checkpoints[cut - 1] if cut else lane.base
        later = {c.key: c for c in lane.checkpoints[cut:]}
        old_closed = [(k, e) for k, e in lane.closed if k > start.key]
        old_open = [s.open for s in lane.states if s.open is not None]
        old_tail = (lane.stats, lane.states, lane.version, lane.since_checkpoint, lane.open_rules)
        old_checkpoints = lane.checkpoints[cut:]
        lane.checkpoints = lane.checkpoints[:cut]
        lane.closed = [(k, e) for k, e in lane.closed if k <= start.key]
        lane.stats, lane.states = list(start.stats), list(start.states)
        lane.version, lane.since_checkpoint = start.version, 0
        lane.open_rules = frozenset(s.open.key for s in lane.states if s.open is not None)
        observations = lane.history.observations
        agreed = False
        for position in range(lane.history.place((*start.key[:4], start.key[4] + 1)), len(observations)):
            o = observations[position]
            self._advance(state, lane, program, o, None)
            known = later.get(o.key)
            if known is not None and o.key >= last and _same(lane, known):
                agreed = True
                lane.checkpoints = [c for c in lane.checkpoints if c.key < o.key]
                lane.checkpoints += [c for c in old_checkpoints if c.key >= o.key]
                lane.closed += [(k, e) for k, e in old_closed if k > o.key]
                lane.stats, lane.states, lane.version, lane.since_checkpoint, lane.open_rules = old_tail
                break
        if not agreed:
            index = state.timeline.index_at(state.clock_ms)
            if index > lane.version:
                self._enter(state, lane, program, index, None)
        new = [e for k, e in lane.closed if k > start.key]
        new += [s.open for s in lane.states if s.open is not None]
        difference([e for _, e in old_closed] + old_open, new, out, late=late, reason=reason)

    # ── care plans ────────────────────────────────────────────────────────────────────────────────────

    def _set_plan(self, state: PatientState, plan: CarePlan, out: Emitter) -> None:
        """A plan replaces the one before it unless that has a higher version: it is always complete."""
        if state.plan is not None and not newer(plan, state.plan):
            return
        timeline = compile_plan(self.library, plan)
        before = state.timeline
        state.plan, state.timeline = plan, timeline
        for name, lane in state.lanes.items():
            old, program = self._program(before, name), self._program(timeline, name)
            gone = [s.open for s in lane.states if s.open is not None and s.open.key not in program.places]
            gone += [e for _, e in lane.closed if e.key not in program.places]
            lane.closed = [(k, e) for k, e in lane.closed if e.key in program.places]
            version = -1 if lane.base.key == NOTHING_BEFORE else timeline.index_at(lane.base.key[0])
            active = program.levels[version + 1]
            base = _carried(old.keys, lane.base.states, program.keys)
            lane.base = Checkpoint(
                lane.base.key,
                _carried_stats(old, lane.base.stats, program),
                tuple(s if active[i] is not None else IDLE for i, s in enumerate(base)),
                version,
            )
            lane.stats = list(_carried_stats(old, tuple(lane.stats), program))
            lane.states = _carried(old.keys, lane.states, program.keys)
            lane.checkpoints = []
            difference(gone, [], out, late=False, reason="care-plan")
            self._rewind(
                state, lane, program, NOTHING_BEFORE, NOTHING_BEFORE, out, late=False, reason="care-plan"
            )
        no_reading.expect(state)
        no_reading.look(state, self.library, self._cut_ms(state), out, reason="care-plan")

    # ── bounds ────────────────────────────────────────────────────────────────────────────────────────

    def _cut_ms(self, state: PatientState) -> int:
        """What ended before is no longer held."""
        return LONG_AGO_MS if self.retention_ms is None else state.clock_ms - self.retention_ms

    def _forget(self, state: PatientState, cut_ms: int) -> None:
        """Drop what nothing that may still arrive can change: the base moves up to the last checkpoint
        before `cut_ms`."""
        forgotten = False
        for lane in state.lanes.values():
            if not lane.checkpoints or lane.checkpoints[0].key[0] >= cut_ms:
                continue
            forgotten = True
            place = bisect_left(lane.checkpoints, cut_ms, key=lambda c: c.key[0]) - 1
            lane.base = lane.checkpoints[place]
            del lane.checkpoints[: place + 1]
            gone = lane.history.place((*lane.base.key[:4], lane.base.key[4] + 1))
            for o in lane.history.observations[:gone]:
                known = state.last_before.get(o.kind)
                state.last_before[o.kind] = o.at_ms if known is None else max(known, o.at_ms)
            lane.history.forget_before(gone)
            lane.closed = [(k, e) for k, e in lane.closed if k > lane.base.key]
        if not forgotten:
            return
        for kind, before in state.last_before.items():
            instants = state.times.get(kind)
            if instants is not None:
                instants.forget_before(before)

    # ── disk ──────────────────────────────────────────────────────────────────────────────────────────

    def dump(self, state: PatientState) -> bytes:
        """The patient as bytes, for the changelog."""
        lanes = {}
        packed: list[bytes] = []
        for name, lane in state.lanes.items():
            blocks, tail = lane.history.blocks(pack_block)
            packed += blocks
            lanes[name] = StoredLane(
                base_key=lane.base.key,
                base_version=lane.base.version,
                base_stats=list(lane.base.stats),
                base_states=list(lane.base.states),
                version=lane.version,
                stats=lane.stats,
                states=lane.states,
                tail=tail,
                closed=lane.closed,
                conflicts=sorted(lane.history.conflicts),
                blocks=[len(block) for block in blocks],
            )
        programs = {name: self._program(state.timeline, name) for name in state.lanes}
        return pack(
            Stored(
                FORMAT,
                state.patient,
                state.n,
                state.clock_ms,
                state.plan,
                {name: list(program.keys) for name, program in programs.items()},
                {name: list(program.stat_keys) for name, program in programs.items()},
                lanes,
                state.last_before,
                [e for found in state.silences.values() for e in found],
                state.deadline_ms,
                state.too_late,
                state.duplicates,
            ),
            packed,
        )

    def load(self, patient: str, data: bytes) -> PatientState:
        """Read what `dump` wrote. Raises ValueError when it is another patient's or of an unknown format."""
        stored, packed = unpack(data)
        if stored.format != FORMAT or stored.patient != patient:
            raise ValueError(
                f"state of {stored.patient!r} in format {stored.format}, expected {patient!r}, {FORMAT}"
            )
        state = self.new_state(patient)
        state.n, state.clock_ms, state.deadline_ms = stored.n, stored.clock_ms, stored.deadline_ms
        state.last_before, state.too_late, state.duplicates = (
            stored.last_before,
            stored.too_late,
            stored.duplicates,
        )
        if stored.plan is not None:
            state.plan, state.timeline = stored.plan, compile_plan(self.library, stored.plan)
        for episode in stored.silences:
            state.silences.setdefault(episode.key, []).append(episode)
        for name, kept in stored.lanes.items():
            program = self._program(state.timeline, name)
            keys, stat_keys = stored.rules[name], stored.statistics[name]
            base = Checkpoint(
                kept.base_key,
                program.read_stats(stat_keys, kept.base_stats),
                program.read_rules(keys, kept.base_states),
                kept.base_version,
            )
            observations = [o for block in packed.get(name, ()) for o in unpack_block(block)] + kept.tail
            lane = state.lanes[name] = Lane(base, History(observations, kept.conflicts))
            lane.stats = list(program.read_stats(stat_keys, kept.stats))
            lane.states = list(program.read_rules(keys, kept.states))
            lane.version, lane.closed = kept.version, kept.closed
            lane.open_rules = frozenset(s.open.key for s in lane.states if s.open is not None)
        no_reading.expect(state)
        return state


def _same(lane: Lane, known: Checkpoint) -> bool:
    if lane.version != known.version or tuple(lane.states) != known.states:
        return False
    return tuple(lane.stats) == known.stats


def _carried(old: Sequence[RuleKey], states: Sequence[RuleState], keys: Sequence[RuleKey]) -> list[RuleState]:
    """The rules' states in the order of another program; a rule that was not there is idle."""
    known = dict(zip(old, states, strict=True))
    return [known.get(key, IDLE) for key in keys]


def _carried_stats(old: Program, stats: tuple[Any, ...], program: Program) -> tuple[Any, ...]:
    known = dict(zip(old.stat_keys, stats, strict=True))
    fresh = program.initial_stats()
    return tuple(known.get(key, fresh[i]) for i, key in enumerate(program.stat_keys))


def newer(plan: CarePlan, than: CarePlan) -> bool:
    """Plans are complete lists of versions, so the one with the higher last version is the later one."""
    return _rank(plan) > _rank(than)


def _rank(plan: CarePlan) -> tuple[int, bytes]:
    newest = max((v.version for v in plan.versions), default=0)
    return newest, msgspec.json.encode(plan)


__all__ = ["CHECKPOINT_EVERY", "RETENTION_MS", "Engine", "RuleKey", "newer"]
