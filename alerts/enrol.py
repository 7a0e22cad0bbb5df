"""Enrolment into the database: patients, devices with whose they were when, versions of care plans, absences.

A file says what is so; what the database already knows is left alone, so the same file twice changes nothing.
Each change puts the whole new state of the device or patient on the outbox for Kafka.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from alerts.absence import BACKDATED_MAX
from alerts.enrolment import DeviceUse, Enrolment, EnrolmentError, Identity, PatientEntry
from alerts.identity import store as identities
from alerts.identity.store import Change
from alerts.identity.vault import Vault, traits_of
from alerts.outbox import enqueue
from alerts.store.connection import Connection
from devices.times import format_instant, from_datetime, to_datetime
from streams import topics
from streams.plans import Assignment, CarePlan, DeviceAssignments, PlanVersion

ENROL_LOCK = 0x5CAD_0003  # advisory lock: two enrolments at once would each close intervals the other opens


@dataclass(slots=True)
class Enrolled:
    """What a file changed. `drawn`: place in the file → pseudonym that was drawn for it."""

    patients: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    care_plans: list[str] = field(default_factory=list)
    absences: list[str] = field(default_factory=list)
    drawn: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Whose a device was: from inclusive, to exclusive (None: open), milliseconds since the epoch."""

    from_ms: int
    patient: str
    to_ms: int | None


@dataclass(frozen=True, slots=True)
class Writing:
    """How new rows are written: what seals an identity, who asks and when, and how a pseudonym is drawn."""

    vault: Vault | None
    change: Change
    draw: Callable[[], str]


class AssignmentConflictError(ValueError):
    """Two patients cannot have one device from the same instant."""


def draw_pseudonym() -> str:
    """A pseudonym that says nothing: 128 random bits."""
    return f"p-{secrets.token_hex(16)}"


def assign(intervals: Iterable[Interval], patient: str, from_ms: int, to_ms: int | None) -> list[Interval]:
    """The intervals of a device after it was given to `patient`; pure, and in any order the same.

    Whoever has the device later ends the interval before: an open interval lasts until the next begins. A
    stated `to_ms` releases the device, also when the interval is known already. Raises
    AssignmentConflictError when another patient has it from the very same instant.
    """
    by_start = {interval.from_ms: interval for interval in intervals}
    known = by_start.get(from_ms)
    if known is not None and known.patient != patient:
        raise AssignmentConflictError(f"it is {known.patient}'s from {format_instant(from_ms)} on")
    if to_ms is None and known is not None:
        to_ms = known.to_ms
    by_start[from_ms] = Interval(from_ms, patient, to_ms)
    starts = sorted(by_start)
    ended = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        interval = by_start[start]
        ends = [end for end in (interval.to_ms, following) if end is not None]
        ended.append(Interval(start, interval.patient, min(ends, default=None)))
    return ended


def enrol(
    conn: Connection,
    enrolment: Enrolment,
    now_ms: int,
    draw: Callable[[], str] = draw_pseudonym,
    *,
    vault: Vault | None = None,
    by: str = "scad enrol",
) -> Enrolled:
    """Bring the database to what the file says, in one transaction. `vault` seals identities, `by` is who asks.

    Raises EnrolmentError, and changes nothing, when the file contradicts itself or what is known, or has identities
    and there is no vault.
    """
    writing = Writing(vault, Change(by, now_ms, "enrolment"), draw)
    done = Enrolled()
    faults: list[str] = []
    with conn.transaction():
        conn.execute("select pg_advisory_xact_lock(%s)", (ENROL_LOCK,))
        for team in enrolment.care_teams:
            conn.execute(
                "insert into scad.care_team (care_team, name, time_zone) values (%s, %s, %s)"
                " on conflict (care_team) do update set name = excluded.name, time_zone = excluded.time_zone",
                (team.care_team, team.name, team.time_zone),
            )
        for entry in enrolment.patients:
            try:
                with conn.transaction():  # a fault in one patient still lets the others be checked
                    patient = _patient(conn, entry, writing, done)
                    _devices(conn, entry, patient, now_ms, done)
                    _care_plan(conn, entry, patient, entry.place in enrolment.numbered, now_ms, done)
                    _absences(conn, entry, patient, writing.change, done)
            except EnrolmentError as error:
                faults += [f"{enrolment.source}: {entry.place}{line}" for line in str(error).splitlines()]
        if faults:
            raise EnrolmentError("\n".join(faults))
        for device in sorted(set(done.devices)):
            announce_device(conn, device, now_ms)
        for patient in sorted(set(done.care_plans)):
            announce_plan(conn, patient, now_ms)
    return done


def announce_everything(conn: Connection, now_ms: int) -> int:
    """Put the state of every device and patient on the outbox: for a new or restored Kafka."""
    with conn.transaction():
        conn.execute("select pg_advisory_xact_lock(%s)", (ENROL_LOCK,))
        devices = [row[0] for row in conn.execute("select device from scad.device order by 1").fetchall()]
        plans = conn.execute("select distinct patient from scad.care_plan order by 1").fetchall()
        for device in devices:
            announce_device(conn, device, now_ms)
        for (patient,) in plans:
            announce_plan(conn, patient, now_ms)
    return len(devices) + len(plans)


