"""Late, repeated and contradicting readings: episodes move, merge and split, and keep their history."""

from __future__ import annotations

import uuid
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from devices.readings import Reading
from streams import history
from streams.engine import Engine
from streams.signal import AlertSignal, StandingEpisode, fold
from tests.streams.histories import readings_of
from tests.streams.timeline import LIBRARY, PATIENT, Patient, standing_of

HF = "heart-failure"
DAY_MS = 86_400_000


def gained() -> Patient:
    """80 kg on the 1st and 82.1 kg on the 4th: an episode of the three-day rule."""
    return Patient(HF).at("2026-03-01 07:00").weight(80.0).at("2026-03-04 07:00").weight(82.1)


def states(patient: Patient, rule: str) -> list[str]:
    return [s.state for s in patient.said if s.rule == rule]


def test_a_late_reading_that_meets_the_rule_earlier_moves_the_episode() -> None:
    patient = gained()
    first = patient.signal("weight-gain-3d")
    patient.at("2026-03-03 07:00", received="2026-03-05 08:00").weight(82.3)
    patient.cleared("weight-gain-3d", "late-data").raised("weight-gain-3d", "high")
    raised = next(s for s in patient.said if s.rule == "weight-gain-3d" and s.state == "raised")
    assert raised.alert != first.alert
    assert raised.supersedes == (first.alert,)
    assert raised.late
    opened = patient.open("weight-gain-3d")
    assert opened is not None
    assert (opened.start[:10], opened.last[:10]) == ("2026-03-03", "2026-03-04")


def test_a_late_low_reading_raises_what_had_not_been_and_the_alert_is_marked_late() -> None:
    patient = Patient(HF).at("2026-03-02 07:00").weight(81.0).at("2026-03-04 07:00").weight(82.1).quiet()
    patient.at("2026-03-01 07:00", received="2026-03-04 08:00").weight(80.0).raised("weight-gain-3d")
    signal = patient.signal("weight-gain-3d")
    assert signal.late
    assert signal.at.startswith("2026-03-04T07:00")
    assert [e.value for e in signal.evidence] == [80.0, 82.1]


@pytest.mark.parametrize(("received", "late"), [("2026-03-05 07:00", False), ("2026-03-05 07:01", True)])
def test_an_alert_is_late_when_its_reading_took_more_than_a_day(received: str, late: bool) -> None:
    patient = Patient(HF).at("2026-03-01 07:00").weight(80.0)
    patient.at("2026-03-04 07:00", received=received).weight(82.1).raised("weight-gain-3d")
    assert patient.signal("weight-gain-3d").late is late


def test_a_late_reading_that_shows_there_was_no_cause_clears_the_alert_and_nothing_stands() -> None:
    # 170 twice is an alert, but a sound reading lay between them.
    patient = Patient("hypertension").at("2026-03-01 07:00").bp(185, 100)
    patient.at("2026-03-01 07:10").bp(185, 100).raised("bp-crisis")
    patient.at("2026-03-01 07:05", received="2026-03-01 08:00").bp(150, 90)
    patient.cleared("bp-crisis", "late-data")
    assert patient.standing("bp-crisis") == []


def test_a_late_reading_merges_two_episodes_into_the_first() -> None:
    patient = Patient(HF).at("2026-03-01 07:00").weight(80.0)
    first = patient.at("2026-03-02 07:00").weight(82.5).raised("weight-gain-3d").signal("weight-gain-3d")
    patient.at("2026-03-03 07:00").weight(81.4).cleared("weight-gain-3d")
    second = patient.at("2026-03-04 07:00").weight(83.6).raised("weight-gain-3d").signal("weight-gain-3d")
    patient.at("2026-03-01 20:00", received="2026-03-04 09:00").weight(79.5)  # 81.4 is no longer well
    stands = patient.standing("weight-gain-3d")
    assert [e.alert for e in stands] == [first.alert]
    assert (stands[0].start[:10], stands[0].last[:10], stands[0].end) == ("2026-03-02", "2026-03-04", None)
    gone = [s for s in patient.said if s.alert == second.alert]
    assert [(s.state, s.reason) for s in gone] == [("cleared", "late-data")]
    assert any(s.supersedes == (second.alert,) for s in patient.said if s.alert == first.alert)


