"""What `scad summary` prints: for each patient and kind the statistics of the reference.

The order of a file's lines does not matter: readings are sorted by instant and identity, and the same
reading (same identity, same content) counts once, as in the platform. Refused readings never get here; those that
failed an artefact gate do not count. One pass over the file; what is kept of a reading is some 50 bytes and
its intervals, spilled to disk beyond a bound, so that memory holds one patient and kind at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from devices.catalogue import RR_USABLE_MS
from devices.content import content_number
from devices.readings import Reading
from devices.times import format_instant
from streams.signals import intervals, rhythm
from streams.spool import Spool
from streams.statistics.anticoagulation import time_in_range
from streams.statistics.blood_pressure import blood_pressure_statistics
from streams.statistics.glucose import glucose_episodes, glucose_statistics
from streams.statistics.heart import heart_rate_variability
from streams.statistics.weight import weight_statistics

Floats = NDArray[np.float64]
Rows = NDArray[Any]  # structured: a row for each reading
Statistics = dict[str, float | None]
Key = tuple[str, str]  # patient, kind

MINUTE_MS = 60_000
DAY_MS = 86_400_000
DAY_MIN = 1440
# Digits after the point: finer than any sensor, short enough to read.
DIGITS = 6

# The values that a kind's statistics need, at most two.
VALUES: dict[str, tuple[str, ...]] = {
    "glucose": ("glucose",),
    "blood-pressure": ("systolic", "diastolic"),
    "body-weight": ("weight",),
    "inr": ("inr",),
    "oxygen-saturation": ("spo2",),
    "heart-rate": ("heart_rate",),
    "temperature": ("temperature",),
    "respiratory-rate": ("respiratory_rate",),
    "ketones": ("ketones",),
}

_ROW = struct.Struct("<qqqqqdd")
_ROW_TYPE = np.dtype(
    [
        ("at_ms", "<i8"),
        ("device", "<i8"),
        ("epoch", "<i8"),
        ("seq", "<i8"),
        ("packed", "<i8"),  # digest · 4096 + offset from UTC in minutes + 2048
        ("x", "<f8"),
        ("y", "<f8"),
    ]
)
# Where a reading stands among its patient's, and what makes two lines the same reading.
_WHO = ("at_ms", "device", "epoch", "seq", "packed")
_PACK_OFFSET = 2048  # offsets are within ±18 hours, 1080 minutes
_PACK_BASE = 4096

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Readings:
    """The readings of one patient and kind, each once, in order. `rr_ms` is one array a reading."""

    rows: Rows
    rr_ms: list[Floats]

    @property
    def at_ms(self) -> NDArray[np.int64]:
        return self.rows["at_ms"]

    @property
    def offset_min(self) -> NDArray[np.int64]:
        return np.asarray(self.rows["packed"] % _PACK_BASE - _PACK_OFFSET, dtype=np.int64)

    @property
    def local_ms(self) -> NDArray[np.int64]:
        return np.asarray(self.at_ms + self.offset_min * MINUTE_MS, dtype=np.int64)

    @property
    def local_day(self) -> NDArray[np.int64]:
        return self.local_ms // DAY_MS


class Summary:
    """Collects readings in any order; `lines` gives the summary's lines when all are in."""

    def __init__(self, spool: Spool[Key] | None = None, intervals_spool: Spool[Key] | None = None) -> None:
        self._rows: Spool[Key] = spool or Spool()
        self._intervals: Spool[Key] = intervals_spool or Spool()
        self._devices: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()
        self._intervals.close()

    def add(self, reading: Reading) -> None:
        """Take one reading in; one that failed an artefact gate is left out."""
        if reading.artefact:
            return
        key = (reading.patient, reading.kind)
        numbers = [float(reading.values[name]) for name in VALUES.get(reading.kind, ())]
        if reading.kind == "rr-intervals":
            rr_ms = np.asarray(reading.values["rr"], dtype="<f8")
            self._intervals.append(key, rr_ms.tobytes())
            numbers = [float(rr_ms.size)]
        x, y = (*numbers, 0.0, 0.0)[:2]
        self._rows.append(
            key,
            _ROW.pack(
                reading.measured_at_ms,
                self._devices.setdefault(reading.device, len(self._devices)),
                reading.epoch,
                reading.seq,
                content_number(reading) * _PACK_BASE + reading.offset_min + _PACK_OFFSET,
                x,
                y,
            ),
        )

    def lines(self) -> Iterator[bytes]:
        """One JSON object for each patient and kind, sorted, without line end."""
        rank = np.argsort(np.argsort(np.asarray(list(self._devices), dtype=np.str_)))
        for key in sorted(self._rows):
            readings = self._readings(key, rank)
            statistics, episodes = _summarise(key[1], readings)
            first, last = readings.rows[0], readings.rows[-1]
            offsets = readings.offset_min
            yield _encode(
                {
                    "patient": key[0],
                    "kind": key[1],
                    "n": len(readings.rows),
                    "from": format_instant(int(first["at_ms"]), int(offsets[0])),
                    "to": format_instant(int(last["at_ms"]), int(offsets[-1])),
                    "statistics": {name: _rounded(value) for name, value in statistics.items()},
                    "episodes": episodes,
                }
            )

    def _readings(self, key: Key, rank: NDArray[np.int64]) -> Readings:
        rows = np.frombuffer(self._rows.read(key), dtype=_ROW_TYPE).copy()
        rows["device"] = rank[rows["device"]]
        order = np.lexsort([rows[name] for name in reversed(_WHO)])
        ordered = rows[order]
        differs = np.zeros(len(rows), dtype=np.bool_)
        differs[:1] = True
        for name in _WHO:
            differs[1:] |= ordered[name][1:] != ordered[name][:-1]
        kept = order[differs]
        rr_ms: list[Floats] = []
        if key[1] == "rr-intervals":
            flat = np.frombuffer(self._intervals.read(key), dtype="<f8")
            ends = np.cumsum(rows["x"].astype(np.int64))
            rr_ms = [flat[int(ends[i] - rows["x"][i]) : int(ends[i])] for i in kept.tolist()]
        return Readings(rows[kept], rr_ms)


