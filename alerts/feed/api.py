"""The same as JSON. Every operation needs a session; a write also the header X-CSRF-Token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Any, NoReturn
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel
from starlette.responses import JSONResponse, Response, StreamingResponse

from alerts.feed import assemble, queries, sessions
from alerts.feed.basis import basis_of
from alerts.feed.context import FeedDep, SeeingDep, SessionDep
from alerts.feed.models import (
    AlertDetail,
    Alerts,
    AlertState,
    PatientPage,
    Queue,
    Readings,
    Session,
)
from alerts.feed.pages import PATIENT_PATTERN, FilterDep, path_of
from alerts.feed.stream import TooManyStreamsError
from devices.times import to_datetime

READINGS_DEFAULT, READINGS_MAX = 1000, 5000
READINGS_DAYS = 14
ALERTS_MAX = 200
WORD = r"^[a-z0-9-]{1,64}$"
CURSOR_MAX = 2**63 - 1


class Problem(BaseModel):
    """What went wrong, in one sentence."""

    detail: str


def answers(*codes: int) -> dict[int | str, dict[str, Any]]:
    words = {
        401: "No session",
        403: "Not allowed, or the CSRF token is missing or wrong",
        404: "There is no such thing, or it is not about your patients",
        503: "The database is away; try again",
    }
    return {code: {"model": Problem, "description": words[code]} for code in (401, *codes, 503)}


api = APIRouter(prefix="/api", tags=["feed"])
PatientPath = Annotated[str, Path(pattern=PATIENT_PATTERN, description="The patient's pseudonym")]


class MissingError(Exception):
    """There is no such thing, or it is not about the viewer's patients; `what` names it."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def _missing(what: str) -> NoReturn:
    raise MissingError(what)


def _place(text: str) -> tuple[datetime, UUID]:
    """Where a page of alerts goes on. Raises RequestValidationError when it is none of ours."""
    instant, _, alert = text.rpartition("_")
    try:
        at = datetime.fromisoformat(instant.replace(" ", "+"))
        if at.tzinfo is None:
            raise ValueError("no offset")
        return at, UUID(alert)
    except ValueError as error:
        raise RequestValidationError(
            [{"type": "value_error", "loc": ("query", "before"), "msg": str(error), "input": text}]
        ) from None


def problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


@api.get("/session", responses=answers())
async def session(feed: FeedDep, viewer: SessionDep) -> Session:
    """Who is logged in, and the token that writes must carry."""
    return Session(
        login=viewer.login,
        display_name=viewer.display_name,
        role=viewer.role,
        care_teams=None if viewer.sees_all else list(viewer.teams),
        csrf_token=viewer.csrf_token,
        expires_at=viewer.expires_at or feed.wall_now(),
        now=to_datetime(feed.clock.now_ms()),
    )


@api.get("/queue", responses=answers())
async def queue(
    feed: FeedDep,
    viewer: SeeingDep,
    chosen: FilterDep,
    limit: Annotated[int, Query(ge=1, le=assemble.ROWS_MAX)] = assemble.ROWS_SHOWN,
) -> Queue:
    """The live queue as the page shows it: a row per patient, gravest first."""
    path = await path_of(feed)
    async with feed.database.reading(viewer) as conn:
        return await assemble.queue(conn, viewer, feed.clock.now_ms(), limit, chosen, path)


@api.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "Events `alert` (id = cursor), `clock`, `ended`; a comment as heartbeat",
        },
        **answers(),
    },
)
async def stream(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    after: Annotated[int | None, Query(ge=0, le=CURSOR_MAX, description="`cursor` of GET /api/queue")] = None,
    last_event_id: Annotated[str | None, Header(description="Where a lost connection goes on")] = None,
) -> Response:
    """Server-sent events: each step of each alert once, in order, from the cursor on."""
    if last_event_id and last_event_id.isascii() and last_event_id.isdigit():
        after = min(int(last_event_id[:19]), CURSOR_MAX)
    token = request.cookies.get(sessions.COOKIE, "")

    async def still_valid() -> bool:
        async with feed.database.login() as conn:
            return await sessions.find(conn, token, feed.wall_now(), touch=False) is not None

    parts = feed.hub.stream(viewer, after, still_valid)
    try:
        first = await anext(parts)
    except TooManyStreamsError:
        return problem(503, "too many open streams; try again later")

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for part in parts:
            yield part

    return StreamingResponse(
        body(),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@api.get("/patients/{patient}", responses=answers(404))
async def patient(feed: FeedDep, viewer: SeeingDep, patient: PatientPath) -> PatientPage:
    """One patient: identity, devices, care plan, last values, alerts and their steps."""
    async with feed.database.reading(viewer) as conn:
        page = await assemble.patient_page(conn, viewer, patient, feed.clock.now_ms())
    if page is None:
        _missing("patient")
    return page


@api.get("/patients/{patient}/readings", responses=answers(404))
async def patient_readings(
    feed: FeedDep,
    viewer: SeeingDep,
    patient: PatientPath,
    kind: Annotated[str | None, Query(pattern=WORD)] = None,
    from_: Annotated[AwareDatetime | None, Query(alias="from", description="Default: 14 days ago")] = None,
    to: Annotated[AwareDatetime | None, Query(description="Exclusive; default: now")] = None,
    limit: Annotated[int, Query(ge=1, le=READINGS_MAX)] = READINGS_DEFAULT,
) -> Readings:
    """Stored readings in the order in which they were measured, artefacts and late ones included."""
    now = to_datetime(feed.clock.now_ms())
    begin, end = from_ or now - timedelta(days=READINGS_DAYS), to or now
    async with feed.database.reading(viewer) as conn:
        if patient not in await queries.persons(conn, viewer, [patient]):
            _missing("patient")
        found = await queries.readings(conn, patient, kind, begin, end, limit + 1)
    return Readings(
        patient=patient, **{"from": begin}, to=end, truncated=len(found) > limit, readings=found[:limit]
    )


@api.get("/alerts", responses=answers())
async def alerts(
    feed: FeedDep,
    viewer: SeeingDep,
    patient: Annotated[str | None, Query(pattern=PATIENT_PATTERN)] = None,
    state: Annotated[AlertState | None, Query()] = None,
    rule: Annotated[str | None, Query(pattern=WORD)] = None,
    before: Annotated[str | None, Query(max_length=80, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=ALERTS_MAX)] = queries.HISTORY_ALERTS,
) -> Alerts:
    """Alerts of every state, the latest first, page by page."""
    place = _place(before) if before else None
    async with feed.database.reading(viewer) as conn:
        found = await queries.alerts(
            conn, viewer, patient=patient, state=state, rule=rule, before=place, limit=limit
        )
    last = found[-1] if len(found) == limit else None
    return Alerts(alerts=found, next=f"{last.opened_at.isoformat()}_{last.alert}" if last else None)


@api.get("/alerts/{alert}", responses=answers(404))
async def alert(feed: FeedDep, viewer: SeeingDep, alert: UUID) -> AlertDetail:
    """An alert, what it rests on, and everything that happened to it, the latest step first."""
    async with feed.database.reading(viewer) as conn:
        found = await queries.alert(conn, viewer, alert)
        if found is None:
            _missing("alert")
        events = await queries.events(conn, which=alert)
        return AlertDetail(alert=found, basis=await basis_of(conn, found), events=events)
