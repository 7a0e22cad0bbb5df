"""What keeps an alert from the queue: a graver one of the same problem, a refractory period, an absence.

Pure and deterministic: a function of one patient's rows, the planned absences and the instant. The engine's
signals and every alert's state remain the truth; this is a layer over them, computed anew whenever the
patient's signals are folded, somebody acts, or time passes (`settle`).

What order of arrival can change: an alert that already stood in the queue is not taken out of it by a
refractory period that late data reveals, and one that was held back and never seen does not begin a period
of its own. Both rest on `shown_at`, on what people have really seen. Everything else depends on the rows alone.

Sources: section 7 of the clinical reference (refractory periods, one episode per patient and problem, a morning
digest), Alertmanager's inhibition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from alerts.lifecycle import QUEUED, WAITING, acknowledged_in_full, snoozed_in_full
from alerts.row import AlertRow, Consequence
from streams.signal import SEVERITY_RANK

HOUR_MS = 3_600_000
REFRACTORY_MS: Mapping[str, int] = {"high": 4 * HOUR_MS, "medium": 12 * HOUR_MS, "low": 12 * HOUR_MS}
"""How long a rule is quiet after an episode of this severity has ended (reference 7: 12 h amber, 4 h red; a low
one is not asked for sooner than an amber one). A rise in severity breaks it; high is never held back."""
REFRACTORY_LONGEST_MS = max(REFRACTORY_MS.values())

NO_READING = "no-reading"
"""The alert that French telemonitoring law asks for: nothing hides it."""

PROBLEMS: Mapping[str, tuple[str, ...]] = {
    "fluid": ("composite", "weight-gain-1d", "weight-gain-3d", "weight-gain-7d", "dry-weight", "weight-macd",
              "weight-cusum"),
    "blood-pressure-high": ("bp-crisis", "bp-high", "bp-weekly-mean", "bp-personal"),
    "glucose-low": ("glucose-very-low", "glucose-low", "glucose-falling"),
    "glucose-high": ("glucose-very-high", "glucose-high"),
    "breathing": ("news2", "spo2-low", "spo2-drop"),
    "heart-fast": ("tachycardia", "heart-rate-personal"),
    "heart-slow": ("pause", "bradycardia"),
    "anticoagulation-high": ("inr-critical", "inr-high"),
    "silence": (NO_READING, "device-offline", "device-fault"),
}  # fmt: skip
"""Kin rules by problem; a rule that is in none is a problem of its own. Opposite dangers (pressure high and
low, glucose high and low) are never one problem. A device that fails is the likely cause of a silence."""

ALONE: Mapping[str, str] = {
    "weight-loss": "the opposite of congestion: a diuretic that is too strong",
    "symptoms": "the patient's own words, which somebody has to read whatever the scales say",
    "bp-low": "the opposite of high pressure",
    "temperature": "an infection asks for another call than breathing does, and for one even where both are true",
    "atrial-fibrillation": "asks whether the patient is anticoagulated, not how fast the heart is",
    "implant-event": "the maker's platform reports it; what it found may be none of what the readings show",
    "inr-low": "the opposite of too much anticoagulation: a clot, not a bleeding",
    "ttr-low": "months out of range, low and high: one INR does not answer it",
    "inr-overdue": "a date, not a reading",
    "clock-fault": "a clock that is wrong neither causes a silence nor is one",
}
"""Published rules that are a problem of their own, and why. A test refuses a rule that is neither here nor above:
whoever adds one decides what its kin are."""

LEADS: Mapping[str, str] = {"silence": NO_READING}
"""Rules that lead their problem whatever the severities."""


class Absence(msgspec.Struct, frozen=True, kw_only=True):
    """A planned absence, from inclusive, to exclusive (ms)."""

    absence: int
    kind: str
    from_ms: int
    to_ms: int


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a patient's alerts are seen against."""

    absences: tuple[Absence, ...] = ()


_PROBLEM_OF = {rule: problem for problem, rules in PROBLEMS.items() for rule in rules}


def problem_of(rule: str) -> str:
    return _PROBLEM_OF.get(rule, rule)


def stands(row: AlertRow) -> bool:
    """Whether the alert would be in the queue, or come back to it, if nothing hid it."""
    return row.state in QUEUED or row.state == "snoozed"


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Events to be recorded, and the alerts that ring now without an event among these that says so."""

    consequences: list[Consequence]
    ringing: set[str]


def settle(rows: Iterable[AlertRow], around: Surroundings, now_ms: int) -> Settled:
    """Bring the hiding columns of one patient's rows up to date.

    `rows` must hold all of the patient's alerts that stand, and those that ended within REFRACTORY_LONGEST_MS
    before `now_ms`; changes the rows.
    """
    mine = sorted(rows, key=lambda row: (row.opened_at, row.alert))
    live = [row for row in mine if stands(row)]
    held = {row.alert: _held_back(row, mine, around.absences, now_ms) for row in live}
    leads = _leads([row for row in live if held[row.alert] is None])
    consequences: list[Consequence] = []
    ringing = set()
    for row in mine:
        reason, until = held.get(row.alert) or (None, None)
        had_rung = row.rang_at is not None
        events = _place(row, leads.get(row.alert), reason, until, now_ms)
        if row.rang_at is not None and not had_rung and not any(event.body.get("ring") for event in events):
            ringing.add(row.alert)
        consequences += events
        _digest(row)
    return Settled(consequences=consequences, ringing=ringing)


def _held_back(
    row: AlertRow, mine: Sequence[AlertRow], absences: Sequence[Absence], now_ms: int
) -> tuple[str, int] | None:
    """('refractory' | 'absence', until when) or None."""
    if row.rule == NO_READING:
        return None
    away = [a.to_ms for a in absences if a.from_ms <= now_ms < a.to_ms and _covers(a, row)]
    if away:
        return "absence", max(away)
    if row.severity == "high" or row.shown_at is not None:
        return None
    quiet = [until for other in mine if (until := _quiet_until(other, row)) is not None and now_ms < until]
    return ("refractory", max(quiet)) if quiet else None


def _covers(absence: Absence, row: AlertRow) -> bool:
    """In hospital others watch over the patient; on holiday a high clinical alert is the team's all the same."""
    return absence.kind == "hospital" or row.severity != "high" or row.cls != "clinical"


