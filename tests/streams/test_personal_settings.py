"""What a care plan says of the patient reaches the rules: pregnancy, scale 2, known fibrillation, own limits; and
what the checkers refuse."""

from __future__ import annotations

from typing import Any

import pytest

from streams.protocols import ProtocolError, parse
from streams.timeline import PlanError, check_plan
from tests.streams.timeline import LIBRARY, Patient, plan, version

SENSOR = "interstitial"
DM, HF, HT = "diabetes", "heart-failure", "hypertension"


def on(protocol: str, **personal: Any) -> Patient:
    return Patient(plan=plan(version(1, "2026-03-01", protocol, **personal)))


def sensor(patient: Patient, values: list[float], hour: int = 8) -> Patient:
    """Values of a sensor every five minutes."""
    for number, value in enumerate(values):
        minutes = hour * 60 + 5 * number
        patient.at(f"2026-03-02 {minutes // 60:02}:{minutes % 60:02}").glucose(value, SENSOR)
    return patient


# ── pregnancy: 63 to 140 mg/dL ────────────────────────────────────────────────────────────────────────


def test_in_pregnancy_low_begins_below_63_and_otherwise_below_70() -> None:
    on(DM, pregnancy=True).at("2026-03-02 08:00").glucose(65).quiet("glucose-low")
    on(DM).at("2026-03-02 08:00").glucose(65).raised("glucose-low", "medium")
    patient = on(DM, pregnancy=True).at("2026-03-02 08:00").glucose(62).raised("glucose-low", "medium")
    assert patient.signal("glucose-low").limit == 63
    patient.at("2026-03-02 08:30").glucose(72).quiet("glucose-low")
    patient.at("2026-03-02 09:00").glucose(73).at("2026-03-02 09:15").glucose(74).cleared("glucose-low")


def test_in_pregnancy_a_sensor_is_low_after_fifteen_minutes_below_63() -> None:
    sensor(on(DM, pregnancy=True), [62, 62]).quiet("glucose-low")
    sensor(on(DM, pregnancy=True), [62, 62, 62]).raised("glucose-low")
    sensor(on(DM, pregnancy=True), [64, 64, 64, 64]).quiet("glucose-low")


def test_in_pregnancy_two_hours_above_140_are_high() -> None:
    patient = sensor(on(DM, pregnancy=True), [141.0] * 25).raised("glucose-high", "medium")
    assert patient.signal("glucose-high").limit == 140
    sensor(on(DM), [141.0] * 25).quiet("glucose-high")


def test_below_54_is_very_low_in_pregnancy_as_well() -> None:
    on(DM, pregnancy=True).at("2026-03-02 08:00").glucose(53).raised("glucose-very-low", "high")


def test_a_pregnancy_that_the_next_version_of_the_plan_ends_ends_its_limits() -> None:
    care = plan(version(1, "2026-03-01", DM, pregnancy=True), version(2, "2026-03-02 12:00", DM))
    patient = Patient(plan=care).at("2026-03-02 11:00").glucose(65).quiet("glucose-low")
    patient.at("2026-03-02 13:00").glucose(65).raised("glucose-low")


def test_the_one_limit_of_a_rule_is_that_of_the_patients_own_condition() -> None:
    own = {DM: {"glucose-high": {"limit": 160.0}}}
    for pregnancy in (True, False):
        patient = sensor(on(DM, pregnancy=pregnancy, limits=own), [161.0] * 25).raised("glucose-high")
        assert patient.signal("glucose-high").limit == 160


# ── oxygen on scale 2, known fibrillation ─────────────────────────────────────────────────────────────


def test_on_scale_2_saturation_is_low_from_88_and_on_scale_1_from_92() -> None:
    def twice(value: float, **personal: Any) -> Patient:
        patient = on("respiratory", **personal).at("2026-03-02 08:00").spo2(value)
        return patient.at("2026-03-02 08:10").spo2(value)

    twice(89, spo2_scale=2).quiet("spo2-low")
    twice(88, spo2_scale=2).raised("spo2-low", "high")
    twice(92).raised("spo2-low", "high")
    twice(94).raised("spo2-low", "medium")


# ── answers that are old ──────────────────────────────────────────────────────────────────────────────


def at_rest_102(patient: Patient, day: str) -> Patient:
    return patient.at(f"{day} 08:00").pulse(102).at(f"{day} 08:10").pulse(102)


def test_an_alert_with_symptoms_does_not_end_because_nobody_answered_since() -> None:
    patient = on("arrhythmia").at("2026-03-02 07:00").answers(dyspnoea=2)
    at_rest_102(patient, "2026-03-02").raised("tachycardia", "medium")
    at_rest_102(patient, "2026-03-04").quiet("tachycardia")
    assert patient.open("tachycardia")
    patient.at("2026-03-04 09:00").answers(dyspnoea=0)
    patient.at("2026-03-04 09:10").pulse(102).cleared("tachycardia")


def test_an_alert_with_symptoms_ends_with_the_rate_however_old_the_answers_are() -> None:
    patient = at_rest_102(on("arrhythmia").at("2026-03-02 07:00").answers(dyspnoea=2), "2026-03-02")
    patient.at("2026-03-05 08:00").pulse(80).cleared("tachycardia")


def test_old_answers_open_nothing() -> None:
    at_rest_102(on("arrhythmia").at("2026-03-02 07:00").answers(dyspnoea=2), "2026-03-05").quiet(
        "tachycardia"
    )


