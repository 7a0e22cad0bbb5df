"""Synthetic recordings of the kinds on which beat detectors fail, made from a seed, with known beats.

Each case mimics what makes one of the difficult records of the MIT-BIH Arrhythmia Database (or of its noise
stress test) difficult, as its directory describes them; none is taken from a recording. Shapes vary from beat
to beat: height with breathing, T wave with the interval before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.streams.strips import SHAPES, Floats, Ints, motion, muscle, wander

# (height in mV, place from R in s, width in s)
MORE = {
    "normal-p": [(0.15, -0.18, 0.022), (-0.08, -0.035, 0.009), (1.1, 0, 0.011), (-0.25, 0.03, 0.01), (0.3, 0.27, 0.05)],
    "t-above-r": [(0.1, -0.19, 0.02), (0.6, 0, 0.011), (-0.3, 0.03, 0.01), (0.85, 0.26, 0.042)],
    "t-deep": [(0.1, -0.19, 0.02), (0.9, 0, 0.012), (-0.2, 0.03, 0.01), (-0.7, 0.3, 0.045)],
    "small-biphasic": [(0.2, -0.17, 0.025), (0.3, 0, 0.013), (-0.3, 0.035, 0.015), (0.12, 0.25, 0.05)],
    "small-down": [(0.05, -0.18, 0.022), (-0.35, 0, 0.014), (0.1, 0.035, 0.012), (0.08, 0.27, 0.05)],
    "left-block-low": [(0.08, -0.2, 0.022), (0.3, -0.02, 0.024), (0.33, 0.04, 0.024), (-0.25, 0.3, 0.06)],
    "no-p": [(-0.08, -0.035, 0.009), (1.0, 0, 0.012), (-0.25, 0.03, 0.01), (0.2, 0.26, 0.05)],
    "paced-low": [(0.5, -0.05, 0.003), (-0.45, 0.02, 0.035), (0.25, 0.28, 0.06)],
    "paced-fused": [(0.6, -0.05, 0.003), (0.5, 0.0, 0.02), (-0.3, 0.05, 0.02), (0.2, 0.28, 0.06)],
    "blocked-p": [(0.16, -0.18, 0.022)],
    "pvc-tall": [(1.9, 0, 0.035), (-0.9, 0.12, 0.045), (-0.5, 0.28, 0.06)],
    "pvc-small": [(0.45, 0, 0.035), (-0.3, 0.11, 0.04), (-0.2, 0.27, 0.06)],
    "pvc-slurred": [(0.5, -0.01, 0.04), (0.25, 0.02, 0.016), (-0.5, 0.12, 0.045), (-0.2, 0.3, 0.06)],
    "pvc-blunt": [(0.6, 0, 0.04), (-0.5, 0.13, 0.045), (-0.15, 0.3, 0.06)],
    "pvc-blunt-down": [(-0.7, 0, 0.042), (0.45, 0.14, 0.05)],
    "pvc-notched": [(0.7, -0.03, 0.02), (0.6, 0.04, 0.024), (-0.6, 0.26, 0.06)],
    "fusion": [(0.08, -0.17, 0.02), (1.0, 0, 0.02), (-0.4, 0.07, 0.03), (-0.1, 0.28, 0.06)],
    "flutter": [(0.9, 0, 0.05), (-0.9, 0.15, 0.05)],
}  # fmt: skip
ALL_SHAPES = SHAPES | MORE
NO_BEAT = {"blocked-p"}

Rhythm = list[tuple[float, str]]
"""Beats in order: the interval before each in s, and its shape."""


def render(
    rhythm: Rhythm, fs: float, rng: np.random.Generator, breathing: float = 0.12
) -> tuple[Floats, Ints]:
    """Samples in mV and the beats of a rhythm; a blocked P wave is drawn and is no beat."""
    times = np.cumsum([interval for interval, _ in rhythm])
    samples = rng.normal(scale=0.008, size=int((times[-1] + 0.6) * fs))
    at = np.arange(samples.size) / fs
    phase, beats = rng.uniform(0, 6.28), []
    for time, (interval, name) in zip(times.tolist(), rhythm, strict=True):
        first, end = np.searchsorted(at, [time - 0.4, time + 0.65])
        gain = 1.0 + breathing * np.sin(2 * np.pi * 0.24 * time + phase) + 0.05 * rng.normal()
        stretch = 1.0 + 0.08 * rng.normal()
        t_place = np.clip(np.sqrt(interval / 0.8), 0.75, 1.25)
        for height, place, width in ALL_SHAPES[name]:
            middle = time + (place * t_place if place > 0.2 else place * stretch)
            spread = width * (stretch if place < 0.2 else 1.0)
            samples[first:end] += gain * height * np.exp(-0.5 * ((at[first:end] - middle) / spread) ** 2)
        if name not in NO_BEAT:
            beats.append(round(time * fs))
    return samples, np.asarray(beats, dtype=np.int64)


def sinus(
    seconds: float, shape: str, rng: np.random.Generator, rr: float = 0.8, jitter: float = 0.04
) -> Rhythm:
    return [(rr * (1 + jitter * rng.normal()), shape) for _ in range(int(seconds / rr))]


def fibrillating(seconds: float, shape: str, rng: np.random.Generator, rr: float = 0.68) -> Rhythm:
    n = int(seconds / rr)
    return [(x, shape) for x in np.clip(rng.gamma(16, rr / 16, n), 0.32, 1.9).tolist()]


def ectopics(
    base: Rhythm,
    kinds: list[str],
    share: float,
    rng: np.random.Generator,
    coupling: tuple[float, float] = (0.55, 0.75),
) -> Rhythm:
    """A share of the beats early and of another kind, most with a compensatory pause, a quarter in pairs and runs."""
    out: Rhythm = []
    late = 0.0
    for interval, shape in base:
        if out and late == 0.0 and rng.random() < share:
            kind = kinds[int(rng.integers(len(kinds)))]
            early = max(0.36, interval * rng.uniform(*coupling))
            run = 1 if rng.random() < 0.75 else int(rng.integers(2, 5))
            out.append((early, kind))
            out += [(rng.uniform(0.36, 0.48), kind) for _ in range(run - 1)]
            late = interval - early if rng.random() < 0.7 else 0.05
        else:
            out.append((interval + late, shape))
            late = 0.0
    return out


def bigeminal(seconds: float, shape: str, kind: str, rng: np.random.Generator, every: int = 2) -> Rhythm:
    out: Rhythm = []
    while sum(x for x, _ in out) < seconds:
        out.append((1.05 + 0.03 * rng.normal(), shape))
        out += [(0.8 + 0.03 * rng.normal(), shape) for _ in range(every - 2)]
        out.append((0.48 + 0.02 * rng.normal(), kind))
    return out


def runs(seconds: float, shape: str, kind: str, rng: np.random.Generator, rr: float = 0.36) -> Rhythm:
    """Sinus rhythm with runs of 3 to 20 fast wide beats."""
    out: Rhythm = []
    while sum(x for x, _ in out) < seconds:
        out += [(0.78 + 0.03 * rng.normal(), shape) for _ in range(int(rng.integers(4, 15)))]
        out += [(rr + 0.015 * rng.normal(), kind) for _ in range(int(rng.integers(3, 20)))]
        out.append((0.85, shape))
    return out


def pausing(seconds: float, shape: str, rng: np.random.Generator, blocked: bool) -> Rhythm:
    """Sinus rhythm with pauses of 2 to 6 s; with `blocked`, P waves go on through them."""
    out: Rhythm = []
    while sum(x for x, _ in out) < seconds:
        out += [(0.85 + 0.03 * rng.normal(), shape) for _ in range(int(rng.integers(2, 12)))]
        if blocked:
            out += [(0.85, "blocked-p") for _ in range(int(rng.integers(1, 6)))]
        else:
            out.append((rng.uniform(2.0, 6.0), shape))
    return [*out, (0.85, shape)]


def stepping(samples: Floats, fs: float, rng: np.random.Generator) -> Floats:
    """The amplitude changes at once by up to three, every few seconds, as when an electrode shifts."""
    gain = np.ones(samples.size)
    at = 0
    while at < samples.size:
        length = int(rng.uniform(4, 15) * fs)
        gain[at : at + length] = rng.uniform(0.4, 1.3)
        at += length
    return samples * gain


def atrial_waves(
    size: int, fs: float, rng: np.random.Generator, hz: float, height: float, regular: bool
) -> Floats:
    """Waves of fibrillating (irregular) or fluttering (saw-tooth) atria."""
    drift = 0.0 if regular else np.cumsum(rng.normal(size=size)) * 0.6 / np.sqrt(fs)
    phase = 2 * np.pi * hz * np.arange(size) / fs + drift
    return np.asarray(height * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.6)))


def drifting(size: int, fs: float, rng: np.random.Generator) -> Floats:
    """Electrode motion as in the noise stress test: power falls with the square of the frequency; steps, bumps."""
    white = np.fft.rfft(rng.normal(size=size))
    hz = np.fft.rfftfreq(size, 1 / fs)
    noise = np.fft.irfft(white / np.maximum(hz, 1.5) * (hz < 40), size)
    steps = motion(size, fs, rng)
    return np.asarray(noise / noise.std() + 0.8 * steps / steps.std())


def tremor(size: int, fs: float, rng: np.random.Generator) -> Floats:
    """Muscle noise that swells and fades, by a factor of three at most: real muscles tire."""
    noise = muscle(size, fs, rng)
    swell = np.sqrt(np.convolve(noise**2, np.ones(int(fs)) / int(fs), "same"))
    return np.asarray(noise / swell * np.clip(swell / np.median(swell), 0.6, 1.8))


NOISES = {"muscle": tremor, "wander": wander, "motion": motion, "electrode": drifting}


def noisy(
    samples: Floats, fs: float, rng: np.random.Generator, kind: str, db: float, qrs_mv: float
) -> Floats:
    """Noise over the whole, at a ratio of the nst program's convention (QRS height squared over eight)."""
    noise = NOISES[kind](samples.size, fs, rng)
    made: Floats = samples + noise * np.sqrt(qrs_mv**2 / 8 / 10 ** (db / 10) / np.mean(noise**2))
    return made