def _quiet_until(earlier: AlertRow, row: AlertRow) -> int | None:
    """Until when the end of `earlier` keeps `row` quiet: the same rule, seen by people, not milder."""
    if (earlier.protocol, earlier.rule) != (row.protocol, row.rule) or earlier.alert == row.alert:
        return None
    if stands(earlier) or earlier.superseded_by is not None or earlier.reason is not None:
        return None
    if earlier.shown_at is None or SEVERITY_RANK[row.peak_severity] > SEVERITY_RANK[earlier.peak_severity]:
        return None
    ended = max(earlier.closed_at or 0, earlier.cleared_at or 0)
    until = ended + REFRACTORY_MS[earlier.peak_severity]
    return until if ended <= row.opened_at < until else None


def _leads(live: Sequence[AlertRow]) -> dict[str, str]:
    """Alert to the alert of the same problem inside which it is shown."""
    groups: dict[str, list[AlertRow]] = defaultdict(list)
    for row in live:
        groups[problem_of(row.rule)].append(row)
    found: dict[str, str] = {}
    for problem, group in groups.items():
        lead = min(group, key=lambda row: _gravity(problem, row))
        for row in group:
            if row is not lead and _inside(problem, row, lead):
                found[row.alert] = lead.alert
    return found


def _gravity(problem: str, row: AlertRow) -> tuple[bool, int, bool, bool, int, str]:
    """The least leads: a named lead, the gravest, one whose condition holds, one in time (a late one does not ring,
    and must not keep one that does inside itself), the oldest."""
    return (
        row.rule != LEADS.get(problem, row.rule),
        -SEVERITY_RANK[row.severity],
        row.condition != "raised",
        row.late,
        row.raised_stored_at,
        row.alert,
    )


def _inside(problem: str, row: AlertRow, lead: AlertRow) -> bool:
    if row.rule == NO_READING or (problem in LEADS and lead.rule != LEADS[problem]):
        return False
    if row.severity != "high" or SEVERITY_RANK[lead.severity] > SEVERITY_RANK[row.severity]:
        return True
    # As grave as its lead and high: what came after somebody had dealt with the lead is news.
    dealt = [at for at in (_acknowledged(lead), _snoozed(lead)) if at is not None]
    return not dealt or row.raised_stored_at <= max(dealt)


def _acknowledged(row: AlertRow) -> int | None:
    return row.acknowledged_at if acknowledged_in_full(row) else None


def _snoozed(row: AlertRow) -> int | None:
    return row.snoozed_at if snoozed_in_full(row) else None


def _place(
    row: AlertRow, inside: str | None, reason: str | None, until: int | None, now_ms: int
) -> list[Consequence]:
    """Write what hides the row, and whether it is now seen and heard for the first time."""
    was_hidden, was = row.hidden, (row.inhibited_by, row.suppressed, row.suppressed_until)
    row.inhibited_by, row.suppressed, row.suppressed_until = inside, reason, until
    events: list[Consequence] = []
    now = (inside, reason, until)
    visible = row.state in QUEUED and not row.hidden
    rings = visible and audible(row) and row.rang_at is None
    if now != was:
        row.changed_at = now_ms
        if inside is not None:
            events.append(Consequence(row.patient, row.alert, "inhibited", {"by": inside}))
        elif reason is not None and until is not None:
            body: dict[str, object] = {"reason": reason, "until": until}
            events.append(Consequence(row.patient, row.alert, "suppressed", body))
        elif was_hidden and stands(row):
            body = {"was": was[1] or "inhibited"} | ({"ring": True} if rings else {})
            events.append(Consequence(row.patient, row.alert, "released", body))
    if visible and row.shown_at is None:
        row.shown_at = now_ms
    if rings:
        row.rang_at = now_ms
    return events


def audible(row: AlertRow) -> bool:
    """What asks for attention at once: clinical, high, in time, its condition holds, nobody has noted it."""
    return (
        row.state in WAITING
        and row.condition == "raised"
        and row.severity == "high"
        and row.cls == "clinical"
        and not row.late
    )


def _digest(row: AlertRow) -> None:
    """Medium clinical alerts that nobody has noted are told of together in the morning; the queue has them."""
    visible = row.state in WAITING and not row.hidden
    row.in_digest = visible and row.cls == "clinical" and row.peak_severity == "medium"
