"""The ward as plain Python lists, and every dashboard panel's figures computed from them without SQL.

Only the rows themselves are read from the database; days, shares, percentiles and intervals are computed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from math import sqrt
from statistics import mean, stdev
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import dict_row

from devices.times import to_datetime

PARIS = ZoneInfo("Europe/Paris")
Row = dict[str, Any]
Rows = list[tuple[Any, ...]]
DAY = timedelta(days=1)
LIVE = ("open", "escalated", "acknowledged", "in-progress")
ORDER = ("high", "medium", "low")


def rows_of(conn: psycopg.Connection[Any], query: str) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()  # type: ignore[arg-type]


def read_rows(conn: psycopg.Connection[Any]) -> dict[str, list[Row]]:
    """The tables as they are, once for all figures."""
    queries = {
        "readings": "select * from scad.reading order by measured_at, device, epoch, seq",
        "people": "select * from scad.patient left join identity.person using (patient)",
        "alerts": "select * from scad.alert",
        "absences": "select patient, from_at, to_at from scad.absence where to_at > from_at",
        "plans": "select * from scad.care_plan order by patient, version",
        "devices": "select d.device, d.model, a.patient, s.state, s.battery, s.firmware, s.received_at"
        " from scad.device d left join scad.assignment a on a.device = d.device and a.to_at is null"
        " left join scad.device_status s on s.device = d.device",
        "refused": "select * from scad.quarantine",
        "events": "select alert, event from scad.alert_event where alert is not null order by id",
    }
    found = {name: rows_of(conn, query) for name, query in queries.items()}
    by_alert = grouped(found["events"], lambda row: row["alert"])
    for alert in found["alerts"]:
        alert["events"] = [row["event"] for row in by_alert.get(alert["alert"], ())]
    for reading in found["readings"]:
        reading["day"] = reading["measured_at"].astimezone(PARIS).date()
    return found


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=PARIS)


@dataclass
class Figures:
    """Everything about one database and one range of time."""

    begin: datetime
    end: datetime
    teams: tuple[str, ...]
    patient: str
    kind: str
    readings: list[Row] = field(default_factory=list)
    alerts: list[Row] = field(default_factory=list)
    people: list[Row] = field(default_factory=list)
    plans: list[Row] = field(default_factory=list)
    devices: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    absences: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, rows: dict[str, list[Row]], from_ms: int, to_ms: int, **chosen: Any) -> Figures:
        """`rows`: what `read_rows` found."""
        found = cls(to_datetime(from_ms), to_datetime(to_ms), **chosen)
        found.people = [row for row in rows["people"] if row["care_team"] in found.teams]
        teams = {row["patient"]: row for row in found.people}
        found.readings, found.plans, found.refused = rows["readings"], rows["plans"], rows["refused"]
        found.absences = rows["absences"]
        found.alerts = [
            {**row, "person": teams[row["patient"]]}
            for row in rows["alerts"]
            if row["patient"] in teams and row["state"] != "superseded"
        ]
        found.devices = [row for row in rows["devices"] if row["patient"] in teams]
        return found

    # ── parts ─────────────────────────────────────────────────────────────────────────────────────────────

    def within(self, at: datetime | None) -> bool:
        return at is not None and self.begin <= at <= self.end

    def all_of_it(self) -> list[Row]:
        """The patient's readings of the kind, in or out of the range."""
        return [r for r in self.readings if (r["patient"], r["kind"]) == (self.patient, self.kind)]

    def mine(self) -> list[Row]:
        return [r for r in self.all_of_it() if self.within(r["measured_at"])]

    def fit(self, patient: str, kind: str) -> dict[date, list[Row]]:
        """Readings fit for use by day of Paris."""
        days: dict[date, list[Row]] = defaultdict(list)
        for r in self.readings:
            if (r["patient"], r["kind"]) == (patient, kind) and not r["marks"] and r["value"] is not None:
                days[r["day"]].append(r)
        return days

    def days(self) -> list[date]:
        """Of Paris, those that the range touches."""
        first, last = (at.astimezone(PARIS).date() for at in (self.begin, self.end))
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]

    def raised(self) -> list[Row]:
        return [a for a in self.alerts if a["class"] == "clinical" and self.within(a["raised_stored_at"])]

    def queue(self) -> list[Row]:
        return [
            a
            for a in self.alerts
            if a["class"] == "clinical"
            and a["state"] in LIVE
            and a["inhibited_by"] is None
            and a["suppressed"] is None
        ]


def verdict(alert: Row) -> str | None:
    if alert["false_reason"] is not None:
        return "false"
    if alert["outcome"] in (None, "unreachable"):
        return None
    return "none" if alert["outcome"] == "no-action" else "acted"


def wilson(hits: int, trials: int) -> tuple[float | None, float | None]:
    """The score interval, from the quadratic whose roots it has."""
    if not trials:
        return None, None
    z, p = 1.959964, hits / trials
    a, b, c = 1 + z * z / trials, -(2 * p + z * z / trials), p * p
    root = sqrt(max(b * b - 4 * a * c, 0.0))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def percentile(values: list[float], share: float) -> float:
    values = sorted(values)
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


def grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return found


def each_day(f: Figures, counts: Mapping[tuple[date, str], float], calm: float | None = 0) -> Rows:
    """A row for each day of the range and each name that any day has; `calm` where a day has nothing of it."""
    names = sorted({name for _, name in counts})
    return [(midnight(day), name, counts.get((day, name), calm)) for day in f.days() for name in names]


