"""What the two measurements of a pulse oximeter (service 0x1822) share: status bits, and the type."""

from __future__ import annotations

import msgspec

from devices.bluetooth.fields import DateTime, MedicalFloat

# Measurement status, 16 bits.
ONGOING = 1 << 5
DEMONSTRATION = 1 << 10
TESTING = 1 << 11
CALIBRATION = 1 << 12
UNAVAILABLE = 1 << 13
QUESTIONABLE = 1 << 14
INVALID = 1 << 15

# Device and sensor status, 24 bits.
SENSOR_FAULT = 1 << 1 | 1 << 12 | 1 << 14  # equipment malfunction, unknown sensor, sensor malfunction
SENSOR_DOUBT = 1 << 3 | 1 << 6 | 1 << 7 | 1 << 8  # inadequate, erratic, not pulsatile, questionable pulse
SENSOR_OFF = 1 << 11 | 1 << 13 | 1 << 15  # not on the user, displaced, disconnected


class Oximetry(msgspec.Struct, frozen=True, kw_only=True):
    """Saturation in %, pulse in /min, pulse amplitude index in %. A status is None where it was not sent."""

    spo2: MedicalFloat
    pulse: MedicalFloat
    time: DateTime | None = None
    clock_set: bool = True
    status: int | None = None
    device_status: int | None = None
    pulse_amplitude: MedicalFloat | None = None

    @property
    def ongoing(self) -> bool:
        return bool((self.status or 0) & ONGOING)

    @property
    def questionable(self) -> bool:
        return bool((self.status or 0) & QUESTIONABLE)
