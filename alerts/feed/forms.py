"""The actions without a script: an alert's own page with a form for each, and what the forms are sent to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from alerts.actions import BULK_MAX
from alerts.feed import queries, queue_queries
from alerts.feed.acting import perform, perform_in_bulk
from alerts.feed.basis import basis_of
from alerts.feed.context import ActingDep, Feed, FeedDep, SeeingDep, language_of, render
from alerts.feed.formats import Formats
from alerts.feed.models import Alert, Conflict
from alerts.feed.pages import FORM_VALUES, not_found, render_queue
from alerts.feed.texts import Texts
from alerts.feed.viewer import Viewer
from alerts.lifecycle import ActionRequest, Refused
from devices.times import from_datetime, to_datetime

forms = APIRouter(include_in_schema=False)

HOURS_MAX = 24
WORDS_MAX = 500
# Buttons of the queue itself: what was refused is told there, other refusals beside the form.
FROM_QUEUE = frozenset({"acknowledge", "wake"})
Words = Annotated[str, Form(max_length=WORDS_MAX, pattern=r"^[^\x00]*$")]


def refusal_sentence(texts: Texts, conflict: Conflict, formats: Formats, now_ms: int) -> str:
    """Why it was not done, by whom it had been done before, and what the alert is now."""
    alert = conflict.alert
    return texts(
        f"refusal.{conflict.error}",
        who=conflict.by or texts("patient.system"),
        time=formats.moment(from_datetime(conflict.at or alert.changed_at), now_ms),
        state=texts(f"state.{alert.state}"),
    )


@forms.get("/alerts/{alert}")
async def alert_page(request: Request, feed: FeedDep, viewer: SeeingDep, alert: UUID) -> Response:
    return await _page(request, feed, viewer, alert)


async def _page(
    request: Request, feed: Feed, viewer: Viewer, which: UUID, problem: str | None = None
) -> Response:
    async with feed.database.reading(viewer) as conn:
        alert = await queries.alert(conn, viewer, which)
        if alert is None:
            return not_found(request, viewer)
        persons = await queries.persons(conn, viewer, [alert.patient])
        events = await queries.events(conn, which=which)
        basis = await basis_of(conn, alert)
        people = await queue_queries.colleagues(conn, viewer)
    return render(
        request,
        "alert.html",
        viewer,
        409 if problem is not None else 200,
        alert=alert,
        person=persons[alert.patient],
        events=events,
        basis=basis,
        colleagues=people,
        problem=problem,
        **FORM_VALUES,
    )


@forms.post("/alerts/bulk")
async def bulk_form(
    request: Request,
    feed: FeedDep,
    viewer: ActingDep,
    alert: Annotated[list[UUID] | None, Form(max_length=BULK_MAX)] = None,
    note: Words = "",
) -> Response:
    """Acknowledge what was ticked, with one note; the queue says which were not, and why."""
    wanted = list(dict.fromkeys(alert or []))
    request_ = ActionRequest(action="acknowledge", note=note or None)
    results, _ = await perform_in_bulk(feed, viewer, wanted, request_)
    refused = [which for which, result in results.items() if isinstance(result, Refused)]
    done = len(results) - len(refused)
    if not refused:
        return RedirectResponse(f"/?done={done}", 303)
    async with feed.database.reading(viewer) as conn:
        found = [await queries.alert(conn, viewer, which) for which in refused]
    texts = Texts(language_of(request))
    problem = _partly(texts, done, [known for known in found if known is not None])
    return await render_queue(request, feed, viewer, problem=problem)


def _partly(texts: Texts, done: int, refused: Sequence[Alert]) -> str:
    """How many were acknowledged, and which were not, with the state that each is in."""
    lines = [f"{texts.term('rule', alert.rule)} ({texts(f'state.{alert.state}')})" for alert in refused]
    failed = texts.count("queue.bulk_failed", len(refused))
    return f"{texts.count('queue.bulk_done', done)} {failed} {', '.join(lines)}."


@forms.post("/alerts/{alert}/{action}")
async def act_form(
    request: Request,
    feed: FeedDep,
    viewer: ActingDep,
    alert: UUID,
    action: str,
    version: Annotated[int | None, Form()] = None,
    note: Words = "",
    reason: Words = "",
    outcome: Words = "",
    to: Words = "",
    hours: Annotated[int, Form(ge=0, le=HOURS_MAX)] = 0,
) -> Response:
    """Do it and go back to the queue; or say why not (409), where the person asked for it."""
    if action not in PERSONS_ACTIONS:
        return not_found(request, viewer)
    now = to_datetime(feed.clock.now_ms())
    what = ActionRequest(
        action=action,  # type: ignore[arg-type]
        version=version,
        note=note or None,
        reason=reason or None,
        outcome=outcome or None,
        to=to,
        until=from_datetime(now + timedelta(hours=hours)) if hours else None,
    )
    result = await perform(feed, viewer, alert, what)
    if result is None:
        return not_found(request, viewer)
    if isinstance(result, Alert):
        return RedirectResponse("/", 303)
    texts = Texts(language_of(request))
    problem = refusal_sentence(texts, result, Formats(texts), from_datetime(now))
    if action in FROM_QUEUE:
        return await render_queue(request, feed, viewer, problem=problem)
    return await _page(request, feed, viewer, alert, problem)


PERSONS_ACTIONS = (
    *("acknowledge", "start", "assign", "snooze", "wake"),
    *("resolve", "false-alert", "note", "undo"),
)
