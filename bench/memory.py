"""What a patient takes: bytes in the changelog, and in a worker that has the state decoded."""

from __future__ import annotations

import gc
import statistics
import tracemalloc

from bench.ward import Bed
from streams.engine import Engine
from streams.protocols.model import Library

SAMPLES = 30
"""Dumps of each patient, evenly over the second half: the history breathes between two checkpoints."""


def sizes(library: Library, beds: list[Bed]) -> dict[str, int]:
    """Bytes of a state on disk (median of the patients' largest, and the largest of all), and its memory decoded."""
    engine = Engine(library, silence_by_ticks=True)
    largest, last = [], []
    for bed in beds:
        state = engine.new_state(bed.plan.patient)
        engine.apply(state, plans=[bed.plan])
        half = len(bed.readings) // 2
        engine.apply(state, bed.readings[:half])
        step = max(1, (len(bed.readings) - half) // SAMPLES)
        found = [engine.dump(state)]
        for start in range(half, len(bed.readings), step):
            engine.apply(state, bed.readings[start : start + step])
            found.append(engine.dump(state))
        largest.append(max(map(len, found)))
        last.append((bed.plan.patient, found[-1]))
    return {
        "bytes_median": int(statistics.median(largest)),
        "bytes_max": max(largest),
        "memory_median": int(statistics.median(_memory(engine, patient, data) for patient, data in last)),
    }


def _memory(engine: Engine, patient: str, data: bytes) -> int:
    engine.load(patient, data)  # what all patients share is made now
    gc.collect()
    tracemalloc.start()
    state = engine.load(patient, data)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del state
    return taken
