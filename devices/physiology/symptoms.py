"""The daily questionnaire of a patient with heart failure, on a tablet."""

from __future__ import annotations

import numpy as np

from devices.physiology.course import Course, Episode, total
from devices.physiology.local_time import LocalTime
from devices.physiology.series import Bools, Floats, Instants, Series

NOTICES = (0.35, 1.15)
"""Range of how much of the body's state a patient notices and admits (uniform between patients): some report
nothing until they cannot lie down any more."""


def answer(
    rng: np.random.Generator,
    device: str,
    course: Course,
    feasts: list[Episode],
    clock: LocalTime,
) -> Series:
    """One set of answers a day, after breakfast."""
    n = clock.days
    true_ms = clock.instant_ms(np.arange(n), rng.normal(525, 30, n))
    notices = rng.uniform(*NOTICES)
    severity = course.severity(true_ms) * notices
    usual = int(rng.choice(3, p=[0.5, 0.4, 0.1]))  # breathlessness of every day, none to some
    pillows = int(rng.choice(3, p=[0.4, 0.45, 0.15]))
    fluid = total([episode.fluid for episode in course.decompensations], true_ms)
    change = np.diff(severity, prepend=severity[:1])
    return Series(
        "symptoms",
        device,
        true_ms,
        {
            "dyspnoea": _grade(rng, usual + 2.1 * severity, n),
            "oedema": _grade(rng, 0.2 + 0.75 * notices * np.minimum(fluid, 3.5), n),
            "fatigue": _grade(rng, 0.6 + 1.7 * severity, n),
            "cough": _grade(rng, 0.2 + 1.1 * severity + 0.8 * total(course.exacerbations, true_ms), n),
            "orthopnoea_pillows": np.clip(np.rint(pillows + 2.4 * severity + rng.normal(0, 0.25, n)), 0, 6),
            "night_dyspnoea": _happens(rng, 0.004 + 0.55 * np.maximum(0.0, severity - 0.25), n),
            "dizziness": _happens(rng, 0.015 + 0.08 * severity, n),
            "syncope": _happens(rng, np.full(n, 0.0002), n),
            "chest_pain": _happens(rng, np.full(n, 0.0015), n),
            "missed_medication": _happens(rng, np.full(n, 0.02), n),
            "salt_lapse": _salted(rng, feasts, true_ms, n),
            "wellbeing": _compared(rng, change, severity, n),
        },
    )


def _grade(rng: np.random.Generator, level: Floats, n: int) -> Floats:
    """0 to 3 from a level, with the hesitation of a person."""
    return np.clip(np.rint(level + rng.normal(0.0, 0.3, n)), 0, 3)


def _happens(rng: np.random.Generator, chance: Floats, n: int) -> Bools:
    return np.asarray(rng.random(n) < chance)


def _salted(rng: np.random.Generator, feasts: list[Episode], true_ms: Instants, n: int) -> Bools:
    """Half of the feasts are owned up to."""
    admitted = [feast for feast in feasts if rng.random() < 0.5]
    return np.asarray((total(admitted, true_ms) > 0.2) | (rng.random(n) < 0.01))


def _compared(rng: np.random.Generator, change: Floats, severity: Floats, n: int) -> list[str]:
    """Compared with yesterday."""
    felt = 3.0 * change + 0.35 * severity + rng.normal(0.0, 0.16, n)
    words = np.array(["better", "same", "worse", "much-worse"])
    return [str(word) for word in words[np.digitize(felt, [-0.3, 0.3, 0.75])].tolist()]
