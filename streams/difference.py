"""Signals from episodes: numbered, explained, and after late data the difference between before and after."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streams.episodes import Episode, Instant, alert_id
from streams.explain import explain
from streams.protocols.model import Library, Rule
from streams.rolling import Ref
from streams.rolling.base import instant_text
from streams.signal import AlertSignal, StandingEpisode, State
from streams.silence import HOUR_MS, Silence
from streams.state import PatientState
from streams.timeline import RuleKey
from streams.words import KIND_NAMES

Rules = dict[tuple[str, str, str], Rule | None]
"""Rules by protocol, name and version, as they are looked up in one library; as many as it has."""


class Emitter:
    """Collects the signals of one call, numbered on from the patient's last."""

    def __init__(self, state: PatientState, library: Library, rules: Rules | None = None) -> None:
        self.patient = state
        self.library = library
        self._rules: Rules = {} if rules is None else rules
        self.before: Library | None = None
        """The protocols that held before this call, for rules that are no more."""
        self.signals: list[AlertSignal] = []

    def emit(
        self,
        episode: Episode,
        state: State,
        *,
        at: Instant | None = None,
        late: bool = False,
        reason: str | None = None,
        supersedes: Sequence[str] = (),
    ) -> None:
        """Say one step of an episode. `at` defaults to the start, last or end that the step is about."""
        rule = self._rule(episode)
        if rule is None and self.before is not None:
            rule = self.before.rule(episode.protocol, episode.rule, episode.version)
        if rule is None:  # a release that dropped the rule: the episode is ended by the plan's next pass
            return
        if at is None:
            at = episode.start if state == "raised" else episode.last
            if state == "cleared" and reason is None and episode.end is not None:
                at = episode.end
        refs = episode.opened_by if state == "raised" else episode.refs
        self.patient.n += 1
        self.signals.append(
            AlertSignal(
                alert=alert_id(self.patient.patient, episode),
                patient=self.patient.patient,
                protocol=episode.protocol,
                protocol_version=episode.version,
                rule=episode.rule,
                cls=rule.cls,
                severity=episode.severity,
                state=state,
                at=_text(at),
                value=None if episode.value is None else round(episode.value, 6),
                limit=episode.limit,
                unit=rule.unit,
                late=episode.late or late,
                evidence=tuple(r.evidence() for r in refs),
                explanation=explain(rule, episode),
                reason=msgspec.UNSET if reason is None else reason,
                supersedes=tuple(supersedes) if supersedes else msgspec.UNSET,
                n=self.patient.n,
            )
        )

    def _rule(self, episode: Episode) -> Rule | None:
        name = (episode.protocol, episode.rule, episode.version)
        try:
            return self._rules[name]
        except KeyError:
            rule = self._rules[name] = self.library.rule(*name)
            return rule

    def standing(self, episode: Episode) -> StandingEpisode:
        rule = self._rule(episode)
        return StandingEpisode(
            alert=alert_id(self.patient.patient, episode),
            patient=self.patient.patient,
            protocol=episode.protocol,
            rule=episode.rule,
            cls=rule.cls if rule is not None else "technical",
            severity=episode.severity,
            start=_text(episode.start),
            last=_text(episode.last),
            end=None if episode.end is None else _text(episode.end),
        )


def _text(instant: Instant) -> str:
    return instant_text(instant.at_ms, instant.offset_min)


def difference(
    old: Sequence[Episode], new: Sequence[Episode], out: Emitter, *, late: bool, reason: str
) -> None:
    """Say what changed from the old episodes to the new ones, rule by rule.

    An episode that is no more is cleared with a reason; one that is new names what it takes the place of.
    The same episode reopened is withdrawn and raised again, so that whoever folds signals needs no memory
    of how it ended.
    """
    keys = sorted({e.key for e in old} | {e.key for e in new})
    for key in keys:
        before = {(e.name, e.start.at_ms): e for e in old if e.key == key}
        after = {(e.name, e.start.at_ms): e for e in new if e.key == key}
        gone = [e for name, e in before.items() if name not in after]
        for episode in gone:
            out.emit(episode, "cleared", reason=reason)
        heirs = _heirs(gone, list(after.values()))
        for name, episode in sorted(after.items(), key=lambda item: item[1].start.at_ms):
            _one(before.get(name), episode, out, late, reason, heirs.get(name, []))


