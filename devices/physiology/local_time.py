"""The patient's own day: local wall time to instants and back, right on both days of the clock change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike

from devices.physiology.series import DAY_MS, HOUR_MS, MINUTE_MS, Floats, Instants

_EPOCH_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LocalTime:
    """A time zone over the days of a simulation. Day 0 is the local date of `start_ms`."""

    def __init__(self, zone: str, start_ms: int, days: int) -> None:
        self.zone = ZoneInfo(zone)
        self.days = days
        self.first_date = (_EPOCH + timedelta(milliseconds=start_ms)).astimezone(self.zone).date()
        self._first_naive_ms = (self.first_date - _EPOCH_DAY).days * DAY_MS
        self._starts_ms, self._offsets_min = self._transitions()

    def _transitions(self) -> tuple[Instants, Instants]:
        """Instants from which an offset holds, found to the hour (clocks change on the hour)."""
        first = self._first_naive_ms - 2 * DAY_MS
        starts, offsets = [first], [self._offset_at(first)]
        for day in range(self.days + 5):
            begin = first + day * DAY_MS
            if self._offset_at(begin + DAY_MS) == offsets[-1]:
                continue
            for instant in range(begin, begin + DAY_MS + 1, HOUR_MS):
                if self._offset_at(instant) != offsets[-1]:
                    starts.append(instant)
                    offsets.append(self._offset_at(instant))
        return np.array(starts, dtype=np.int64), np.array(offsets, dtype=np.int64)

    def _offset_at(self, instant_ms: int) -> int:
        moment = (_EPOCH + timedelta(milliseconds=instant_ms)).astimezone(self.zone)
        offset = moment.utcoffset()
        return 0 if offset is None else int(offset.total_seconds()) // 60

    def offset_min(self, instants_ms: ArrayLike) -> Instants:
        """Offset from UTC in minutes at each instant (those outside the days get the nearest known)."""
        place = np.searchsorted(self._starts_ms, np.asarray(instants_ms), side="right") - 1
        return self._offsets_min[np.maximum(place, 0)]

    def instant_ms(self, day: ArrayLike, minute: ArrayLike) -> Instants:
        """Instants of local wall times (day index, minute of the day; fractions allowed).

        A wall time that the spring change leaves out becomes one hour later; of one that comes twice in
        autumn it is the first.
        """
        wall = (
            self._first_naive_ms
            + np.asarray(day, dtype=np.int64) * DAY_MS
            + np.rint(np.asarray(minute, dtype=np.float64) * MINUTE_MS).astype(np.int64)
        )
        early = wall - self.offset_min(wall - 12 * HOUR_MS) * MINUTE_MS  # by the offset of half a day before
        late = wall - self.offset_min(early) * MINUTE_MS
        return np.where(self.offset_min(late) == self.offset_min(early), late, early)

    def day_and_hour(self, instants_ms: ArrayLike) -> tuple[Instants, Floats]:
        """Local day index and local hour (0 to 24, with fraction) of instants."""
        instants = np.asarray(instants_ms, dtype=np.int64)
        wall = instants + self.offset_min(instants) * MINUTE_MS - self._first_naive_ms
        return wall // DAY_MS, (wall % DAY_MS) / HOUR_MS

    def weekday(self, day: ArrayLike) -> Instants:
        """0 Monday to 6 Sunday."""
        return (np.asarray(day, dtype=np.int64) + self.first_date.weekday()) % 7
