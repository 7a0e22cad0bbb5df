"""Forms that work without a script: what was typed, and what is wrong with which field, in words.

A field is read by one of the functions below, which return its value or None after noting why it cannot be
used. A page is rendered again with what was typed, the faults at their fields, and a list of them on top.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from starlette.datastructures import FormData

from alerts.feed.formats import zone
from alerts.feed.texts import Texts
from devices.times import from_datetime, to_datetime

TEXT_MAX = 500  # characters of a note or a reason: a few sentences
NAME_MAX = 200  # alerts.enrolment.Name
NUMBER = re.compile(r"[+-]?\d{1,6}(?:[.,]\d{1,4})?")
SERIAL = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Form:
    """`typed` by field name as it came, `faults` by field name as sentences."""

    texts: Texts
    typed: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Texts, sent: FormData) -> Form:
        """What a browser sent; files and NUL bytes are nobody's typing."""
        typed: dict[str, str] = {}
        chosen: dict[str, tuple[str, ...]] = {}
        for name, value in sent.multi_items():
            if isinstance(value, str):
                clean = value.replace("\x00", "").replace("\r\n", "\n").strip()
                typed[name] = clean
                chosen[name] = (*chosen.get(name, ()), clean)
        return cls(texts, typed, chosen)

    def fault(self, name: str, key: str, /, **values: object) -> None:
        """Note what is wrong with a field; the first fault of a field stays."""
        self.faults.setdefault(name, self.texts(f"fault.{key}", **values))

    def __getitem__(self, name: str) -> str:
        return self.typed.get(name, "")

    def text(self, name: str, *, most: int = NAME_MAX, required: bool = False) -> str | None:
        typed = self[name]
        if not typed:
            if required:
                self.fault(name, "required")
            return None
        if len(typed) > most:
            self.fault(name, "too_long", most=most)
            return None
        return typed

    def number(self, name: str, low: float, high: float, *, required: bool = False) -> float | None:
        """A number with a point or a comma, within the range, limits included."""
        typed = self[name].replace("\u202f", "").replace(" ", "").replace("−", "-")
        if not typed:
            if required:
                self.fault(name, "required")
            return None
        if NUMBER.fullmatch(typed) is None:
            self.fault(name, "number")
            return None
        value = float(typed.replace(",", "."))
        if not low <= value <= high:
            self.fault(name, "range", low=self.figure(low), high=self.figure(high))
            return None
        return value

    def whole(self, name: str, low: int, high: int) -> int | None:
        value = self.number(name, low, high)
        if value is not None and value != int(value):
            self.fault(name, "whole")
            return None
        return None if value is None else int(value)

    def choice(self, name: str, among: Iterable[str], default: str | None = None) -> str | None:
        typed = self[name]
        if not typed and default is not None:
            return default
        if typed not in set(among):
            self.fault(name, "choice")
            return None
        return typed

    def ticked(self, name: str) -> bool:
        return self[name] in ("1", "on", "yes")

    def day(self, name: str, *, required: bool = False) -> date | None:
        """A date as <input type=date> sends it, or written 21/11/1948."""
        typed = self[name]
        if not typed:
            if required:
                self.fault(name, "required")
            return None
        for pattern in ("%Y-%m-%d", "%d/%m/%Y"):
            try:
                return datetime.strptime(typed, pattern).date()
            except ValueError:
                continue
        self.fault(name, "date")
        return None

    def moment_ms(self, name: str, time_zone: str, *, required: bool = False) -> int | None:
        """A local date and time as <input type=datetime-local> sends it; milliseconds since the epoch.

        An hour that a change of clocks leaves out is a fault; of one that comes twice the first is meant.
        """
        typed = self[name]
        if not typed:
            if required:
                self.fault(name, "required")
            return None
        for pattern in ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M"):
            try:
                wall = datetime.strptime(typed, pattern)
            except ValueError:
                continue
            return self._instant(name, wall, zone(time_zone))
        self.fault(name, "moment")
        return None

    def _instant(self, name: str, wall: datetime, where: ZoneInfo) -> int | None:
        try:
            instant = wall.replace(tzinfo=where)
            at_ms = from_datetime(instant)
            back = instant.astimezone(ZoneInfo("UTC")).astimezone(where).replace(tzinfo=None)
        except (OverflowError, ValueError):
            self.fault(name, "moment")
            return None
        if back != wall:
            self.fault(name, "no_such_hour")
            return None
        return at_ms

    def serial(self, name: str, *, required: bool = False) -> str | None:
        typed = self[name]
        if not typed:
            if required:
                self.fault(name, "required")
            return None
        if SERIAL.fullmatch(typed) is None:
            self.fault(name, "serial")
            return None
        return typed

    def figure(self, value: float) -> str:
        """A number in the reader's way of writing, without zeros that say nothing."""
        text = f"{value:.4f}".rstrip("0").rstrip(".")
        return text.replace(".", ",") if self.texts.language == "fr" else text


def local_input(at_ms: int, time_zone: str) -> str:
    """An instant as the value of <input type=datetime-local>."""
    return f"{to_datetime(at_ms).astimezone(zone(time_zone)):%Y-%m-%dT%H:%M}"


def offset_min(at_ms: int, time_zone: str) -> int:
    """The zone's offset from UTC at the instant, in minutes."""
    offset = to_datetime(at_ms).astimezone(zone(time_zone)).utcoffset()
    return int((offset or timedelta()).total_seconds() // 60)


def filled(texts: Texts, values: Mapping[str, object]) -> Form:
    """A form as it is shown first: `values` by field name; None and False are left empty."""
    form = Form(texts)
    for name, value in values.items():
        if value is None or value is False:
            continue
        form.typed[name] = (
            "1" if value is True else form.figure(value) if isinstance(value, float) else str(value)
        )
    return form