def in_bursts(
    samples: Floats, fs: float, rng: np.random.Generator, kind: str, db: float, qrs_mv: float
) -> Floats:
    """The same in bursts of 3 to 12 s, a third of the time."""
    window = np.zeros(samples.size)
    at = int(rng.uniform(0, 10) * fs)
    while at < samples.size:
        length = int(rng.uniform(3, 12) * fs)
        window[at : at + length] = 1.0
        at += length + int(rng.uniform(8, 22) * fs)
    return samples + window * (noisy(samples, fs, rng, kind, db, qrs_mv) - samples)


@dataclass(frozen=True)
class Case:
    """One recording: what it is like, how it is made, and at which rate."""

    name: str
    like: str
    make: Callable[[np.random.Generator, float, float], tuple[Floats, Ints]]
    fs: float = 360.0

    def recording(self, seed: int, seconds: float) -> tuple[Floats, Ints]:
        return self.make(np.random.default_rng([seed, *self.name.encode()]), self.fs, seconds)


Step = Callable[[Floats, float, np.random.Generator], Floats]
Rhythmic = Callable[[float, np.random.Generator], Rhythm]


def _case(name: str, like: str, rhythm: Rhythmic, *steps: Step, fs: float = 360.0) -> Case:
    def make(rng: np.random.Generator, fs: float, seconds: float) -> tuple[Floats, Ints]:
        samples, beats = render(rhythm(seconds, rng), fs, rng)
        for step in steps:
            samples = step(samples, fs, rng)
        return samples, beats

    return Case(name, like, make, fs)


