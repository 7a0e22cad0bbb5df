"""Names on the outside: Kafka topics and MQTT topics (contract sections 1 and 2)."""

from __future__ import annotations

TELEMETRY = "scad.telemetry"  # key device; what the device sent, byte for byte
BACKLOG = "scad.backlog"  # key device; the same, for what a device has gathered (streams/lanes.py)
READINGS = "scad.readings"  # key patient; canonical readings
QUARANTINE = "scad.quarantine"  # key device; what was refused, with its reason
ALERTS = "scad.alerts"  # key patient; alert signals
ASSIGNMENTS = "scad.assignments"  # key device, compacted; the device's intervals with patients
CARE_PLANS = "scad.care-plans"  # key patient, compacted; every version that can still matter
RECEIPTS = "scad.receipts"  # key device; receipts on their way from the intake to the bridges
STATUS = "scad.status"  # key device; online, battery and firmware as the device said them

COMPACTED = frozenset({ASSIGNMENTS, CARE_PLANS})
ALL = (TELEMETRY, BACKLOG, READINGS, QUARANTINE, ALERTS, ASSIGNMENTS, CARE_PLANS, RECEIPTS, STATUS)

HEADER_RECEIVED_AT = "received_at"
HEADER_MQTT_TOPIC = "topic"

MQTT_PREFIX = "scad/v1"


def mqtt_topic(device: str, leaf: str) -> str:
    """The topic of one device; `leaf` is readings, status or receipts."""
    return f"{MQTT_PREFIX}/{device}/{leaf}"
