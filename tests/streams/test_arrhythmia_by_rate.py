"""Arrhythmia by rate: too fast, too slow, and away from the patient's own resting rate."""

from __future__ import annotations

import pytest

from tests.streams.timeline import Patient, plan, version

AR = "arrhythmia"


def twice(rate: float, activity: str = "rest", *flags: str, symptoms: bool = False) -> Patient:
    patient = Patient(AR)
    if symptoms:
        patient.at("2026-03-02 07:00").answers(dizziness=True)
    patient.at("2026-03-02 08:00").pulse(rate, activity, *flags).quiet("tachycardia", "bradycardia")
    return patient.at("2026-03-02 08:10").pulse(rate, activity, *flags)


@pytest.mark.parametrize(
    ("rate", "symptoms", "severity"), [(111, False, "medium"), (101, True, "medium"), (141, False, "high")]
)
def test_a_fast_resting_rate_is_met_when_repeated(rate: float, symptoms: bool, severity: str) -> None:
    twice(rate, symptoms=symptoms).raised("tachycardia", severity)


@pytest.mark.parametrize(("rate", "symptoms"), [(110, False), (100, True)])
def test_a_fast_rate_is_not_met_at_its_limit(rate: float, symptoms: bool) -> None:
    twice(rate, symptoms=symptoms).quiet()


@pytest.mark.parametrize(("rate", "symptoms"), [(39, False), (49, True)])
def test_a_slow_resting_rate_is_grave_when_repeated(rate: float, symptoms: bool) -> None:
    twice(rate, symptoms=symptoms).raised("bradycardia", "high")


@pytest.mark.parametrize(("rate", "symptoms"), [(40, False), (50, True), (45, False)])
def test_a_slow_rate_is_not_met_at_its_limit(rate: float, symptoms: bool) -> None:
    twice(rate, symptoms=symptoms).quiet()


def test_a_rate_while_active_says_nothing() -> None:
    twice(150, "active").quiet()


def test_a_lost_contact_does_not_raise_tachycardia() -> None:
    twice(180, "rest", "contact-lost").quiet("tachycardia")


def test_a_repeat_counts_within_a_day() -> None:
    patient = Patient(AR).at("2026-03-02 08:00").pulse(120)
    patient.at("2026-03-03 08:00").pulse(120).raised("tachycardia")
    patient = Patient(AR).at("2026-03-02 08:00").pulse(120)
    patient.at("2026-03-03 08:01").pulse(120).quiet("tachycardia")


def test_a_fast_rate_rises_to_grave_and_falls_without_flapping() -> None:
    patient = twice(120).raised("tachycardia", "medium")
    patient.at("2026-03-02 09:00").pulse(145).updated("tachycardia", "medium")  # not repeated yet
    patient.at("2026-03-02 09:05").pulse(145).updated("tachycardia", "high")
    patient.at("2026-03-02 10:00").pulse(138).updated("tachycardia", "high")
    patient.at("2026-03-02 11:00").pulse(134).updated("tachycardia", "medium")
    patient.at("2026-03-02 12:00").pulse(106).quiet()
    patient.at("2026-03-02 13:00").pulse(105).cleared("tachycardia")


def test_a_slow_rate_ends_at_45() -> None:
    patient = twice(38).at("2026-03-02 09:00").pulse(44).quiet()
    patient.at("2026-03-02 10:00").pulse(45).cleared("bradycardia")


def test_the_sentences_give_the_rate_and_the_limit() -> None:
    french, english = twice(120).sentences("tachycardia")
    assert french == "Fréquence cardiaque au repos 120/min, deux mesures de suite (limite 110/min)."
    assert english == "Resting heart rate 120/min, two readings in a row (limit 110/min)."


def fortnight(days: int = 16) -> Patient:
    patient = Patient(AR)
    for day in range(1, days + 1):
        patient.at(f"2026-03-{day:02d} 08:00").pulse(60)
    return patient


def test_the_usual_rate_is_left_when_two_mornings_are_three_deviations_above() -> None:
    patient = fortnight().at("2026-03-17 08:00").pulse(70).quiet()
    patient.at("2026-03-17 20:00").pulse(70).quiet()  # the same day
    patient.at("2026-03-18 08:00").pulse(70).raised("heart-rate-personal", "medium")
    french, english = patient.sentences("heart-rate-personal")
    assert "70/min, bien au-dessus de l'habituelle 60/min" in french
    assert "70/min, well above the usual 60/min" in english
    patient.at("2026-03-19 08:00").pulse(67).quiet()
    patient.at("2026-03-20 08:00").pulse(66).cleared("heart-rate-personal")


def test_a_number_of_deviations_is_not_called_beats_a_minute() -> None:
    patient = fortnight().at("2026-03-17 08:00").pulse(70).at("2026-03-18 08:00").pulse(70)
    signal = patient.signal("heart-rate-personal")
    assert signal.unit is None or signal.value == 70.0


def test_a_questionnaire_that_was_a_test_affirms_nothing() -> None:
    patient = Patient(AR).at("2026-03-02 07:00").measure("symptoms", {"dizziness": True}, ("test",))
    patient.at("2026-03-02 08:00").pulse(105).at("2026-03-02 08:10").pulse(105).quiet()


def test_a_slower_rate_than_usual_is_not_this_rule() -> None:
    patient = fortnight().at("2026-03-17 08:00").pulse(48).at("2026-03-18 08:00").pulse(48).quiet()
    assert patient.standing() == []


def test_a_baseline_of_seven_to_thirteen_days_is_mixed_with_the_populations_scatter() -> None:
    for days, told in ((8, False), (16, True)):  # 10 above: 3.3 own deviations, but 2.1 of the mixed one
        patient = fortnight(days)
        patient.at(f"2026-03-{days + 1:02d} 08:00").pulse(70).at(f"2026-03-{days + 2:02d} 08:00").pulse(70)
        assert ("heart-rate-personal" in patient.rules_raised()) is told


def test_a_rate_that_stays_away_is_not_learnt_while_its_alert_is_open() -> None:
    patient = fortnight()
    for day in range(17, 32):
        patient.at(f"2026-03-{day} 08:00").pulse(75)
    assert patient.open("heart-rate-personal") is not None


def test_a_care_plan_sets_each_levels_limit() -> None:
    mine = {AR: {"tachycardia": {"without-symptoms": 120.0}}}
    patient = Patient(plan=plan(version(1, "2026-01-01", AR, limits=mine)))
    patient.at("2026-03-02 08:00").pulse(118).at("2026-03-02 08:10").pulse(118).quiet()
    patient.at("2026-03-02 09:00").pulse(121).at("2026-03-02 09:10").pulse(121).raised("tachycardia")


def test_a_sensor_that_reports_a_fault_is_technical() -> None:
    patient = Patient(AR).at("2026-03-02 08:00").pulse(60, "rest", "device-fault").raised("device-fault")
    assert patient.rules_raised() == set()
