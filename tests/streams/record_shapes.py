"""Shapes of beats and rhythms drawn from a seed, for the recordings of tests/streams/record_models.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator
Wave = tuple[float, float, float]
"""Height in mV, place from the R peak in s, width in s."""
Shape = list[Wave]


def between(rng: Rng, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def narrow(
    g: Rng, r: tuple[float, float] = (0.8, 1.6), t: tuple[float, float] = (0.12, 0.3), p: float = 0.14
) -> Shape:
    """P, q, R, s and T of a beat from above; T as a share of R."""
    tall = between(g, *r)
    return [
        (p * between(g, 0.6, 1.3), between(g, -0.2, -0.15), between(g, 0.018, 0.026)),
        (-between(g, 0.02, 0.12) * tall, -0.033, 0.009),
        (tall, 0.0, between(g, 0.009, 0.013)),
        (-between(g, 0.1, 0.4) * tall, between(g, 0.028, 0.036), between(g, 0.009, 0.014)),
        (between(g, *t) * tall, between(g, 0.25, 0.31), between(g, 0.042, 0.058)),
    ]  # fmt: skip


def small_with_tall_p(g: Rng) -> Shape:
    """108: QRS of half a millivolt, both ways, a P wave nearly as large and far before it."""
    return [
        (between(g, 0.14, 0.22), between(g, -0.27, -0.2), between(g, 0.024, 0.032)),
        (between(g, 0.3, 0.5), 0.0, between(g, 0.011, 0.015)),
        (-between(g, 0.25, 0.5), between(g, 0.032, 0.042), between(g, 0.012, 0.017)),
        (-between(g, 0.05, 0.15), between(g, 0.26, 0.32), 0.055),
    ]  # fmt: skip


def small_down(g: Rng) -> Shape:
    """114, 228: a small QRS that points down."""
    tall = between(g, 0.35, 0.6)
    return [
        (between(g, 0.04, 0.08), -0.18, 0.022),
        (0.2 * tall, -0.03, 0.009),
        (-tall, 0.0, between(g, 0.011, 0.016)),
        (0.3 * tall, 0.036, 0.012),
        (between(g, -0.3, 0.3) * tall, 0.28, 0.05),
    ]  # fmt: skip


def left_block(g: Rng, r: tuple[float, float] = (0.7, 1.4)) -> Shape:
    tall = between(g, *r)
    return [
        (between(g, 0.06, 0.14), between(g, -0.25, -0.19), 0.022),
        (tall * between(g, 0.7, 1.0), -0.022, between(g, 0.017, 0.023)),
        (tall, between(g, 0.03, 0.042), between(g, 0.018, 0.024)),
        (-between(g, 0.25, 0.55) * tall, between(g, 0.27, 0.33), 0.06),
    ]  # fmt: skip


def right_block(g: Rng) -> Shape:
    tall = between(g, 0.5, 1.1)
    return [
        (between(g, 0.08, 0.16), -0.19, 0.022),
        (tall, -0.015, 0.011),
        (-between(g, 0.3, 0.8) * tall, 0.018, 0.012),
        (between(g, 0.4, 0.9) * tall, between(g, 0.05, 0.065), between(g, 0.016, 0.022)),
        (-between(g, 0.1, 0.3) * tall, 0.31, 0.05),
    ]  # fmt: skip


def tall_t(g: Rng) -> Shape:
    """113, 117: a T wave from half of R to a fifth above it."""
    return narrow(g, (0.7, 1.4), (0.5, 1.2))


def deep_t(g: Rng) -> Shape:
    return narrow(g, (1.2, 2.4), (-0.6, -0.3))


def paced(g: Rng) -> Shape:
    """102, 104, 217: a small spike, then a wide QRS of either direction."""
    sign = 1.0 if g.random() < 0.5 else -1.0
    tall = between(g, 0.5, 1.4)
    return [
        (between(g, 0.15, 0.6), between(g, -0.07, -0.05), 0.0025),
        (sign * tall, 0.0, between(g, 0.022, 0.034)),
        (-sign * tall * between(g, 0.1, 0.5), 0.075, 0.025),
        (-sign * tall * between(g, 0.25, 0.5), between(g, 0.3, 0.35), 0.06),
    ]  # fmt: skip


def paced_large(g: Rng) -> Shape:
    """107: more than 2 mV, and a T wave of half that."""
    sign = 1.0 if g.random() < 0.5 else -1.0
    tall = between(g, 1.6, 2.4)
    return [
        (between(g, 0.3, 0.9), -0.06, 0.0025),
        (sign * tall, 0.0, between(g, 0.028, 0.036)),
        (-sign * tall * between(g, 0.4, 0.6), between(g, 0.3, 0.36), between(g, 0.055, 0.07)),
    ]  # fmt: skip


def ectopic(g: Rng, qrs_mv: float) -> Shape:
    """A ventricular ectopic beat: wide, notched or slurred, its T wave against it."""
    sign = 1.0 if g.random() < 0.6 else -1.0
    tall = sign * max(0.6, qrs_mv) * between(g, 0.8, 1.9)
    return [
        (tall, 0.0, between(g, 0.02, 0.032)),
        (tall * between(g, -0.35, 0.5), between(g, -0.055, -0.03), between(g, 0.012, 0.02)),
        (tall * between(g, -0.6, 0.3), between(g, 0.05, 0.075), between(g, 0.016, 0.026)),
        (-tall * between(g, 0.25, 0.6), between(g, 0.26, 0.32), between(g, 0.05, 0.065)),
    ]  # fmt: skip


def fused(one: Shape, other: Shape) -> Shape:
    """Half of each: an ectopic beat that meets a sinus beat. Both point the same way, so that they do not cancel."""
    sign = 1.0 if max(one, key=lambda x: abs(x[0]))[0] * other[0][0] > 0 else -1.0
    return [(0.55 * h, p, w) for h, p, w in one] + [(0.5 * sign * h, p, w) for h, p, w in other]


@dataclass
class Beat:
    interval: float
    shape: int = 0
    """Index of its shape; -1 is a P wave without a QRS."""


def sinus(g: Rng, seconds: float, rr: float, breathing: float = 0.03, slow: float = 0.04) -> list[Beat]:
    """Breathing at 0.25 Hz and a rate that wanders, as shares of the interval."""
    out, time, drift = [], 0.0, 0.0
    while time < seconds:
        drift = 0.97 * drift + slow * 0.24 * float(g.normal())
        interval = rr * (1 + breathing * np.sin(1.57 * time) + drift + 0.008 * float(g.normal()))
        out.append(Beat(float(np.clip(interval, 0.3, 2.5))))
        time += out[-1].interval
    return out


def fibrillating(g: Rng, seconds: float, rr: float, spread: float = 0.24) -> list[Beat]:
    out, time, drift = [], 0.0, 0.0
    while time < seconds:
        drift = 0.97 * drift + 0.02 * float(g.normal())
        interval = rr * float(np.exp(drift)) * float(g.gamma(1 / spread**2, spread**2))
        out.append(Beat(float(np.clip(interval, 0.3, 2.2))))
        time += out[-1].interval
    return out


def with_ectopics(g: Rng, base: list[Beat], share: float, kinds: int, first: int = 1) -> list[Beat]:
    """Each kind with a coupling of its own; a quarter in couplets and triplets; bigeminy by turns; fusion is last."""
    couplings = g.uniform(0.5, 0.72, size=kinds)
    out: list[Beat] = []
    late, patch = 0.0, 0
    for beat in base:
        patch = int(g.integers(6, 24)) if patch == 0 and g.random() < 0.01 else max(0, patch - 1)
        chance = (0.95 if not late and out and out[-1].shape == 0 else 0.0) if patch else share
        if out and late == 0.0 and g.random() < chance:
            kind = int(g.integers(kinds))
            if g.random() < 0.08:  # late: it meets the sinus beat
                out.append(Beat(beat.interval * 0.95, first + kinds))
                continue
            early = max(0.33, beat.interval * (couplings[kind] + 0.02 * float(g.normal())))
            out.append(Beat(early, first + kind))
            for _ in range(int(g.integers(1, 3)) if not patch and g.random() < 0.25 else 0):
                out.append(Beat(between(g, 0.34, 0.46), first + int(g.integers(kinds))))
            late = beat.interval - early if g.random() < 0.75 else 0.03
        else:
            out.append(Beat(beat.interval + late, beat.shape))
            late = 0.0
    return out


def early_atrial(g: Rng, base: list[Beat], share: float, run: int = 1) -> list[Beat]:
    """Early beats of the atria, alone or in runs, of the same shape; the sinus starts anew after them."""
    out: list[Beat] = []
    for beat in base:
        if out and g.random() < share:
            count = int(g.integers(1, run + 1))
            out += [Beat(beat.interval * between(g, 0.5, 0.72), beat.shape) for _ in range(count)]
            out.append(Beat(beat.interval * between(g, 1.02, 1.2), beat.shape))
        else:
            out.append(beat)
    return out


def with_block(g: Rng, base: list[Beat], share: float, longest: int) -> list[Beat]:
    """P waves that no QRS follows."""
    out: list[Beat] = []
    for beat in base:
        if out and out[-1].shape >= 0 and g.random() < share:
            out += [Beat(beat.interval, -1) for _ in range(int(g.integers(1, longest + 1)))]
        out.append(beat)
    return out


def changing(g: Rng, base: list[Beat], shapes: int) -> list[Beat]:
    """The shape changes for tens of beats: a block that comes and goes."""
    now = 0
    for beat in base:
        if g.random() < 0.04:
            now = int(g.integers(shapes))
        if beat.shape >= 0:
            beat.shape = now
    return base
