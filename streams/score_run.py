"""The simulated cohort through the engine: for each patient what happened, and what was raised when.

Each delivery of the cohort is encoded as a device sends it and decoded as the platform does, so that what is
refused there is refused here; the engine sees it at the instant of its delivery. Nothing is looked up in
the truth before all is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from devices.decode import MAX_READINGS, decode_payload
from devices.physiology import Cohort, SimulatedPatient, SimulatedReading
from devices.physiology.series import Label
from devices.physiology.simulation import Simulation
from devices.readings import Reading
from devices.times import parse_instant
from streams.dated import published_with
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion, ProtocolVersion
from streams.protocols import Library, ProtocolError, load_file, load_published
from streams.score_truth import TARGET_LABELS, Event
from streams.signal import AlertSignal

START_MS = 1_767_222_000_000  # 1 January 2026, midnight in Paris: any day would do
CHUNK_PATIENTS = 4
"""Patients that one process takes at once: few, so that all processes end together."""
TOGETHER_MS = 30_000
"""Deliveries of one device within this time are evaluated at once, as the worker does with a backlog that
a device empties; the alert counts as raised at the last of them."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Raised:
    """One alert. `raised_ms`: when the platform raised it; `start_ms` to `end_ms` (None: still open) by the
    readings' own time. One that late data withdrew has rung all the same; one that took the place of
    another has not rung again, and keeps the instant of the first."""

    start_ms: int
    end_ms: int | None
    raised_ms: int


@dataclass(frozen=True)
class Course:
    """One patient: what happened, and what each clinical rule raised."""

    groups: tuple[str, ...]
    protocols: tuple[str, ...]
    events: tuple[Event, ...]
    raised: dict[str, tuple[Raised, ...]]
    until_ms: int


def load_library(protocol_files: Iterable[str]) -> Library:
    """The published protocols, with the given files in the place of those of the same name. A file whose name ends
    in `.json` holds versions with their `from`, as scad.care-plans does: they hold from then on (the cohort's days
    begin at START_MS).

    Raises ProtocolError, OSError."""
    library = load_published()
    versions: list[tuple[ProtocolVersion, str]] = []
    for path in protocol_files:
        if path.endswith(".json"):
            versions += _versions(path)
        else:
            library = library.with_protocol(load_file(path))
    return published_with(library, versions)


def _versions(path: str) -> list[tuple[ProtocolVersion, str]]:
    try:
        found = msgspec.json.decode(Path(path).read_bytes(), type=ProtocolVersion | list[ProtocolVersion])
    except msgspec.DecodeError as error:
        raise ProtocolError(f"{path}: {error}") from None
    return [(version, path) for version in (found if isinstance(found, list) else [found])]


def courses(
    patients: int,
    days: int,
    seed: int,
    protocol_files: Sequence[str] = (),
    processes: int = 2,
    done: Callable[[int], None] | None = None,
    only: Sequence[str] = (),
) -> Iterator[Course]:
    """Simulate the cohort and run the engine over each patient, in the order of delivery.

    `only` leaves out the patients whom none of these protocols follows; the others are evaluated whole, so
    their figures are the same as in a full run. `done` is told how many patients more are ready.
    """
    jobs = [
        (tuple(protocol_files), seed, patients, days, low, tuple(only))
        for low in range(0, patients, CHUNK_PATIENTS)
    ]
    if processes == 1:
        yield from _in_turn(map(_job, jobs), patients, done)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from _in_turn(pool.map(_job, jobs), patients, done)


def _in_turn(
    found: Iterable[list[Course]], patients: int, done: Callable[[int], None] | None
) -> Iterator[Course]:
    for number, some in enumerate(found):
        yield from some
        if done is not None:
            done(min(CHUNK_PATIENTS, patients - number * CHUNK_PATIENTS))


def _job(job: tuple[tuple[str, ...], int, int, int, int, tuple[str, ...]]) -> list[Course]:
    protocol_files, seed, patients, days, low, only = job
    library, cohort = _library(protocol_files), _cohort(seed, patients, days)
    return [
        run_patient(library, cohort, patient)
        for patient in cohort.patients[low : low + CHUNK_PATIENTS]
        if not only or not set(only).isdisjoint(patient.protocols)
    ]


@lru_cache(maxsize=1)  # a process scores one set of protocols
def _library(protocol_files: tuple[str, ...]) -> Library:
    return load_library(protocol_files)


@lru_cache(maxsize=1)  # and one cohort after another
def _cohort(seed: int, patients: int, days: int) -> Cohort:
    return Cohort(seed, patients, START_MS, days)


