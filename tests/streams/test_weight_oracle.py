"""The three plain weight rules against the contract's own words, reading by reading.

At least 1.360 kg above some earlier reading at most 1 patient-local day before; 2.000 kg, at most 3 days;
2.268 kg, at most 7 days; the same day counts; compared with a tolerance of 2 g.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.readings import Reading
from devices.times import format_instant
from streams.engine import Engine
from streams.plans import CarePlan
from tests.streams.timeline import LIBRARY, PARIS, PATIENT, POUND_KG, ms, plan, standing_of, version

HF = "heart-failure"
LIMITS = {"weight-gain-1d": (1.360, 1), "weight-gain-3d": (2.000, 3), "weight-gain-7d": (2.268, 7)}
TOLERANCE_KG = 0.002
CLEAR_BELOW_KG = 0.5
"""An episode ends at a gain of half a kilogram under the limit (published protocol)."""

MINUTE_MS = 60_000
BEGINNINGS = (ms("2026-03-25 00:00"), ms("2026-10-21 00:00"))
"""The generated fortnights cross the beginning or the end of summer time."""

WEIGHTS = st.one_of(
    st.integers(0, 50).map(lambda steps: round(78.5 + steps * 0.1, 1)),
    st.integers(0, 60).map(lambda steps: round((173.0 + steps * 0.2) * POUND_KG, 6)),
    st.sampled_from([80.0, 81.358, 81.357, 81.36, 82.0, 81.998, 81.997, 82.268, 82.266, 82.265]),
)
GAPS_MIN = st.sampled_from([1, 30, 180, 600, 720, 1380, 1440, 1440, 1440, 1500, 2880, 4320])


@st.composite
def weighings(draw: st.DrawFn, zones: tuple[str, ...] = ("Europe/Paris",)) -> tuple[Reading, ...]:
    """Up to 25 weighings, several on some days, of scales whose clocks are set to one of the zones."""
    at_ms = draw(st.sampled_from(BEGINNINGS)) + draw(st.integers(0, 1439)) * MINUTE_MS
    found = []
    for seq in range(1, draw(st.integers(2, 25)) + 1):
        zone = ZoneInfo(draw(st.sampled_from(zones)))
        offset = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).utcoffset()
        assert offset is not None
        found.append(
            Reading(
                device=f"scale-{zone.key}",
                seq=seq,
                kind="body-weight",
                measured_at_ms=at_ms,
                offset_min=int(offset.total_seconds() // 60),
                received_at_ms=at_ms,
                patient=PATIENT,
                values={"weight": draw(WEIGHTS)},
                marks=draw(st.sampled_from([()] * 12 + [("contact-lost",)])),
            )
        )
        at_ms += draw(GAPS_MIN) * MINUTE_MS
    return tuple(found)


def own_day(reading: Reading) -> int:
    """Number of the local day by the offset that the device wrote."""
    return (reading.measured_at_ms + reading.offset_min * MINUTE_MS) // 86_400_000


def paris_day(reading: Reading) -> int:
    moment = datetime.fromtimestamp(reading.measured_at_ms / 1000, UTC).astimezone(PARIS)
    return (moment.replace(tzinfo=None) - datetime(1970, 1, 1)) // timedelta(days=1)


@dataclass
class Told:
    """One episode by the definition: instants of its first and last met reading, and of its end."""

    start: str
    last: str
    end: str | None = None


def gains(readings: tuple[Reading, ...], days: int, in_paris: bool) -> list[tuple[Reading, float | None]]:
    """Each usable reading with the most it is above an earlier one at most `days` local days before."""
    day = paris_day if in_paris else own_day
    usable = [r for r in sorted(readings, key=lambda r: r.order) if not r.artefact]
    found: list[tuple[Reading, float | None]] = []
    for index, reading in enumerate(usable):
        before = [e for e in usable[:index] if day(reading) - day(e) <= days]
        above = [reading.values["weight"] - e.values["weight"] for e in before]
        found.append((reading, max(above) if above else None))
    return found


def met_at(readings: tuple[Reading, ...], rule: str, in_paris: bool) -> set[str]:
    limit, days = LIMITS[rule]
    return {
        text(r)
        for r, gain in gains(readings, days, in_paris)
        if gain is not None and gain >= limit - TOLERANCE_KG
    }


def episodes(readings: tuple[Reading, ...], rule: str, in_paris: bool) -> list[Told]:
    limit, days = LIMITS[rule]
    told: list[Told] = []
    for reading, gain in gains(readings, days, in_paris):
        if gain is None:
            continue
        is_open = bool(told) and told[-1].end is None
        if gain >= limit - TOLERANCE_KG:
            if is_open:
                told[-1].last = text(reading)
            else:
                told.append(Told(text(reading), text(reading)))
        elif is_open and gain <= limit - CLEAR_BELOW_KG + TOLERANCE_KG:  # it is over with the same tolerance
            told[-1].end = text(reading)
    return told


def text(reading: Reading) -> str:
    return format_instant(reading.measured_at_ms, reading.offset_min)


def signalled(readings: tuple[Reading, ...], care_plan: CarePlan | None) -> dict[str, set[str]]:
    """For each rule, the `at` of its raised and updated signals when readings come in order."""
    engine = Engine(LIBRARY, (HF,), retention_ms=None)
    state = engine.new_state(PATIENT)
    signals = engine.apply(state, plans=[care_plan] if care_plan is not None else [])
    for reading in readings:
        signals += engine.apply(state, [reading])
    return {
        rule: {s.at for s in signals if s.rule == rule and s.state in ("raised", "updated")}
        for rule in LIMITS
    }


PLANS = {"no plan": None, "plan": plan(version(1, "2026-01-01", HF))}


@pytest.mark.parametrize("care_plan", PLANS.values(), ids=PLANS.keys())
def test_a_rule_is_met_at_exactly_the_readings_of_the_definition(care_plan: CarePlan | None) -> None:
    @settings(max_examples=120, deadline=None)
    @given(weighings())
    def holds(readings: tuple[Reading, ...]) -> None:
        heard = signalled(readings, care_plan)
        assert heard == {rule: met_at(readings, rule, care_plan is not None) for rule in LIMITS}

    holds()


@settings(max_examples=120, deadline=None)
@given(weighings(zones=("Europe/Paris", "UTC", "America/Martinique")))
def test_the_care_plans_zone_decides_whatever_the_scales_clock_is_set_to(
    readings: tuple[Reading, ...],
) -> None:
    assert signalled(readings, PLANS["plan"]) == {rule: met_at(readings, rule, True) for rule in LIMITS}


@settings(max_examples=200, deadline=None)
@given(weighings(zones=("Europe/Paris", "UTC", "America/Martinique")))
def test_without_a_plan_each_readings_own_offset_makes_its_day(readings: tuple[Reading, ...]) -> None:
    assert signalled(readings, None) == {rule: met_at(readings, rule, False) for rule in LIMITS}


@settings(max_examples=120, deadline=None)
@given(weighings(), st.randoms(use_true_random=False), st.booleans())
def test_in_any_order_the_same_episodes_stand_as_by_the_definition(
    readings: tuple[Reading, ...], random: Random, planned: bool
) -> None:
    shuffled = list(readings)
    random.shuffle(shuffled)
    standing = standing_of(shuffled, HF, care_plan=PLANS["plan"] if planned else None)
    for rule in LIMITS:
        found = [Told(e.start, e.last, e.end) for e in standing if e.rule == rule]
        assert found == episodes(readings, rule, planned)
