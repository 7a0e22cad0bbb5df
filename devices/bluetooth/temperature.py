"""2A1C Temperature Measurement (service 0x1809)."""

from __future__ import annotations

from typing import Literal

import msgspec

from devices.bluetooth.fields import DateTime, MedicalFloat, Octets


class Temperature(msgspec.Struct, frozen=True, kw_only=True):
    """`site` is the SIG's temperature type: 1 armpit, 2 body, 3 ear, 6 mouth, 7 rectum, 9 eardrum."""

    unit: Literal["Cel", "[degF]"]
    temperature: MedicalFloat
    time: DateTime | None = None
    site: int | None = None


def decode(payload: bytes) -> Temperature:
    """Raises BadGattError."""
    octets = Octets("2A1C", payload)
    flags = octets.uint(1, "flags")
    return Temperature(
        unit="[degF]" if flags & 0x01 else "Cel",
        temperature=octets.medfloat("temperature"),
        time=octets.date_time("time stamp") if flags & 0x02 else None,
        site=octets.uint(1, "temperature type") if flags & 0x04 else None,
    )
