"""What a nurse sees: what the patient said, what was advised, whether it was followed; and who gives out tablets."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from alerts.changes import note_event
from alerts.feed.context import Feed, FeedDep, SeeingDep
from alerts.feed.questionnaire import store
from alerts.feed.viewer import Viewer
from alerts.feed.ward import store as ward_store
from alerts.feed.ward.common import EnrolDep, PatientPath, page
from alerts.feed.ward.transaction import changing
from alerts.store.connection import Connection
from devices.times import to_datetime

sittings = APIRouter(include_in_schema=False)

ATTEMPTS = 3  # at a code that nobody else has now: two alike among a thousand are one case in 100,000


@sittings.get("/patients/{patient}/questionnaire")
async def questionnaire_page(
    request: Request, feed: FeedDep, viewer: SeeingDep, patient: PatientPath
) -> Response:
    return await _page(request, feed, viewer, patient)


@sittings.post("/patients/{patient}/tablet")
async def give(request: Request, feed: FeedDep, viewer: EnrolDep, patient: PatientPath) -> Response:
    """A new code for the patient's tablet, shown once."""
    async with feed.database.reading(viewer) as conn:
        await ward_store.person(conn, viewer, patient)
    now_ms = feed.clock.now_ms()
    for attempt in range(ATTEMPTS):
        try:
            code = await changing(feed, viewer, lambda conn: store.issue(conn, patient, viewer.login, now_ms))
            break
        except store.UNIQUE:
            if attempt == ATTEMPTS - 1:
                raise
    return await _page(request, feed, viewer, patient, code=code)


@sittings.post("/patients/{patient}/tablet/end")
async def end(request: Request, feed: FeedDep, viewer: EnrolDep, patient: PatientPath) -> Response:
    """The tablet was lost or given back: it opens nothing from now on."""
    async with feed.database.reading(viewer) as conn:
        await ward_store.person(conn, viewer, patient)
    now_ms = feed.clock.now_ms()

    def work(conn: Connection) -> None:
        if store.unlink(conn, patient):
            note_event(conn, patient, "tablet-ended", viewer.login, now_ms, {})

    await changing(feed, viewer, work)
    return await _page(request, feed, viewer, patient)


async def _page(
    request: Request, feed: Feed, viewer: Viewer, patient: str, code: str | None = None
) -> Response:
    now = to_datetime(feed.clock.now_ms())
    async with feed.database.reading(viewer) as conn:
        person = await ward_store.person(conn, viewer, patient)
        found = await store.sittings_of(conn, patient, person.time_zone)
        given = await store.tablet_of(conn, patient, now)
    return page(
        request,
        "ward_questionnaire.html",
        viewer,
        person,
        sittings=found,
        tablet=given,
        code=code,
        minutes=store.CODE_MINUTES,
        days=store.ASK_WITHIN.days,
    )
