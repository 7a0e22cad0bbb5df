"""Recorded readings in files: read, moved in time, written again, and the enrolment that they need.

A line is a reading as a device sends it, with `patient` in it. Nothing here judges a reading: what the
recording says is what the platform shall be told, the wrong included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from devices.times import BadTimeError, format_instant, parse_instant

DEVICE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DAY_MS = 86_400_000

PROTOCOL_OF_KIND = {
    "glucose": "diabetes",
    "ketones": "diabetes",
    "body-weight": "heart-failure",
    "symptoms": "heart-failure",
    "blood-pressure": "hypertension",
    "rr-intervals": "arrhythmia",
    "ecg": "arrhythmia",
    "heart-rate": "arrhythmia",
    "implant-report": "arrhythmia",
    "oxygen-saturation": "respiratory",
    "respiratory-rate": "respiratory",
    "temperature": "respiratory",
    "inr": "anticoagulation",
}


class RecordingError(ValueError):
    """A file of recorded readings that cannot be played; names file, line and remedy."""


class Recorded(NamedTuple):
    """One line. `reading` is what goes over MQTT: without `patient`, `received_at` and `oldest`."""

    patient: str
    device: str
    measured_at_ms: int
    offset_min: int
    reading: dict[str, Any]


def read_recording(path: Path) -> list[Recorded]:
    """All readings of a file in its order. Raises RecordingError."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    recorded = [_read_line(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not recorded:
        raise RecordingError(f"{path}: no readings in it")
    return recorded


def _read_line(line: bytes, where: str) -> Recorded:
    try:
        reading = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RecordingError(f"{where}: not one JSON object: {error}") from None
    patient, device, seq = reading.pop("patient", None), reading.get("device"), reading.get("seq")
    if not isinstance(patient, str) or not patient:
        raise RecordingError(f"{where}: `patient` is missing; a recorded reading says whose it is")
    if not isinstance(device, str) or not DEVICE.fullmatch(device):
        raise RecordingError(f"{where}: `device` is {device!r}; a serial is [A-Za-z0-9._-]{{1,64}}")
    if not isinstance(seq, int) or isinstance(seq, bool) or not isinstance(reading.get("epoch", 0), int):
        raise RecordingError(f"{where}: `seq` and `epoch` must be whole numbers")
    received_at = reading.pop("received_at", None)
    reading.pop("oldest", None)
    if "gatt" in reading and received_at is not None:
        reading["received_at"] = received_at  # there it belongs to what the gateway says
    try:
        measured_at_ms, offset_min = parse_instant(str(reading.get("measured_at", received_at)))
    except BadTimeError as error:
        raise RecordingError(f"{where}: `measured_at`: {error}") from None
    return Recorded(patient, device, measured_at_ms, offset_min, reading)


def moved(recorded: Sequence[Recorded], end_ms: int) -> list[Recorded]:
    """The recording with every time moved by the same whole number of milliseconds so that its last reading
    was measured at `end_ms`. The offset stays as it was written."""
    by_ms = end_ms - max(line.measured_at_ms for line in recorded)
    return [_moved_line(line, by_ms) for line in recorded]


def _moved_line(line: Recorded, by_ms: int) -> Recorded:
    reading = dict(line.reading)
    for name in ("measured_at", "received_at"):
        if name in reading:
            text = str(reading[name])
            instant_ms, offset_min = parse_instant(text)
            offset = text[-1] if text[-1] in "Zz" else text[-6:]
            reading[name] = format_instant(instant_ms + by_ms, offset_min)[:-6] + offset
    return line._replace(measured_at_ms=line.measured_at_ms + by_ms, reading=reading)


def to_line(line: Recorded) -> bytes:
    """The reading as a line of a file again, with its patient; a line end is included."""
    return msgspec.json.encode({"patient": line.patient, **line.reading}) + b"\n"


def enrolment(recorded: Iterable[Recorded], care_team: str = "recordings") -> dict[str, Any]:
    """The file that `scad enrol` needs before a recording is played: its patients with made-up identities,
    their devices, and a plan with the protocols that its kinds belong to (no schedule: a recording ends).

    Everything is in force from a day before the first reading."""
    devices: dict[str, dict[str, int]] = {}
    kinds: dict[str, set[str]] = {}
    zones: dict[str, str] = {}
    for line in recorded:
        first = devices.setdefault(line.patient, {})
        first[line.device] = min(first.get(line.device, line.measured_at_ms), line.measured_at_ms)
        kinds.setdefault(line.patient, set()).add(str(line.reading.get("kind", "")))
        zones.setdefault(line.patient, "UTC" if line.offset_min == 0 else "Europe/Paris")
    return {
        "care_teams": [{"care_team": care_team, "name": "Recorded patients", "time_zone": "Europe/Paris"}],
        "patients": [
            {
                "patient": patient,
                "care_team": care_team,
                "identity": {
                    "family_name": "ENREGISTREMENT",
                    "given_names": f"Numéro {number}",
                    "birth_date": "1950-01-01",
                    "sex": "unknown",
                },
                "devices": [
                    {"device": device, "from": format_instant(first_ms - _DAY_MS), "to": None}
                    for device, first_ms in of_patient.items()
                ],
                "care_plan": {
                    "version": 1,
                    "from": format_instant(min(of_patient.values()) - _DAY_MS),
                    "author": "scad fleet",
                    "time_zone": zones[patient],
                    "protocols": _protocols(kinds[patient]),
                },
            }
            for number, (patient, of_patient) in enumerate(devices.items(), 1)
        ],
    }


def _protocols(kinds: set[str]) -> list[str]:
    return sorted({PROTOCOL_OF_KIND[kind] for kind in kinds if kind in PROTOCOL_OF_KIND})
