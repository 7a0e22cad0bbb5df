"""The three rules as the libraries' documentation writes a rule with a state: a window in a list, looked at anew.

Bytewax's example of a stateful rule (its repository, `examples/anomaly_detector.py`) keeps the last values in a list,
drops the oldest, and calculates mean and deviation over all of them at each value. Quix Streams ("Stateful
Applications") reads a value from the state with `state.get`, changes it and puts it back with `state.set`; values are
what JSON can say. So here: what is kept is a dict of lists and numbers, and each reading sums, sorts and counts the
window.

They say what rules.py says, with the same limits, and what three_rules.toml says to the worker. Only the median of the
heart rate is taken with each reading here, as the worker takes it, and once a day there.
"""

from __future__ import annotations

from itertools import groupby
from statistics import median
from typing import Any

DAY_MS = 86_400_000
MAD_TO_SD = 1.4826

WEIGHT_DAYS_BACK = 3
RATE_DAYS_BACK, RATE_DAYS_FULL, RATE_DAYS_LEAST = 28, 14, 7
RATE_FLOOR, RATE_PRIOR_SD, RATE_PRIOR_DAYS, RATE_DRIFT_A_DAY = 3.0, 6.0, 10, 3.0 / 7.0
GLUCOSE_LOW, GLUCOSE_VALUES_LEAST = 54, 202

LIMIT = {"body-weight": 1.998, "heart-rate": 3.0, "glucose": 1.0}
CLEAR = {"body-weight": 1.502, "heart-rate": 2.0, "glucose": 0.5}

State = dict[str, Any]
"""What a rule keeps: at least {"open": whether an alert stands, "window": [[instant in ms, value], ...]}."""


def weight_gain(state: State, at_ms: int, kg: float) -> float | None:
    """kg above the lowest weight of this day and the three before."""
    window: list[list[float]] = state["window"]
    while window and window[0][0] // DAY_MS < at_ms // DAY_MS - WEIGHT_DAYS_BACK:
        del window[0]
    gain = kg - min(weight for _, weight in window) if window else None
    window.append([at_ms, kg])
    return gain


def robust_z(state: State, at_ms: int, rate: float) -> float | None:
    """Distance from the median of the daily means of up to 28 days, in units of their scatter.

    The last 24 hours wait and are not learnt, nor what comes while an alert stands.
    """
    centre = state.get("centre")
    z = None if centre is None else (rate - centre) / state["scale"]
    if state["open"]:
        state["waiting"] = []
        return z
    window, waiting, today = state["window"], state.setdefault("waiting", []), at_ms // DAY_MS
    while waiting and waiting[0][0] <= at_ms - DAY_MS:
        window.append(waiting.pop(0))
    waiting.append([at_ms, rate])
    while window and window[0][0] // DAY_MS <= today - RATE_DAYS_BACK:
        del window[0]
    means = []
    for _, values in groupby(window, key=lambda kept: kept[0] // DAY_MS):
        rates = [value for _, value in values]
        means.append(sum(rates) / len(rates))
    state["centre"], state["scale"] = _centre_and_scale(means, centre, today - state.get("centre_day", today))
    state["centre_day"] = today
    return z


def _centre_and_scale(
    means: list[float], before: float | None, days_since: int
) -> tuple[float | None, float]:
    n = len(means)
    if n < RATE_DAYS_LEAST:
        return None, 0.0
    centre = median(means)
    scale = max(MAD_TO_SD * median(abs(mean - centre) for mean in means), RATE_FLOOR)
    if n < RATE_DAYS_FULL:
        share = n / (n + RATE_PRIOR_DAYS)
        scale = (share * scale**2 + (1.0 - share) * RATE_PRIOR_SD**2) ** 0.5
    elif before is not None:
        reach = RATE_DRIFT_A_DAY * days_since
        centre = min(max(centre, before - reach), before + reach)
    return centre, scale


def share_low(state: State, at_ms: int, mg_dl: float) -> float | None:
    """Percent of the values of the last 24 hours below 54 mg/dL; None while they are less than 70 % of a day's."""
    window: list[list[float]] = state["window"]
    while window and window[0][0] <= at_ms - DAY_MS:
        del window[0]
    window.append([at_ms, mg_dl])
    if len(window) < GLUCOSE_VALUES_LEAST:
        return None
    return 100.0 * sum(value < GLUCOSE_LOW for _, value in window) / len(window)


RULES = {"body-weight": weight_gain, "heart-rate": robust_z, "glucose": share_low}


def judge(state: State | None, kind: str, at_ms: int, value: float) -> tuple[State, float | None]:
    """The state after a reading, and the measure when it raises an alert."""
    if state is None:
        state = {"open": False, "window": []}
    measure = RULES[kind](state, at_ms, value)
    if measure is None:
        return state, None
    if state["open"]:
        state["open"] = measure > CLEAR[kind]
        return state, None
    state["open"] = measure >= LIMIT[kind]
    return state, measure if state["open"] else None
