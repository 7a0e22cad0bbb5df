"""The pages: queue, patient. Everything works without JavaScript; with it, it is live."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from markupsafe import Markup
from starlette.responses import JSONResponse, RedirectResponse, Response

from alerts import synthetic
from alerts.actions import BULK_MAX
from alerts.feed import assemble, queue_queries, sessions
from alerts.feed.closed import closed_teams
from alerts.feed.context import (
    LANGUAGE_COOKIE,
    THEME_COOKIE,
    THEMES,
    BadTokenError,
    Feed,
    FeedDep,
    SeeingDep,
    language_of,
    render,
    render_text,
)
from alerts.feed.filters import PRESETS, Filter, filter_of_request
from alerts.feed.kinds import CURVE_KINDS
from alerts.feed.models import AlertClass, PathState, QueueRow
from alerts.feed.texts import LANGUAGES, Texts
from alerts.feed.viewer import Viewer
from alerts.lifecycle import FALSE_REASONS, OUTCOMES
from devices.times import from_datetime, to_datetime

pages = APIRouter(include_in_schema=False)

# Patients whose rows a page may ask for at once; it asks for more one hundred after the other.
ROWS_AT_ONCE = 100
# The page says that the stream stands still when no reading of anybody came for so long.
STALLED_AFTER_MS = 60 * 60_000
# Markup of rows that a first page carries, so that it stays under 150 kB with its frame of some 25 kB. 50 rows
# in brief are some 70 kB; the first dozen are whole.
SECTION_BYTES: dict[AlertClass, int] = {"clinical": 90_000, "technical": 30_000}
PERIODS = (14, 30, 90)
PREFERENCE_S = 365 * 86_400
PATIENT_PATTERN = r"^[^\x00-\x1f/]{1,128}$"

FORM_VALUES: dict[str, Any] = {
    "form_actions": ("snooze", "note", "resolve", "false-alert", "assign"),
    "menu_actions": (
        ("acknowledge", "a"), ("start", ""), ("assign", ""), ("snooze", "s"), ("wake", ""), ("note", "n"),
        ("resolve", "r"), ("false-alert", ""), ("undo", "u"),
    ),
    "snooze_hours": (1, 2, 4, 8, 24),
    "outcomes": OUTCOMES,
    "false_reasons": FALSE_REASONS,
}  # fmt: skip
"""What the forms of actions offer (dialogs.html); the lengths of a snooze end at its bound."""

FilterDep = Annotated[Filter, Depends(filter_of_request)]


def freshness(path: PathState | None, current_ms: int | None, now_ms: int) -> str:
    """What the header says of the age of the data: by the synthetic reading `current`, `slow` or `broken`;
    without one by the last reading of anybody: `none`, `current` or `stalled`."""
    if path is not None:
        if path.stalled:
            return "broken"
        return "slow" if path.round_trip_s * 1000 > synthetic.SLOW_AFTER_MS else "current"
    if current_ms is None:
        return "none"
    return "stalled" if now_ms - current_ms > STALLED_AFTER_MS else "current"


@pages.get("/")
async def queue_page(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    chosen: FilterDep,
    rows: Annotated[int, Query(ge=1, le=assemble.ROWS_MAX)] = assemble.ROWS_SHOWN,
    done: Annotated[int | None, Query(ge=0, le=BULK_MAX)] = None,
) -> Response:
    texts = Texts(language_of(request))
    said = texts.count("queue.bulk_done", done) if done is not None else None
    return await render_queue(request, feed, viewer, chosen, rows, done=said)


async def render_queue(
    request: Request,
    feed: Feed,
    viewer: Viewer,
    chosen: Filter = assemble.EVERYTHING,
    shown: int = assemble.ROWS_SHOWN,
    *,
    problem: str | None = None,
    done: str | None = None,
) -> Response:
    """The queue; with `problem` (a sentence) as the answer to an action that was refused."""
    now_ms = feed.clock.now_ms()
    path = await path_of(feed)
    async with feed.database.reading(viewer) as conn:
        found = await assemble.queue(conn, viewer, now_ms, shown, chosen, path)
        rows: list[tuple[AlertClass, QueueRow]] = [
            *(("clinical", row) for row in found.clinical),
            *(("technical", row) for row in found.technical),
        ]
        views = await assemble.views(conn, rows, now_ms, drawn_max=assemble.ROWS_DRAWN)
        people = await queue_queries.colleagues(conn, viewer)
        teams = await queue_queries.teams(conn, viewer)
        closed = await closed_teams(conn, viewer.teams, to_datetime(now_ms))
    current_ms = from_datetime(found.current_to) if found.current_to is not None else None
    totals: dict[AlertClass, int] = {"clinical": found.clinical_total, "technical": found.technical_total}
    markup = {
        section: _within(request, viewer, [v for v in views if v.section == section], shown)
        for section in chosen.sections
    }
    return render(
        request,
        "queue.html",
        viewer,
        409 if problem is not None else 200,
        queue=found,
        sections=[(section, rows, totals[section]) for section, rows in markup.items()],
        current_ms=current_ms,
        freshness=freshness(found.path, current_ms, now_ms),
        shown=shown,
        step=assemble.ROWS_SHOWN,
        rows_max=assemble.ROWS_MAX,
        problem=problem,
        done=done,
        chosen=chosen,
        presets=PRESETS,
        curve_kinds=CURVE_KINDS,
        colleagues=people,
        teams=teams,
        closed=closed,
        **FORM_VALUES,
    )


async def path_of(feed: Feed) -> synthetic.PathCheck | None:
    """The last synthetic reading: the process looks for it, since nobody's team is its patient's."""
    async with feed.database.service() as conn:
        path = await queue_queries.path_check(conn, feed.clock)
    if path is not None:
        feed.metrics.path(path.round_trip_ms / 1000, path.age_ms / 1000)
    return path


def _within(request: Request, viewer: Viewer, views: list[assemble.RowView], shown: int) -> list[Markup]:
    """The rows as markup, within the page's bytes: in brief all of them, then whole from the top on as many as
    there is room for. The script asks for the others when they are looked at."""
    if not views:
        return []
    room = SECTION_BYTES[views[0].section] * max(shown / assemble.ROWS_SHOWN, 1)
    rows = [_row(request, viewer, view.brief()) for view in views]
    while len(rows) > 1 and _bytes(rows) > room:
        rows.pop()
    room -= _bytes(rows)
    for index, view in enumerate(views[: len(rows)]):
        whole = _row(request, viewer, view)
        room -= _bytes([whole]) - _bytes([rows[index]])
        if room < 0 or view.light:
            break
        rows[index] = whole
    return rows


def _row(request: Request, viewer: Viewer, view: assemble.RowView) -> Markup:
    return Markup(render_text(request, "row_only.html", viewer, view=view))  # noqa: S704 - a rendered template


def _bytes(rows: list[Markup]) -> int:
    return sum(len(row.encode()) for row in rows)


@pages.get("/queue/rows")
async def queue_rows(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    chosen: FilterDep,
    patient: Annotated[list[str] | None, Query(max_length=ROWS_AT_ONCE)] = None,
) -> Response:
    """The rows of some patients as the page shows them now, and its header; `html` is null for a row that
    is not in the queue any more, or not in this part of it."""
    now_ms = feed.clock.now_ms()
    now = to_datetime(now_ms)
    patients = [name for name in patient or [] if "\x00" not in name and name not in viewer.glass]
    path = await path_of(feed)
    async with feed.database.reading(viewer) as conn:
        rows = await assemble.rows_of(conn, viewer, patients, now, chosen) if patients else {}
        counts = await queue_queries.counts(conn, viewer, now)
        current = await assemble.current_to(conn, path, now)
        closed = await closed_teams(conn, viewer.teams, now)
        views = await assemble.views(conn, [(section, row) for (section, _), row in rows.items()], now_ms)
    current_ms = from_datetime(current) if current is not None else None
    drawn = {view.key: view for view in views}
    answer = []
    for key in (f"{section}:{name}" for name in patients for section in chosen.sections):
        view = drawn.get(key)
        html = render_text(request, "row_only.html", viewer, view=view) if view is not None else None
        answer.append({"key": key, "order": view.order if view is not None else None, "html": html})
    state = assemble.path_state(path)
    header = render_text(
        request,
        "status_only.html",
        viewer,
        counts=counts,
        current_ms=current_ms,
        path=state,
        freshness=freshness(state, current_ms, now_ms),
        closed=closed,
    )
    return JSONResponse(
        {**feed.hub.clock_now(), "header": header, "ringing": counts.ringing, "rows": answer},
        headers={"Vary": "Accept-Language, Cookie"},
    )


def not_found(request: Request, viewer: Viewer) -> Response:
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
