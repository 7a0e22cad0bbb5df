"""Decoded states kept beside the table's bytes: those used last, as many as a number of bytes holds. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

DECODED_PER_STORED = 22
"""Bytes of a decoded state for each byte of its dump. Measured by bench/engine.py: 22 with daily measurements (5.1 kB
on disk, 111 kB decoded), 17 with rhythm, 16 with a glucose sensor; the largest, so that the bound is one."""

LIVE_BYTES = 512 * 1024 * 1024
"""What decoded states may take in a worker, by that estimate: half of the 1 GB that compose.yaml gives it, so that the
tables (5 to 25 kB a patient), the programs and a batch under way have the other half. Some 4,700 patients with daily
measurements or 1,100 with a sensor. Who is not among them is decoded again when readings come, in milliseconds."""


@dataclass(slots=True)
class Live:
    """A decoded state, the offsets that it has seen, and the bytes that it is counted with."""

    state: Any
    readings_next: int = 0
    plans_next: int = 0
    taken: int = 0


class LiveStates:
    """By patient; beyond `limit` bytes those go that were used longest ago. The one used last always stays."""

    def __init__(self, limit: int = LIVE_BYTES) -> None:
        self.limit = limit
        self.taken = 0
        self._of: OrderedDict[str, Live] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, patient: str) -> bool:
        return patient in self._of

    def get(self, patient: str) -> Live | None:
        """The state, which is now the one used last."""
        live = self._of.get(patient)
        if live is not None:
            self._of.move_to_end(patient)
        return live

    def keep(self, patient: str, live: Live, stored: int) -> None:
        """Keep a state whose dump has `stored` bytes."""
        self.drop(patient)
        live.taken = stored * DECODED_PER_STORED
        self._of[patient] = live
        self.taken += live.taken
        while self.taken > self.limit and len(self._of) > 1:
            _, gone = self._of.popitem(last=False)
            self.taken -= gone.taken

    def drop(self, patient: str) -> None:
        gone = self._of.pop(patient, None)
        if gone is not None:
            self.taken -= gone.taken

    def clear(self) -> None:
        self._of.clear()
        self.taken = 0
