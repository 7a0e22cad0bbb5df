"""Oral anticoagulation: the ratio against its target, bleeding, time in range, overdue tests."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from streams.plans import NextTest
from streams.rolling.inr import share_inside
from streams.timeline import PlanError, check_plan
from tests.streams.timeline import LIBRARY, Patient, plan, version

AC = "anticoagulation"


def on(begins: str = "2026-01-01", **personal: Any) -> Patient:
    return Patient(plan=plan(version(1, begins, AC, **personal)))


def ratios_every(patient: Patient, days: int, ratios: list[float], first: str = "2026-01-05") -> Patient:
    for index, ratio in enumerate(ratios):
        patient.at(f"{date.fromisoformat(first) + timedelta(days=days * index)} 08:00+01:00").inr(ratio)
    return patient


def test_the_target_is_two_to_three_without_a_plan_and_its_ends_are_inside() -> None:
    for ratio in (2.0, 2.5, 3.0):
        Patient(AC).at("2026-03-02 08:00").inr(ratio).quiet()
    Patient(AC).at("2026-03-02 08:00").inr(1.9).raised("inr-low", "medium").quiet("inr-high")
    Patient(AC).at("2026-03-02 08:00").inr(3.1).raised("inr-high", "medium").quiet("inr-low")


def test_the_signal_holds_the_ratio_against_the_end_of_the_target_that_it_left() -> None:
    low = Patient(AC).at("2026-03-02 08:00").inr(1.7).signal("inr-low")
    high = Patient(AC).at("2026-03-02 08:00").inr(3.4).signal("inr-high")
    assert [(s.value, s.limit, s.unit) for s in (low, high)] == [(1.7, 2.0, "{INR}"), (3.4, 3.0, "{INR}")]


def test_the_target_is_the_care_plans() -> None:
    on(inr_target=(2.5, 3.5)).at("2026-03-02 08:00").inr(3.4).quiet("inr-high", "inr-low")
    on(inr_target=(2.5, 3.5)).at("2026-03-02 08:00").inr(2.4).raised("inr-low")


def test_below_one_and_a_half_is_grave_on_a_mechanical_valve_only() -> None:
    on(mechanical_valve=True).at("2026-03-02 08:00").inr(1.4).raised("inr-low", "high")
    on(mechanical_valve=True).at("2026-03-02 08:00").inr(1.5).raised("inr-low", "medium")
    on().at("2026-03-02 08:00").inr(1.4).raised("inr-low", "medium")


def test_six_is_critical_and_ends_at_four() -> None:
    Patient(AC).at("2026-03-02 08:00").inr(5.9).quiet("inr-critical")
    patient = Patient(AC).at("2026-03-02 08:00").inr(6.0).raised("inr-critical", "high")
    patient.at("2026-03-03 08:00").inr(4.1).quiet("inr-critical")
    patient.at("2026-03-04 08:00").inr(4.0).cleared("inr-critical")
    assert patient.open("inr-high") is not None


def test_an_alert_ends_when_the_ratio_is_back_in_range() -> None:
    patient = Patient(AC).at("2026-03-02 08:00").inr(1.7)
    patient.at("2026-03-05 08:00").inr(2.0).cleared("inr-low")
    patient.at("2026-03-09 08:00").inr(3.3).raised("inr-high").at("2026-03-12 08:00").inr(3.0).cleared(
        "inr-high"
    )


def test_bleeding_is_an_emergency_whatever_the_ratio() -> None:
    patient = Patient(AC).at("2026-03-02 08:00").inr(2.5).quiet()
    patient.at("2026-03-03 08:00").answers(bleeding=True).raised("inr-critical", "high")
    assert patient.sentences("inr-critical") == (
        "Saignement signalé sous anticoagulant : appeler le 15 ou le 112.",
        "Bleeding reported under anticoagulation: call 15 or 112.",
    )
    patient.at("2026-03-04 08:00").answers(bleeding=False).cleared("inr-critical")


def test_bleeding_before_the_first_test_is_an_emergency_too() -> None:
    Patient(AC).at("2026-03-02 08:00").answers(bleeding=True).raised("inr-critical", "high")


def test_a_questionnaire_without_bleeding_does_not_end_a_critical_ratio() -> None:
    patient = Patient(AC).at("2026-03-02 08:00").inr(7.0).raised("inr-critical")
    patient.at("2026-03-02 18:00").answers(bleeding=False)
    assert patient.open("inr-critical") is not None


def test_a_good_ratio_does_not_end_a_bleeding() -> None:
    patient = Patient(AC).at("2026-03-02 08:00").inr(2.5).at("2026-03-02 18:00").answers(bleeding=True)
    patient.at("2026-03-03 08:00").inr(2.6)
    assert patient.open("inr-critical") is not None


def test_the_sentences_name_the_target() -> None:
    french, english = Patient(AC).at("2026-03-02 08:00").inr(3.4).sentences("inr-high")
    assert french == "INR 3,4, au-dessus de la cible de 2,0 à 3,0."
    assert english == "INR 3.4, above the target of 2.0 to 3.0."


def test_the_reference_vector_of_time_in_range_is_half() -> None:
    assert share_inside(1.5, 3.5, 2.0, 3.0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [(2.5, 2.5, 1.0), (1.5, 1.5, 0.0), (2.0, 3.0, 1.0), (3.5, 1.5, 0.5), (1.0, 1.9, 0.0), (2.5, 3.5, 0.5)],
)
def test_a_line_is_in_range_for_its_share(before: float, after: float, share: float) -> None:
    assert share_inside(before, after, 2.0, 3.0) == pytest.approx(share)


def test_a_low_time_in_range_needs_five_tests() -> None:
    ratios_every(Patient(AC), 14, [1.5, 1.5, 1.5, 1.5]).quiet("ttr-low")
    patient = ratios_every(Patient(AC), 14, [1.5, 1.5, 1.5, 1.5, 1.5]).raised("ttr-low", "low")
    assert "0 % sur 5 tests" in patient.sentences("ttr-low")[0]


def test_time_in_range_is_met_below_65_percent() -> None:
    # Four intervals; each from 2.5 to 3.5 or back is in range for half of its time.
    patient = ratios_every(Patient(AC), 14, [2.5, 3.5, 2.5, 3.5, 2.5]).raised("ttr-low")
    assert patient.signal("ttr-low").value == pytest.approx(50.0)
    ratios_every(Patient(AC), 14, [2.5, 3.5, 2.5, 2.5, 2.5]).quiet("ttr-low")  # 75 %


def test_time_in_range_ends_at_70_percent() -> None:
    patient = ratios_every(Patient(AC), 7, [2.5, 3.5, 2.5, 3.5, 2.5])  # 50 % of 28 days
    ratios_every(patient, 7, [2.5, 2.5], "2026-02-09")  # 4 of 6 weeks: 67 %
    assert patient.open("ttr-low") is not None
    patient.at("2026-02-23 08:00").inr(2.5).cleared("ttr-low")  # 5 of 7: 71 %


def test_a_gap_of_more_than_56_days_is_not_interpolated() -> None:
    patient = ratios_every(Patient(AC, retention_ms=None), 14, [2.5, 2.5, 2.5, 2.5])
    patient.at("2026-04-14 08:00+01:00").inr(1.0).quiet("ttr-low")  # 57 days after the last
    patient = ratios_every(Patient(AC, retention_ms=None), 14, [2.5, 2.5, 2.5, 2.5])
    patient.at("2026-04-13 08:00+01:00").inr(1.0).raised("ttr-low")  # 56 days: a third of them in range


def test_an_overdue_test_is_technical() -> None:
    patient = on(schedule={"inr": (672.0, 840.0, 1344.0)}).at("2026-01-05 08:00").inr(2.5)
    patient.tick("2026-02-09 07:59").quiet()
    patient.tick("2026-02-09 08:00").raised("inr-overdue", "medium")
    assert patient.signal("inr-overdue").cls == "technical"
    assert "840 heures" in patient.sentences("inr-overdue")[0]
    patient.at("2026-02-10 08:00").inr(2.5).cleared("inr-overdue")


def dated(after: str, by: date, **more: Any) -> dict[str, Any]:
    return {"next_tests": {"inr": NextTest(after, by)}, **more}


DECIDED = "2026-01-05T12:00:00+01:00"


def test_a_confirmed_date_moves_the_overdue_test_until_the_next_one() -> None:
    first = version(1, "2026-01-01", AC)
    soon = version(2, DECIDED, AC, **dated(DECIDED, date(2026, 1, 12)))
    patient = Patient(plan=plan(first)).at("2026-01-05 08:00").inr(4.5)
    patient.plan(plan(first, soon)).tick("2026-01-12 23:59").quiet("inr-overdue")
    patient.tick("2026-01-13 00:00").raised("inr-overdue", "medium")
    assert "184 heures" in patient.sentences("inr-overdue")[0]  # since the last result
    patient.tick("2026-01-17 13:00").updated(
        "inr-overdue", "high"
    )  # 1.6 times the interval, as by the rhythm
    patient.at("2026-01-17 14:00").inr(2.5).cleared("inr-overdue")
    patient.tick("2026-02-21 13:59").quiet("inr-overdue")  # the rhythm holds again: 840 hours
    patient.tick("2026-02-21 14:00").raised("inr-overdue", "medium")


def test_a_later_date_puts_it_off_and_a_test_before_it_begins_the_rhythm_again() -> None:
    first = version(1, "2026-01-01", AC)
    late = version(2, DECIDED, AC, **dated(DECIDED, date(2026, 3, 20)))
    carried = version(3, "2026-01-20", AC, **dated(DECIDED, date(2026, 3, 20), inr_target=(2.5, 3.5)))
    patient = Patient(plan=plan(first)).at("2026-01-05 08:00").inr(2.5)
    patient.plan(plan(first, late)).plan(plan(first, late, carried))
    patient.tick("2026-02-09 08:00").quiet("inr-overdue")  # the rhythm alone would have raised it
    patient.at("2026-02-10 08:00").inr(2.6).quiet("inr-overdue")
    patient.tick("2026-03-17 07:59").quiet("inr-overdue")
    patient.tick("2026-03-17 08:00").raised(
        "inr-overdue", "medium"
    )  # 840 hours after it: the date is past history


def test_a_late_result_behind_a_date_begins_the_rhythm_where_it_was_measured() -> None:
    rhythm = {"inr": (48.0, 60.0, 96.0)}
    first = version(1, "2026-01-05", AC, schedule=rhythm)
    late = version(2, DECIDED, AC, schedule=rhythm, **dated(DECIDED, date(2026, 1, 20)))
    patient = Patient(plan=plan(first, late)).at("2026-01-05 08:00").inr(2.5)
    patient.at("2026-01-19 08:00").inr(2.6).quiet(
        "inr-overdue"
    )  # nothing was wanted before, as far as is known
    patient.at("2026-01-10 08:00", "2026-01-19 09:00").inr(2.6).raised("inr-overdue")
    assert patient.open("inr-overdue") is None  # from 60 hours behind it until the result of 19 January


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (NextTest(DECIDED, date(2026, 1, 4)), "2026-01-05"),
        (NextTest(DECIDED, date(2026, 3, 31)), "84 days"),
        (NextTest("yesterday", date(2026, 1, 9)), "after"),
    ],
)
def test_a_date_cannot_switch_the_alert_off(test: NextTest, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        check_plan(LIBRARY, plan(version(1, "2026-01-01", AC, next_tests={"inr": test})))


def test_a_date_is_about_a_kind_that_the_plan_expects() -> None:
    test = NextTest(DECIDED, date(2026, 1, 9))
    with pytest.raises(PlanError, match="not scheduled"):
        check_plan(LIBRARY, plan(version(1, "2026-01-01", "diabetes", next_tests={"inr": test})))


def test_a_plan_without_a_date_is_written_as_releases_before_read_it() -> None:
    assert b"next_tests" not in msgspec.json.encode(plan(version(1, "2026-01-01", AC)))


def test_a_strip_fault_never_raises_a_clinical_alert() -> None:
    patient = Patient(AC)
    for minute in range(3):
        patient.at(f"2026-03-02 08:0{minute}").inr(8.0, "strip-fault")
    assert patient.rules_raised() == set()
    assert patient.rules_raised("technical") == {"device-fault"}
