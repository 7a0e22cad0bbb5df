"""2A35 Blood Pressure Measurement (service 0x1810, indicated)."""

from __future__ import annotations

from typing import Literal

import msgspec

from devices.bluetooth.fields import DateTime, MedicalFloat, Octets

USER_UNKNOWN = 255


class BloodPressure(msgspec.Struct, frozen=True, kw_only=True):
    """Pressures in `unit`; a cuff that failed sends a special value, which is absent. `status` is None
    where the cuff does not report one."""

    unit: Literal["mm[Hg]", "kPa"]
    systolic: MedicalFloat
    diastolic: MedicalFloat
    mean: MedicalFloat
    time: DateTime | None = None
    pulse: MedicalFloat | None = None
    user: int | None = None
    status: int | None = None

    @property
    def body_movement(self) -> bool:
        return bool((self.status or 0) & 0x01)

    @property
    def cuff_loose(self) -> bool:
        return bool((self.status or 0) & 0x02)

    @property
    def irregular_pulse(self) -> bool:
        return bool((self.status or 0) & 0x04)

    @property
    def pulse_range(self) -> Literal["in range", "above upper limit", "below lower limit", "reserved"]:
        code = (self.status or 0) >> 3 & 0x03
        if code == 1:
            return "above upper limit"
        if code == 2:
            return "below lower limit"
        return "in range" if code == 0 else "reserved"

    @property
    def improper_position(self) -> bool:
        return bool((self.status or 0) & 0x20)


def decode(payload: bytes) -> BloodPressure:
    """Raises BadGattError."""
    octets = Octets("2A35", payload)
    flags = octets.uint(1, "flags")
    return BloodPressure(
        unit="kPa" if flags & 0x01 else "mm[Hg]",
        systolic=octets.sfloat("systolic"),
        diastolic=octets.sfloat("diastolic"),
        mean=octets.sfloat("mean arterial pressure"),
        time=octets.date_time("time stamp") if flags & 0x02 else None,
        pulse=octets.sfloat("pulse rate") if flags & 0x04 else None,
        user=octets.uint(1, "user id") if flags & 0x08 else None,
        status=octets.uint(2, "measurement status") if flags & 0x10 else None,
    )
