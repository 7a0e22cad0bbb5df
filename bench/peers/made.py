"""The readings that every contender gets: made-up patients, as they stand in `scad.readings`, in order of time.

Each patient weighs in the morning and counts the heart four times a day; one in ten wears a glucose sensor that
speaks every five minutes. Some weights jump, some hearts race, some nights are low: a few readings in a
thousand begin an alert.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge

import numpy as np

from devices.readings import Reading, to_wire
from streams.plans import CarePlan, PlanVersion

DAY_MS, MINUTE_MS = 86_400_000, 60_000
SENSOR_EVERY_MS = 5 * MINUTE_MS
HEART_RATES_A_DAY = 4
SENSOR_SHARE = 10  # one patient in so many
LOW_NIGHTS = 0.05  # of an hour below 54 mg/dL: 0.2 % of the time; the consensus asks for less than 1 %
DELAY_MS = 2_000  # from measurement to reception
PLANNED_DAYS_BEFORE = 2  # the care plan holds from before the first reading
PROTOCOL = "three-rules"

Row = tuple[int, str, bytes]
"""(measured_at in ms, patient, the record's value)."""


def name_of(number: int) -> str:
    return f"p-{number:07d}"


def wears_sensor(number: int) -> bool:
    return number % SENSOR_SHARE == 0


def count(patients: int, days: int) -> int:
    """How many readings `readings` makes."""
    sensors = sum(wears_sensor(number) for number in range(patients))
    return days * (patients * (1 + HEART_RATES_A_DAY) + sensors * (DAY_MS // SENSOR_EVERY_MS))


def readings(seed: int, patients: int, days: int, begin_ms: int) -> Iterator[Row]:
    """All readings by time."""
    return merge(*(_patient(np.random.default_rng((seed, n)), n, days, begin_ms) for n in range(patients)))


def plan(number: int, begin_ms: int) -> CarePlan:
    """Every patient is on the three rules; days are those of UTC, as every contender counts them."""
    from devices.times import format_instant

    version = PlanVersion(
        version=1,
        from_=format_instant(begin_ms - PLANNED_DAYS_BEFORE * DAY_MS),
        protocols=(PROTOCOL,),
        time_zone="UTC",
    )
    return CarePlan(patient=name_of(number), versions=(version,))


def _patient(rng: np.random.Generator, number: int, days: int, begin_ms: int) -> Iterator[Row]:
    streams = [_weights(rng, number, days, begin_ms), _heart(rng, number, days, begin_ms)]
    if wears_sensor(number):
        streams.append(_glucose(rng, number, days, begin_ms))
    return merge(*streams)


def _weights(rng: np.random.Generator, number: int, days: int, begin_ms: int) -> Iterator[Row]:
    at = begin_ms + np.arange(days) * DAY_MS + 7 * 60 * MINUTE_MS + rng.integers(0, 60, days) * MINUTE_MS
    gains = (rng.random(days) < 0.03) * 2.6
    weights = rng.uniform(55, 95) + np.cumsum(rng.normal(0, 0.15, days) + gains)
    return _rows(number, "sc", "body-weight", "weight", at, weights, 2)


def _heart(rng: np.random.Generator, number: int, days: int, begin_ms: int) -> Iterator[Row]:
    n = days * HEART_RATES_A_DAY
    at = begin_ms + np.arange(n) * (DAY_MS // HEART_RATES_A_DAY) + rng.integers(0, 120, n) * MINUTE_MS
    rates = rng.uniform(58, 80) + rng.normal(0, 3, n) + (rng.random(n) < 0.01) * 25
    return _rows(number, "hr", "heart-rate", "heart_rate", at, rates, 0)


def _glucose(rng: np.random.Generator, number: int, days: int, begin_ms: int) -> Iterator[Row]:
    n = days * (DAY_MS // SENSOR_EVERY_MS)
    at = begin_ms + np.arange(n) * SENSOR_EVERY_MS + int(rng.integers(0, SENSOR_EVERY_MS))
    low_nights = np.repeat(rng.random(days) < LOW_NIGHTS, n // days)
    hour = (at // (60 * MINUTE_MS)) % 24
    values = 120 + 35 * np.sin(np.arange(n) / 23) + rng.normal(0, 6, n)
    values = np.where(low_nights & (hour == 3), 48 + rng.normal(0, 2, n), values)
    return _rows(number, "cg", "glucose", "glucose", at, values, 0, {"sample": "interstitial"})


def _rows(
    number: int,
    prefix: str,
    kind: str,
    value: str,
    at: np.ndarray,
    values: np.ndarray,
    decimals: int,
    context: dict[str, str] | None = None,
) -> Iterator[Row]:
    patient, device = name_of(number), f"{prefix}-{number:07d}"
    shown = np.round(values, decimals).tolist()
    for seq, (at_ms, number_) in enumerate(zip(at.tolist(), shown, strict=True), 1):
        reading = Reading(
            device=device,
            seq=seq,
            kind=kind,
            measured_at_ms=at_ms,
            received_at_ms=at_ms + DELAY_MS,
            patient=patient,
            values={value: number_},
            context=context or {},
        )
        yield at_ms, patient, to_wire(reading)
