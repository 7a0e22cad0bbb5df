"""The readings that are measured: simulated patients, every one of them on all six protocols, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from devices.physiology import Cohort
from devices.readings import Reading, from_wire, to_wire
from streams.history import DENSE_KINDS
from streams.plans import CarePlan, PlanVersion
from streams.protocols.model import Library
from streams.score_run import START_MS, deliveries

DELAY_MS = 2_000  # from measurement to reception, for all: in order is what is measured


@dataclass(frozen=True)
class Bed:
    """One patient: the plan, the readings as they stand in `scad.readings`, and the same decoded."""

    plan: CarePlan
    wire: tuple[bytes, ...]
    readings: tuple[Reading, ...]

    def only(self, chosen: Callable[[Reading], bool]) -> Bed:
        pairs = [(w, r) for w, r in zip(self.wire, self.readings, strict=True) if chosen(r)]
        return Bed(self.plan, tuple(w for w, _ in pairs), tuple(r for _, r in pairs))

    def part(self, begin: float, end: float) -> Bed:
        """The readings of a part of the time, from one share of them to another."""
        low, high = (int(share * len(self.readings)) for share in (begin, end))
        return Bed(self.plan, self.wire[low:high], self.readings[low:high])

    def of_kind(self, kind: str) -> Bed:
        return self.only(lambda r: r.kind == kind)


def ward(library: Library, seed: int, patients: int, days: int) -> list[Bed]:
    """The patients of a simulated cohort as the intake lets them through, sorted by measurement."""
    cohort = Cohort(seed=seed, patients=patients, start_ms=START_MS, days=days)
    beds = []
    for patient in cohort.patients:
        version = patient.care_plan(cohort.begin_ms)
        version["protocols"] = sorted(library.protocols)
        plan = CarePlan(patient=patient.patient, versions=(msgspec.convert(version, PlanVersion),))
        found = [r for _, together in deliveries(patient.patient, cohort.readings(patient)) for r in together]
        first_ms = cohort.begin_ms
        found = sorted((r for r in found if r.measured_at_ms >= first_ms), key=lambda r: r.order)
        wire = tuple(
            to_wire(msgspec.structs.replace(r, received_at_ms=r.measured_at_ms + DELAY_MS)) for r in found
        )
        beds.append(Bed(plan, wire, tuple(map(from_wire, wire))))
    return beds


def mixes(beds: list[Bed]) -> dict[str, list[Bed]]:
    """The whole without heart rhythm, its two halves, and rhythm alone: a recording's signal processing costs
    as much as hundreds of values and would hide everything else."""
    chosen: dict[str, Callable[[Reading], bool]] = {
        "all but rhythm": lambda r: r.kind not in DENSE_KINDS,
        "daily measurements": lambda r: r.kind not in DENSE_KINDS and not sensor(r),
        "glucose every 5 min": sensor,
        "heart rhythm": lambda r: r.kind in DENSE_KINDS,
    }
    found = {name: [bed.only(choice) for bed in beds] for name, choice in chosen.items()}
    found = {name: [bed for bed in of if bed.readings] for name, of in found.items()}
    return {name: of for name, of in found.items() if of}


def sensor(reading: Reading) -> bool:
    return reading.kind == "glucose" and reading.context.get("sample") == "interstitial"


def kinds(beds: list[Bed]) -> dict[str, int]:
    """Number of readings of each kind."""
    counted = Counter(r.kind for bed in beds for r in bed.readings)
    return dict(counted.most_common())


def batches(bed: Bed, size: int) -> Iterator[tuple[Reading, ...]]:
    for start in range(0, len(bed.readings), size):
        yield bed.readings[start : start + size]
