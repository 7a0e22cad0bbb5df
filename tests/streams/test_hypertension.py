"""Home blood pressure: crises confirmed by a repeat, low pressure, the week's mean, the patient's own usual."""

from __future__ import annotations

import pytest

from tests.streams.timeline import Patient, plan, version

HT = "hypertension"


@pytest.mark.parametrize(("systolic", "diastolic"), [(180, 95), (150, 110)])
def test_a_crisis_is_met_at_180_or_110_once_repeated(systolic: int, diastolic: int) -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(systolic, diastolic).quiet("bp-crisis")
    patient.at("2026-03-01 07:10").bp(systolic, diastolic).raised("bp-crisis", "high")
    assert len(patient.signal("bp-crisis").evidence) == 2


def test_a_crisis_is_not_met_below_its_limits() -> None:
    Patient(HT).at("2026-03-01 07:00").bp(179, 109).at("2026-03-01 07:10").bp(179, 109).quiet("bp-crisis")


def test_a_crisis_is_not_confirmed_by_a_reading_more_than_a_day_later() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(190, 100)
    patient.at("2026-03-02 07:01").bp(190, 100).quiet("bp-crisis")
    patient.at("2026-03-02 07:10").bp(190, 100).raised("bp-crisis")


def test_a_crisis_is_not_confirmed_across_a_reading_that_was_well() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(190, 100).at("2026-03-01 07:05").bp(150, 90)
    patient.at("2026-03-01 07:10").bp(190, 100).quiet("bp-crisis")


def test_a_crisis_ends_at_175_and_105_together() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(185, 112).at("2026-03-01 07:10").bp(185, 112)
    patient.at("2026-03-01 08:00").bp(176, 100).quiet("bp-crisis")
    patient.at("2026-03-01 09:00").bp(170, 106).quiet("bp-crisis")
    patient.at("2026-03-01 10:00").bp(175, 105).cleared("bp-crisis")


def test_the_sentence_of_a_crisis_gives_both_pressures_without_decimals() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(182, 95).at("2026-03-01 07:10").bp(184, 96)
    french, english = patient.sentences("bp-crisis")
    assert "184/96 mmHg" in french
    assert "limite 180" in french
    assert "184/96 mmHg" in english


def test_high_pressure_is_met_above_170_twice_and_above_160_with_symptoms() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(170, 80).at("2026-03-01 07:05").bp(170, 80).quiet()
    Patient(HT).at("2026-03-01 07:00").bp(171, 80).at("2026-03-01 07:05").bp(171, 80).raised("bp-high")
    patient = Patient(HT).at("2026-03-01 06:50").answers(dyspnoea=1)
    patient.at("2026-03-01 07:00").bp(161, 80).at("2026-03-01 07:05").bp(161, 80).raised("bp-high", "medium")


def test_symptoms_speak_for_36_hours() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").answers(dizziness=True)
    patient.at("2026-03-02 19:00").bp(89, 60).raised("bp-low", "high")
    patient = Patient(HT).at("2026-03-01 07:00").answers(dizziness=True)
    patient.at("2026-03-02 19:01").bp(89, 60).quiet()


def test_a_later_questionnaire_without_symptoms_takes_them_back() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").answers(dizziness=True)
    patient.at("2026-03-01 08:00").answers(dizziness=False).at("2026-03-01 09:00").bp(89, 60).quiet()


def test_low_pressure_rises_and_falls_in_severity_without_flapping() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(88, 60).quiet()
    patient.at("2026-03-01 19:00").bp(88, 60).raised("bp-low", "medium")
    patient.at("2026-03-02 07:00").bp(79, 55).updated("bp-low", "high")
    patient.at("2026-03-02 19:00").bp(84, 55).updated("bp-low", "high")  # not yet at 85, where 80 is over
    patient.at("2026-03-03 07:00").bp(86, 55).updated("bp-low", "medium")
    patient.at("2026-03-03 19:00").bp(94, 60).quiet()
    patient.at("2026-03-04 07:00").bp(95, 60).cleared("bp-low")


def test_very_low_pressure_needs_no_repeat_and_80_is_not_below_80() -> None:
    Patient(HT).at("2026-03-01 07:00").bp(79, 50).raised("bp-low", "high")
    Patient(HT).at("2026-03-01 07:00").bp(80, 50).quiet()


def test_a_questionnaire_that_was_a_test_affirms_nothing() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").measure("symptoms", {"dizziness": True}, ("test",))
    patient.at("2026-03-01 08:00").bp(89, 60).quiet()


def week(systolic: float, diastolic: float, days: int, first: float = 0) -> Patient:
    """Two readings morning and evening; those of the first day higher by `first`."""
    patient = Patient(HT)
    for day in range(1, days + 1):
        for clock in ("07:00", "07:02", "19:00", "19:02"):
            more = first if day == 1 else 0
            patient.at(f"2026-03-{day:02d} {clock}").bp(systolic + more, diastolic + more)
    return patient


@pytest.mark.parametrize(("systolic", "diastolic"), [(135, 75), (120, 85)])
def test_the_weeks_mean_is_met_exactly_at_135_or_85_with_the_twelfth_reading(
    systolic: float, diastolic: float
) -> None:
    patient = week(systolic, diastolic, 4)
    raised = next(s for s in patient.signals if s.rule == "bp-weekly-mean")
    assert raised.at.startswith("2026-03-04T19:02")  # day 1 is discarded: 3 days of 4 readings make 12
    assert raised.severity == "medium"


