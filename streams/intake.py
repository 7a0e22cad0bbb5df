"""What a device sent becomes readings of a patient, or refusals with their reasons. Pure.

Attribution is by the assignment that was valid at `measured_at`, so a device that has moved on to another
patient still delivers the first one's backlog to the first.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from devices.decode import decode_payload
from devices.payload import json_decoder, split
from devices.readings import Reading, Refusal
from devices.refusals import Reason
from devices.times import BadTimeError, format_instant, parse_instant
from streams.plans import CarePlan, DeviceAssignments

ZONES_CACHED = 512  # there are some 600 names; plans of one deployment use a handful


class Interval(NamedTuple):
    """One assignment with its instants read: `from_ms` inclusive, `to_ms` exclusive, None while it lasts."""

    from_ms: int
    to_ms: int | None
    patient: str


Assignments = Callable[[str], Sequence[Interval] | None]
"""Device to its intervals in order of `from_ms`; None for a device that nobody enrolled."""


@dataclass(slots=True)
class Intake:
    """What became of one payload: readings with their patient, and what was refused, each in its order."""

    readings: list[Reading] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


class QuarantineRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The value in `scad.quarantine`. `raw` is base64 of what was refused, whole; the same bytes refused by
    the same device for the same reason have the same `id`, however often they come."""

    id: str
    device: str
    epoch: int
    seq: int | None
    reason: str
    detail: str
    received_at: str
    raw: str
    v: int = 1


_encode = msgspec.json.Encoder().encode
_decode_assignments = json_decoder(DeviceAssignments)


def decode_intervals(message: bytes) -> tuple[Interval, ...]:
    """The value of `scad.assignments`. Raises msgspec.DecodeError or BadTimeError."""
    intervals = []
    for assignment in _decode_assignments(message).intervals:
        from_ms = parse_instant(assignment.from_)[0]
        to_ms = None if assignment.to is None else parse_instant(assignment.to)[0]
        if to_ms is not None and to_ms < from_ms:
            raise BadTimeError(f"{assignment.device}: an assignment ends before it begins")
        intervals.append(Interval(from_ms, to_ms, assignment.patient))
    return tuple(sorted(intervals, key=lambda interval: interval.from_ms))


def patient_at(intervals: Sequence[Interval], instant_ms: int) -> str | None:
    """Whose the device was at that instant; the later beginning wins where intervals overlap."""
    for interval in reversed(intervals):
        if interval.from_ms <= instant_ms and (interval.to_ms is None or instant_ms < interval.to_ms):
            return interval.patient
    return None


def time_zone_of(plan: CarePlan, instant_ms: int) -> str:
    """The zone that the plan names for that instant; before its first version, the first one's."""
    versions = sorted(plan.versions, key=lambda version: version.from_ms)
    valid = [version for version in versions if version.from_ms <= instant_ms] or versions[:1]
    return valid[-1].time_zone if valid else "UTC"


@lru_cache(maxsize=ZONES_CACHED)
def zone(name: str) -> tzinfo:
    """The zone of that name; UTC for one that does not exist, of which the plan's checker complains."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, no such form, a folder of zones
        return UTC


def process(
    payload: bytes, device: str, received_at_ms: int, assignments: Assignments, local: tzinfo = UTC
) -> Intake:
    """Decode what `device` sent and give each reading its patient. Never raises for any bytes.

    `local` is the zone in which a Bluetooth device without an offset counts.
    """
    result = Intake()
    intervals = assignments(device)
    elements: list[bytes] | None = None
    for index, decoded in enumerate(decode_payload(payload, device, received_at_ms, local)):
        if isinstance(decoded, Refusal):
            result.refusals.append(decoded)
            continue
        patient = patient_at(intervals, decoded.measured_at_ms) if intervals is not None else None
        if patient is None:
            # A payload whose elements were decoded can be split, and splits in the same order; once is enough.
            elements = elements or split(payload)
            result.refusals.append(_unattributed(decoded, elements[index], intervals is None))
        else:
            result.readings.append(msgspec.structs.replace(decoded, patient=patient))
    return result


def may_be_bluetooth(payload: bytes) -> bool:
    """Whether a reading of it may tell local time, so that a zone is to be looked up. Names may be spelt with
    escapes."""
    return b'"gatt"' in payload or b"\\u" in payload


def unattributed(intake: Intake) -> bool:
    """Whether a fresher look at the assignments could change the outcome."""
    return any(refusal.reason in (Reason.UNKNOWN_DEVICE, Reason.NOT_ASSIGNED) for refusal in intake.refusals)


def quarantine_id(device: str, raw: bytes, reason: str) -> str:
    """32 hexadecimal digits that name a refusal."""
    digest = hashlib.sha256()
    for part in (device.encode(), raw, reason.encode()):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:32]


def encode_quarantine(refusal: Refusal) -> bytes:
    return _encode(
        QuarantineRecord(
            id=quarantine_id(refusal.device, refusal.raw, refusal.reason),
            device=refusal.device,
            epoch=refusal.epoch,
            seq=refusal.seq,
            reason=refusal.reason,
            detail=refusal.detail,
            received_at=format_instant(refusal.received_at_ms),
            raw=base64.b64encode(refusal.raw).decode(),
        )
    )


def _unattributed(reading: Reading, raw: bytes, unknown: bool) -> Refusal:
    when = format_instant(reading.measured_at_ms, reading.offset_min)
    detail = (
        f"device: {reading.device!r} is not enrolled; enrol it, then replay the quarantine"
        if unknown
        else f"measured_at: {reading.device!r} was nobody's at {when}; assign it, then replay the quarantine"
    )
    return Refusal(
        device=reading.device,
        reason=Reason.UNKNOWN_DEVICE if unknown else Reason.NOT_ASSIGNED,
        detail=detail,
        raw=raw,
        seq=reading.seq,
        epoch=reading.epoch,
        received_at_ms=reading.received_at_ms,
    )
