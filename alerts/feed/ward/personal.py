"""What is personal in a patient's curves: limits that the plan sets, the target, and what is usual. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alerts.feed.limits import LimitLine
from alerts.feed.ward.guidance import TARGET
from alerts.feed.ward.limit_fields import MEASURED, fields_of
from devices.readings import Reading
from streams.history import DAY_MS, observe
from streams.plans import PlanVersion
from streams.protocols.model import Library
from streams.rolling.baseline import Baseline, Usual, learn
from streams.timeline import personal_of

BAND_Z = 3.0
"""Half the width of the band in units of the patient's own scatter: where the personal rules begin."""
BASELINE_DAYS = 42  # 28 days of window (reference section 6) and what is needed to fill it after a gap
BASELINE_READINGS_MAX = 1_500  # six weeks of three kinds ten times a day
BASELINE_KINDS = ("body-weight", "blood-pressure", "heart-rate", "oxygen-saturation")


def personal_lines(plan: PlanVersion | None, library: Library) -> list[LimitLine]:
    """Limits on a measurement that the plan sets, and the dry weight, as lines in the curves."""
    if plan is None:
        return []
    lines = []
    for fields in fields_of(library, plan.protocols, personal_of(plan).facts).values():
        for one in fields:
            kind, _ = MEASURED.get(one.channel, {}).get(one.unit or "", ("", ""))
            given = one.given(plan)
            if kind and given is not None:
                lines.append(LimitLine(kind, given))
    if plan.dry_weight_kg is not None:
        lines.append(LimitLine("body-weight", plan.dry_weight_kg))
    return lines


def target_of(kind: str, plan: PlanVersion | None) -> tuple[float, float] | None:
    """The range that a kind should be in: that of the INR."""
    if kind != "inr" or plan is None or "anticoagulation" not in plan.protocols:
        return None
    return plan.inr_target or TARGET


def usual_bands(
    readings: Iterable[Reading], plan: PlanVersion | None, library: Library, now_ms: int
) -> dict[str, tuple[float, float]]:
    """By kind what is usual for the patient, learnt as the engine learns it (streams.rolling.baseline), with
    the parameters of the plan's own rules; a kind without such a rule, or with too few days, has none."""
    parameters = _parameters(plan, library)
    baselines: dict[str, Baseline] = {}
    ordered = sorted(readings, key=lambda reading: reading.order)
    for reading in ordered:
        usual = parameters.get(reading.kind)
        if usual is None or reading.marks or not _at_rest(reading):
            continue
        o = observe(reading)
        value = o.x[0] if o.x else None
        if value is None:
            continue
        day = (reading.measured_at_ms + reading.offset_min * 60_000) // DAY_MS
        before = baselines.get(reading.kind, Baseline())
        baselines[reading.kind] = learn(before, usual, reading.measured_at_ms, day, value)
    return {
        kind: (baseline.centre - BAND_Z * baseline.scale, baseline.centre + BAND_Z * baseline.scale)
        for kind, baseline in baselines.items()
        if baseline.centre is not None and now_ms // DAY_MS - baseline.centre_day < BASELINE_DAYS
    }


def _parameters(plan: PlanVersion | None, library: Library) -> dict[str, Usual]:
    found: dict[str, Usual] = {}
    for name in plan.protocols if plan is not None else ():
        for rule in library.protocols[name].rules if name in library.protocols else ():
            usual = getattr(rule.statistic, "usual", None)
            if isinstance(usual, Usual) and len(rule.kinds) == 1:
                found.setdefault(next(iter(rule.kinds)), usual)
    return found


def _at_rest(reading: Reading) -> bool:
    return reading.kind != "heart-rate" or reading.context.get("activity", "rest") == "rest"


def kinds_with_usual(plan: PlanVersion | None, library: Library) -> Sequence[str]:
    """The kinds whose usual range can be shown."""
    return [kind for kind in BASELINE_KINDS if kind in _parameters(plan, library)]
