"""Single changes of enrolment, as the page makes them: a device, a version of the plan, a typed-in value.

`scad enrol` brings the database to what a file says (alerts.enrol); these change one thing, refuse what would
touch somebody else, and write who did it into the patient's history. Each runs in the caller's transaction,
under the rights of whoever looks, and puts on the outbox what Kafka has to learn.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from alerts.enrol import (
    ENROL_LOCK,
    Interval,
    announce_device,
    announce_plan,
    insert_version,
    intervals_of,
    versions_of,
    write_intervals,
)
from alerts.outbox import enqueue
from alerts.store.connection import Connection
from devices.times import format_instant, from_datetime, to_datetime
from streams import topics
from streams.history import HORIZON_MS
from streams.plans import CarePlan, NextTest, PlanVersion
from streams.protocols.model import Library
from streams.timeline import PlanError, check_plan

MANUAL_PREFIX = "manual-"
MANUAL_MODEL = "manual"
"""The model of a patient's virtual device, under which typed-in values travel."""
SERIAL_MAX = 64  # characters of a device's serial (contract section 1)


class ChangeRefusedError(ValueError):
    """The change cannot be made; `why` is a name that the page has a sentence for, `about` fills it in."""

    def __init__(self, why: str, **about: Any) -> None:
        super().__init__(why)
        self.why = why
        self.about = about


def note_event(
    conn: Connection, patient: str, event: str, actor: str, now_ms: int, body: dict[str, Any]
) -> None:
    """Write an action about the patient, not about one alert, into the append-only history; last in a
    transaction, because it holds the feed's order of events."""
    at = to_datetime(now_ms)
    conn.execute(
        "insert into scad.alert_event (at, recorded_at, patient, kind, event, actor, body)"
        " values (%s, %s, %s, 'action', %s, %s, %s)",
        (at, at, patient, event, actor, Jsonb(body)),
    )


# ── devices ───────────────────────────────────────────────────────────────────────────────────────────────


def attach_device(
    conn: Connection, patient: str, device: str, model: str | None, from_ms: int, by: str, now_ms: int
) -> None:
    """Give the patient a device from `from_ms` on, until it is released.

    Raises ChangeRefusedError: `device-taken` (somebody has it, or had it later than that), `device-yours`.
    """
    conn.execute("select pg_advisory_xact_lock(%s)", (ENROL_LOCK,))
    before = intervals_of(conn, device)
    for interval in before:
        if interval.to_ms is None or interval.to_ms > from_ms:
            own = interval.patient == patient
            raise ChangeRefusedError("device-yours" if own else "device-taken", patient=interval.patient)
    conn.execute(
        "insert into scad.device (device, model, enrolled_at) values (%s, %s, %s)"
        " on conflict (device) do update set model = coalesce(excluded.model, scad.device.model)",
        (device, model, to_datetime(now_ms)),
    )
    write_intervals(conn, device, before, [*before, Interval(from_ms, patient, None)])
    announce_device(conn, device, now_ms)
    note_event(
        conn, patient, "device-attached", by, now_ms, {"device": device, "from": format_instant(from_ms)}
    )


def release_device(conn: Connection, patient: str, device: str, to_ms: int, by: str, now_ms: int) -> None:
    """End the patient's interval at `to_ms`; what was measured before still reaches the patient.

    Raises ChangeRefusedError: `device-not-yours`, `device-ends-before` (its beginning).
    """
    conn.execute("select pg_advisory_xact_lock(%s)", (ENROL_LOCK,))
    before = intervals_of(conn, device)
    mine = next((i for i in before if i.patient == patient and i.to_ms is None), None)
    if mine is None:
        raise ChangeRefusedError("device-not-yours")
    if to_ms <= mine.from_ms:
        raise ChangeRefusedError("device-ends-before", from_ms=mine.from_ms)
    after = [Interval(i.from_ms, i.patient, to_ms) if i is mine else i for i in before]
    write_intervals(conn, device, before, after)
    announce_device(conn, device, now_ms)
    note_event(conn, patient, "device-released", by, now_ms, {"device": device, "to": format_instant(to_ms)})


# ── care plans ────────────────────────────────────────────────────────────────────────────────────────────


