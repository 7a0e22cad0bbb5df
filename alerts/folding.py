"""Signals of the engine folded into rows of `scad.alert`.

Pure: rows in, rows out. The episode part of a row is `streams.signal.fold` with memory: what a late reading
showed to be without cause stays as history instead of vanishing. What people did with an alert goes along when
late data replaces it. The state is a function of the row's other columns (alerts.lifecycle.settled_state), so
redelivery, order of commit and a rebuild from the topic give the same row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from alerts.lifecycle import (
    CLOSED,
    WAITING,
    acknowledged_in_full,
    end_snooze,
    settled_state,
    snoozed_in_full,
)
from alerts.row import FACTS, SEEN, AlertRow, Consequence, covers, worse
from alerts.undoing import hand_over
from devices.times import parse_instant
from streams.signal import AlertSignal, Severity

__all__ = ["AlertRow", "Consequence", "apply_signal", "fold_episode", "settled_state"]

HANDLED_STATES = frozenset({"acknowledged", "in-progress", "snoozed", "resolved", "false-alert"})
"""States that somebody brought about: when the severity rises beyond what was decided, the alert is open again."""


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
        **({} if row is None else facts_of(row)),
    )


def facts_of(row: AlertRow) -> dict[str, Any]:
    """What people did with the alert and saw of it."""
    return {name: getattr(row, name) for name in (*FACTS, *SEEN)}


def apply_signal(
    rows: dict[str, AlertRow],
    signal: AlertSignal,
    stored_at_ms: int,
    known: Mapping[str, AlertRow] | None = None,
) -> list[Consequence]:
    """Fold one signal into `rows` (by alert), carry over what people did, and settle the states.

    `rows` must hold the signal's alert and those it supersedes, as far as they exist. When rows are built
    anew, `known` are the rows as they were: what people did with them and saw of them stays.
    """
    before = rows.get(signal.alert)
    after = fold_episode(before, signal, stored_at_ms)
    if after is None:
        return []
    rows[after.alert] = after
    if before is None and known is not None and after.alert in known:
        for name, value in facts_of(known[after.alert]).items():
            setattr(after, name, value)
    replaces = signal.state != "cleared" and signal.supersedes is not msgspec.UNSET
    consequences = _supersede(rows, before, after, stored_at_ms, known or {}) if replaces else []
    was = None if before is None else before.state
    after.state = settled_state(after)
    after.changed_at = stored_at_ms
    if was in HANDLED_STATES and after.state not in CLOSED and after.state != was and known is None:
        consequences += _reopen(after, was)
    return consequences


def _reopen(row: AlertRow, was: str) -> list[Consequence]:
    """Say that what was decided about the alert does not stand any more: it grew graver, or it goes on."""
    if snoozed_in_full(row):
        return []
    if row.state in WAITING:
        row.escalation_level = 0  # whoever is to come next is asked anew
        row.state = settled_state(row)
    end_snooze(row)
    body: dict[str, object] = {"before": was, "after": row.state, "severity": row.severity}
    if row.acknowledged_severity is not None:
        body["acknowledged"] = row.acknowledged_severity
    return [Consequence(row.patient, row.alert, "reopened", body)]


def handled(row: AlertRow) -> int:
    """How far people have got with an alert, whatever late data made of it: 0 nobody saw it, to 4 closed."""
    if covers(row.closed_severity, row.peak_severity):
        return 4
    if acknowledged_in_full(row):
        return 2 if row.started_at is None else 3
    return 1 if snoozed_in_full(row) else 0


def _supersede(
    rows: dict[str, AlertRow],
    before: AlertRow | None,
    new: AlertRow,
    stored_at_ms: int,
    known: Mapping[str, AlertRow],
) -> list[Consequence]:
    """Close the alerts that `new` replaces, and give it what people did with them.

    Of several the one that people got least far with decides: merging must not hide what nobody has seen.
    """
    olds = [rows[name] for name in new.supersedes if name in rows and name != new.alert]
    done_before = bool(olds) and all(
        old.alert in known and known[old.alert].superseded_by == new.alert for old in olds
    )
    for old in olds:
        old.superseded_by = new.alert
        old.state = "superseded"
        old.changed_at = stored_at_ms
    if not olds or done_before:
        return []
    _carry_seen(olds, new)
    # A row that one of the olds had replaced comes back: its own facts are older than theirs.
    stands = before is not None and before.superseded_by is None and before.reason is None
    candidates = [*olds, before] if before is not None and stands else olds
    source = min(candidates, key=lambda row: (handled(row), -_acted_at(row), row.alert))
    if source is before:
        return []
    return _carry(olds, source, new)


def _acted_at(row: AlertRow) -> int:
    return max(row.acknowledged_at or 0, row.snoozed_at or 0, row.closed_at or 0)


def _carry_seen(olds: list[AlertRow], new: AlertRow) -> None:
    """A replacement neither enters the queue for the first time nor rings when what it replaces has."""
    for old in olds:
        if old.shown_at is not None:
            new.shown_at = min(old.shown_at, new.shown_at or old.shown_at)
        high = old.cls == "clinical" and old.peak_severity == "high"
        heard = old.rang_at or (old.shown_at if high else None)
        if heard is not None:
            new.rang_at = min(heard, new.rang_at or heard)


def _carry(olds: list[AlertRow], source: AlertRow, new: AlertRow) -> list[Consequence]:
    was = {name: getattr(new, name) for name in FACTS}
    level = handled(source)
    for name in FACTS:
        setattr(new, name, getattr(source, name))
    if level >= 1:  # then all of them were: the gravest of what people have seen counts
        for name in ("acknowledged_severity", "snoozed_severity", "closed_severity"):
            if getattr(source, name) is not None:
                setattr(new, name, _gravest(olds, name, getattr(source, name)))
    else:
        new.escalation_level = max(old.escalation_level for old in olds)
        new.escalated_at = max((old.escalated_at or 0 for old in olds), default=0) or None
    assigned = [old for old in olds if old.assignee is not None]
    if new.assignee is None and assigned:
        new.assignee = max(assigned, key=lambda old: (_acted_at(old), old.alert)).assignee
    hand_over(source, new)  # so that it can be undone on the new alert
    facts = {name: getattr(new, name) for name in FACTS if name != "last_action"}
    if all(was[name] == value for name, value in facts.items()):
        return []
    body: dict[str, object] = {"from": [old.alert for old in olds]}
    body |= {name: value for name, value in facts.items() if name in _TOLD and value is not None}
    return [Consequence(new.patient, new.alert, "carried", body)]


_TOLD = ("acknowledged_by", "assignee", "started_by", "snoozed_by", "closed_by", "escalation_level")
"""Which facts the event of a carry-over names."""


def _gravest(olds: list[AlertRow], name: str, start: Severity) -> Severity:
    for old in olds:
        start = worse(start, getattr(old, name) or start)
    return start
