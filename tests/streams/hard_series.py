"""Synthetic RR intervals in which atrial fibrillation is hard to tell: mixtures, and what only looks like it.

Each case is made from a seed and comes with the intervals that lie in fibrillation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.streams import series
from tests.streams.series import Floats

Bools = NDArray[np.bool_]
Maker = Callable[[np.random.Generator], list[tuple[Floats, bool]]]
"""Stretches of intervals in order, each in fibrillation or not."""

FLUTTER_MS = 215.0  # a cycle of the atria; the ventricles follow every second to fourth


def chaotic(n: int, rng: np.random.Generator) -> Floats:
    """Atrial ectopic beats by turns alone, in bigeminy, in pairs, in short runs, with pauses: as in afdb 04015."""
    out: list[float] = []
    while len(out) < n:
        draw = rng.random()
        if draw < 0.25:
            out += series.sinus(int(rng.integers(5, 30)), rng, 800.0, 10.0).tolist()
        elif draw < 0.55:
            early = rng.uniform(480, 600)
            for _ in range(int(rng.integers(3, 25))):
                out += [early + 15 * rng.normal(), 800 * rng.uniform(1.05, 1.2)]
        elif draw < 0.7:
            for _ in range(int(rng.integers(2, 10))):
                out += [800 + 10 * rng.normal(), 550 + 30 * rng.normal()]
                out += [450 + 30 * rng.normal(), 950 + 40 * rng.normal()]
        elif draw < 0.9:
            out += (440 + 50 * rng.normal(size=int(rng.integers(6, 30)))).tolist()
        else:
            out += (rng.choice([950, 1250, 850], int(rng.integers(2, 8))) + 20 * rng.normal()).tolist()
    return np.asarray(out[:n])


def flutter(n: int, rng: np.random.Generator) -> Floats:
    """Flutter of the atria with a block that changes from beat to beat: multiples of one interval."""
    return rng.choice([2, 3, 4], n, p=[0.4, 0.3, 0.3]) * FLUTTER_MS + 8 * rng.normal(size=n)


def lengthening(n: int, rng: np.random.Generator) -> Floats:
    """Wenckebach: the way to the ventricles gets longer from beat to beat, until one is left out."""
    out: list[float] = []
    while len(out) < n:
        sinus_ms, beats = rng.uniform(700, 850), int(rng.integers(3, 7))
        delay = np.array([160, 280, 350, 390, 420, 440, 455])[:beats]
        out += (sinus_ms + np.diff(delay) + 12 * rng.normal(size=beats - 1)).tolist()
        out.append(2 * sinus_ms + delay[0] - delay[-1] + 12 * rng.normal())
    return np.asarray(out[:n])


def sick(n: int, rng: np.random.Generator) -> Floats:
    """Sinus rhythm with pauses of 2 to 4.5 s and early atrial beats: MIT-BIH 232."""
    out: list[float] = []
    while len(out) < n:
        out += series.sinus(int(rng.integers(5, 25)), rng, 950.0, 25.0).tolist()
        out += [rng.uniform(2000, 4500)] * int(rng.random() < 0.4)
        for _ in range(int(rng.integers(0, 4))):
            out += [rng.uniform(480, 640), rng.uniform(900, 1150)]
    return np.asarray(out[:n])


def freely_coupled(n: int, rng: np.random.Generator) -> Floats:
    """A quarter ventricular beats of several shapes, each with a coupling of its own, alone and in pairs."""
    out: list[float] = []
    for interval in series.sinus(n, rng, 800.0, 25.0).tolist():
        draw = rng.random()
        if draw < 0.2:
            early = rng.uniform(0.45, 0.75)
            out += [interval * early, interval * (2 - early) + 15 * rng.normal()]
        elif draw < 0.25:
            out += [interval * rng.uniform(*span) for span in ((0.5, 0.65), (0.4, 0.55), (1.0, 1.4))]
        else:
            out.append(interval)
    return np.asarray(out[:n])


def among_ectopics(rng: np.random.Generator) -> list[tuple[Floats, bool]]:
    """Five episodes of five to ten minutes with ventricular beats, between them every fifth beat ectopic."""
    parts: list[tuple[Floats, bool]] = []
    for _ in range(5):
        calm = series.with_ectopic(sinus_with("atrial", 0.12, rng, 800), rng, 0.08, "ventricular")
        wild = series.fibrillation(int(rng.integers(500, 900)), rng, float(rng.uniform(550, 800)), 0.19)
        parts += [(calm, False), (series.with_ectopic(wild, rng, 0.1, "ventricular"), True)]
    return parts


def settling(n: int, rng: np.random.Generator) -> Floats:
    """Fibrillation in which the ventricles answer regularly for ten to thirty beats now and then: afdb 05121."""
    out: list[float] = []
    while len(out) < n:
        out += series.fibrillation(int(rng.integers(60, 200)), rng, 680.0, 0.2).tolist()
        out += (720 + 15 * rng.normal(size=int(rng.integers(10, 30)))).tolist()
    return np.asarray(out[:n])


def sinus_with(
    kind: str, share: float, rng: np.random.Generator, n: int = 2500, breathing: float = 20.0
) -> Floats:
    mean = float(rng.uniform(650, 1000))
    return series.with_ectopic(series.sinus(n, rng, mean, breathing), rng, share, kind)


def paroxysms(beats: int, rng: np.random.Generator) -> list[tuple[Floats, bool]]:
    """Five episodes in sinus rhythm with 8 % atrial ectopic beats."""
    parts: list[tuple[Floats, bool]] = []
    for _ in range(5):
        parts.append((sinus_with("atrial", 0.08, rng, 700), False))
        parts.append((series.fibrillation(beats, rng, float(rng.uniform(500, 800)), 0.19), True))
    return parts


@dataclass(frozen=True)
class Case:
    """One recording: what it is like, and how it is made."""

    name: str
    make: Maker

    def recording(self, seed: int) -> tuple[Floats, Bools]:
        """Intervals in ms, and whether each lies in fibrillation."""
        parts = self.make(np.random.default_rng([seed, *self.name.encode()]))
        return np.concatenate([rr for rr, _ in parts]), np.repeat(
            [f for _, f in parts], [rr.size for rr, _ in parts]
        )


def _none(make: Callable[[np.random.Generator], Floats]) -> Maker:
    return lambda rng: [(make(rng), False)]


def _all(make: Callable[[np.random.Generator], Floats]) -> Maker:
    return lambda rng: [(make(rng), True)]


def _ectopic(kind: str, share: float, breathing: float = 20.0) -> Maker:
    return _none(lambda rng: sinus_with(kind, share, rng, breathing=breathing))


CASES = [
    Case("sinus rhythm", _none(lambda g: series.sinus(3000, g))),
    Case("deep breathing", _none(lambda g: series.sinus(3000, g, 950.0, 150.0, 15.0))),
    Case("chaotic atrial ectopic beats", _none(lambda g: chaotic(3000, g))),
    Case("flutter, changing block", _none(lambda g: flutter(2000, g))),
    Case("bigeminy by turns with sinus", _none(lambda g: np.concatenate(
        [series.pattern(40, g, 0) if i % 2 else series.sinus(30, g) for i in range(60)]))),
    *(Case(f"{share:.0%} atrial ectopic beats", _ectopic("atrial", share)) for share in (0.1, 0.2, 0.3, 0.4)),
    *(Case(f"{share:.0%} ventricular ectopic beats", _ectopic("ventricular", share)) for share in (0.1, 0.2, 0.3, 0.4)),
    Case("20% ventricular ectopic beats, deeper breathing", _ectopic("ventricular", 0.2, 50.0)),
    Case("beats missed and found twice", _none(lambda g: series.with_faults(series.sinus(3000, g), g, 0.04, 0.04))),
    Case("Wenckebach", _none(lambda g: lengthening(2500, g))),
    Case("sinus arrhythmia, slow", _none(lambda g: series.sinus(2000, g, 1200.0, 150.0, 25.0))),
    Case("pauses and early beats", _none(lambda g: sick(2500, g))),
    Case("ectopic beats of free coupling", _none(lambda g: freely_coupled(2500, g))),
    Case("fibrillation", _all(lambda g: series.fibrillation(2000, g))),
    Case("fibrillation, fast", _all(lambda g: series.fibrillation(2000, g, 450.0, 0.13))),
    Case("fibrillation, slow", _all(lambda g: series.fibrillation(2000, g, 1050.0, 0.18))),
    Case("fibrillation, slow and little spread", _all(lambda g: series.fibrillation(2000, g, 1250.0, 0.14))),
    Case("fibrillation, calm stretches", _all(lambda g: settling(2500, g))),
    Case("fibrillation with 12% ventricular beats", _all(lambda g: series.with_ectopic(
        series.fibrillation(2000, g), g, 0.12, "ventricular"))),
    Case("fibrillation, beats missed and found twice", _all(lambda g: series.with_faults(
        series.fibrillation(2000, g), g, 0.05, 0.05))),
    Case("episodes of five minutes", lambda g: paroxysms(480, g)),
    Case("episodes among ectopic beats", among_ectopics),
    Case("episodes of two minutes", lambda g: paroxysms(190, g)),
]  # fmt: skip
