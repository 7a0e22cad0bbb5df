"""A team's settings as a form, and back. Pure.

Contacts stand in numbered rows: `step0_to1_address` is the second contact's address of the first step, `digest_to0_…`
one of the digest. A row in which nothing is typed is nobody.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Literal, cast, get_args

import msgspec

from alerts.feed.ward.forms import TEXT_MAX, Form, local_input
from alerts.service_times import (
    CLOSED_MAX,
    CONTACTS_MAX,
    DAYS,
    MINUTES_MAX,
    STEPS_MAX,
    Channel,
    Contact,
    Digest,
    Due,
    Hours,
    Message,
    ServiceTimes,
    Step,
)
from alerts.working_hours import MINUTES_A_DAY, Holidays
from devices.times import from_datetime, to_datetime
from streams.signal import Severity

DUE = ("high", "medium", "low", "technical")
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")
HOLIDAYS: tuple[str, ...] = get_args(Holidays)
CHANNELS: tuple[str, ...] = get_args(Channel)
LANGUAGES = ("fr", "en")
PERSON_MAX, ADDRESS_MAX = 100, 2_000
FIELDS = ("person", "channel", "address", "language", "from", "until")
TYPED_FIELDS = ("person", "address", "from", "until")
"""Those that say that a row is somebody: the others have a value of their own."""

# "9h", "09:00", "9 h 30": how people write an hour; then a dash, "à" or "to", then another.
_HOUR = r"(\d{1,2})\s*(?:[:hH]\s*(\d{2})?)?"
_SPAN = re.compile(rf"{_HOUR}\s*(?:-|–|—|à|to)\s*{_HOUR}")
_BETWEEN = re.compile(r"\s*[,;]\s*|\s+et\s+|\s+and\s+|\s*\n\s*")


def values_of(times: ServiceTimes, time_zone: str) -> dict[str, Any]:
    """What the form shows of the settings, by field name."""
    values: dict[str, Any] = {f"due_{name}": getattr(times.due, name) for name in DUE}
    values |= {f"hours_{day}": ", ".join(getattr(times.hours, day)) for day in DAYS}
    values |= {f"escalate_{severity}": severity in times.escalate for severity in SEVERITIES}
    values |= {
        "holidays": times.holidays,
        "closed": "\n".join(f"{day:%d/%m/%Y}" for day in times.closed),
        "outside_fr": times.outside_hours.fr,
        "outside_en": times.outside_hours.en,
        "digest_at": times.digest.at,
    }
    for number, step in enumerate(times.steps):
        values[f"step{number}_after"] = step.after
        values |= _rows_of(f"step{number}", step.to, time_zone)
    return values | _rows_of("digest", times.digest.to, time_zone)


def _rows_of(prefix: str, contacts: tuple[Contact, ...], time_zone: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for row, contact in enumerate(contacts):
        name = f"{prefix}_to{row}"
        values[f"{name}_person"], values[f"{name}_channel"] = contact.person, contact.channel
        values[f"{name}_address"], values[f"{name}_language"] = contact.address, contact.language
        for field, at in (("from", contact.from_), ("until", contact.until)):
            values[f"{name}_{field}"] = None if at is None else local_input(from_datetime(at), time_zone)
    return values


def rows(form: Form, prefix: str) -> list[int]:
    """Numbers of the rows of contacts that are shown: those in which something is typed, and an empty one."""
    used = [row for row in range(CONTACTS_MAX) if _used(form, f"{prefix}_to{row}")]
    free = max(used, default=-1) + 1
    return [*used, free] if free < CONTACTS_MAX else used


def _used(form: Form, name: str) -> bool:
    return any(form[f"{name}_{field}"] for field in TYPED_FIELDS)


def steps_shown(form: Form) -> list[int]:
    """Numbers of the steps that are shown: those that say something, and an empty one while there may be more."""
    used = [n for n in range(STEPS_MAX) if form[f"step{n}_after"] or rows(form, f"step{n}") != [0]]
    return list(range(min(max(used, default=-1) + 2, STEPS_MAX)))


def read_settings(form: Form, time_zone: str) -> ServiceTimes | None:
    """The settings that the form asks for; None when it has faults, which are noted."""
    due = {name: form.whole(f"due_{name}", 1, MINUTES_MAX) for name in DUE}
    for name, minutes in due.items():
        if minutes is None:
            form.fault(f"due_{name}", "required")
    hours = {day: _spans(form, f"hours_{day}") for day in DAYS}
    if not any(hours.values()) and not any(f"hours_{day}" in form.faults for day in DAYS):
        form.fault("hours_monday", "hours_none")
    wanted: dict[str, Any] = {
        "holidays": form.choice("holidays", HOLIDAYS),
        "closed": _closed(form),
        "escalate": tuple(s for s in SEVERITIES if form.ticked(f"escalate_{s}")),
        "steps": _steps(form, time_zone),
        "digest": Digest(at=_clock(form, "digest_at"), to=_contacts(form, "digest", time_zone)),
        "outside_hours": Message(
            fr=form.text("outside_fr", most=TEXT_MAX, required=True) or "-",
            en=form.text("outside_en", most=TEXT_MAX, required=True) or "-",
        ),
    }
    if form.faults:
        return None
    wanted |= {"due": Due(**cast(dict[str, int], due)), "hours": Hours(**hours)}
    try:  # the same checks as for a file
        return msgspec.convert(msgspec.to_builtins(ServiceTimes(**wanted)), ServiceTimes)
    except (msgspec.ValidationError, ValueError) as error:
        form.faults["form"] = str(error)
        return None


def _spans(form: Form, name: str) -> tuple[str, ...]:
    """ "09:00-12:30, 13:30-17:00" as its spans, in order and apart; empty: closed."""
    spans: list[tuple[int, int]] = []
    for part in (part for part in _BETWEEN.split(form[name]) if part):
        match = _SPAN.fullmatch(part)
        if match is None:
            form.fault(name, "hours")
            return ()
        start, end = (int(match[i]) * 60 + int(match[i + 1] or 0) for i in (1, 3))
        in_order = (spans[-1][1] if spans else 0) <= start < end <= MINUTES_A_DAY
        if not in_order or int(match[2] or 0) > 59 or int(match[4] or 0) > 59:
            form.fault(name, "hours_order")
            return ()
        spans.append((start, end))
    return tuple(f"{_hour(start)}-{_hour(end)}" for start, end in spans)


def _hour(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _clock(form: Form, name: str) -> str:
    match = re.fullmatch(_HOUR, form[name])
    if match is None or int(match[1]) > 23 or int(match[2] or 0) > 59:
        form.fault(name, "clock")
        return "09:00"
    return _hour(int(match[1]) * 60 + int(match[2] or 0))


def _closed(form: Form) -> tuple[date, ...]:
    """Further days without work, one a line, in order and each once."""
    days: set[date] = set()
    for typed in (part for part in _BETWEEN.split(form["closed"]) if part):
        one = Form(form.texts, {"closed": typed})
        day = one.day("closed")
        if day is None:
            form.fault("closed", "closed", typed=typed[:40])
            return ()
        days.add(day)
    if len(days) > CLOSED_MAX:
        form.fault("closed", "closed_many", most=CLOSED_MAX)
        return ()
    return tuple(sorted(days))


def _steps(form: Form, time_zone: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    for number in range(STEPS_MAX):
        name = f"step{number}_after"
        after = form.whole(name, 0, MINUTES_MAX)
        to = _contacts(form, f"step{number}", time_zone)
        if after is None:
            if to:
                form.fault(name, "required")
            continue
        if steps and after <= steps[-1].after:
            form.fault(name, "step_order", before=steps[-1].after)
        steps.append(Step(after=after, to=to))
    return tuple(steps)


def _contacts(form: Form, prefix: str, time_zone: str) -> tuple[Contact, ...]:
    found = []
    for row in rows(form, prefix):
        name = f"{prefix}_to{row}"
        if _used(form, name):
            contact = _contact(form, name, time_zone)
            if contact is not None:
                found.append(contact)
    return tuple(found)


def _contact(form: Form, name: str, time_zone: str) -> Contact | None:
    person = form.text(f"{name}_person", most=PERSON_MAX, required=True)
    channel = form.choice(f"{name}_channel", CHANNELS, "mail")
    address = form.text(f"{name}_address", most=ADDRESS_MAX, required=True)
    language = form.choice(f"{name}_language", LANGUAGES, "fr")
    begin = form.moment_ms(f"{name}_from", time_zone)
    end = form.moment_ms(f"{name}_until", time_zone)
    if begin is not None and end is not None and end <= begin:
        form.fault(f"{name}_until", "turn")
        return None
    if person is None or address is None or channel is None or language is None:
        return None
    try:
        return Contact(
            person=person,
            channel=cast(Channel, channel),
            address=address,
            language=cast(Literal["fr", "en"], language),
            from_=None if begin is None else to_datetime(begin),
            until=None if end is None else to_datetime(end),
        )
    except ValueError:  # the turn was looked at above: it is the address
        form.fault(f"{name}_address", f"address_{channel}")
        return None
