"""Breathing: saturation on both scales, its fall from usual, temperature, and NEWS2."""

from __future__ import annotations

from typing import Any

import pytest

from streams.rolling.vital import (
    score_pulse,
    score_respiration,
    score_saturation,
    score_systolic,
    score_temperature,
)
from tests.streams.timeline import Patient, plan, version

RS = "respiratory"


def twice(percent: float, *flags: str, scale: int = 1) -> Patient:
    patient = Patient(plan=plan(version(1, "2026-01-01", RS, spo2_scale=scale)))
    patient.at("2026-03-02 08:00").spo2(percent, *flags).quiet("spo2-low")
    return patient.at("2026-03-02 08:05").spo2(percent, *flags)


@pytest.mark.parametrize(
    ("percent", "scale", "severity"),
    [(94, 1, "medium"), (93, 1, "medium"), (92, 1, "high"), (88, 2, "high"), (80, 2, "high")],
)
def test_low_saturation_is_met_at_the_steps_of_its_scale(percent: float, scale: int, severity: str) -> None:
    twice(percent, scale=scale).raised("spo2-low", severity)


@pytest.mark.parametrize(("percent", "scale"), [(95, 1), (89, 2), (92, 2)])
def test_saturation_above_the_steps_is_no_alert(percent: float, scale: int) -> None:
    twice(percent, scale=scale).quiet("spo2-low")


def test_low_saturation_rises_and_falls_without_flapping() -> None:
    patient = twice(94).raised("spo2-low", "medium")
    patient.at("2026-03-02 09:00").spo2(91).updated("spo2-low", "medium")
    patient.at("2026-03-02 09:05").spo2(91).updated("spo2-low", "high")
    patient.at("2026-03-02 10:00").spo2(93).updated("spo2-low", "high")
    patient.at("2026-03-02 11:00").spo2(94).updated("spo2-low", "medium")
    patient.at("2026-03-02 12:00").spo2(95).cleared("spo2-low")


def test_a_finger_that_was_not_there_is_an_artefact() -> None:
    twice(85, "contact-lost").quiet("spo2-low")


def test_the_sentence_of_low_saturation() -> None:
    french, english = twice(91).sentences("spo2-low")
    assert french == "Saturation en oxygène 91 %, deux mesures de suite (limite 92 %)."
    assert english == "Oxygen saturation 91 %, two readings in a row (limit 92 %)."


def test_a_drop_of_three_points_from_usual_is_met_when_repeated() -> None:
    patient = Patient(RS)
    for day in range(1, 10):
        patient.at(f"2026-03-{day:02d} 08:00").spo2(99)
    patient.at("2026-03-10 08:00").spo2(97).at("2026-03-10 08:05").spo2(97).quiet()
    patient.at("2026-03-10 09:00").spo2(96).quiet()
    patient.at("2026-03-10 09:05").spo2(96).raised("spo2-drop", "medium")
    assert "96 %, en baisse par rapport à l'habituelle 99 %" in patient.sentences("spo2-drop")[0]
    patient.at("2026-03-10 10:00").spo2(97).cleared("spo2-drop")


@pytest.mark.parametrize(
    ("celsius", "severity"),
    [(38.0, "medium"), (39.0, "medium"), (39.1, "high"), (35.0, "high"), (34.2, "high")],
)
def test_temperature_is_met_at_its_bands(celsius: float, severity: str) -> None:
    Patient(RS).at("2026-03-02 08:00").temperature(celsius).raised("temperature", severity)


@pytest.mark.parametrize("celsius", [37.9, 35.1])
def test_temperature_between_the_bands_is_no_alert(celsius: float) -> None:
    Patient(RS).at("2026-03-02 08:00").temperature(celsius).quiet()


def test_fever_rises_falls_and_ends() -> None:
    patient = Patient(RS).at("2026-03-02 08:00").temperature(38.2).raised("temperature", "medium")
    patient.at("2026-03-02 12:00").temperature(39.2).updated("temperature", "high")
    patient.at("2026-03-02 13:00").temperature(38.9).updated("temperature", "high")
    patient.at("2026-03-02 16:00").temperature(38.8).updated("temperature", "medium")
    patient.at("2026-03-02 20:00").temperature(37.8).quiet()
    patient.at("2026-03-03 08:00").temperature(37.7).cleared("temperature")


def test_the_sentence_of_a_fever_has_a_decimal_comma_in_french_only() -> None:
    french, english = Patient(RS).at("2026-03-02 08:00").temperature(38.5).sentences("temperature")
    assert french == "Température 38,5 °C (limite 38,0 °C)."
    assert english == "Temperature 38.5 °C (limit 38.0 °C)."


WELL: dict[str, Any] = {
    "breaths": 16,
    "spo2": 97,
    "systolic": 120,
    "pulse": 75,
    "celsius": 37.0,
    "acvpu": "A",
}


