"""Home blood pressure: days, sessions, the first day, the white coat, and weeks that run out of hand."""

from __future__ import annotations

import numpy as np

from devices.physiology.course import Course, Episode, plateau_episodes, total
from devices.physiology.draws import autoregressive
from devices.physiology.heart import HeartRate
from devices.physiology.local_time import LocalTime
from devices.physiology.parameters import BloodPressure
from devices.physiology.series import Floats, Instants, Label, Series

CYCLE_DAYS = 28
WEEK_DAYS = 7
"""A week of measuring in every four: two readings morning and evening, as the protocol asks."""
MORNING_MINUTE, EVENING_MINUTE = (450.0, 25.0), (1170.0, 40.0)
REACTION = {"hypertensive-crisis": 0.5, "uncontrolled-hypertension": 0.55, "hypotension": 0.55}
"""Part of the systolic change that the diastolic follows."""


def pressure_episodes(
    rng: np.random.Generator, start_ms: int, days: int, chosen: BloodPressure
) -> dict[str, list[Episode]]:
    """Crises, badly controlled weeks and low pressure; sizes are mmHg of systolic pressure."""
    return {
        "hypertensive-crisis": plateau_episodes(
            rng, start_ms, days, chosen.crisis_per_year, chosen.crisis_days, chosen.crisis
        ),
        "uncontrolled-hypertension": plateau_episodes(
            rng, start_ms, days, chosen.uncontrolled_per_year, chosen.uncontrolled_days, chosen.uncontrolled
        ),
        "hypotension": plateau_episodes(
            rng, start_ms, days, chosen.low_per_year, chosen.low_days, chosen.low
        ),
    }


def labels_of(patient: str, episodes: dict[str, list[Episode]]) -> list[Label]:
    return [
        Label(patient, what, one.onset_ms, one.end_ms, None, {"systolic": round(one.size, 1)})
        for what, of_kind in episodes.items()
        for one in of_kind
    ]


def measure(
    rng: np.random.Generator,
    device: str,
    full_protocol: bool,
    levels: tuple[float, float],
    course: Course,
    episodes: dict[str, list[Episode]],
    heart: HeartRate,
    clock: LocalTime,
    chosen: BloodPressure,
) -> Series:
    """Readings in pairs (full protocol: weeks of two sessions a day, else a pair every morning)."""
    day, minute = _sessions(rng, full_protocol, clock)
    session_ms = clock.instant_ms(day, minute)
    deviation = (
        autoregressive(rng, clock.days, chosen.day_sd, 1.0)[day]
        + rng.normal(0.0, chosen.session_sd, len(day))
        + np.where(minute < 720, chosen.morning_rise / 2, -chosen.morning_rise / 2)
    )
    coat = (rng.random(len(day)) < chosen.white_coat_share) * rng.exponential(chosen.white_coat, len(day))
    first_day = (day % CYCLE_DAYS == 0) if full_protocol else (day == 0)
    first = [_reading(rng, session_ms, deviation + coat, first_day, levels, course, episodes, chosen)]
    repeat_ms = session_ms + int(chosen.pair_minutes * 60_000)
    first.append(_reading(rng, repeat_ms, deviation + coat / 2, first_day, levels, course, episodes, chosen))
    true_ms = np.stack([session_ms, repeat_ms], axis=1).ravel()
    systolic, diastolic = (np.stack([first[0][row], first[1][row]], axis=1).ravel() for row in range(2))
    pulse = np.clip(heart.at(true_ms) + rng.normal(0.0, 2.5, len(true_ms)), 35, 190)
    series = Series(
        "blood-pressure",
        device,
        true_ms,
        {"systolic": systolic, "diastolic": diastolic, "pulse": pulse},
        "mm[Hg]",
        context={"posture": "sitting", "arm": "left"},
    )
    seen = course.in_fibrillation(true_ms) & (rng.random(len(true_ms)) < 0.8)
    for index in np.flatnonzero(seen).tolist():
        series.add_flag(index, "irregular-pulse")
    return series


def _sessions(rng: np.random.Generator, full_protocol: bool, clock: LocalTime) -> tuple[Instants, Floats]:
    """Local day and minute of each session, in order."""
    days = np.arange(clock.days)
    if not full_protocol:
        return days, rng.normal(*MORNING_MINUTE, clock.days)
    in_week = days % CYCLE_DAYS < WEEK_DAYS
    mornings = days[in_week | np.isin(clock.weekday(days), (0, 3))]
    evenings = days[in_week]
    day = np.concatenate([mornings, evenings])
    minute = np.concatenate(
        [rng.normal(*MORNING_MINUTE, len(mornings)), rng.normal(*EVENING_MINUTE, len(evenings))]
    )
    order = np.lexsort((minute, day))
    return day[order], minute[order]


def _reading(
    rng: np.random.Generator,
    at_ms: Instants,
    deviation: Floats,
    first_day: Floats,
    levels: tuple[float, float],
    course: Course,
    episodes: dict[str, list[Episode]],
    chosen: BloodPressure,
) -> tuple[Floats, Floats]:
    deviation = deviation + rng.normal(0.0, chosen.reading_sd, len(at_ms))
    systolic = levels[0] + deviation + chosen.first_day[0] * first_day
    diastolic = levels[1] + chosen.diastolic_share * deviation + chosen.first_day[1] * first_day
    diastolic = diastolic + rng.normal(0.0, 2.0, len(at_ms))
    for episode in course.decompensations:
        systolic = systolic + episode.systolic_change * np.minimum(1.0, episode.severity.strength(at_ms))
    for what, of_kind in episodes.items():
        change = total(of_kind, at_ms)
        systolic, diastolic = systolic + change, diastolic + REACTION[what] * change
    systolic = np.clip(systolic, 72.0, 245.0)
    return systolic, np.clip(diastolic, 38.0, np.minimum(systolic - 16.0, 140.0))
