"""The plain loop behind `run.py`: draw, check, keep what fails, and make it smaller."""

from __future__ import annotations

import hashlib
import json
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic, process_time

from fuzz_targets import Target

MEMORY_EVERY = 97
"""Every so many inputs of a target are checked under tracemalloc, which doubles the time that they take."""
MEMORY_ALWAYS_BYTES = 100_000
"""Longer inputs are all checked so."""
MEMORY_FACTOR = 64
MEMORY_BASE = 24 * 1024 * 1024
"""Peak of what Python allocates while an input is checked: a fixed part (caches, a state with its checkpoints, two
decodings) and so many times its length. 256 KiB may therefore take 40 MB."""
KEPT_PER_FAILURE = 3
"""Inputs kept of failures that look alike."""
MINIMISE_SECONDS = 20.0
MINIMISE_TRIES = 2_000


@dataclass(slots=True)
class Failure:
    """What broke: the input, and where."""

    target: str
    data: bytes
    error: str
    place: str

    @property
    def name(self) -> str:
        """Alike failures have one name: the error's kind and the line it came from."""
        return hashlib.sha256(f"{self.target} {self.error} {self.place}".encode()).hexdigest()[:10]


@dataclass(slots=True)
class Tally:
    """What a run did."""

    inputs: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)
    largest_memory: dict[str, int] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """What the machine gave of them."""


class MemoryUseError(AssertionError):
    """An input that takes too much memory."""


def attempt(target: Target, data: bytes, memory: bool = False) -> tuple[str, Failure | None, int]:
    """(outcome, failure or None, peak of memory in bytes or 0)."""
    peak = 0
    try:
        if not memory:
            return target.check(data), None, 0
        tracemalloc.start()
        try:
            outcome = target.check(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        allowed = MEMORY_BASE + MEMORY_FACTOR * len(data)
        if peak > allowed:
            raise MemoryUseError(f"{len(data)} bytes took {peak} bytes of memory; {allowed} are allowed")
        return outcome, None, peak
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].name}"
        return "failed", Failure(target.name, data, type(error).__name__, place), peak


def run(
    targets: Sequence[Target],
    seed: int,
    seconds: float,
    keep: Callable[[Failure, int], None],
    report: Callable[[Tally], None],
    report_every: float = 60.0,
    most: int | None = None,
) -> Tally:
    """Check inputs of the targets in turn until `seconds` have passed, or each has had `most`.

    Input k of a target depends on the seed, its name and k only, so that a run's failures come again in another.
    """
    tally = Tally(outcomes={target.name: Counter() for target in targets})
    began = reported = monotonic()
    cpu_began = process_time()
    number = 0
    while monotonic() - began < seconds and (most is None or number < most):
        for target in targets:
            data = target.make(Random(f"{seed}:{target.name}:{number}"))
            memory = number % MEMORY_EVERY == 0 or len(data) > MEMORY_ALWAYS_BYTES
            started = process_time()
            outcome, failure, peak = attempt(target, data, memory)
            taken = process_time() - started
            tally.inputs[target.name] += 1
            tally.outcomes[target.name][outcome] += 1
            if not memory:
                tally.slowest[target.name] = max(taken, tally.slowest.get(target.name, 0.0))
            tally.largest_memory[target.name] = max(peak, tally.largest_memory.get(target.name, 0))
            if failure is not None:
                tally.failures[failure.name] += 1
                if tally.failures[failure.name] <= KEPT_PER_FAILURE:
                    keep(failure, number)
        number += 1
        tally.seconds, tally.cpu_seconds = monotonic() - began, process_time() - cpu_began
        if monotonic() - reported >= report_every:
            reported = monotonic()
            report(tally)
    return tally


def keeper(
    folder: Path, targets: dict[str, Target], say: Callable[[str], None]
) -> Callable[[Failure, int], None]:
    """Writes a failure's input, what it became when it was made smaller, and the traceback's end."""
    folder.mkdir(parents=True, exist_ok=True)

    def keep(failure: Failure, number: int) -> None:
        path = folder / f"{failure.target}-{failure.name}-{number}"
        path.with_suffix(".bin").write_bytes(failure.data)
        small = minimised(targets[failure.target], failure)
        path.with_suffix(".min").write_bytes(small)
        try:
            targets[failure.target].check(small)
            text = "not again"
        except Exception:
            text = traceback.format_exc()
        path.with_suffix(".txt").write_text(text[-6_000:], encoding="utf-8", errors="backslashreplace")
        say(f"FAILED {failure.target} {failure.error} in {failure.place}: {small[:120]!r} ({path.name})")

    return keep


def minimised(target: Target, failure: Failure) -> bytes:
    """A shorter input with the same failure: pieces are left out, the large ones first, while it fails alike."""
    data = failure.data
    began, tries = monotonic(), 0
    width = max(1, len(data) // 2)
    while width >= 1:
        at, shorter = 0, False
        while at < len(data):
            if monotonic() - began > MINIMISE_SECONDS or tries >= MINIMISE_TRIES:
                return data
            tries += 1
            candidate = data[:at] + data[at + width :]
            found = attempt(target, candidate)[1]
            if found is not None and found.name == failure.name:
                data, shorter = candidate, True
            else:
                at += width
        if width == 1 and not shorter:
            break
        width = max(1, width // 2) if width > 1 else (1 if shorter else 0)
    return data


def summary(tally: Tally) -> str:
    """The run in words: inputs and rate for each target, what became of them, the slowest and the largest."""
    total = sum(tally.inputs.values())
    rate = total / max(tally.cpu_seconds, 1e-9)
    lines = [
        f"{total} inputs in {tally.seconds:.0f} s, {tally.cpu_seconds:.0f} s of processor time, "
        f"{rate:.0f} in each of these"
    ]
    for name, count in tally.inputs.items():
        common = ", ".join(f"{outcome} {n}" for outcome, n in tally.outcomes[name].most_common(6))
        slow = tally.slowest.get(name, 0.0)
        memory = tally.largest_memory.get(name, 0) / 1e6
        lines.append(f"  {name:16} {count:8} inputs, slowest {slow:.3f} s, memory {memory:.1f} MB: {common}")
    lines.append(f"failures: {sum(tally.failures.values())} in {len(tally.failures)} sorts")
    return "\n".join(lines)


def as_json(tally: Tally, seed: int) -> str:
    """The same for a machine."""
    return json.dumps(
        {
            "seed": seed,
            "seconds": round(tally.seconds, 1),
            "cpu_seconds": round(tally.cpu_seconds, 1),
            "inputs": dict(tally.inputs),
            "slowest_s": {name: round(s, 4) for name, s in tally.slowest.items()},
            "memory_bytes": tally.largest_memory,
            "outcomes": {name: dict(counts.most_common()) for name, counts in tally.outcomes.items()},
            "failures": dict(tally.failures),
        },
        indent=1,
    )
