"""One reading followed: when it was measured, received and stored, whether it was evaluated, of which alerts
it is evidence, or why it was refused."""

from __future__ import annotations

from typing import Any

import msgspec

from alerts.store.connection import Connection
from devices.times import format_instant, from_datetime


class EvidenceOf(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that names the reading, with the signals that do."""

    alert: str
    protocol: str
    rule: str
    severity: str
    state: str
    signals: tuple[str, ...]


class StoredReading(msgspec.Struct, frozen=True, kw_only=True):
    """One content that was stored under the identity. Instants are RFC 3339."""

    epoch: int
    patient: str
    kind: str
    values: dict[str, Any]
    flags: tuple[str, ...]
    marks: tuple[str, ...]
    measured_at: str
    received_at: str
    stored_at: str
    too_late: bool
    care_plan: int | None
    protocols: tuple[str, ...]


class RefusedReading(msgspec.Struct, frozen=True, kw_only=True):
    """One refusal of the identity."""

    id: str
    epoch: int
    reason: str
    detail: str
    received_at: str
    times: int
    state: str
    replayed_at: str | None
    resolved_at: str | None


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """All that the database knows of (device, seq). `enrolled`: the device is known."""

    device: str
    seq: int
    enrolled: bool
    stored: tuple[StoredReading, ...] = ()
    refused: tuple[RefusedReading, ...] = ()
    evidence_of: tuple[EvidenceOf, ...] = ()

    @property
    def found(self) -> bool:
        return bool(self.stored or self.refused)


_STORED = """
select r.epoch, r.patient, r.kind, r."values", r.flags, r.marks, r.measured_at, r.offset_min, r.received_at,
       r.stored_at, r.too_late, p.version, p.document
  from scad.reading_identity i
  join scad.reading r
    on r.measured_at = i.measured_at
   and (r.device, r.epoch, r.seq, r.digest) = (i.device, i.epoch, i.seq, i.digest)
  left join lateral (select version, document from scad.care_plan
                      where patient = r.patient and from_at <= r.measured_at
                      order by from_at desc, version desc limit 1) p on true
 where i.device = %(device)s and i.seq = %(seq)s and (%(epoch)s::bigint is null or i.epoch = %(epoch)s)
 order by r.epoch, r.measured_at, r.digest"""

_REFUSED = """
select id, epoch, reason, detail, received_at, times, state, replayed_at, resolved_at
  from scad.quarantine
 where device = %(device)s and seq = %(seq)s and (%(epoch)s::bigint is null or epoch = %(epoch)s)
 order by received_at, id"""

_EVIDENCE = """
select e.alert::text, e.event, e.at, e.body->'evidence', a.protocol, a.rule, a.severity, a.state
  from scad.alert_event e join scad.alert a using (alert)
 where e.patient = any(%(patients)s) and e.kind = 'signal' and e.body->'evidence' @> %(evidence)s::jsonb
 order by e.id"""


def trace(conn: Connection, device: str, seq: int, epoch: int | None = None) -> Trace:
    """Everything known of the reading; without an epoch of all epochs."""
    asked = {"device": device, "seq": seq, "epoch": epoch}
    stored = tuple(_stored(row) for row in conn.execute(_STORED, asked).fetchall())
    refused = tuple(
        RefusedReading(
            id=row[0],
            epoch=row[1],
            reason=row[2],
            detail=row[3],
            received_at=_text(row[4]),
            times=row[5],
            state=row[6],
            replayed_at=None if row[7] is None else _text(row[7]),
            resolved_at=None if row[8] is None else _text(row[8]),
        )
        for row in conn.execute(_REFUSED, asked).fetchall()
    )
    enrolled = conn.execute("select 1 from scad.device where device = %s", (device,)).fetchone() is not None
    evidence = _evidence(conn, stored, device, seq)
    return Trace(
        device=device, seq=seq, enrolled=enrolled, stored=stored, refused=refused, evidence_of=evidence
    )


def _stored(row: tuple[Any, ...]) -> StoredReading:
    (epoch, patient, kind, values, flags, marks, measured_at, offset_min, received_at, stored_at, too_late,
     version, document) = row  # fmt: skip
    return StoredReading(
        epoch=epoch,
        patient=patient,
        kind=kind,
        values=values,
        flags=tuple(flags),
        marks=tuple(marks),
        measured_at=format_instant(from_datetime(measured_at), offset_min),
        received_at=_text(received_at),
        stored_at=_text(stored_at),
        too_late=too_late,
        care_plan=version,
        protocols=() if document is None else tuple(document["protocols"]),
    )


def _evidence(
    conn: Connection, stored: tuple[StoredReading, ...], device: str, seq: int
) -> tuple[EvidenceOf, ...]:
    wanted = {
        "patients": sorted({reading.patient for reading in stored}),
        "evidence": msgspec.json.encode([{"device": device, "seq": seq}]).decode(),
    }
    epochs = {reading.epoch for reading in stored}
    found: dict[str, EvidenceOf] = {}
    for alert, event, at, evidence, protocol, rule, severity, state in conn.execute(_EVIDENCE, wanted):
        named = {e.get("epoch", 0) for e in evidence if (e["device"], e["seq"]) == (device, seq)}
        if not named & epochs:
            continue
        signal = f"{event} at {_text(at)}"
        before = found[alert].signals if alert in found else ()
        found[alert] = EvidenceOf(
            alert=alert,
            protocol=protocol,
            rule=rule,
            severity=severity,
            state=state,
            signals=(*before, signal),
        )
    return tuple(found.values())


def sentences(trace: Trace) -> list[str]:
    """The trace in plain sentences, one a line."""
    name = f"Reading {trace.seq} of device {trace.device}"
    if not trace.found:
        known = "is enrolled" if trace.enrolled else "is not enrolled"
        return [f"{name} has not reached the database; the device {known}."]
    lines: list[str] = []
    for reading in trace.stored:
        lines += _reading_lines(name, reading)
    if len(trace.stored) > len({reading.epoch for reading in trace.stored}):
        lines.append("Conflict: the device used the same number for different contents; all are kept.")
    for evidence in trace.evidence_of:
        lines.append(
            f"It is evidence of alert {evidence.alert} ({evidence.protocol}, {evidence.rule}, severity "
            f"{evidence.severity}, now {evidence.state}): {', '.join(evidence.signals)}."
        )
    if trace.stored and not trace.evidence_of:
        lines.append("It is evidence of no alert.")
    for refusal in trace.refused:
        lines += _refusal_lines(name, refusal)
    return lines


def _reading_lines(name: str, reading: StoredReading) -> list[str]:
    epoch = f", epoch {reading.epoch}," if reading.epoch else ""
    shown = ", ".join(f"{key} {_short(value)}" for key, value in reading.values.items())
    lines = [
        f"{name}{epoch} is a reading of {reading.kind} ({shown}) of patient {reading.patient}.",
        f"Measured at {reading.measured_at}, received at {reading.received_at}, "
        f"stored at {reading.stored_at}.",
    ]
    if reading.flags:
        lines.append(f"The device flagged it: {', '.join(reading.flags)}.")
    if reading.too_late:
        lines.append("Not evaluated: it arrived later than its horizon allows.")
    elif reading.marks:
        lines.append(
            f"It failed a check ({', '.join(reading.marks)}): it can raise a technical alert, never a "
            "clinical one."
        )
    elif reading.care_plan is None:
        lines.append("Not evaluated: the patient had no care plan when it was measured.")
    else:
        lines.append(
            f"Evaluated with version {reading.care_plan} of the care plan: {', '.join(reading.protocols)}."
        )
    return lines


def _refusal_lines(name: str, refusal: RefusedReading) -> list[str]:
    often = "" if refusal.times == 1 else f" ({refusal.times} times)"
    lines = [
        f"{name}, received at {refusal.received_at}, was refused{often}: {refusal.reason}. {refusal.detail}"
    ]
    if refusal.state == "replayed":
        lines.append(f"It was sent through again at {refusal.replayed_at}; nothing has come of it yet.")
    elif refusal.state == "resolved":
        lines.append(f"It was sent through again and accepted at {refusal.resolved_at}.")
    else:
        lines.append(f"It lies in quarantine as {refusal.id}.")
    return lines


def _short(value: object) -> str:
    """A value for a sentence: a strip of thousands of samples is named, not printed."""
    if isinstance(value, list):
        return f"of {len(value)} values"
    text = str(value)
    return text if len(text) <= 40 else f"of {len(text)} characters"


def _text(moment: Any) -> str:
    return format_instant(from_datetime(moment))
