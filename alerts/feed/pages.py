"""The pages: queue, patient. Everything works without JavaScript; with it, it is live."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from markupsafe import Markup
from starlette.responses import JSONResponse, RedirectResponse, Response

from alerts.feed import assemble, queries, sessions
from alerts.feed.context import (
    LANGUAGE_COOKIE,
    THEME_COOKIE,
    THEMES,
    ActingDep,
    BadTokenError,
    FeedDep,
    SeeingDep,
    render,
    render_text,
)
from alerts.feed.models import AlertClass, Conflict, QueueRow
from alerts.feed.texts import LANGUAGES
from alerts.feed.viewer import Viewer
from devices.times import from_datetime, to_datetime

pages = APIRouter(include_in_schema=False)

# Patients whose rows a page may ask for at once; more events than that reload it.
ROWS_AT_ONCE = 100
# The page says that the stream stands still when no reading of anybody came for so long.
STALLED_AFTER_MS = 60 * 60_000
# Markup of rows that a first page carries, so that it stays under 150 kB with its frame: patients with many
# alerts and dense curves make it shorter than ROWS_SHOWN rows.
SECTION_BYTES: dict[AlertClass, int] = {"clinical": 100_000, "technical": 35_000}
PERIODS = (14, 30, 90)
PREFERENCE_S = 365 * 86_400
PATIENT_PATTERN = r"^[^\x00-\x1f/]{1,128}$"


def freshness(current_ms: int | None, now_ms: int) -> str:
    """none, current or stalled: what the header says about the age of the data."""
    if current_ms is None:
        return "none"
    return "stalled" if now_ms - current_ms > STALLED_AFTER_MS else "current"


@pages.get("/")
async def queue_page(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    rows: Annotated[int, Query(ge=1, le=assemble.ROWS_MAX)] = assemble.ROWS_SHOWN,
) -> Response:
    return await _queue(request, feed, viewer, rows)


async def _queue(
    request: Request, feed: FeedDep, viewer: Viewer, shown: int, conflict: Conflict | None = None
) -> Response:
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        found = await assemble.queue(conn, viewer, now_ms, shown)
        rows: list[tuple[AlertClass, QueueRow]] = [
            *(("clinical", row) for row in found.clinical),
            *(("technical", row) for row in found.technical),
        ]
        views = await assemble.views(conn, rows, now_ms)
    current_ms = from_datetime(found.current_to) if found.current_to is not None else None
    return render(
        request,
        "queue.html",
        viewer,
        409 if conflict is not None else 200,
        queue=found,
        clinical=_within(request, viewer, [v for v in views if v.section == "clinical"], shown),
        technical=_within(request, viewer, [v for v in views if v.section == "technical"], shown),
        current_ms=current_ms,
        freshness=freshness(current_ms, now_ms),
        shown=shown,
        step=assemble.ROWS_SHOWN,
        conflict=conflict,
    )


def _within(request: Request, viewer: Viewer, views: list[assemble.RowView], shown: int) -> list[Markup]:
    """The rows as markup, as many as the page has room for; the others come on demand."""
    if not views:
        return []
    room = SECTION_BYTES[views[0].section] * max(shown / assemble.ROWS_SHOWN, 1)
    rows: list[Markup] = []
    for view in views:
        html = render_text(request, "row_only.html", viewer, view=view)
        room -= len(html.encode())
        if room < 0 and rows:
            break
        rows.append(Markup(html))  # noqa: S704 - a rendered template
    return rows


@pages.get("/queue/rows")
async def queue_rows(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    patient: Annotated[list[str] | None, Query(max_length=ROWS_AT_ONCE)] = None,
) -> Response:
    """The rows of some patients as the page shows them now, and its header; `html` is null for a row that
    is not in the queue any more."""
    now_ms = feed.clock.now_ms()
    patients = [name for name in patient or [] if "\x00" not in name]
    async with feed.database.reading(viewer) as conn:
        rows = await assemble.rows_of(conn, viewer, patients, to_datetime(now_ms))
        counts = await queries.counts(conn, viewer)
        current = await queries.current_to(conn, to_datetime(now_ms))
        views = await assemble.views(conn, [(section, row) for (section, _), row in rows.items()], now_ms)
    current_ms = from_datetime(current) if current is not None else None
    drawn = {view.key: view for view in views}
    answer = []
    for key in (f"{section}:{name}" for name in patients for section in ("clinical", "technical")):
        view = drawn.get(key)
        html = render_text(request, "row_only.html", viewer, view=view) if view is not None else None
        answer.append({"key": key, "order": view.order if view is not None else None, "html": html})
    header = render_text(
        request,
        "status_only.html",
        viewer,
        counts=counts,
        current_ms=current_ms,
        freshness=freshness(current_ms, now_ms),
    )
    return JSONResponse(
        {**feed.hub.clock_now(), "header": header, "ringing": counts.ringing, "rows": answer},
        headers={"Vary": "Accept-Language, Cookie"},
    )


@pages.post("/alerts/{alert}/acknowledge")
async def acknowledge_form(request: Request, feed: FeedDep, viewer: ActingDep, alert: UUID) -> Response:
    """The button without JavaScript: back to the queue, or the queue with who was quicker (409)."""
    conflict = await acknowledge(feed, viewer, alert, None)
    if isinstance(conflict, Conflict):
        return await _queue(request, feed, viewer, assemble.ROWS_SHOWN, conflict)
    if conflict is None:
        return _not_found(request, viewer)
    return RedirectResponse("/", 303)


async def acknowledge(feed: FeedDep, viewer: Viewer, which: UUID, note: str | None) -> Conflict | bool | None:
    """Take note of an alert: True; who was quicker; or None when the viewer has no such alert."""
    async with feed.database.writing(viewer) as conn:
        if await queries.alert(conn, viewer, which) is None:
            return None
        at = to_datetime(feed.clock.now_ms())
        result, who, when = await queries.acknowledge(conn, which, viewer.login, at, note)
        feed.metrics.acknowledgements.labels(result).inc()
        now = await queries.alert(conn, viewer, which)
    if result == "acknowledged":
        return True
    if now is None or result == "unknown":
        return None
    return Conflict.model_validate({"error": result, "by": who, "at": when, "alert": now})


@pages.get("/patients/{patient}")
async def patient_page(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    patient: str,
    days: Annotated[int, Query(ge=1, le=366)] = PERIODS[0],
) -> Response:
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        page = await assemble.patient_page(conn, viewer, patient, now_ms) if "\x00" not in patient else None
        if page is None:
            return _not_found(request, viewer)
        curves = await assemble.patient_curves(conn, page, now_ms, days)
        cursor = await queries.cursor(conn)
    return render(
        request,
        "patient.html",
        viewer,
        page=page,
        curves=curves,
        days=days,
        periods=PERIODS,
        cursor=cursor,
    )


def _not_found(request: Request, viewer: Viewer) -> Response:
    return render(request, "error.html", viewer, 404, message="error.not_found", refresh=None)


@pages.post("/preferences")
async def preferences(
    request: Request,
    language: Annotated[str, Form()] = "",
    theme: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Language and appearance: two cookies that say nothing about anybody."""
    if not sessions.same_site(request):
        raise BadTokenError
    response = RedirectResponse(sessions.local_path(next), 303)
    secure = request.url.scheme == "https"
    for name, value, allowed in (
        (LANGUAGE_COOKIE, language, LANGUAGES),
        (THEME_COOKIE, theme, THEMES),
    ):
        if value in allowed:
            response.set_cookie(
                name, value, max_age=PREFERENCE_S, samesite="lax", secure=secure, httponly=True
            )
    return response
