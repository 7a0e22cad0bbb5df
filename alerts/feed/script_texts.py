"""What the pages' script says by itself; everything else comes as markup from the server."""

from __future__ import annotations

from alerts.lifecycle import ACTIONS, REFUSALS, STATES

SCRIPT_TEXTS: tuple[str, ...] = (
    *(f"header.{name}" for name in ("connected", "connecting", "lost", "ended")),
    *("queue.new_one", "queue.new_many", "queue.new_rows_one", "queue.new_rows_many", "queue.announce"),
    *("queue.sound_on", "queue.sound_off", "queue.selected_one", "queue.selected_many"),
    *("queue.bulk_done_one", "queue.bulk_done_many", "queue.bulk_failed_one", "queue.bulk_failed_many"),
    *("alert.failed", "alert.gone"),
    *("age.now", "age.minutes", "age.hours", "age.days"),
    *("due.left", "due.over", "due.minutes", "due.hours", "due.days"),
    "do.undo",
    *(f"did.{action}" for action in ACTIONS),
    *(f"state.{state}" for state in STATES),
    *(f"refusal.{refusal}" for refusal in REFUSALS),
    "refusal.role",
)
