"""Glucose: a curve with meals, insulin, dawn and slow days; a sensor that lags it, or a meter that samples
it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from devices.physiology.draws import autoregressive
from devices.physiology.local_time import LocalTime
from devices.physiology.parameters import Glucose
from devices.physiology.series import MINUTE_MS, Bools, Floats, Instants, Label, Series

STEP_MIN = 5
RESPONSE_STEPS = 96
"""A meal and its insulin are over after 8 hours."""
COUNTER_REGULATION_MG_DL = 62.0
COUNTER_SHARE = 0.42
"""Below this the body works against the fall: only this part of the further fall happens."""
FLOOR_MG_DL, CEILING_MG_DL = 34.0, 480.0
EVENT_STEPS = 3
"""An event lasts 15 minutes at least (Advanced Technologies and Treatments for Diabetes, 2017)."""
LIMITS = {"hypoglycaemia": 70.0, "severe-hypoglycaemia": 54.0, "severe-hyperglycaemia": 250.0}


@dataclass(frozen=True)
class Curve:
    """True blood glucose and what the interstitial fluid shows of it, mg/dL, every 5 minutes."""

    at_ms: Instants
    blood: Floats
    interstitial: Floats


def _response(minutes: Floats, peak_min: float) -> Floats:
    """Shape of a meal's or a dose's effect: 1 at its peak."""
    share = minutes / peak_min
    return np.asarray(share * np.exp(1.0 - share))


def draw_curve(rng: np.random.Generator, insulin: bool, clock: LocalTime, chosen: Glucose) -> Curve:
    """The patient's curve over all days."""
    begin_ms = int(clock.instant_ms([0], [0.0])[0])
    end_ms = int(clock.instant_ms([clock.days], [0.0])[0])
    at_ms = np.arange(begin_ms, end_ms, STEP_MIN * MINUTE_MS, dtype=np.int64)
    day, hour = clock.day_and_hour(at_ms)
    base = rng.normal(*(chosen.fasting_insulin if insulin else chosen.fasting))
    by_day = autoregressive(rng, clock.days + 2, chosen.day_sd, 2.0)
    dawn = chosen.dawn * np.exp(-(((hour - 6.5) / 1.6) ** 2))
    level = base + by_day[np.clip(day, 0, clock.days + 1)] + dawn
    level = level + autoregressive(rng, len(at_ms), chosen.hour_sd, chosen.hour_memory_min / STEP_MIN)
    level = level + _meals(rng, insulin, at_ms, clock, chosen)
    low = level < COUNTER_REGULATION_MG_DL
    level = np.where(
        low, COUNTER_REGULATION_MG_DL - COUNTER_SHARE * (COUNTER_REGULATION_MG_DL - level), level
    )
    blood = np.clip(level, FLOOR_MG_DL, CEILING_MG_DL)
    keep = float(np.exp(-STEP_MIN / chosen.lag_min))
    lagged = lfilter([1 - keep], [1, -keep], blood, zi=[keep * blood[0]])[0] if len(blood) else blood
    return Curve(at_ms, blood, np.asarray(lagged))


def _meals(
    rng: np.random.Generator, insulin: bool, at_ms: Instants, clock: LocalTime, chosen: Glucose
) -> Floats:
    """Rise by meals, less the fall by insulin doses that fit them more or less."""
    count = clock.days * len(chosen.meals_at)
    days = np.repeat(np.arange(clock.days), len(chosen.meals_at))
    minutes = np.tile(np.array(chosen.meals_at) * 60, clock.days) + rng.normal(
        0, chosen.meal_spread_min, count
    )
    eaten = clock.instant_ms(days, minutes)
    rise = chosen.meal_rise_insulin if insulin else chosen.meal_rise
    size: Floats = rng.lognormal(np.log(rise), chosen.meal_sigma, count)
    steps: Floats = np.arange(RESPONSE_STEPS, dtype=np.float64) * STEP_MIN
    effect: Floats = size[:, None] * _response(steps, chosen.meal_peak_min)
    if insulin:
        dose: Floats = size * np.clip(rng.normal(*chosen.insulin_ratio, count), 0.0, 1.8)
        effect -= dose[:, None] * _response(steps, chosen.insulin_peak_min)
    first = np.searchsorted(at_ms, eaten)
    place = first[:, None] + np.arange(RESPONSE_STEPS)
    inside = place < len(at_ms)
    return np.bincount(place[inside], weights=effect[inside], minlength=len(at_ms)).astype(np.float64)


