"""2A18 Glucose Measurement (service 0x1808), of a capillary meter."""

from __future__ import annotations

from typing import Literal

import msgspec

from devices.bluetooth.fields import DateTime, MedicalFloat, Octets

TYPE_CAPILLARY = frozenset({1, 2})  # whole blood, plasma
TYPE_INTERSTITIAL = 9
TYPE_CONTROL_SOLUTION = 10
LOCATION_CONTROL_SOLUTION = 4

# Bits of the sensor status annunciation.
LOW_BATTERY = 1 << 0
MALFUNCTION = 1 << 1
SAMPLE_SMALL = 1 << 2
STRIP_ERRORS = 1 << 3 | 1 << 4 | 1 << 9  # insertion, wrong type, pulled early
BEYOND = 1 << 5 | 1 << 6  # higher or lower than the meter can process
TEMPERATURE = 1 << 7 | 1 << 8  # too hot, too cold
GENERAL_FAULT = 1 << 10
TIME_FAULT = 1 << 11


class Glucose(msgspec.Struct, frozen=True, kw_only=True):
    """`time` is the meter's base time; what the user saw is `time` plus `offset_min`. `sequence` is the
    meter's ordering key. `concentration` is in kg/L or mol/L, as `unit` says."""

    sequence: int
    time: DateTime
    offset_min: int = 0
    unit: Literal["kg/L", "mol/L"] | None = None
    concentration: MedicalFloat | None = None
    type: int | None = None
    location: int | None = None
    status: int | None = None
    context_follows: bool = False

    @property
    def low_battery(self) -> bool:
        return bool((self.status or 0) & LOW_BATTERY)

    @property
    def control_solution(self) -> bool:
        return self.type == TYPE_CONTROL_SOLUTION or self.location == LOCATION_CONTROL_SOLUTION


def decode(payload: bytes) -> Glucose:
    """Raises BadGattError."""
    octets = Octets("2A18", payload)
    flags = octets.uint(1, "flags")
    sequence = octets.uint(2, "sequence number")
    time = octets.date_time("base time")
    offset_min = octets.sint(2, "time offset") if flags & 0x01 else 0
    concentration = unit = kind = location = None
    if flags & 0x02:
        unit = "mol/L" if flags & 0x04 else "kg/L"
        concentration = octets.sfloat("concentration")
        nibbles = octets.uint(1, "type and sample location")
        kind, location = nibbles & 0x0F, nibbles >> 4
    return Glucose(
        sequence=sequence,
        time=time,
        offset_min=offset_min,
        unit=unit,  # type: ignore[arg-type]
        concentration=concentration,
        type=kind,
        location=location,
        status=octets.uint(2, "sensor status") if flags & 0x08 else None,
        context_follows=bool(flags & 0x10),
    )