def _summarise(kind: str, readings: Readings) -> tuple[Statistics, dict[str, int | None]]:
    if kind == "glucose":
        offset_min = int(readings.offset_min[0])
        glucose = readings.rows["x"]
        return (
            glucose_statistics(readings.at_ms, glucose, offset_min),
            glucose_episodes(readings.at_ms, glucose, offset_min),
        )
    return _STATISTICS.get(kind, _nothing)(readings), {}


def _pressure(readings: Readings) -> Statistics:
    minute = readings.local_ms // MINUTE_MS % DAY_MIN
    return blood_pressure_statistics(readings.rows["x"], readings.rows["y"], minute)


def _weight(readings: Readings) -> Statistics:
    return weight_statistics(readings.local_day, readings.rows["x"])


def _inr(readings: Readings) -> Statistics:
    return {"ttr": time_in_range(readings.at_ms, readings.local_day, readings.rows["x"])}


def _range(readings: Readings) -> Statistics:
    x = readings.rows["x"]
    return {"mean": float(np.mean(x)), "min": float(np.min(x)), "max": float(np.max(x))}


def _nothing(readings: Readings) -> Statistics:
    return {}


def _rhythm(readings: Readings) -> Statistics:
    """Mean interval and rate over all intervals that can be; variability over normal ones outside
    atrial fibrillation, where it is not defined; the share of time in it over all time."""
    series = _series(readings)
    rr_ms = np.concatenate([part for part, _ in series])
    inside = np.concatenate([rhythm.fibrillation(part) for part, _ in series])
    sinus = np.concatenate([intervals.normal(part) for part, _ in series]) & ~inside
    continues = np.concatenate([follows for _, follows in series])
    counted = rr_ms[intervals.plausible(rr_ms)]
    mean = float(np.mean(counted)) if counted.size else None
    total = float(np.sum(rr_ms))
    return {
        "mean_rr": mean,
        "mean_heart_rate": None if mean is None else intervals.MS_PER_MIN / mean,
        **heart_rate_variability(rr_ms, sinus, continues),
        "af_fraction": float(np.sum(rr_ms[inside])) / total if total > 0.0 else None,
    }


def _series(readings: Readings) -> list[tuple[Floats, NDArray[np.bool_]]]:
    """Consecutive readings of one device joined, with a mask of the intervals that follow the one before.

    Intervals that cannot be (contract section 1) are masked: they are left out and break the chain.
    """
    by_device = np.lexsort([readings.at_ms, readings.rows["device"]])
    groups: list[list[Floats]] = []
    device, end_ms = -1, 0.0
    for i in by_device.tolist():
        at_ms, rr_ms = int(readings.at_ms[i]), readings.rr_ms[i]
        joins = device == readings.rows["device"][i] and abs(at_ms - end_ms) <= rhythm.CONTEXT_GAP_MS
        if not joins or not groups:
            groups.append([])
        groups[-1].append(rr_ms)
        device, end_ms = int(readings.rows["device"][i]), at_ms + float(rr_ms.sum())
    series = []
    for group in groups:
        joined = np.concatenate(group)
        usable = (joined >= RR_USABLE_MS[0]) & (joined <= RR_USABLE_MS[1])
        follows = np.concatenate([[False], usable[:-1]])
        series.append((joined[usable], follows[usable]))
    return series


_STATISTICS: dict[str, Callable[[Readings], Statistics]] = {
    "blood-pressure": _pressure,
    "body-weight": _weight,
    "inr": _inr,
    "rr-intervals": _rhythm,
    "oxygen-saturation": _range,
    "heart-rate": _range,
    "temperature": _range,
    "respiratory-rate": _range,
    "ketones": _range,
}


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, DIGITS)