def _patient(conn: Connection, entry: PatientEntry, writing: Writing, done: Enrolled) -> str:
    """The pseudonym of the entry's patient, who exists afterwards with the entry's team and identity."""
    if not _one(conn, "select 1 from scad.care_team where care_team = %s", entry.care_team):
        raise EnrolmentError(f".care_team: {entry.care_team!r} is not known; add it under care_teams")
    patient = entry.patient or _found(conn, entry, writing.vault)
    if patient is None:
        patient = writing.draw()
        done.drawn[entry.place] = patient
    before = _one(conn, "select care_team from scad.patient where patient = %s for update", patient)
    if before is None:
        conn.execute(
            "insert into scad.patient (patient, care_team, enrolled_at) values (%s, %s, %s)",
            (patient, entry.care_team, to_datetime(writing.change.at_ms)),
        )
        done.patients.append(patient)
    elif before[0] != entry.care_team:
        conn.execute("update scad.patient set care_team = %s where patient = %s", (entry.care_team, patient))
        done.patients.append(patient)
        if _one(conn, "select 1 from scad.care_plan where patient = %s limit 1", patient):
            done.care_plans.append(patient)  # the plan on Kafka names the team
    if entry.identity is not None and _identify(conn, patient, entry.identity, writing):
        done.identities.append(patient)
    return patient


def _found(conn: Connection, entry: PatientEntry, vault: Vault | None) -> str | None:
    """Who an entry without a pseudonym is, by INS or else by names, birth date and sex."""
    person = entry.identity
    if person is None:
        raise EnrolmentError(": give `patient`, `identity` or both")
    if person.ins is not None:
        return identities.find_ins(conn, vault, person.ins.oid, person.ins.value)
    names = identities.find(conn, vault, person.family_name, person.given_names, person.birth_date)
    found = [name for name in names if _sex(conn, vault, name) == person.sex]
    if len(found) > 1:
        raise EnrolmentError(f".patient: {len(found)} patients have this identity; say which by `patient`")
    return found[0] if found else None


def _sex(conn: Connection, vault: Vault | None, patient: str) -> str | None:
    traits = identities.read(conn, vault, patient)
    return None if traits is None else traits.sex


def _identify(conn: Connection, patient: str, person: Identity, writing: Writing) -> bool:
    """Write the identity; whether it was not known so."""
    try:
        return identities.write(conn, writing.vault, patient, traits_of(person), writing.change)
    except identities.InsTakenError as error:
        raise EnrolmentError(f".identity.ins: {error}") from None
    except identities.IdentityError as error:
        raise EnrolmentError(f".identity: {error}") from None


def _devices(conn: Connection, entry: PatientEntry, patient: str, now_ms: int, done: Enrolled) -> None:
    for index, use in enumerate(entry.devices):
        created = conn.execute(
            "insert into scad.device (device, model, enrolled_at) values (%s, %s, %s)"
            " on conflict (device) do nothing",
            (use.device, use.model, to_datetime(now_ms)),
        )
        if not created.rowcount and use.model is not None:
            conn.execute("update scad.device set model = %s where device = %s", (use.model, use.device))
        if _assign_device(conn, use, patient, f".devices[{index}].device: {use.device}"):
            done.devices.append(use.device)


def _assign_device(conn: Connection, use: DeviceUse, patient: str, place: str) -> bool:
    """Write the device's intervals where they change; whether they did."""
    before = intervals_of(conn, use.device)
    try:
        after = assign(before, patient, use.from_ms, use.to_ms)
    except AssignmentConflictError as error:
        raise EnrolmentError(f"{place}: {error}") from None
    if after == before:
        return False
    write_intervals(conn, use.device, before, after)
    return True


def write_intervals(
    conn: Connection, device: str, before: Iterable[Interval], after: Iterable[Interval]
) -> None:
    """Write what differs between two lists of a device's intervals, so that rows of others stay untouched."""
    known = {interval.from_ms: interval for interval in before}
    wanted = {interval.from_ms: interval for interval in after}
    for start in known.keys() - wanted.keys():
        conn.execute(
            "delete from scad.assignment where device = %s and from_at = %s", (device, to_datetime(start))
        )
    ended_first = sorted(wanted.values(), key=lambda interval: (interval.to_ms is None, interval.from_ms))
    for interval in ended_first:  # of one device only one interval may be open at any moment
        if known.get(interval.from_ms) == interval:
            continue
        to_at = None if interval.to_ms is None else to_datetime(interval.to_ms)
        conn.execute(
            "insert into scad.assignment (device, patient, from_at, to_at) values (%s, %s, %s, %s)"
            " on conflict (device, from_at) do update set patient = excluded.patient, to_at = excluded.to_at",
            (device, interval.patient, to_datetime(interval.from_ms), to_at),
        )


def intervals_of(conn: Connection, device: str) -> list[Interval]:
    """Whose the device was when, whoever may see the patients."""
    rows = conn.execute("select from_at, patient, to_at from scad.device_intervals(%s)", (device,)).fetchall()
    return [
        Interval(from_datetime(from_at), patient, None if to_at is None else from_datetime(to_at))
        for from_at, patient, to_at in rows
    ]


