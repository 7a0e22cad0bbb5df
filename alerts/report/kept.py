"""How many of the scheduled measurements were taken in a period. Pure.

Counted as on the patient's page (alerts.feed.adherence): a day counts at most as many readings as the plan asks for;
a plan that asks less often than daily counts days. Absences are not taken out: the report shows them beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True, slots=True)
class Kept:
    """Readings done and expected of one kind; `days` those with a reading, of `of_days`."""

    kind: str
    done: int
    expected: int
    days: int
    of_days: int

    @property
    def share(self) -> float | None:
        """0 to 1; None where nothing was expected."""
        return self.done / self.expected if self.expected else None


def kept(
    kind: str, every_hours: float, first: date, last: date, today: date, taken: Mapping[date, int]
) -> Kept:
    """What was taken from `first` to `last`, both with them. Today counts only what has been done."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)] if last >= first else []
    full = [day for day in days if day < today]
    measured = sum(1 for day in days if taken.get(day, 0) > 0)
    if every_hours > 24:
        expected = int(len(full) * 24 // every_hours)
        return Kept(kind, min(measured, expected), expected, measured, len(days))
    daily = max(round(24 / every_hours), 1)
    of_today = min(taken.get(today, 0), daily) if today in days else 0
    done = sum(min(taken.get(day, 0), daily) for day in full)
    return Kept(kind, done + of_today, daily * len(full) + of_today, measured, len(days))
