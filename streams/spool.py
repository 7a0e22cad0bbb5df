"""Rows kept by key in little memory: buffers that spill into one temporary file and are read back whole.

For a pass over a file larger than memory whose results need all rows of one key, but only one key at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

Key = TypeVar("Key")

# Held in memory before it spills: some million readings, so that ordinary files never touch the disk.
MEMORY_BYTES_MAX = 64 * 1024 * 1024


class Spool(Generic[Key]):
    """Appends bytes by key, reads them back in the order in which they came.

    The temporary file has no name and goes with the process. Raises OSError when the disk is full.
    """

    def __init__(self, memory_bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self._memory_bytes_max = memory_bytes_max
        self._held = 0
        self._buffers: dict[Key, bytearray] = {}
        self._spilled: dict[Key, list[tuple[int, int]]] = {}
        self._file = tempfile.TemporaryFile(prefix="scad-")  # noqa: SIM115 closed by close()
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, key: Key, row: bytes) -> None:
        self._buffers.setdefault(key, bytearray()).extend(row)
        self._held += len(row)
        if self._held > self._memory_bytes_max:
            self._spill()

    def read(self, key: Key) -> bytes:
        """All bytes of the key; empty for one that was never seen."""
        parts = []
        for offset, size in self._spilled.get(key, ()):
            self._file.seek(offset)
            parts.append(self._file.read(size))
        parts.append(bytes(self._buffers.get(key, b"")))
        return b"".join(parts)

    def __iter__(self) -> Iterator[Key]:
        """The keys, in no order that matters."""
        return iter(self._buffers.keys() | self._spilled.keys())

    def close(self) -> None:
        self._file.close()

    def _spill(self) -> None:
        self._file.seek(self._end)
        for key, buffer in self._buffers.items():
            self._spilled.setdefault(key, []).append((self._end, len(buffer)))
            self._file.write(buffer)
            self._end += len(buffer)
        self._buffers.clear()
        self._held = 0
