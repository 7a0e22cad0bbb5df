"""Heart failure: weight against the days before, dry weight, slow trends, and the scale itself."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.streams.timeline import Patient, plan, version

HF = "heart-failure"
PLAIN = [("weight-gain-1d", 1.36, 1), ("weight-gain-3d", 2.0, 3), ("weight-gain-7d", 2.268, 7)]
WEIGHT_RULES = ("weight-gain-1d", "weight-gain-3d", "weight-gain-7d", "weight-loss")


def daily(patient: Patient, weights: list[float], first_day: int = 1, clock: str = "07:00") -> Patient:
    for day, weight in enumerate(weights, first_day):
        patient.at(f"2026-01-{day:02d} {clock}").weight(weight)
    return patient


def two(days_apart: int, gain: float) -> Patient:
    """80 kg, and so many days later so much more."""
    return daily(Patient(HF), [80.0]).at(f"2026-01-{1 + days_apart:02d} 07:00").weight(round(80.0 + gain, 3))


def test_the_reference_vector_fires_the_three_day_rule_on_day_four_and_not_the_one_day_rule() -> None:
    patient = daily(Patient(HF), [80.0, 80.4, 81.1]).quiet()
    patient.at("2026-01-04 07:00").weight(82.1).raised("weight-gain-3d", "high")
    patient.quiet("weight-gain-1d", "weight-gain-7d")
    signal = patient.signal("weight-gain-3d")
    assert (signal.value, signal.limit, signal.unit, signal.cls) == (2.1, 2.0, "kg", "clinical")
    assert [(e.value, e.measured_at[:10]) for e in signal.evidence] == [
        (80.0, "2026-01-01"),
        (82.1, "2026-01-04"),
    ]


def test_the_sentences_say_what_happened_against_which_limit_in_both_languages() -> None:
    french, english = two(3, 2.1).sentences("weight-gain-3d")
    assert french.startswith("Poids 82,1 kg : 2,1 kg de plus que 80,0 kg")
    assert french.endswith("(limite 2,0 kg).")
    assert english.startswith("Weight 82.1 kg: 2.1 kg above 80.0 kg")
    assert english.endswith("(limit 2.0 kg).")


def test_a_limit_of_1360_g_is_not_shown_as_1400_g() -> None:
    french, english = two(1, 1.5).sentences("weight-gain-1d")
    assert "limite 1,36 kg" in french
    assert "limit 1.36 kg" in english


@pytest.mark.parametrize(("rule", "limit", "days"), PLAIN)
class TestEachPlainWeightRule:
    def test_is_met_exactly_at_its_limit(self, rule: str, limit: float, days: int) -> None:
        two(days, limit).raised(rule)

    def test_is_not_met_ten_grams_below(self, rule: str, limit: float, days: int) -> None:
        two(days, limit - 0.01).quiet(rule)

    def test_tolerates_a_gram_and_not_three(self, rule: str, limit: float, days: int) -> None:
        two(days, limit - 0.001).raised(rule)
        two(days, limit - 0.003).quiet(rule)

    def test_looks_back_its_days_and_no_further(self, rule: str, limit: float, days: int) -> None:
        two(days + 1, limit + 1).quiet(rule)

    def test_counts_local_days_not_hours(self, rule: str, limit: float, days: int) -> None:
        first_minute, last_minute = "2026-01-01 00:01", f"2026-01-{1 + days:02d} 23:59"
        Patient(HF).at(first_minute).weight(80).at(last_minute).weight(80 + limit).raised(rule)
        after_midnight = f"2026-01-{2 + days:02d} 00:01"
        Patient(HF).at("2026-01-01 23:59").weight(80).at(after_midnight).weight(80 + limit).quiet(rule)

    def test_counts_the_same_day(self, rule: str, limit: float, days: int) -> None:
        Patient(HF).at("2026-01-01 07:00").weight(80).at("2026-01-01 21:00").weight(80 + limit).raised(rule)

    def test_stays_open_above_its_clear_limit_and_ends_half_a_kilogram_below(
        self, rule: str, limit: float, days: int
    ) -> None:
        patient = two(1, limit + 0.2)
        patient.at("2026-01-02 08:00").weight(round(80 + limit - 0.4, 3)).quiet(rule)
        assert patient.open(rule) is not None
        patient.at("2026-01-02 09:00").weight(round(80 + limit - 0.51, 3)).cleared(rule)
        ended = patient.standing(rule)[0].end
        assert ended is not None
        assert ended.startswith("2026-01-02T09:00")

    def test_is_updated_by_each_further_reading_that_meets_it(
        self, rule: str, limit: float, days: int
    ) -> None:
        patient = two(1, limit + 0.1).raised(rule)
        first = patient.signal(rule)
        patient.at("2026-01-02 19:00").weight(80 + limit + 0.6).updated(rule)
        assert patient.signal(rule).alert == first.alert
        assert patient.signal(rule).value == pytest.approx(limit + 0.6)


@pytest.mark.parametrize(("rule", "limit", "days"), PLAIN)
def test_the_clear_limit_is_met_exactly_whatever_the_fractions_are_in_binary(
    rule: str, limit: float, days: int
) -> None:
    for lowest in (60.0, 60.16, 62.51, 80.0, 80.13, 99.99):
        patient = daily(Patient(HF), [lowest, round(lowest + limit + 0.1, 3)]).raised(rule)
        patient.at("2026-01-02 08:00").weight(round(lowest + limit - 0.5, 3)).cleared(rule)


def test_a_scale_that_speaks_pounds_meets_the_limits_at_three_and_five_pounds() -> None:
    Patient(HF).at("2026-01-01 07:00").pounds(180).at("2026-01-02 07:00").pounds(183).raised("weight-gain-1d")
    Patient(HF).at("2026-01-01 07:00").pounds(180).at("2026-01-08 07:00").pounds(185).raised("weight-gain-7d")
    Patient(HF).at("2026-01-01 07:00").pounds(180).at("2026-01-08 07:00").pounds(184.8).quiet()


def test_the_comparison_is_with_the_lowest_reading_of_the_window_and_not_the_first() -> None:
    patient = daily(Patient(HF), [81.0, 79.5, 80.4])
    patient.at("2026-01-04 07:00").weight(81.6).raised("weight-gain-3d")
    assert patient.signal("weight-gain-3d").evidence[0].value == 79.5


@pytest.mark.parametrize(
    ("before", "after", "met"),
    [
        ("2026-03-28 00:30", "2026-03-29 23:30", True),  # the short day: 46 h, but two days apart in UTC
        ("2026-03-28 23:30", "2026-03-30 00:30", False),  # 24 h on the clock of a wrist that was not set
        ("2026-10-24 00:30", "2026-10-25 23:30", True),  # the long day: 48 h within two local days
        ("2026-10-24 23:30", "2026-10-26 00:30", False),
    ],
)
def test_days_are_the_patients_own_when_the_clocks_change(before: str, after: str, met: bool) -> None:
    for care_plan in (None, plan(version(1, "2026-01-01", HF))):
        patient = Patient(HF, plan=care_plan).at(before).weight(80.0).at(after).weight(81.5)
        assert (patient.open("weight-gain-1d") is not None) is met


def test_the_hour_that_comes_twice_keeps_its_order() -> None:
    patient = Patient(HF).at("2026-10-25 02:30+02:00").weight(80.0)
    patient.at("2026-10-25 02:10+01:00").weight(82.0).raised("weight-gain-1d")


def test_a_loss_is_met_beyond_two_kilograms_only() -> None:
    two(3, -2.0).quiet()
    two(3, -2.1).raised("weight-loss", "medium")
    two(4, -3.0).quiet()
    french, english = two(3, -2.1).sentences("weight-loss")
    assert "2,1 kg de moins que 80,0 kg" in french
    assert "2.1 kg below 80.0 kg" in english


def test_an_artefact_neither_raises_nor_becomes_the_lowest_reading() -> None:
    patient = daily(Patient(HF), [80.0]).at("2026-01-02 07:00").weight(90.0, "contact-lost").quiet()
    patient.at("2026-01-02 08:00").weight(70.0, "test").quiet()
    patient.at("2026-01-03 07:00").weight(81.0).quiet(*WEIGHT_RULES)


def with_dry_weight(kg: float | None = 80.0) -> Patient:
    return Patient(plan=plan(version(1, "2026-01-01", HF, dry_weight_kg=kg)))


def test_dry_weight_is_amber_beyond_two_kilograms_and_red_when_three_last_two_days() -> None:
    patient = with_dry_weight().at("2026-01-02 07:00").weight(82.0).quiet("dry-weight")
    patient.at("2026-01-03 07:00").weight(83.2).raised("dry-weight", "medium")
    patient.at("2026-01-03 19:00").weight(83.2).updated("dry-weight", "medium")
    patient.at("2026-01-04 07:00").weight(83.2).updated("dry-weight", "high")
    patient.at("2026-01-05 07:00").weight(82.8).updated(
        "dry-weight", "high"
    )  # between 2.5 and 3: no flapping
    patient.at("2026-01-06 07:00").weight(82.4).updated("dry-weight", "medium")
    patient.at("2026-01-07 07:00").weight(81.6).quiet("dry-weight")
    patient.at("2026-01-08 07:00").weight(81.5).cleared("dry-weight")


def test_dry_weight_says_nothing_without_one() -> None:
    assert daily(with_dry_weight(None), [90.0, 90.1]).standing() == []
    assert daily(Patient(HF), [90.0, 90.1]).standing() == []


def test_a_new_dry_weight_holds_from_its_version_on() -> None:
    first, second = version(1, "2026-01-01", HF), version(2, "2026-01-05", HF, dry_weight_kg=80.0)
    patient = daily(Patient(plan=plan(first, second)), [82.5, 82.5, 82.5, 82.5]).quiet()
    patient.at("2026-01-05 07:00").weight(82.5).raised("dry-weight")


def test_a_personal_limit_holds_from_its_versions_first_instant_and_moves_the_clear_limit_along() -> None:
    mine = {HF: {"weight-gain-3d": {"limit": 1.2}}}
    care = plan(version(1, "2026-01-01", HF), version(2, "2026-01-10", HF, limits=mine))
    patient = Patient(plan=care).at("2026-01-08 07:00").weight(80.0)
    patient.at("2026-01-09 23:59").weight(81.3).quiet()
    patient.at("2026-01-10 00:00").weight(81.3).raised("weight-gain-3d")
    assert patient.signal("weight-gain-3d").limit == 1.2
    patient.at("2026-01-10 07:00").weight(80.75).quiet("weight-gain-3d")
    patient.at("2026-01-10 08:00").weight(80.7).cleared("weight-gain-3d")


def test_four_days_above_the_month_raise_the_moving_averages_and_three_do_not() -> None:
    patient = daily(Patient(HF), [80.0] * 24 + [81.0] * 3).quiet("weight-macd")
    patient.at("2026-01-28 07:00").weight(81.0).raised("weight-macd", "medium")
    assert patient.signal("weight-macd").value == pytest.approx(81.0 - (24 * 80 + 4 * 81) / 28, abs=1e-6)
    assert "0,86 kg" in patient.sentences("weight-macd")[0]


def test_moving_averages_need_ten_days() -> None:
    assert "weight-macd" not in daily(Patient(HF), [80.0] * 5 + [84.0] * 4).rules_raised()


def test_a_cumulative_sum_learns_a_fortnight_then_tells_a_lasting_rise_until_the_weight_is_usual_again() -> (
    None
):
    patient = daily(Patient(HF), [80.0] * 16).quiet()
    patient.at("2026-01-17 07:00").weight(80.5).quiet("weight-cusum")  # z = 2.5 with σ = 0.2: S = 2
    patient.at("2026-01-18 07:00").weight(80.5).quiet("weight-cusum")
    patient.at("2026-01-19 07:00").weight(80.5).raised("weight-cusum", "medium")
    assert patient.signal("weight-cusum").value == pytest.approx(6.0)
    patient.at("2026-01-19 19:00").weight(80.5).quiet("weight-cusum")  # a day's first weight counts
    for day in (20, 21):
        patient.at(f"2026-01-{day} 07:00").weight(80.1)  # z = 0.5: nothing is added
    assert patient.open("weight-cusum") is not None
    patient.at("2026-01-22 07:00").weight(80.1).cleared("weight-cusum")


def test_another_persons_weight_is_no_trend_of_this_ones() -> None:
    patient = daily(Patient(HF), [80.0] * 16).quiet()
    patient.at("2026-01-17 07:00").weight(95.0).quiet("weight-cusum")
    patient.at("2026-01-18 07:00").weight(80.0).quiet("weight-cusum")


def test_after_four_weeks_a_higher_weight_is_the_usual_one_and_the_chart_begins_anew() -> None:
    patient = daily(Patient(HF), [80.0] * 16 + [81.0] * 15)

    def weighs(kg: float, first: str, days: int) -> None:
        for day in range(days):
            patient.at(f"{date.fromisoformat(first) + timedelta(day)} 07:00").weight(kg)

    weighs(81.0, "2026-02-01", 14)
    assert patient.open("weight-cusum") is not None
    weighs(81.0, "2026-02-15", 1)
    patient.cleared("weight-cusum")
    weighs(81.0, "2026-02-16", 14)
    assert patient.open("weight-cusum") is None
    weighs(82.5, "2026-03-02", 3)
    assert patient.open("weight-cusum") is not None


def test_the_usual_weight_is_unknown_in_the_first_week() -> None:
    assert "weight-cusum" not in daily(Patient(HF), [80.0] * 6 + [83.0]).rules_raised()


def test_a_scale_that_reports_a_fault_is_technical_and_ends_with_a_sound_reading() -> None:
    patient = Patient(HF).at("2026-01-01 07:00").weight(80.0, "device-fault").raised("device-fault", "medium")
    assert patient.signal("device-fault").cls == "technical"
    patient.at("2026-01-02 07:00").weight(80.0).cleared("device-fault")


def test_three_unusable_readings_in_a_row_are_a_technical_alert_and_two_are_not() -> None:
    patient = daily(Patient(HF), [80.0]).at("2026-01-01 08:00").weight(85.0, "contact-lost").quiet()
    patient.at("2026-01-01 08:05").weight(85.0, "contact-lost").quiet()
    patient.at("2026-01-01 08:10").weight(85.0, "contact-lost").raised("device-fault")
    assert patient.rules_raised("clinical") == set()


def test_a_clock_that_is_not_set_is_technical_and_does_not_hold_the_weight_back() -> None:
    patient = daily(Patient(HF), [80.0]).at("2026-01-02 07:00").weight(82.0, "clock-unset")
    patient.raised("clock-fault", "low").raised("weight-gain-3d")
    patient.at("2026-01-03 07:00").weight(80.0).cleared("clock-fault")
