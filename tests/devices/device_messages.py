"""Messages for tests: a valid reading of every kind, and how to change one field of it."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import settings

from devices.times import parse_instant

DEVICE = "dev-1"
MEASURED_AT = "2026-11-22T07:31:05.120+01:00"
RECEIVED_AT_MS = parse_instant("2026-11-22T07:31:20+01:00")[0]
ABSENT = object()

unhurried = settings(deadline=None)
"""For properties: how long one example takes depends on what else the machine does."""

VALUES: dict[str, dict[str, Any]] = {
    "body-weight": {"weight": 80.1},
    "blood-pressure": {"systolic": 142, "diastolic": 88, "mean": 106, "pulse": 71},
    "glucose": {"glucose": 120},
    "heart-rate": {"heart_rate": 72},
    "rr-intervals": {"rr": [800, 810.5, 790]},
    "ecg": {"fs": 250, "samples": [0, 0.1, -0.2]},
    "oxygen-saturation": {"spo2": 96, "pulse": 72},
    "temperature": {"temperature": 36.7},
    "respiratory-rate": {"respiratory_rate": 16},
    "inr": {"inr": 2.4},
    "ketones": {"ketones": 0.4},
    "symptoms": {"dyspnoea": 2, "chest_pain": False, "wellbeing": "same", "orthopnoea_pillows": 3},
    "implant-report": {"event": "atrial-fibrillation", "count": 2, "burden": 3.5},
}


def message(kind: Any = "body-weight", **changes: Any) -> dict[str, Any]:
    """A valid reading of `kind` with some top-level fields replaced, or left out where ABSENT."""
    fields = {
        "v": 1,
        "device": DEVICE,
        "seq": 7,
        "kind": kind,
        "measured_at": MEASURED_AT,
        "values": VALUES.get(str(kind), {}),
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ABSENT}


def gatt_message(characteristic: str, octets: bytes, **changes: Any) -> dict[str, Any]:
    fields = {
        "v": 1,
        "device": DEVICE,
        "seq": 7,
        "gatt": characteristic,
        "value": base64.b64encode(octets).decode(),
        "received_at": "2026-11-22T09:31:10+01:00",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ABSENT}


def encode(element: object) -> bytes:
    return json.dumps(element).encode()