def seconds(span: timedelta) -> float:
    return span.total_seconds()


# ── one patient ───────────────────────────────────────────────────────────────────────────────────────────────


def measured(f: Figures) -> Rows:
    return [(r["measured_at"], r["value"]) for r in f.mine() if not r["marks"] and r["value"] is not None]


def daily_means(f: Figures) -> Rows:
    days = sorted(f.fit(f.patient, f.kind).items())
    return [(midnight(d), mean(r["value"] for r in rs)) for d, rs in days if f.within(midnight(d))]


def diastolic(f: Figures) -> Rows:
    return [(r["measured_at"], r["values"]["diastolic"]) for r in f.mine() if "diastolic" in r["values"]]


def usual(f: Figures) -> Rows:
    means = {d: mean(r["value"] for r in rs) for d, rs in f.fit(f.patient, f.kind).items()}
    found: Rows = []
    for day in sorted(means):
        before = [m for d, m in means.items() if 1 <= (day - d).days <= 28]
        if len(before) >= 7 and f.within(midnight(day)):
            middle, spread = mean(before), stdev(before)
            found.append((midnight(day), middle - 2 * spread, middle + 2 * spread))
    return found


def pressure_limits(f: Figures) -> Rows:
    """Version 2 of the plan, ten days ago, moved the limit of a systolic crisis; the rest is the protocol's."""
    standard = {
        "bp-crisis systolic": 180.0,
        "bp-crisis diastolic": 110.0,
        "bp-high systolic": 170.0,
        "bp-low systolic": 90.0,
    }
    first, second = (p for p in f.plans if p["patient"] == f.patient)
    own = {**standard, "bp-crisis systolic": 165.0}
    until = second["from_at"] - timedelta(seconds=1)  # two values of a line at one instant would be none
    spans = ((max(first["from_at"], f.begin), until, standard), (second["from_at"], f.end, own))
    rows = [(at, label, level) for b, e, levels in spans for label, level in levels.items() for at in (b, e)]
    return sorted(rows)


def weight_limits(f: Figures) -> Rows:
    """A dry weight of 70 kg from the second version on; none before, so no line."""
    second = [p for p in f.plans if p["patient"] == f.patient][1]
    levels = {"dry-weight medium": 72.0, "dry-weight high": 72.5}
    return sorted((at, label, v) for label, v in levels.items() for at in (second["from_at"], f.end))


def gain_limit(f: Figures) -> Rows:
    """From all readings of the patient, whatever the range: two kilograms above the lowest earlier weight of the same
    day of Paris or the three before."""
    begin = min(p["from_at"] for p in f.plans if p["patient"] == f.patient)
    rows = [r for r in f.all_of_it() if not r["marks"]]
    found: Rows = []
    for r in rows:
        earlier = [
            o["value"]
            for o in rows
            if o["measured_at"] < r["measured_at"] and r["day"] - o["day"] <= timedelta(days=3)
        ]
        if earlier and r["measured_at"] >= begin and f.within(r["measured_at"]):
            found.append((r["measured_at"], min(earlier) + 2.0))
    return found


def per_day(f: Figures) -> Rows:
    days = sorted(f.fit(f.patient, f.kind).items())
    return [(midnight(d), len(rs)) for d, rs in days if f.within(midnight(d))]


def gaps(f: Figures) -> Rows:
    """The first reading of all has none before it."""
    times = [r["measured_at"] for r in f.all_of_it()]
    spans = [(times[0], None), *((b, seconds(b - a)) for a, b in pairwise(times))] if times else []
    return [(at, span) for at, span in spans if f.within(at)]


def delay(f: Figures) -> Rows:
    return [(r["measured_at"], seconds(r["received_at"] - r["measured_at"])) for r in f.mine()]


def longest_a_day(rows: Rows) -> Rows:
    """Of each day of Paris the longest."""
    days: dict[date, list[float]] = defaultdict(list)
    for at, span in rows:
        days[at.astimezone(PARIS).date()] += [] if span is None else [span]
    return [(midnight(day), max(spans, default=None)) for day, spans in sorted(days.items())]


def silence(f: Figures) -> Rows:
    return [(seconds(f.end - max(r["measured_at"] for r in f.all_of_it() if r["measured_at"] <= f.end)),)]


def late(f: Figures) -> Rows:
    found = [float(r["received_at"] - r["measured_at"] > DAY) for r in f.mine()]
    return [(mean(found) if found else None,)]


def stood(f: Figures) -> list[Row]:
    return [
        a
        for a in f.alerts
        if a["patient"] == f.patient
        and a["opened_at"] <= f.end
        and (a["cleared_at"] is None or a["cleared_at"] >= f.begin)
    ]


def alert_table(f: Figures) -> Rows:
    rows = sorted(stood(f), key=lambda a: (-a["opened_at"].timestamp(), a["rule"]))
    names = (
        "opened_at",
        "cleared_at",
        "protocol",
        "rule",
        "severity",
        "state",
        "value",
        "limit_value",
        "unit",
    )
    return [(*(a[name] for name in names), verdict(a) or "not judged") for a in rows]


def marks(cls: str) -> Callable[[Figures], Rows]:
    def found(f: Figures) -> Rows:
        rows = sorted((a for a in stood(f) if a["class"] == cls), key=lambda a: a["opened_at"])
        return [
            (
                a["opened_at"],
                a["cleared_at"],
                f"{a['rule']} ({a['severity']})",
                f"{a['protocol']},{a['severity']}",
            )
            for a in rows
        ]

    return found
