"""Search parameters: which there are, how they are read, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from alerts.fhir.outcome import FhirError

# Resources a page has when the asker does not say, and at most: 200 Observations of STRIP_CHARS each are 13 MB.
COUNT: Final = 50
COUNT_MAX: Final = 200
# Alternatives of one parameter (`code=a,b,c`): as many ids as a page has resources.
ALTERNATIVES_MAX: Final = COUNT_MAX
# Parameters of one search; more than that no person and no program means.
PARAMETERS_MAX: Final = 30
PAGE: Final = "_page"
FORMATS: Final = frozenset({"json", "application/json", "application/fhir+json"})

Type = Literal["token", "reference", "date", "string"]

_DATED: dict[str, Type] = {"_id": "token", "patient": "reference"}
PARAMETERS: Final[dict[str, dict[str, Type]]] = {
    "Patient": {"_id": "token", "identifier": "token"},
    "Observation": {
        **_DATED,
        "subject": "reference",
        "code": "token",
        "combo-code": "token",
        "category": "token",
        "date": "date",
        "device": "reference",
    },
    "Device": {**_DATED, "identifier": "token"},
    "DetectedIssue": {**_DATED, "code": "token", "identifier": "token", "identified": "date"},
    "Provenance": {**_DATED, "target": "reference", "recorded": "date"},
}
"""Resource to its search parameters; the CapabilityStatement is made from this."""
CONTROL: Final = ("_count", "_format", PAGE)
SORTED: Final = {"Observation": ("date", "-date")}
"""Resource to the values that `_sort` takes; the last one is the default."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search as it was asked: alternatives (or) of each repetition (and) by parameter, page size, where the
    page before ended, and the order."""

    values: dict[str, list[list[str]]] = field(default_factory=dict)
    count: int = COUNT
    page: str | None = None
    ascending: bool = False

    def all(self, *names: str) -> list[list[str]]:
        """Every repetition of these parameters."""
        return [alternatives for name in names for alternatives in self.values.get(name, [])]

    def one_of(self, *names: str) -> list[str] | None:
        """What may be, after all repetitions; None when nothing was asked, empty when nothing can be."""
        found: list[str] | None = None
        for alternatives in self.all(*names):
            found = alternatives if found is None else [text for text in found if text in alternatives]
        return found


def bad(words: str, code: str = "invalid") -> FhirError:
    return FhirError(400, code, words)


def parse(resource: str, asked: Iterable[tuple[str, str]], known: dict[str, Type] | None = None) -> Search:
    """The search that a query string asks of this resource.

    Raises FhirError (400) for a parameter that there is none, which would widen the result if it were left out.
    """
    known = PARAMETERS[resource] if known is None else known
    values: dict[str, list[list[str]]] = {}
    control: dict[str, str] = {}
    for number, (name, text) in enumerate(asked):
        if number >= PARAMETERS_MAX:
            raise bad(f"more than {PARAMETERS_MAX} parameters", "too-costly")
        if "\x00" in text:
            raise bad(f"{name}: a NUL is in no value")
        if name in CONTROL or (name == "_sort" and resource in SORTED):
            if name in control:
                raise bad(f"{name}: once only")
            control[name] = text
        elif name in known:
            values.setdefault(name, []).append(_alternatives(name, text, known[name]))
        else:
            names = ", ".join([*known, *CONTROL[:2], *(["_sort"] if resource in SORTED else [])])
            raise bad(f"{name}: {resource} is not searched by it; there are {names}", "not-supported")
    check_format(control.get("_format"))
    return Search(values, _count(control.get("_count")), control.get(PAGE), _ascending(resource, control))


def check_format(asked: str | None) -> None:
    """Raises FhirError (406) for anything but JSON."""
    wanted = asked.partition(";")[0].strip().replace(" ", "+") if asked is not None else "json"
    if wanted not in FORMATS:
        raise FhirError(406, "not-supported", f"_format={asked}: there is JSON only, application/fhir+json")


def _ascending(resource: str, control: dict[str, str]) -> bool:
    asked = control.get("_sort")
    if asked is not None and asked not in SORTED[resource]:
        raise bad(f"_sort={asked}: {' or '.join(SORTED[resource])} is known", "not-supported")
    return asked == "date"


def _count(text: str | None) -> int:
    if text is None:
        return COUNT
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise bad(f"_count={text}: a whole number from 1 is required; at most {COUNT_MAX} are sent")
    return min(int(text), COUNT_MAX)


def _alternatives(name: str, text: str, kind: Type) -> list[str]:
    if not text:
        raise bad(f"{name}: no value")
    parts = text.split(",")
    if len(parts) > ALTERNATIVES_MAX:
        raise bad(f"{name}: more than {ALTERNATIVES_MAX} alternatives", "too-costly")
    if kind == "date" and len(parts) > 1:
        raise bad(f"{name}: alternatives of dates are not supported; repeat the parameter for from and until")
    return parts


def referenced(name: str, texts: list[str], resource: str) -> list[str]:
    """Ids that a reference parameter names: `id`, `Patient/id` or an address that ends so."""
    found = []
    for text in texts:
        before, slash, id_ = text.rpartition("/")
        if slash and before.rpartition("/")[2] != resource:
            raise bad(f"{name}={text}: {resource}/[id] is required")
        found.append(id_)
    return found


_DATE = re.compile(
    r"(?P<prefix>[a-z]{2})?(?P<year>[0-9]{4})(-(?P<month>[0-9]{2})(-(?P<day>[0-9]{2})"
    r"(T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]{1,6})[0-9]*)?)?"
    r"(?P<zone>Z|[+ -][0-9]{2}:[0-9]{2})?)?)?)?"
)
PREFIXES: Final = ("eq", "ge", "gt", "le", "lt", "sa", "eb")
EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """Instants from `begin` (inclusive) to `end` (exclusive)."""

    begin: datetime = EARLIEST
    end: datetime = LATEST

    def __and__(self, other: Span) -> Span:
        return Span(max(self.begin, other.begin), min(self.end, other.end))


def span_of(name: str, dates: list[list[str]], zone: str) -> Span:
    """The instants that all of these dates allow; `zone` is that of a date without an offset."""
    span = Span()
    for (text,) in dates:
        span &= _span(name, text, ZoneInfo(zone))
    return span


def _span(name: str, text: str, zone: ZoneInfo) -> Span:
    """A date stands for all of its day (month, year, minute …); a prefix compares an instant with that span."""
    match = _DATE.fullmatch(text)
    prefix = (match["prefix"] if match else None) or "eq"
    if match is None or prefix not in PREFIXES:
        raise bad(
            f"{name}={text}: a date such as 2026-11-22 or 2026-11-22T09:30:00%2B01:00 is required, with one of the"
            f" prefixes {' '.join(PREFIXES)} before it or none"
        )
    try:
        begin, end = _bounds(match, zone)
    except (ValueError, OverflowError) as error:
        raise bad(f"{name}={text}: there is no such date ({error})") from None
    return {
        "eq": Span(begin, end),
        "ge": Span(begin=begin),
        "gt": Span(begin=end),
        "sa": Span(begin=end),
        "le": Span(end=end),
        "lt": Span(end=begin),
        "eb": Span(end=begin),
    }[prefix]


def _bounds(match: re.Match[str], zone: ZoneInfo) -> tuple[datetime, datetime]:
    year, month, day = (int(match[part] or 1) for part in ("year", "month", "day"))
    if match["hour"] is None:
        begin = datetime(year, month, day, tzinfo=zone)
        if match["day"]:
            after = (begin + timedelta(days=1)).date()  # of the calendar, where days have 23 to 25 hours
        else:
            months = year * 12 + month - 1 + (1 if match["month"] else 12)
            after = datetime(months // 12, months % 12 + 1, 1, tzinfo=zone).date()
        return _utc(begin), _utc(datetime(after.year, after.month, after.day, tzinfo=zone))
    second, fraction = int(match["second"] or 0), match["fraction"] or ""
    begin = datetime(year, month, day, int(match["hour"]), int(match["minute"]), second, tzinfo=zone)
    begin = begin.replace(microsecond=int(fraction.ljust(6, "0")))
    if match["zone"]:
        # an unescaped plus arrives as a space
        begin = datetime.fromisoformat(
            begin.replace(tzinfo=None).isoformat() + match["zone"].replace(" ", "+")
        )
    step = timedelta(seconds=10.0 ** -len(fraction)) if match["second"] else timedelta(minutes=1)
    return _utc(begin), _utc(begin) + step


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
