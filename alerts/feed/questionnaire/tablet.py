"""The tablet's page: one question at a time, with the answers as large buttons, without a script.

A tablet has a token of its own in a cookie that is sent to /tablet only. The page knows no name and shows no value;
the answers travel in the form, never in an address, and are walked again from the beginning with every step.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import structlog
from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from alerts.feed import sessions
from alerts.feed.context import LANGUAGE_COOKIE, BadTokenError, Feed, FeedDep, language_of, render_text
from alerts.feed.database import UNAVAILABLE
from alerts.feed.login import address_of
from alerts.feed.questionnaire import store
from alerts.feed.texts import LANGUAGES
from devices.questionnaire import ANSWERS_MAX, AnswerError, Walk, applies, load
from devices.times import to_datetime

tablet = APIRouter(include_in_schema=False)
log = structlog.get_logger()

COOKIE = "scad_tablet"
COOKIE_DAYS = 400  # as long as a browser keeps any cookie; the nurse ends the access, not the calendar


async def _own_page(request: Request) -> None:
    """Raises BadTokenError for a form of another site; the cookie is SameSite=Strict besides."""
    if not sessions.same_site(request):
        raise BadTokenError


OwnPage = Depends(_own_page)


async def _opened(request: Request, feed: Feed) -> store.Opened | None:
    token = request.cookies.get(COOKIE, "")
    if not token:
        return None
    async with feed.database.login() as conn:
        return await store.opened(conn, token, to_datetime(feed.clock.now_ms()))


def _page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    return Response(
        render_text(request, template, None, **values), status, media_type="text/html; charset=utf-8"
    )


@tablet.get("/tablet")
async def first_page(request: Request, feed: FeedDep) -> Response:
    """Begin, or what was advised today, or the code that links this tablet."""
    opened = await _opened(request, feed)
    if opened is None:
        return _page(request, "tablet_link.html", wrong=False)
    now = to_datetime(feed.clock.now_ms())
    if opened.answered_today(now):
        return _page(request, "tablet_done.html", told=opened.told, red=opened.last_red, again=())
    return _page(request, "tablet_begin.html", nothing=opened.walk(now).finished, lost=False)


@tablet.post("/tablet/link", dependencies=[OwnPage])
async def link(request: Request, feed: FeedDep) -> Response:
    """The code that the nurse has read out."""
    code = "".join(filter(str.isdigit, str((await request.form()).get("code", ""))))
    if not feed.limiter.allow(address_of(request), feed.wall_now().timestamp()):  # one clock for one limit
        return _page(request, "tablet_link.html", 429, wrong=True)
    token = store.draw_token()
    async with feed.database.login() as conn:
        linked = len(code) == store.CODE_DIGITS and await store.link(
            conn, code, token, to_datetime(feed.clock.now_ms())
        )
    if not linked:
        return _page(request, "tablet_link.html", 422, wrong=True)
    response = RedirectResponse("/tablet", 303)
    response.set_cookie(
        COOKIE,
        token,
        max_age=COOKIE_DAYS * 86_400,
        path="/tablet",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@tablet.post("/tablet", dependencies=[OwnPage])
async def step(request: Request, feed: FeedDep) -> Response:
    """One answer, one step back, another language, or the beginning.

    An answer that cannot wait says so even while the database is away, and offers to send again.
    """
    form = await request.form()
    try:
        return await _step(request, feed, form)
    except UNAVAILABLE as error:
        told = _emergencies(form)
        if not told:
            raise
        log.warning("a red answer could not be kept", error=str(error).strip())
        fields = [(name, str(value)) for name, value in form.multi_items()]
        return _page(request, "tablet_done.html", 503, told=told, red=True, again=fields)


def _emergencies(form: FormData) -> list[store.Told]:
    """What to tell at once by the answer that was given now, whoever answers and whatever was said before."""
    said = {str(form.get("question")): str(form.get("choice"))}
    return [
        store.Told(one.key, one.level, dict(one.text))
        for file in load()
        for one in file.advice
        if one.level == "emergency" and any(applies(when, said) for when in one.when)
    ]


async def _step(request: Request, feed: Feed, form: FormData) -> Response:
    opened = await _opened(request, feed)
    if opened is None:
        return _page(request, "tablet_link.html", 403, wrong=False)
    token = request.cookies[COOKIE]
    if not feed.requests.allow(f"tablet {opened.device}", asyncio.get_running_loop().time()):
        return _page(request, "tablet_begin.html", 429, nothing=False, lost=True)
    language = form.get("language")
    now = to_datetime(feed.clock.now_ms())
    try:
        sitting = UUID(str(form["sitting"])) if form.get("sitting") else uuid4()
        walk = _walked(opened.walk(now), form, chosen=language is None)
    except (AnswerError, ValueError):  # the plan has changed meanwhile, or it is another day's page
        return _page(request, "tablet_begin.html", 409, nothing=False, lost=True)
    if walk.finished:
        if not walk.answers:
            return _page(request, "tablet_begin.html", nothing=True, lost=False)
        async with feed.database.login() as conn:
            await store.store(conn, token, sitting, walk, opened.zone, now)
        told = [store.Told(one.key, one.level, dict(one.text)) for one in walk.advice()]
        return _page(request, "tablet_done.html", told=told, red=walk.red, again=())
    chosen = str(language) if language in LANGUAGES else language_of(request)
    response = _page(
        request,
        "tablet_question.html",
        walk=walk,
        question=walk.question,
        sitting=sitting,
        spoken=chosen,
        place=len(walk.answers) + 1,
    )
    if language in LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, chosen, max_age=COOKIE_DAYS * 86_400, samesite="lax")
    return response


def _walked(walk: Walk, form: FormData, *, chosen: bool) -> Walk:
    """The form's answers, each checked, and the one that was given now. Raises AnswerError."""
    given = form.getlist("answer")
    if len(given) > ANSWERS_MAX:
        raise AnswerError(f"more than {ANSWERS_MAX} answers")
    pairs = [str(pair).partition("=") for pair in given]
    walk = walk.resumed([(question, choice) for question, _, choice in pairs])
    if form.get("back") is not None:
        return walk.back()
    question, choice = form.get("question"), form.get("choice")
    if chosen and question is not None and choice is not None:
        return walk.answer(str(question), str(choice))
    return walk
