"""A care plan's version as a form, and back. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, cast

import msgspec
from msgspec import UNSET, UnsetType

from alerts.feed.formats import DAY_MS
from alerts.feed.ward.forms import TEXT_MAX, Form, local_input, offset_min
from alerts.feed.ward.limit_fields import limit_fields
from devices.times import format_instant
from streams.plans import CarePlan, NextTest, PlanVersion, Schedule
from streams.protocols.model import ExpectedEvery, Library
from streams.timeline import PlanError, check_plan, personal_of

EVERY_LEAST_HOURS = 1.0  # a sensor that speaks all the time is watched hourly
OVERDUE_LEAST_HOURS = 2.0
DRY_WEIGHT_KG = (20.0, 350.0)  # streams.timeline asks the same
INR = (0.5, 6.0)
AHEAD_MS = 366 * DAY_MS  # a version further ahead than a year is a slip of the keyboard
SLACK_MS = 15 * 60_000
"""The form's own time is minutes old when it is sent; a version takes effect when it is saved then."""


def values_of(version: PlanVersion | None, library: Library) -> dict[str, Any]:
    """What the form shows of a version, by field name."""
    if version is None:
        return {"spo2_scale": "1"}
    values: dict[str, Any] = {
        "dry_weight_kg": version.dry_weight_kg,
        "known_atrial_fibrillation": version.known_atrial_fibrillation,
        "pregnancy": version.pregnancy,
        "mechanical_valve": version.mechanical_valve,
        "spo2_scale": str(version.spo2_scale),
    }
    if version.inr_target is not None:
        values["inr_low"], values["inr_high"] = (float(x) for x in version.inr_target)
    for kind, asked in version.schedule.items():
        values[f"every:{kind}"] = float(asked.every_hours)
        values[f"overdue:{kind}"] = None if asked.overdue_hours is None else float(asked.overdue_hours)
    for name in version.protocols:
        if name in library.protocols:
            for one in limit_fields(library.protocols[name]):
                values[one.name] = one.given(version)
    return values


def protocols_of(form: Form, library: Library) -> tuple[str, ...]:
    """What is ticked, in the library's order. Notes a fault when nothing is."""
    ticked = set(form.chosen.get("protocols", ()))
    found = tuple(name for name in library.protocols if name in ticked)
    if not found:
        form.fault("protocols", "protocols")
    return found


def read_version(
    form: Form, before: PlanVersion | None, library: Library, time_zone: str, author: str, now_ms: int
) -> PlanVersion | None:
    """The version that the form asks for, numbered as a change of `before`; None when it has faults.

    What the form does not show (a grave interval, fields of a later release) is kept from `before`.
    """
    protocols = protocols_of(form, library)
    base = before or PlanVersion(version=0, from_=format_instant(now_ms), protocols=protocols)
    schedule = _schedule(form, base, rhythms_of(library, protocols))
    wanted: dict[str, Any] = {
        "version": base.version + 1,
        "from_": _begin(form, time_zone, now_ms),
        "protocols": protocols,
        "author": author,
        "time_zone": time_zone,
        "schedule": schedule,
        "next_tests": _next_tests(base, rhythms_of(library, protocols)),
        "dry_weight_kg": form.number("dry_weight_kg", *DRY_WEIGHT_KG),
        "known_atrial_fibrillation": form.ticked("known_atrial_fibrillation"),
        "pregnancy": form.ticked("pregnancy"),
        "mechanical_valve": form.ticked("mechanical_valve"),
        "spo2_scale": cast(Literal[1, 2], int(form.choice("spo2_scale", ("1", "2"), "1") or 1)),
        "inr_target": _target(form),
    }
    if form.faults:
        _limits(form, base, library, protocols, None)  # its faults are told in the same breath
        return None
    version: PlanVersion = msgspec.structs.replace(base, **wanted, limits={})
    limits = _limits(form, base, library, protocols, personal_of(version).facts)
    version = msgspec.structs.replace(version, limits=limits)
    if form.faults:
        return None
    try:
        check_plan(library, CarePlan(patient="-", versions=(version,)))
    except PlanError as error:
        for line in str(error).splitlines():
            form.faults.setdefault("protocols", line.partition(": ")[2])
        return None
    return version


