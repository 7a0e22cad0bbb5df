"""Generated histories: readings of many kinds near their limits, with everything that goes wrong on the way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from devices.readings import Reading
from devices.times import to_datetime
from streams.plans import CarePlan, NextTest, PlanVersion, Schedule

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_792_800_000_000  # 2026-10-24 early morning: the histories cross the end of summer time
SPAN_DAYS = 30
PATIENT = "p-0001"
ZONE_OFFSETS = (60, 120, 0)


def weight_values() -> st.SearchStrategy[dict[str, Any]]:
    return st.integers(0, 60).map(lambda g: {"weight": round(79.0 + g * 0.1, 2)})


def pressure_values() -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(
        st.sampled_from([72, 85, 88, 92, 120, 134, 136, 150, 165, 172, 178, 182, 190]),
        st.sampled_from([60, 70, 84, 86, 100, 108, 112]),
    ).map(lambda p: {"systolic": float(p[0]), "diastolic": float(min(p[1], p[0] - 10))})


def glucose_values() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from([40, 52, 53, 55, 65, 69, 75, 82, 120, 200, 235, 251, 260, 301, 320]).map(
        lambda g: {"glucose": float(g)}
    )


def symptom_values() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "dyspnoea": st.integers(0, 3),
            "oedema": st.integers(0, 3),
            "orthopnoea_pillows": st.integers(0, 3),
            "night_dyspnoea": st.booleans(),
            "chest_pain": st.booleans(),
            "syncope": st.booleans(),
            "wellbeing": st.sampled_from(["better", "same", "worse", "much-worse"]),
        },
    ).filter(bool)


VALUES = {
    "body-weight": weight_values(),
    "blood-pressure": pressure_values(),
    "glucose": glucose_values(),
    "heart-rate": st.sampled_from([36, 42, 48, 60, 75, 95, 103, 108, 112, 120, 145]).map(
        lambda r: {"heart_rate": float(r)}
    ),
    "ketones": st.sampled_from([0.2, 1.4, 1.6, 3.0]).map(lambda k: {"ketones": k}),
    "symptoms": symptom_values(),
    "oxygen-saturation": st.sampled_from([82, 87, 90, 92, 93, 94, 95, 96, 98]).map(
        lambda s: {"spo2": float(s)}
    ),
    "temperature": st.sampled_from([34.8, 36.0, 37.1, 38.0, 38.6, 39.3]).map(lambda t: {"temperature": t}),
    "respiratory-rate": st.sampled_from([8, 11, 16, 20, 22, 26]).map(
        lambda r: {"respiratory_rate": float(r)}
    ),
    "inr": st.sampled_from([1.2, 1.8, 2.4, 3.2, 4.4, 6.5, 10.5]).map(lambda i: {"inr": i}),
}

KINDS_OF = {
    "heart-failure": ("body-weight", "symptoms", "blood-pressure", "heart-rate", "oxygen-saturation"),
    "hypertension": ("blood-pressure", "symptoms"),
    "diabetes": ("glucose", "ketones"),
    "arrhythmia": ("heart-rate", "symptoms"),
    "respiratory": (
        "oxygen-saturation", "temperature", "respiratory-rate", "blood-pressure", "heart-rate", "symptoms",
    ),
    "anticoagulation": ("inr", "symptoms"),
}  # fmt: skip


@dataclass(frozen=True)
class Arrival:
    """One call of the engine: readings of a batch, a plan, or a tick; and whether the state goes to disk first."""

    readings: tuple[Reading, ...] = ()
    plan: CarePlan | None = None
    tick_ms: int | None = None
    restart: bool = False


@dataclass(frozen=True)
class Told:
    """A history and the way it arrives."""

    readings: tuple[Reading, ...]
    plan: CarePlan | None
    arrivals: tuple[Arrival, ...]
    until_ms: int


@st.composite
def readings_of(draw: st.DrawFn, protocol: str, days: int = SPAN_DAYS) -> tuple[Reading, ...]:
    """Up to 30 readings of one patient, some minutes and some days apart, a few wrong in every way."""
    kinds = draw(st.lists(st.sampled_from(KINDS_OF[protocol]), min_size=1, max_size=3, unique=True))
    count = draw(st.integers(1, 30))
    at = START_MS + draw(st.integers(0, 8)) * HOUR_MS
    found: list[Reading] = []
    seqs = dict.fromkeys(kinds, 0)
    for _ in range(count):
        kind = draw(st.sampled_from(kinds))
        at += draw(
            st.sampled_from([0, 60_000, 300_000, 600_000, HOUR_MS, 12 * HOUR_MS, DAY_MS, DAY_MS, 4 * DAY_MS])
        )
        if at > START_MS + days * DAY_MS:
            break
        seqs[kind] += 1
        reused = (
            draw(st.integers(0, 19)) == 0
        )  # a device that forgot its count: another content, same identity
        flags = draw(st.sampled_from([()] * 12 + [("device-fault",), ("clock-unset",), ("irregular-pulse",)]))
        found.append(
            Reading(
                device=f"{kind}-1",
                seq=1 if reused else seqs[kind],
                kind=kind,
                measured_at_ms=at,
                offset_min=draw(st.sampled_from(ZONE_OFFSETS)),
                values=draw(VALUES[kind]),
                received_at_ms=at + draw(st.sampled_from([0, 0, 0, 5 * 60_000, 2 * DAY_MS, 13 * DAY_MS])),
                patient=PATIENT,
                flags=flags,
                context=_context(draw, kind),
                marks=draw(st.sampled_from([()] * 9 + [("diastolic-not-below-systolic",)])),
            )
        )
    return tuple(found)


def _context(draw: st.DrawFn, kind: str) -> dict[str, str]:
    if kind == "glucose":
        return {"sample": draw(st.sampled_from(["interstitial", "interstitial", "capillary"]))}
    if kind == "heart-rate":
        return {"activity": draw(st.sampled_from(["rest", "rest", "rest", "active"]))}
    return {}


@st.composite
def plans_of(draw: st.DrawFn, protocol: str) -> CarePlan | None:
    """No plan, or one of one to three versions with schedules, absences of the protocol and own limits."""
    if draw(st.integers(0, 3)) == 0:
        return None
    versions = []
    from_day = draw(st.integers(-3, 10))
    for number in range(1, draw(st.integers(1, 3)) + 1):
        active = draw(st.sampled_from([(protocol,), (protocol,), (protocol,), ()]))
        from_ms = START_MS + from_day * DAY_MS + draw(st.integers(0, 23)) * HOUR_MS
        versions.append(
            PlanVersion(
                version=number,
                from_=_text(from_ms),
                protocols=active,
                time_zone=draw(st.sampled_from(["Europe/Paris", "America/Martinique", "UTC"])),
                schedule=_schedule(draw, protocol) if active else {},
                next_tests=_next_tests(draw, protocol, from_ms) if active else UNSET,
                dry_weight_kg=draw(st.sampled_from([None, 79.0, 80.5])),
                pregnancy=draw(st.booleans()),
                known_atrial_fibrillation=draw(st.booleans()),
                spo2_scale=draw(st.sampled_from([1, 2])),
                mechanical_valve=draw(st.booleans()),
            )
        )
        from_day += draw(st.integers(0, 12))
    return CarePlan(patient=PATIENT, versions=tuple(versions))


SCHEDULED = {
    "heart-failure": ("body-weight", "symptoms"),
    "hypertension": ("blood-pressure",),
    "diabetes": ("glucose",),
    "arrhythmia": ("heart-rate",),
    "respiratory": ("oxygen-saturation",),
    "anticoagulation": ("inr",),
}


def _schedule(draw: st.DrawFn, protocol: str) -> dict[str, Schedule]:
    kinds = draw(st.lists(st.sampled_from(SCHEDULED[protocol]), unique=True, max_size=2))
    return {kind: Schedule(every_hours=draw(st.sampled_from([6.0, 24.0, 72.0]))) for kind in kinds}


def _next_tests(draw: st.DrawFn, protocol: str, from_ms: int) -> dict[str, NextTest] | UnsetType:
    """Now and then the day by which the next reading is wanted."""
    if draw(st.integers(0, 3)):
        return UNSET
    by = to_datetime(from_ms).date() + timedelta(days=draw(st.integers(1, 8)))
    return {draw(st.sampled_from(SCHEDULED[protocol])): NextTest(_text(from_ms), by)}


def _text(instant_ms: int) -> str:
    from devices.times import format_instant

    return format_instant(instant_ms, 60)


@st.composite
def told(draw: st.DrawFn, protocol: str) -> Told:
    """A history with an arrival order: shuffled, repeated, in batches, with ticks and restarts in between."""
    readings = draw(readings_of(protocol))
    plan = draw(plans_of(protocol))
    copies = list(readings) + [r for r in readings if draw(st.integers(0, 5)) == 0]
    shuffled = draw(st.permutations(copies)) if draw(st.booleans()) else copies
    arrivals: list[Arrival] = []
    rest = list(shuffled)
    while rest:
        size = draw(st.sampled_from([1, 1, 1, 2, 5, 30]))
        arrivals.append(Arrival(tuple(rest[:size]), restart=draw(st.integers(0, 7)) == 0))
        rest = rest[size:]
        if draw(st.integers(0, 6)) == 0:
            day = draw(st.integers(0, SPAN_DAYS))
            arrivals.append(Arrival(tick_ms=START_MS + day * DAY_MS))
    if plan is not None:
        arrivals.insert(draw(st.integers(0, len(arrivals))), Arrival(plan=plan))
    ticks = [a.tick_ms for a in arrivals if a.tick_ms is not None]
    until_ms = (
        max([r.received_at_ms for r in readings] + ticks + [START_MS]) + draw(st.integers(0, 6)) * DAY_MS
    )
    arrivals.append(Arrival(tick_ms=until_ms))
    return Told(readings, plan, tuple(arrivals), until_ms)
