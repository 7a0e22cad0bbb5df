"""Made-up observations that look like a sensor's: a wandering value, a jittering clock."""

from __future__ import annotations

import random

from devices.readings import Reading
from streams.history import Observation, observe

STEP_MS = 300_000


def glucose_day(start_ms: int, days: int = 1, seed: int = 1) -> list[Observation]:
    """A value every five minutes, some seconds off, in whole mg/dL."""
    return [observe(reading) for reading in glucose_readings(start_ms, days, seed)]


def glucose_readings(start_ms: int, days: int, seed: int = 1) -> list[Reading]:
    rng = random.Random(seed)
    value = 120.0
    found = []
    for index in range(days * 288):
        value = min(380.0, max(45.0, value + rng.gauss(0.0, 5.0) + (130.0 - value) * 0.02))
        at_ms = start_ms + index * STEP_MS + rng.randint(0, 4) * 1000
        found.append(
            Reading(
                device="cg-1",
                seq=index + 1,
                kind="glucose",
                measured_at_ms=at_ms,
                received_at_ms=at_ms,
                offset_min=60,
                patient="p-1",
                values={"glucose": float(round(value))},
                context={"sample": "interstitial"},
            )
        )
    return found


def as_reading(o: Observation) -> Reading:
    """A glucose reading that is reduced to this observation."""
    return Reading(
        device=o.device,
        seq=o.seq,
        kind=o.kind,
        measured_at_ms=o.at_ms,
        received_at_ms=o.at_ms,
        offset_min=o.offset_min,
        patient="p-1",
        values={"glucose": o.x[0]},
        context={"sample": "interstitial"},
    )
