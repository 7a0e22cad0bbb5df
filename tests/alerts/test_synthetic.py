"""The synthetic reading: what it proves, in the wall's time whatever the platform's clock."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from alerts import synthetic
from devices.decode import decode_payload
from devices.firmware import Firmware
from devices.outbox import OutboxStore
from devices.readings import Reading
from scad.clock import Clock
from streams.engine import Engine
from streams.plans import CarePlan
from streams.protocols import load_published
from streams.timeline import check_plan

NOW_MS = 1_795_340_000_000


def test_age_and_round_trip_are_the_walls_also_where_the_clock_runs_faster():
    clock = Clock(
        start_ms=NOW_MS - 14 * 86_400_000, wall_start_ms=NOW_MS, rate=1000.0, wall=lambda: NOW_MS + 60_000
    )
    measured = clock.now_ms(ago_ms=20_000)
    stored = clock.now_ms(ago_ms=18_500)
    found = synthetic.check(clock, measured, stored)
    assert found.age_ms == pytest.approx(20_000, abs=2)
    assert found.round_trip_ms == pytest.approx(1_500, abs=2)
    assert not found.stalled
    assert not found.slow


@pytest.mark.parametrize(("age_ms", "stalled"), [(60_000, False), (185_000, False), (191_000, True)])
def test_three_missing_readings_are_a_stall(age_ms: int, stalled: bool):
    found = synthetic.check(Clock(wall=lambda: NOW_MS), NOW_MS - age_ms, NOW_MS - age_ms + 500)
    assert found.stalled is stalled


def test_its_plan_is_valid_and_its_readings_never_raise_anything():
    library = load_published()
    entry = synthetic.enrolment(NOW_MS).patients[0]
    assert entry.care_plan is not None
    plan = CarePlan(patient=synthetic.PATIENT, versions=(entry.care_plan,), care_team=synthetic.TEAM)
    check_plan(library, plan)
    engine = Engine(library)
    state = engine.new_state(synthetic.PATIENT)
    signals = engine.apply(state, plans=[plan], tick_ms=NOW_MS)
    for minute in range(0, 3 * 24 * 60, 7):
        at_ms = NOW_MS + minute * 60_000
        reading = Reading(
            device=synthetic.DEVICE,
            seq=minute + 1,
            kind=synthetic.KIND,
            measured_at_ms=at_ms,
            values=synthetic.VALUES,
            offset_min=0,
            received_at_ms=at_ms,
            patient=synthetic.PATIENT,
            flags=(synthetic.FLAG,),
            marks=(synthetic.FLAG,),
        )
        signals += engine.apply(state, readings=[reading], tick_ms=at_ms)
    signals += engine.apply(state, tick_ms=NOW_MS + 30 * 86_400_000)
    assert signals == []


def test_it_measures_each_minute_of_the_wall_and_is_a_valid_marked_reading(tmp_path: Path):
    store = OutboxStore(tmp_path, durable=False)
    device = Firmware(synthetic.DEVICE, store.open(synthetic.DEVICE))
    wall_ms = NOW_MS
    rounds = 0

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal wall_ms, rounds
            rounds += 1
            wall_ms += 30_000  # two looks a minute
            return rounds > 9

    synthetic.publish(device, Clock(wall=lambda: wall_ms), Stop())
    held = device.outbox.after(0, 100)
    payloads = [msgspec.json.decode(one.payload) for one in held]
    assert [payload["seq"] for payload in payloads] == [1, 2, 3, 4, 5]
    decoded = decode_payload(held[0].payload, synthetic.DEVICE, wall_ms)
    assert isinstance(decoded[0], Reading)
    assert decoded[0].marks == ("test",)
    store.close()
