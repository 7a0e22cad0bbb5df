"""The engine: readings, care plans and ticks in, alert signals out. Pure: no clock, no I/O.

For a given set of readings and plans and a given latest instant, the standing episodes are the same
whatever the order, delay, repetition and batching in which they came. A reading in order advances the
rules it concerns. One out of order goes back to the checkpoint before it and advances again until the
states are what they were; the signals are the difference between the episodes before and after.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import itemgetter

import msgspec

from devices.readings import Reading
from streams import no_reading, stored
from streams.difference import Emitter, Rules, difference
from streams.episodes import IDLE
from streams.evaluation import Evaluator
from streams.history import (
    DENSE_HORIZON_MS,
    HORIZON_MS,
    SLACK_MS,
    History,
    Key,
    Observation,
    observe,
    too_late,
)
from streams.plans import CarePlan
from streams.program import Programs
from streams.protocols.model import Library
from streams.retime import lay, loosen, note_senders
from streams.signal import AlertSignal, StandingEpisode
from streams.state import LONG_AGO_MS, NOTHING_BEFORE, SEVERAL, Checkpoint, Lane, PatientState
from streams.timeline import RuleKey, Timeline, check_plan, default_timeline, lay_out

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
    same silence with every reading of it. `state_format`, one of streams.stored.READABLE, is what `dump` writes.
    """

    def __init__(
        self,
        library: Library,
        defaults: Sequence[str] = (),
        retention_ms: int | None = RETENTION_MS,
        checkpoint_every: int = CHECKPOINT_EVERY,
        silence_by_ticks: bool = False,
        state_format: int = stored.FORMAT,
    ) -> None:
        self.library = library
        self.state_format = state_format
        self.retention_ms = retention_ms
        self.checkpoint_every = checkpoint_every
        self.silence_by_ticks = silence_by_ticks
        self._defaults = tuple(defaults)
        self._default = default_timeline(library, self._defaults)
        self._rules: Rules = {}
        self._programs = Programs()
        self._evaluator = Evaluator(checkpoint_every)

    def use(self, library: Library) -> None:
        """From now on these protocols and versions hold. A patient's state follows when it is next applied to."""
        if library.stamp == self.library.stamp:
            return
        self.library = library
        self._rules = {}
        self._default = default_timeline(library, self._defaults)

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
        out = Emitter(state, self.library, self._rules)
        if state.stale or state.timeline.library is not self.library:
            self._use_protocols(state, out)
        for plan in plans:
            self._set_plan(state, plan, out)
        arrived: dict[str, list[Observation]] = {}
        for reading in readings:
            state.clock_ms = max(state.clock_ms, reading.received_at_ms)
            if reading.received_at_ms - reading.measured_at_ms > DENSE_HORIZON_MS and too_late(reading):
                state.too_late += 1
                continue
            o = observe(reading)
            arrived.setdefault(self.library.lanes.get(o.kind, "other"), []).append(o)
        for name, observations in arrived.items():
            self._take(state, name, observations, out)
        if tick_ms is not None:
            state.clock_ms = max(state.clock_ms, tick_ms)
        if len(state.timeline.starts) > 1:
            self._cross(state, out)
        due = state.deadline_ms is not None and state.clock_ms >= state.deadline_ms
        if due and (tick_ms is not None or not self.silence_by_ticks):
            no_reading.look(state, self.library, self._cut_ms(state), out)
        if self.retention_ms is not None:
            self._forget(state, state.clock_ms - self.retention_ms)
        return out.signals

    def next_deadline_ms(self, state: PatientState) -> int | None:
        """The instant from which a tick can change something, or None."""
        if state.stale or state.timeline.library is not self.library:
            return state.clock_ms
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
        emitter = Emitter(state, self.library, self._rules)
        return sorted((emitter.standing(e) for e in episodes), key=lambda s: (s.start, s.protocol, s.rule))

    # ── readings ──────────────────────────────────────────────────────────────────────────────────────

    def _lane(self, state: PatientState, name: str) -> Lane:
        lane = state.lanes.get(name)
        if lane is None:
            program = self._programs.make(state.timeline, name)
            idle = tuple(IDLE for _ in program.layout.keys)
            base = Checkpoint(NOTHING_BEFORE, program.layout.initial_stats(), idle, -1)
            lane = state.lanes[name] = Lane(program, base, History())
        return lane

    def _take(self, state: PatientState, name: str, arrived: list[Observation], out: Emitter) -> None:
        """Put observations in their places and evaluate: forwards when all are in order, else from before the
        earliest change."""
        lane = self._lane(state, name)
        history, advance = lane.history, self._evaluator.advance
        index_at, expected, senders = state.timeline.index_at, state.times, state.senders
        keyed = [((o.at_ms, o.device, o.epoch, o.seq, o.digest), o) for o in arrived]
        if len(keyed) > 1:
            keyed.sort(key=_first)
        newest = max(history.newest or NOTHING_BEFORE, lane.base.key)
        first: Key | None = None
        last: Key = NOTHING_BEFORE
        late = False
        for key, o in keyed:
            index = index_at(o.at_ms)
            in_order = first is None and key > newest and index >= lane.version
            if in_order and senders.get(o.device) == name and history.append(o, key):  # nearly every reading
                newest = key
                if o.kind in expected:
                    no_reading.note(state, o)
                advance(state, lane, index, key, o, out)
                continue
            if key <= lane.base.key:
                # It was in time by the clock of the bridge, but the history it belongs to is gone: a backlog
                # of more than SLACK_MS, or a replay from quarantine after the horizon.
                state.too_late += 1
                continue
            changed = history.insert(o)
            if changed is None:
                state.duplicates += 1
                continue
            newest = max(newest, key)
            no_reading.note(state, o)
            self._contradict(state, name, o, out)
            if in_order and changed[0] == key:
                advance(state, lane, index, key, o, out)
                continue
            first = changed[0] if first is None else min(first, changed[0])
            last = max(last, changed[1], key)
            late = late or o.late
        if first is not None:
            self._evaluator.rewind(state, lane, first, last, out, late)

    def _contradict(self, state: PatientState, name: str, o: Observation, out: Emitter) -> None:
        """One identity in two lanes (a hub that counts anew): both readings are a conflict."""
        if state.senders.setdefault(o.device, name) == name:
            return
        state.senders[o.device] = SEVERAL
        for other_name, other in state.lanes.items():
            if other_name == name:
                continue
            found = other.history.contradicted(o.identity)
            if found is not None:
                state.lanes[name].history.conflicts |= {o.identity}
                self._evaluator.rewind(state, other, *found, out, o.late)

    # ── care plans ────────────────────────────────────────────────────────────────────────────────────

    def _set_plan(self, state: PatientState, plan: CarePlan, out: Emitter) -> None:
        """A plan replaces the one before it unless that has a higher version: it is always complete."""
        if state.plan is not None and not newer(plan, state.plan):
            return
        check_plan(self.library, plan)
        state.plan = plan
        self._retime(state, lay_out(self.library, plan), out, "care-plan")

    def _use_protocols(self, state: PatientState, out: Emitter) -> None:
        """Other protocols hold than those that the state was evaluated with."""
        timeline = self._default if state.plan is None else lay_out(self.library, state.plan)
        self._retime(state, timeline, out, "protocol")
        state.stale = False

    def _retime(self, state: PatientState, timeline: Timeline, out: Emitter, reason: str) -> None:
        """Evaluate what is kept by another timeline and tell what differs."""
        out.before, state.timeline = state.timeline.library, timeline
        loose = [loosen(lane) for lane in state.lanes.values()]
        state.lanes, gone = lay(loose, timeline, lambda name: self._programs.make(timeline, name))
        difference(gone, [], out, late=False, reason=reason)
        for lane in state.lanes.values():
            start = lane.base.key
            self._evaluator.rewind(state, lane, start, start, out, late=False, reason=reason)
        note_senders(state)
        no_reading.expect(state)
        no_reading.look(state, self.library, self._cut_ms(state), out, reason=reason)

    def _cross(self, state: PatientState, out: Emitter) -> None:
        """Let a version of the plan take effect whose instant the clock has reached, without a reading."""
        index = state.timeline.index_at(state.clock_ms)
        for lane in state.lanes.values():
            if index > lane.version:
                self._evaluator.enter(state, lane, index, out)

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
            for o in lane.history.forget_through(lane.base.key):
                known = state.last_before.get(o.kind)
                state.last_before[o.kind] = o.at_ms if known is None else max(known, o.at_ms)
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
        return stored.write(state, self.state_format)

    def load(self, patient: str, data: bytes) -> PatientState:
        """Read what `dump` wrote. Raises ValueError when it is another patient's or of an unknown format."""
        state = self.new_state(patient)

        def begin(plan: CarePlan) -> None:
            state.plan, state.timeline = plan, lay_out(self.library, plan)

        stored.read(state, data, begin, lambda name: self._programs.make(state.timeline, name))
        no_reading.expect(state)
        for lane in state.lanes.values():
            lane.history.cool()
        return state


_first = itemgetter(0)


def newer(plan: CarePlan, than: CarePlan) -> bool:
    """Plans are complete lists of versions, so the one with the higher last version is the later one."""
    return _rank(plan) > _rank(than)


def _rank(plan: CarePlan) -> tuple[int, bytes]:
    newest = max((v.version for v in plan.versions), default=0)
    return newest, msgspec.json.encode(plan)


__all__ = ["CHECKPOINT_EVERY", "RETENTION_MS", "Engine", "RuleKey", "newer"]
