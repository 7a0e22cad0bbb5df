"""Adherence: of the scheduled measurements how many were taken."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alerts.feed.adherence import DAYS, adherence, rhythms
from streams.protocols import load_published

TODAY = date(2026, 11, 22)
LONG_AGO = TODAY - timedelta(days=100)


def ago(*days: int) -> dict[date, int]:
    return {TODAY - timedelta(days=day): 1 for day in days}


def test_a_reading_every_day_is_all_of_them_and_today_counts_what_is_done():
    done = adherence("body-weight", 24, LONG_AGO, TODAY, ago(*range(14)))
    assert (done.done, done.expected) == (14, 14)
    not_yet = adherence("body-weight", 24, LONG_AGO, TODAY, ago(*range(1, 14)))
    assert (not_yet.done, not_yet.expected) == (13, 13)


def test_ten_readings_on_one_day_do_not_hide_a_silent_week():
    found = adherence("glucose", 12, LONG_AGO, TODAY, {TODAY - timedelta(days=3): 10})
    assert (found.done, found.expected) == (2, 26)


def test_nothing_is_expected_before_the_plan():
    found = adherence("body-weight", 24, TODAY - timedelta(days=2), TODAY, ago(1, 2, 3, 4))
    assert (found.done, found.expected) == (2, 2)


def test_a_weekly_measurement_is_expected_once_a_week():
    assert adherence("inr", 168, LONG_AGO, TODAY, ago(3)).expected == 1
    assert adherence("inr", 72, LONG_AGO, TODAY, ago(0, 3, 6, 9, 12)).done == 4


def test_a_day_of_a_planned_absence_is_not_missed_but_what_was_done_on_it_counts():
    away = {TODAY - timedelta(days=day) for day in range(2, 7)}
    found = adherence("body-weight", 24, LONG_AGO, TODAY, ago(*range(6, 14)), away)
    # seven days before it, one after, and one in it that was done
    assert (found.done, found.expected) == (8, 9)
    weekly = adherence("inr", 168, LONG_AGO, TODAY, {}, {TODAY - timedelta(days=day) for day in range(1, 8)})
    assert weekly.expected == 0


@given(
    every=st.floats(0.1, 1000),
    begin=st.integers(0, 40),
    taken=st.dictionaries(st.integers(0, 30), st.integers(0, 400)),
    away=st.sets(st.integers(0, 30)),
)
def test_nobody_takes_more_than_was_expected(every: float, begin: int, taken: dict[int, int], away: set[int]):
    by_day = {TODAY - timedelta(days=day): n for day, n in taken.items()}
    absent = {TODAY - timedelta(days=day) for day in away}
    found = adherence("glucose", every, TODAY - timedelta(days=begin), TODAY, by_day, absent)
    assert 0 <= found.done <= found.expected <= DAYS * max(24 / every + 1, 1)


def test_a_plan_without_hours_has_those_of_its_protocol():
    library = load_published()
    assert rhythms(["heart-failure"], {}, library)["body-weight"] == 24.0
    assert rhythms(["heart-failure"], {"body-weight": 72.0}, library)["body-weight"] == 72.0
    assert rhythms([], {"body-weight": 24.0}, library) == {}
