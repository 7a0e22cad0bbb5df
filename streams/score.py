"""How good is each rule? A labelled simulated cohort through the engine, counted against the truth.

*Found*: an episode of the rule was raised between the onset of the event and its admission to hospital (its
end, when it does not end there). *False*: an episode of alert that touches no such span, prolonged by three
days after the admission. Lead time is from the first raise to the admission.

The cohort knows nothing of the rules: its parameters stand, with their sources, in
`devices.physiology.parameters`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from statistics import median

import msgspec

from devices.decode import decode_payload
from devices.physiology import Cohort, SimulatedPatient
from devices.physiology.series import Label
from devices.readings import Reading
from devices.times import parse_instant
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion
from streams.protocols import Library, Protocol, load_file, load_published
from streams.signal import StandingEpisode, fold

DAY_MS = 86_400_000
AFTERWARDS_MS = 3 * DAY_MS
START_MS = 1_767_222_000_000  # 1 January 2026, midnight in Paris: any day would do
CHUNK_PATIENTS = 10
"""Patients that one process takes at once: small enough that two cores end together."""

TRUTH: dict[str, tuple[str, ...]] = {
    "heart-failure": ("decompensation",),
    "hypertension/bp-crisis": ("hypertensive-crisis",),
    "hypertension/bp-high": ("hypertensive-crisis", "uncontrolled-hypertension"),
    "hypertension/bp-weekly-mean": ("uncontrolled-hypertension",),
    "hypertension/bp-low": ("hypotension",),
    "hypertension/bp-personal": ("hypertensive-crisis", "uncontrolled-hypertension", "hypotension"),
    "diabetes/glucose-low": ("hypoglycaemia",),
    "diabetes/glucose-falling": ("hypoglycaemia",),
    "diabetes/glucose-very-low": ("severe-hypoglycaemia",),
    "diabetes/glucose-high": ("severe-hyperglycaemia",),
    "diabetes/glucose-very-high": ("severe-hyperglycaemia",),
    "arrhythmia/pause": ("pause",),
    "arrhythmia": ("atrial-fibrillation",),
    "respiratory/temperature": ("infection",),
    "respiratory": ("respiratory-exacerbation",),
    "anticoagulation/inr-low": ("under-anticoagulation",),
    "anticoagulation/inr-high": ("over-anticoagulation",),
    "anticoagulation/inr-critical": ("over-anticoagulation",),
    "anticoagulation/ttr-low": ("under-anticoagulation", "over-anticoagulation"),
}
"""What a clinical rule is meant to find: by rule, else by protocol."""

BASELINES = {
    "rule-of-thumb-2kg-3d": "heart-failure/weight-gain-3d",
    "rule-of-thumb-1.36kg-1d": "heart-failure/weight-gain-1d",
    "rule-of-thumb-2.27kg-7d": "heart-failure/weight-gain-7d",
    "macd": "heart-failure/weight-macd",
    "cusum": "heart-failure/weight-cusum",
}
"""Published methods, and the rule that is each of them."""


@dataclass(frozen=True)
class Event:
    """Something that truly happened: from onset to admission (or its end)."""

    what: str
    onset_ms: int
    stop_ms: int


@dataclass(frozen=True)
class Raised:
    """One episode of alert."""

    start_ms: int
    end_ms: int | None


@dataclass
class Course:
    """One patient: what happened, and what each rule raised."""

    groups: tuple[str, ...]
    protocols: tuple[str, ...]
    events: list[Event]
    raised: dict[str, list[Raised]]


@dataclass
class Tally:
    """Counts of one rule over patients. `lead_days` of the events that were found."""

    patients: int = 0
    days: int = 0
    episodes: int = 0
    found: int = 0
    alerts: int = 0
    true_alerts: int = 0
    leads: list[float] = field(default_factory=list)

    def report(self) -> dict[str, float | int | None]:
        """The figures of contract section 4's appendix, and alerts and patients for their context."""
        years = self.patients * self.days / 365.25
        return {
            "episodes": self.episodes,
            "found": self.found,
            "sensitivity": round(self.found / self.episodes, 4) if self.episodes else None,
            "alerts": self.alerts,
            "ppv": round(self.true_alerts / self.alerts, 4) if self.alerts else None,
            "false_per_patient_year": round((self.alerts - self.true_alerts) / years, 4) if years else None,
            "lead_days_median": round(median(self.leads), 2) if self.leads else None,
            "patients": self.patients,
        }


def truth_of(rule: str) -> tuple[str, ...]:
    """Labels that a rule ("protocol/name") is meant to find; () when none is simulated."""
    return TRUTH.get(rule, TRUTH.get(rule.split("/")[0], ()))


def load_library(protocol_files: Iterable[str]) -> Library:
    """The published protocols, with the given files in the place of those of the same name.

    Raises ProtocolError, OSError."""
    library = load_published()
    for path in protocol_files:
        library = library.with_protocol(load_file(path))
    return library