def _with(kind: str, db: float, qrs_mv: float = 1.3) -> Step:
    return lambda x, fs, rng: noisy(x, fs, rng, kind, db, qrs_mv)


def _bursts(kind: str, db: float, qrs_mv: float = 1.3) -> Step:
    return lambda x, fs, rng: in_bursts(x, fs, rng, kind, db, qrs_mv)


def _atrial(hz: float, height: float, regular: bool) -> Step:
    return lambda x, fs, rng: x + atrial_waves(x.size, fs, rng, hz, height, regular)


def _sinus(shape: str, rr: float = 0.8, jitter: float = 0.04) -> Rhythmic:
    return lambda s, g: sinus(s, shape, g, rr, jitter)


def _fibrillating(rr: float = 0.68) -> Rhythmic:
    return lambda s, g: fibrillating(s, "no-p", g, rr)


def _ectopic(base: Rhythmic, kinds: list[str], share: float) -> Rhythmic:
    return lambda s, g: ectopics(base(s, g), kinds, share, g)


def _bigeminal(kind: str, every: int = 2) -> Rhythmic:
    return lambda s, g: bigeminal(s, "normal-p", kind, g, every)


def _runs(shape: str, kind: str, rr: float = 0.36) -> Rhythmic:
    return lambda s, g: runs(s, shape, kind, g, rr)


def _pausing(shape: str, blocked: bool) -> Rhythmic:
    return lambda s, g: pausing(s, shape, g, blocked)


def _paced(s: float, g: np.random.Generator) -> Rhythm:
    return [(x, k if g.random() > 0.1 else "paced-fused") for x, k in sinus(s, "paced", g, jitter=0.005)]


