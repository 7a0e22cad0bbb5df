"""2A37 Heart Rate Measurement (service 0x180D), of a chest strap or watch."""

from __future__ import annotations

import msgspec

from devices.bluetooth.fields import Octets

_RR_PER_S = 1024  # the unit of an RR interval is 1/1024 s


class HeartRate(msgspec.Struct, frozen=True, kw_only=True):
    """`contact` is None where the sensor cannot tell. `rr_ms` are successive intervals, oldest first."""

    bpm: int
    contact: bool | None = None
    energy_kj: int | None = None
    rr_ms: tuple[float, ...] = ()


def decode(payload: bytes) -> HeartRate:
    """Raises BadGattError."""
    octets = Octets("2A37", payload)
    flags = octets.uint(1, "flags")
    bpm = octets.uint(2 if flags & 0x01 else 1, "heart rate")
    contact_code = flags >> 1 & 0x03
    energy_kj = octets.uint(2, "energy expended") if flags & 0x08 else None
    rr_ms = []
    if flags & 0x10:
        while octets.left >= 2:
            rr_ms.append(octets.uint(2, "RR interval") * 1000 / _RR_PER_S)
    return HeartRate(
        bpm=bpm,
        contact={2: False, 3: True}.get(contact_code),
        energy_kj=energy_kj,
        rr_ms=tuple(rr_ms),
    )
