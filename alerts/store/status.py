"""What devices say of themselves into `scad.device_status`: the newest of each."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from alerts.store.connection import Connection
from devices.times import to_datetime

_UPSERT = """
insert into scad.device_status (device, state, battery, firmware, received_at) values (%s, %s, %s, %s, %s)
on conflict (device) do update set
    state = excluded.state, battery = coalesce(excluded.battery, device_status.battery),
    firmware = coalesce(excluded.firmware, device_status.firmware), received_at = excluded.received_at
where excluded.received_at >= device_status.received_at"""


class StatusRow(msgspec.Struct, frozen=True, kw_only=True):
    """One status of one device. `battery` in per cent; a last will knows neither battery nor firmware."""

    device: str
    state: str
    received_at_ms: int
    battery: int | None = None
    firmware: str | None = None


def write_status(conn: Connection, rows: Sequence[StatusRow]) -> int:
    """Keep the newest status of each device, and the last that it said of battery and firmware.

    Returns how many rows changed something. The topic has a device's states in order; an older one that
    comes again changes nothing.
    """
    changed = 0
    with conn.transaction(), conn.cursor() as cursor:
        for row in sorted(rows, key=lambda row: (row.device, row.received_at_ms)):
            instant = to_datetime(row.received_at_ms)
            cursor.execute(_UPSERT, (row.device, row.state, row.battery, row.firmware, instant))
            changed += cursor.rowcount
    return changed
