"""Bluetooth payloads: a module for each characteristic, `decode(payload: bytes)` in each.

Layouts: Bluetooth SIG's GATT specifications, clinical reference 8.2. All little-endian. A decoder says
what the bytes say, in the device's own unit; `translate` makes a reading's content of it. A truncated
or damaged payload raises `fields.BadGattError`. Octets after the last known field and reserved bits are
ignored, as the specifications require of a client.
"""
