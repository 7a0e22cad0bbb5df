"""2A5F PLX Continuous Measurement. The normal pair counts; the fast and slow ones are read over."""

from __future__ import annotations

from devices.bluetooth.fields import Octets
from devices.bluetooth.oximeter import Oximetry


def decode(payload: bytes) -> Oximetry:
    """Raises BadGattError."""
    octets = Octets("2A5F", payload)
    flags = octets.uint(1, "flags")
    spo2 = octets.sfloat("SpO2")
    pulse = octets.sfloat("pulse rate")
    for bit, name in ((0x01, "fast"), (0x02, "slow")):
        if flags & bit:
            octets.uint(4, f"SpO2 and pulse rate, {name}")
    return Oximetry(
        spo2=spo2,
        pulse=pulse,
        status=octets.uint(2, "measurement status") if flags & 0x04 else None,
        device_status=octets.uint(3, "device and sensor status") if flags & 0x08 else None,
        pulse_amplitude=octets.sfloat("pulse amplitude index") if flags & 0x10 else None,
    )
