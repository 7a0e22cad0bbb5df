"""The glucose message of a Dexcom G5 transmitter: a vendor's layout, named `dexcom-g5-glucoseRx`.

op 0x31, status u8, sequence u32, time u32, glucose u16 (bits 12 to 15 are flags), state u8, trend i8,
CRC-16/XMODEM over all before it.
"""

from __future__ import annotations

import binascii

import msgspec

from devices.bluetooth.fields import BadGattError, Octets

OPCODE = 0x31
LENGTH = 16
STATE_WARMUP = 2
STATES_GOOD = frozenset({6, 7})  # in calibration, calibration due


class DexcomGlucose(msgspec.Struct, frozen=True, kw_only=True):
    """`timestamp_s` counts from the activation of the transmitter."""

    status: int
    sequence: int
    timestamp_s: int
    glucose_mg_dl: int
    display_only: bool
    state: int
    trend: int


def decode(payload: bytes) -> DexcomGlucose:
    """Raises BadGattError."""
    octets = Octets("dexcom-g5-glucoseRx", payload)
    if octets.uint(1, "opcode") != OPCODE or len(payload) != LENGTH:
        raise BadGattError(f"dexcom-g5-glucoseRx: opcode 0x31 and {LENGTH} bytes are expected")
    status = octets.uint(1, "status")
    sequence = octets.uint(4, "sequence")
    timestamp_s = octets.uint(4, "time")
    glucose = octets.uint(2, "glucose")
    state = octets.uint(1, "state")
    trend = octets.sint(1, "trend")
    if binascii.crc_hqx(payload[:-2], 0) != octets.uint(2, "CRC"):
        raise BadGattError("dexcom-g5-glucoseRx: the CRC does not fit: the bytes were damaged on their way")
    return DexcomGlucose(
        status=status,
        sequence=sequence,
        timestamp_s=timestamp_s,
        glucose_mg_dl=glucose & 0x0FFF,
        display_only=bool(glucose & 0xF000),
        state=state,
        trend=trend,
    )
