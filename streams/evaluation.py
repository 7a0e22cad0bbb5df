"""Moving over a lane: a reading in order advances it, one out of order goes back to a checkpoint and on again.

This is the inner loop of the whole platform. What nearly every reading has in common (in order, no rule busy, values
within the bands) is a handful of comparisons beside the statistics themselves; `python -m bench.engine` says
what each part costs.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TypeVar

import msgspec

from streams.difference import Emitter, difference
from streams.episodes import IDLE, Episode, Instant, RuleState, judge
from streams.history import DAY_MS, Key, Observation
from streams.rolling import Moment
from streams.state import Checkpoint, Lane, PatientState

MINUTE_MS = 60_000

V = TypeVar("V")


class Evaluator:
    """Evaluates observations of a lane in order. One serves any number of patients."""

    def __init__(self, checkpoint_every: int) -> None:
        self._checkpoint_every = checkpoint_every
        self._moment = Moment()

    def advance(
        self, state: PatientState, lane: Lane, index: int, key: Key, o: Observation, out: Emitter | None
    ) -> None:
        """Evaluate one observation that comes after all that the lane has seen, under version `index` of the plan.
        Without `out` nobody is told."""
        if index != lane.version:
            self.enter(state, lane, index, out)
        layout = lane.program.layout
        steps = lane.program.steps[index + 1].get(o.kind)
        if steps:
            moment, conflicts = self._moment, lane.history.conflicts
            moment.now = moment.beat = moment.answers = None
            if index >= 0:
                version = state.timeline.versions[index]
                moment.day, moment.minute = version.local(o.at_ms, o.offset_min)
                moment.personal = version.personal
            else:
                local_ms = o.at_ms + o.offset_min * MINUTE_MS
                moment.day, moment.minute = local_ms // DAY_MS, local_ms % DAY_MS // MINUTE_MS
            moment.conflicts = conflicts
            moment.clinical_open = bool(lane.open_rules) and not lane.open_rules.isdisjoint(
                layout.clinical[o.kind]
            )
            # Advance the statistics of the observation's kind and hold their rules' levels against them.
            stats, states, busy = lane.stats, lane.states, lane.busy
            plain = not (conflicts or o.flags or o.artefact)
            for place, mask, add, low, high, common, held, positions, sound in steps:
                if busy_now := busy & mask:
                    moment.own_open = any(states[p].open is not None for p in positions)
                elif plain and stats[place] is sound:
                    continue
                else:
                    moment.own_open = False
                stats[place], measure = add(stats[place], o, moment)
                if measure is None:
                    continue
                values = measure.values
                if not busy_now:
                    if not common:
                        if low < values[0] < high:
                            continue
                    else:
                        for (least, most), value in zip(common, values):  # noqa: B905 - strict costs time here
                            if not least < value < most:
                                break
                        else:
                            continue
                for position, rule, levels, bands in held:
                    before = states[position]
                    if before is IDLE:
                        for value, (least, most) in zip(values, bands, strict=True):
                            if not least < value < most:
                                break
                        else:
                            continue
                    after, changed = judge(rule, levels, before, o, measure)
                    states[position] = after
                    if (after is IDLE) != (before is IDLE):
                        busy = lane.busy = layout.busy(states)
                    if changed is not None:
                        _changed(lane, key, before.open, changed, out)
        lane.since_checkpoint += 1
        if lane.since_checkpoint >= self._checkpoint_every:
            lane.checkpoints.append(Checkpoint(key, tuple(lane.stats), tuple(lane.states), lane.version))
            lane.since_checkpoint = 0

    def enter(self, state: PatientState, lane: Lane, index: int, out: Emitter | None) -> None:
        """Go over to a later stretch of the timeline, by way of those between. Episodes of rules that one of them
        does not have end at its `from`; under a rule that another version of its protocol defines, an open
        episode goes on and what was on its way begins anew."""
        rules = lane.program.rules
        for step in range(lane.version + 1, index + 1):
            before, now = rules[step], rules[step + 1]
            start_ms = state.timeline.starts[step]
            for position, rule_state in enumerate(lane.states):
                if rule_state is IDLE or (now[position] is not None and now[position] is before[position]):
                    continue
                opened = rule_state.open
                if now[position] is not None:
                    lane.states[position] = IDLE if opened is None else RuleState(open=opened)
                    continue
                if opened is not None:
                    ended = msgspec.structs.replace(opened, end=Instant(start_ms, 0))
                    _changed(lane, (start_ms, "", 0, 0, 0), opened, ended, out)
                lane.states[position] = IDLE
        lane.version = index
        lane.busy = lane.program.layout.busy(lane.states)

    def rewind(
        self,
        state: PatientState,
        lane: Lane,
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
        old_tail = (lane.stats, lane.states, lane.version, lane.since_checkpoint)
        old_checkpoints = lane.checkpoints[cut:]
        lane.checkpoints = lane.checkpoints[:cut]
        lane.closed = [(k, e) for k, e in lane.closed if k <= start.key]
        lane.stats, lane.states = list(start.stats), list(start.states)
        lane.version, lane.since_checkpoint = start.version, 0
        lane.settle()
        agreed = False
        keys, observations, begin = lane.history.since((*start.key[:4], start.key[4] + 1))
        index_at = state.timeline.index_at
        for position in range(begin, len(observations)):
            o, key = observations[position], keys[position]
            self.advance(state, lane, index_at(o.at_ms), key, o, None)
            known = later.get(key)
            if known is not None and key >= last and _same(lane, known):
                agreed = True
                lane.checkpoints = [c for c in lane.checkpoints if c.key < key]
                lane.checkpoints += [c for c in old_checkpoints if c.key >= key]
                lane.closed += [(k, e) for k, e in old_closed if k > key]
                lane.stats, lane.states, lane.version, lane.since_checkpoint = old_tail
                lane.settle()
                break
        if not agreed:
            index = index_at(state.clock_ms)
            if index > lane.version:
                self.enter(state, lane, index, None)
        new = [e for k, e in lane.closed if k > start.key]
        new += [s.open for s in lane.states if s.open is not None]
        difference([e for _, e in old_closed] + old_open, new, out, late=late, reason=reason)


def _changed(lane: Lane, key: Key, before: Episode | None, changed: Episode, out: Emitter | None) -> None:
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


def _same(lane: Lane, known: Checkpoint) -> bool:
    if lane.version != known.version or tuple(lane.states) != known.states:
        return False
    return tuple(lane.stats) == known.stats
