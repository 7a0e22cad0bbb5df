"""Puts what the queries found together: the queue, a patient's page, and the curves beside the alerts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.feed import queries, queue_queries
from alerts.feed.curves import BUCKETS, Curve, points_of
from alerts.feed.database import Connection
from alerts.feed.filters import Filter
from alerts.feed.formats import DAY_MS
from alerts.feed.kinds import CURVE_KINDS
from alerts.feed.limits import LimitLine, kinds_of_alert, limit_line
from alerts.feed.models import RANK, Alert, AlertClass, PathState, PatientPage, Queue, QueueRow
from alerts.feed.viewer import Viewer
from alerts.synthetic import PathCheck
from devices.times import to_datetime

CURVE_DAYS = 14
# Rows of the first page; the rest comes on demand. 50 rows stay under the page's 150 kB.
ROWS_SHOWN = 50
ROWS_MAX = 1000
# Curves of one row: more would be a page of its own, which the patient's name leads to.
CURVES_PER_ROW = 3
# Rows of a section whose curves are drawn for the first page; more than its bytes have room for.
ROWS_DRAWN = 20
EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class RowView:
    """One row of the page: a patient, the alerts of one class, and where it belongs. A light one names its
    alerts and curves (`kinds`) in brief; the script asks for the whole row when it comes into view."""

    section: AlertClass
    row: QueueRow
    kinds: tuple[str, ...]
    curves: tuple[Curve, ...] = ()
    light: bool = False

    def brief(self) -> RowView:
        return RowView(self.section, self.row, self.kinds, light=True)

    @property
    def key(self) -> str:
        return f"{self.section}:{self.row.patient}"

    @property
    def order(self) -> str:
        """Sorts as text the way queue_queries.patients sorts."""
        top = max(RANK[alert.severity] for alert in self.row.alerts)
        gravest = [alert for alert in self.row.alerts if RANK[alert.severity] == top]
        seen = int(not any(alert.waiting for alert in gravest))
        due = min(alert.due_in_order for alert in gravest)
        oldest = min(alert.opened_at for alert in gravest)
        instants = "".join(at.isoformat(timespec="microseconds") for at in (due, oldest))
        return f"{9 - top}{seen}{instants}{self.row.patient}"


async def queue(
    conn: Connection,
    viewer: Viewer,
    now_ms: int,
    shown: int = ROWS_SHOWN,
    chosen: Filter = EVERYTHING,
    path: PathCheck | None = None,
) -> Queue:
    """The first `shown` rows of the chosen sections, with the cursor of the same instant.

    `path` is the last synthetic reading, which only the service may read.
    """
    now = to_datetime(now_ms)
    wanted: dict[AlertClass, tuple[list[str], int]] = {"clinical": ([], 0), "technical": ([], 0)}
    for section in chosen.sections:
        wanted[section] = await queue_queries.patients(conn, viewer, section, chosen, now, shown)
    names = dict.fromkeys([*wanted["clinical"][0], *wanted["technical"][0]])
    rows = await rows_of(conn, viewer, names, now, chosen)
    return Queue(
        now=now,
        cursor=await queries.cursor(conn),
        current_to=await current_to(conn, path, now),
        path=path_state(path),
        counts=await queue_queries.counts(conn, viewer, now),
        clinical=[rows["clinical", patient] for patient in wanted["clinical"][0]],
        technical=[rows["technical", patient] for patient in wanted["technical"][0]],
        clinical_total=wanted["clinical"][1],
        technical_total=wanted["technical"][1],
    )


async def current_to(conn: Connection, path: PathCheck | None, now: datetime) -> datetime | None:
    """How old everything is that the page shows, by the synthetic reading or, without one, by anybody's."""
    if path is not None:
        return to_datetime(path.measured_at_ms)
    return await queries.current_to(conn, now)


def path_state(path: PathCheck | None) -> PathState | None:
    if path is None:
        return None
    return PathState(age_s=path.age_ms / 1000, round_trip_s=path.round_trip_ms / 1000, stalled=path.stalled)


async def rows_of(
    conn: Connection, viewer: Viewer, patients: Iterable[str], now: datetime, chosen: Filter = EVERYTHING
) -> dict[tuple[AlertClass, str], QueueRow]:
    """The rows of these patients that the filter leaves in the queue, by section and patient."""
    alerts = await queue_queries.alerts(conn, viewer, list(patients), chosen.snoozed)
    persons = await queries.persons(conn, viewer, alerts)
    plans = await queue_queries.schedules(conn, list(persons), now)
    kept = await queue_queries.adherences(conn, plans, now)
    offline = await queue_queries.offline(conn, list(persons), now)
    kinds = {kind for found, _ in alerts.values() for alert in found for kind in kinds_of_alert(alert)}
    kinds |= {kind for _, schedule in plans.values() for kind in schedule}
    last = await queries.last_readings(conn, list(persons), sorted(kinds), now) if kinds else {}
    rows: dict[tuple[AlertClass, str], QueueRow] = {}
    for patient, person in persons.items():
        standing, inside = alerts[patient]
        for section in chosen.sections:
            mine = [alert for alert in standing if alert.class_ == section]
            if any(chosen.matches(alert, viewer, now, person.care_team) for alert in mine):
                rows[section, patient] = QueueRow(
                    person=person,
                    alerts=mine,
                    inhibited=[alert for alert in inside if any(alert.inhibited_by == a.alert for a in mine)],
                    last=last.get(patient, []),
                    adherence=kept.get(patient, []),
                    offline=offline.get(patient, []),
                )
    return rows


