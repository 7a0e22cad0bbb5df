"""When a care team works, and arithmetic on its working time.

Pure. Hours are those of the team's own clocks: on the days when these are changed a night's span lasts an
hour less or more, an office's day as long as ever. Instants are aware datetimes; results are in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

Holidays = Literal["fr", "fr-alsace-moselle", "none"]
Span = tuple[int, int]
"""Minutes of a local day, from inclusive, to exclusive; 1440 is the midnight that ends it."""

MINUTES_A_DAY = 1440
SEARCH_DAYS = 400
"""How far ahead working time is looked for: a year and a month. A calendar without an open minute in that time
is a mistake, and looking further would not end."""
CACHED_DAYS = 4_096  # local days whose intervals are kept: years of several teams, some 1 MB


class NoWorkingTimeError(ValueError):
    """The calendar has no open time within reach; the message says where it was looked for."""


def easter(year: int) -> date:
    """Easter Sunday in the Gregorian calendar (Butcher 1876; exact for every year from 1583)."""
    century, in_century = divmod(year, 100)
    golden = year % 19
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - century // 4 - correction + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (in_century // 4) - epact - in_century % 4) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


@lru_cache(maxsize=256)  # a year of one list is 13 dates; nobody asks for more than some years
def public_holidays(year: int, which: Holidays = "fr") -> frozenset[date]:
    """The public holidays of a year.

    `fr`: the eleven of article L3133-1 of the Code du travail. `fr-alsace-moselle`: with Good Friday and the
    second day of Christmas (article L3134-13; Good Friday where the commune has a Protestant church, which a
    team elsewhere in these departments cannot choose apart: it lists its days itself).
    """
    if which == "none":
        return frozenset()
    sunday = easter(year)
    fixed = ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25))
    days = {date(year, month, day) for month, day in fixed}
    days |= {sunday + timedelta(days=after) for after in (1, 39, 50)}  # Easter Monday, Ascension, Whit Monday
    if which == "fr-alsace-moselle":
        days |= {sunday - timedelta(days=2), date(year, 12, 26)}
    return frozenset(days)


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """One team's calendar. `week`: the spans of Monday to Sunday, each day's in order and apart.

    `closed` are further days without work (local dates). Raises ValueError for a week that cannot be.
    """

    zone: ZoneInfo
    week: tuple[tuple[Span, ...], ...]
    holidays: Holidays = "fr"
    closed: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if len(self.week) != 7:
            raise ValueError(f"a week has 7 days, not {len(self.week)}")
        if not any(self.week):
            raise ValueError("a week needs at least one span of working hours")
        for spans in self.week:
            bounds = [0, *(minute for span in spans for minute in span), MINUTES_A_DAY]
            if bounds != sorted(bounds) or any(start == end for start, end in spans):
                raise ValueError(f"spans must be in order, apart and within a day: {spans}")

    def works_on(self, day: date) -> bool:
        """Whether the team works at all on this local day."""
        return bool(self._spans(day))

    def local(self, instant: datetime) -> datetime:
        """The instant on the team's own clocks."""
        return _aware(instant).astimezone(self.zone)

    def is_open(self, instant: datetime) -> bool:
        """Whether the team works at this instant; a span's end is already outside."""
        at = _aware(instant).astimezone(UTC)
        return any(start <= at < end for start, end in _intervals(self, self.local(at).date()))

    def next_open(self, instant: datetime) -> datetime:
        """The instant itself where the team works, else when it next begins. Raises NoWorkingTimeError."""
        at = _aware(instant).astimezone(UTC)
        for start, _ in self._from(at):
            return start
        raise self._none(at)

    def add_working(self, instant: datetime, minutes: float) -> datetime:
        """The earliest instant, not before `instant`, between which and `instant` lie so many working minutes.

        Zero minutes give `instant` itself, open or not. A time that is used up when the team closes ends at
        the closing, not on the next morning. Raises ValueError for negative minutes, NoWorkingTimeError when
        the calendar has not as many within reach.
        """
        if minutes < 0:
            raise ValueError(f"working time is added, never taken away: {minutes} minutes")
        at = _aware(instant).astimezone(UTC)
        left = timedelta(minutes=minutes)
        if not left:
            return at
        for start, end in self._from(at):
            if end - start >= left:
                return start + left
            left -= end - start
        raise self._none(at)

    def worked(self, start: datetime, end: datetime) -> timedelta:
        """Working time between two instants; negative when `end` is before `start`. Raises NoWorkingTimeError
        when they are further apart than a calendar is looked into."""
        one, other = _aware(start).astimezone(UTC), _aware(end).astimezone(UTC)
        if other < one:
            return -self.worked(other, one)
        if other - one > timedelta(days=SEARCH_DAYS):
            raise self._none(one)
        total = timedelta()
        for begin, stop in self._from(one):
            if begin >= other:
                break
            total += min(stop, other) - begin
        return total

    def _spans(self, day: date) -> tuple[Span, ...]:
        if day in self.closed or day in public_holidays(day.year, self.holidays):
            return ()
        return self.week[day.weekday()]

    def _from(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The open intervals from `at` on, the first one cut to begin there."""
        day = self.local(at).date()
        for ahead in range(SEARCH_DAYS + 1):
            for start, end in _intervals(self, day + timedelta(days=ahead)):
                if end > at:
                    yield max(start, at), end

    def _none(self, at: datetime) -> NoWorkingTimeError:
        return NoWorkingTimeError(
            f"not enough working time within {SEARCH_DAYS} days from {at.isoformat()}; "
            "look at the team's hours and closed days"
        )


@lru_cache(maxsize=CACHED_DAYS)
def _intervals(hours: WorkingHours, day: date) -> tuple[tuple[datetime, datetime], ...]:
    """A local day's spans as intervals of real time; what a change of clocks leaves nothing of is left out."""
    found = (
        (_instant(hours.zone, day, start), _instant(hours.zone, day, end)) for start, end in hours._spans(day)
    )
    return tuple((start, end) for start, end in found if start < end)


def _instant(zone: ZoneInfo, day: date, minute: int) -> datetime:
    """When the clocks of `zone` show this minute of this day; the first time where they do so twice.

    Where they never do, the instant at which they leap over it. So a later minute is never an earlier
    instant, and spans that touch on the clock touch in real time.
    """
    shown = datetime.combine(day, time()) + timedelta(minutes=minute)
    early, late = sorted(shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if early.astimezone(zone).replace(tzinfo=None) == shown:
        return early
    while late - early > timedelta(minutes=1):  # bisection: changes of clocks come at whole minutes
        middle = early + timedelta(minutes=(late - early) // timedelta(minutes=2))
        if middle.astimezone(zone).replace(tzinfo=None) >= shown:
            late = middle
        else:
            early = middle
    return late


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no zone: an instant needs one")
    return instant
