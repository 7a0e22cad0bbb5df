"""Persistence, hysteresis and identity: how measures become episodes, for every rule alike.

An episode opens when a level's condition has lasted as long as the rule wants, goes on while no level is
over, and ends when each is (for `clear_for_ms`). Everything here is a value: `judge` takes a state and
gives the next.
"""

from __future__ import annotations

import uuid
from functools import lru_cache

import msgspec

from streams.history import Observation
from streams.protocols.model import Level, Rule
from streams.rolling import Measure, Ref
from streams.rolling.pieces import push
from streams.signal import Severity

MAX_REFS = 8
"""Readings kept as evidence of one decision: the first and the last of a long run. More would not be read."""

NAMESPACE = uuid.UUID("6f0e6c1e-6d1c-5f0b-9d2c-5cad00000001")
"""Names of alerts are drawn from it; a constant of the project, never to change."""

SEVERITY_OF: dict[int, Severity] = {1: "low", 2: "medium", 3: "high"}


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How long a level's condition has lasted: a bit for each of the last measures, newest lowest."""

    hits: int = 0
    first_ms: int = 0
    last_ms: int = 0
    refs: tuple[Ref, ...] = ()


NO_RUN = Run()


class Instant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A reading's time as it was written: milliseconds and the offset in minutes."""

    at_ms: int
    offset_min: int = 0


class Episode(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One episode of one rule. `name` is what its alert's identity is drawn from."""

    protocol: str
    rule: str
    version: str
    name: str
    start: Instant
    last: Instant
    rank: int
    end: Instant | None = None
    value: float | None = None
    limit: float | None = None
    level: str = ""
    late: bool = False
    opened_by: tuple[Ref, ...] = ()
    refs: tuple[Ref, ...] = ()
    extra: dict[str, float | str] = {}

    @property
    def key(self) -> tuple[str, str]:
        return (self.protocol, self.rule)

    @property
    def severity(self) -> Severity:
        return SEVERITY_OF[self.rank]

    def stands_like(self, other: Episode) -> bool:
        """Whether nothing that a standing episode shows differs."""
        return (
            self.start.at_ms == other.start.at_ms
            and self.last == other.last
            and self.end == other.end
            and self.rank == other.rank
            and self.version == other.version
        )


def alert_id(patient: str, episode: Episode) -> str:
    """The alert's UUID: a pure function of patient, protocol, rule and the episode's first reading."""
    return _alert_id(f"{patient}|{episode.protocol}|{episode.rule}|{episode.name}")


@lru_cache(maxsize=4096)  # an open episode is named again with every reading that meets its rule
def _alert_id(name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, name))


def name_of(o: Observation) -> str:
    """The part of an episode's identity that its first reading gives."""
    return f"{o.device}|{o.epoch}|{o.seq}|{o.at_ms}|{o.digest}"


class RuleState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a rule remembers between two measures, beside its statistic. IDLE when it is nothing."""

    runs: tuple[Run, ...] = ()
    clear_since_ms: int | None = None
    open: Episode | None = None


IDLE = RuleState()


def judge(
    rule: Rule, levels: tuple[Level, ...], state: RuleState, o: Observation, measure: Measure
) -> tuple[RuleState, Episode | None]:
    """Hold a measure against the levels (sorted gravest first).

    Returns the next state and, when this measure opened, updated or closed an episode, that episode.
    """
    met = [level.met(measure) for level in levels]
    hit = any(met)
    if not hit and state.open is None and not state.runs:
        return IDLE, None
    runs = _runs(levels, state.runs, met, o, measure)
    if state.open is None:
        opened = _open(rule, levels, met, runs, o, measure)
        return (RuleState(runs, None, opened) if runs or opened is not None else IDLE), opened
    if hit:
        updated = _update(rule, levels, state.open, met, runs, o, measure)
        return RuleState(runs, None, updated), updated
    return _calm(rule, levels, state, runs, o, measure)


def _runs(
    levels: tuple[Level, ...],
    before: tuple[Run, ...],
    met: list[tuple[float, float] | None],
    o: Observation,
    measure: Measure,
) -> tuple[Run, ...]:
    """The runs after this measure; () when none is under way. Runs of another release's levels begin anew."""
    if len(before) != len(levels):
        before = ()
    after = []
    alive = False
    for index, level in enumerate(levels):
        run = before[index] if before else NO_RUN
        if not level.immediate:
            run = _run(level, run, met[index] is not None, o, measure)
            alive = alive or run.hits != 0
        after.append(run)
    return tuple(after) if alive else ()


