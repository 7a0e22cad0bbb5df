"""Recordings modelled on the difficult records of the MIT-BIH Arrhythmia Database, one by one, made from a seed.

Where tests/streams/hard_strips.py takes one difficulty at a time with fixed shapes, a model here draws its shapes
anew for each seed, within what is known of the record from its directory, and joins what occurs together in it:
several ectopic shapes, couplets and fusion beats, blocks that come and go, noise of electrode, muscle and mains at
the same time, an amplitude that shifts when the patient turns, samples of 5 microvolts that end at 5 mV. None is
taken from a recording.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.streams.hard_strips import atrial_waves, in_bursts, noisy, stepping
from tests.streams.record_shapes import (
    Beat,
    Rng,
    Shape,
    between,
    changing,
    deep_t,
    early_atrial,
    ectopic,
    fibrillating,
    fused,
    left_block,
    narrow,
    paced,
    paced_large,
    right_block,
    sinus,
    small_down,
    small_with_tall_p,
    tall_t,
    with_block,
    with_ectopics,
)
from tests.streams.strips import Floats, Ints

FS = 360.0
STEP_MV, LIMIT_MV = 0.005, 5.12  # 11 bits over 10 mV


@dataclass
class Recording:
    """Samples in mV, beats, and the spans (first, end) in samples that are not scored: ventricular flutter."""

    samples: Floats
    beats: Ints
    unscored: list[tuple[int, int]] = field(default_factory=list)


def scored(beats: Ints, made: Recording) -> Ints:
    """The beats without those in spans that are not scored (EC57 leaves out ventricular flutter)."""
    keep = np.ones(beats.size, dtype=np.bool_)
    for first, end in made.unscored:
        keep &= (beats < first) | (beats >= end)
    return np.asarray(beats[keep])


def draw(g: Rng, rhythm: list[Beat], shapes: list[Shape], breathing: float = 0.1) -> Recording:
    times = np.cumsum([beat.interval for beat in rhythm])
    samples = g.normal(scale=0.004, size=int((times[-1] + 0.7) * FS))
    at = np.arange(samples.size) / FS
    phase, beats = between(g, 0, 6.28), []
    for time, beat in zip(times.tolist(), rhythm, strict=True):
        first, end = np.searchsorted(at, [time - 0.5, time + 0.7])
        waves = shapes[beat.shape] if beat.shape >= 0 else shapes[0][:1]
        turn = breathing * np.sin(1.57 * time + phase)
        gain, stretch = 1.0 + turn + 0.03 * float(g.normal()), 1.0 + 0.04 * float(g.normal())
        t_place = float(np.clip(np.sqrt(beat.interval / 0.8), 0.75, 1.2))
        for k, (height, place, width) in enumerate(waves):
            middle = time + place * (t_place if place > 0.2 else 1.0)
            # The heart's axis turns with breathing, so its waves do not grow and shrink together.
            own = gain * (1.0 + turn * np.cos(k)) * (1.0 + 0.04 * float(g.normal()))
            samples[first:end] += (
                own * height * np.exp(-0.5 * ((at[first:end] - middle) / (width * stretch)) ** 2)
            )
        if beat.shape >= 0:
            beats.append(round(time * FS))
    return Recording(samples, np.asarray(beats, dtype=np.int64))


Noise = tuple[str, float] | tuple[str, float, str]


def soiled(g: Rng, made: Recording, qrs_mv: float, *noises: Noise) -> Recording:
    """Noise of each kind at its ratio in dB ("bursts": a third of the time), mains, and the limits of the converter."""
    samples = made.samples
    for kind, db, *how in noises:
        samples = (in_bursts if how else noisy)(samples, FS, g, kind, db, qrs_mv)
    hum = between(g, 0.0, 0.02) * np.sin(2 * np.pi * 60.0 * np.arange(samples.size) / FS)
    samples = np.round((samples + hum) / STEP_MV) * STEP_MV
    return Recording(np.clip(samples, -LIMIT_MV, LIMIT_MV), made.beats, made.unscored)


def spiky(g: Rng, made: Recording) -> Recording:
    """A cable that is pulled: jumps of millivolts that decay within a second, twice a minute, and gaps."""
    samples, beats = made.samples.copy(), made.beats
    at = 0
    while (at := at + int(g.exponential(25.0) * FS)) < samples.size - FS:
        if g.random() < 0.3:
            end = at + int(between(g, 0.1, 0.6) * FS)
            samples[at:end] = samples[at]
            beats = beats[(beats < at - 0.05 * FS) | (beats > end + 0.05 * FS)]  # nobody could see them
        else:
            k = np.arange(min(samples.size - at, int(3 * FS)))
            samples[at : at + k.size] += between(g, -3, 3) * np.exp(-k / (between(g, 0.05, 0.5) * FS))
    return Recording(samples, beats, made.unscored)


Make = Callable[[Rng, float], Recording]


@dataclass(frozen=True)
class Model:
    like: str
    what: str
    make: Make

    def recording(self, seed: int, seconds: float) -> Recording:
        return self.make(np.random.default_rng([seed, *self.like.encode()]), seconds)


def _ventricular(g: Rng, base: Shape, kinds: int, qrs_mv: float) -> list[Shape]:
    """The base shape, ectopic shapes, and the fusion of the first with it."""
    others = [ectopic(g, qrs_mv) for _ in range(kinds)]
    return [base, *others, fused(base, others[0])]


def _102(g: Rng, s: float) -> Recording:
    one, other = paced(g), narrow(g, (0.5, 0.9))
    rhythm = sinus(g, s, 0.82, 0.002, 0.004)
    for beat in rhythm:
        beat.shape = int(g.choice(3, p=[0.85, 0.05, 0.1]))
    return soiled(g, draw(g, rhythm, [one, other, fused(one, other)]), 0.8, ("muscle", 14), ("electrode", 18))


def _105(g: Rng, s: float) -> Recording:
    made = draw(g, with_ectopics(g, sinus(g, s, 0.72), 0.015, 1), _ventricular(g, narrow(g), 1, 1.2))
    return soiled(g, spiky(g, made), 1.2, ("electrode", 4, "bursts"), ("wander", 3), ("muscle", 18))


def _106(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, sinus(g, s, 0.95, 0.05), 0.18, 2)
    return soiled(
        g,
        draw(g, rhythm, _ventricular(g, narrow(g), 2, 1.2)),
        1.2,
        ("muscle", 18),
        ("electrode", 15, "bursts"),
    )


def _107(g: Rng, s: float) -> Recording:
    large = paced_large(g)
    made = draw(g, with_ectopics(g, sinus(g, s, 0.85, 0.0, 0.003), 0.03, 1), _ventricular(g, large, 1, 1.8))
    own = draw(g, [Beat(0.7 + 0.02 * float(g.normal()), -1) for _ in range(int(s / 0.68))], [narrow(g)])
    size = min(made.samples.size, own.samples.size)
    made.samples[:size] += own.samples[:size]  # P waves at a rate of their own
    return soiled(g, made, 1.5, ("muscle", 18), ("wander", 9))


def _108(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, sinus(g, s, 1.0, 0.08, 0.08), 0.01, 1)
    made = draw(g, rhythm, _ventricular(g, small_with_tall_p(g), 1, 0.7), 0.15)
    return soiled(g, made, 0.7, ("electrode", 8, "bursts"), ("muscle", 12), ("wander", 0))


def _109(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, sinus(g, s, 0.7), 0.015, 1)
    return soiled(
        g, draw(g, rhythm, _ventricular(g, left_block(g), 1, 1.2)), 1.2, ("muscle", 14), ("wander", 3)
    )


def _111(g: Rng, s: float) -> Recording:
    made = draw(g, sinus(g, s, 0.86), [left_block(g, (0.4, 0.7))])
    return soiled(g, made, 0.7, ("muscle", 14), ("electrode", 15), ("wander", 3))


def _113(g: Rng, s: float) -> Recording:
    return soiled(g, draw(g, sinus(g, s, 1.02, 0.12, 0.1), [tall_t(g)]), 1.2, ("wander", 6), ("muscle", 20))


def _114(g: Rng, s: float) -> Recording:
    rhythm = early_atrial(g, with_ectopics(g, sinus(g, s, 1.0), 0.02, 1), 0.005)
    made = draw(g, rhythm, _ventricular(g, small_down(g), 1, 0.5))
    return soiled(g, made, 0.5, ("electrode", 12, "bursts"), ("muscle", 15), ("wander", 0))


def _116(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, sinus(g, s, 0.75), 0.04, 1)
    made = draw(g, rhythm, _ventricular(g, deep_t(g), 1, 1.5), 0.2)
    return soiled(g, spiky(g, made), 1.8, ("wander", 3), ("muscle", 20))


def _121(g: Rng, s: float) -> Recording:
    made = draw(g, sinus(g, s, 0.97), [narrow(g, (0.8, 1.2), (0.25, 0.5))])
    return soiled(g, made, 1.0, ("wander", -3), ("motion", 9), ("muscle", 18))


def _200(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, sinus(g, s, 0.7, 0.04), 0.3, 3)
    made = draw(g, rhythm, _ventricular(g, narrow(g, (0.7, 1.1)), 3, 1.0))
    return soiled(g, made, 1.0, ("muscle", 10, "bursts"), ("electrode", 15))


def _201(g: Rng, s: float) -> Recording:
    """Small beats of fibrillation, slow stretches of the junction, trigeminy."""
    rhythm: list[Beat] = []
    while sum(beat.interval for beat in rhythm) < s:
        rhythm += with_ectopics(g, fibrillating(g, 50, 0.66), 0.08, 1)
        rhythm += [Beat(between(g, 1.6, 2.6)), *sinus(g, 20, 1.3)]
    made = draw(g, rhythm, _ventricular(g, narrow(g, (0.4, 0.7), p=0.0), 1, 0.7))
    made.samples += atrial_waves(made.samples.size, FS, g, 6.0, 0.03, False)
    return soiled(g, made, 0.6, ("muscle", 18), ("electrode", 18))


def _203(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, fibrillating(g, s, 0.6), 0.15, 4)
    made = draw(g, rhythm, _ventricular(g, narrow(g, (0.7, 1.2), p=0.0), 4, 1.0), 0.2)
    made.samples = stepping(made.samples, FS, g)
    made.samples += atrial_waves(made.samples.size, FS, g, 5.5, 0.06, False)
    return soiled(g, made, 1.0, ("muscle", 12), ("electrode", 9, "bursts"))


def _207(g: Rng, s: float) -> Recording:
    """Blocks of both bundles by turns, ectopic beats, and now and then ventricular flutter, which is not scored."""
    base = changing(g, sinus(g, s, 0.85, 0.02), 2)
    rhythm = with_ectopics(g, base, 0.04, 1, first=2)
    left, right = left_block(g), right_block(g)
    other = ectopic(g, 1.2)
    made = draw(g, rhythm, [left, right, other, fused(left, other)])
    at = between(g, 20, 45)
    while at < s - 40:
        first, end = int(at * FS), int((at + between(g, 4, 20)) * FS)
        k = np.arange(end - first)
        inside = (made.beats > first - 0.3 * FS) & (made.beats < end + 0.35 * FS)
        made.samples[first:end] = 1.2 * np.sin(
            2 * np.pi * between(g, 3.6, 4.8) * k / FS + 0.3 * np.sin(k / 200)
        )
        made.beats = made.beats[~inside]
        made.unscored.append((first - int(0.5 * FS), end + int(0.5 * FS)))
        at += between(g, 60, 120)
    return soiled(g, made, 1.2, ("muscle", 18), ("wander", 9))


def _208(g: Rng, s: float) -> Recording:
    """A third of the beats ectopic, couplets, many fusions."""
    rhythm = with_ectopics(g, sinus(g, s, 0.6, 0.03), 0.35, 2)
    for beat in rhythm:
        if beat.shape == 0 and g.random() < 0.1:
            beat.shape = 3
    return soiled(
        g, draw(g, rhythm, _ventricular(g, narrow(g), 2, 1.2)), 1.2, ("muscle", 16), ("electrode", 14)
    )


def _209(g: Rng, s: float) -> Recording:
    rhythm = early_atrial(g, sinus(g, s, 0.65), 0.06, 12)
    return soiled(g, draw(g, rhythm, [narrow(g, (0.7, 1.1))]), 0.9, ("muscle", 14), ("electrode", 15))


def _215(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, sinus(g, s, 0.53, 0.02), 0.06, 2)
    return soiled(g, draw(g, rhythm, _ventricular(g, narrow(g, (0.6, 1.0)), 2, 0.9)), 0.8, ("muscle", 14))


def _217(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, fibrillating(g, s, 0.82, 0.1), 0.08, 1)
    one = paced(g)
    made = draw(g, rhythm, _ventricular(g, one, 1, 1.2))
    made.samples += atrial_waves(made.samples.size, FS, g, 6.0, 0.04, False)
    return soiled(g, made, 1.2, ("muscle", 16), ("wander", 6))


def _222(g: Rng, s: float) -> Recording:
    """Small beats, flutter and fibrillation of the atria by turns with the junction, muscle noise."""
    rhythm: list[Beat] = []
    while sum(beat.interval for beat in rhythm) < s:
        rhythm += early_atrial(g, sinus(g, between(g, 20, 60), 0.85, 0.03), 0.15, 3)
        rhythm += fibrillating(g, between(g, 20, 60), 0.55)
    made = draw(g, rhythm, [narrow(g, (0.4, 0.8), (0.15, 0.35), p=0.08)], 0.15)
    made.samples += atrial_waves(made.samples.size, FS, g, 4.9, 0.05, True)
    return soiled(g, made, 0.7, ("muscle", 10, "bursts"), ("electrode", 14))


def _223(g: Rng, s: float) -> Recording:
    rhythm: list[Beat] = []
    while sum(beat.interval for beat in rhythm) < s:
        rhythm += with_ectopics(g, sinus(g, between(g, 10, 40), 0.75), 0.15, 2)
        rhythm += [Beat(between(g, 0.4, 0.5), 2) for _ in range(int(g.integers(3, 20)))]
        rhythm.append(Beat(0.9))
    return soiled(g, draw(g, rhythm, _ventricular(g, narrow(g), 2, 1.3)), 1.3, ("muscle", 18), ("wander", 6))


def _228(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, sinus(g, s, 0.86), 0.15, 2)
    made = draw(g, rhythm, _ventricular(g, small_down(g), 2, 0.9))
    return soiled(g, made, 0.6, ("electrode", 6, "bursts"), ("muscle", 14))


def _231(g: Rng, s: float) -> Recording:
    rhythm = with_block(g, changing(g, sinus(g, s, 0.95), 2), 0.15, 2)
    return soiled(g, draw(g, rhythm, [right_block(g), narrow(g)]), 1.2, ("muscle", 18), ("wander", 6))


def _232(g: Rng, s: float) -> Recording:
    rhythm: list[Beat] = []
    for beat in early_atrial(g, sinus(g, s, 0.85), 0.4, 4):
        rhythm.append(beat)
        if g.random() < 0.03:
            rhythm.append(Beat(between(g, 2.0, 6.0)))
    return soiled(g, draw(g, rhythm, [right_block(g)]), 1.1, ("muscle", 18), ("electrode", 20))


def _233(g: Rng, s: float) -> Recording:
    rhythm = with_ectopics(g, sinus(g, s, 0.6), 0.27, 4)
    made = draw(g, rhythm, _ventricular(g, narrow(g, (1.0, 1.8)), 4, 1.4))
    return soiled(g, made, 1.4, ("muscle", 18), ("electrode", 15))


MODELS = [
    Model("102, 104", "paced, fusion beats, muscle noise", _102),
    Model("105", "electrode motion, pulled cable, gaps", _105),
    Model("106", "bigeminy by turns, two ectopic shapes", _106),
    Model("107", "paced, large T, P waves of their own rate", _107),
    Model("108", "small QRS, P nearly as large, noise, wander", _108),
    Model("109, 214", "left bundle branch block", _109),
    Model("111", "low left bundle branch block", _111),
    Model("113, 117", "T from half of R to above it", _113),
    Model("114", "small, inverted, wander", _114),
    Model("116", "tall R, deep T, gaps", _116),
    Model("121", "baseline wander above the QRS", _121),
    Model("200", "bigeminy, three shapes, muscle noise", _200),
    Model("201", "fibrillation, small, junction, pauses", _201),
    Model("203", "fibrillation, four shapes, amplitude steps", _203),
    Model("207", "blocks by turns, ventricular flutter", _207),
    Model("208", "a third ectopic, couplets, fusion", _208),
    Model("209, 220", "runs of early atrial beats", _209),
    Model("215", "fast, ectopic beats, muscle noise", _215),
    Model("217", "paced in fibrillation, ectopic beats", _217),
    Model("222", "flutter by turns, small beats, muscle noise", _222),
    Model("223, 205", "ventricular tachycardia", _223),
    Model("228", "small beats, large ectopics, electrode", _228),
    Model("231", "blocked P waves, a block that comes and goes", _231),
    Model("232", "early beats, pauses of 2 to 6 s", _232),
    Model("233, 213", "four ectopic shapes, fusion", _233),
]