def test_a_late_reading_splits_an_episode_in_two() -> None:
    patient = Patient(HF).at("2026-03-01 07:00").weight(80.0).at("2026-03-02 07:00").weight(82.2)
    first = patient.signal("weight-gain-3d").alert
    patient.at("2026-03-04 07:00").weight(82.4).updated("weight-gain-3d")
    patient.at("2026-03-03 07:00", received="2026-03-04 08:00").weight(81.0)
    before, after = patient.standing("weight-gain-3d")
    assert before.alert == first
    assert (before.last[:10], str(before.end)[:10]) == ("2026-03-02", "2026-03-03")
    assert (after.start[:10], after.end) == ("2026-03-04", None)


def test_a_late_reading_that_ends_an_episode_earlier_says_so() -> None:
    patient = gained().at("2026-03-06 07:00").weight(80.5).cleared("weight-gain-3d")
    patient.at("2026-03-05 07:00", received="2026-03-06 08:00").weight(80.0)
    assert str(patient.standing("weight-gain-3d")[0].end).startswith("2026-03-05")


def test_a_repeated_reading_says_nothing_and_is_counted() -> None:
    patient = gained()
    patient.take(*patient.readings).quiet()
    assert patient.state.duplicates == 2


def test_the_name_of_an_alert_is_a_pure_function_of_patient_rule_and_first_reading() -> None:
    alert = gained().signal("weight-gain-3d").alert
    assert uuid.UUID(alert).version == 5
    assert gained().at("2026-03-04 19:00").weight(82.4).updated("weight-gain-3d").said[0].alert == alert
    other = Patient(HF).at("2026-03-01 07:00").weight(80.0).at("2026-03-04 07:00").weight(82.2)
    assert other.signal("weight-gain-3d").alert != alert
    restarted = gained()
    restarted.state = restarted.engine.load(PATIENT, restarted.engine.dump(restarted.state))
    assert restarted.at("2026-03-04 19:00").weight(82.4).updated("weight-gain-3d").said[0].alert == alert


@pytest.mark.parametrize(
    ("received", "evaluated"), [("2026-04-05 07:00+01:00", True), ("2026-04-05 07:01+01:00", False)]
)
def test_a_reading_counts_for_35_days_and_is_counted_as_too_late_after(
    received: str, evaluated: bool
) -> None:
    patient = Patient(HF).at("2026-02-28 07:00").weight(80.0)
    patient.at("2026-03-01 07:00", received=received).weight(83.0)
    assert (patient.open("weight-gain-3d") is not None) is evaluated
    assert patient.state.too_late == (0 if evaluated else 1)


@pytest.mark.parametrize(("received", "evaluated"), [("2026-03-15 07:00", True), ("2026-03-15 07:01", False)])
def test_continuous_glucose_counts_for_14_days_and_fingersticks_for_35(
    received: str, evaluated: bool
) -> None:
    patient = Patient("diabetes")
    for minute in (50, 55):
        patient.at(f"2026-03-01 06:{minute}").glucose(50, "interstitial")
    patient.at("2026-03-01 07:00", received=received).glucose(50, "interstitial")
    assert (patient.open("glucose-very-low") is not None) is evaluated
    finger = Patient("diabetes").at("2026-03-01 07:00", received=received).glucose(50)
    assert finger.open("glucose-very-low") is not None


def test_silence_is_not_explained_by_a_reading_that_came_too_late() -> None:
    patient = Patient(HF).at("2026-03-01 07:00", received="2026-04-20 07:00").weight(80.0).quiet()
    assert patient.state.times == {}


# ── one identity, two contents ────────────────────────────────────────────────────────────────────────


def contradicting() -> Patient:
    return Patient(HF).at("2026-03-01 07:00").weight(80.0, seq=1).at("2026-03-02 07:00").weight(81.0, seq=1)


def test_one_identity_with_two_contents_is_a_technical_alert_from_the_earlier_on() -> None:
    patient = contradicting().raised("device-fault", "medium")
    assert patient.signal("device-fault").cls == "technical"
    assert [e.start[:10] for e in patient.standing("device-fault")] == ["2026-03-01"]
    patient.at("2026-03-03 07:00").weight(80.0, seq=2).cleared("device-fault")


def test_both_contents_are_kept_and_evaluated() -> None:
    patient = Patient(HF).at("2026-03-01 07:00").weight(80.0, seq=1)
    patient.at("2026-03-02 07:00").weight(82.4, seq=1).raised("weight-gain-3d")


def test_another_epoch_is_another_identity() -> None:
    patient = contradicting()
    readings = [patient.readings[0], replace(patient.readings[1], epoch=1)]
    assert standing_of(readings, HF) == []


