"""2AA7 CGM Measurement (service 0x181F), of a continuous glucose sensor. One record in a payload."""

from __future__ import annotations

import msgspec

from devices.bluetooth.fields import BadGattError, MedicalFloat, Octets

_CRC_BYTES = 2

# Status octet (bits 0 to 7 of the annunciation).
SESSION_STOPPED = 1 << 0
LOW_BATTERY = 1 << 1
FAULTS = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5  # wrong sensor, malfunction, device alert, general fault
# Calibration and temperature octet (bits 8 to 15).
CALIBRATION_RECOMMENDED = 1 << 2
SENSOR_TEMPERATURE = 1 << 4 | 1 << 5  # too hot, too cold
# Warning octet (bits 16 to 23).
BEYOND = 1 << 6 | 1 << 7  # lower or higher than the device can process


class ContinuousGlucose(msgspec.Struct, frozen=True, kw_only=True):
    """`offset_min` counts from the start of the sensor's session. The three octets of the status are None
    where they were not sent; `crc_ok` is None without a CRC, and never False: that is refused."""

    glucose_mg_dl: MedicalFloat
    offset_min: int
    status: int | None = None
    calibration: int | None = None
    warning: int | None = None
    trend_mg_dl_min: MedicalFloat | None = None
    quality_percent: MedicalFloat | None = None
    crc_ok: bool | None = None

    @property
    def low_battery(self) -> bool:
        return bool((self.status or 0) & LOW_BATTERY)

    @property
    def calibration_recommended(self) -> bool:
        return bool((self.calibration or 0) & CALIBRATION_RECOMMENDED)

    @property
    def sensor_temp_high(self) -> bool:
        return bool((self.calibration or 0) & 1 << 4)


def decode(payload: bytes) -> ContinuousGlucose:
    """Raises BadGattError, also for a second record: a message is one reading."""
    octets = Octets("2AA7", payload)
    size = octets.uint(1, "size")
    if size != len(payload):
        raise BadGattError(f"2AA7: size says {size} bytes, {len(payload)} came; one record is expected")
    flags = octets.uint(1, "flags")
    glucose = octets.sfloat("glucose concentration")
    offset_min = octets.uint(2, "time offset")
    status = octets.uint(1, "status octet") if flags & 0x80 else None
    calibration = octets.uint(1, "calibration octet") if flags & 0x40 else None
    warning = octets.uint(1, "warning octet") if flags & 0x20 else None
    trend = octets.sfloat("trend") if flags & 0x01 else None
    quality = octets.sfloat("quality") if flags & 0x02 else None
    crc_ok = None
    if octets.left == _CRC_BYTES:
        if crc(payload[:-_CRC_BYTES]) != octets.uint(_CRC_BYTES, "CRC"):
            raise BadGattError("2AA7: the CRC does not fit: the bytes were damaged on their way")
        crc_ok = True
    return ContinuousGlucose(
        glucose_mg_dl=glucose,
        offset_min=offset_min,
        status=status,
        calibration=calibration,
        warning=warning,
        trend_mg_dl_min=trend,
        quality_percent=quality,
        crc_ok=crc_ok,
    )


def crc(octets: bytes) -> int:
    """The E2E-CRC of the CGM service: CCITT polynomial, reflected (0x8408), from 0xFFFF."""
    register = 0xFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0x8408 if register & 1 else 0)
    return register