def save_version(
    conn: Connection,
    patient: str,
    wanted: PlanVersion,
    base: int,
    reason: str,
    by: str,
    now_ms: int,
    proposal: int | None = None,
) -> PlanVersion:
    """Add `wanted` as the next version after `base` and tell Kafka; confirms `proposal` when it is one's.

    The number is drawn here. Raises ChangeRefusedError `plan-moved` when a later version than `base` exists,
    `proposal-gone` when the proposal no longer waits.
    """
    conn.execute("select pg_advisory_xact_lock(%s)", (ENROL_LOCK,))
    newest = max((version.version for version in versions_of(conn, patient)), default=0)
    if newest != base:
        raise ChangeRefusedError("plan-moved", version=newest)
    saved = msgspec.structs.replace(wanted, version=newest + 1)
    proposed_by = None
    if proposal is not None:
        proposed_by = _decide(conn, patient, proposal, "confirmed", by, now_ms, version=saved.version)
    insert_version(conn, patient, saved, now_ms, reason, by, proposed_by)
    announce_plan(conn, patient, now_ms)
    body: dict[str, Any] = {"version": saved.version, "from": saved.from_, "note": reason}
    if proposed_by is not None:
        body["proposed_by"] = proposed_by
    note_event(conn, patient, "plan-saved", by, now_ms, body)
    return saved


def set_next_test(
    conn: Connection,
    patient: str,
    kind: str,
    test: NextTest,
    library: Library,
    author: str,
    reason: str,
    by: str,
    now_ms: int,
) -> int | None:
    """Let the plan carry the day of the next test: a version like the one in force, from now on. Returns its number;
    None where the patient's plan does not expect the kind.

    Versions that are planned for later are made anew with the date, and a proposal that waits goes on waiting: the
    date is not what it is about. Raises ChangeRefusedError `date-refused` for a day that a plan cannot have.
    """
    conn.execute("select pg_advisory_xact_lock(%s)", (ENROL_LOCK,))
    known = versions_of(conn, patient)
    begun = [version for version in known if version.from_ms <= now_ms]
    held = max(begun, key=lambda version: (version.from_ms, version.version), default=None)
    if held is None or not _expects(held, kind, library):
        return None
    number = max(version.version for version in known)
    planned = sorted((v for v in known if v.from_ms > now_ms), key=lambda v: (v.from_ms, v.version))
    last_of_instant = {version.from_ms: version for version in planned}
    begin = msgspec.structs.replace(held, from_=test.after)
    for version in (begin, *(v for v in last_of_instant.values() if _expects(v, kind, library))):
        number += 1
        dated = with_next_test(version, kind, test)
        saved = msgspec.structs.replace(dated, version=number, author=author)
        try:
            check_plan(library, CarePlan(patient=patient, versions=(saved,)))
        except PlanError:
            raise ChangeRefusedError("date-refused") from None
        insert_version(conn, patient, saved, now_ms, reason, by)
    _carry_proposal(conn, patient, max(v.version for v in known), number, kind, test)
    announce_plan(conn, patient, now_ms)
    return number


def with_next_test(version: PlanVersion, kind: str, test: NextTest) -> PlanVersion:
    return msgspec.structs.replace(version, next_tests={**(version.next_tests or {}), kind: test})


def _expects(version: PlanVersion, kind: str, library: Library) -> bool:
    held = (library.protocols[name] for name in version.protocols if name in library.protocols)
    return any(kind in protocol.schedule for protocol in held)


def _carry_proposal(
    conn: Connection, patient: str, before: int, after: int, kind: str, test: NextTest
) -> None:
    """A proposal on version `before` becomes one on `after`, with the date."""
    row = conn.execute(
        "select id, document from scad.plan_proposal where patient = %s and state = 'open' and base = %s",
        (patient, before),
    ).fetchone()
    if row is None:
        return
    wanted = with_next_test(msgspec.convert(row[1], PlanVersion), kind, test)
    document = Jsonb(msgspec.to_builtins(msgspec.structs.replace(wanted, version=after + 1)))
    conn.execute(
        "update scad.plan_proposal set base = %s, document = %s where id = %s", (after, document, row[0])
    )


def propose_version(
    conn: Connection, patient: str, wanted: PlanVersion, base: int, reason: str, by: str, now_ms: int
) -> int:
    """Keep a version for a physician to confirm; replaces a proposal that waits. Returns its number.

    Raises ChangeRefusedError `plan-moved`.
    """
    conn.execute("select pg_advisory_xact_lock(%s)", (ENROL_LOCK,))
    newest = max((version.version for version in versions_of(conn, patient)), default=0)
    if newest != base:
        raise ChangeRefusedError("plan-moved", version=newest)
    at = to_datetime(now_ms)
    conn.execute(
        "update scad.plan_proposal set state = 'replaced', decided_by = %s, decided_at = %s"
        " where patient = %s and state = 'open'",
        (by, at, patient),
    )
    row = conn.execute(
        "insert into scad.plan_proposal (patient, base, document, reason, proposed_by, proposed_at)"
        " values (%s, %s, %s, %s, %s, %s) returning id",
        (patient, base, Jsonb(msgspec.to_builtins(wanted)), reason, by, at),
    ).fetchone()
    number = int(row[0]) if row is not None else 0
    note_event(conn, patient, "plan-proposed", by, now_ms, {"proposal": number, "note": reason})
    return number


