"""Figures of escalation for Prometheus. No label names a patient or a person."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

NOTIFICATIONS = Counter(
    "scad_notifications",
    "Attempts to tell somebody: sent, retry, failed, withdrawn (all answered meanwhile), off (not set up)",
    ["channel", "outcome"],
)
ESCALATED = Counter("scad_escalation_escalated", "Steps that alerts were escalated by", ["level"])
UNHEARD = Counter("scad_escalation_unheard", "Steps for which the team has named nobody on call", ["level"])
WOKEN = Counter("scad_escalation_woken", "Patients for whom time changed something (snoozes, absences)")
DIGESTS = Counter("scad_escalation_digests", "Morning digests with something in them")
GLASS_UNHEARD = Counter(
    "scad_glass_unheard", "Files of other teams that were opened while no administrator had an address"
)
GLASS_UNREVIEWED = Gauge(
    "scad_glass_unreviewed", "Files of other teams that were opened and that no administrator has looked into"
)
TICKS = Counter("scad_escalation_ticks", "Rounds, by outcome: done, failed", ["outcome"])
LAST_TICK = Gauge("scad_escalation_last_tick_timestamp_seconds", "When the last round was done, by the wall")
OVERDUE = Gauge("scad_escalation_overdue_alerts", "Clinical alerts past due that nobody has acknowledged")
WAITING = Gauge("scad_escalation_waiting_notifications", "Messages that are still to be sent")
