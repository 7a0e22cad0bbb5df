"""A patient made anew from readings and from what was told: nothing is told twice, nothing is forgotten."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.readings import Reading
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion
from streams.protocols import load_published
from streams.rebuild import DAMAGED_FEW, Past, rebuild, too_many
from streams.signal import AlertSignal, StandingEpisode, fold
from tests.streams.histories import PATIENT

sys.path.append(str(Path(__file__).parent.parent / "path"))
from stand_in import StandInEngine

HOUR_MS = 3_600_000
BEGIN_MS = 1_792_800_000_000
PLAN = CarePlan(
    patient=PATIENT,
    versions=(
        PlanVersion(version=1, from_="2026-10-24T00:00:00Z", protocols=("heart-failure", "hypertension")),
    ),
)


def reading(seq: int, half_kilograms: int, device: str = "sc-1") -> Reading:
    at_ms = BEGIN_MS + seq * 8 * HOUR_MS
    values = {"weight": 78.0 + half_kilograms / 2}
    return Reading(
        device=device, seq=seq, kind="body-weight", measured_at_ms=at_ms, values=values, patient=PATIENT,
        received_at_ms=at_ms + 1_000,
    )  # fmt: skip


def folded(signals: list[AlertSignal]) -> dict[str, StandingEpisode]:
    standing: dict[str, StandingEpisode] = {}
    for signal in signals:
        fold(standing, signal)
    return standing


def made_anew(engine: Engine, past: Past) -> tuple[object, list[AlertSignal]]:
    return asyncio.run(rebuild(engine, PATIENT, past, PLAN, BEGIN_MS))


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.integers(0, 16), min_size=1, max_size=30), told=st.floats(0, 1), again=st.floats(0, 1)
)
def test_with_all_readings_the_state_goes_on_as_if_nothing_had_happened(
    weights: list[int], told: float, again: float
) -> None:
    engine = Engine(load_published())
    readings = [reading(seq, weight) for seq, weight in enumerate(weights, 1)]
    half = int(len(readings) * again)
    state = engine.new_state(PATIENT)
    said = engine.apply(state, plans=[PLAN])
    for one in readings[:half]:
        said += engine.apply(state, [one])
    known = said[: int(len(said) * told)]  # the rest was in the damaged outbox
    anew, more = made_anew(engine, Past(readings[:half], known, half))
    if known:
        assert [signal.n for signal in known + more] == list(range(1, len(known) + len(more) + 1))
    assert engine.standing(anew) == engine.standing(state)
    for one in engine.standing(anew):
        assert folded(known + more)[one.alert] == one
    if len(known) == len(said):
        assert more == [], "all was told"
    for one in readings[half:]:
        expected, found = engine.apply(state, [one]), engine.apply(anew, [one])
        assert [msgspec.structs.replace(s, n=0) for s in found] == [
            msgspec.structs.replace(s, n=0) for s in expected
        ]


def test_an_alert_older_than_what_is_left_gives_way_to_the_same_seen_later_and_another_stays() -> None:
    engine = Engine(load_published())
    state = engine.new_state(PATIENT)
    known = engine.apply(state, plans=[PLAN])
    readings = [reading(seq, weight) for seq, weight in enumerate([0, 0, 0, 8, 8, 8, 9, 10, 12, 16, 16], 1)]
    for one in readings:
        known += engine.apply(state, [one])
    open_before = {one.alert: one for one in engine.standing(state) if one.end is None}
    assert open_before
    left = readings[6:]
    anew, more = made_anew(engine, Past(left, known, len(readings)))
    assert [signal.n for signal in more] == list(range(known[-1].n + 1, known[-1].n + 1 + len(more)))
    after, now = folded(known + more), {one.alert for one in engine.standing(anew) if one.end is None}
    replaced = {old for s in more if s.supersedes is not msgspec.UNSET for old in s.supersedes}
    for alert, one in open_before.items():
        stays = alert in after and after[alert].end is None
        assert stays or alert in replaced, one
    assert now <= after.keys()


def test_a_patient_of_whom_no_signal_is_left_is_numbered_ahead_of_every_count() -> None:
    engine = Engine(load_published())
    readings = [reading(seq, weight) for seq, weight in enumerate([0, 0, 8, 8], 1)]
    _, more = made_anew(engine, Past(readings, [], 4))
    assert more
    assert more[0].n == BEGIN_MS // 60_000 + 1


def test_what_the_engine_cannot_work_on_is_passed_over() -> None:
    engine = StandInEngine()
    past = Past([reading(seq, 0) for seq in range(5)], [], 5)
    past.readings[2] = msgspec.structs.replace(past.readings[2], kind="symptoms", values={"fatigue": 3})
    state, _ = asyncio.run(rebuild(engine, PATIENT, past, None, BEGIN_MS))
    assert sorted(state.seen.values()) == [1, 1, 1, 1]


def test_a_few_damaged_records_are_accidents_and_many_are_not() -> None:
    assert not too_many(DAMAGED_FEW, DAMAGED_FEW)
    assert too_many(DAMAGED_FEW + 1, 1_000)
    assert not too_many(DAMAGED_FEW + 1, 1_100)
