"""What differs between two versions of a care plan, in words: for the history, and before a change is saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alerts.feed.formats import Formats
from alerts.feed.ward.limit_fields import LimitField, limit_fields
from streams.plans import PlanVersion, Schedule
from streams.protocols.model import Library
from streams.timeline import personal_of


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs; `before` and `after` as they are read."""

    what: str
    before: str
    after: str
    protocol: str = ""
    """The protocol that it is about; empty: all, or none in particular."""


def differences(
    before: PlanVersion | None, after: PlanVersion, library: Library, formats: Formats
) -> list[Difference]:
    """All that differs, in the order of the form. Against None: all that is not as published."""
    texts = formats.texts
    none = PlanVersion(version=0, from_=after.from_, protocols=(), time_zone=after.time_zone)
    base = before or none
    found = []
    for name in (*after.protocols, *(n for n in base.protocols if n not in after.protocols)):
        if (name in base.protocols) != (name in after.protocols):
            words = [texts("plan.off"), texts("plan.on")]
            if name in base.protocols:
                words.reverse()
            found.append(Difference(texts.term("protocol", name), words[0], words[1], name))
    found += _limits(base, after, library, formats)
    found += _schedule(base, after, formats)
    found += _next_tests(base, after, formats)
    for name in ("dry_weight_kg", "inr_target", "spo2_scale", *_TICKS, "time_zone"):
        old, new = getattr(base, name), getattr(after, name)
        if old != new:
            found.append(
                Difference(
                    texts(f"plan.{name}"),
                    _shown(name, old, formats),
                    _shown(name, new, formats),
                    _ABOUT.get(name, ""),
                )
            )
    return found


_TICKS = ("known_atrial_fibrillation", "pregnancy", "mechanical_valve")
_ABOUT = {
    "dry_weight_kg": "heart-failure",
    "inr_target": "anticoagulation",
    "mechanical_valve": "anticoagulation",
    "spo2_scale": "respiratory",
    "known_atrial_fibrillation": "arrhythmia",
}


def _limits(base: PlanVersion, after: PlanVersion, library: Library, formats: Formats) -> list[Difference]:
    found = []
    for name in after.protocols:
        if name not in library.protocols:
            continue
        shown = {
            one.name: one
            for version in (base, after)  # the later one's words where both can apply
            for one in limit_fields(library.protocols[name], personal_of(version).facts)
        }
        for one in shown.values():
            old, new = one.given(base), one.given(after)
            if old != new:
                before, now = (_limit(one, value, formats) for value in (old, new))
                found.append(Difference(one.label(formats.texts), before, now, name))
    return found


def _limit(one: LimitField, value: float | None, formats: Formats) -> str:
    if value is None:
        return formats.texts("plan.published", limit=formats.quantity(one.usual, one.unit, exact=True))
    return formats.quantity(value, one.unit, exact=True)


def _schedule(base: PlanVersion, after: PlanVersion, formats: Formats) -> list[Difference]:
    found = []
    for kind in dict.fromkeys((*base.schedule, *after.schedule)):
        old, new = base.schedule.get(kind), after.schedule.get(kind)
        if old != new:
            what = formats.texts("plan.rhythm_of", kind=formats.texts.term("kind", kind))
            found.append(Difference(what, _rhythm(old, formats), _rhythm(new, formats)))
    return found


def _next_tests(base: PlanVersion, after: PlanVersion, formats: Formats) -> list[Difference]:
    found = []
    old, new = base.next_tests or {}, after.next_tests or {}
    for kind in dict.fromkeys((*old, *new)):
        before, now = (tests[kind].by if kind in tests else None for tests in (old, new))
        if before != now:
            what = formats.texts("plan.next_test_of", kind=formats.texts.term("kind", kind))
            days = ("–" if day is None else formats.date(day) for day in (before, now))
            found.append(Difference(what, *days))
    return found


def _rhythm(asked: Schedule | None, formats: Formats) -> str:
    if asked is None:
        return formats.texts("plan.not_scheduled")
    text = formats.texts("plan.every", hours=formats.number(asked.every_hours))
    if asked.overdue_hours is not None:
        text += formats.texts("plan.overdue_after", hours=formats.number(asked.overdue_hours))
    return text


def _shown(name: str, value: Any, formats: Formats) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return formats.texts("plan.yes" if value else "plan.no")
    if isinstance(value, tuple):
        return " – ".join(formats.quantity(float(x), "{INR}", exact=True) for x in value)
    if name == "dry_weight_kg":
        return formats.quantity(float(value), "kg", exact=True)
    return str(value)
