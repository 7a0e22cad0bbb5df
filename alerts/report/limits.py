"""Which limits and targets lie on a report's curves. Pure.

A limit of the plan's protocols is drawn where the plan has none of its own; a limit on a change (a gain in three days)
only where it was met, from the reading that it counts from.
"""

from __future__ import annotations

from collections.abc import Iterable

from alerts.drawn_limits import drawn_limits
from alerts.feed.limits import LimitLine, limit_line
from alerts.feed.models import Alert
from alerts.feed.ward.personal import personal_lines, target_of
from streams.plans import PlanVersion
from streams.protocols.model import Library

GLUCOSE_TARGET = (70.0, 180.0)
"""mg/dL: the range of `tir` among the figures (Battelino 2019), so that curve and figure say the same."""


def lines_of(plan: PlanVersion | None, library: Library, alerts: Iterable[Alert]) -> list[LimitLine]:
    """The plan's own limits, its protocols' where it has none, and those of changes that still hold."""
    lines = personal_lines(plan, library)
    for one in drawn_limits() if plan is not None else ():
        if plan is None or one.protocol not in plan.protocols:
            continue
        own = plan.limits.get(one.protocol, {}).get(one.rule, {})
        if any(name in own for name in one.names):
            continue
        if one.kind != "body-weight":
            lines.append(LimitLine(one.kind, one.level))
        elif plan.dry_weight_kg is not None:  # about the excess over the dry weight
            lines.append(LimitLine(one.kind, plan.dry_weight_kg + one.level))
    for alert in alerts:
        line = limit_line(alert) if alert.condition == "raised" else None
        if line is not None and line.from_ms is not None:
            lines.append(line)
    return lines


def target(kind: str, plan: PlanVersion | None) -> tuple[float, float] | None:
    """The range that a kind should be in: that of the plan, or the one that its figures count."""
    return GLUCOSE_TARGET if kind == "glucose" else target_of(kind, plan)
