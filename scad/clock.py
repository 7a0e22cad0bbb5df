"""The one place that asks what time it is.

Everything below takes a clock as an argument. A `Clock` may run faster than the wall's: the demo
starts it a fortnight ago and lets it catch up with now, after which it keeps the wall's pace. All
processes of a deployment are given the same text (SCAD_CLOCK), so they agree to the millisecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from devices.times import format_instant, parse_instant

WallMs = Callable[[], int]


def wall_ms() -> int:
    """Milliseconds since the epoch by the machine's clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Simulated time: `start_ms` at the wall's `wall_start_ms`, `rate` times as fast, never ahead of it.

    The default is the wall's own time.
    """

    start_ms: int = 0
    wall_start_ms: int = 0
    rate: float = 1.0
    wall: WallMs = wall_ms

    def now_ms(self, ago_ms: int = 0) -> int:
        """The instant that this clock shows, or showed `ago_ms` of the wall's time ago."""
        wall = self.wall() - ago_ms
        if self.rate == 1.0:
            return wall
        passed = max(0, wall - self.wall_start_ms)
        return min(wall, self.start_ms + int(passed * self.rate))

    def wall_of_ms(self, instant_ms: int) -> int:
        """When the wall's clock shows the moment at which this clock reaches `instant_ms`."""
        if self.rate == 1.0 or instant_ms >= self.caught_up_ms:
            return instant_ms
        return self.wall_start_ms + int((instant_ms - self.start_ms) / self.rate)

    @property
    def caught_up_ms(self) -> int:
        """The instant from which this clock runs with the wall's."""
        if self.rate == 1.0:
            return self.start_ms
        return self.wall_start_ms + int((self.wall_start_ms - self.start_ms) / (self.rate - 1.0))

    def text(self) -> str:
        """What SCAD_CLOCK must say for another process to have this clock."""
        if self.rate == 1.0:
            return ""
        return f"{format_instant(self.start_ms)}@{format_instant(self.wall_start_ms)}x{self.rate!r}"

    @classmethod
    def parse(cls, text: str) -> Clock:
        """Read SCAD_CLOCK: empty for the wall's time, else START@WALLxRATE. Raises ValueError."""
        if not text:
            return cls()
        try:
            start, rest = text.split("@")
            wall, rate = rest.rsplit("x", 1)
            return cls(parse_instant(start)[0], parse_instant(wall)[0], float(rate))
        except ValueError as error:
            raise ValueError(f"SCAD_CLOCK={text!r} is not START@WALLxRATE: {error}") from None

    @classmethod
    def catching_up(cls, span_ms: int, within_ms: int, in_ms: int = 0, wall: WallMs = wall_ms) -> Clock:
        """A clock that stands `span_ms` ago until `in_ms` from now, then runs, and has caught up with the wall's
        clock `within_ms` later."""
        begin = wall() + in_ms
        rate = (span_ms + within_ms) / within_ms
        return cls(begin - span_ms, begin, rate, wall)
