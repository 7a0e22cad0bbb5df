"""One row of `scad.alert`: the engine's episode, what people did with it, and what keeps it from the queue.

Instants are milliseconds since the epoch. The columns are described in 0003_alerts.sql and 0012_lifecycle.sql.
"""

from __future__ import annotations

from typing import Any

import msgspec

from streams.signal import SEVERITY_RANK, AlertClass, Evidence, Severity


class AlertRow(msgspec.Struct, kw_only=True):
    """One row of `scad.alert`."""

    # the engine's episode
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
    # the life-cycle: `state` follows from the facts below (alerts.lifecycle.settled_state)
    state: str
    acknowledged_by: str | None = None
    acknowledged_at: int | None = None
    acknowledged_severity: Severity | None = None
    assignee: str | None = None
    started_by: str | None = None
    started_at: int | None = None
    snoozed_by: str | None = None
    snoozed_at: int | None = None
    snoozed_until: int | None = None
    snooze_reason: str | None = None
    snoozed_severity: Severity | None = None
    outcome: str | None = None
    false_reason: str | None = None
    closed_by: str | None = None
    closed_at: int | None = None
    closed_severity: Severity | None = None
    closed_condition: str | None = None
    close_reason: str | None = None
    escalation_level: int = 0
    escalated_at: int | None = None
    last_action: dict[str, Any] | None = None
    version: int = 1
    # what keeps it from the queue (alerts.inhibition), and what people have seen and heard of it
    inhibited_by: str | None = None
    suppressed: str | None = None
    suppressed_until: int | None = None
    in_digest: bool = False
    shown_at: int | None = None
    rang_at: int | None = None
    rang_n: int | None = None

    @property
    def hidden(self) -> bool:
        """Whether something keeps it from the queue."""
        return self.inhibited_by is not None or self.suppressed is not None


FACTS = (
    *("acknowledged_by", "acknowledged_at", "acknowledged_severity", "assignee", "started_by", "started_at"),
    *("snoozed_by", "snoozed_at", "snoozed_until", "snooze_reason", "snoozed_severity"),
    *("outcome", "false_reason", "closed_by", "closed_at", "closed_severity", "closed_condition"),
    *("close_reason", "escalation_level", "escalated_at", "last_action"),
)
"""What people did: kept when the episode is folded anew, carried over when another alert replaces it."""

SEEN = (
    "shown_at",
    "rang_at",
    "rang_n",
    "suppressed",
    "suppressed_until",
    "inhibited_by",
    "in_digest",
    "version",
)
"""What people saw: facts as well, for a fold anew does not make them unseen."""

VERSIONED = (*FACTS, "state", "severity", "condition", "superseded_by", "inhibited_by", "suppressed")
"""What a person must know of before acting. Another reading of the same severity does not raise `version`:
a nurse would be refused because the patient stepped on the scales again."""


class Consequence(msgspec.Struct, frozen=True):
    """What happened to an alert's life-cycle, to be kept as an event of its own."""

    patient: str
    alert: str
    event: str
    body: dict[str, object]
    actor: str = "engine"


def worse(one: Severity, other: Severity) -> Severity:
    return one if SEVERITY_RANK[one] >= SEVERITY_RANK[other] else other


def covers(seen: Severity | None, severity: Severity) -> bool:
    """Whether what was decided at severity `seen` still stands at `severity`."""
    return seen is not None and SEVERITY_RANK[seen] >= SEVERITY_RANK[severity]


def changed(before: AlertRow | None, after: AlertRow) -> bool:
    """Whether the row differs in what `version` counts."""
    return before is None or any(getattr(before, name) != getattr(after, name) for name in VERSIONED)
