"""2A5E PLX Spot-Check Measurement."""

from __future__ import annotations

from devices.bluetooth.fields import Octets
from devices.bluetooth.oximeter import Oximetry


def decode(payload: bytes) -> Oximetry:
    """Raises BadGattError."""
    octets = Octets("2A5E", payload)
    flags = octets.uint(1, "flags")
    return Oximetry(
        spo2=octets.sfloat("SpO2"),
        pulse=octets.sfloat("pulse rate"),
        time=octets.date_time("time stamp") if flags & 0x01 else None,
        status=octets.uint(2, "measurement status") if flags & 0x02 else None,
        device_status=octets.uint(3, "device and sensor status") if flags & 0x04 else None,
        pulse_amplitude=octets.sfloat("pulse amplitude index") if flags & 0x08 else None,
        clock_set=not flags & 0x10,
    )