def test_pressure_with_symptoms_stays_low_until_it_rises_or_the_symptoms_are_denied() -> None:
    patient = on(HT).at("2026-03-02 07:00").answers(dizziness=True).at("2026-03-02 08:00").bp(88, 60)
    patient.raised("bp-low", "high").at("2026-03-05 08:00").bp(92, 60).quiet("bp-low")
    patient.at("2026-03-05 09:00").bp(96, 60).cleared("bp-low")


# ── INR by steps ──────────────────────────────────────────────────────────────────────────────────────


def test_inr_rises_by_the_steps_of_the_recommendation() -> None:
    patient = on("anticoagulation").at("2026-03-02 08:00").inr(3.5).raised("inr-high", "medium")
    patient.at("2026-03-03 08:00").inr(4.2).updated("inr-high", "medium")
    assert patient.signal("inr-high").limit == 4.0
    assert "4 or more" in patient.sentences("inr-high")[1]
    patient.at("2026-03-04 08:00").inr(6.2).raised("inr-critical", "high")
    patient.at("2026-03-05 08:00").inr(10.4).updated("inr-critical", "high")
    assert patient.signal("inr-critical").limit == 10.0
    assert "appeler le 15 ou le 112" in patient.sentences("inr-critical")[0]


# ── above means above ─────────────────────────────────────────────────────────────────────────────────


def test_a_loss_of_two_kilograms_is_none_and_one_gram_more_is() -> None:
    def lost(kg: float) -> Patient:
        return Patient(HF).at("2026-03-01 07:00").weight(80.0).at("2026-03-02 07:00").weight(80.0 - kg)

    lost(2.0).quiet("weight-loss")
    lost(2.001).raised("weight-loss")


def test_three_kilograms_above_the_dry_weight_are_more_than_two_and_not_more_than_three() -> None:
    patient = on(HF, dry_weight_kg=77.0).at("2026-03-02 07:00").weight(80.0).raised("dry-weight", "medium")
    patient.at("2026-03-03 07:00").weight(80.0).updated("dry-weight", "medium")
    patient.at("2026-03-04 07:00").weight(80.001).at("2026-03-05 07:00").weight(80.001)
    patient.updated("dry-weight", "high")


# ── what the checkers refuse ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("protocol", "limits", "personal", "words"),
    [
        (HF, {"weight-gain-3d": {"limit": 50.0}}, {}, "heart-failure/weight-gain-3d: limit is 50: from 0.5 to 6 kg"),
        (HF, {"weight-gain-3d": {"limit": float("nan")}}, {}, "limit is nan: from 0.5 to 6 kg"),
        (HT, {"bp-crisis": {"diastolic": 10.0}}, {}, "bp-crisis: diastolic is 10: from 90 to 130 mm[Hg]"),
        (DM, {"glucose-low": {"capillary": 65.0}}, {"pregnancy": True}, "capillary is of a level that cannot apply"),
        (DM, {"glucose-low": {"capillary-in-pregnancy": 65.0}}, {}, "cannot apply to this patient (new, scale-1)"),
        ("respiratory", {"spo2-low": {"low": 90.0}}, {"spo2_scale": 2}, "low-on-scale-2"),
    ],
)  # fmt: skip
def test_a_limit_that_makes_no_sense_is_refused_with_patient_rule_field_and_range(
    protocol: str, limits: dict[str, dict[str, float]], personal: dict[str, Any], words: str
) -> None:
    care = plan(version(7, "2026-03-01", protocol, limits={protocol: limits}, **personal))
    with pytest.raises(PlanError) as refused:
        check_plan(LIBRARY, care)
    assert "care plan of p-0001, version 7: limits: " in str(refused.value)
    assert words in str(refused.value)


FILE = """
name = "fever"
version = "1"
title = { fr = "Fièvre", en = "Fever" }
[rules.hot]
class = "clinical"
statistic = "oxygen-saturation"
source = "a test"
fr = "x"
en = "x"
[[rules.hot.levels]]
severity = "high"
at_most = 90
clear = 92
"""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (FILE.replace("clear = 92\n", ""), "rule hot: levels[0].clear: is missing for value"),
        (FILE + 'when = ["scale-3"]\n', "rule hot: levels[0].when: 'scale-3' is not a fact of the statistic: scale-1"),
        (FILE + 'unless = ["symptoms"]\n', "rule hot: levels[0].unless: 'symptoms' is not a fact"),
        (FILE.replace("at_most", "below") + "tolerance = 0.1\n", "rule hot: levels[0].tolerance: goes with at_least"),
        (FILE.replace("[[", "plausible = [95, 99]\n[[", 1), "plausible: value: the limit 90 itself is not in"),
        (FILE.replace("[[", "plausible = [99, 95]\n[[", 1), "rule hot: plausible: value is [99, 95]: [low, high]"),
        (FILE.replace("[[", "plausible = { rate = [1, 2] }\n[[", 1), "rule hot: plausible: 'rate' is not one of value"),
        ('name = "x"\nversion = "1"\ntitle = { fr = "x", en = "x" }\nrules = 3\n', "rules: is 3: a table for each"),
    ],
)  # fmt: skip
def test_the_checker_of_protocols_names_file_rule_and_field(changed: str, words: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse(changed, "fever.toml")
    assert "fever.toml: " in str(refused.value)
    assert words in str(refused.value)
    assert parse(FILE, "fever.toml").rules[0].limit_ranges() == {
        "limit": (30.0, 270.0),
        "high": (30.0, 270.0),
    }
