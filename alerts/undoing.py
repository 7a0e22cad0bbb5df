"""What people did with an alert and may take back, step by step, the newest first.

A row's `last_action` is what somebody did last, with what it changed and what had been done before it:
{"action", "by", "at", "changes": {fact: [before, after]}, "earlier": [the same without "earlier", newest first]}.
An undo takes the newest step off. It is itself no step: what was taken back is done again by doing it again.
The record of what happened are the events (`scad.alert_event`), to which an undo adds one more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alerts.row import AlertRow

UNDO_MAX = 10
"""Steps that can be taken back one after the other: more than a nurse does with one alert in a shift. Each is some
300 bytes of a row that the queue loads. What is further back is put right by a further action; it stays on record."""

UNDOABLE = (
    *("acknowledged_by", "acknowledged_at", "acknowledged_severity", "assignee", "started_by", "started_at"),
    *("snoozed_by", "snoozed_at", "snoozed_until", "snooze_reason", "snoozed_severity", "outcome"),
    *("false_reason", "closed_by", "closed_at", "closed_severity", "closed_condition", "close_reason"),
)
"""Facts of a row that an undo sets back."""

Step = dict[str, Any]


def record(before: AlertRow, after: AlertRow, action: str, by: str, at_ms: int) -> None:
    """Make what turned `before` into `after` the newest step; the oldest of more than UNDO_MAX is let go."""
    names = (name for name in UNDOABLE if getattr(before, name) != getattr(after, name))
    changes = {name: [getattr(before, name), getattr(after, name)] for name in names}
    earlier = standing(before)[: UNDO_MAX - 1 if changes else UNDO_MAX]
    after.last_action = {"action": action, "by": by, "at": at_ms, "changes": changes, "earlier": earlier}


def standing(row: AlertRow) -> list[Step]:
    """The steps that can be taken back, newest first.

    A step whose facts something else has changed since (a snooze that has ended, a graver episode) is not one.
    """
    last = row.last_action or {}
    own = [{name: last[name] for name in ("action", "by", "at", "changes")}] if last.get("changes") else []
    facts: dict[str, Any] = {}
    found = []
    for step in (*own, *last.get("earlier", ())):
        changes: Mapping[str, list[Any]] = step["changes"]
        if all(facts.get(name, getattr(row, name)) == after for name, (_, after) in changes.items()):
            facts |= {name: before for name, (before, _) in changes.items()}
            found.append(step)
    return found


def take_back(row: AlertRow, by: str, at_ms: int) -> Step | None:
    """Set back what the newest step changed, and take it off; None where there is none, then nothing changes."""
    steps = standing(row)
    if not steps:
        return None
    for name, (before, _) in steps[0]["changes"].items():
        setattr(row, name, before)
    row.last_action = {"action": "undo", "by": by, "at": at_ms, "changes": {}, "earlier": steps[1:]}
    return steps[0]


def hand_over(old: AlertRow, new: AlertRow) -> None:
    """Make the steps fit `new`, which has taken over the facts of `old` and others that merging gave it."""
    if new.last_action is None:
        return
    fitted: set[str] = set()
    steps = []
    for step in standing(old):
        changes = {
            name: [before, after if name in fitted else getattr(new, name)]
            for name, (before, after) in step["changes"].items()
        }
        fitted |= set(changes)
        steps.append({**step, "changes": changes})
    new.last_action = {**new.last_action, "changes": {}, "earlier": steps}
