"""The patient's page: what stands, what was measured, the plan and its history, and everything in one list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from alerts.absence import PlannedAbsence
from alerts.changes import MANUAL_MODEL
from alerts.feed import assemble, queries, queue_queries
from alerts.feed.closed import closed_teams
from alerts.feed.context import FeedDep, SeeingDep
from alerts.feed.curves import Curve
from alerts.feed.database import Connection
from alerts.feed.formats import DAY_MS
from alerts.feed.kinds import CURVE_KINDS, unit_of
from alerts.feed.limits import limit_line
from alerts.feed.models import Alert, Person
from alerts.feed.pages import PERIODS
from alerts.feed.questionnaire.store import sittings_of
from alerts.feed.viewer import Viewer
from alerts.feed.ward import store, timeline
from alerts.feed.ward.common import PatientPath, formats_of, page, said_of, texts_of
from alerts.feed.ward.differences import Difference, differences
from alerts.feed.ward.forms import filled, local_input
from alerts.feed.ward.personal import (
    BASELINE_DAYS,
    BASELINE_READINGS_MAX,
    kinds_with_usual,
    personal_lines,
    target_of,
    usual_bands,
)
from alerts.feed.ward.plans import library
from alerts.feed.why import why
from devices.times import to_datetime
from streams.plans import PlanVersion

patients = APIRouter(include_in_schema=False)

VERSIONS_SHOWN = 10
OLDEST = timedelta(days=20 * 366)  # the record is kept for twenty years; before that there is nothing


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version of the plan with what it changed."""

    stored: store.StoredVersion
    differences: list[Difference]
    current: bool


@patients.get("/patients/{patient}")
async def patient_page(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    patient: PatientPath,
    days: Annotated[int, Query(ge=1, le=366)] = PERIODS[0],
    show: Annotated[list[str] | None, Query()] = None,
    before: datetime | None = None,
    said: str = "",
) -> Response:
    now_ms = feed.clock.now_ms()
    now = to_datetime(now_ms)
    async with feed.database.reading(viewer) as conn:
        person = await store.person(conn, viewer, patient)
        found = await store.versions(conn, patient)
        current = store.in_force(found, now_ms)
        plan = current.plan if current is not None else None
        standing, inside = await _standing(conn, viewer, patient)
        kept = await queue_queries.adherences(conn, await queue_queries.schedules(conn, [patient], now), now)
        last = (await queries.last_readings(conn, [patient], CURVE_KINDS, now)).get(patient, [])
        away = await store.absences(conn, patient)
        window = await _timeline(conn, person, away, before, now, timeline.wanted_sorts(show or ()))
        values: dict[str, Any] = {
            "curves": await _curves(conn, person, standing, plan, now_ms, days),
            "devices": [d for d in await queries.devices(conn, patient) if d.model != MANUAL_MODEL],
            "notes": await store.notes(conn, patient),
            "offline": (await queue_queries.offline(conn, [patient], now)).get(patient, []),
            "proposal": await store.proposal(conn, patient),
            "sittings": await sittings_of(conn, patient, person.time_zone, 2),
            "closed": await closed_teams(conn, [person.care_team], now),
            "cursor": await queries.cursor(conn),
        }
    formats = formats_of(request, person)
    return page(
        request,
        "patient.html",
        viewer,
        person,
        now=now,
        standing=standing,
        last=last,
        kin=lambda alert: [other for other in inside if other.inhibited_by == alert.alert],
        adherence={one.kind: one for one in kept.get(patient, []) if one.expected},
        absences=[a for a in away if a.to_at > now],
        versions=_history(found, current, formats),
        current=current,
        plan=plan,
        personal=differences(None, plan, library(), formats) if plan is not None else [],
        days=days,
        periods=PERIODS,
        said=said_of(said),
        sorts=timeline.SORTS,
        unit_of=unit_of,
        **values,
        **window,
    )


