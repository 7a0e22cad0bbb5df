"""What goes wrong between a body and a platform: days missed, devices that fail, artefacts, late delivery.

Artefacts and gaps are decided on true time; clocks, sequence numbers and delivery come last. Everything that
is done to the data is labelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devices.physiology.course import Course
from devices.physiology.draws import event_times
from devices.physiology.local_time import LocalTime
from devices.physiology.parameters import Defects
from devices.physiology.series import DAY_MS, Bools, Floats, Instants, Label, Series

RESET_CLOCK_MS = 946_684_800_000
"""2000-01-01T00:00:00Z: what many devices show after their battery was changed."""
SKEW_MAX_S = 240.0
"""A clock that is wrong by more than ten minutes would be refused; set clocks stay well below."""
BURST_GAP_MS = 40
"""Readings of a device that comes back follow each other this closely."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Habits:
    """A patient's ways with the devices: on which days nothing is measured, and when nothing gets through."""

    missed: Bools
    away: list[Span]
    offline: list[Span]
    adherence: float


def draw_habits(
    rng: np.random.Generator, patient: str, start_ms: int, clock: LocalTime, chosen: Defects
) -> tuple[Habits, list[Label]]:
    """Habits of a patient and the labels of holidays and of days offline."""
    adherence = float(rng.beta(*chosen.adherence))
    days = clock.days
    enter = min(1.0, (1 - adherence) / max(adherence, 0.05) / chosen.missed_run_days)
    changes = rng.random(days)
    missed = np.zeros(days, dtype=np.bool_)
    now = bool(rng.random() > adherence)
    for day in range(days):  # a chain with two states, so that missed days come in runs
        missed[day] = now
        now = bool(changes[day] > 1 / chosen.missed_run_days) if now else bool(changes[day] < enter)
    away = _spans(rng, start_ms, days, chosen.holidays_per_year, chosen.holiday_days)
    offline = _spans(rng, start_ms, days, chosen.offline_per_year, chosen.offline_days)
    labels = [Label(patient, "holiday", *span) for span in away]
    labels += [Label(patient, "offline", *span) for span in offline]
    return Habits(missed, away, offline, adherence), labels


def _spans(
    rng: np.random.Generator, start_ms: int, days: int, per_year: float, length: tuple[float, float]
) -> list[Span]:
    spans = []
    for onset in event_times(rng, per_year, days, length[1] + 2.0):
        begin_ms = start_ms + int(onset * DAY_MS)
        spans.append((begin_ms, begin_ms + int(rng.uniform(*length) * DAY_MS)))
    return spans


def within(spans: list[Span], at_ms: Instants) -> Bools:
    """Which instants lie in any of the spans."""
    inside = np.zeros(len(at_ms), dtype=np.bool_)
    for begin_ms, end_ms in spans:
        inside |= (at_ms >= begin_ms) & (at_ms < end_ms)
    return inside


def as_measured(series: Series, habits: Habits, course: Course, clock: LocalTime) -> Series:
    """The measurements that the patient does take: at home, and unless the day was missed."""
    kept = course.at_home(series.true_ms)
    if not series.automatic:
        day, _ = clock.day_and_hour(series.true_ms)
        kept &= ~habits.missed[np.clip(day, 0, clock.days - 1)]
        kept &= ~within(habits.away, series.true_ms)
    return series.kept(kept)


# --- artefacts: in place, with labels ---


def spoil(rng: np.random.Generator, patient: str, series: Series, chosen: Defects) -> list[Label]:
    """The artefacts of a kind of measurement."""
    if series.kind == "body-weight":
        return _spoil_weight(rng, patient, series, chosen)
    if series.kind == "blood-pressure":
        return _spoil_pressure(rng, patient, series, chosen)
    if series.kind == "oxygen-saturation":
        cold = _chosen(rng, len(series), chosen.cold_finger_share)
        series.values["spo2"][cold] = np.maximum(
            72.0, series.values["spo2"][cold] - rng.uniform(5, 14, len(cold))
        )
        for index in cold.tolist():
            series.add_flag(index, "movement" if rng.random() < 0.7 else "contact-lost")
        return [_at(patient, "artefact-cold-finger", series, index) for index in cold.tolist()]
    return []


def _spoil_weight(rng: np.random.Generator, patient: str, series: Series, chosen: Defects) -> list[Label]:
    weight = series.values["weight"]
    clothed = _chosen(rng, len(series), chosen.clothed_share)
    weight[clothed] += rng.uniform(*chosen.clothed_kg, len(clothed))
    other = _chosen(rng, len(series), chosen.other_person_share)
    weight[other] += rng.choice([-1.0, 1.0], len(other)) * rng.uniform(*chosen.other_person_kg, len(other))
    np.clip(weight, 24.0, 330.0, out=weight)
    return [_at(patient, "artefact-clothed", series, index) for index in clothed.tolist()] + [
        _at(patient, "artefact-other-person", series, index) for index in other.tolist()
    ]


def _spoil_pressure(rng: np.random.Generator, patient: str, series: Series, chosen: Defects) -> list[Label]:
    systolic, diastolic = series.values["systolic"], series.values["diastolic"]
    moved = _chosen(rng, len(series), chosen.cuff_movement_share)
    systolic[moved] = np.clip(systolic[moved] + rng.normal(12, 18, len(moved)), 70, 250)
    for index in moved.tolist():
        series.add_flag(index, "movement")
    swapped = _chosen(rng, len(series), chosen.cuff_swapped_share)
    low, high = diastolic[swapped].copy(), np.minimum(systolic[swapped], 170.0)
    systolic[swapped], diastolic[swapped] = np.maximum(low, 55.0), high
    return [_at(patient, "artefact-movement", series, index) for index in moved.tolist()] + [
        _at(patient, "artefact-diastolic-above-systolic", series, index) for index in swapped.tolist()
    ]