def facts_of(form: Form) -> frozenset[str]:
    """What the form's ticks say of the patient: which levels of rules can apply."""
    ticked = PlanVersion(
        version=0,
        from_="",
        protocols=(),
        known_atrial_fibrillation=form.ticked("known_atrial_fibrillation"),
        pregnancy=form.ticked("pregnancy"),
        mechanical_valve=form.ticked("mechanical_valve"),
        spo2_scale=2 if form["spo2_scale"] == "2" else 1,
    )
    return personal_of(ticked).facts


def read_reason(form: Form) -> str:
    return form.text("reason", most=TEXT_MAX, required=True) or ""


def _begin(form: Form, time_zone: str, now_ms: int) -> str:
    """From when the version holds: now, or later. The past has been evaluated by the versions before it."""
    asked_ms = form.moment_ms("from", time_zone)
    if asked_ms is not None and asked_ms < now_ms - SLACK_MS:
        form.fault("from", "past", now=local_input(now_ms, time_zone).replace("T", " "))
    if asked_ms is not None and asked_ms > now_ms + AHEAD_MS:
        form.fault("from", "too_far")
    at_ms = max(asked_ms or now_ms, now_ms)
    return format_instant(at_ms, offset_min(at_ms, time_zone))


def _limits(
    form: Form,
    base: PlanVersion,
    library: Library,
    protocols: tuple[str, ...],
    facts: frozenset[str] | None,
) -> dict[str, dict[str, dict[str, float]]]:
    """What the fields say; a limit equal to the published one is left to the protocol, one of a level that cannot
    apply to the patient (`facts`) is dropped."""
    limits: dict[str, dict[str, dict[str, float]]] = {}
    for protocol in protocols:
        for one in limit_fields(library.protocols[protocol], facts):
            value = form.number(one.name, one.low, one.high)
            if one.name not in form.typed:
                value = one.given(base)  # the protocol was ticked just now: its fields were not shown
            if value is not None and value != one.usual:
                limits.setdefault(protocol, {}).setdefault(one.rule.name, {})[one.names[0]] = value
    return limits


def _schedule(form: Form, base: PlanVersion, rhythms: dict[str, ExpectedEvery]) -> dict[str, Schedule]:
    """The rhythms that the fields say; an empty one is left to the protocol."""
    schedule = {}
    for kind, usual in rhythms.items():
        before = base.schedule.get(kind)
        if not {f"every:{kind}", f"overdue:{kind}"} & set(form.typed):
            if before is not None:
                schedule[kind] = before
            continue
        every = form.number(f"every:{kind}", EVERY_LEAST_HOURS, every_at_most(usual))
        overdue = form.number(f"overdue:{kind}", OVERDUE_LEAST_HOURS, usual.overdue_at_most_hours)
        if every is None:
            if overdue is not None:
                form.fault(f"every:{kind}", "required")
            continue
        if overdue is not None and overdue < every:
            form.fault(f"overdue:{kind}", "overdue", every=form.figure(every))
        grave = before.grave_hours if before is not None else None
        if grave is not None and (overdue is None or grave < overdue):
            grave = None
        schedule[kind] = Schedule(every_hours=every, overdue_hours=overdue, grave_hours=grave)
    return schedule


def _next_tests(base: PlanVersion, rhythms: dict[str, ExpectedEvery]) -> dict[str, NextTest] | UnsetType:
    """The dates that were set, of kinds that are still expected."""
    return {kind: test for kind, test in (base.next_tests or {}).items() if kind in rhythms} or UNSET


def rhythms_of(library: Library, protocols: Iterable[str]) -> dict[str, ExpectedEvery]:
    """The kinds that these protocols can expect, each with the rhythm of the last that names it."""
    found: dict[str, ExpectedEvery] = {}
    for name in protocols:
        if name in library.protocols:
            found |= library.protocols[name].schedule
    return found


def every_at_most(usual: ExpectedEvery) -> float:
    """The rarest rhythm whose overdue time, scaled with it, is still allowed."""
    return math.floor(usual.overdue_at_most_hours * usual.every_hours / usual.overdue_hours)


def _target(form: Form) -> tuple[float, float] | None:
    low, high = form.number("inr_low", *INR), form.number("inr_high", *INR)
    if (low is None) != (high is None):
        form.fault("inr_high" if high is None else "inr_low", "both")
        return None
    if low is None or high is None:
        return None
    if low >= high:
        form.fault("inr_high", "above", low=form.figure(low))
    return (low, high)