def test_the_weeks_mean_is_not_met_just_below() -> None:
    assert "bp-weekly-mean" not in week(134.9, 84.9, 8).rules_raised()


def test_the_first_day_does_not_count_however_high() -> None:
    assert "bp-weekly-mean" not in week(130, 75, 6, first=35).rules_raised()


def test_a_weeks_mean_ends_when_the_last_seven_days_are_back() -> None:
    patient = week(136, 80, 4)
    day = 5
    while patient.open("bp-weekly-mean") is not None and day < 30:
        patient.at(f"2026-03-{day:02d} 07:00").bp(125, 75).at(f"2026-03-{day:02d} 07:02").bp(125, 75)
        day += 1
    ended = patient.standing("bp-weekly-mean")[0]
    assert ended.end is not None
    assert patient.signal("bp-weekly-mean").state == "cleared"


def test_the_sentence_of_a_weeks_mean_says_over_how_many_readings() -> None:
    raised = next(s for s in week(136, 80, 4).signals if s.rule == "bp-weekly-mean")
    assert "136/80 mmHg sur 12 mesures" in raised.explanation["fr"]
    assert "136/80 mmHg over 12 readings" in raised.explanation["en"]


def test_a_weeks_mean_shows_its_highest_reading_whichever_cuff_it_came_from() -> None:
    patient = Patient(HT)
    for day in range(1, 5):
        for clock in ("07:00", "07:02", "19:00", "19:02"):
            highest = day == 2 and clock == "19:02"
            patient.at(f"2026-03-0{day} {clock}")
            if highest:
                patient.bp(160, 80, device="cuff-2", seq=15)
            else:
                patient.bp(136, 80)
    raised = next(s for s in patient.signals if s.rule == "bp-weekly-mean")
    assert ("cuff-2", 160.0) in [(e.device, e.value) for e in raised.evidence]


def fortnight(patient: Patient, clock: str = "07") -> Patient:
    for day in range(1, 17):
        patient.at(f"2026-03-{day:02d} {clock}:00").bp(120, 75).at(f"2026-03-{day:02d} {clock}:02").bp(
            120, 75
        )
    return patient


def test_the_patients_own_pressure_is_left_after_two_sessions_in_either_direction() -> None:
    for away in (150, 100):  # five robust deviations of 6 mmHg up, more than three down
        patient = fortnight(Patient(HT))
        patient.at("2026-03-17 07:00").bp(away, 75).at("2026-03-17 07:02").bp(away, 75).quiet("bp-personal")
        patient.at("2026-03-18 07:00").bp(away, 75).quiet("bp-personal")
        patient.at("2026-03-18 07:02").bp(away, 75).raised("bp-personal", "medium")


def test_a_number_of_deviations_is_not_called_millimetres_of_mercury() -> None:
    patient = fortnight(Patient(HT))
    for day in (17, 18):
        patient.at(f"2026-03-{day} 07:00").bp(150, 75).at(f"2026-03-{day} 07:02").bp(150, 75)
    signal = patient.signal("bp-personal")
    assert signal.unit is None or signal.value == 150.0


def test_mornings_are_compared_with_mornings() -> None:
    patient = fortnight(Patient(HT))  # evenings are unknown: nothing can be said of them
    for day in (17, 18, 19):
        patient.at(f"2026-03-{day} 19:00").bp(150, 75).at(f"2026-03-{day} 19:02").bp(150, 75)
    assert "bp-personal" not in patient.rules_raised()


def test_artefacts_never_raise_a_clinical_alert() -> None:
    patient = Patient(HT)
    for minute in range(4):
        patient.at(f"2026-03-01 07:0{minute}").bp(185, 190)
    for minute in range(4):
        patient.at(f"2026-03-01 08:0{minute}").bp(200, 120, "movement")
    assert patient.rules_raised() == set()
    assert patient.rules_raised("technical") == {"device-fault"}


def test_a_diastolic_above_the_systolic_is_an_artefact() -> None:
    assert Patient(HT).at("2026-03-01 07:00").bp(120, 125).readings[0].marks != ()


def test_an_irregular_pulse_does_not_hold_a_crisis_back() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(185, 100, "irregular-pulse")
    patient.at("2026-03-01 07:05").bp(185, 100, "irregular-pulse").raised("bp-crisis")


def test_an_artefact_between_two_readings_does_not_undo_their_confirmation() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(185, 100).at("2026-03-01 07:03").bp(90, 95).quiet()
    patient.at("2026-03-01 07:06").bp(185, 100).raised("bp-crisis")


def test_a_care_plan_sets_one_channels_limit() -> None:
    mine = {HT: {"bp-crisis": {"systolic": 170.0}}}
    patient = Patient(plan=plan(version(1, "2026-01-01", HT, limits=mine)))
    patient.at("2026-03-01 07:00").bp(171, 90).at("2026-03-01 07:05").bp(171, 90).raised("bp-crisis")
    assert patient.signal("bp-crisis").limit == 170.0
    patient.at("2026-03-01 08:00").bp(165, 90).cleared("bp-crisis")


def test_the_cuff_itself_can_be_at_fault() -> None:
    patient = Patient(HT).at("2026-03-01 07:00").bp(120, 80, "device-fault").raised("device-fault")
    patient.at("2026-03-01 07:05").bp(120, 80, "clock-unset").cleared("device-fault").raised(
        "clock-fault", "low"
    )
