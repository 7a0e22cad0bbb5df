"""Each part of an evaluation by itself, over the same readings: what a reading spends where.

A part is given what the parts before it made, prepared beforehand. Their sum is less than the whole: what is left
is the way from one to the next, checkpoints, silence, and forgetting.
"""

from __future__ import annotations

import gc
from typing import Any

from bench.machine import cost_us
from bench.ward import Bed
from devices.readings import from_wire
from streams.difference import Emitter
from streams.engine import Engine
from streams.episodes import IDLE, Episode, judge
from streams.history import History, observe
from streams.program import Program, Programs, Step
from streams.protocols.model import Library
from streams.rolling import Measure, Moment
from streams.timeline import Version, compile_plan


class _Course:
    """One patient's readings on their way, part by part."""

    def __init__(self, library: Library, bed: Bed, programs: Programs) -> None:
        self.bed = bed
        timeline = compile_plan(library, bed.plan)
        self.observations = [observe(r) for r in bed.readings]
        self.keys = [o.key for o in self.observations]
        self.lanes = [library.lanes.get(o.kind, "other") for o in self.observations]
        self.programs = {name: programs.make(timeline, name) for name in set(self.lanes)}
        self.versions: list[Version] = timeline.versions
        self.indexes = [timeline.index_at(o.at_ms) for o in self.observations]
        self.steps = [
            self.programs[lane].steps[index + 1].get(o.kind, ())
            for lane, index, o in zip(self.lanes, self.indexes, self.observations, strict=True)
        ]
        self.measures: list[list[tuple[Step, Measure]]] = []
        self.changes: list[tuple[Episode, Episode | None]] = []

    def history(self) -> None:
        histories = {name: History() for name in self.programs}
        for lane, key, o in zip(self.lanes, self.keys, self.observations, strict=True):
            if not histories[lane].append(o, key):
                histories[lane].insert(o)

    def statistics(self, keep: bool = False) -> None:
        """Without `keep` the measures are let go, as the engine does."""
        stats: dict[str, list[Any]] = {
            name: list(program.layout.initial_stats()) for name, program in self.programs.items()
        }
        moment = Moment()
        for lane, steps, index, o in zip(
            self.lanes, self.steps, self.indexes, self.observations, strict=True
        ):
            if index >= 0:
                version = self.versions[index]
                moment.day, moment.minute = version.local(o.at_ms, o.offset_min)
                moment.personal = version.personal
            of, found = stats[lane], []
            moment.observe()
            plain = not o.flags and not o.artefact
            for step in steps:
                if plain and of[step.place] is step.sound:
                    continue
                of[step.place], measure = step.add(of[step.place], o, moment)
                if keep and measure is not None:
                    found.append((step, measure))
            if keep:
                self.measures.append(found)

    def rules(self) -> None:
        self.changes = []
        states = {name: [IDLE] * len(program.layout.keys) for name, program in self.programs.items()}
        busy = dict.fromkeys(self.programs, 0)
        for lane, measured, o in zip(self.lanes, self.measures, self.observations, strict=True):
            for step, measure in measured:
                if not busy[lane] & step.mask and step.within(measure.values):
                    continue
                of = states[lane]
                for held in step.held:
                    before = of[held.position]
                    of[held.position], changed = judge(held.rule, held.levels, before, o, measure)
                    if changed is not None:
                        self.changes.append((changed, before.open))
                busy[lane] = self._busy(lane, of)

    def _busy(self, lane: str, states: list[Any]) -> int:
        program: Program = self.programs[lane]
        return program.layout.busy(states)


def parts(library: Library, beds: list[Bed], repeat: int) -> dict[str, dict[str, float]]:
    """CPU time of each part in µs a reading; of `dump`, a dump."""
    count = sum(len(bed.readings) for bed in beds)
    programs = Programs()
    courses = [_Course(library, bed, programs) for bed in beds]

    for course in courses:
        course.statistics(keep=True)
    gc.freeze()  # what was prepared is no part of what is measured

    def each(run: str) -> dict[str, float]:
        return cost_us(lambda: [getattr(course, run)() for course in courses], count, repeat)

    found = {
        "decode (from scad.readings)": cost_us(
            lambda: [from_wire(w) for bed in beds for w in bed.wire], count, repeat
        ),
        "reduce to an observation": cost_us(
            lambda: [observe(r) for bed in beds for r in bed.readings], count, repeat
        ),
        "insert into the history": each("history"),
        "statistics": each("statistics"),
        "rules and episodes": each("rules"),
    }
    found["signals"] = cost_us(lambda: _signals(library, courses), count, repeat)
    gc.unfreeze()
    found["dump of a state (one)"] = _dumps(library, beds, repeat)
    return found


def _signals(library: Library, courses: list[_Course]) -> None:
    engine = Engine(library)
    for course in courses:
        out = Emitter(engine.new_state(course.bed.plan.patient), library)
        for episode, before in course.changes:
            out.emit(episode, "cleared" if episode.end is not None else "updated" if before else "raised")


def _dumps(library: Library, beds: list[Bed], repeat: int) -> dict[str, float]:
    """One dump of a state of full age, whose full blocks were packed by an earlier dump, as in the worker."""
    engine = Engine(library, silence_by_ticks=True)
    states = []
    for bed in beds:
        state = engine.new_state(bed.plan.patient)
        engine.apply(state, bed.readings, plans=[bed.plan])
        engine.dump(state)
        states.append(state)
    return cost_us(lambda: [engine.dump(state) for state in states], len(states), repeat)
