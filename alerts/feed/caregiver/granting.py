"""The page on which the patient's team records whom the patient lets in, and takes it back on the patient's word."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from alerts.audit import watch
from alerts.changes import ChangeRefusedError
from alerts.feed.caregiver import accesses
from alerts.feed.caregiver.accesses import SCOPES, Invitation, Scope, Wish
from alerts.feed.context import Feed, FeedDep, SeeingDep
from alerts.feed.formats import zone
from alerts.feed.viewer import Viewer
from alerts.feed.ward import store as ward_store
from alerts.feed.ward.common import EnrolDep, PatientPath, form_of, page, refused, texts_of
from alerts.feed.ward.forms import Form, filled
from alerts.feed.ward.transaction import changing
from devices.times import to_datetime

granting = APIRouter(include_in_schema=False)
AccessPath = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,64}$")]

UNTIL_YEARS = 5  # an access with a date is for a stay or a recovery; longer is "until it is taken back"


@granting.get("/patients/{patient}/caregivers")
async def caregivers_page(
    request: Request, feed: FeedDep, viewer: SeeingDep, patient: PatientPath
) -> Response:
    first = filled(texts_of(request), dict.fromkeys(SCOPES, True))
    return await _page(request, feed, viewer, patient, first)


@granting.post("/patients/{patient}/caregivers")
async def grant(request: Request, feed: FeedDep, viewer: EnrolDep, patient: PatientPath) -> Response:
    """Record the wish; login and code are on this answer and nowhere else."""
    form = await form_of(request)
    async with feed.database.reading(viewer) as conn:
        person = await ward_store.person(conn, viewer, patient)
    now_ms = feed.clock.now_ms()
    wish = read_wish(form, person.time_zone, to_datetime(now_ms))
    drawn = None
    if wish is not None:
        watch.says(why=form.texts("caregiver.on_record"))
        try:
            vault = feed.database.vault
            drawn = await changing(
                feed, viewer, lambda conn: accesses.grant(conn, vault, patient, wish, viewer.login, now_ms)
            )
        except ChangeRefusedError as error:
            refused(form, error, {})
    if drawn is None:
        return await _page(request, feed, viewer, patient, form, 422)
    fresh = filled(texts_of(request), dict.fromkeys(SCOPES, True))
    return await _page(request, feed, viewer, patient, fresh, drawn=drawn)


def read_wish(form: Form, time_zone: str, now: datetime) -> Wish | None:
    """The wish that the form describes; None with faults. An access ends with the day that is named."""
    name = form.text("name", most=100, required=True)
    scopes: frozenset[Scope] = frozenset(scope for scope in SCOPES if form.ticked(scope))
    if not scopes:
        form.fault("readings", "no_scope")
    if not form.ticked("asked"):
        form.fault("asked", "not_asked")
    day, until = form.day("until"), None
    if day is not None:
        today = now.astimezone(zone(time_zone)).date()
        if not today <= day <= today + timedelta(days=366 * UNTIL_YEARS):
            form.fault("until", "until_range", years=UNTIL_YEARS)
        else:
            until = datetime.combine(day + timedelta(days=1), time(), zone(time_zone))
    return Wish(name, scopes, until) if name is not None and not form.faults else None


@granting.post("/patients/{patient}/caregivers/{access}/end")
async def end(
    request: Request, feed: FeedDep, viewer: EnrolDep, patient: PatientPath, access: AccessPath
) -> Response:
    """The patient has taken it back: it shows nothing from now on."""
    async with feed.database.reading(viewer) as conn:
        await ward_store.person(conn, viewer, patient)
    now_ms = feed.clock.now_ms()
    await changing(feed, viewer, lambda conn: accesses.end(conn, patient, access, viewer.login, now_ms))
    first = filled(texts_of(request), dict.fromkeys(SCOPES, True))
    return await _page(request, feed, viewer, patient, first)


async def _page(
    request: Request,
    feed: Feed,
    viewer: Viewer,
    patient: str,
    form: Form,
    status: int = 200,
    drawn: Invitation | None = None,
) -> Response:
    now = to_datetime(feed.clock.now_ms())
    async with feed.database.reading(viewer) as conn:
        person = await ward_store.person(conn, viewer, patient)
        found = await accesses.accesses(conn, patient)
    return page(
        request,
        "ward_caregivers.html",
        viewer,
        person,
        status,
        form=form,
        found=[(one, one.state(now)) for one in found],
        scopes=SCOPES,
        drawn=drawn,
        days=accesses.INVITED_DAYS,
        join=feed.access.address(request, "/caregiver/join"),
    )
