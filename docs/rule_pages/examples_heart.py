"""Made-up series for heart failure, hypertension and arrhythmia."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from rule_pages.story import Story, day

WEIGHT = ("body-weight", "weight", "Weight, kg")
SYSTOLIC = ("blood-pressure", "systolic", "Systolic pressure, mm[Hg]")
RR = ("rr-intervals", "rr", "Intervals between beats, ms")


def noise(n: int, size: float, seed: int) -> list[float]:
    """What nobody causes: small changes from day to day, always the same for a seed."""
    return [round(float(v), 1) for v in np.random.default_rng(seed).normal(0.0, size, n)]


def weights(*kg: float, plan: dict[str, Any] | None = None) -> Callable[[], Story]:
    return lambda: Story(plan=plan or {}).daily("body-weight", "weight", kg)


def macd() -> Story:
    kg = [80.0 + n for n in noise(24, 0.15, 3)]
    kg += [80.3, 80.5, 80.8, 81.0, 81.3, 81.5, 81.7, 81.8]
    kg += [81.5, 81.2, 80.8, 80.5, 80.3, 80.1, 80.0, 79.9]
    return Story().daily("body-weight", "weight", kg)


def cusum() -> Story:
    usual = [80.0 + n for n in noise(20, 0.4, 5)]
    rise = [80.3, 80.5, 80.6, 80.7, 80.8, 80.9]
    back = [80.5, 80.1, 79.8, 79.7, 79.8, 79.6, 79.7, 79.8, 79.6, 79.7, 79.5, 79.8]
    return Story().daily("body-weight", "weight", [*usual, *rise, *back])


def symptoms() -> Story:
    story = Story()
    answers: list[dict[str, Any]] = [
        {"dyspnoea": 0, "oedema": 0},
        {"dyspnoea": 1, "night_dyspnoea": True},
        {"dyspnoea": 2, "oedema": 2},
        {"dyspnoea": 3, "oedema": 2},
        {"dyspnoea": 2, "oedema": 2},
        {"dyspnoea": 1, "oedema": 1},
        {"dyspnoea": 0, "oedema": 0},
    ]
    for index, given in enumerate(answers):
        story.add(day(1 + index, 8), "symptoms", given)
    return story


def composite() -> Story:
    story = Story()
    kg = [80.0 + n for n in noise(16, 0.2, 1)] + [
        80.3,
        80.6,
        80.8,
        81.0,
        81.2,
        80.8,
        80.4,
        80.1,
        80.0,
        79.9,
        80.0,
    ]
    rate = [64.0 + round(n) for n in noise(16, 1.5, 2)] + [66, 69, 71, 73, 74, 70, 66, 64, 63, 63, 64]
    breath = [0] * 16 + [0, 0, 1, 1, 2, 1, 0, 0, 0, 0, 0]
    for index in range(len(kg)):
        story.add(day(1 + index, 7), "body-weight", {"weight": round(kg[index], 1)})
        story.add(
            day(1 + index, 7.1), "heart-rate", {"heart_rate": rate[index]}, context={"activity": "rest"}
        )
        story.add(day(1 + index, 7.2), "symptoms", {"dyspnoea": breath[index], "oedema": breath[index] // 2})
    return story


def cuffs(*readings: tuple[float, float, int, int]) -> Callable[[], Story]:
    """(day, hour, systolic, diastolic) of each."""

    def make() -> Story:
        story = Story()
        for number, hour, systolic, diastolic in readings:
            story.add(day(number, hour), "blood-pressure", {"systolic": systolic, "diastolic": diastolic})
        return story

    return make


def sessions(story: Story, number: int, hour: float, systolic: float, diastolic: float) -> None:
    """Two readings, two minutes apart."""
    for index, change in enumerate((1, -1)):
        values = {"systolic": round(systolic + change), "diastolic": round(diastolic + change)}
        story.add(day(number, hour) + 2 * index, "blood-pressure", values)


def week_mean() -> Story:
    story = Story()
    steps = noise(14, 3.0, 11)
    for number in range(1, 15):
        high = 139 if number < 7 else 124
        low = 87 if number < 7 else 76
        for hour, extra in ((7.0, 1.0), (20.0, -1.0)):
            sessions(story, number, hour, high + steps[number - 1] + extra, low + steps[number - 1] / 2)
    return story


def personal_pressure() -> Story:
    story = Story()
    mornings = [124 + round(n) for n in noise(17, 2.5, 4)] + [156, 158, 131, 126, 125]
    for index, systolic in enumerate(mornings):
        sessions(story, 1 + index, 7, systolic, systolic - 50)
    return story


def recordings(parts: Iterable[np.ndarray[Any, Any]]) -> Story:
    """Recordings one after the other; each begins where the last one ended."""
    story, at_ms = Story(), 0.0
    for rr in parts:
        start = -(-int(at_ms) // 60_000)
        story.add(day(1, 9) + start, "rr-intervals", {"rr": [round(float(v)) for v in rr]})
        at_ms = start * 60_000 + float(rr.sum())
    return story


def sinus(n: int, seed: int, mean: float = 800.0) -> np.ndarray[Any, Any]:
    """Breathing at a quarter of a hertz, and small changes."""
    at_s = np.arange(n) * mean / 1000
    return mean + 30 * np.sin(2 * np.pi * 0.25 * at_s) + 10 * np.random.default_rng(seed).normal(size=n)


def fibrillation() -> Story:
    rng = np.random.default_rng(7)
    wild = [np.clip(rng.gamma(25.0, 620.0 / 25.0, 370), 300, 1800) for _ in range(2)]
    return recordings([sinus(300, 1), *wild, sinus(300, 2), sinus(300, 3)])


def pause() -> Story:
    calm = [sinus(140, seed) for seed in range(5)]
    calm[1][70], calm[2][60] = 3400.0, 4300.0
    return recordings(calm)


def implant() -> Story:
    story = Story()
    events: list[dict[str, Any]] = [
        {"event": "atrial-fibrillation", "burden": 0},
        {"event": "atrial-fibrillation", "burden": 12},
        {"event": "shock", "count": 1},
        {"event": "atrial-fibrillation", "burden": 4},
        {"event": "atrial-fibrillation", "burden": 0},
    ]
    for index, given in enumerate(events):
        story.add(day(1 + index, 8), "implant-report", given)
    return story


def rates(*readings: tuple[float, float, int]) -> Callable[[], Story]:
    """(day, hour, heart rate at rest) of each."""

    def make() -> Story:
        story = Story()
        for number, hour, rate in readings:
            story.add(day(number, hour), "heart-rate", {"heart_rate": rate}, context={"activity": "rest"})
        return story

    return make


def personal_rate() -> Story:
    rate = [62 + round(n) for n in noise(17, 1.4, 9)] + [74, 76, 75, 69, 64, 62]
    return Story().daily("heart-rate", "heart_rate", rate)


EXAMPLES: dict[str, tuple[Any, ...]] = {
    "heart-failure/weight-gain-1d": (
        weights(80.2, 80.0, 80.1, 81.5, 81.6, 81.5, 81.3),
        "One morning the weight is well above the day before. A day later both mornings are high: the gain is gone, "
        "the water is not, which is why this rule does not stand alone.",
        "Gain within 1 day, kg",
        (WEIGHT,),
    ),
    "heart-failure/weight-gain-3d": (
        weights(80.0, 80.4, 81.1, 82.1, 82.2, 81.7, 81.3, 81.0),
        "Four mornings of rising weight. On the fifth the gain is below the limit but not yet at the clear limit, "
        "so the alert stays; it ends on the sixth.",
        "Gain within 3 days, kg",
        (WEIGHT,),
    ),
    "heart-failure/weight-gain-7d": (
        weights(80.0, 80.3, 80.7, 81.0, 81.4, 81.8, 82.3, 82.4, 82.2, 82.0, 81.6),
        "A slow rise that the rules of one and three days do not see.",
        "Gain within 7 days, kg",
        (WEIGHT,),
    ),
    "heart-failure/weight-loss": (
        weights(82.0, 81.8, 80.9, 79.9, 80.2, 80.4, 80.6),
        "Weight falls for three days, then holds.",
        "Loss within 3 days, kg",
        (WEIGHT,),
    ),
    "heart-failure/dry-weight": (
        weights(79.2, 79.7, 80.2, 80.7, 81.2, 81.3, 80.8, 80.3, 79.4, 79.0, plan={"dry_weight_kg": 78.0}),
        "The care plan of this patient says a dry weight of 78 kg. The graver level needs two mornings; on the way "
        "down each level ends by its own clear limit.",
        "Weight above the dry weight, kg",
        (WEIGHT,),
    ),
    "heart-failure/weight-macd": (
        macd,
        "After weeks at the usual weight the mean of the last days leaves the long mean, and comes back.",
        "Short mean minus long mean, kg",
        (WEIGHT,),
    ),
    "heart-failure/weight-cusum": (
        cusum,
        "A rise too slow for the gain rules adds up. The baseline (dashed) is learnt first, and is frozen while the "
        "sum is high.",
        "Cumulative sum, standard deviations",
        (WEIGHT,),
    ),
    "heart-failure/symptoms": (
        symptoms,
        "A bad night, then two moderate symptoms: the second such day raises the alert. Breathlessness at rest makes "
        "it graver at once.",
        "Grade of the questionnaire",
    ),
    "heart-failure/composite": (
        composite,
        "No sign is far away, but weight, heart rate and answers leave their usual values together.",
        "Composite score, points",
        (WEIGHT, ("heart-rate", "heart_rate", "Resting heart rate, /min")),
    ),
    "hypertension/bp-crisis": (
        cuffs((1, 7, 152, 92), (1, 20, 158, 96), (2, 7, 162, 98), (2, 20, 186, 112), (2, 20.15, 184, 111),
              (2, 21, 178, 104), (3, 7, 168, 98), (3, 20, 150, 92)),
        "The first high reading asks for a second one; the repeat nine minutes later confirms it.",
        "Blood pressure, mm[Hg]",
    ),
    "hypertension/bp-high": (
        cuffs((1, 7, 150, 90), (1, 20, 158, 92), (2, 7, 174, 96), (2, 20, 176, 98), (3, 7, 168, 94),
              (3, 20, 162, 92), (4, 7, 152, 90)),
        "Two readings in a row above the limit that holds without symptoms.",
        "Blood pressure, mm[Hg]",
    ),
    "hypertension/bp-low": (
        cuffs((1, 7, 104, 62), (1, 20, 98, 60), (2, 7, 88, 56), (2, 20, 87, 55), (3, 7, 78, 50), (3, 20, 87, 54),
              (4, 7, 96, 58), (4, 20, 102, 62)),
        "Twice low is the milder level; one very low reading makes the alert graver.",
        "Blood pressure, mm[Hg]",
    ),
    "hypertension/bp-weekly-mean": (
        week_mean,
        "Two readings morning and evening. Nothing is said until enough days are there; a change of treatment is seen "
        "in the mean a few days later.",
        "Mean over the window, mm[Hg]",
        (SYSTOLIC,),
    ),
    "hypertension/bp-personal": (
        personal_pressure,
        "After two weeks the usual morning pressure is known (dashed). Two mornings are far from it, although no "
        "absolute limit is crossed.",
        "Distance of the session's mean from usual, robust z",
        (SYSTOLIC,),
    ),
    "arrhythmia/atrial-fibrillation": (
        fibrillation,
        "Recordings of a few minutes. The intervals lose every pattern in the second and third. An alert carries the "
        "instant of its recording's first beat.",
        "Longest run of fibrillation in a recording, s",
        (RR,),
    ),
    "arrhythmia/pause": (
        pause,
        "Recordings of two minutes; the second has one pause, the third a longer one.",
        "Longest pause of a recording, s",
        (RR,),
    ),
    "arrhythmia/implant-event": (
        implant,
        "A defibrillator reports fibrillation, then a shock; two days later no fibrillation is left.",
        "Grade of the report",
    ),
    "arrhythmia/tachycardia": (
        rates((1, 8, 82), (1, 20, 88), (2, 8, 114), (2, 20, 116), (3, 8, 144), (3, 20, 142), (4, 8, 118),
              (4, 20, 98), (5, 8, 86)),
        "Two readings in a row above the milder limit, then two above the graver one. No symptoms are reported.",
        "Resting heart rate, /min",
        (),
        ("run",),
    ),
    "arrhythmia/bradycardia": (
        rates((1, 8, 52), (1, 20, 48), (2, 8, 38), (2, 20, 37), (3, 8, 43), (3, 20, 47), (4, 8, 50)),
        "Two readings in a row below the limit that holds without symptoms.",
        "Resting heart rate, /min",
        (),
        ("run",),
    ),
    "arrhythmia/heart-rate-personal": (
        personal_rate,
        "After two weeks the usual rate is known (dashed). Two mornings well above it raise the alert, at a rate that "
        "no absolute limit would notice.",
        "Distance from usual, robust z",
        (("heart-rate", "heart_rate", "Resting heart rate, /min"),),
    ),
}  # fmt: skip