def decline_proposal(conn: Connection, patient: str, proposal: int, note: str, by: str, now_ms: int) -> None:
    """Say no to a proposal. Raises ChangeRefusedError `proposal-gone`."""
    _decide(conn, patient, proposal, "declined", by, now_ms, note=note)
    note_event(conn, patient, "plan-declined", by, now_ms, {"proposal": proposal, "note": note})


def _decide(
    conn: Connection,
    patient: str,
    proposal: int,
    state: str,
    by: str,
    now_ms: int,
    note: str = "",
    version: int | None = None,
) -> str:
    """Close a proposal that waits; returns who made it."""
    row = conn.execute(
        "update scad.plan_proposal set state = %s, decided_by = %s, decided_at = %s, note = %s, version = %s"
        " where id = %s and patient = %s and state = 'open' returning proposed_by",
        (state, by, to_datetime(now_ms), note, version, proposal, patient),
    ).fetchone()
    if row is None:
        raise ChangeRefusedError("proposal-gone")
    return str(row[0])


# ── values that somebody typed in ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TypedIn:
    """A value heard on the telephone, in the kind's canonical unit."""

    kind: str
    measured_at_ms: int
    values: dict[str, Any]
    offset_min: int = 0
    context: dict[str, str] = field(default_factory=dict)
    note: str = ""


def manual_device(patient: str) -> str:
    """The serial of the patient's virtual device: one for each patient, so that numbers never collide."""
    serial = f"{MANUAL_PREFIX}{patient}"
    if len(serial) <= SERIAL_MAX:
        return serial
    return f"{MANUAL_PREFIX}{hashlib.sha256(patient.encode()).hexdigest()[:40]}"


def payload_of(device: str, seq: int, entry: TypedIn) -> dict[str, Any]:
    """The reading as any device would send it (contract section 1), flagged `manual`."""
    payload: dict[str, Any] = {
        "v": 1,
        "device": device,
        "seq": seq,
        "kind": entry.kind,
        "measured_at": format_instant(entry.measured_at_ms, entry.offset_min),
        "values": entry.values,
        "flags": ["manual"],
    }
    return payload | ({"context": entry.context} if entry.context else {})


def type_in(conn: Connection, patient: str, entry: TypedIn, by: str, now_ms: int) -> int:
    """Send a typed-in value on the way of every reading: outbox, scad.telemetry, intake. Returns its number.

    The first one also enrols the patient's virtual device, from 35 days before the enrolment on (the horizon of
    the evaluation); the outbox sends that first. Raises ChangeRefusedError `before-enrolment`.
    """
    device = manual_device(patient)
    conn.execute("select pg_advisory_xact_lock(%s)", (ENROL_LOCK,))
    known = intervals_of(conn, device)
    if not known:
        row = conn.execute("select enrolled_at from scad.patient where patient = %s", (patient,)).fetchone()
        begin_ms = min(from_datetime(row[0]) if row is not None else now_ms, now_ms) - HORIZON_MS
        conn.execute(
            "insert into scad.device (device, model, enrolled_at) values (%s, %s, %s)"
            " on conflict (device) do nothing",
            (device, MANUAL_MODEL, to_datetime(now_ms)),
        )
        known = [Interval(begin_ms, patient, None)]
        write_intervals(conn, device, [], known)
        announce_device(conn, device, now_ms)
    if entry.measured_at_ms < known[0].from_ms:
        raise ChangeRefusedError("before-enrolment", from_ms=known[0].from_ms)
    row = conn.execute(
        'insert into scad.manual_reading (device, seq, patient, kind, measured_at, "values", note, entered_by,'
        " entered_at) select %(device)s, coalesce(max(seq), 0) + 1, %(patient)s, %(kind)s, %(measured_at)s,"
        " %(values)s, %(note)s, %(by)s, %(at)s from scad.manual_reading where device = %(device)s"
        " returning seq",
        {
            "device": device,
            "patient": patient,
            "kind": entry.kind,
            "measured_at": to_datetime(entry.measured_at_ms),
            "values": Jsonb(entry.values),
            "note": entry.note,
            "by": by,
            "at": to_datetime(now_ms),
        },
    ).fetchone()
    seq = int(row[0]) if row is not None else 0
    headers = {topics.HEADER_RECEIVED_AT: format_instant(now_ms)}
    value = msgspec.json.encode(payload_of(device, seq, entry))
    enqueue(conn, topics.TELEMETRY, device, value, now_ms, headers)
    note_event(
        conn,
        patient,
        "value-entered",
        by,
        now_ms,
        {"kind": entry.kind, "values": entry.values, "seq": seq, "note": entry.note},
    )
    return seq