def news2(patient: Patient, clock: str = "08:00", oxygen: str = "air", **changes: Any) -> Patient:
    """All seven inputs of NEWS2 at one time; the last one said completes it."""
    vital = {**WELL, **changes}
    patient.at(f"2026-03-02 {clock}").breathing(vital["breaths"]).spo2(vital["spo2"], oxygen=oxygen)
    patient.measure(
        "blood-pressure", {"systolic": vital["systolic"], "diastolic": 70.0, "pulse": vital["pulse"]}
    )
    return patient.answers(consciousness=vital["acvpu"]).temperature(vital["celsius"])


def test_the_reference_vector_of_news2_scores_eight_and_is_an_emergency() -> None:
    patient = news2(Patient(RS), breaths=22, spo2=93, systolic=105, pulse=115, celsius=38.5).raised(
        "news2", "high"
    )
    assert patient.signal("news2").value == 8.0
    assert len(patient.signal("news2").evidence) == 5  # pressure and pulse are one reading
    assert patient.sentences("news2") == ("Score NEWS2 de 8 (limite 7).", "NEWS2 score of 8 (limit 7).")


def test_a_well_patient_scores_nothing() -> None:
    news2(Patient(RS)).quiet()


def test_five_points_are_urgent_and_four_are_not() -> None:
    news2(Patient(RS), breaths=22, spo2=93, pulse=100).raised("news2", "medium")
    news2(Patient(RS), breaths=22, spo2=93).quiet("news2")


@pytest.mark.parametrize("change", [{"breaths": 25}, {"systolic": 90}, {"pulse": 131}, {"acvpu": "C"}])
def test_three_points_in_one_parameter_are_urgent(change: dict[str, Any]) -> None:
    patient = news2(Patient(RS), **change).raised("news2", "medium")
    assert "une mesure vaut 3 points à elle seule" in patient.sentences("news2")[0]


def test_oxygen_adds_two_points() -> None:
    news2(Patient(RS), breaths=22, pulse=100).quiet("news2")
    news2(Patient(RS), breaths=22, pulse=100, oxygen="supplemental").raised("news2")


def test_what_is_missing_is_never_counted_as_zero() -> None:
    patient = Patient(RS).at("2026-03-02 08:00").breathing(26).spo2(90).temperature(39.5).quiet("news2")
    patient.bp(85, 60).answers(consciousness="V").quiet("news2")  # no pulse yet
    patient.pulse(135).raised("news2", "high")


def test_inputs_more_than_thirty_minutes_apart_make_no_score() -> None:
    for clock, told in (("08:30", True), ("08:31", False)):
        patient = Patient(RS).at("2026-03-02 08:00").breathing(26)
        patient.at(f"2026-03-02 {clock}").spo2(97).pulse(75).bp(120, 70).answers(consciousness="A")
        patient.temperature(37.0)
        assert ("news2" in patient.rules_raised()) is told


def test_news2_falls_from_emergency_to_urgent_and_ends() -> None:
    patient = news2(Patient(RS), breaths=22, spo2=93, systolic=105, pulse=115, celsius=38.5)
    news2(patient, "10:00", breaths=22, spo2=93, pulse=100)
    assert patient.open("news2") is not None
    assert patient.signal("news2").severity == "medium"
    news2(patient, "12:00")
    assert patient.open("news2") is None


BANDS = [
    (score_respiration, [(8, 3), (9, 1), (11, 1), (12, 0), (20, 0), (21, 2), (24, 2), (25, 3)]),
    (score_systolic, [(90, 3), (91, 2), (100, 2), (101, 1), (110, 1), (111, 0), (219, 0), (220, 3)]),
    (score_pulse, [(40, 3), (41, 1), (50, 1), (51, 0), (90, 0), (91, 1), (110, 1), (111, 2), (130, 2), (131, 3)]),
    (score_temperature, [(35.0, 3), (35.1, 1), (36.0, 1), (36.1, 0), (38.0, 0), (38.1, 1), (39.0, 1), (39.1, 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("score", "points"), BANDS, ids=[b[0].__name__ for b in BANDS])
def test_each_band_of_news2_has_its_points(score: Any, points: list[tuple[float, int]]) -> None:
    assert [(value, score(value)) for value, _ in points] == points


@pytest.mark.parametrize(
    ("spo2", "scale", "oxygen", "points"),
    [(91, 1, False, 3), (92, 1, True, 2), (94, 1, False, 1), (96, 1, True, 0),
     (83, 2, False, 3), (85, 2, True, 2), (87, 2, False, 1), (88, 2, True, 0), (92, 2, True, 0),
     (93, 2, False, 0), (99, 2, False, 0), (93, 2, True, 1), (95, 2, True, 2), (96, 2, True, 2), (97, 2, True, 3)],
)  # fmt: skip
def test_saturation_scores_by_its_scale(spo2: float, scale: int, oxygen: bool, points: int) -> None:
    assert score_saturation(spo2, scale, oxygen) == points
