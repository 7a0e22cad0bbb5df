"""How well beats are found in strips of ECG, and atrial fibrillation in RR intervals: a row for each difficulty.

    python -m bench.signals [--seconds 300] [--seeds 3] [--cut 30] [--inverted] [--others] [--json FILE]

Synthetic recordings made from seeds (tests/streams/hard_strips.py, record_models.py and hard_series.py), and MIT-BIH
record 100 where the recordings lie beside the checkout. A beat counts as found within 150 ms, each once. `--others`
reads the models with the detectors of sleepecg, neurokit2 and wfdb beside it, whichever are installed (no dependencies
of SCAD). docs/signals.md explains the figures.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import machine
from streams.signals.ecg import analyse
from streams.signals.qrs import detect_beats
from streams.signals.rhythm import fibrillation
from tests.streams import hard_series, hard_strips, record_models
from tests.streams.record_models import FS
from tests.streams.strips import Floats, Ints, agreement

LEARNING_S = 10.0  # others learn from the start of a recording: what they do there does not count for anybody

FIRST_SEED = 2000  # those below were looked at while the detector was set
EPISODE_MS = 300_000.0

Detector = Callable[[Floats], Any]
"""Sample indices of the beats in samples at FS."""


@dataclass
class Beats:
    """Beats of one kind of recording."""

    name: str
    found: int = 0
    missed: int = 0
    wrong: int = 0

    @property
    def sensitivity(self) -> float:
        return self.found / max(1, self.found + self.missed)

    @property
    def predictivity(self) -> float:
        return self.found / max(1, self.found + self.wrong)


@dataclass
class Fibrillation:
    """Percent of the time in fibrillation, true and found; false: episodes of five minutes where there is none."""

    name: str
    truth: float
    found: float
    worst: float
    false_episodes: int


def strips(samples: Floats, beats: Ints, fs: float, seconds: float) -> Iterator[tuple[Floats, Ints]]:
    """The recording cut into strips, as a device would send it; what is left over at its end is left out."""
    size = int(seconds * fs)
    for first in range(0, samples.size - size + 1, size):
        inside = (beats >= first) & (beats < first + size)
        yield samples[first : first + size], beats[inside] - first


def count(row: Beats, samples: Floats, beats: Ints, fs: float, cut: float) -> None:
    for strip, true in strips(samples, beats, fs, cut):
        found, missed, wrong = agreement(detect_beats(strip, fs), true, fs)
        row.found, row.missed, row.wrong = row.found + found, row.missed + missed, row.wrong + wrong


def beats_table(options: argparse.Namespace) -> list[Beats]:
    rows = []
    for case in hard_strips.CASES:
        row = Beats(case.name)
        for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
            samples, beats = case.recording(seed, options.seconds)
            count(row, -samples if options.inverted else samples, beats, case.fs, options.cut)
        rows.append(row)
    return rows + recorded(options)


def recorded(options: argparse.Namespace) -> list[Beats]:
    """Record 100, clean and in noise; nothing where it is not beside the checkout."""
    from tests.streams.recordings import FOLDER, record_100

    if not FOLDER.is_dir():
        return []
    samples, beats, fs = record_100()
    rows = []
    for kind, db in ((None, 0), ("electrode", 12), ("electrode", 6), ("muscle", 12), ("muscle", 6)):
        row = Beats("record 100" if kind is None else f"record 100, {kind} {db} dB")
        rng = np.random.default_rng(FIRST_SEED)
        noisy = samples if kind is None else hard_strips.noisy(samples, fs, rng, kind, db, 1.3)
        count(row, -noisy if options.inverted else noisy, beats, fs, options.cut)
        rows.append(row)
    return rows


def models_table(options: argparse.Namespace, detect: Detector | None = None) -> list[Beats]:
    """Recordings modelled on single records: by strips, or by another detector as a whole."""
    rows = []
    for model in record_models.MODELS:
        row = Beats(model.like)
        for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
            made = model.recording(seed, options.seconds)
            size = int(options.cut * FS)
            end = made.samples.size // size * size
            samples = -made.samples[:end] if options.inverted else made.samples[:end]
            if detect is None:
                cut = range(0, end, size)
                found = np.concatenate([detect_beats(samples[i : i + size], FS) + i for i in cut])
            else:
                found = np.asarray(detect(samples), dtype=np.int64)
            first = int(LEARNING_S * FS) if options.others else 0
            made.unscored += [(-size, first), (end, made.samples.size)]
            true = record_models.scored(made.beats, made)
            both, missed, wrong = agreement(record_models.scored(found, made), true, FS)
            row.found, row.missed, row.wrong = row.found + both, row.missed + missed, row.wrong + wrong
        rows.append(row)
    return rows


def others() -> dict[str, Detector]:
    """The detectors of libraries that are installed, by name; each takes a whole recording at FS."""
    found: dict[str, Detector] = {}
    if library := _installed("sleepecg"):
        found["sleepecg"] = lambda x: library.detect_heartbeats(x, FS)
    if library_nk := _installed("neurokit2"):
        cleaned: Detector = lambda x: library_nk.ecg_clean(x, sampling_rate=FS)  # noqa: E731
        found["neurokit2"] = lambda x: library_nk.ecg_findpeaks(cleaned(x), FS)["ECG_R_Peaks"]
    if library_wfdb := _installed("wfdb.processing"):
        found["wfdb xqrs"] = lambda x: library_wfdb.xqrs_detect(x, FS, verbose=False)
    return found


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def milliseconds(seeds: int) -> float:
    """Processor time for one strip of 30 s, beats, quality and rhythm together, in ms."""
    strips_30 = [model.recording(0, 31.0).samples[: int(30 * FS)] for model in record_models.MODELS]
    analyse(strips_30[0], FS)
    begin = time.process_time()
    for _ in range(seeds):
        for strip in strips_30:
            analyse(strip, FS)
    return 1000.0 * (time.process_time() - begin) / (seeds * len(strips_30))


def fibrillation_table(seeds: int) -> list[Fibrillation]:
    rows = []
    for case in hard_series.CASES:
        shares = []
        false = 0
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            rr_ms, true = case.recording(seed)
            inside = fibrillation(rr_ms)
            total = rr_ms.sum() / 100.0
            shares.append((rr_ms[true].sum() / total, rr_ms[inside].sum() / total))
            false += false_episodes(rr_ms, inside, true)
        truth, found = np.mean(shares, axis=0)
        worst = max((found - true for true, found in shares), key=abs)
        rows.append(Fibrillation(case.name, float(truth), float(found), float(worst), false))
    return rows


def false_episodes(rr_ms: Floats, inside: hard_series.Bools, true: hard_series.Bools) -> int:
    """Episodes of five minutes and more, less than half of which is fibrillation."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    runs = [slice(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
    return sum(
        1
        for run in runs
        if rr_ms[run].sum() >= EPISODE_MS and rr_ms[run][true[run]].sum() < 0.5 * rr_ms[run].sum()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="length of each synthetic recording")
    parser.add_argument("--seeds", type=int, default=3, help="recordings of each kind")
    parser.add_argument("--cut", type=float, default=30.0, help="length of the strips in s")
    parser.add_argument("--inverted", action="store_true", help="electrodes the wrong way round")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--others", action="store_true", help="installed libraries beside it, models alone")
    options = parser.parse_args()
    models = models_table(options)
    document: dict[str, object] = {"machine": machine(), "options": vars(options) | {"json": None}}
    print_beats("models of records", models)
    document["models"] = [asdict(row) for row in models]
    if options.others:
        for name, detect in others().items():
            rows = models_table(options, detect)
            print_beats(name, rows)
            document[name] = [asdict(row) for row in rows]
    else:
        beats, rhythm = beats_table(options), fibrillation_table(options.seeds)
        print_beats("difficulties", beats)
        print_fibrillation(rhythm)
        document |= {"beats": [asdict(row) for row in beats], "fibrillation": [asdict(row) for row in rhythm]}
        document["ms_per_strip"] = milliseconds(options.seeds)
        sys.stdout.write(f"\n{document['ms_per_strip']:.1f} ms of processor time for a strip of 30 s\n")
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def print_beats(title: str, rows: list[Beats]) -> None:
    write = sys.stdout.write
    write(f"{title:40} {'sensitivity':>11} {'predictivity':>12} {'missed':>7} {'wrong':>6}\n")
    total = Beats("all", *(sum(getattr(row, name) for row in rows) for name in ("found", "missed", "wrong")))
    for row in [*rows, total]:
        figures = f"{row.sensitivity:11.4f} {row.predictivity:12.4f} {row.missed:7} {row.wrong:6}"
        write(f"{row.name:40} {figures}\n")
    write("\n")
    sys.stdout.flush()


def print_fibrillation(rows: list[Fibrillation]) -> None:
    write = sys.stdout.write
    write(f"{'share of time in fibrillation, %':50} {'true':>6} {'found':>6} {'worst':>6} {'false':>6}\n")
    for case in rows:
        write(
            f"{case.name:50} {case.truth:6.1f} {case.found:6.1f} {case.worst:+6.1f} {case.false_episodes:6}\n"
        )


if __name__ == "__main__":
    sys.exit(main())
