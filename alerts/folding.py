"""Signals of the engine folded into rows of `scad.alert`, and what a row's life-cycle state follows from.

Pure: rows in, rows out. The episode part of a row is `streams.signal.fold` with memory: what a late reading
showed to be without cause stays as history instead of vanishing. The state is a function of the row's other
columns (`settled_state`), so redelivery, order of commit and a rebuild from the topic give the same row.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from devices.times import parse_instant
from streams.signal import SEVERITY_RANK, AlertClass, AlertSignal, Evidence, Severity

PAST_MS = 3_600_000
"""An episode that had ended this long before the platform knew of it is history and never latched. An hour is
more than a telephone or gateway takes to forward a burst, and less than a nurse would call 'just now'."""


class AlertRow(msgspec.Struct, kw_only=True):
    """One row of `scad.alert`; instants are milliseconds since the epoch. See 0003_alerts.sql."""

    alert: str
    patient: str
    protocol: str
    protocol_version: str
    rule: str
    cls: AlertClass
    severity: Severity
    peak_severity: Severity
    condition: str
    opened_at: int
    last_at: int
    cleared_at: int | None
    reason: str | None
    late: bool
    value: float | None
    limit: float | None
    unit: str | None
    explanation: dict[str, str]
    evidence: tuple[Evidence, ...]
    supersedes: tuple[str, ...]
    superseded_by: str | None
    first_n: int
    last_n: int
    raised_stored_at: int
    changed_at: int
    state: str
    acknowledged_by: str | None
    acknowledged_at: int | None
    acknowledged_severity: Severity | None


class Consequence(msgspec.Struct, frozen=True):
    """What a signal did to an alert's life-cycle, to be kept as an event of its own."""

    patient: str
    alert: str
    event: str
    body: dict[str, object]


def worse(one: Severity, other: Severity) -> Severity:
    return one if SEVERITY_RANK[one] >= SEVERITY_RANK[other] else other


def acknowledged_in_full(row: AlertRow) -> bool:
    """Whether somebody has acknowledged the alert at the worst severity it has had."""
    seen = row.acknowledged_severity
    return seen is not None and SEVERITY_RANK[seen] >= SEVERITY_RANK[row.peak_severity]


def settled_state(row: AlertRow) -> str:
    """The life-cycle state that follows from the row's columns.

    A high clinical alert whose condition is over stays open until somebody has acknowledged it (it latches),
    unless it was past when it became known; a technical one does not latch (reference 7). A rise in severity
    beyond what was acknowledged opens an alert again.
    """
    if row.superseded_by is not None:
        return "superseded"
    if row.reason is not None:
        return "cleared"
    acknowledged = acknowledged_in_full(row)
    if row.condition == "raised":
        return "acknowledged" if acknowledged else "open"
    assert row.cleared_at is not None  # noqa: S101 - the table's own check
    past = row.cleared_at <= row.raised_stored_at - PAST_MS
    high = row.cls == "clinical" and row.peak_severity == "high"
    latched = high and not acknowledged and not past
    return "open" if latched else "cleared"


