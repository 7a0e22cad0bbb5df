"""The enrolment file: who is a patient, which devices are theirs and since when, which care plan holds, when they are
away.

JSON or TOML (docs/operation.md shows one). Everything that can be checked without the database is checked
here, and all faults are reported at once, each with the file, the place in it and what is allowed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from alerts.absence import ABSENCE_MAX, AbsenceKind
from devices.times import BadTimeError, parse_instant
from streams.plans import CarePlan, PlanVersion
from streams.protocols.model import Library
from streams.timeline import PlanError, check_plan

MAX_FILE_BYTES = 64 * 1024 * 1024  # 10,000 patients take some 20 MB; more is no enrolment file

NOTE_MAX = 500  # characters: a few sentences, as on the page
ABSENCES_MAX = 100  # of one patient: a page shows as many

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Pseudonym = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Serial = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Oid = Annotated[str, msgspec.Meta(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$")]

_INS = re.compile(r"[1-478][0-9]{4}([0-9]{2}|2A|2B)[0-9]{8}")
_PLACE = re.compile(r"^(.*) - at `\$\.?(.*)`$", re.DOTALL)

Struct = TypeVar("Struct", bound=msgspec.Struct)


class EnrolmentError(ValueError):
    """The file cannot be used; one line for each fault."""


class CareTeam(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    care_team: Pseudonym
    name: Name
    time_zone: str = "Europe/Paris"


class Ins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """French national health identity: registration number with its key, and the OID of its kind."""

    value: str
    oid: Oid


Reliability = Literal["PROV", "VALI"]
"""Status of an identity: provisional, or validated with its INS (docs/identity.md)."""


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a patient is. `birth_place`: INSEE's code of the commune, or of the country (99…), at birth."""

    family_name: Name
    given_names: Name
    birth_date: date
    sex: Literal["female", "male", "unknown"]
    phone: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    ins: Ins | None = None
    birth_place: Annotated[str, msgspec.Meta(pattern=r"^[0-9][0-9AB][0-9]{3}$")] | None = None
    reliability: Reliability = "PROV"


class DeviceUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device given to the patient: from inclusive, to exclusive; without `to` until another has it."""

    device: Serial
    from_: str = msgspec.field(name="from")
    to: str | None = None
    model: Name | None = None

    @property
    def from_ms(self) -> int:
        return parse_instant(self.from_)[0]

    @property
    def to_ms(self) -> int | None:
        return None if self.to is None else parse_instant(self.to)[0]


class AbsenceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A planned absence: from inclusive, to exclusive, always with an end (alerts/absence.py)."""

    kind: AbsenceKind
    from_: str = msgspec.field(name="from")
    to: str
    note: Annotated[str, msgspec.Meta(min_length=1, max_length=NOTE_MAX)] | None = None

    @property
    def from_ms(self) -> int:
        return parse_instant(self.from_)[0]

    @property
    def to_ms(self) -> int:
        return parse_instant(self.to)[0]


class PatientEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One patient of the file. `place` says where, for messages: patients[3]."""

    care_team: Pseudonym
    patient: Pseudonym | None = None
    identity: Identity | None = None
    devices: tuple[DeviceUse, ...] = ()
    care_plan: PlanVersion | None = None
    absences: Annotated[tuple[AbsenceEntry, ...], msgspec.Meta(max_length=ABSENCES_MAX)] = ()
    place: str = ""


class Enrolment(msgspec.Struct, frozen=True):
    """A whole file, checked. `source` is its name."""

    source: str
    care_teams: tuple[CareTeam, ...]
    patients: tuple[PatientEntry, ...]
    numbered: frozenset[str]
    """Places whose care plan states its version; the others get the next one."""


def read_enrolment(path: str | Path, library: Library) -> Enrolment:
    """Read and check a file, TOML when its name ends so, else JSON. Raises EnrolmentError."""
    source = str(path)
    try:
        if Path(path).stat().st_size > MAX_FILE_BYTES:
            raise EnrolmentError(f"{source}: larger than {MAX_FILE_BYTES} bytes; split it by care team")
        data = Path(path).read_bytes()
    except OSError as error:
        raise EnrolmentError(f"{source}: {error.strerror}") from None
    return parse_enrolment(data, source, library)


def parse_enrolment(data: bytes, source: str, library: Library) -> Enrolment:
    """Check the bytes of a file named `source`. Raises EnrolmentError with every fault, one a line."""
    document = _document(data, source)
    faults: list[str] = []
    for unknown in sorted(set(document) - {"care_teams", "patients"}):
        faults.append(f"{unknown}: unknown; a file has care_teams and patients")
    teams = _entries(document, "care_teams", CareTeam, faults, lambda place, raw: raw)
    numbered: set[str] = set()

    def prepare(place: str, raw: dict[str, Any]) -> dict[str, Any]:
        plan = raw.get("care_plan")
        if isinstance(plan, dict):
            if "version" in plan:
                numbered.add(place)
            raw = {**raw, "care_plan": {"version": 1, **plan}}
        return {**raw, "place": place}

    patients = _entries(document, "patients", PatientEntry, faults, prepare)
    for index, team in enumerate(teams):
        _check_zone(team.time_zone, f"care_teams[{index}].time_zone", faults)
    for patient in patients:
        _check_patient(patient, library, faults)
    _check_twice(patients, faults)
    if faults:
        raise EnrolmentError("\n".join(f"{source}: {fault}" for fault in faults))
    return Enrolment(source, tuple(teams), tuple(patients), frozenset(numbered))


def _document(data: bytes, source: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(data.decode()) if source.endswith(".toml") else msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:  # the parsers' own, no UTF-8, endless digits, deep nesting
        kind = "TOML" if source.endswith(".toml") else "JSON"
        raise EnrolmentError(f"{source}: no {kind}: {error}") from None
    if not isinstance(document, dict):
        raise EnrolmentError(f"{source}: must be an object with care_teams and patients")
    return document


def _entries(
    document: dict[str, Any],
    name: str,
    kind: type[Struct],
    faults: list[str],
    prepare: Callable[[str, dict[str, Any]], dict[str, Any]],
) -> list[Struct]:
    """Each element of a list converted by itself, so that one fault does not hide the others."""
    raw = document.get(name, [])
    if not isinstance(raw, list):
        faults.append(f"{name}: must be a list")
        return []
    entries = []
    for index, element in enumerate(raw):
        place = f"{name}[{index}]"
        if not isinstance(element, dict):
            faults.append(f"{place}: must be an object")
            continue
        try:
            entries.append(msgspec.convert(_plain(prepare(place, element)), kind))
        except msgspec.ValidationError as error:
            faults.append(_fault(place, str(error)))
    return entries


def _plain(value: Any) -> Any:
    """TOML's own dates as the texts that JSON has."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def _fault(place: str, message: str) -> str:
    """msgspec's "Expected … - at `$.identity.sex`" with the place in the file in front."""
    match = _PLACE.match(message)
    return f"{place}: {message}" if match is None else f"{place}.{match[2]}: {match[1]}"


