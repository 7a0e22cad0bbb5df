"""The reading: what every device message becomes before anything else looks at it.

Decoding of what devices send lives in `devices.decode`; here are only the types and the canonical
wire form of topic `scad.readings` (contract sections 1 and 2).
"""

from __future__ import annotations

from typing import Any

import msgspec

from devices.times import format_instant, read_instant

Value = Any  # float | bool | int | str | list[float], by kind: devices.catalogue says which


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted reading in canonical units (the first unit of its kind in the catalogue).

    Identity is (device, epoch, seq). Times are milliseconds since the epoch; `offset_min` is the
    offset from UTC that the device wrote. `marks` names the artefact gates that the reading failed:
    it is stored, may raise a technical alert, and never a clinical one.
    """

    device: str
    seq: int
    kind: str
    measured_at_ms: int
    values: dict[str, Value]
    epoch: int = 0
    offset_min: int = 0
    received_at_ms: int = 0
    patient: str = ""
    flags: tuple[str, ...] = ()
    context: dict[str, str] = {}
    marks: tuple[str, ...] = ()
    oldest: int | None = None
    """The lowest seq that the device still holds, when it said so. Not part of the content."""

    @property
    def identity(self) -> tuple[str, int, int]:
        return (self.device, self.epoch, self.seq)

    @property
    def order(self) -> tuple[int, str, int, int]:
        """Where the reading belongs in its patient's history, whenever it arrived."""
        return (self.measured_at_ms, self.device, self.epoch, self.seq)

    @property
    def artefact(self) -> bool:
        return bool(self.marks)

    @property
    def received_late_ms(self) -> int:
        return self.received_at_ms - self.measured_at_ms


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One refused element of a payload. `raw` is what came, whole; `reason` is machine-readable
    (devices.decode.Reason), `detail` a sentence that names the field, what came and what is allowed."""

    device: str
    reason: str
    detail: str
    raw: bytes
    seq: int | None = None
    epoch: int = 0
    received_at_ms: int = 0


class _Wire(msgspec.Struct, omit_defaults=True):
    """A reading as it stands in `scad.readings`: the contract's names, canonical units."""

    device: str
    seq: int
    kind: str
    measured_at: str
    values: dict[str, Value]
    v: int = 0
    patient: str = ""
    received_at: str = ""
    epoch: int = 0
    unit: str | None = None
    flags: list[str] = []
    context: dict[str, str] = {}
    marks: list[str] = []


_decode = msgspec.json.Decoder(_Wire).decode
_encode = msgspec.json.Encoder().encode


def to_wire(reading: Reading, unit: str | None = None) -> bytes:
    """The reading as one JSON object without a line end, with the contract's field names."""
    return _encode(
        _Wire(
            v=1,
            patient=reading.patient,
            device=reading.device,
            epoch=reading.epoch,
            seq=reading.seq,
            kind=reading.kind,
            measured_at=format_instant(reading.measured_at_ms, reading.offset_min),
            received_at=format_instant(reading.received_at_ms),
            values=reading.values,
            unit=unit,
            flags=list(reading.flags),
            context=reading.context,
            marks=list(reading.marks),
        )
    )


def from_wire(message: bytes) -> Reading:
    """Decode what `to_wire` wrote: a message of our own, not a device's.

    Raises msgspec.ValidationError or BadTimeError: on our own topic either is a poison record.
    """
    wire = _decode(message)
    measured_at_ms, offset_min = read_instant(wire.measured_at)
    received_at_ms = read_instant(wire.received_at)[0] if wire.received_at else measured_at_ms
    return Reading(
        device=wire.device,
        epoch=wire.epoch,
        seq=wire.seq,
        kind=wire.kind,
        measured_at_ms=measured_at_ms,
        offset_min=offset_min,
        received_at_ms=received_at_ms,
        patient=wire.patient,
        values=wire.values,
        flags=tuple(wire.flags),
        context=wire.context,
        marks=tuple(wire.marks),
    )
