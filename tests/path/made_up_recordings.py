"""Made-up recordings in which things happen at known times, as lines of a file (a reading with its patient)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from whole_platform import DAY_MS, reading

MINUTE_MS = 60_000
SAMPLE_MINUTES = 5
CGM_DAYS = 5

GLUCOSE_STRETCHES = (
    (180, 45, 48.0),  # very low, at night
    (1440 + 780, 170, 275.0),  # high for nearly three hours
    (2 * 1440 + 840, 90, 325.0),  # very high
    (4 * 1440 + 600, 30, 62.0),  # low
    (5 * 1440 - 60, 35, 110.0),  # and, to end with, falling …
    (5 * 1440 - 25, 25, 50.0),  # … into one that still stands
)
"""(minute at which it begins, minutes, mg/dL); between them all is well."""
GLUCOSE_GAP = (2 * 1440 + 1200, 4 * 1440 - 60)
"""Minutes between which the sensor was off: 27 hours."""


def glucose_at(minute: int) -> float | None:
    """mg/dL at a minute of the recording; None in the gap. Steep where a stretch begins, as a real low is."""
    if GLUCOSE_GAP[0] <= minute < GLUCOSE_GAP[1]:
        return None
    for begin, minutes, value in GLUCOSE_STRETCHES:
        if begin <= minute < begin + minutes:
            return value
        if begin - 15 <= minute < begin and value < 70:
            return value + 4.0 * (begin - minute)
    return 125.0 + 25.0 * math.sin(minute / 240)


def glucose_recording(patient: str, device: str, begin_ms: int, seed: int = 1) -> list[dict[str, Any]]:
    """Five days of a sensor."""
    rng = random.Random(seed)
    lines: list[dict[str, Any]] = []
    for minute in range(0, CGM_DAYS * 1440, SAMPLE_MINUTES):
        value = glucose_at(minute)
        if value is None:
            continue
        sent = reading(device, len(lines) + 1, "glucose", begin_ms + minute * MINUTE_MS)
        sent["values"] = {"glucose": round(value + rng.uniform(-1, 1), 1)}
        lines.append({"patient": patient, **sent, "unit": "mg/dL", "context": {"sample": "interstitial"}})
    return lines


def renamed(lines: list[dict[str, Any]], patient: str, device: str) -> list[dict[str, Any]]:
    """The same recording of somebody else."""
    return [{**line, "patient": patient, "device": device} for line in lines]


def weight(index: int, rng: random.Random, share: float) -> dict[str, Any]:
    """Now and then a patient holds 2.8 kg of water for some hours: few, so that their signals stay few."""
    kilograms = 70.0 + index + rng.uniform(-0.25, 0.25)
    ill = index % 12 == 0 and 0 < share - 0.45 - index / 200 < 0.012
    return {"kind": "body-weight", "values": {"weight": round(kilograms + (2.8 if ill else 0.0), 2)}}


def pressure(index: int, rng: random.Random, share: float) -> dict[str, Any]:
    crisis = index % 3 == 1 and 0.3 < share < 0.31
    systolic, diastolic = (192, 112) if crisis else (118 + rng.randrange(9), 70 + rng.randrange(7))
    return {"kind": "blood-pressure", "values": {"systolic": systolic, "diastolic": diastolic, "pulse": 68}}


def sugar(index: int, rng: random.Random, share: float) -> dict[str, Any]:
    low = index % 2 == 0 and 0.7 < share < 0.715
    value = 49.0 if low else 120.0 + rng.uniform(-20, 20)
    of = {"kind": "glucose", "unit": "mg/dL", "context": {"sample": "interstitial"}}
    return {**of, "values": {"glucose": round(value, 1)}}


MAKERS: tuple[tuple[str, str, int, Callable[[int, random.Random, float], dict[str, Any]]], ...] = (
    ("sc", "heart-failure", 20 * DAY_MS, weight),
    ("bp", "hypertension", 20 * DAY_MS, pressure),
    ("cg", "diabetes", 2 * DAY_MS, sugar),
)
"""Family, protocol, span, and what a device of the family measures after a share of the span."""


def ward(patients: int, each: int, end_ms: int, seed: int) -> list[dict[str, Any]]:
    """`each` readings of every patient p-0, p-1, … (device d-0, …), in the order in which they were measured."""
    rng = random.Random(seed)
    lines: list[tuple[int, dict[str, Any]]] = []
    for index in range(patients):
        _, _, span_ms, make = MAKERS[index % len(MAKERS)]
        for seq in range(1, each + 1):
            at_ms = end_ms - span_ms + span_ms * seq // each
            sent = reading(f"d-{index}", seq, "", at_ms) | make(index, rng, seq / each)
            lines.append((at_ms, {"patient": f"p-{index}", **sent}))
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]
