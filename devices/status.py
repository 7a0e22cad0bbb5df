"""What a device says of itself on its status topic (contract section 1), read with indulgence.

Whether it is online matters more than the rest: a battery that cannot be is left out, and a firmware's name is made
fit for one line of a page. What names no state is no status.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from devices.payload import json_decoder

MAX_STATUS_BYTES: Final = 4_096  # the three fields take some 80; the rest is room for optional ones to come
FIRMWARE_CHARS: Final = 100  # shown beside the device; real ones have under 40
BATTERY_PERCENT: Final = (0.0, 100.0)


class BadStatusError(ValueError):
    """A message on the status topic that is no status."""


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """`battery` in percent."""

    state: Literal["online", "offline"]
    battery: float | None = None
    firmware: str | None = None


_decode = json_decoder(Status)


def parse_status(payload: bytes) -> Status:
    """Read a status. Raises BadStatusError."""
    if len(payload) > MAX_STATUS_BYTES:
        raise BadStatusError(f"no status: {len(payload)} bytes; at most {MAX_STATUS_BYTES} are allowed")
    try:
        said = _decode(payload)
    except msgspec.DecodeError as error:
        raise BadStatusError(f"no status: {error}") from None
    battery, firmware = said.battery, said.firmware
    if battery is not None and not BATTERY_PERCENT[0] <= battery <= BATTERY_PERCENT[1]:
        battery = None
    if firmware is not None:
        firmware = "".join(c if c.isprintable() else "\ufffd" for c in firmware[:FIRMWARE_CHARS])
    return Status(said.state, battery, firmware)