def _care_plan(
    conn: Connection, entry: PatientEntry, patient: str, numbered: bool, now_ms: int, done: Enrolled
) -> None:
    """Add the entry's plan as the next version, unless a version says the same."""
    if entry.care_plan is None:
        return
    known = versions_of(conn, patient)
    following = max((version.version for version in known), default=0) + 1
    wanted = entry.care_plan
    if numbered:
        same = next((version for version in known if version.version == wanted.version), None)
        if same is not None and same != wanted:
            raise EnrolmentError(
                f".care_plan.version: version {wanted.version} of {patient} says something else and is never "
                f"changed; give the new one version {following} or none"
            )
        if same is None and wanted.version != following:
            raise EnrolmentError(f".care_plan.version: the next version of {patient} is {following}")
    else:
        same = next((v for v in known if msgspec.structs.replace(wanted, version=v.version) == v), None)
        wanted = msgspec.structs.replace(wanted, version=following)
    if same is not None:
        return
    insert_version(conn, patient, wanted, now_ms)
    done.care_plans.append(patient)


def _absences(conn: Connection, entry: PatientEntry, patient: str, change: Change, done: Enrolled) -> None:
    """Add the absences that are not known. What people have made of a known one on the page (its early end) stands.

    Standing alerts are held back by whoever lets time pass (alerts.actions.pass_time), as when an absence begins.
    """
    now, faults = to_datetime(change.at_ms), []
    for index, wanted in enumerate(entry.absences):
        begin, end = to_datetime(wanted.from_ms), to_datetime(wanted.to_ms)
        known = conn.execute(
            "select kind, to_at, note, ended_at from scad.absence where patient = %s and from_at = %s",
            (patient, begin),
        ).fetchall()
        said = (wanted.kind, end, wanted.note)
        if any((kind, to, note) == said or ended is not None for kind, to, note, ended in known):
            continue
        place = f".absences[{index}]"
        if known:
            kind, to, _, _ = known[0]
            until = format_instant(from_datetime(to))
            faults.append(
                f"{place}: another kind, end or note than recorded, {kind!r} until {until}; end that one on the "
                f"patient's page, or write what follows as another absence"
            )
        elif end <= now or begin < now - BACKDATED_MAX:
            faults.append(
                f"{place}: it is over, or began more than {BACKDATED_MAX.days} days ago: too late to record it"
            )
        else:
            conn.execute(
                "insert into scad.absence (patient, from_at, to_at, kind, note, recorded_by, recorded_at)"
                " values (%s, %s, %s, %s, %s, %s, %s)",
                (patient, begin, end, wanted.kind, wanted.note, change.by, now),
            )
            done.absences.append(patient)
    if faults:
        raise EnrolmentError("\n".join(faults))


def insert_version(
    conn: Connection,
    patient: str,
    version: PlanVersion,
    now_ms: int,
    reason: str = "",
    recorded_by: str | None = None,
    proposed_by: str | None = None,
) -> None:
    """Add a row; versions are never changed. `announce_plan` tells Kafka."""
    conn.execute(
        "insert into scad.care_plan (patient, version, from_at, author, document, recorded_at, reason,"
        " recorded_by, proposed_by) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            patient,
            version.version,
            to_datetime(version.from_ms),
            version.author,
            Jsonb(msgspec.to_builtins(version)),
            to_datetime(now_ms),
            reason,
            recorded_by,
            proposed_by,
        ),
    )


def versions_of(conn: Connection, patient: str) -> list[PlanVersion]:
    """All versions of the patient's care plan in order of their numbers."""
    rows = conn.execute(
        "select document from scad.care_plan where patient = %s order by version", (patient,)
    ).fetchall()
    return [msgspec.convert(document, PlanVersion) for (document,) in rows]


def announce_device(conn: Connection, device: str, now_ms: int) -> None:
    """Put the device's whole history on the outbox."""
    intervals = tuple(
        Assignment(
            device=device,
            patient=interval.patient,
            from_=format_instant(interval.from_ms),
            to=None if interval.to_ms is None else format_instant(interval.to_ms),
        )
        for interval in intervals_of(conn, device)
    )
    message = DeviceAssignments(device=device, intervals=intervals)
    enqueue(conn, topics.ASSIGNMENTS, device, msgspec.json.encode(message), now_ms)


def announce_plan(conn: Connection, patient: str, now_ms: int) -> None:
    """Put the patient's whole plan on the outbox."""
    team = _one(conn, "select care_team from scad.patient where patient = %s", patient)
    plan = CarePlan(
        patient=patient,
        versions=tuple(versions_of(conn, patient)),
        care_team="" if team is None else str(team[0]),
    )
    enqueue(conn, topics.CARE_PLANS, patient, msgspec.json.encode(plan), now_ms)


def _one(conn: Connection, query: str, *parameters: object) -> tuple[Any, ...] | None:
    return conn.execute(query.encode(), parameters).fetchone()
