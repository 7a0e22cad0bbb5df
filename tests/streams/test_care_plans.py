"""Care plans: versions that replace each other, plans before and after the readings, plans that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.readings import Reading
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion
from streams.timeline import PlanError, check_plan
from tests.streams.histories import plans_of, readings_of
from tests.streams.timeline import LIBRARY, PATIENT, Patient, plan, standing_of, version

HF, HT = "heart-failure", "hypertension"


def gains(patient: Patient) -> Patient:
    """A gain of 2.1 kg from the 1st to the 4th."""
    return patient.at("2026-03-01 07:00").weight(80.0).at("2026-03-04 07:00").weight(82.1)


def test_who_has_no_plan_is_not_watched_live_and_is_from_the_plan_on() -> None:
    patient = gains(Patient())
    assert patient.signals == []
    patient.plan(plan(version(1, "2026-02-01", HF))).raised("weight-gain-3d")
    assert patient.open("weight-gain-3d") is not None


def test_nothing_is_evaluated_before_the_first_version() -> None:
    patient = gains(Patient(plan=plan(version(1, "2026-03-04 12:00", HF))))
    assert patient.signals == []
    patient.at("2026-03-04 19:00").weight(82.2).raised("weight-gain-3d")  # readings before it are history


def test_a_version_with_a_higher_number_replaces_the_plan_and_a_lower_one_does_not() -> None:
    first = plan(version(1, "2026-02-01", HF))
    second = plan(version(1, "2026-02-01", HF), version(2, "2026-02-01", HF, dry_weight_kg=79.0))
    patient = gains(Patient(plan=first)).plan(second).raised("dry-weight")
    patient.plan(first).quiet()
    assert patient.open("dry-weight") is not None


def test_the_same_plan_again_says_nothing() -> None:
    care = plan(version(1, "2026-02-01", HF))
    gains(Patient(plan=care)).plan(care).quiet()


def test_removing_a_protocol_ends_its_episodes_at_the_versions_beginning() -> None:
    patient = gains(Patient(plan=plan(version(1, "2026-02-01", HF))))
    patient.plan(plan(version(1, "2026-02-01", HF), version(2, "2026-03-05 12:00", HT))).quiet()
    patient.tick("2026-03-05 11:59").quiet()
    patient.tick("2026-03-05 12:00").cleared("weight-gain-3d")
    ended = patient.standing("weight-gain-3d")[0].end
    assert ended is not None
    assert ended.startswith(("2026-03-05T12:00:00.000+01:00", "2026-03-05T11:00:00.000+00:00"))


def test_the_engine_asks_to_be_called_when_a_version_begins() -> None:
    care = plan(version(1, "2026-02-01", HF), version(2, "2026-03-05 12:00", HT))
    patient = gains(Patient(plan=care))
    assert patient.engine.next_deadline_ms(patient.state) == care.versions[1].from_ms


def test_a_plan_that_takes_a_protocol_back_from_before_the_episode_withdraws_it() -> None:
    patient = gains(Patient(plan=plan(version(1, "2026-02-01", HF))))
    patient.plan(plan(version(1, "2026-02-01", HF), version(2, "2026-03-03", HT)))
    patient.cleared("weight-gain-3d", "care-plan")
    assert {e.rule for e in patient.standing()} == {
        "no-reading"
    }  # from the plan's beginning to the first weight


def test_a_later_limit_that_would_not_have_been_met_leaves_the_past_alone() -> None:
    wide = {HF: {"weight-gain-3d": {"limit": 4.0}}}
    patient = gains(Patient(plan=plan(version(1, "2026-02-01", HF))))
    patient.plan(plan(version(1, "2026-02-01", HF), version(2, "2026-03-10", HF, limits=wide))).quiet()
    assert patient.open("weight-gain-3d") is not None


def test_a_limit_changed_from_the_beginning_withdraws_what_it_would_not_have_raised() -> None:
    wide = {HF: {"weight-gain-3d": {"limit": 4.0}}}
    patient = gains(Patient(plan=plan(version(1, "2026-02-01", HF))))
    patient.plan(plan(version(2, "2026-02-01", HF, limits=wide))).cleared("weight-gain-3d", "care-plan")
    assert patient.standing("weight-gain-3d") == []


def test_two_protocols_each_have_their_own_alerts() -> None:
    patient = Patient(plan=plan(version(1, "2026-02-01", HF, HT)))
    patient.at("2026-03-01 07:00").bp(200, 100).at("2026-03-01 07:05").bp(200, 100)
    gains(patient)
    assert {e.protocol for e in patient.standing()} == {HF, HT}


@pytest.mark.parametrize("protocol", [HF, HT, "diabetes", "respiratory"])
def test_a_plan_before_among_or_after_the_readings_leaves_the_same_standing(protocol: str) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(readings_of(protocol), plans_of(protocol), plans_of(protocol), st.data())
    def holds(
        readings: tuple[Reading, ...], first: CarePlan | None, second: CarePlan | None, data: st.DataObject
    ) -> None:
        plans = [p for p in (first, second) if p is not None]
        until_ms = max((r.received_at_ms for r in readings), default=0)
        engine = Engine(LIBRARY, (protocol,), retention_ms=None)
        state = engine.new_state(PATIENT)
        places = [data.draw(st.integers(0, len(readings))) for _ in plans]
        for index, reading in enumerate([*readings, None]):
            engine.apply(state, plans=[p for p, at in zip(plans, places, strict=True) if at == index])
            engine.apply(state, [reading] if reading is not None else [])
        engine.apply(state, tick_ms=until_ms)
        newest = state.plan
        assert engine.standing(state) == standing_of(readings, protocol, care_plan=newest, tick_ms=until_ms)
        assert newest in plans or not plans

    holds()


def test_of_two_plans_with_the_same_number_the_same_one_holds_whichever_came_first() -> None:
    one = plan(version(1, "2026-02-01", HF, dry_weight_kg=79.0))
    other = plan(version(1, "2026-02-01", HF, dry_weight_kg=90.0))
    stands = [gains(Patient(plan=a)).plan(b).standing() for a, b in ((one, other), (other, one))]
    assert stands[0] == stands[1]


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no instant": ({"from_": "yesterday"}, ["from", "yesterday"]),
    "no zone": ({"time_zone": "Mars/Olympus"}, ["time_zone", "Mars/Olympus", "Europe/Paris"]),
    "no protocol": ({"protocols": ("gout",)}, ["protocols", "gout", HF]),
    "no rule": ({"limits": {HF: {"height": {"limit": 1.0}}}}, ["limits", "heart-failure/height"]),
    "no limit": (
        {"limits": {HF: {"weight-gain-3d": {"weight": 1.0}}}},
        ["limits", "weight-gain-3d", "'weight'"],
    ),
    "a limit of silence": ({"limits": {HF: {"no-reading": {"limit": 1.0}}}}, ["limits", "no-reading"]),
    "another protocol's kind": ({"schedule": {"glucose": 24.0}}, ["schedule", "glucose", "body-weight"]),
    "every zero hours": ({"schedule": {"body-weight": 0.0}}, ["schedule", "body-weight"]),
    "every minus a day": ({"schedule": {"body-weight": -24.0}}, ["schedule", "body-weight"]),
    "grave before overdue": ({"schedule": {"body-weight": (24.0, 84.0, 60.0)}}, ["schedule", "body-weight"]),
    "an upside-down target": ({"inr_target": (3.0, 2.0)}, ["inr_target"]),
    "less than no weight": ({"dry_weight_kg": -80.0}, ["dry_weight_kg"]),
}


def bad_plan(fields: dict[str, Any]) -> CarePlan:
    given = dict(fields)
    protocols = given.pop("protocols", (HF,))
    begins = given.pop("from_", None)
    good = version(7, "2026-03-01", *protocols, **given)
    names = good.__struct_fields__
    said = {name: getattr(good, name) for name in names}
    return plan(PlanVersion(**{**said, "from_": begins or good.from_}))


@pytest.mark.parametrize("fault", BAD)
def test_a_plan_that_cannot_be_used_names_patient_version_and_field(fault: str) -> None:
    fields, parts = BAD[fault]
    with pytest.raises(PlanError) as raised:
        check_plan(LIBRARY, bad_plan(fields))
    for part in [PATIENT, "version 7", *parts]:
        assert part in str(raised.value)


def test_a_plan_that_cannot_be_used_leaves_the_patient_as_it_was() -> None:
    patient = gains(Patient(plan=plan(version(1, "2026-02-01", HF))))
    before = patient.engine.dump(patient.state)
    with pytest.raises(PlanError):
        patient.engine.apply(patient.state, plans=[bad_plan({"protocols": ("gout",)})])
    assert patient.engine.dump(patient.state) == before


def test_everything_wrong_with_a_plan_is_told_at_once() -> None:
    with pytest.raises(PlanError) as raised:
        check_plan(LIBRARY, bad_plan({"from_": "yesterday", "time_zone": "Mars/Olympus"}))
    assert len(str(raised.value).splitlines()) == 2