def _run(level: Level, run: Run, met: bool, o: Observation, measure: Measure) -> Run:
    if level.when and not level.applies(measure.facts):
        return run  # another sort of reading says nothing of this run
    broken = level.max_gap_ms is not None and run.hits and o.at_ms - run.last_ms > level.max_gap_ms
    if broken or (level.within_ms is not None and run.hits and o.at_ms - run.first_ms > level.within_ms):
        run = NO_RUN
    if not met:
        hits = push(run.hits, False, level.of) if level.of > level.count else 0
        return Run(hits, run.first_ms, run.last_ms, run.refs) if hits else NO_RUN
    first_ms = run.first_ms if run.hits else o.at_ms
    # A run held by time counts its measures beyond `of` as well, but never forgets that it goes on.
    hits = push(run.hits, True, level.of)
    kept = run.refs if len(run.refs) < MAX_REFS else (run.refs[0], *run.refs[2:])
    return Run(hits, first_ms, o.at_ms, (*kept, measure.refs[-1]))


def _sustained(level: Level, run: Run, met: bool, at_ms: int) -> bool:
    if not met:
        return False
    if level.immediate:
        return True
    return run.hits.bit_count() >= level.count and at_ms - run.first_ms >= level.for_ms


def _open(
    rule: Rule,
    levels: tuple[Level, ...],
    met: list[tuple[float, float] | None],
    runs: tuple[Run, ...],
    o: Observation,
    measure: Measure,
) -> Episode | None:
    for index, level in enumerate(levels):
        hit = met[index]
        run = runs[index] if runs else NO_RUN
        if hit is None or not _sustained(level, run, True, o.at_ms):
            continue
        refs = _merged(run.refs, measure.refs)
        instant = Instant(o.at_ms, o.offset_min)
        return Episode(
            protocol=rule.protocol,
            rule=rule.name,
            version=rule.version,
            name=name_of(o),
            start=instant,
            last=instant,
            rank=level.rank,
            value=hit[0],
            limit=hit[1],
            level=level.name,
            late=o.late,
            opened_by=refs,
            refs=refs,
            extra=measure.extra,
        )
    return None


def _update(
    rule: Rule,
    levels: tuple[Level, ...],
    episode: Episode,
    met: list[tuple[float, float] | None],
    runs: tuple[Run, ...],
    o: Observation,
    measure: Measure,
) -> Episode:
    """A further measure meets a level: the severity rises with what is sustained, and falls only when the
    graver level is over by its own clear limit, so that it does not flap."""
    chosen: tuple[int, tuple[float, float], str] | None = None
    held = 0
    for index, level in enumerate(levels):
        hit = met[index]
        run = runs[index] if runs else NO_RUN
        grave = hit is not None and (_sustained(level, run, True, o.at_ms) or level.rank <= episode.rank)
        if grave and hit is not None and (chosen is None or level.rank > chosen[0]):
            chosen = (level.rank, hit, level.name)
        if level.rank <= episode.rank and not level.over(measure):
            held = max(held, level.rank)
    if chosen is None:  # a graver level is met but not sustained yet, and no milder one is met
        first = next(i for i, hit in enumerate(met) if hit is not None)
        hit = met[first]
        assert hit is not None  # noqa: S101 - for the type checker: `first` was chosen so
        chosen = (episode.rank, hit, levels[first].name)
    value, limit = chosen[1]
    return Episode(
        episode.protocol,
        episode.rule,
        rule.version,
        episode.name,
        episode.start,
        Instant(o.at_ms, o.offset_min),
        max(chosen[0], held),
        episode.end,
        value,
        limit,
        chosen[2],
        episode.late,
        episode.opened_by,
        measure.refs[-MAX_REFS:],
        measure.extra,
    )


def _calm(
    rule: Rule,
    levels: tuple[Level, ...],
    state: RuleState,
    runs: tuple[Run, ...],
    o: Observation,
    measure: Measure,
) -> tuple[RuleState, Episode | None]:
    """No level is met while an episode is open: it ends when every level is over, for long enough."""
    if not all(level.over(measure) for level in levels):
        return RuleState(runs, None, state.open), None
    since = o.at_ms if state.clear_since_ms is None else state.clear_since_ms
    if o.at_ms - since < rule.clear_for_ms:
        return RuleState(runs, since, state.open), None
    assert state.open is not None  # noqa: S101 - for the type checker: the caller has looked
    closed = msgspec.structs.replace(
        state.open,
        version=rule.version,
        end=Instant(o.at_ms, o.offset_min),
        refs=measure.refs[-MAX_REFS:],
    )
    return (RuleState(runs) if runs else IDLE), closed


def _merged(run: tuple[Ref, ...], now: tuple[Ref, ...]) -> tuple[Ref, ...]:
    refs = {(r.device, r.epoch, r.seq, r.at_ms): r for r in (*now, *run)}
    ordered = sorted(refs.values(), key=lambda r: (r.at_ms, r.device, r.epoch, r.seq))
    return tuple(ordered if len(ordered) <= MAX_REFS else (ordered[0], *ordered[1 - MAX_REFS :]))
