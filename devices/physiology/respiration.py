"""Oxygen saturation, respiratory rate and temperature, with exacerbations and infections."""

from __future__ import annotations

import numpy as np

from devices.physiology.course import Course, total
from devices.physiology.draws import autoregressive
from devices.physiology.heart import HeartRate
from devices.physiology.local_time import LocalTime
from devices.physiology.parameters import Decompensation, Respiration
from devices.physiology.series import Series

MORNING_MINUTE = (460.0, 25.0)


def measure_oxygen(
    rng: np.random.Generator,
    device: str,
    level: float,
    heart: HeartRate,
    clock: LocalTime,
    chosen: Respiration,
    failure: Decompensation,
) -> Series:
    """Saturation once a morning, breathing air, in whole percent, with the pulse."""
    course = heart.course
    true_ms = clock.instant_ms(np.arange(clock.days), rng.normal(*MORNING_MINUTE, clock.days))
    spo2 = (
        level
        + autoregressive(rng, clock.days, chosen.spo2_sd * 0.7, 4.0)
        + rng.normal(0.0, chosen.spo2_sd * 0.7, clock.days)
        - failure.spo2_drop * course.severity(true_ms)
        + chosen.exacerbation_spo2 * total(course.exacerbations, true_ms)
    )
    pulse = np.clip(heart.at(true_ms) + rng.normal(0.0, 2.0, clock.days), 35, 190)
    return Series(
        "oxygen-saturation",
        device,
        true_ms,
        {"spo2": np.clip(spo2, 72.0, 100.0), "pulse": pulse},
        "%",
        context={"oxygen": "air"},
    )


def measure_breathing(
    rng: np.random.Generator,
    device: str,
    course: Course,
    clock: LocalTime,
    chosen: Respiration,
    failure: Decompensation,
) -> Series:
    """Breaths per minute counted by the same device a minute after the saturation."""
    true_ms = clock.instant_ms(np.arange(clock.days), rng.normal(*MORNING_MINUTE, clock.days) + 40.0)
    rate = (
        rng.normal(*chosen.rate)
        + rng.normal(0.0, chosen.rate_sd, clock.days)
        + failure.respiratory_rise * course.severity(true_ms)
        + chosen.exacerbation_rate * total(course.exacerbations, true_ms)
    )
    return Series("respiratory-rate", device, true_ms, {"respiratory_rate": np.clip(rate, 8.0, 45.0)}, "/min")


def measure_temperature(
    rng: np.random.Generator, device: str, course: Course, clock: LocalTime, chosen: Respiration
) -> Series:
    """Temperature every morning and, in a fever, in the evening as well."""
    days = np.arange(clock.days)
    evening_ms = clock.instant_ms(days, rng.normal(1140, 30, clock.days))
    ill = total(course.infections, evening_ms) > 0.3
    true_ms = np.sort(
        np.concatenate([clock.instant_ms(days, rng.normal(470, 20, clock.days)), evening_ms[ill]])
    )
    _, hour = clock.day_and_hour(true_ms)
    temperature = (
        rng.normal(*chosen.temperature)
        + chosen.temperature_rhythm * np.cos(2 * np.pi * (hour - 17.5) / 24)
        + rng.normal(0.0, chosen.temperature_sd, len(true_ms))
        + total(course.infections, true_ms)
    )
    return Series(
        "temperature",
        device,
        true_ms,
        {"temperature": np.clip(temperature, 34.5, 41.0)},
        "Cel",
        {"temperature": 1},
    )
