"""*No reading* in a patient's state: which instants count, when silence must be looked at again, and what follows.

`streams.silence` says what silence is; here it is kept up to date. A reading that can change nothing, as nearly
every reading, costs a comparison for each protocol that expects its kind.
"""

from __future__ import annotations

import msgspec

from streams.difference import Emitter, difference, from_silence
from streams.episodes import Episode
from streams.history import Observation
from streams.protocols.model import Library
from streams.silence import Instants, Overdue, next_change_ms, overdue_stretches, silences
from streams.state import LONG_AGO_MS, NEVER_MS, PatientState


def expect(state: PatientState) -> None:
    """Collect the instants of the kinds that the patient's plan expects, anew: after a plan, and after a load."""
    shortest: dict[str, int] = {}
    dated: dict[str, set[int]] = {}
    for of_kind in state.timeline.spans.values():
        for kind, spans in of_kind.items():
            known = shortest.get(kind)
            least = min(span.shortest_ms for span in spans)
            shortest[kind] = least if known is None else min(known, least)
            for span in spans:
                if span.dated is not None:
                    dated.setdefault(kind, set()).add(span.dated.after_ms)
    times: dict[str, list[int]] = {kind: [] for kind in shortest}
    for kind, before_ms in state.last_before.items():
        if kind in times:
            times[kind].append(before_ms)
    if times:
        for lane in state.lanes.values():
            for o in lane.history.observations:
                if o.kind in times:
                    times[o.kind].append(o.at_ms)
    state.times = {
        kind: Instants(found, shortest[kind], dated.get(kind, ())) for kind, found in times.items()
    }
    state.silent_from_ms = LONG_AGO_MS


def note(state: PatientState, o: Observation) -> None:
    """A reading of a kind was measured at an instant: may silence end, or never have been? Then it is looked at
    when next the deadline is."""
    instants = state.times.get(o.kind)
    if instants is None:
        return
    times, at_ms = instants.times, o.at_ms
    newest = not times or at_ms > times[-1]
    last_ms = times[-1] if times else LONG_AGO_MS
    freed = instants.frees(at_ms)
    if not instants.add(at_ms):
        return
    if newest:
        soon = state.deadline_ms is not None and at_ms > state.deadline_ms
        if not (state.silences or soon or freed):
            return  # nearly every reading
        # A silence that ended before the last reading of the kind is not this one's to change.
        spans = state.timeline.spans
        touched = bool(state.silences) and any(
            o.kind in spans.get(key, ()) and (found[-1].end is None or found[-1].end.at_ms > last_ms)
            for key, found in state.silences.items()
        )
        if not (touched or soon or freed):
            return
    elif not (state.silences or freed):
        return
    state.silent_from_ms = min(state.silent_from_ms, at_ms)
    state.deadline_ms = LONG_AGO_MS


def look(state: PatientState, library: Library, cut_ms: int, out: Emitter, reason: str = "late-data") -> None:
    """Find the episodes of silence as of the patient's clock and tell what differs.

    Those that ended before `cut_ms` are no longer held. Those that ended before the earliest instant that
    came since the last look are as they were: neither a later reading nor the clock can move them.
    """
    deadline: int | None = None
    for key in sorted({*state.timeline.spans, *state.silences}):
        old = [e for e in state.silences.get(key, ()) if e.end is None or e.end.at_ms >= cut_ms]
        settled = 0
        for episode in old:
            if episode.end is None or episode.end.at_ms >= state.silent_from_ms:
                break
            settled += 1
        end = old[settled - 1].end if settled else None
        after_ms = None if end is None else end.at_ms
        parts: list[Overdue] = []
        for kind, spans in state.timeline.spans.get(key, {}).items():
            before_ms, instants = state.last_before.get(kind), state.times[kind]
            parts += [
                part
                for part in overdue_stretches(kind, instants, spans, state.clock_ms, after_ms)
                if before_ms is None or part.end_ms is None or part.end_ms > before_ms
            ]
            nearest = next_change_ms(instants.times, spans, state.clock_ms)
            if nearest is not None and (deadline is None or nearest < deadline):
                deadline = nearest
        found = [
            from_silence(s, key, state, library)
            for s in silences(parts)
            if s.end_ms is None or s.end_ms >= cut_ms
        ]
        before = old[settled:]
        found = [_with_forgotten_start(e, before, state.last_before) for e in found]
        if settled or found:
            state.silences[key] = old[:settled] + found
        else:
            state.silences.pop(key, None)
        difference(before, found, out, late=False, reason=reason)
    state.deadline_ms = deadline
    state.silent_from_ms = NEVER_MS


def _with_forgotten_start(found: Episode, old: list[Episode], last_before: dict[str, int]) -> Episode:
    """An episode whose beginning is no longer in the history keeps the one that was told."""
    forgotten_ms = max(last_before.values(), default=LONG_AGO_MS)
    for was in old:
        touches = found.end is None or was.start.at_ms <= found.end.at_ms
        lasts = was.end is None or was.end.at_ms >= found.start.at_ms
        if was.start.at_ms < min(found.start.at_ms, forgotten_ms) and touches and lasts:
            return msgspec.structs.replace(
                found,
                start=was.start,
                name=was.name,
                value=was.value,
                limit=was.limit,
                opened_by=was.opened_by,
            )
    return found
