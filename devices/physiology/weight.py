"""Body weight on a household scale: dry weight that drifts, fluid, the rhythm of the day, noise."""

from __future__ import annotations

import numpy as np

from devices.physiology.course import Course, Episode, total
from devices.physiology.draws import autoregressive, event_times
from devices.physiology.local_time import LocalTime
from devices.physiology.parameters import Weight
from devices.physiology.series import DAY_MS, Floats, Series

RISING_MINUTE = (435.0, 22.0)
"""Patients weigh themselves on rising, about a quarter past seven (mean and spread in minutes)."""
EVENING_SHARE = 0.02
"""Some weighings are taken in the evening instead."""


def dry_weight(rng: np.random.Generator, days: int, chosen: Weight) -> Floats:
    """Change of dry weight in kg on each day: a wandering around a slow trend."""
    slope = float(
        np.clip(
            rng.normal(0.0, chosen.trend_kg_per_30d / 30),
            -chosen.trend_cap_kg_per_week / 7,
            chosen.trend_cap_kg_per_week / 7,
        )
    )
    wandering = autoregressive(rng, days, chosen.drift_sd_kg, chosen.drift_memory_days)
    return wandering - wandering[:1] + slope * np.arange(days)


def salt_excursions(rng: np.random.Generator, start_ms: int, days: int, chosen: Weight) -> list[Episode]:
    """Feasts: fluid that comes in half a day and goes by itself."""
    episodes = []
    for onset in event_times(rng, chosen.salt_per_year, days, 10.0):
        onset_ms = start_ms + int(onset * DAY_MS)
        end_ms = onset_ms + int((0.5 + 2 * chosen.salt_decay_days) * DAY_MS)
        episodes.append(Episode(onset_ms, onset_ms + DAY_MS // 2, end_ms, rng.uniform(*chosen.salt_gain_kg)))
    return episodes


def weigh(
    rng: np.random.Generator,
    device: str,
    base_kg: float,
    course: Course,
    feasts: list[Episode],
    clock: LocalTime,
    chosen: Weight,
) -> Series:
    """One weighing a day, in kg."""
    days = np.arange(clock.days)
    minute = rng.normal(*RISING_MINUTE, clock.days)
    minute = np.where(rng.random(clock.days) < EVENING_SHARE, rng.uniform(1110, 1290, clock.days), minute)
    true_ms = clock.instant_ms(days, minute)
    _, hour = clock.day_and_hour(true_ms)
    monday = np.isin(clock.weekday(days), (6, 0))
    weight = (
        base_kg
        + dry_weight(rng, clock.days, chosen)
        + total([episode.fluid for episode in course.decompensations], true_ms)
        + total(feasts, true_ms)
        + chosen.rhythm_kg * 0.5 * (1 - np.cos(2 * np.pi * (hour - 7.25) / 24))
        + chosen.weekly_kg * monday
        + autoregressive(rng, clock.days, chosen.day_sd_kg, chosen.day_memory_days)
        + rng.normal(0.0, chosen.scale_sd_kg, clock.days)
    )
    shown = np.round(weight / chosen.scale_step_kg) * chosen.scale_step_kg
    return Series("body-weight", device, true_ms, {"weight": shown}, "kg", {"weight": 1})
