"""Statistics of blood pressure, weight, INR and heart rate variability on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.statistics.anticoagulation import time_in_range
from streams.statistics.blood_pressure import blood_pressure_statistics
from streams.statistics.heart import heart_rate_variability
from streams.statistics.weight import largest_gain, weight_statistics

DAY = 86_400_000


def pressure(*readings: tuple[float, float, float]):
    systolic, diastolic, hour = np.array(readings).T
    return blood_pressure_statistics(systolic, diastolic, (hour * 60).astype(np.int64))


def test_pressure_has_means_extremes_and_variability():
    s = pressure((130, 80, 7.0), (140, 86, 20.0), (120, 74, 8.5), (150, 92, 21.0))
    assert (s["mean_systolic"], s["mean_diastolic"]) == (135.0, 83.0)
    assert (s["max_systolic"], s["max_diastolic"]) == (150.0, 92.0)
    assert s["sd_systolic"] == pytest.approx(12.9099, abs=1e-4)
    assert s["cv_systolic"] == pytest.approx(9.5629, abs=1e-4)
    assert s["arv_systolic"] == pytest.approx((10 + 20 + 30) / 3)
    assert (s["morning_mean_systolic"], s["evening_mean_systolic"]) == (125.0, 145.0)


def test_a_reading_at_noon_is_neither_morning_nor_evening():
    s = pressure((130, 80, 12.0), (131, 80, 15.99), (132, 80, 3.99))
    assert s["morning_mean_systolic"] is None
    assert s["evening_mean_systolic"] is None


def test_one_pressure_has_no_variability():
    s = pressure((130, 80, 7.0))
    assert (s["sd_systolic"], s["cv_systolic"], s["arv_systolic"]) == (None, None, None)


def ttr(*points: tuple[float, float], target=(2.0, 3.0)):
    days, inr = np.array(points).T
    return time_in_range((days * DAY).astype(np.int64), days.astype(np.int64), inr, target)


def test_half_of_the_way_from_1_5_to_3_5_is_in_range():
    assert ttr((0, 1.5), (20, 3.5)) == pytest.approx(50.0)


def test_falling_and_level_stretches_count_alike():
    assert ttr((0, 3.5), (20, 1.5)) == pytest.approx(50.0)
    assert ttr((0, 2.5), (10, 2.5)) == 100.0
    assert ttr((0, 3.5), (10, 3.5)) == 0.0
    assert ttr((0, 2.0), (10, 3.0)) == pytest.approx(100.0)


def test_a_gap_of_more_than_56_days_is_left_out():
    assert ttr((0, 2.5), (56, 2.5)) == 100.0
    assert ttr((0, 2.5), (57, 2.5)) is None
    assert ttr((0, 2.5), (10, 2.5), (70, 5.0), (80, 5.0)) == pytest.approx(50.0)


def test_one_inr_has_no_time_in_range():
    assert ttr((0, 2.5)) is None


@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0.5, 15)), min_size=2, max_size=40))
def test_time_in_range_is_a_share_and_grows_with_the_range(points):
    days = np.cumsum([gap for gap, _ in points])
    pairs = list(zip(days.tolist(), [inr for _, inr in points], strict=True))
    narrow, wide = ttr(*pairs), ttr(*pairs, target=(1.8, 3.5))
    assert (narrow is None) == (wide is None)
    assert narrow is None or 0.0 <= narrow <= wide + 1e-9 <= 100.0 + 2e-9


def test_weights_on_four_days_gain_what_the_rules_see():
    s = weight_statistics(np.arange(4), np.array([80.0, 80.4, 81.1, 82.1]))
    assert s["max_gain_1d"] == pytest.approx(1.0)
    assert s["max_gain_3d"] == pytest.approx(2.1)
    assert (s["first"], s["last"], s["min"], s["max"]) == (80.0, 82.1, 80.0, 82.1)


def test_the_same_day_counts_and_a_later_fall_does_not():
    assert largest_gain(np.array([5, 5, 6]), np.array([80.0, 81.5, 79.0]), 1) == pytest.approx(1.5)


def test_without_a_pair_near_enough_there_is_no_gain():
    assert largest_gain(np.array([0, 2]), np.array([80.0, 82.0]), 1) is None
    assert largest_gain(np.array([0]), np.array([80.0]), 7) is None


def test_a_weight_that_only_falls_has_a_negative_gain():
    assert largest_gain(np.array([0, 1]), np.array([80.0, 79.0]), 3) == pytest.approx(-1.0)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(600, 900)), min_size=1, max_size=60),
    st.sampled_from([1, 3, 7]),
)
def test_the_largest_gain_is_that_over_all_pairs(weighings, days):
    day = np.cumsum([gap for gap, _ in weighings])
    weight = np.array([tenths / 10 for _, tenths in weighings])
    pairs = [weight[j] - weight[i] for j in range(len(day)) for i in range(j) if day[j] - day[i] <= days]
    assert largest_gain(day, weight, days) == (pytest.approx(max(pairs)) if pairs else None)


def test_variability_is_of_normal_neighbours():
    rr = np.array([800.0, 860.0, 500.0, 1100.0, 840.0, 850.0])
    normal = np.array([True, True, False, False, True, True])
    s = heart_rate_variability(rr, normal, np.array([False] + [True] * 5))
    assert s["sdnn"] == pytest.approx(np.std([800, 860, 840, 850], ddof=1))
    assert s["rmssd"] == pytest.approx(np.sqrt((60**2 + 10**2) / 2))
    assert s["pnn50"] == 50.0


def test_variability_does_not_reach_across_readings():
    rr = np.array([800.0, 900.0])
    s = heart_rate_variability(rr, np.array([True, True]), np.array([False, False]))
    assert (s["rmssd"], s["pnn50"]) == (None, None)
    assert s["sdnn"] == pytest.approx(70.7107, abs=1e-4)
