"""What the modules of physiology hand to each other: measurements of one kind by one device, and labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]
Bools = NDArray[np.bool_]

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


class Label(msgspec.Struct, frozen=True):
    """What truly happened to a patient, or to the data. Times are true times in milliseconds, not a device's.

    `admission_ms` is set for a decompensation that ended in hospital. `detail` says how large it was.
    """

    patient: str
    what: str
    onset_ms: int
    end_ms: int
    admission_ms: int | None = None
    detail: dict[str, Any] = {}


@dataclass
class Series:
    """Measurements of one kind by one device, in order of true time.

    `values` are columns of n: arrays of numbers in `unit`, or a list of lists for RR intervals. Columns of
    `optional` are left out of a reading where they are NaN. `flags` are of single readings, by index.
    """

    kind: str
    device: str
    true_ms: Instants
    values: dict[str, Any]
    unit: str | None = None
    decimals: dict[str, int] = field(default_factory=dict)
    context: dict[str, str | list[str]] = field(default_factory=dict)
    flags: dict[int, tuple[str, ...]] = field(default_factory=dict)
    automatic: bool = False
    """Worn, and measures by itself: the patient's adherence does not matter."""

    def __len__(self) -> int:
        return len(self.true_ms)

    def kept(self, mask: Bools) -> Series:
        """The measurements for which the mask is true."""
        indices = np.flatnonzero(mask)
        place = {int(old): new for new, old in enumerate(indices.tolist())}
        return Series(
            self.kind,
            self.device,
            self.true_ms[indices],
            {name: _take(column, indices) for name, column in self.values.items()},
            self.unit,
            self.decimals,
            {
                name: value if isinstance(value, str) else _take(value, indices)
                for name, value in self.context.items()
            },
            {place[old]: flags for old, flags in self.flags.items() if old in place},
            self.automatic,
        )

    def add_flag(self, index: int, flag: str) -> None:
        self.flags[index] = (*self.flags.get(index, ()), flag)

    def column(self, name: str) -> list[Any]:
        """A column as plain values: whole numbers where the device shows none behind the point."""
        column = self.values[name]
        if isinstance(column, list) or column.dtype.kind in "bUO":
            return list(column) if isinstance(column, list) else list(column.tolist())
        decimals = self.decimals.get(name, 0)
        if decimals == 0:
            return list(np.rint(column).astype(np.int64).tolist())
        return list(np.round(column, decimals).tolist())


def _take(column: Any, indices: NDArray[np.int64]) -> Any:
    if isinstance(column, list):
        return [column[index] for index in indices.tolist()]
    return column[indices]
