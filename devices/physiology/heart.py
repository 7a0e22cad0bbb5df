"""Heart rate, and RR intervals with episodes of atrial fibrillation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devices.physiology.course import Course, total
from devices.physiology.draws import autoregressive
from devices.physiology.local_time import LocalTime
from devices.physiology.parameters import Heart
from devices.physiology.series import Bools, Floats, Instants, Label, Series

FEVER_BEATS_PER_KELVIN = 8.0
"""Known since Liebermeister: 8 to 10 beats a minute for each degree of fever."""
RR_RANGE_MS = (290.0, 2000.0)
"""No simulated beat outside (pauses apart)."""
LOW_FREQUENCY_HZ = 0.1
RESPIRATION_HZ = 0.25


@dataclass(frozen=True)
class HeartRate:
    """A patient's resting heart rate through the days; every device that counts a pulse reads it."""

    base: float
    by_day: Floats
    in_fibrillation: float
    course: Course
    clock: LocalTime
    chosen: Heart

    def at(self, at_ms: Instants) -> Floats:
        """Beats per minute at rest at each instant."""
        day, hour = self.clock.day_and_hour(at_ms)
        rate = self.base + self.by_day[np.clip(day, 0, len(self.by_day) - 1)]
        rate = rate + 3.0 * np.cos(2 * np.pi * (hour - 15.0) / 24)
        rate = np.where(self.course.in_fibrillation(at_ms), self.in_fibrillation, rate)
        for episode in self.course.decompensations:
            rate = rate + episode.heart_rate_rise * np.minimum(1.0, episode.severity.strength(at_ms))
        return np.asarray(rate + FEVER_BEATS_PER_KELVIN * total(self.course.infections, at_ms))


def heart_rate(rng: np.random.Generator, course: Course, clock: LocalTime, chosen: Heart) -> HeartRate:
    """Draw a patient's heart rate."""
    rate = chosen.permanent_rate if course.permanent_fibrillation else chosen.fibrillation_rate
    return HeartRate(
        base=float(np.clip(rng.normal(*chosen.resting), 52, 92)),
        by_day=autoregressive(rng, clock.days, chosen.day_sd, 3.0),
        in_fibrillation=float(np.clip(rng.normal(*rate), 60, 140)),
        course=course,
        clock=clock,
        chosen=chosen,
    )


def measure_rate(rng: np.random.Generator, device: str, heart: HeartRate) -> Series:
    """A wrist sensor: resting rate on waking every day, and on some afternoons the rate in activity."""
    clock, chosen = heart.clock, heart.chosen
    days = np.arange(clock.days)
    walks = days[rng.random(clock.days) < 0.3]
    rest_ms = clock.instant_ms(days, rng.normal(405, 15, clock.days))
    walk_ms = clock.instant_ms(walks, rng.normal(960, 60, len(walks)))
    true_ms = np.concatenate([rest_ms, walk_ms])
    active = np.concatenate([np.zeros(len(days), np.bool_), np.ones(len(walks), np.bool_)])
    rate = heart.at(true_ms) + rng.normal(0.0, chosen.reading_sd, len(true_ms))
    rate = rate + active * rng.normal(chosen.active_rise, 8.0, len(true_ms))
    order = np.argsort(true_ms, kind="stable")
    return Series(
        "heart-rate",
        device,
        true_ms[order],
        {"heart_rate": np.clip(rate, 32, 200)[order]},
        "/min",
        context={"activity": ["active" if one else "rest" for one in active[order].tolist()]},
    )


def record_strips(
    rng: np.random.Generator, patient: str, device: str, heart: HeartRate
) -> tuple[Series, list[Label]]:
    """A patch: RR intervals of two minutes, some times a day, as lists of milliseconds; and its pauses."""
    clock, chosen = heart.clock, heart.chosen
    hours = np.tile(np.array(chosen.strips_at), clock.days)
    days = np.repeat(np.arange(clock.days), len(chosen.strips_at))
    true_ms = clock.instant_ms(days, hours * 60 + rng.normal(0, 12, len(days)))
    mean_ms = 60_000.0 / np.clip(heart.at(true_ms), 40, 170)
    fibrillating = heart.course.in_fibrillation(true_ms)
    beats = int(chosen.strip_seconds * 1000 / mean_ms.min() * 1.3) + 8 if len(mean_ms) else 0
    intervals = _intervals(rng, mean_ms, fibrillating, beats, chosen)
    labels = _add_pauses(rng, patient, intervals, true_ms, clock.days, chosen)
    ends = np.cumsum(intervals, axis=1)
    strips = [
        np.round(row[: max(2, int(np.searchsorted(end, chosen.strip_seconds * 1000)))], 0).tolist()
        for row, end in zip(intervals, ends, strict=True)
    ]
    return Series("rr-intervals", device, true_ms, {"rr": strips}, "ms"), labels


def _intervals(
    rng: np.random.Generator, mean_ms: Floats, fibrillating: Bools, beats: int, chosen: Heart
) -> Floats:
    """RR intervals, a row per strip: breathing, slow waves and jitter in sinus rhythm, disorder otherwise."""
    shape = (len(mean_ms), beats)
    seconds = np.arange(beats) * mean_ms[:, None] / 1000.0
    phase = rng.uniform(0, 2 * np.pi, (2, len(mean_ms), 1))
    sinus = (
        mean_ms[:, None]
        + chosen.respiration_ms * np.sin(2 * np.pi * RESPIRATION_HZ * seconds + phase[0])
        + chosen.baroreflex_ms * np.sin(2 * np.pi * LOW_FREQUENCY_HZ * seconds + phase[1])
        + rng.normal(0.0, chosen.jitter_ms, shape)
    )
    early = rng.random(shape) < chosen.ectopic_share
    early[:, -1:] = False
    sinus = np.where(early, 0.65 * sinus, sinus)
    sinus[:, 1:] = np.where(early[:, :-1], 1.35 * sinus[:, 1:], sinus[:, 1:])
    sigma = np.sqrt(np.log(1 + chosen.fibrillation_cv**2))
    disorder = mean_ms[:, None] * np.exp(rng.normal(-(sigma**2) / 2, sigma, shape))
    return np.clip(np.where(fibrillating[:, None], disorder, sinus), *RR_RANGE_MS)


def _add_pauses(
    rng: np.random.Generator,
    patient: str,
    intervals: Floats,
    true_ms: Instants,
    days: int,
    chosen: Heart,
) -> list[Label]:
    """Put pauses into some strips, in place; a patient with one has several."""
    labels: list[Label] = []
    if not len(true_ms):
        return labels
    for _ in range(rng.poisson(chosen.pauses_per_year * days / 365.25)):
        strip, beat = int(rng.integers(len(true_ms))), int(rng.integers(5, 40))
        pause_ms = round(float(rng.uniform(*chosen.pause_ms)))
        begin_ms = int(true_ms[strip] + intervals[strip, :beat].sum())
        intervals[strip, beat] = pause_ms
        labels.append(Label(patient, "pause", begin_ms, begin_ms + pause_ms, None, {"pause_ms": pause_ms}))
    return labels