def wear_sensor(rng: np.random.Generator, device: str, curve: Curve, chosen: Glucose) -> Series:
    """A sensor's readings every 5 minutes, in mg/dL; none while a new sensor warms up or the radio is
    lost."""
    n = len(curve.at_ms)
    noise = autoregressive(rng, n, chosen.sensor_sd, chosen.sensor_memory_min / STEP_MIN)
    shown = np.clip(curve.interstitial * (1 + noise), *chosen.sensor_range)
    jitter_ms = int(rng.integers(0, STEP_MIN * MINUTE_MS))
    series = Series(
        "glucose",
        device,
        curve.at_ms + jitter_ms,
        {"glucose": shown},
        "mg/dL",
        context={"sample": "interstitial"},
        automatic=True,
    )
    return series.kept(_worn(rng, curve.at_ms, chosen))


def _worn(rng: np.random.Generator, at_ms: Instants, chosen: Glucose) -> Bools:
    if not len(at_ms):
        return np.zeros(0, dtype=np.bool_)
    minutes = (at_ms - at_ms[0]) / MINUTE_MS
    since_change = (minutes + rng.uniform(0, chosen.sensor_days * 1440)) % (chosen.sensor_days * 1440)
    worn = np.asarray(since_change >= chosen.warm_up_min)
    days = float(minutes[-1]) / 1440
    for begin in rng.uniform(0, max(days, 1e-9) * 1440, rng.poisson(chosen.loss_per_day * days)):
        worn &= (minutes < begin) | (minutes >= begin + rng.uniform(*chosen.loss_min))
    return worn


def prick_finger(
    rng: np.random.Generator,
    device: str,
    curve: Curve,
    grams_per_litre: bool,
    clock: LocalTime,
    chosen: Glucose,
) -> Series:
    """A meter: on waking, before lunch, before dinner and at bedtime; in mg/dL, or g/L as French meters
    do."""
    days = np.repeat(np.arange(clock.days), 4)
    hours = np.tile(np.array([7.2, 12.2, 19.4, 22.3]), clock.days)
    true_ms = clock.instant_ms(days, hours * 60 + rng.normal(0, 18, len(days)))
    place = np.clip(np.searchsorted(curve.at_ms, true_ms), 0, max(0, len(curve.at_ms) - 1))
    shown = curve.blood[place] * (1 + rng.normal(0.0, chosen.meter_sd, len(days)))
    meals = ["fasting", "before-meal", "before-meal", "bedtime"] * clock.days
    values, unit, decimals = (shown / 100, "g/L", 2) if grams_per_litre else (shown, "mg/dL", 0)
    return Series(
        "glucose",
        device,
        true_ms,
        {"glucose": values},
        unit,
        {"glucose": decimals},
        {"sample": "capillary", "meal": meals},
    )


def labels_of(patient: str, curve: Curve) -> list[Label]:
    """Spans of the true interstitial curve beyond the usual limits, with their extreme."""
    labels: list[Label] = []
    for what, limit in LIMITS.items():
        low = what.startswith(("hypo", "severe-hypo"))
        beyond = curve.interstitial < limit if low else curve.interstitial > limit
        for begin, end in spans(beyond, EVENT_STEPS):
            part = curve.interstitial[begin:end]
            extreme = float(part.min() if low else part.max())
            end_ms = int(curve.at_ms[end - 1]) + STEP_MIN * MINUTE_MS
            detail = {"glucose": round(extreme, 1)}
            labels.append(Label(patient, what, int(curve.at_ms[begin]), end_ms, None, detail))
    return labels


def spans(mask: Bools, shortest: int) -> list[tuple[int, int]]:
    """(first, behind the last) of each run of true values of at least `shortest`."""
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(b, e) for b, e in zip(begins.tolist(), ends.tolist(), strict=True) if e - b >= shortest]


def add_compression(
    rng: np.random.Generator, patient: str, series: Series, per_day: float, clock: LocalTime
) -> list[Label]:
    """Nights in which the patient lies on the sensor: it shows a low that is none. Changes values in
    place."""
    labels = []
    for night in np.flatnonzero(rng.random(clock.days) < per_day).tolist():
        begin_ms = int(clock.instant_ms([night], [rng.uniform(60, 300)])[0])
        end_ms = begin_ms + int(rng.uniform(20, 70) * MINUTE_MS)
        lain_on = (series.true_ms >= begin_ms) & (series.true_ms < end_ms)
        if lain_on.any():
            values = series.values["glucose"]
            values[lain_on] = np.maximum(40.0, values[lain_on] * rng.uniform(0.45, 0.7))
            labels.append(
                Label(patient, "artefact-compression", begin_ms, end_ms, None, {"device": series.device})
            )
    return labels
