"""Glucose by fingerstick and by sensor: low, high, with ketones, falling."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.streams.timeline import Patient, plan, version

DM = "diabetes"
SENSOR = "interstitial"


def sensor(
    patient: Patient,
    values: Sequence[float],
    start: str = "08:00",
    step_min: int = 5,
    day: str = "2026-03-02",
) -> Patient:
    """One value every `step_min` minutes."""
    hour, minute = map(int, start.split(":"))
    for index, value in enumerate(values):
        total = hour * 60 + minute + index * step_min
        patient.at(f"{day} {total // 60:02d}:{total % 60:02d}").glucose(value, SENSOR)
    return patient


@pytest.mark.parametrize(
    ("rule", "limit", "severity"), [("glucose-very-low", 54, "high"), ("glucose-low", 70, "medium")]
)
class TestLowGlucose:
    def test_once_by_fingerstick(self, rule: str, limit: int, severity: str) -> None:
        Patient(DM).at("2026-03-02 08:00").glucose(limit).quiet(rule)
        Patient(DM).at("2026-03-02 08:00").glucose(limit - 1).raised(rule, severity)

    def test_for_fifteen_minutes_on_a_sensor(self, rule: str, limit: int, severity: str) -> None:
        low = limit - 1
        sensor(Patient(DM), [low, low]).quiet(rule)
        sensor(Patient(DM), [low, low, low]).raised(rule, severity)
        sensor(Patient(DM), [low, low, limit, low, low]).quiet(rule)

    def test_a_gap_of_more_than_45_minutes_begins_the_run_anew(
        self, rule: str, limit: int, severity: str
    ) -> None:
        low = limit - 1
        sensor(sensor(Patient(DM), [low, low]), [low], "08:51").quiet(rule)
        sensor(sensor(Patient(DM), [low, low]), [low], "08:50").raised(rule)

    def test_ends_at_80_for_three_samples(self, rule: str, limit: int, severity: str) -> None:
        patient = sensor(Patient(DM), [limit - 1] * 3)
        sensor(patient, [79, 79, 79, 79], "08:15")
        assert patient.open(rule) is not None
        sensor(patient, [80, 80], "08:35").quiet(rule)
        sensor(patient, [80], "08:45").cleared(rule)

    def test_a_dip_while_it_ends_begins_the_end_anew(self, rule: str, limit: int, severity: str) -> None:
        patient = sensor(Patient(DM), [limit - 1] * 3)
        sensor(patient, [81, 81, 79, 81, 81], "08:15")
        assert patient.open(rule) is not None
        sensor(patient, [81], "08:40").cleared(rule)

    def test_control_solution_and_warm_up_never_raise_it(self, rule: str, limit: int, severity: str) -> None:
        patient = Patient(DM).at("2026-03-02 08:00").glucose(45, "capillary", "control-solution").quiet()
        for minute in range(0, 40, 5):
            patient.at(f"2026-03-02 09:{minute:02d}").glucose(45, SENSOR, "sensor-warmup").quiet(rule)


def test_a_value_of_50_opens_both_low_rules_each_with_its_own_episode() -> None:
    patient = Patient(DM).at("2026-03-02 08:00").glucose(50)
    patient.raised("glucose-very-low", "high").raised("glucose-low", "medium")
    assert len({e.alert for e in patient.standing()}) == 2


def test_the_sentences_have_no_decimals() -> None:
    french, english = Patient(DM).at("2026-03-02 08:00").glucose(50.4).sentences("glucose-very-low")
    assert french == "Glucose 50 mg/dL, sous 54 mg/dL."
    assert english == "Glucose 50 mg/dL, below 54 mg/dL."


def test_high_glucose_must_last_two_hours() -> None:
    patient = sensor(Patient(DM), [251] * 24).quiet("glucose-high")  # 08:00 to 09:55
    patient.at("2026-03-02 10:00").glucose(251, SENSOR).raised("glucose-high", "medium")
    sensor(Patient(DM), [250] * 40).quiet()


def test_high_glucose_by_two_fingersticks_of_one_day() -> None:
    patient = Patient(DM).at("2026-03-02 08:00").glucose(260).quiet()
    patient.at("2026-03-02 12:00").glucose(260).raised("glucose-high")
    late = Patient(DM).at("2026-03-02 08:00").glucose(260)
    late.at("2026-03-02 20:01").glucose(260).quiet()


def test_high_glucose_ends_at_230() -> None:
    patient = Patient(DM).at("2026-03-02 08:00").glucose(260).at("2026-03-02 12:00").glucose(260)
    patient.at("2026-03-02 13:00").glucose(231).quiet()
    patient.at("2026-03-02 14:00").glucose(230).cleared("glucose-high")


def test_ketones_make_a_value_above_250_grave_at_once_for_twelve_hours() -> None:
    patient = Patient(DM).at("2026-03-02 08:00").ketones(1.5)
    patient.at("2026-03-02 20:00").glucose(251).raised("glucose-very-high", "high")
    assert [e.kind for e in patient.signal("glucose-very-high").evidence] == ["ketones", "glucose"]
    Patient(DM).at("2026-03-02 08:00").ketones(1.5).at("2026-03-02 20:01").glucose(251).quiet()
    Patient(DM).at("2026-03-02 08:00").ketones(1.4).at("2026-03-02 09:00").glucose(251).quiet()


def test_later_ketones_that_are_low_take_it_back() -> None:
    patient = Patient(DM).at("2026-03-02 08:00").ketones(2.0).at("2026-03-02 09:00").ketones(0.4)
    patient.at("2026-03-02 09:30").glucose(260).quiet()


def test_above_300_twice_by_fingerstick_within_half_a_day() -> None:
    patient = Patient(DM).at("2026-03-02 08:00").glucose(301).quiet()
    patient.at("2026-03-02 20:00").glucose(301).raised("glucose-very-high", "high")
    late = Patient(DM).at("2026-03-02 08:00").glucose(301)
    late.at("2026-03-02 20:01").glucose(301).quiet("glucose-very-high")
    Patient(DM).at("2026-03-02 08:00").glucose(300).at("2026-03-02 09:00").glucose(300).quiet()


def test_above_300_for_an_hour_on_a_sensor() -> None:
    patient = sensor(Patient(DM), [310] * 12).quiet()  # 08:00 to 08:55
    patient.at("2026-03-02 09:00").glucose(310, SENSOR).raised("glucose-very-high", "high")


def test_falling_glucose_is_told_before_it_is_low() -> None:
    patient = sensor(Patient(DM), [130, 120, 110, 100]).quiet()  # 2 mg/dL a minute: 60 in 20 minutes
    patient.at("2026-03-02 08:20").glucose(89, SENSOR).quiet()  # 48 in 20 minutes, for the first time
    patient.at("2026-03-02 08:25").glucose(79, SENSOR).quiet()
    patient.at("2026-03-02 08:30").glucose(69, SENSOR).raised("glucose-falling", "medium")
    signal = patient.signal("glucose-falling")
    assert signal.value == pytest.approx(27.8)
    french, english = patient.sentences("glucose-falling")
    assert "Glucose 69 mg/dL et en baisse : 28 mg/dL prévus dans 20 minutes" in french
    assert "28 mg/dL expected in 20 minutes" in english


def test_a_fall_that_stops_after_two_predictions_is_not_told() -> None:
    patient = sensor(Patient(DM), [130, 120, 110, 100, 89, 79, 91, 99])
    assert "glucose-falling" not in patient.rules_raised()


def test_a_fast_fall_from_high_up_is_not_told_before_90() -> None:
    sensor(Patient(DM), [250, 230, 210, 190, 170, 150, 130, 110, 95]).quiet("glucose-falling")


def test_a_fall_is_not_projected_across_a_gap_of_the_sensor() -> None:
    patient = sensor(Patient(DM), [140, 130, 120])
    sensor(patient, [90, 80, 70], "08:19").quiet("glucose-falling")


def test_a_steady_or_rising_glucose_never_falls() -> None:
    assert "glucose-falling" not in sensor(Patient(DM), [72] * 10 + [90, 110, 130, 150]).rules_raised()


def test_fingersticks_say_nothing_of_the_trend() -> None:
    patient = Patient(DM)
    for minute, value in enumerate([130, 115, 100, 85, 72, 71]):
        patient.at(f"2026-03-02 08:{minute * 5:02d}").glucose(value)
    assert "glucose-falling" not in patient.rules_raised()


def test_a_fingerstick_between_two_sensor_values_does_not_break_the_sensors_run() -> None:
    patient = sensor(Patient(DM), [60, 60])
    patient.at("2026-03-02 08:07").glucose(75).quiet("glucose-low")
    patient.at("2026-03-02 08:10").glucose(60, SENSOR).raised("glucose-low")


def test_a_care_plan_sets_the_limit_of_one_sort_of_sample() -> None:
    mine = {DM: {"glucose-low": {"capillary": 80.0}}}
    patient = Patient(plan=plan(version(1, "2026-01-01", DM, limits=mine)))
    patient.at("2026-03-02 08:00").glucose(79).raised("glucose-low")
    assert patient.signal("glucose-low").limit == 80.0
    patient.at("2026-03-02 09:00").glucose(89).at("2026-03-02 09:30").glucose(89)
    assert patient.open("glucose-low") is not None
    patient.at("2026-03-02 10:00").glucose(90).at("2026-03-02 10:10").glucose(90).cleared("glucose-low")


def test_a_meter_that_cannot_be_used_six_times_in_a_row_is_a_technical_alert() -> None:
    patient = Patient(DM)
    for minute in range(5):
        patient.at(f"2026-03-02 08:0{minute}").glucose(300, "capillary", "strip-fault").quiet()
    patient.at("2026-03-02 08:05").glucose(300, "capillary", "strip-fault").raised("device-fault")
    assert patient.rules_raised() == set()


def test_ten_minutes_are_ten_minutes_when_the_clocks_change() -> None:
    patient = Patient(DM).at("2026-10-25 02:55+02:00").glucose(50, SENSOR)
    patient.at("2026-10-25 02:00+01:00").glucose(50, SENSOR).quiet("glucose-very-low")
    patient.at("2026-10-25 02:05+01:00").glucose(50, SENSOR).raised("glucose-very-low")
    patient = (
        Patient(DM).at("2026-03-29 01:55").glucose(50, SENSOR).at("2026-03-29 03:00").glucose(50, SENSOR)
    )
    patient.quiet("glucose-very-low").at("2026-03-29 03:05").glucose(50, SENSOR).raised("glucose-very-low")
