"""What was drawn for one patient, as columns and as the messages that the devices send."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from devices.physiology.course import Course
from devices.physiology.defects import Battery, Sent
from devices.physiology.local_time import LocalTime
from devices.physiology.patients import SimulatedPatient
from devices.physiology.series import Instants, Label
from devices.times import format_instant


class SimulatedReading(NamedTuple):
    """One delivery of a message. `reading` is what the device sends (contract, section 1)."""

    delivered_ms: int
    device: str
    reading: dict[str, Any]
    true_ms: int
    duplicate: bool


@dataclass(frozen=True)
class Simulation:
    """All that was drawn for one patient: columns for those who count, messages for those who send."""

    patient: SimulatedPatient
    course: Course
    sent: tuple[Sent, ...]
    labels: tuple[Label, ...]
    batteries: dict[str, Battery]
    duplicates: tuple[tuple[int, int, int], ...]
    """(number of the series, row, instant of the second delivery)."""
    clock: LocalTime

    def readings(self) -> Iterator[SimulatedReading]:
        """Messages in the order of their delivery."""
        if not self.sent:
            return
        writers = [_Writer(one, self.clock) for one in self.sent]
        owner = np.concatenate(
            [np.full(len(one.seq), number) for number, one in enumerate(self.sent)]
            + [np.array([number for number, _, _ in self.duplicates], dtype=np.int64)]
        )
        row = np.concatenate(
            [np.arange(len(one.seq)) for one in self.sent]
            + [np.array([at for _, at, _ in self.duplicates], dtype=np.int64)]
        )
        delivered = np.concatenate(
            [one.delivered_ms for one in self.sent]
            + [np.array([again for _, _, again in self.duplicates], dtype=np.int64)]
        )
        first_copy = len(row) - len(self.duplicates)
        seq = np.concatenate([one.seq for one in self.sent] + [np.zeros(len(self.duplicates), np.int64)])
        for flat in np.lexsort((seq, owner, delivered)).tolist():
            number, at = int(owner[flat]), int(row[flat])
            one = self.sent[number]
            yield SimulatedReading(
                int(delivered[flat]),
                one.series.device,
                writers[number](at),
                int(one.series.true_ms[at]),
                flat >= first_copy,
            )


class _Writer:
    """Makes the message of a row of a series."""

    def __init__(self, sent: Sent, clock: LocalTime) -> None:
        self._series = sent.series
        self._seq: Instants = sent.seq
        self._measured_ms = sent.measured_ms
        self._offsets = clock.offset_min(sent.series.true_ms)
        self._columns = {name: sent.series.column(name) for name in sent.series.values}

    def __call__(self, row: int) -> dict[str, Any]:
        series = self._series
        reading: dict[str, Any] = {
            "v": 1,
            "device": series.device,
            "seq": int(self._seq[row]),
            "kind": series.kind,
            "measured_at": format_instant(int(self._measured_ms[row]), int(self._offsets[row])),
            "values": {name: column[row] for name, column in self._columns.items()},
        }
        if series.unit is not None:
            reading["unit"] = series.unit
        if row in series.flags:
            reading["flags"] = list(series.flags[row])
        if series.context:
            reading["context"] = {
                name: value if isinstance(value, str) else value[row]
                for name, value in series.context.items()
            }
        return reading