def run_patient(library: Library, cohort: Cohort, patient: SimulatedPatient) -> Course:
    """One patient's readings through the engine, in the order of their delivery."""
    # Silence is technical and no rule here is: it is not looked at, since no tick comes.
    engine = Engine(library, silence_by_ticks=True)
    state = engine.new_state(patient.patient)
    version = msgspec.convert(patient.care_plan(cohort.begin_ms), PlanVersion)
    engine.apply(state, plans=[CarePlan(patient=patient.patient, versions=(version,))])
    simulation = cohort.simulate(patient)
    bell = Bell()
    for delivered_ms, readings in deliveries(patient.patient, simulation.readings()):
        for signal in engine.apply(state, readings):
            bell.hear(signal, delivered_ms)
    return Course(
        groups=_groups(patient),
        protocols=patient.protocols,
        events=tuple(_events(simulation)),
        raised=bell.by_rule(),
        until_ms=int(cohort.clock.instant_ms([cohort.days], [0.0])[0]),
    )


def deliveries(patient: str, sent: Iterable[SimulatedReading]) -> Iterator[tuple[int, list[Reading]]]:
    """(instant of the last delivery, accepted readings) of what one device delivers together."""
    device, first_ms, last_ms = "", 0, 0
    readings: list[Reading] = []
    for one in sent:
        together = one.device == device and one.delivered_ms - first_ms <= TOGETHER_MS
        if not together or len(readings) >= MAX_READINGS:
            if readings:
                yield last_ms, readings
            device, first_ms, readings = one.device, one.delivered_ms, []
        last_ms = one.delivered_ms
        for element in decode_payload(_encode(one.reading), device, last_ms):
            if isinstance(element, Reading):
                readings.append(msgspec.structs.replace(element, patient=patient))
    if readings:
        yield last_ms, readings


class Bell:
    """Follows the signals of one patient: what rang, when, and how long it stood."""

    def __init__(self) -> None:
        self._alerts: dict[str, tuple[str, Raised]] = {}

    def hear(self, signal: AlertSignal, now_ms: int) -> None:
        """Take in one signal that the platform gave at an instant."""
        if signal.cls != "clinical":
            return
        at_ms = parse_instant(signal.at)[0]
        known = self._alerts.get(signal.alert)
        if signal.state == "raised":
            raised_ms = now_ms if known is None else known[1].raised_ms
            replaced = () if signal.supersedes is msgspec.UNSET else signal.supersedes
            for alert in replaced:
                before = self._alerts.pop(alert, None)
                raised_ms = raised_ms if before is None else min(raised_ms, before[1].raised_ms)
            rule = f"{signal.protocol}/{signal.rule}"
            self._alerts[signal.alert] = (rule, Raised(at_ms, None, raised_ms))
        elif signal.state == "cleared" and known is not None:
            rule, before_it = known
            end_ms = max(at_ms, before_it.start_ms)
            self._alerts[signal.alert] = (rule, Raised(before_it.start_ms, end_ms, before_it.raised_ms))

    def by_rule(self) -> dict[str, tuple[Raised, ...]]:
        """All alerts that rang, by rule, in the order of ringing."""
        found: dict[str, list[Raised]] = {}
        for rule, raised in self._alerts.values():
            found.setdefault(rule, []).append(raised)
        return {
            rule: tuple(sorted(of, key=lambda r: (r.raised_ms, r.start_ms))) for rule, of in found.items()
        }


def _groups(patient: SimulatedPatient) -> tuple[str, ...]:
    groups = [f"age {patient.age_group}", f"sex {patient.sex}"]
    if "diabetes" in patient.protocols:  # a meter sees four moments of a day, a sensor all of it
        groups.append("glucose by sensor" if patient.serial("cg") else "glucose by meter")
    return tuple(groups)


def _events(simulation: Simulation) -> Iterator[Event]:
    """Labels of what the rules are meant to find. A decompensation that was treated at home stops when the
    treatment starts, as the others stop with the admission: a later alert would have changed nothing."""
    treated_ms = {one.onset_ms: one.peak_ms for one in simulation.course.decompensations}
    for label in simulation.labels:
        if label.what not in TARGET_LABELS or label.detail.get("permanent"):
            continue  # a fibrillation that never ends is known, and no event
        stop_ms = label.end_ms if label.admission_ms is None else label.admission_ms
        if label.what == "decompensation":
            stop_ms = treated_ms[label.onset_ms]
        yield Event(label.what, label.onset_ms, stop_ms, _size(label))


def _size(label: Label) -> float | None:
    found = label.detail.get("glucose", label.detail.get("factor"))
    return None if found is None else float(found)