_BLUNT = ["pvc-blunt", "pvc-blunt-down", "pvc-small", "pvc-slurred"]
_MANY = ["pvc", "pvc-down", *_BLUNT, "pvc-notched", "fusion"]
_SMALL = 0.6  # mV from lowest to highest of a small QRS, for the ratio of the noise
_QUIET = _with("muscle", 18)

CASES = [
    _case("normal", "100, 101, 103, 115, 122", _sinus("normal-p")),
    _case("paced", "102, 104, 107, 217", _paced, _with("muscle", 15)),
    _case("paced, low", "102, 104", _sinus("paced-low", jitter=0.005), _with("muscle", 15, _SMALL)),
    _case("bursts of electrode motion", "105", _sinus("normal-p", 0.72), _bursts("electrode", 3), _QUIET),
    _case("small QRS, tall P", "108", _sinus("small-biphasic", 1.0, 0.08), _with("electrode", 9, _SMALL),
          _with("muscle", 18, _SMALL)),
    _case("left bundle branch block", "109, 111, 214", _sinus("left-block"), _with("muscle", 15), _with("wander", 3)),
    _case("left block, low", "111", _sinus("left-block-low"), _with("muscle", 15, 0.5), _with("electrode", 15, 0.5)),
    _case("T above R", "113, 117", _sinus("t-above-r", 1.0, 0.1), _with("wander", 6)),
    _case("deep T", "116, 123", _sinus("t-deep"), _QUIET),
    _case("small, inverted", "114", _ectopic(_sinus("small-down", 1.1), ["pvc-small"], 0.03), _with("wander", 3, 0.5),
          _with("muscle", 15, 0.5)),
    _case("right block, early beats", "118, 212, 231", _ectopic(_sinus("right-block"), ["right-block"], 0.1), _QUIET),
    _case("bigeminy, tall", "119, 200", _bigeminal("pvc-tall"), _with("muscle", 15)),
    _case("bigeminy, small", "106", _bigeminal("pvc-small")),
    _case("trigeminy, blunt", "106, 119", _bigeminal("pvc-blunt", 3)),
    _case("blunt ectopic beats", "203, 228", _ectopic(_sinus("normal-p"), _BLUNT, 0.15), _with("muscle", 20)),
    _case("fibrillation, slow and fast", "201, 219, 221", _ectopic(_fibrillating(), ["pvc", "pvc-down"], 0.05),
          _atrial(6.5, 0.05, False), _with("muscle", 20)),
    _case("fibrillation, many shapes, steps", "203", _ectopic(_fibrillating(0.6), _MANY, 0.15), stepping,
          _with("electrode", 12), _QUIET),
    _case("flutter of the atria", "202, 222", _fibrillating(0.75), _atrial(4.8, 0.1, True), _QUIET),
    _case("ventricular flutter and block", "207", _runs("left-block", "flutter", 0.31), _QUIET),
    _case("many ectopic beats", "208, 210, 213, 215, 223, 233", _ectopic(_sinus("normal-p", 0.65), _MANY, 0.25), _QUIET,
          _with("wander", 6)),
    _case("ventricular tachycardia", "205, 223", _runs("normal-p", "pvc-down")),
    _case("small beats, large ectopics, bursts", "228", _ectopic(_sinus("small-down", 0.85), ["pvc-tall", "pvc"], 0.2),
          _bursts("electrode", 6, _SMALL), _with("muscle", 18, _SMALL)),
    _case("pauses", "232", _pausing("right-block", False), _with("muscle", 20)),
    _case("blocked P waves", "231", _pausing("normal-p", True), _with("muscle", 20)),
    _case("slow", "117, 123, 232", _sinus("normal-p", 1.6, 0.08), _with("wander", 3)),
    _case("fast", "209, 234", _sinus("normal-p", 0.38, 0.02), _with("muscle", 15)),
    *(_case(f"electrode motion {db} dB", "118e, 119e", _ectopic(_sinus("normal-p"), ["pvc-tall"], 0.12),
            _with("electrode", db)) for db in (24, 18, 12, 6)),
    *(_case(f"muscle noise {db} dB", "104, 108", _sinus("normal-p"), _with("muscle", db)) for db in (12, 6)),
    *(_case(f"ectopic beats at {fs:.0f} Hz", "other devices", _ectopic(_sinus("normal-p"), ["pvc", "pvc-down"], 0.15),
            _QUIET, fs=fs) for fs in (128.0, 200.0, 250.0, 300.0, 500.0)),
]  # fmt: skip
