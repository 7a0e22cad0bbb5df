"""The life-cycle of an alert: states, actions, which state refuses which action and why.

Pure. A row's state follows from the facts of the row (`settled_state`), so that redelivery, the order of
commits and a rebuild from the topic give the same state. An action changes facts; `decide` says what it
changes, or by what name it is refused. Sources: ISA-18.2 (shelving, latching), section 7 of the clinical
reference; docs/alerts.md has the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import msgspec

from alerts.row import AlertRow, covers
from alerts.undoing import record, standing, take_back

State = Literal[
    "open", "escalated", "acknowledged", "in-progress", "snoozed", "resolved", "false-alert", "cleared", "superseded"
]  # fmt: skip
Action = Literal[
    "acknowledge", "start", "assign", "snooze", "wake", "resolve", "false-alert", "note", "escalate", "undo"
]  # fmt: skip
Outcome = Literal[
    "call-made", "unreachable", "advice", "drug-change", "gp-contact", "consultation", "hospital",
    "device-fault", "technique", "no-action",
]  # fmt: skip
FalseReason = Literal[
    "wrong-patient", "technique", "device", "artefact", "known-condition", "limit-too-tight", "other"
]  # fmt: skip
Refusal = Literal[
    "unknown", "superseded", "closed", "already-acknowledged", "already-started", "already-assigned",
    "not-assigned", "unknown-assignee", "snoozed", "not-snoozed", "until-needed", "until-past",
    "snooze-too-long", "reason-needed", "reason-unknown", "outcome-needed", "outcome-unknown",
    "condition-holds", "note-needed", "highest-level", "held-back", "nothing-to-undo", "stale",
    "not-in-bulk", "high-in-bulk",
]  # fmt: skip

STATES: tuple[State, ...] = get_args(State)
ACTIONS: tuple[Action, ...] = get_args(Action)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FALSE_REASONS: tuple[FalseReason, ...] = get_args(FalseReason)
REFUSALS: tuple[Refusal, ...] = get_args(Refusal)

QUEUED: frozenset[State] = frozenset({"open", "escalated", "acknowledged", "in-progress"})
"""States of alerts that stand in the queue, unless something hides them; `snoozed` comes back to it."""
CLOSED: frozenset[State] = frozenset({"resolved", "false-alert", "cleared", "superseded"})
"""States of the history."""
WAITING: frozenset[State] = frozenset({"open", "escalated"})
"""States in which nobody has taken note of the alert at its severity."""

SNOOZE_MAX_MS = 24 * 3_600_000
"""Longest snooze (reference 7): what is put off longer has to be decided again by somebody."""
ESCALATION_MAX = 3
"""Highest level: a second nurse, a physician, and whom the team names beyond them."""
PAST_MS = 3_600_000
"""An episode that had ended this long before the platform knew of it is history and never latched. An hour is
more than a telephone or gateway takes to forward a burst, and less than a nurse would call 'just now'."""
CLOCK = "clock"
"""The actor of what time itself does: a snooze that ends."""

_ALL_CLOSED: dict[Action, Refusal] = {
    "acknowledge": "closed", "start": "closed", "assign": "closed", "snooze": "closed", "wake": "closed",
    "escalate": "closed",
}  # fmt: skip

REFUSED: Mapping[State, Mapping[Action, Refusal]] = {
    "open": {"wake": "not-snoozed"},
    "escalated": {"wake": "not-snoozed"},
    "acknowledged": {
        "acknowledge": "already-acknowledged",
        "wake": "not-snoozed",
        "escalate": "already-acknowledged",
    },
    "in-progress": {
        "acknowledge": "already-acknowledged",
        "start": "already-started",
        "wake": "not-snoozed",
        "escalate": "already-acknowledged",
    },
    "snoozed": {"escalate": "snoozed"},
    "resolved": {**_ALL_CLOSED, "resolve": "closed", "false-alert": "closed"},
    "false-alert": {**_ALL_CLOSED, "resolve": "closed", "false-alert": "closed"},
    # The condition ended by itself; what the nurse found can still be put on record.
    "cleared": _ALL_CLOSED,
    "superseded": {action: "superseded" for action in ACTIONS if action != "note"},
}
"""The table: what each state refuses. What is not in it is allowed, if the action's own conditions hold."""


class ActionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants done. `version`: the one that the person has seen (None: whatever it is).

    `reason`: words for a snooze and for a resolve while the condition holds, a code of FALSE_REASONS for a
    false alert. `until` in milliseconds. `to`: login of the assignee, "" for nobody. `undoes`: the action that an
    undo means to take back (None: the newest); where somebody has done another since, it is refused.
    """

    action: Action
    version: int | None = None
    note: str | None = None
    reason: str | None = None
    until: int | None = None
    outcome: str | None = None
    to: str | None = None
    undoes: Action | None = None


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """The row after the action, and the event that records it."""

    row: AlertRow
    event: str
    body: dict[str, object]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Why not. `by` and `at` (ms) name who made it so, where it was somebody."""

    refusal: Refusal
    by: str | None = None
    at: int | None = None


EVENTS: Mapping[Action, str] = {
    "acknowledge": "acknowledged", "start": "started", "assign": "assigned", "snooze": "snoozed",
    "wake": "woken", "resolve": "resolved", "false-alert": "false-alert", "note": "noted",
    "escalate": "escalated", "undo": "undone",
}  # fmt: skip


def acknowledged_in_full(row: AlertRow) -> bool:
    """Whether somebody has acknowledged the alert at the worst severity it has had."""
    return covers(row.acknowledged_severity, row.peak_severity)


def closed_in_full(row: AlertRow) -> bool:
    """Whether somebody has closed the alert as it now stands.

    Neither a graver episode nor one that turns out to go on, though it was over when it was closed, is what
    the person decided on.
    """
    if row.closed_at is None or not covers(row.closed_severity, row.peak_severity):
        return False
    return row.closed_condition == "raised" or row.condition == "cleared"


def snoozed_in_full(row: AlertRow) -> bool:
    """Whether a snooze holds: it does on new readings, not when the severity rises."""
    return row.snoozed_until is not None and covers(row.snoozed_severity, row.peak_severity)


def settled_state(row: AlertRow) -> State:
    """The life-cycle state that follows from the row's columns.

    A high clinical alert whose condition is over stays until somebody has acknowledged it, and until whoever
    has started on it has resolved it (it latches), unless it was past when it became known. A medium or low
    one leaves the queue when its condition clears; technical ones do not latch either (reference 7).
    """
    if row.superseded_by is not None:
        return "superseded"
    if closed_in_full(row):
        return "resolved" if row.false_reason is None else "false-alert"
    if row.reason is not None:
        return "cleared"
    acknowledged = acknowledged_in_full(row)
    if row.condition == "cleared" and not _latched(row, acknowledged):
        return "cleared"
    if snoozed_in_full(row):
        return "snoozed"
    if acknowledged:
        return "acknowledged" if row.started_at is None else "in-progress"
    return "escalated" if row.escalation_level > 0 else "open"


def _latched(row: AlertRow, acknowledged: bool) -> bool:
    assert row.cleared_at is not None  # noqa: S101 - the table's own check
    past = row.cleared_at <= row.raised_stored_at - PAST_MS
    high = row.cls == "clinical" and row.peak_severity == "high"
    return high and not past and (not acknowledged or row.started_at is not None)


