"""The tables that the benchmarks make of their own results, for bench.report: by the name of the place in a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench import bridge, database, engine, latency, recovery, scale, writer

MORE: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "engine": ("engine", engine.cost_table),
    "vectors": ("engine", engine.vectors_table),
    "writer": ("writer", writer.table),
    "bridge": ("bridge", bridge.table),
    "idle": ("latency", latency.idle_table),
    "distinct": ("recovery", recovery.distinct_table),
    "grows": ("database", database.grows_table),
    "limits": ("scale", scale.limits_table),
    "schedules": ("scale", scale.schedule_table),
    "saved": ("scale", scale.saved_table),
}
