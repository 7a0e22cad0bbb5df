"""Which curve an alert belongs to, and where its limit lies on that curve.

A rule on a change (a gain within days, an excess over the dry weight) has its limit relative to an earlier
value. With w the weight of its latest evidence, `value` the change and `limit` the change allowed, the line
is at w - value + limit: for a gain that is the lowest weight of the window plus the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alerts.feed.kinds import CURVE_KINDS, unit_of
from alerts.feed.models import Alert
from devices.times import from_datetime

Basis = Literal["absolute", "above", "below", "none"]


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit drawn into a curve of `kind`: `level` in its unit, from `from_ms` on (None: all)."""

    kind: str
    level: float
    from_ms: int | None = None


# What a rule is about, where its evidence does not say it, and how its limit is to be drawn. A rule that is
# not here is drawn when its unit is the unit of its evidence.
_BASES: dict[str, Basis] = {
    "weight-gain-1d": "above",
    "weight-gain-3d": "above",
    "weight-gain-7d": "above",
    "dry-weight": "above",
    "weight-loss": "below",
    "weight-macd": "none",
    "weight-cusum": "none",
    "spo2-drop": "none",
    "glucose-falling": "none",
    "bp-personal": "none",
    "heart-rate-personal": "none",
    "no-reading": "none",
    "inr-overdue": "none",
    "device-fault": "none",
    "clock-fault": "none",
}
RULE_KINDS: dict[str, tuple[str, ...]] = {
    "composite": ("body-weight",),
    "news2": ("oxygen-saturation", "respiratory-rate"),
    "atrial-fibrillation": ("heart-rate",),
    "inr-overdue": ("inr",),
    "ttr-low": ("inr",),
}
PROTOCOL_KINDS: dict[str, tuple[str, ...]] = {
    "heart-failure": ("body-weight",),
    "hypertension": ("blood-pressure",),
    "diabetes": ("glucose",),
    "arrhythmia": ("heart-rate",),
    "respiratory": ("oxygen-saturation",),
    "anticoagulation": ("inr",),
}


def kinds_of_alert(alert: Alert) -> tuple[str, ...]:
    """The kinds whose curves explain the alert: those of its evidence, else those of its rule or protocol."""
    kinds = dict.fromkeys(e.kind for e in alert.evidence if e.kind in CURVE_KINDS)
    if kinds:
        return tuple(kinds)
    return RULE_KINDS.get(alert.rule) or PROTOCOL_KINDS.get(alert.protocol, ())


def limit_line(alert: Alert) -> LimitLine | None:
    """Where the alert's limit lies, or None when it cannot be drawn into a curve."""
    basis = _BASES.get(alert.rule, "absolute")
    kinds = kinds_of_alert(alert)
    if basis == "none" or alert.limit is None or not kinds:
        return None
    if basis == "absolute":
        fits = [kind for kind in kinds if unit_of(kind) == alert.unit]
        return LimitLine(fits[0], alert.limit) if fits else None
    weights = [e for e in alert.evidence if e.kind == "body-weight" and isinstance(e.value, (int, float))]
    if not weights or alert.value is None:
        return None
    latest = max(weights, key=lambda e: e.measured_at)
    sign = 1.0 if basis == "above" else -1.0
    level = float(latest.value or 0.0) + sign * (alert.limit - alert.value)
    earliest = min(weights, key=lambda e: e.measured_at)
    begin = from_datetime(earliest.measured_at) if earliest is not latest else None
    return LimitLine("body-weight", level, begin)
