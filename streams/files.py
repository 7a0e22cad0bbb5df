"""Files of readings: one JSON reading a line, read once, in the order of the lines, in bounded memory.

`scad replay`, `scad summary` and `scad ecg` share this reader, so a bad line means the same to all three:
it is said on standard error with its number, counted, and never stops the reading.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from devices.decode import MAX_LINE_BYTES, RefusedError, decode_line
from devices.readings import Reading

# A line with its end may be as long as the decoder takes: a file without line ends must not fill the memory.
LINE_BYTES_MAX = MAX_LINE_BYTES + 1

# Refused lines that are printed; all are counted. A hundred show the pattern, a million hide it.
REPORTED_LINES_MAX = 100

# The progress bar moves after this many bytes: often enough to look alive, rarely enough to cost nothing.
PROGRESS_STEP_BYTES = 1 << 18

EXIT_ALL_READ = 0
EXIT_SOME_REFUSED = 1
EXIT_USAGE = 2


class LineReader:
    """Iterates over the readings of a file, or of standard input when `path` is "-".

    Raises OSError when the file cannot be opened. A line that is refused is reported and counted in
    `refused`; `lines` counts every line that was not blank. Use it as a context manager; `exit_status` is
    what the command returns afterwards.
    """

    def __init__(self, path: str, err: TextIO | None = None, progress: bool | None = None) -> None:
        self.path = path
        self.lines = 0
        self.refused = 0
        self._err = sys.stderr if err is None else err
        self._open = True
        self._file: IO[bytes] = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115 closed by close()
        wanted = self._err.isatty() if progress is None else progress
        self._bar = _Bar(self._file, self._err) if wanted else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def exit_status(self) -> int:
        return EXIT_SOME_REFUSED if self.refused else EXIT_ALL_READ

    def __iter__(self) -> Iterator[Reading]:
        number = 0
        while line := self._file.readline(LINE_BYTES_MAX):
            number += 1
            size = len(line)
            reading = None
            if size == LINE_BYTES_MAX and not line.endswith(b"\n"):
                size += self._skip_rest()
                self._refuse(number, f"longer than {LINE_BYTES_MAX} bytes: one line is one reading")
            elif line := line.strip():
                reading = self._decode(number, line)
            if self._bar is not None:
                self._bar.advance(size)
            if reading is not None:
                yield reading

    def close(self) -> None:
        """Close the file and say how many lines were refused, when some were."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._open and self.refused:
            self._say(f"{self.refused} of {self.lines} lines were refused")
            self._err.flush()
        self._open = False
        if self.path != "-":
            self._file.close()

    def _decode(self, number: int, line: bytes) -> Reading | None:
        self.lines += 1
        try:
            reading = decode_line(line)
        except RefusedError as error:
            self._count(number, f"{error.refusal.reason}: {error.refusal.detail}")
            return None
        if not reading.patient:
            self._count(number, "no patient: in a file every reading names its `patient`")
            return None
        return reading

    def _refuse(self, number: int, why: str) -> None:
        self.lines += 1
        self._count(number, why)

    def _count(self, number: int, why: str) -> None:
        self.refused += 1
        if self.refused <= REPORTED_LINES_MAX:
            self._say(f"line {number}: {why}")
        elif self.refused == REPORTED_LINES_MAX + 1:
            self._say(f"line {number}: refused as well; from here on refused lines are only counted")

    def _skip_rest(self) -> int:
        size = 0
        while part := self._file.readline(LINE_BYTES_MAX):
            size += len(part)
            if part.endswith(b"\n"):
                break
        return size

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.say(text)
        else:
            self._err.write(text + "\n")


class _Bar:
    """A progress bar over the bytes read; for a pipe, whose length nobody knows, the bytes alone."""

    def __init__(self, file: IO[bytes], err: TextIO) -> None:
        self._waiting = 0
        self._progress = Progress(
            TextColumn("reading"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=Console(file=err, soft_wrap=True),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("", total=_size(file))
        self._progress.start()

    def advance(self, size: int) -> None:
        self._waiting += size
        if self._waiting >= PROGRESS_STEP_BYTES:
            self._progress.advance(self._task, self._waiting)
            self._waiting = 0

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


def _size(file: IO[bytes]) -> int | None:
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
