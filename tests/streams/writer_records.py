"""Records as the worker and the bridge put them on the topics that the writer reads."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import msgspec

from devices.readings import Reading, to_wire
from devices.times import format_instant, parse_instant
from streams.signal import AlertSignal, encode_signal

START_MS = parse_instant("2026-03-01T08:00:00Z")[0]


def weight(seq: int, **changes: Any) -> bytes:
    reading = Reading(
        device="sc-1",
        seq=seq,
        kind="body-weight",
        measured_at_ms=START_MS + seq % 10**9,
        received_at_ms=START_MS + 5000,
        patient="p-1",
        values={"weight": 80.0},
    )
    return to_wire(msgspec.structs.replace(reading, **changes))


def signal(n: int, **changes: Any) -> bytes:
    made = AlertSignal(
        alert=str(uuid.uuid5(uuid.NAMESPACE_OID, "p-1/1")),
        patient="p-1",
        protocol="heart-failure",
        protocol_version="2026.1",
        rule="weight-gain-3d",
        cls="clinical",
        severity="high",
        state="updated" if n > 1 else "raised",
        at=format_instant(START_MS + n),
        explanation={"fr": "f", "en": "e"},
        n=n,
    )
    return encode_signal(msgspec.structs.replace(made, **changes))


def refusal(**changes: Any) -> bytes:
    message = {
        "v": 1,
        "id": "a" * 32,
        "device": "sc-1",
        "epoch": 0,
        "seq": 7,
        "reason": "out-of-range",
        "detail": "weight 9000 kg is not within 2 to 400 kg",
        "received_at": "2026-03-01T08:00:00Z",
        "raw": base64.b64encode(b'{"weight":9000}').decode(),
    }
    return json.dumps(message | changes).encode()


def status(at: str, **fields: Any) -> bytes:
    return json.dumps({"device": "sc-1", "received_at": at, "status": fields}).encode()
