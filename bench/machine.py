"""What a measurement was made on, and how one is taken."""

from __future__ import annotations

import gc
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, number of cores, and the versions that decide the figures."""
    import msgspec
    import numpy as np

    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "msgspec": msgspec.__version__,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def cost_us(
    run: Callable[[], object], count: int, repeat: int, prepare: Callable[[], object] | None = None
) -> dict[str, float]:
    """CPU time of one of `count` things that `run` does, in µs: the least and the median of `repeat` runs.
    `prepare` comes before each and is not counted.

    CPU time and not the wall's, because the machine may have other work. The garbage collector runs between the
    runs and as usual within them.
    """
    found = []
    for _ in range(repeat):
        if prepare is not None:
            prepare()
        gc.collect()
        begin = process_time()
        run()
        found.append((process_time() - begin) * 1e6 / max(count, 1))
    return {"min": round(min(found), 3), "median": round(statistics.median(found), 3)}
