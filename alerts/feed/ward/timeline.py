"""The patient's timeline: readings, alerts, actions, care plan, absences and devices in one list, the latest
first. Pure: rows in, entries out; the words are the template's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Sort = Literal["reading", "alert", "action", "plan", "absence", "device"]
SORTS: tuple[Sort, ...] = ("reading", "alert", "action", "plan", "absence", "device")
WINDOW_DAYS = 14
ENTRIES_MAX = 250  # entries of one page: with curves and forms it stays below 150 kB

PLAN_EVENTS = frozenset({"plan-saved", "plan-proposed", "plan-declined"})
DEVICE_EVENTS = frozenset({"device-attached", "device-released"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `what` is an event, a kind of reading or of absence; `data` its row for the template."""

    at: datetime
    sort: Sort
    what: str
    who: str | None = None
    severity: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    place: int = 0
    """Among entries of one instant: what came later stands above."""


def of_readings(rows: Iterable[dict[str, Any]]) -> list[Entry]:
    return [Entry(row["at"], "reading", row["kind"], data=row) for row in rows]


def of_events(rows: Iterable[dict[str, Any]]) -> list[Entry]:
    """Signals are alerts; what people did is an action, or about the plan or a device."""
    entries = []
    for row in rows:
        body, event = row["body"], row["event"]
        sort: Sort = "action"
        if row["kind"] == "signal":
            sort = "alert"
        elif event in PLAN_EVENTS:
            sort = "plan"
        elif event in DEVICE_EVENTS:
            sort = "device"
        entries.append(
            Entry(
                row["at"],
                sort,
                event,
                None if row["actor"] == "engine" else row["who"],
                body.get("severity") if row["kind"] == "signal" else None,
                {"rule": row["rule"], "body": body, "recorded_at": row["recorded_at"], "alert": row["alert"]},
                row["id"],
            )
        )
    return entries


def of_absences(absences: Iterable[Any], begin: datetime, end: datetime) -> list[Entry]:
    """An entry where an absence begins and one where it ends, if they lie in the window."""
    entries = []
    for absence in absences:
        for which, at in (("begins", absence.from_at), ("ends", absence.to_at)):
            if begin <= at < end:
                data = {"kind": absence.kind, "note": absence.note, "to": absence.to_at}
                entries.append(Entry(at, "absence", which, absence.recorded_by, data=data))
    return entries


def merged(groups: Iterable[Sequence[Entry]], wanted: frozenset[str]) -> tuple[list[Entry], bool]:
    """All entries of the wanted sorts, the latest first, ENTRIES_MAX at most; and whether there were more."""
    found = [entry for group in groups for entry in group if entry.sort in wanted]
    found.sort(key=lambda entry: (entry.at, entry.place), reverse=True)
    return found[:ENTRIES_MAX], len(found) > ENTRIES_MAX


def wanted_sorts(chosen: Iterable[str]) -> frozenset[str]:
    """The filter of the address; nothing (or nothing known) chosen means everything."""
    return frozenset(chosen) & frozenset(SORTS) or frozenset(SORTS)
