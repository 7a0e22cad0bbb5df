"""Heart rhythm from RR intervals and ECG strips, reduced to a few numbers when a reading enters the history
(reference section 4). Quality decides first: an unreadable strip says nothing."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from devices.readings import Reading
from streams.history import Observation
from streams.rolling.base import (
    NO_EXTRA,
    NO_FACTS,
    Measure,
    Moment,
    Parameters,
    Stateless,
    Told,
    ref,
    tell_reading,
)
from streams.rolling.symptoms import LastAnswers, answered
from streams.signals import intervals, rhythm
from streams.signals.filters import Floats

RATE, FIBRILLATION_S, LONGEST_S, TOTAL_S, PAUSE_MS, FASTEST, SLOWEST = range(7)
"""Places in the observation's `x` for `rr-intervals` and `ecg`: mean heart rate in /min, time in atrial
fibrillation and its longest run in s, length in s, longest pause above 3 s in ms, fastest 17 beats above 140 /min
and slowest 5 beats below 40 /min (None where there is none)."""

EVALUATED_S = 420.0
"""Of a longer strip the first seven minutes are evaluated: what a message holds at 250 Hz. The same 256 KiB at
25 Hz are more than an hour, and finding beats in noise takes 4 ms a second: 21 s in which no other patient is
looked at. `scad ecg` analyses strips whole."""

UNREADABLE: tuple[float | None, ...] = (None,) * 7


def from_intervals(rr_ms: Floats) -> tuple[float | None, ...]:
    """The numbers of one series of successive intervals in ms, judged by itself."""
    counted = rr_ms[intervals.plausible(rr_ms)]
    if counted.size < 2:
        return UNREADABLE
    inside = rhythm.fibrillation(rr_ms)
    return (
        intervals.MS_PER_MIN / float(counted.mean()),
        float(rr_ms[inside].sum()) / 1000.0,
        rhythm.longest_episode_ms(rr_ms, inside) / 1000.0,
        float(rr_ms.sum()) / 1000.0,
        intervals.longest_pause_ms(rr_ms),
        intervals.fastest_run_per_min(rr_ms),
        intervals.slowest_run_per_min(rr_ms),
    )


def extract(reading: Reading) -> tuple[float | None, ...]:
    """The numbers of a reading of kind `rr-intervals` or `ecg`."""
    if reading.kind == "rr-intervals":
        return from_intervals(np.asarray(reading.values["rr"], dtype=np.float64))
    from devices.decode import ecg_samples
    from streams.signals.ecg import analyse

    fs = float(reading.values["fs"])
    strip = analyse(ecg_samples(reading.values)[: int(EVALUATED_S * fs)], fs)
    return from_intervals(strip.rr_ms) if strip.readable else UNREADABLE


class Fibrillation(Stateless):
    """Atrial fibrillation in one reading: its longest run in s (channel `longest`) and its share of the reading
    in % (`share`), with the fact `known` when the care plan says that the patient is known to have it."""

    channels: ClassVar[tuple[str, ...]] = ("longest", "share")
    facts = frozenset({"known", "new"})

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"rr-intervals", "ecg"})

    def add(self, state: None, o: Observation, moment: Moment) -> tuple[None, Measure | None]:
        longest, inside, total = o.x[LONGEST_S], o.x[FIBRILLATION_S], o.x[TOTAL_S]
        if o.artefact or longest is None or inside is None or not total:
            return None, None
        share = 100.0 * inside / total
        facts = ("known",) if moment.personal.known_atrial_fibrillation else ("new",)
        return None, Measure((longest, share), (_tell_fibrillation, o, longest, inside), facts)


def _tell_fibrillation(o: Observation, longest: float, inside: float) -> Told:
    return (ref(o, longest),), {"minutes": inside / 60.0}


def _tell_number(o: Observation, number: float) -> Told:
    return (ref(o, number),), NO_EXTRA


class Pause(Stateless):
    """The longest pause of a reading in s, 0 when none is above 3 s."""

    channels: ClassVar[tuple[str, ...]] = ("pause",)
    facts = NO_FACTS

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"rr-intervals", "ecg"})

    def add(self, state: None, o: Observation, moment: Moment) -> tuple[None, Measure | None]:
        if o.artefact or o.x[RATE] is None:
            return None, None
        seconds = (o.x[PAUSE_MS] or 0.0) / 1000.0
        return None, Measure((seconds,), (_tell_number, o, seconds))


class Rate:
    """Heart rate in /min. Of a heart-rate reading at rest its value, with the fact `symptoms`; of a rhythm
    recording the fastest 17 or the slowest 5 beats (`way`), or its mean, with the fact `run`."""

    channels: ClassVar[tuple[str, ...]] = ("value",)
    facts = frozenset({"symptoms", "run"})
    State: ClassVar[type] = LastAnswers

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"heart-rate", "rr-intervals", "ecg", "symptoms"})
        way = parameters.text("way")
        if way not in ("fastest", "slowest"):
            raise ValueError(f"`way` is {way!r}: fastest or slowest")
        self.place = FASTEST if way == "fastest" else SLOWEST

    def initialize(self) -> LastAnswers:
        return LastAnswers()

    def add(self, state: LastAnswers, o: Observation, moment: Moment) -> tuple[LastAnswers, Measure | None]:
        if o.kind == "symptoms":
            return (state if o.artefact else answered(o, moment)), None
        rate = o.x[0]
        if o.artefact or rate is None:
            return state, None
        if o.kind == "heart-rate":
            if o.x[1]:
                return state, None
            return state, Measure((rate,), (tell_reading, moment.ref(o)), state.facts(o.at_ms))
        run = o.x[self.place]
        rate = rate if run is None else run
        return state, Measure((rate,), (_tell_number, o, rate), ("run",))