async def _standing(conn: Connection, viewer: Viewer, patient: str) -> tuple[list[Alert], list[Alert]]:
    """What stands, snoozed alerts included, gravest first; and what a graver one hides inside it."""
    live = (await queue_queries.alerts(conn, viewer, [patient], False)).get(patient, ([], []))
    resting = (await queue_queries.alerts(conn, viewer, [patient], True)).get(patient, ([], []))
    return [*live[0], *resting[0]], [*live[1], *resting[1]]


@patients.get("/patients/{patient}/why")
async def why_page(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    patient: PatientPath,
    at: str = "",
) -> Response:
    """Why was there no alert at an instant? (alerts.feed.why has the answers.)"""
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        person = await store.person(conn, viewer, patient)
        form = filled(texts_of(request), {"at": at[:32] or local_input(now_ms, person.time_zone)})
        asked_ms = form.moment_ms("at", person.time_zone)
        if asked_ms is not None and asked_ms > now_ms + DAY_MS:
            form.fault("at", "ahead")
        reasons = [] if asked_ms is None or form.faults else await why(conn, patient, to_datetime(asked_ms))
    status = 422 if form.faults else 200
    return page(
        request, "ward_why.html", viewer, person, status, form=form, reasons=reasons, asked_ms=asked_ms
    )


async def _timeline(
    conn: Connection,
    person: Person,
    away: Sequence[PlannedAbsence],
    before: datetime | None,
    now: datetime,
    wanted: frozenset[str],
) -> dict[str, Any]:
    """A fortnight of entries up to `before` (or now), and where the one before it ends."""
    end = now + timedelta(minutes=10) if before is None or before.tzinfo is None else before
    end = min(max(end, now - OLDEST), now + timedelta(minutes=10))
    begin = end - timedelta(days=timeline.WINDOW_DAYS)
    groups: list[list[timeline.Entry]] = []
    if "reading" in wanted:
        rows = await store.reading_lines(conn, person.patient, begin, end, person.time_zone)
        groups.append(timeline.of_readings(rows))
    groups.append(timeline.of_events(await store.event_lines(conn, person.patient, begin, end)))
    groups.append(timeline.of_absences(away, begin, end))
    entries, more = timeline.merged(groups, wanted)
    older = entries[-1].at if more else begin
    return {
        "entries": entries,
        "older": older,
        "from_": begin,
        "to": end,
        "wanted": wanted,
        "newest": before is None,
    }


async def _curves(
    conn: Connection,
    person: Person,
    standing: Sequence[Alert],
    plan: PlanVersion | None,
    now_ms: int,
    days: int,
) -> list[Curve]:
    """Every curve of the patient, with limits of standing alerts and of the plan, target and usual range."""
    drawn = await assemble.curves(conn, [person.patient], CURVE_KINDS, now_ms, days)
    lines = [line for line in (limit_line(alert) for alert in standing if alert.live) if line is not None]
    lines += personal_lines(plan, library())
    kinds = kinds_with_usual(plan, library())
    readings = await store.stored_readings(
        conn, person.patient, kinds, now_ms - BASELINE_DAYS * DAY_MS, BASELINE_READINGS_MAX
    )
    usual = usual_bands(readings, plan, library(), now_ms)
    return [
        replace(
            assemble.with_limits(drawn[person.patient, kind], lines),
            target=target_of(kind, plan),
            usual=usual.get(kind),
        )
        for kind in CURVE_KINDS
        if (person.patient, kind) in drawn
    ]


def _history(
    found: Sequence[store.StoredVersion], current: store.StoredVersion | None, formats: Any
) -> list[VersionView]:
    """The newest versions with what each changed against the one before it by number."""
    views = []
    for place, stored in enumerate(found[:VERSIONS_SHOWN]):
        former = found[place + 1].plan if place + 1 < len(found) else None
        what = differences(former, stored.plan, library(), formats) if stored.plan is not None else []
        views.append(VersionView(stored, what, stored is current))
    return views