def fold_episode(row: AlertRow | None, signal: AlertSignal, stored_at_ms: int) -> AlertRow | None:
    """The episode part: the row after `signal`, or None when there still is no such alert.

    Equal to streams.signal.fold: a row with a reason counts as absent there and here.
    """
    absent = row is None or row.reason is not None
    at = parse_instant(signal.at)[0]
    if signal.state == "cleared":
        if row is None or absent:
            return row
        reason = None if signal.reason is msgspec.UNSET else signal.reason
        return msgspec.structs.replace(
            row,
            severity=signal.severity if reason is None else row.severity,
            condition="cleared",
            cleared_at=at,
            reason=reason,
            last_n=signal.n,
        )
    fresh = absent or signal.state == "raised"
    supersedes = () if signal.supersedes is msgspec.UNSET else signal.supersedes
    return AlertRow(
        alert=signal.alert,
        patient=signal.patient,
        protocol=signal.protocol,
        protocol_version=signal.protocol_version,
        rule=signal.rule,
        cls=signal.cls,
        severity=signal.severity,
        peak_severity=signal.severity if row is None or fresh else worse(row.peak_severity, signal.severity),
        condition="raised",
        opened_at=at if row is None or fresh else row.opened_at,
        last_at=at,
        cleared_at=None,
        reason=None,
        late=signal.late if row is None or fresh else row.late,
        value=signal.value,
        limit=signal.limit,
        unit=signal.unit,
        explanation=signal.explanation,
        evidence=signal.evidence,
        supersedes=tuple(supersedes) or (() if row is None else row.supersedes),
        superseded_by=None if row is None or fresh else row.superseded_by,
        first_n=signal.n if row is None else row.first_n,
        last_n=signal.n,
        raised_stored_at=stored_at_ms if row is None else row.raised_stored_at,
        changed_at=stored_at_ms,
        state="open" if row is None else row.state,
        acknowledged_by=None if row is None else row.acknowledged_by,
        acknowledged_at=None if row is None else row.acknowledged_at,
        acknowledged_severity=None if row is None else row.acknowledged_severity,
    )


def apply_signal(
    rows: dict[str, AlertRow],
    signal: AlertSignal,
    stored_at_ms: int,
    acknowledged: Mapping[str, AlertRow] | None = None,
) -> list[Consequence]:
    """Fold one signal into `rows` (by alert), carry acknowledgement over and settle the states.

    `rows` must hold the signal's alert and those it supersedes, as far as they exist. When rows are built
    anew, `acknowledged` gives them the acknowledgements that people have made.
    """
    before = rows.get(signal.alert)
    after = fold_episode(before, signal, stored_at_ms)
    if after is None:
        return []
    rows[after.alert] = after
    if before is None and acknowledged is not None and after.alert in acknowledged:
        known = acknowledged[after.alert]
        after.acknowledged_by, after.acknowledged_at = known.acknowledged_by, known.acknowledged_at
        after.acknowledged_severity = known.acknowledged_severity
    replaces = signal.state != "cleared" and signal.supersedes is not msgspec.UNSET
    consequences = _supersede(rows, after, stored_at_ms) if replaces else []
    was = None if before is None else before.state
    after.state = settled_state(after)
    after.changed_at = stored_at_ms
    if was == "acknowledged" and after.state == "open":
        body: dict[str, object] = {"severity": after.severity, "acknowledged": after.acknowledged_severity}
        consequences.append(Consequence(after.patient, after.alert, "reopened", body))
    return consequences


def _supersede(rows: dict[str, AlertRow], new: AlertRow, stored_at_ms: int) -> list[Consequence]:
    """Close the alerts that `new` replaces; its acknowledgement is theirs when all of them were acknowledged.

    One that nobody had seen keeps the new alert open: merging must not hide it.
    """
    olds = [rows[name] for name in new.supersedes if name in rows and name != new.alert]
    for old in olds:
        old.superseded_by = new.alert
        old.state = "superseded"
        old.changed_at = stored_at_ms
    if not olds or not all(acknowledged_in_full(old) for old in olds):
        return []
    last = max(olds, key=lambda old: (old.acknowledged_at or 0, old.alert))
    seen = last.acknowledged_severity or "low"
    for old in olds:
        seen = worse(seen, old.acknowledged_severity or "low")
    own = new.acknowledged_severity
    if own is not None and SEVERITY_RANK[own] >= SEVERITY_RANK[seen]:
        return []
    new.acknowledged_by, new.acknowledged_at = last.acknowledged_by, last.acknowledged_at
    new.acknowledged_severity = seen
    body: dict[str, object] = {"from": [old.alert for old in olds], "acknowledged_by": last.acknowledged_by}
    return [Consequence(new.patient, new.alert, "carried", body)]
