"""The engine over a file: what `scad replay` prints, in the order of the file's lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from devices.payload import json_decoder
from devices.readings import Reading
from devices.times import parse_instant
from streams.engine import RETENTION_MS, Engine, newer
from streams.plans import CarePlan, ProtocolVersion
from streams.protocols import Library
from streams.signal import AlertSignal, StandingEpisode, fold
from streams.state import PatientState

WHOLE_HISTORY_MAX = 200_000
"""Readings of one patient up to which a file's history is kept whole, so that its lines may come in any order
at all: two years of continuous glucose. Beyond it, the live horizon holds and memory stays bounded."""


class Replay:
    """Feeds readings to the engine one by one and folds the signals into what stands.

    `until_ms` is the last instant of the clock; without it the clock is that of the last reading received.
    A patient without a care plan is on `protocols` with their defaults.
    """

    def __init__(
        self,
        library: Library,
        protocols: Sequence[str],
        plans: Sequence[CarePlan] = (),
        until_ms: int | None = None,
    ) -> None:
        self._whole = Engine(library, protocols, retention_ms=None)
        self._bounded = Engine(library, protocols, retention_ms=RETENTION_MS)
        self._plans = _latest(plans)
        self._until_ms = until_ms
        self._patients: dict[str, PatientState] = {}
        self._counts: dict[str, int] = {}
        self._standing: dict[str, dict[str, StandingEpisode]] = {}

    def take(self, reading: Reading) -> list[AlertSignal]:
        """The signals that follow from one more reading."""
        if self._until_ms is not None and reading.received_at_ms > self._until_ms:
            return []
        patient = reading.patient
        state = self._patients.get(patient)
        signals: list[AlertSignal] = []
        if state is None:
            state, signals = self._begin(patient)
        count = self._counts[patient] = self._counts[patient] + 1
        engine = self._whole if count <= WHOLE_HISTORY_MAX else self._bounded
        return self._keep(patient, signals + engine.apply(state, [reading]))

    def finish(self) -> Iterator[AlertSignal]:
        """The signals that follow from the clock alone, once all is read."""
        for patient in sorted(set(self._patients) | set(self._plans)):
            signals: list[AlertSignal] = []
            state = self._patients.get(patient)
            if state is None:
                state, signals = self._begin(patient)
            if self._until_ms is not None:
                signals += self._whole.apply(state, tick_ms=self._until_ms)
            yield from self._keep(patient, signals)

    def standing(self) -> list[StandingEpisode]:
        """The episodes that stand, sorted by patient, start, protocol and rule (contract, appendix)."""
        found = [episode for folded in self._standing.values() for episode in folded.values()]
        return sorted(found, key=lambda e: (e.patient, parse_instant(e.start), e.protocol, e.rule))

    @property
    def too_late(self) -> int:
        return sum(state.too_late for state in self._patients.values())

    def _begin(self, patient: str) -> tuple[PatientState, list[AlertSignal]]:
        state = self._patients[patient] = self._whole.new_state(patient)
        self._counts[patient] = 0
        plan = self._plans.get(patient)
        return state, self._whole.apply(state, plans=[plan]) if plan is not None else []

    def _keep(self, patient: str, signals: list[AlertSignal]) -> list[AlertSignal]:
        standing = self._standing.setdefault(patient, {})
        for signal in signals:
            fold(standing, signal)
        return signals


def _latest(plans: Sequence[CarePlan]) -> dict[str, CarePlan]:
    """By patient, the plan with the highest version."""
    found: dict[str, CarePlan] = {}
    for plan in plans:
        if plan.patient not in found or newer(plan, found[plan.patient]):
            found[plan.patient] = plan
    return found


_decode = json_decoder(object)


class CarePlanFileError(ValueError):
    """The file of care plans cannot be used; the message names the file and the place."""


def read_care_plans(path: str | Path) -> tuple[list[CarePlan], list[tuple[ProtocolVersion, str]]]:
    """Read `scad replay --care-plans`: what scad.care-plans holds, plans and versions of protocols, the latter with
    their place for errors. One JSON object, an array, one a line, or an enrolment file.

    Raises CarePlanFileError.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CarePlanFileError(f"{path}: {error.strerror}") from None
    try:
        document = _decode(data)
    except msgspec.DecodeError:
        try:
            document = [_decode(line) for line in data.splitlines() if line.strip()]
        except msgspec.DecodeError as error:
            raise CarePlanFileError(f"{path}: {error}") from None
    entries = document if isinstance(document, list) else [document]
    plans: list[CarePlan] = []
    versions: list[tuple[ProtocolVersion, str]] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and "protocol" in entry:
            place = f"{path}: entry {index + 1}"
            try:
                versions.append((msgspec.convert(entry, ProtocolVersion), place))
            except msgspec.ValidationError as error:
                raise CarePlanFileError(f"{place}: {error}") from None
            continue
        found = _enrolled(entry) if isinstance(entry, dict) and "patients" in entry else [entry]
        for plan in found:
            try:
                plans.append(msgspec.convert(plan, CarePlan))
            except msgspec.ValidationError as error:
                raise CarePlanFileError(f"{path}: care plan {index + 1}: {error}") from None
    return plans, versions


def _enrolled(document: dict[str, Any]) -> list[Any]:
    """The care plans inside an enrolment file, each as a plan of one version."""
    patients = document["patients"]
    if not isinstance(patients, list):
        return [patients]
    return [_plan_of(entry) for entry in patients if not isinstance(entry, dict) or "care_plan" in entry]


def _plan_of(entry: Any) -> Any:
    """A patient's entry as a care plan; what is none is left as it is, for the error that names it."""
    if not isinstance(entry, dict) or not isinstance(entry["care_plan"], dict):
        return entry
    version = {"version": 1, **entry["care_plan"]}
    return {"patient": entry.get("patient"), "care_team": entry.get("care_team", ""), "versions": [version]}
