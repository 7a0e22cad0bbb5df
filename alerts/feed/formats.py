"""Numbers, units, instants and ages as a clinician reads them, in French or English.

Instants are milliseconds since the epoch; they are shown in the time zone of the patient's care team.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from alerts.feed.texts import Texts
from devices.times import to_datetime

NARROW_SPACE = "\u202f"  # stays on the line between a number and its unit
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

UNIT_SIGNS = {"mm[Hg]": "mmHg", "Cel": "°C", "[degF]": "°F", "[lb_av]": "lb", "h": "h", "d": "j"}
MONTHS = {
    "fr": ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
    "en": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
}
# Decimals that a unit is read with (the protocols' sentences use the same); others: one, if it says anything.
DECIMALS = {"kg": 1, "Cel": 1, "{INR}": 1, "g/L": 2, "mm[Hg]": 0, "mg/dL": 0, "/min": 0, "h": 0}


class Formats:
    """How one reader wants to see things: a language and a time zone."""

    def __init__(self, texts: Texts, time_zone: str = "Europe/Paris") -> None:
        self.texts = texts
        self.language = texts.language
        self.zone = zone(time_zone)

    def number(self, value: float, unit: str | None = None) -> str:
        """82.4 → "82,4" in French; as many decimals as the unit is read with, none that say nothing."""
        decimals = DECIMALS.get(unit or "", 1)
        text = f"{value:.{decimals}f}"
        if unit not in DECIMALS and "." in text:
            text = text.rstrip("0").rstrip(".")
        text = "0" if text in ("-0", "-0.0") else text.replace("-", "−")
        return text.replace(".", ",") if self.language == "fr" else text

    def quantity(self, value: float | None, unit: str | None, *, exact: bool = False) -> str:
        """A number with its unit's sign, or an en dash where there is none. `exact`: as it was set, to three
        decimals, because a limit of 2.268 kg is not one of 2.3."""
        if value is None:
            return "–"
        number = self.number(value, unit)
        if exact and abs(round(value, DECIMALS.get(unit or "", 1)) - value) >= 0.0005:
            text = f"{value:.3f}".rstrip("0")
            number = text.replace(".", ",") if self.language == "fr" else text
        sign = self.unit(unit)
        return f"{number}{NARROW_SPACE}{sign}" if sign else number

    def unit(self, unit: str | None) -> str:
        """A UCUM unit as it is written on a chart: mm[Hg] → mmHg; an annotation in braces says nothing."""
        if not unit or unit.startswith("{"):
            return ""
        if unit == "d":
            return "j" if self.language == "fr" else "d"
        return UNIT_SIGNS.get(unit, unit)

    def clock(self, instant_ms: int) -> str:
        """10:42, in the reader's zone."""
        return f"{self._local(instant_ms):%H:%M}"

    def day(self, instant_ms: int) -> str:
        """22 nov."""
        local = self._local(instant_ms)
        return f"{local.day}{NARROW_SPACE}{MONTHS[self.language][local.month - 1]}"

    def moment(self, instant_ms: int, now_ms: int) -> str:
        """10:42 today, "21 nov. 10:42" on another day, with the year when it is not this year's."""
        local, today = self._local(instant_ms), self._local(now_ms)
        if local.date() == today.date():
            return self.clock(instant_ms)
        year = "" if local.year == today.year else f"{NARROW_SPACE}{local.year}"
        return f"{self.day(instant_ms)}{year} {self.clock(instant_ms)}"

    def date(self, day: date) -> str:
        return f"{day.day}{NARROW_SPACE}{MONTHS[self.language][day.month - 1]}{NARROW_SPACE}{day.year}"

    def age(self, instant_ms: int, now_ms: int) -> str:
        """How long ago: minutes below an hour, hours below two days, days then."""
        past = max(now_ms - instant_ms, 0)
        if past < MINUTE_MS:
            return self.texts("age.now")
        if past < HOUR_MS:
            return self.texts("age.minutes", n=past // MINUTE_MS)
        if past < 2 * DAY_MS:
            return self.texts("age.hours", n=past // HOUR_MS)
        return self.texts("age.days", n=past // DAY_MS)

    def left(self, due_ms: int, now_ms: int) -> str:
        """How much time there is until then, or since when it is over: "58 min left", "2 h 5 min overdue"."""
        minutes = abs(due_ms - now_ms) // MINUTE_MS
        if minutes < 60:
            span = self.texts("due.minutes", n=minutes)
        elif minutes < 48 * 60:
            span = self.texts("due.hours", n=minutes // 60, rest=minutes % 60)
        else:
            span = self.texts("due.days", n=minutes // (24 * 60), rest=minutes // 60 % 24)
        return self.texts("due.left" if due_ms >= now_ms else "due.over", time=span)

    def _local(self, instant_ms: int) -> datetime:
        return to_datetime(instant_ms).astimezone(self.zone)


@lru_cache(maxsize=64)  # as many zones as care teams could have in one deployment
def zone(name: str) -> ZoneInfo:
    """The named zone, or Paris when the name is none: a wrong setting must not take the queue away."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("Europe/Paris")


def years(birth: date, now_ms: int) -> int:
    """Completed years of age at the instant, by UTC days."""
    today = to_datetime(now_ms).date()
    return today.year - birth.year - ((today.month, today.day) < (birth.month, birth.day))
