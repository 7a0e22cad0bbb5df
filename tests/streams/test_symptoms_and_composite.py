"""Heart failure beyond weight: what the patient says, and several weak signs together."""

from __future__ import annotations

import pytest

from tests.streams.timeline import Patient

HF = "heart-failure"


@pytest.mark.parametrize("items", [{"chest_pain": True}, {"syncope": True}, {"dyspnoea": 3}])
def test_chest_pain_syncope_or_dyspnoea_at_rest_are_red_at_once(items: dict[str, object]) -> None:
    patient = Patient(HF).at("2026-01-01 08:00").answers(**items).raised("symptoms", "high")
    french, english = patient.sentences("symptoms")
    assert "15 ou le 112" in french
    assert "15 or 112" in english


def test_the_sentence_names_what_was_affirmed() -> None:
    patient = Patient(HF).at("2026-01-01 08:00").answers(chest_pain=True, dizziness=True)
    french, english = patient.sentences("symptoms")
    assert "douleur thoracique, vertige" in french
    assert "chest pain, dizziness" in english


@pytest.mark.parametrize(
    "items",
    [{"night_dyspnoea": True}, {"orthopnoea_pillows": 2}, {"wellbeing": "much-worse"}, {"dyspnoea": 2, "oedema": 2}],
)  # fmt: skip
def test_other_symptoms_are_amber_when_told_twice_within_three_days(items: dict[str, object]) -> None:
    patient = Patient(HF).at("2026-01-01 08:00").answers(**items).quiet()
    patient.at("2026-01-02 08:00").answers(**items).raised("symptoms", "medium")
    late = Patient(HF).at("2026-01-01 08:00").answers(**items)
    late.at("2026-01-04 08:01").answers(**items).quiet()


@pytest.mark.parametrize(
    "items", [{"dyspnoea": 2}, {"orthopnoea_pillows": 1}, {"fatigue": 3, "cough": 3}, {"wellbeing": "worse"}]
)
def test_a_little_of_one_symptom_is_not_an_alert(items: dict[str, object]) -> None:
    patient = Patient(HF)
    for day in range(1, 5):
        patient.at(f"2026-01-0{day} 08:00").answers(**items)
    assert patient.rules_raised() == set()


def test_a_red_answer_falls_to_amber_only_while_amber_lasts_and_ends_with_a_good_day() -> None:
    patient = Patient(HF).at("2026-01-01 08:00").answers(chest_pain=True).raised("symptoms", "high")
    patient.at("2026-01-02 08:00").answers(night_dyspnoea=True).updated("symptoms", "medium")
    patient.at("2026-01-03 08:00").answers(wellbeing="better").cleared("symptoms")


def usual_fortnight(patient: Patient) -> Patient:
    for day in range(1, 17):
        patient.at(f"2026-01-{day:02d} 07:00").weight(80.0).spo2(96).pulse(65).answers(dyspnoea=1)
    return patient


def worse_days(patient: Patient, days: int, weight: bool, others: bool) -> Patient:
    for day in range(17, 17 + days):
        patient.at(f"2026-01-{day} 07:00").weight(81.0 if weight else 80.0)
        if others:
            patient.spo2(93).pulse(80).answers(dyspnoea=2, oedema=2, fatigue=2)
        else:
            patient.spo2(96).pulse(65).answers(dyspnoea=1)
    return patient


def test_several_weak_signs_together_raise_the_composite_score() -> None:
    patient = worse_days(usual_fortnight(Patient(HF)), 6, weight=True, others=True)
    assert "composite" in patient.rules_raised()
    raised = next(s for s in patient.signals if s.rule == "composite")
    assert {"body-weight", "symptoms"} <= {e.kind for e in raised.evidence}
    assert "poids" in raised.explanation["fr"]
    assert "weight" in raised.explanation["en"]


def test_one_sign_alone_never_reaches_the_composite_limit() -> None:
    patient = worse_days(usual_fortnight(Patient(HF)), 10, weight=True, others=False)
    assert "composite" not in patient.rules_raised()


def test_the_composite_score_knows_nothing_in_the_first_week() -> None:
    patient = Patient(HF)
    for day in range(1, 8):
        bad = day > 4
        patient.at(f"2026-01-0{day} 07:00").weight(82.0 if bad else 80.0).spo2(90 if bad else 96)
        patient.pulse(100 if bad else 65).answers(dyspnoea=3 if bad else 0)
    assert "composite" not in patient.rules_raised()