def courses(
    patients: int,
    days: int,
    seed: int,
    protocol_files: Sequence[str] = (),
    processes: int = 2,
    done: Callable[[int], None] | None = None,
) -> Iterator[Course]:
    """Simulate the cohort and run the engine over each patient, in the order of delivery.

    `done` is told how many patients more are ready."""
    lows = range(0, patients, CHUNK_PATIENTS)
    jobs = [(tuple(protocol_files), seed, patients, days, low) for low in lows]
    with ProcessPoolExecutor(processes) as pool:
        for found in pool.map(_job, jobs):
            yield from found
            if done is not None:
                done(len(found))


def _job(job: tuple[tuple[str, ...], int, int, int, int]) -> list[Course]:
    protocol_files, seed, patients, days, low = job
    library = load_library(protocol_files)
    return list(_chunk(library, seed, patients, days, low, min(low + CHUNK_PATIENTS, patients)))


def _chunk(library: Library, seed: int, patients: int, days: int, low: int, high: int) -> Iterator[Course]:
    cohort = Cohort(seed, patients, START_MS, days)
    for patient in cohort.patients[low:high]:
        yield _course(library, cohort, patient)


def _course(library: Library, cohort: Cohort, patient: SimulatedPatient) -> Course:
    engine = Engine(library)
    state = engine.new_state(patient.patient)
    version = msgspec.convert(patient.care_plan(cohort.begin_ms), PlanVersion)
    engine.apply(state, plans=[CarePlan(patient=patient.patient, versions=(version,))])
    standing: dict[str, StandingEpisode] = {}
    for sent in cohort.readings(patient):
        payload = msgspec.json.encode(sent.reading)
        accepted = [
            msgspec.structs.replace(one, patient=patient.patient)
            for one in decode_payload(payload, sent.device, sent.delivered_ms)
            if isinstance(one, Reading)
        ]
        for signal in engine.apply(state, accepted):
            fold(standing, signal)
    return Course(
        groups=(f"age {patient.age_group}", f"sex {patient.sex}"),
        protocols=patient.protocols,
        events=[Event(one.what, one.onset_ms, _stop_ms(one)) for one in cohort.labels(patient)],
        raised=_by_rule(standing.values()),
    )


def _by_rule(standing: Iterable[StandingEpisode]) -> dict[str, list[Raised]]:
    found: dict[str, list[Raised]] = {}
    for one in standing:
        end_ms = None if one.end is None else parse_instant(one.end)[0]
        raised = Raised(parse_instant(one.start)[0], end_ms)
        found.setdefault(f"{one.protocol}/{one.rule}", []).append(raised)
    return found


def _stop_ms(label: Label) -> int:
    return label.end_ms if label.admission_ms is None else label.admission_ms


def tally(rule: str, of: Iterable[Course], days: int) -> Tally:
    """Hold one rule's episodes against the truth, over the patients who are on its protocol."""
    wanted = truth_of(rule)
    protocol = rule.split("/")[0]
    total = Tally(days=days)
    for course in of:
        if protocol not in course.protocols:
            continue
        total.patients += 1
        events = [e for e in course.events if e.what in wanted]
        raised = course.raised.get(rule, [])
        total.alerts += len(raised)
        total.true_alerts += sum(any(_touches(one, event) for event in events) for one in raised)
        for event in events:
            total.episodes += 1
            first = min(
                (one.start_ms for one in raised if event.onset_ms <= one.start_ms <= event.stop_ms),
                default=None,
            )
            if first is not None:
                total.found += 1
                total.leads.append((event.stop_ms - first) / DAY_MS)
    return total


def _touches(one: Raised, event: Event) -> bool:
    return one.start_ms <= event.stop_ms + AFTERWARDS_MS and (
        one.end_ms is None or one.end_ms >= event.onset_ms
    )


def clinical_rules(protocols: Iterable[Protocol]) -> list[str]:
    """Names of the rules that can be scored: clinical, with something to find in the simulation."""
    return [
        f"{p.name}/{rule.name}"
        for p in sorted(protocols, key=lambda p: p.name)
        for rule in p.rules
        if rule.cls == "clinical" and truth_of(f"{p.name}/{rule.name}")
    ]


def report(
    library: Library, found: Sequence[Course], patients: int, days: int, seed: int
) -> dict[str, object]:
    """The whole score as `scad score --json` prints it; `groups` has each rule by age group and sex."""
    rules = clinical_rules(library.protocols.values())
    names = sorted({group for course in found for group in course.groups})
    return {
        "patients": patients,
        "days": days,
        "seed": seed,
        "rules": {rule: tally(rule, found, days).report() for rule in rules},
        "baselines": {name: tally(rule, found, days).report() for name, rule in BASELINES.items()},
        "groups": {
            name: {rule: tally(rule, [c for c in found if name in c.groups], days).report() for rule in rules}
            for name in names
        },
    }
