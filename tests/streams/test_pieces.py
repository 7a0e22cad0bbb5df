"""Rolling pieces against their plain definitions, and the statistics made of them in a protocol."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streams.engine import Engine
from streams.protocols import Library, load_published, parse
from streams.rolling.pieces import MS_PER_DAY, Ewma, LocalTrend, Persistence, Share
from tests.streams.timeline import PATIENT, Patient

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=40)


@given(VALUES, st.floats(0.01, 1.0), st.floats(-10, 10))
def test_ewma_is_the_sum_of_values_with_geometric_weights(
    values: list[float], weight: float, start: float
) -> None:
    piece = Ewma(weight)
    state = piece.initialize(start)
    for x in values:
        state = piece.add(state, x)
    n = len(values)
    plain = (1 - weight) ** n * start
    plain += sum(weight * (1 - weight) ** (n - 1 - i) * x for i, x in enumerate(values))
    assert piece.result(state) == pytest.approx(plain, abs=1e-9)
    variance = sum((weight * (1 - weight) ** i) ** 2 for i in range(n))  # of independent values of variance 1
    assert piece.limit_share(state) == pytest.approx(math.sqrt(variance), rel=1e-9)


STEPS = st.lists(st.tuples(st.floats(-50, 50), st.integers(0, int(5 * MS_PER_DAY))), min_size=1, max_size=25)


@given(STEPS, st.floats(0.1, 3), st.floats(0, 2), st.floats(0, 1))
def test_a_local_trend_is_the_kalman_filter_of_its_matrices(
    steps: list[tuple[float, int]], noise: float, level: float, slope: float
) -> None:
    piece = LocalTrend(noise**2, level**2, slope**2)
    at_ms = 0
    state = piece.initialize(0.0, at_ms)
    mean, cov = np.zeros(2), np.diag([noise**2, slope**2])
    row = np.array([1.0, 0.0])
    for x, wait_ms in steps:
        at_ms += wait_ms
        state = piece.add(state, x, at_ms)
        days = wait_ms / MS_PER_DAY
        step = np.array([[1.0, days], [0.0, 1.0]])
        mean = step @ mean
        cov = step @ cov @ step.T + np.diag([level**2 * days, slope**2 * days])
        spread = row @ cov @ row + noise**2
        innovation = x - row @ mean
        gain = cov @ row / spread
        mean, cov = mean + gain * innovation, cov - np.outer(gain, row @ cov)
        assert piece.result(state) == pytest.approx(
            (mean[0], mean[1], innovation / math.sqrt(spread)), abs=1e-6
        )
    assert state.var_level >= -1e-9
    assert state.var_slope >= -1e-9


@given(st.floats(-50, 50), st.integers(2, 30))
def test_a_local_level_that_does_not_wander_is_the_mean(first: float, n: int) -> None:
    piece = LocalTrend(1.0, 0.0)
    values = [first + math.sin(i) for i in range(n)]
    state = piece.initialize(values[0], 0)
    for i, x in enumerate(values[1:], 1):
        state = piece.add(state, x, i * 1000)
    assert piece.result(state).level == pytest.approx(sum(values) / n, abs=1e-9)
    assert piece.result(state).slope_per_day == 0.0


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20), st.integers(1, 20))
def test_persistence_counts_the_last_answers(answers: list[bool], count: int, of: int) -> None:
    assume(count <= of)
    piece = Persistence(count, of)
    state = piece.initialize()
    for i, hit in enumerate(answers):
        state = piece.add(state, hit)
        assert piece.result(state) == (sum(answers[max(0, i + 1 - of) : i + 1]) >= count)
    assert state < 1 << of


@given(
    st.lists(st.tuples(st.integers(0, 90), st.floats(20, 400)), max_size=60),
    st.integers(1, 600),
)
def test_a_share_is_counted_anew_over_the_window(steps: list[tuple[int, float]], window: int) -> None:
    piece = Share(70.0, 180.0, window, most=1_000)
    state, at, values = piece.initialize(), 0, []
    for step, x in steps:
        at += step
        values.append((at, x))
        state = piece.add(state, x, at)
        last = [v for t, v in values if at - window < t]
        below, within, above = piece.result(state)
        assert below == pytest.approx(100 * sum(v < 70 for v in last) / len(last))
        assert above == pytest.approx(100 * sum(v > 180 for v in last) / len(last))
        assert below + within + above == pytest.approx(100)


def test_a_share_keeps_no_more_than_it_may() -> None:
    piece = Share(70.0, 180.0, 10**9, most=5)
    state = piece.initialize()
    for at in range(20):
        state = piece.add(state, 100.0, at)
    assert len(state.times) == len(state.places) == 5
    assert piece.result(piece.initialize()) == (0.0, 0.0, 0.0)


PROTOCOL = """
name = "trial"
version = "1"
title = { fr = "Essai", en = "Trial" }
[rules.weight-chart]
class = "clinical"
statistic = "ewma-chart"
kind = "body-weight"
floor = 0.2
prior_sd = 0.6
drift_per_week = 0.5
source = "a test"
fr = "Poids {measured} kg, au-dessus de l'habituel {usual} kg."
en = "Weight {measured} kg, above the usual {usual} kg."
[[rules.weight-chart.levels]]
severity = "medium"
at_least = { above = 3.0 }
clear = { above = 1.0 }
[rules.weight-slope]
class = "clinical"
statistic = "local-trend"
kind = "body-weight"
noise_sd = 0.4
level_sd = 0.3
slope_sd = 0.5
source = "a test"
fr = "Hausse de {value} kg par semaine (limite {limit})."
en = "Rise of {value} kg a week (limit {limit})."
[[rules.weight-slope.levels]]
severity = "low"
at_least = { rise = 1.0 }
clear = { rise = 0.5 }
[rules.weight-surprise]
class = "clinical"
statistic = "local-trend"
kind = "body-weight"
noise_sd = 0.4
level_sd = 0.3
source = "a test"
fr = "Poids {measured} kg inattendu : {level} kg attendus."
en = "Weight {measured} kg unexpected: {level} kg expected."
[[rules.weight-surprise.levels]]
severity = "low"
at_least = { surprise = 4.0 }
clear = { surprise = 2.0 }
[rules.time-below]
class = "clinical"
statistic = "glucose-share"
low = 54
window_hours = 24
source = "a test"
fr = "{value} % du temps sous 54 mg/dL en 24 h (limite {limit} %)."
en = "{value} % of the time below 54 mg/dL in 24 h (limit {limit} %)."
[[rules.time-below.levels]]
severity = "medium"
above = { below = 1.0 }
clear = { below = 0.5 }
"""


def on_trial() -> Patient:
    library = load_published().with_protocol(parse(PROTOCOL, "trial.toml"))
    patient = Patient()
    patient.engine = Engine(library, ("trial",))
    patient.state = patient.engine.new_state(PATIENT)
    return patient


def daily(patient: Patient, weights: list[float], first_day: int = 1) -> Patient:
    for number, weight in enumerate(weights):
        patient.at(f"2026-03-{first_day + number:02} 07:00").weight(weight)
    return patient


STEADY = [80.0, 80.2, 79.9, 80.1, 80.0, 79.8, 80.2, 80.1, 79.9, 80.0, 80.1, 79.9, 80.0, 80.2, 80.0, 79.9]


def test_a_small_shift_that_lasts_is_found_by_the_chart_and_none_in_a_steady_weight() -> None:
    patient = daily(on_trial(), STEADY).quiet("weight-chart")
    assert patient.rules_raised() == set()
    daily(patient, [80.6] * 6, first_day=17)
    assert "weight-chart" in patient.rules_raised()


def test_a_lasting_rise_is_found_by_the_slope_and_a_jump_by_the_surprise() -> None:
    rising = daily(on_trial(), [80.0 + 0.2 * day for day in range(16)])
    assert "weight-slope" in rising.rules_raised()
    daily(on_trial(), STEADY).at("2026-03-17 07:00").weight(83.0).raised("weight-surprise")


def test_statistics_of_two_parameters_are_two() -> None:
    library: Library = load_published().with_protocol(parse(PROTOCOL, "trial.toml"))
    keys = [rule.statistic_key for rule in library.protocols["trial"].rules]
    assert len(set(keys)) == 4


def test_an_hour_below_54_in_a_day_is_told_and_ten_minutes_are_not() -> None:
    def day(low: int) -> Patient:
        patient = on_trial()
        for number in range(288):
            minutes = 5 * number
            value = 50.0 if 144 <= number < 144 + low else 120.0
            at = f"2026-03-01 {minutes // 60:02}:{minutes % 60:02}"
            patient.at(at).glucose(value, "interstitial")
        return patient

    assert "time-below" in day(12).rules_raised()
    assert "time-below" not in day(2).rules_raised()
