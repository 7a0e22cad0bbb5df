"""2A9D Weight Measurement (service 0x181D)."""

from __future__ import annotations

from typing import Literal

import msgspec

from devices.bluetooth.fields import DateTime, Octets

_UNSUCCESSFUL = 0xFFFF  # the scale could not measure


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """`weight` in `unit`, None where the scale could not measure; `height_m` and `bmi` (kg/m2) come
    together or not at all."""

    unit: Literal["kg", "[lb_av]"]
    weight: float | None
    time: DateTime | None = None
    user: int | None = None
    bmi: float | None = None
    height_m: float | None = None


def decode(payload: bytes) -> Weight:
    """Raises BadGattError."""
    octets = Octets("2A9D", payload)
    flags = octets.uint(1, "flags")
    imperial = bool(flags & 0x01)
    raw = octets.uint(2, "weight")
    weight = raw / 100 if imperial else raw / 200  # 0.01 lb, 0.005 kg
    time = octets.date_time("time stamp") if flags & 0x02 else None
    user = octets.uint(1, "user id") if flags & 0x04 else None
    bmi = height_m = None
    if flags & 0x08:
        bmi = octets.uint(2, "BMI") / 10
        raw_height = octets.uint(2, "height")
        height_m = raw_height * 0.00254 if imperial else raw_height / 1000  # 0.1 in, 0.001 m
    return Weight(
        unit="[lb_av]" if imperial else "kg",
        weight=None if raw == _UNSUCCESSFUL else weight,
        time=time,
        user=user,
        bmi=bmi,
        height_m=height_m,
    )
