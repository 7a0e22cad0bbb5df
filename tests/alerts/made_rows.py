"""Alert rows made for tests of the pure modules, without signals or a database."""

from __future__ import annotations

import uuid
from typing import Any

from alerts.lifecycle import settled_state
from alerts.row import AlertRow
from devices.times import parse_instant
from streams.signal import Evidence

T0 = parse_instant("2026-03-01T08:00:00Z")[0]
MINUTE, HOUR = 60_000, 3_600_000


def made(name: str = "a", **changes: Any) -> AlertRow:
    """A high clinical alert of p-1 that was raised at T0 and that nobody has seen; its state is settled."""
    fields: dict[str, Any] = {
        "alert": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        "patient": "p-1",
        "protocol": "heart-failure",
        "protocol_version": "2026.1",
        "rule": "weight-gain-3d",
        "cls": "clinical",
        "severity": "high",
        "condition": "raised",
        "opened_at": T0,
        "last_at": T0,
        "cleared_at": None,
        "reason": None,
        "late": False,
        "value": 2.4,
        "limit": 2.0,
        "unit": "kg",
        "explanation": {"fr": "", "en": ""},
        "evidence": (Evidence(device="sc-1", seq=1, measured_at="2026-03-01T08:00:00Z", value=80.0),),
        "supersedes": (),
        "superseded_by": None,
        "first_n": 1,
        "last_n": 1,
        "raised_stored_at": T0,
        "changed_at": T0,
        "state": "open",
    }
    fields |= changes
    fields.setdefault("peak_severity", fields["severity"])
    row = AlertRow(**fields)
    row.state = settled_state(row)
    return row