def _check_patient(entry: PatientEntry, library: Library, faults: list[str]) -> None:
    place = entry.place
    if entry.patient is None and entry.identity is None:
        faults.append(f"{place}: give `patient`, `identity` or both: otherwise nobody knows who it is")
    if entry.identity is not None and entry.identity.ins is not None:
        fault = ins_fault(entry.identity.ins.value)
        if fault:
            faults.append(f"{place}.identity.ins.value: {fault}")
    if entry.identity is not None and entry.identity.reliability == "VALI" and entry.identity.ins is None:
        faults.append(f"{place}.identity.reliability: VALI needs an INS; without it the status is PROV")
    for index, use in enumerate(entry.devices):
        _check_interval(use.from_, use.to, f"{place}.devices[{index}]", faults)
    _check_absences(entry.absences, place, faults)
    if entry.care_plan is not None:
        try:
            check_plan(library, CarePlan(patient=entry.patient or place, versions=(entry.care_plan,)))
        except PlanError as error:
            prefix = f"care plan of {entry.patient or place}, version {entry.care_plan.version}: "
            for line in str(error).splitlines():
                faults.append(f"{place}.care_plan.{line.removeprefix(prefix)}")


def _check_interval(begin: str, end: str | None, place: str, faults: list[str]) -> dict[str, int]:
    """The instants of `from` and `to` that can be read, in milliseconds."""
    instants: dict[str, int] = {}
    for field, text in (("from", begin), ("to", end)):
        if text is not None:
            try:
                instants[field] = parse_instant(text)[0]
            except BadTimeError as error:
                faults.append(f"{place}.{field}: {error}")
    if len(instants) == 2 and instants["to"] <= instants["from"]:
        faults.append(f"{place}.to: {end} is not after from, {begin}")
    return instants


def _check_absences(absences: tuple[AbsenceEntry, ...], patient: str, faults: list[str]) -> None:
    seen: dict[int, str] = {}
    for index, absence in enumerate(absences):
        place = f"{patient}.absences[{index}]"
        instants = _check_interval(absence.from_, absence.to, place, faults)
        if "from" not in instants:
            continue
        begin = instants["from"]
        if timedelta(milliseconds=instants.get("to", begin) - begin) > ABSENCE_MAX:
            faults.append(
                f"{place}.to: an absence lasts at most {ABSENCE_MAX.days} days; write it in parts, each from the "
                f"end of the one before"
            )
        if begin in seen:
            faults.append(f"{place}.from: {absence.from_} stands already in {seen[begin]}")
        seen.setdefault(begin, place)


def _check_zone(zone: str, place: str, faults: list[str]) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        faults.append(f"{place}: {zone!r} is not an IANA zone such as Europe/Paris")


def _check_twice(patients: list[PatientEntry], faults: list[str]) -> None:
    seen: dict[str, str] = {}
    for entry in patients:
        if entry.patient is None:
            continue
        if entry.patient in seen:
            faults.append(f"{entry.place}.patient: {entry.patient} stands already in {seen[entry.patient]}")
        seen.setdefault(entry.patient, entry.place)


def ins_fault(value: str) -> str | None:
    """What is wrong with an INS (13 characters and a key of two digits), None when nothing is.

    The key is 97 less the remainder of the number by 97, with 2A read as 19 and 2B as 18 (INSEE).
    """
    if _INS.fullmatch(value) is None:
        return "an INS has 13 characters and a key of two digits, 15 in all, without spaces"
    number = int(value[:13].replace("2A", "19").replace("2B", "18"))
    if int(value[13:]) != 97 - number % 97:
        return "its key does not fit the number: a digit is wrong"
    return None