def decide(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Decided | Refused:
    """What becomes of `row` when `by` asks for `request` at `at_ms`; the row itself is not changed.

    A refusal by the state comes before one by the version, because it says more.
    """
    state: State = settled_state(row)
    refusal: Refusal | None = REFUSED[state].get(request.action)
    if refusal is None and request.version is not None and request.version != row.version:
        refusal = "stale"
    after = msgspec.structs.replace(row)
    refusal = refusal or _EFFECTS[request.action](after, request, by, at_ms)
    if refusal is not None:
        who, when = who_made_it(row, state)
        if request.action == "undo" and refusal == "stale" and row.last_action is not None:
            who, when = row.last_action["by"], row.last_action["at"]
        return Refused(refusal=refusal, by=who, at=when)
    after.state = settled_state(after)
    after.changed_at = at_ms
    if request.action not in ("note", "escalate", "undo") and by != CLOCK:
        record(row, after, request.action, by, at_ms)
    said = {"note": request.note, "reason": request.reason, "outcome": request.outcome, "to": request.to}
    body: dict[str, object] = {key: value for key, value in said.items() if value not in (None, "")}
    body |= {"before": state, "after": after.state, "severity": row.peak_severity}
    if request.action == "undo":
        taken = standing(row)[0]
        body |= {"undoes": taken["action"], "undoes_by": taken["by"], "undoes_at": taken["at"]}
    if request.action == "snooze":
        body["until"] = request.until
    if request.action == "escalate":
        body["level"] = after.escalation_level
    return Decided(row=after, event=EVENTS[request.action], body=body)


def who_made_it(row: AlertRow, state: str) -> tuple[str | None, int | None]:
    """Who brought the row into its state, and when (ms)."""
    if state in ("resolved", "false-alert"):
        return row.closed_by, row.closed_at
    if state == "snoozed":
        return row.snoozed_by, row.snoozed_at
    if state == "in-progress":
        return row.started_by, row.started_at
    if row.last_action is not None and state in WAITING:
        return row.last_action["by"], row.last_action["at"]
    return row.acknowledged_by, row.acknowledged_at


Effect = Callable[[AlertRow, ActionRequest, str, int], Refusal | None]


def end_snooze(row: AlertRow) -> None:
    row.snoozed_by = row.snoozed_at = row.snoozed_until = row.snooze_reason = row.snoozed_severity = None


def _take_note(row: AlertRow, by: str, at_ms: int) -> None:
    if not acknowledged_in_full(row):
        row.acknowledged_by, row.acknowledged_at = by, at_ms
        row.acknowledged_severity = row.peak_severity


def _acknowledge(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    if acknowledged_in_full(row):
        return "already-acknowledged"  # snoozed after it was acknowledged
    end_snooze(row)
    _take_note(row, by, at_ms)
    return None


def _start(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    end_snooze(row)
    _take_note(row, by, at_ms)
    row.started_by, row.started_at = by, at_ms
    row.assignee = row.assignee or by
    return None


def _assign(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    to = request.to or None
    if to == row.assignee:
        return "not-assigned" if to is None else "already-assigned"
    row.assignee = to
    return None


def _snooze(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    if request.until is None:
        return "until-needed"
    if request.until <= at_ms:
        return "until-past"
    if request.until > at_ms + SNOOZE_MAX_MS:
        return "snooze-too-long"
    if not _words(request.reason):
        return "reason-needed"
    row.snoozed_by, row.snoozed_at, row.snoozed_until = by, at_ms, request.until
    row.snooze_reason, row.snoozed_severity = request.reason, row.peak_severity
    return None


def _wake(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    end_snooze(row)
    return None


def _close(row: AlertRow, by: str, at_ms: int) -> None:
    end_snooze(row)
    _take_note(row, by, at_ms)
    row.closed_by, row.closed_at = by, at_ms
    row.closed_severity, row.closed_condition = row.peak_severity, row.condition
    row.outcome = row.false_reason = row.close_reason = None


def _resolve(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    if request.outcome is None:
        return "outcome-needed"
    if request.outcome not in OUTCOMES:
        return "outcome-unknown"
    if row.condition == "raised" and not _words(request.reason):
        return "condition-holds"
    _close(row, by, at_ms)
    row.outcome, row.close_reason = request.outcome, request.reason
    return None


def _false_alert(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    if not request.reason:
        return "reason-needed"
    if request.reason not in FALSE_REASONS:
        return "reason-unknown"
    _close(row, by, at_ms)
    row.false_reason = request.reason
    return None


def _note(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    return None if _words(request.note) else "note-needed"


def _escalate(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    if row.hidden:
        return "held-back"
    if row.escalation_level >= ESCALATION_MAX:
        return "highest-level"
    row.escalation_level += 1
    row.escalated_at = at_ms
    return None


def _undo(row: AlertRow, request: ActionRequest, by: str, at_ms: int) -> Refusal | None:
    steps = standing(row)
    if not steps:
        return "nothing-to-undo"
    if request.undoes is not None and request.undoes != steps[0]["action"]:
        return "stale"  # a colleague has acted since, or was quicker to take it back
    take_back(row, by, at_ms)
    return None


def _words(text: str | None) -> bool:
    return text is not None and text.strip() != ""


_EFFECTS: Mapping[Action, Effect] = {
    "acknowledge": _acknowledge, "start": _start, "assign": _assign, "snooze": _snooze, "wake": _wake,
    "resolve": _resolve, "false-alert": _false_alert, "note": _note, "escalate": _escalate, "undo": _undo,
}  # fmt: skip
