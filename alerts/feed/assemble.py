"""Puts what the queries found together: the queue, a patient's page, and the curves beside the alerts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.feed import queries
from alerts.feed.curves import BUCKETS, Curve, points_of
from alerts.feed.database import Connection
from alerts.feed.formats import DAY_MS
from alerts.feed.kinds import CURVE_KINDS
from alerts.feed.limits import LimitLine, kinds_of_alert, limit_line
from alerts.feed.models import RANK, Alert, AlertClass, PatientPage, Queue, QueueRow
from alerts.feed.viewer import Viewer
from devices.times import to_datetime

CURVE_DAYS = 14
# Rows of the first page; the rest comes on demand. 50 rows stay under the page's 150 kB.
ROWS_SHOWN = 50
ROWS_MAX = 1000
# Curves of one row: more would be a page of its own, which the patient's name leads to.
CURVES_PER_ROW = 3


@dataclass(frozen=True, slots=True)
class RowView:
    """One row of the page: a patient, the alerts of one class, their curves, and where it belongs."""

    section: AlertClass
    row: QueueRow
    curves: tuple[Curve, ...]

    @property
    def key(self) -> str:
        return f"{self.section}:{self.row.patient}"

    @property
    def order(self) -> str:
        """Sorts as text the way queries.queue_patients sorts."""
        top = max(RANK[alert.severity] for alert in self.row.alerts)
        gravest = [alert for alert in self.row.alerts if RANK[alert.severity] == top]
        seen = int(all(alert.state != "open" for alert in gravest))
        oldest = min(alert.opened_at for alert in gravest)
        return f"{9 - top}{seen}{oldest.isoformat(timespec='microseconds')}{self.row.patient}"


async def queue(conn: Connection, viewer: Viewer, now_ms: int, shown: int = ROWS_SHOWN) -> Queue:
    """The first `shown` rows of both sections, with the cursor of the same instant."""
    now = to_datetime(now_ms)
    clinical, clinical_total = await queries.queue_patients(conn, viewer, "clinical", shown)
    technical, technical_total = await queries.queue_patients(conn, viewer, "technical", shown)
    rows = await rows_of(conn, viewer, dict.fromkeys([*clinical, *technical]), now)
    return Queue(
        now=now,
        cursor=await queries.cursor(conn),
        current_to=await queries.current_to(conn, now),
        counts=await queries.counts(conn, viewer),
        clinical=[rows["clinical", patient] for patient in clinical],
        technical=[rows["technical", patient] for patient in technical],
        clinical_total=clinical_total,
        technical_total=technical_total,
    )


async def rows_of(
    conn: Connection, viewer: Viewer, patients: Iterable[str], now: datetime
) -> dict[tuple[AlertClass, str], QueueRow]:
    """The rows of these patients that stand in the queue, by section and patient."""
    alerts = await queries.queue_alerts(conn, viewer, list(patients))
    persons = await queries.persons(conn, viewer, alerts)
    kinds = dict.fromkeys(kind for found in alerts.values() for a in found for kind in kinds_of_alert(a))
    last = await queries.last_readings(conn, list(persons), list(kinds), now) if kinds else {}
    rows: dict[tuple[AlertClass, str], QueueRow] = {}
    sections: tuple[AlertClass, ...] = ("clinical", "technical")
    for patient, person in persons.items():
        for section in sections:
            mine = [alert for alert in alerts[patient] if alert.class_ == section]
            if mine:
                wanted = {kind for alert in mine for kind in kinds_of_alert(alert)}
                values = [value for value in last.get(patient, []) if value.kind in wanted]
                rows[section, patient] = QueueRow(person=person, alerts=mine, last=values)
    return rows


async def views(
    conn: Connection, rows: Sequence[tuple[AlertClass, QueueRow]], now_ms: int, days: int = CURVE_DAYS
) -> list[RowView]:
    """The rows with their curves of the last `days` days."""
    wanted = [(row.patient, *_row_kinds(row)) for _, row in rows]
    patients = list(dict.fromkeys(patient for patient, *_ in wanted))
    kinds = list(dict.fromkeys(kind for _, *row_kinds in wanted for kind in row_kinds))
    drawn = await curves(conn, patients, kinds, now_ms, days) if kinds else {}
    result = []
    for section, row in rows:
        limits = _limits(row.alerts)
        mine = []
        for kind in _row_kinds(row):
            curve = drawn.get((row.patient, kind)) or _empty(kind, now_ms, days)
            mine.append(with_limits(curve, limits))
        result.append(RowView(section, row, tuple(mine)))
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


def _row_kinds(row: QueueRow) -> list[str]:
    kinds = dict.fromkeys(kind for alert in row.alerts for kind in kinds_of_alert(alert))
    return list(kinds)[:CURVES_PER_ROW]


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


async def patient_curves(conn: Connection, page: PatientPage, now_ms: int, days: int) -> list[Curve]:
    """Every curve of one patient in the order of the catalogue, with the limits of standing alerts."""
    drawn = await curves(conn, [page.person.patient], CURVE_KINDS, now_ms, days)
    limits = _limits(page.standing)
    return [
        with_limits(drawn[page.person.patient, kind], limits)
        for kind in CURVE_KINDS
        if (page.person.patient, kind) in drawn
    ]