def _one(
    was: Episode | None, episode: Episode, out: Emitter, late: bool, reason: str, supersedes: list[Episode]
) -> None:
    if was is not None and was.stands_like(episode) and not supersedes:
        return
    names = [alert_id(out.patient.patient, e) for e in supersedes]
    moved = was is None or (was.last, was.rank, was.version) != (episode.last, episode.rank, episode.version)
    if was is None or (was.end is not None and episode.end is None) or names:
        if was is not None:
            out.emit(was, "cleared", reason=reason)
        out.emit(episode, "raised", late=late, supersedes=names)
        if episode.last != episode.start:
            out.emit(episode, "updated", late=late)
        if episode.end is not None:
            out.emit(episode, "cleared")
        return
    if moved:
        out.emit(episode, "updated", late=late)
    if episode.end is not None:
        out.emit(episode, "cleared")


def _heirs(gone: Sequence[Episode], after: Sequence[Episode]) -> dict[tuple[str, int], list[Episode]]:
    """For each episode that is no more, the one that takes its place: the nearest that overlaps or touches."""
    heirs: dict[tuple[str, int], list[Episode]] = {}
    for episode in gone:
        end = episode.end.at_ms if episode.end is not None else None
        near = [
            e
            for e in after
            if (end is None or e.start.at_ms <= end) and (e.end is None or e.end.at_ms >= episode.start.at_ms)
        ]
        if near:
            heir = min(near, key=lambda e: (abs(e.start.at_ms - episode.start.at_ms), e.start.at_ms))
            heirs.setdefault((heir.name, heir.start.at_ms), []).append(episode)
    return heirs


def from_silence(silence: Silence, key: RuleKey, state: PatientState, library: Library) -> Episode:
    """The episode of a silence, as it stands at the patient's clock."""
    offset_min = _offset(state, silence.start_ms)
    grave = silence.grave_from_ms is not None and silence.grave_from_ms <= state.clock_ms
    last_ms = max(silence.start_ms, silence.grave_from_ms or 0) if grave else silence.start_ms
    rule = state.timeline.rule_at(key, last_ms) or library.rule(*key)
    first = silence.parts[0]
    kinds = sorted({p.kind for p in silence.parts})
    end = None if silence.end_ms is None else Instant(silence.end_ms, _offset(state, silence.end_ms))
    limit_h = first.limit_ms / HOUR_MS
    return Episode(
        protocol=key[0],
        rule=key[1],
        version=rule.version if rule is not None else "",
        name=f"silence|{silence.start_ms}",
        start=Instant(silence.start_ms, offset_min),
        last=Instant(last_ms, _offset(state, last_ms)),
        rank=3 if grave else 2,
        end=end,
        value=(last_ms - first.silent_since_ms) / HOUR_MS,
        limit=limit_h,
        opened_by=_last_readings(state, first.kind, first.silent_since_ms),
        extra={
            "what_fr": ", ".join(KIND_NAMES[k][0] for k in kinds),
            "what_en": ", ".join(KIND_NAMES[k][1] for k in kinds),
        },
    )


def _last_readings(state: PatientState, kind: str, at_ms: int) -> tuple[Ref, ...]:
    """The readings after which there was silence, when they are still kept."""
    for lane in state.lanes.values():
        _, observations, place = lane.history.since((at_ms, "", 0, 0, 0))
        for o in observations[place : place + 8]:
            if o.at_ms == at_ms and o.kind == kind:
                return (
                    Ref(o.at_ms, o.offset_min, o.device, o.epoch, o.seq, o.kind, o.x[0] if o.x else None),
                )
    return ()


def _offset(state: PatientState, at_ms: int) -> int:
    index = max(0, state.timeline.index_at(at_ms))
    if not state.timeline.versions:
        return 0
    return state.timeline.versions[index].offset_min(at_ms, 0)
