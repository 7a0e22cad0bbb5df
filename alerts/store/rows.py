"""Rows of `scad.alert` to and from the database: the statements that the writer and people's actions share.

Whoever changes a patient's alerts takes the patient's lock first (LOCK, in the order of patients), loads what
stands and what has just ended (LOAD), and appends the events last (0003_alerts.sql says why).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from prometheus_client import Counter
from psycopg.types.json import Jsonb

from alerts.inhibition import REFRACTORY_LONGEST_MS, Surroundings, settle
from alerts.row import AlertRow, Consequence, changed
from devices.times import from_datetime, to_datetime

COLUMNS = tuple(
    {"cls": "class", "limit": "limit_value"}.get(field, field) for field in AlertRow.__struct_fields__
)
_RENAMED = {"class": "cls", "limit_value": "limit"}
_INSTANTS = frozenset(
    {
        *("opened_at", "last_at", "cleared_at", "raised_stored_at", "changed_at", "acknowledged_at"),
        *("started_at", "snoozed_at", "snoozed_until", "closed_at", "escalated_at", "suppressed_until"),
        *("shown_at", "rang_at"),
    }
)
# Python's side has them as text
_TEXTS = {"alert": "text", "supersedes": "text[]", "superseded_by": "text", "inhibited_by": "text"}

SELECT = "select " + ", ".join(f"{c}::{_TEXTS[c]} as {c}" if c in _TEXTS else c for c in COLUMNS)
UPSERT = (
    f"insert into scad.alert ({', '.join(COLUMNS)}) select {', '.join(COLUMNS)}"  # noqa: S608
    " from jsonb_populate_recordset(null::scad.alert, %s)"  # one plan for all: with row-level security it costs
    f" on conflict (alert) do update set {', '.join(f'{c} = excluded.{c}' for c in COLUMNS if c != 'alert')}"
)
LOCK_NEW = """
insert into scad.signal_cursor (patient, last_n) select p, 0 from unnest(%s::text[]) as p
on conflict do nothing"""
LOCK = "select patient, last_n from scad.signal_cursor where patient = any(%s) order by patient for update"
LOAD = f"""{SELECT} from scad.alert
 where alert = any(%(alerts)s::uuid[])
    or (patient = any(%(patients)s) and state in ('open', 'escalated', 'acknowledged', 'in-progress', 'snoozed'))
    or (patient = any(%(patients)s) and (cleared_at > %(since)s or closed_at > %(since)s)
        and state not in ('open', 'escalated', 'acknowledged', 'in-progress', 'snoozed', 'superseded'))
 order by alert for update"""
"""The named alerts, and of the patients all that `alerts.inhibition.settle` asks for."""
SURROUNDINGS = """
select asked.patient,
       coalesce((select jsonb_agg(jsonb_build_object('absence', b.absence, 'kind', b.kind,
                          'from_ms', floor(extract(epoch from b.from_at) * 1000)::bigint,
                          'to_ms', floor(extract(epoch from b.to_at) * 1000)::bigint) order by b.absence)
                   from scad.absence b
                  where b.patient = asked.patient and b.from_at <= %(now)s and b.to_at > %(now)s), '[]') as absences
  from unnest(%(patients)s::text[]) as asked(patient)"""
APPEND = """
insert into scad.alert_event (at, recorded_at, patient, alert, kind, n, event, actor, body)
select at, %(now)s, patient, alert, kind, n, event, actor, body
  from unnest(%(at)s::timestamptz[], %(patient)s::text[], %(alert)s::uuid[], %(kind)s::text[],
              %(n)s::bigint[], %(event)s::text[], %(actor)s::text[], %(body)s::jsonb[])
       with ordinality as e(at, patient, alert, kind, n, event, actor, body, place)
 order by place"""

Entry = tuple[Any, str, str, str, int | None, str, str, str]


def from_record(record: Mapping[str, Any]) -> AlertRow:
    given = {
        _RENAMED.get(column, column): from_datetime(record[column])
        if column in _INSTANTS and record[column] is not None
        else record[column]
        for column in COLUMNS
    }
    return msgspec.convert(given, AlertRow)


def to_records(rows: Iterable[AlertRow]) -> Jsonb:
    """The parameter of UPSERT: every row, by the names of the columns."""
    return Jsonb([_to_record(row) for row in rows])


def _to_record(row: AlertRow) -> dict[str, object]:
    record: dict[str, object] = msgspec.structs.asdict(row)
    record["evidence"] = msgspec.to_builtins(row.evidence)
    for name in _INSTANTS:
        instant = getattr(row, name)
        record[name] = None if instant is None else to_datetime(instant).isoformat()
    return {column: record[_RENAMED.get(column, column)] for column in COLUMNS}


def load_parameters(alerts: Sequence[str], patients: Sequence[str], now_ms: int) -> dict[str, Any]:
    since = to_datetime(now_ms - REFRACTORY_LONGEST_MS)
    return {"alerts": list(alerts), "patients": list(patients), "since": since}


def surroundings(records: Iterable[Mapping[str, Any]]) -> dict[str, Surroundings]:
    """What SURROUNDINGS found, by patient."""
    return {
        record["patient"]: msgspec.convert({"absences": record["absences"]}, Surroundings)
        for record in records
    }


class Work:
    """Rows under change: what they were, what they are, and the events to be recorded."""

    def __init__(self, rows: Mapping[str, AlertRow], around: Mapping[str, Surroundings], now_ms: int) -> None:
        self.rows = dict(rows)
        self.consequences: list[Consequence] = []
        self._before = {name: msgspec.structs.replace(row) for name, row in rows.items()}
        self._around = around
        self._now_ms = now_ms

    def add(self, rows: Mapping[str, AlertRow]) -> None:
        """Further rows that are going to change."""
        for name, row in rows.items():
            if name not in self.rows:
                self.rows[name] = row
                self._before[name] = msgspec.structs.replace(row)

    def finish(self, signalled: Mapping[str, int] | None = None) -> list[AlertRow]:
        """Settle what hides what, patient by patient; the rows that differ from before, versions risen.

        `signalled`: the number of each alert's last signal that is stored with this.
        """
        mine: dict[str, list[AlertRow]] = defaultdict(list)
        for row in self.rows.values():
            mine[row.patient].append(row)
        for patient in sorted(mine):
            settled = settle(mine[patient], self._around.get(patient, Surroundings()), self._now_ms)
            self.consequences += settled.consequences
            self._ring(settled.ringing, signalled or {})
        differing = []
        for name, row in self.rows.items():
            before = self._before.get(name)
            if before is not None and changed(before, row):
                row.version = before.version + 1
            if before != row:
                differing.append(row)
        return differing

    def _ring(self, ringing: Iterable[str], signalled: Mapping[str, int]) -> None:
        """Say with which event an alert rings: with its signal, or with one that says it is back in the queue."""
        for name in sorted(ringing):
            row, before = self.rows[name], self._before.get(name)
            if name in signalled:
                row.rang_n = signalled[name]
            else:
                was = "hidden" if before is None else before.state
                body: dict[str, object] = {"was": was, "ring": True}
                self.consequences.append(Consequence(row.patient, name, "released", body))


SUPPRESSIONS = Counter(
    "scad_alert_suppressions",
    "Alerts kept from the queue, by cause: inhibited, refractory, absence",
    ["cause"],
)


def count_suppressions(consequences: Iterable[Consequence]) -> None:
    """Count what was kept from the queue; each is an event of its own as well."""
    for found in consequences:
        if found.event == "inhibited":
            SUPPRESSIONS.labels(cause="inhibited").inc()
        elif found.event == "suppressed":
            SUPPRESSIONS.labels(cause=str(found.body["reason"])).inc()


def entry(consequence: Consequence, now_ms: int) -> Entry:
    """One event of APPEND for a consequence or an action."""
    body = msgspec.json.encode(consequence.body).decode()
    who = consequence.actor
    return (
        to_datetime(now_ms),
        consequence.patient,
        consequence.alert,
        "action",
        None,
        consequence.event,
        who,
        body,
    )


def append_parameters(entries: Sequence[Entry], now_ms: int) -> dict[str, Any]:
    names = ("at", "patient", "alert", "kind", "n", "event", "actor", "body")
    columns = dict(zip(names, map(list, zip(*entries, strict=True)), strict=True))
    return {"now": to_datetime(now_ms), **columns}