async def views(
    conn: Connection,
    rows: Sequence[tuple[AlertClass, QueueRow]],
    now_ms: int,
    days: int = CURVE_DAYS,
    drawn_max: int | None = None,
) -> list[RowView]:
    """The rows with their curves of the last `days` days; after `drawn_max` rows of a section light ones."""
    light: set[int] = set()
    if drawn_max is not None:
        seen: Counter[AlertClass] = Counter()
        for index, (section, _) in enumerate(rows):
            seen[section] += 1
            if seen[section] > drawn_max:
                light.add(index)
    wanted = [row_kinds(row) for _, row in rows]
    full = [index for index in range(len(rows)) if index not in light]
    patients = list(dict.fromkeys(rows[index][1].patient for index in full))
    kinds = list(dict.fromkeys(kind for index in full for kind in wanted[index]))
    drawn = await curves(conn, patients, kinds, now_ms, days) if kinds else {}
    result = []
    for index, (section, row) in enumerate(rows):
        names = wanted[index]
        if index in light:
            result.append(RowView(section, row, names, light=True))
            continue
        limits = _limits(row.alerts)
        mine = tuple(
            with_limits(drawn.get((row.patient, kind)) or _empty(kind, now_ms, days), limits)
            for kind in names
        )
        result.append(RowView(section, row, names, mine))
    return result


async def curves(
    conn: Connection, patients: Sequence[str], kinds: Sequence[str], now_ms: int, days: int
) -> dict[tuple[str, str], Curve]:
    """Curves by patient and kind, without limits; those without a reading are not in the answer."""
    begin_ms = now_ms - days * DAY_MS
    bucket_s = max(days * DAY_MS // 1000 // BUCKETS, 1)
    found = await queries.buckets(conn, patients, kinds, to_datetime(begin_ms), bucket_s)
    groups = defaultdict(list)
    for row in found:
        groups[row["patient"], row["kind"]].append(row)
    return {
        (patient, kind): Curve(kind, begin_ms, now_ms, points_of(group), points_of(group, second=True))
        for (patient, kind), group in groups.items()
    }


def with_limits(curve: Curve, limits: Iterable[LimitLine]) -> Curve:
    """The curve with the limits of its kind, each level once."""
    mine = {round(line.level, 2): line for line in limits if line.kind == curve.kind}
    return Curve(curve.kind, curve.begin_ms, curve.end_ms, curve.points, curve.second, tuple(mine.values()))


def _empty(kind: str, now_ms: int, days: int) -> Curve:
    return Curve(kind, now_ms - days * DAY_MS, now_ms, ())


def row_kinds(row: QueueRow) -> tuple[str, ...]:
    """What a row draws: the kinds that its alerts are about, then what else the patient measures."""
    kinds = dict.fromkeys(kind for alert in row.alerts for kind in kinds_of_alert(alert))
    kinds |= dict.fromkeys(value.kind for value in row.last)
    return tuple(kinds)[:CURVES_PER_ROW]


def _limits(alerts: Iterable[Alert]) -> list[LimitLine]:
    """Limits of alerts whose condition holds or that still wait; what is over and seen is not drawn."""
    lines = [limit_line(alert) for alert in alerts if alert.live]
    return [line for line in lines if line is not None]


async def patient_page(conn: Connection, viewer: Viewer, patient: str, now_ms: int) -> PatientPage | None:
    """Everything of one patient's page but the curves; None when the viewer may not see the patient."""
    now = to_datetime(now_ms)
    persons = await queries.persons(conn, viewer, [patient])
    if patient not in persons:
        return None
    alerts = await queries.alerts(conn, viewer, patient=patient, limit=queries.HISTORY_ALERTS)
    standing = (await queries.queue_alerts(conn, viewer, [patient])).get(patient, [])
    shown = {alert.alert for alert in standing}
    last = await queries.last_readings(conn, [patient], CURVE_KINDS, now)
    return PatientPage(
        now=now,
        person=persons[patient],
        devices=await queries.devices(conn, patient),
        plan=await queries.plan(conn, patient, now),
        last=last.get(patient, []),
        standing=standing,
        history=[alert for alert in alerts if alert.alert not in shown],
        events=await queries.events(conn, patient=patient),
    )