def _chosen(rng: np.random.Generator, n: int, share: float) -> Instants:
    return np.flatnonzero(rng.random(n) < share)


def _at(patient: str, what: str, series: Series, index: int) -> Label:
    instant_ms = int(series.true_ms[index])
    return Label(patient, what, instant_ms, instant_ms + 1, None, {"device": series.device})


# --- the device's own life: battery, clock, numbers, delivery ---


@dataclass
class Sent:
    """A series as the platform gets it. Columns of n; `seq` counts from 1 over the whole device."""

    series: Series
    measured_ms: Instants
    delivered_ms: Instants
    seq: Instants


@dataclass(frozen=True)
class Battery:
    """When batteries were new, warned and died. One list entry a battery: (new, warns, empty, changed)."""

    lives: tuple[tuple[int, int, int, int], ...]

    def percent(self, at_ms: int) -> int:
        """Charge as the device's status tells it."""
        for new_ms, _, empty_ms, changed_ms in self.lives:
            if at_ms < changed_ms:
                return int(np.clip(round(100 * (empty_ms - at_ms) / max(1, empty_ms - new_ms)), 0, 100))
        return 100


def draw_battery(rng: np.random.Generator, start_ms: int, days: int, chosen: Defects) -> Battery:
    """Batteries one after the other; the first is somewhere in its life."""
    lives = []
    length = rng.uniform(*chosen.battery_days)
    new_ms = start_ms - int(rng.uniform(0, length) * DAY_MS)
    while new_ms < start_ms + days * DAY_MS:
        empty_ms = new_ms + int(length * DAY_MS)
        changed_ms = empty_ms + int(rng.uniform(*chosen.battery_dead_days) * DAY_MS)
        lives.append((new_ms, empty_ms - int(chosen.battery_warns_days * DAY_MS), empty_ms, changed_ms))
        new_ms, length = changed_ms, rng.uniform(*chosen.battery_days)
    return Battery(tuple(lives))


def battery_labels(patient: str, device: str, battery: Battery, begin_ms: int, end_ms: int) -> list[Label]:
    """When a device warned and when it was dead, as far as that lies between two instants."""
    labels = []
    for _, warns_ms, empty_ms, changed_ms in battery.lives:
        labels.append(Label(patient, "low-battery", warns_ms, empty_ms, None, {"device": device}))
        labels.append(Label(patient, "battery-empty", empty_ms, changed_ms, None, {"device": device}))
    return [label for label in labels if label.onset_ms < end_ms and label.end_ms > begin_ms]


def drain(series: Series, battery: Battery) -> Series:
    """Nothing is measured with an empty battery; before that the device warns."""
    series = series.kept(
        ~within([(empty, changed) for _, _, empty, changed in battery.lives], series.true_ms)
    )
    warned = within([(warns, empty) for _, warns, empty, _ in battery.lives], series.true_ms)
    for index in np.flatnonzero(warned).tolist():
        series.add_flag(index, "low-battery")
    return series


def draw_clock(
    rng: np.random.Generator, patient: str, device: str, start_ms: int, days: int, chosen: Defects
) -> tuple[float, list[Span], bool, list[Label]]:
    """(skew in ms, spans in which the clock was reset, whether the device says so, labels)."""
    skew_s = float(np.clip(rng.normal(0.0, chosen.clock_skew_s), -SKEW_MAX_S, SKEW_MAX_S))
    resets = _spans(rng, start_ms, days, chosen.clock_resets_per_year, chosen.clock_wrong_days)
    says_so = bool(rng.random() < chosen.clock_flag_share)
    labels = [
        Label(patient, "clock-reset", *span, None, {"device": device, "flagged": says_so}) for span in resets
    ]
    return skew_s * 1000, resets, says_so, labels


def device_time(series: Series, skew_ms: float, resets: list[Span], says_so: bool) -> Instants:
    """What the device's clock showed at each measurement; sets the flag `clock-unset` where it knows."""
    shown = series.true_ms + int(skew_ms)
    for begin_ms, end_ms in resets:
        wrong = (series.true_ms >= begin_ms) & (series.true_ms < end_ms)
        shown[wrong] = RESET_CLOCK_MS + (series.true_ms[wrong] - begin_ms)
        if says_so:
            for index in np.flatnonzero(wrong).tolist():
                series.add_flag(index, "clock-unset")
    return shown


def deliver(rng: np.random.Generator, true_ms: Instants, offline: list[Span], chosen: Defects) -> Instants:
    """When each measurement of a device (in order) is handed to the network: at once, or after being
    offline."""
    latency: Floats = rng.uniform(*chosen.latency_s, len(true_ms)) * 1000
    ready = true_ms + latency.astype(np.int64)
    for begin_ms, end_ms in offline:
        kept_back = (ready >= begin_ms) & (ready < end_ms)
        ready[kept_back] = end_ms + BURST_GAP_MS * np.arange(int(kept_back.sum()))
    return np.asarray(np.maximum.accumulate(ready), dtype=np.int64) if len(ready) else ready
