"""The three rules in plain Python, for frameworks that hand the programmer a state and a reading.

What a careful programmer writes in an afternoon: exact windows, ascending lists, no library. Each function takes
what it kept (JSON's types, so that every framework can store it), an instant in ms and a value, and returns what to
keep and the measure, None while there is too little. A rule raises an alert when its measure passes the limit and
not before it has been below again.

The worker's rules do more (episodes with their end, hysteresis, late and repeated readings, evidence, sentences); no
contender is asked for that.
"""

from __future__ import annotations

from typing import Any

DAY_MS = 86_400_000
MAD_TO_SD = 1.4826
HEART_RATES_MIN = 28  # a week
SCATTER_MIN = 3.0  # twice what a pulse oximeter resolves
GLUCOSE_LOW = 54
GLUCOSE_VALUES_MIN = 200  # 70 % of a day's

VALUE = {"body-weight": "weight", "heart-rate": "heart_rate", "glucose": "glucose"}
"""Which of a reading's values a rule is about."""
LIMIT = {"body-weight": 2.0, "heart-rate": 3.0, "glucose": 1.0}

State = dict[str, Any]
"""{"window": [[instant in ms, value], ...], "open": whether the alert stands}."""


def weight_gain(window: list[list[float]], at_ms: int, kg: float) -> tuple[list[list[float]], float | None]:
    """kg above the lowest weight of the last 3 days."""
    window = [w for w in window if w[0] > at_ms - 3 * DAY_MS]
    gain = kg - min(w[1] for w in window) if window else None
    return [*window, [at_ms, kg]], gain


def robust_z(window: list[list[float]], at_ms: int, rate: float) -> tuple[list[list[float]], float | None]:
    """Distance from the median of the last 14 days, in units of their scatter."""
    window = [w for w in window if w[0] > at_ms - 14 * DAY_MS]
    z = None
    if len(window) >= HEART_RATES_MIN:
        centre = _middle(sorted(w[1] for w in window))
        scatter = MAD_TO_SD * _middle(sorted(abs(w[1] - centre) for w in window))
        z = (rate - centre) / max(scatter, SCATTER_MIN)
    return [*window, [at_ms, rate]], z


def share_low(window: list[list[float]], at_ms: int, mg_dl: float) -> tuple[list[list[float]], float | None]:
    """Percent of the values of the last 24 hours below 54 mg/dL."""
    first = 0
    while first < len(window) and window[first][0] <= at_ms - DAY_MS:
        first += 1
    window = [*window[first:], [at_ms, mg_dl]]
    if len(window) < GLUCOSE_VALUES_MIN:
        return window, None
    return window, 100.0 * sum(w[1] < GLUCOSE_LOW for w in window) / len(window)


RULES = {"body-weight": weight_gain, "heart-rate": robust_z, "glucose": share_low}


def judge(state: State | None, kind: str, at_ms: int, value: float) -> tuple[State, float | None]:
    """The state after a reading, and the measure when it raises an alert."""
    kept = state or {"window": [], "open": False}
    window, measure = RULES[kind](kept["window"], at_ms, value)
    beyond = measure is not None and measure >= LIMIT[kind]
    raised = measure if beyond and not kept["open"] else None
    return {"window": window, "open": beyond}, raised


def _middle(ordered: list[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