def test_what_follows_from_a_contradiction_does_not_depend_on_which_came_first() -> None:
    first, second = contradicting().readings
    at_once = replace(second, measured_at_ms=first.measured_at_ms)
    for pair in ((first, second), (first, at_once)):
        assert standing_of(pair, HF) == standing_of(pair[::-1], HF) == standing_of((*pair, *pair), HF) != []


def test_two_kinds_under_one_identity_contradict_each_other_too() -> None:
    patient = Patient("diabetes", HF)
    patient.at("2026-03-01 07:00").weight(80.0, device="hub-1", seq=1)
    patient.measure("glucose", {"glucose": 100.0}, (), {"sample": "capillary"}, device="hub-1", seq=1)
    assert "device-fault" in patient.rules_raised("technical")


@pytest.mark.parametrize("protocol", sorted(LIBRARY.protocols))
def test_a_contradiction_is_told_whatever_kind_the_protocol_watches(protocol: str) -> None:
    values: dict[str, dict[str, Any]] = {
        "blood-pressure": {"systolic": 120.0, "diastolic": 80.0},
        "symptoms": {"cough": 1},
        "implant-report": {"event": "shock"},
        "glucose": {"glucose": 100.0},
        "rr-intervals": {"rr": [800.0]},
        "ecg": {"fs": 250.0, "samples": [0.0, 0.1, 0.9, 0.1] * 100},
    }
    watched = {k for r in LIBRARY.protocols[protocol].rules if r.cls == "clinical" for k in r.kinds}
    unsaid = []
    for kind in sorted(watched):
        said = values.get(kind, {kind.replace("-", "_"): 60.0})
        patient = Patient(protocol).at("2026-03-01 07:00").measure(kind, said, device="d-1", seq=1)
        patient.at("2026-03-01 08:00").measure(kind, said, device="d-1", seq=1)
        if not patient.rules_raised("technical"):
            unsaid.append(kind)
    assert unsaid == []


# ── histories that are forgotten ──────────────────────────────────────────────────────────────────────

KEPT_MS = 10 * DAY_MS
"""Much shorter than live, so that a month's history is forgotten several times."""


@st.composite
def arriving_within(draw: st.DrawFn, protocol: str) -> list[Reading]:
    """A month of readings in the order of arrival, each at most `KEPT_MS` after it was measured."""
    readings = draw(readings_of(protocol))
    delays = st.sampled_from([0, 0, 0, DAY_MS // 2, 3 * DAY_MS, 9 * DAY_MS])
    arrived = []
    for number, r in enumerate(readings):  # each identity once: a contradiction may span more than is kept
        received_ms = r.measured_at_ms + draw(delays)
        arrived.append(replace(r, seq=number, received_at_ms=received_ms))
    return sorted(arrived, key=lambda r: r.received_at_ms)


def folded(
    engine: Engine, readings: list[Reading], restart: Random | None = None
) -> dict[str, StandingEpisode]:
    """What all signals ever said fold to; sometimes the state goes to disk in between."""
    state = engine.new_state(PATIENT)
    standing: dict[str, StandingEpisode] = {}
    signals: list[AlertSignal] = []
    for reading in readings:
        if restart is not None and restart.random() < 0.1:
            state = engine.load(PATIENT, engine.dump(state))
        signals += engine.apply(state, [reading])
    for signal in signals:
        fold(standing, signal)
    return standing


@pytest.mark.parametrize("protocol", sorted(LIBRARY.protocols))
def test_a_history_forgotten_beyond_the_horizon_gives_the_same_as_a_whole_one(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BLOCK", 4)  # so that short histories lie packed, and are unpacked, as well
    whole = Engine(LIBRARY, (protocol,), retention_ms=None)
    bounded = Engine(LIBRARY, (protocol,), retention_ms=KEPT_MS, checkpoint_every=3)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(arriving_within(protocol), st.randoms(use_true_random=False))
    def holds(readings: list[Reading], random: Random) -> None:
        assert folded(bounded, readings, random) == folded(whole, readings)

    holds()


def test_memory_stays_bounded_over_a_year_of_daily_readings() -> None:
    engine = Engine(LIBRARY, (HF,))
    state = engine.new_state(PATIENT)
    for day in range(400):
        at_ms = 1_767_250_800_000 + day * DAY_MS
        values = {"weight": 80.0 + day % 7 * 0.1}
        engine.apply(state, [Reading(device="scale", seq=day, kind="body-weight", measured_at_ms=at_ms,
                                     received_at_ms=at_ms, values=values, patient=PATIENT)])  # fmt: skip
    kept = sum(len(lane.history) for lane in state.lanes.values())
    assert kept <= 42 + 2 * engine.checkpoint_every
