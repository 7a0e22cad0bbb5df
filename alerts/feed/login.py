"""Logging in and out: a password, then a code where the person has a second factor or the role asks for one."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Form, Request, Security
from fastapi.security import APIKeyCookie
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from alerts.feed import second_factor, sessions
from alerts.feed.access_log import note
from alerts.feed.context import (
    BadTokenError,
    Feed,
    FeedDep,
    NotLoggedInError,
    SessionDep,
    check_token,
    render,
)
from alerts.feed.database import Connection
from alerts.feed.oidc import OidcError
from alerts.feed.roles import home_of
from alerts.feed.sessions import Stage
from alerts.feed.viewer import Viewer

# Whatever the settings say: somebody at home, on a device that nobody looks after.
ALWAYS_TWO = frozenset({"caregiver"})

log = structlog.get_logger()
login_routes = APIRouter(include_in_schema=False)
_cookie = APIKeyCookie(name=sessions.COOKIE, auto_error=False)


class Staged:
    """A dependency: the person who has come as far as one of these stages. Raises NotLoggedInError."""

    def __init__(self, *stages: Stage) -> None:
        self.stages = stages

    async def __call__(
        self, request: Request, feed: FeedDep, token: Annotated[str | None, Security(_cookie)]
    ) -> Viewer:
        async with feed.database.login() as conn:
            viewer = await sessions.find(conn, token or "", feed.wall_now(), stages=self.stages)
        if viewer is None:
            raise NotLoggedInError
        if request.method != "GET":
            await check_token(request, viewer)
        return viewer


AtCode = Annotated[Viewer, Depends(Staged("code"))]
AtEnrolment = Annotated[Viewer, Depends(Staged("enrol", "full"))]


@login_routes.get("/login")
async def login_page(
    request: Request, next: str = "/", ended: bool = False, failed: bool = False
) -> Response:
    problem = "provider" if failed else None
    return _form(
        request, 401 if failed else 200, problem=problem, ended=ended, next=sessions.local_path(next)
    )


def _form(
    request: Request,
    status: int,
    *,
    problem: str | None = None,
    minutes: int = 0,
    ended: bool = False,
    user: str = "",
    next: str = "/",
) -> Response:
    return render(
        request,
        "login.html",
        None,
        status,
        problem=problem,
        minutes=minutes,
        ended=ended,
        user=user[:64],
        next=next,
        provider=request.app.state.feed.access.provider is not None,
    )


@login_routes.post("/login")
async def login(
    request: Request,
    feed: FeedDep,
    user: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Open a session; 401 with the form for a wrong password, 429 when there were too many."""
    if not sessions.same_site(request):
        raise BadTokenError
    now = feed.wall_now()
    path = sessions.local_path(next)
    if not feed.limiter.allow(address_of(request), now.timestamp()):
        feed.metrics.logins.labels("limited").inc()
        return _form(request, 429, problem="locked", minutes=1, user=user, next=path)
    viewer, minutes = await feed.accounts.check(user, password, now)
    feed.metrics.logins.labels("success" if viewer else "locked" if minutes else "refused").inc()
    if viewer is None:
        problem = "locked" if minutes else "failed"
        return _form(request, 429 if minutes else 401, problem=problem, minutes=minutes, user=user, next=path)
    async with feed.database.login() as conn:
        stage = await _stage(conn, feed, viewer)
        token = await sessions.begin(conn, viewer, now, stage=stage)
        if stage == "full":
            await note(conn, now, viewer.login, "logged-in", viewer.login, method="password")
    return _enter(request, viewer, token, stage, path)


async def _stage(conn: Connection, feed: Feed, viewer: Viewer) -> Stage:
    if await second_factor.stage(conn, viewer.login):
        return "code"
    return "enrol" if viewer.role in feed.access.second_factor | ALWAYS_TWO else "full"


def _enter(request: Request, viewer: Viewer, token: str, stage: Stage, path: str) -> Response:
    if stage == "full":
        place = home_of(viewer) if path == "/" else path
    else:
        place = "/login/code" if stage == "code" else "/login/second-factor"
    response = RedirectResponse(place, 303)
    sessions.set_cookie(response, token, secure=request.url.scheme == "https")
    return response


def address_of(request: Request) -> str:
    """The address that the limits count by: the client's, or the one that a trusted proxy names."""
    return request.client.host if request.client is not None else ""


# ── second factor ─────────────────────────────────────────────────────────────────────────────────────────


@login_routes.get("/login/code")
async def code_page(request: Request, viewer: AtCode) -> Response:
    return render(request, "login_code.html", None, problem=None, minutes=0, csrf=viewer.csrf_token)


@login_routes.post("/login/code")
async def code(
    request: Request, feed: FeedDep, viewer: AtCode, code: Annotated[str, Form(max_length=64)] = ""
) -> Response:
    """The code of the authenticator, or one from paper; a right one opens the session."""
    now = feed.wall_now()
    right, minutes = False, 1
    if feed.limiter.allow(address_of(request), now.timestamp()):
        right, minutes = await feed.accounts.check_code(viewer.login, code, now)
    if not right:
        feed.metrics.logins.labels("locked" if minutes else "refused").inc()
        problem = "locked" if minutes else "code_wrong"
        values = {"problem": problem, "minutes": minutes, "csrf": viewer.csrf_token}
        return render(request, "login_code.html", None, 429 if minutes else 401, **values)
    token = await _finish(feed, viewer, "code")
    return _enter(request, viewer, token, "full", "/")


async def _finish(feed: Feed, viewer: Viewer, method: str) -> str:
    """The staged session ends and the full one begins, with a token of its own."""
    now = feed.wall_now()
    async with feed.database.login() as conn:
        await sessions.end(conn, viewer)
        await note(conn, now, viewer.login, "logged-in", viewer.login, method=method)
        return await sessions.begin(conn, viewer, now)


@login_routes.get("/login/second-factor")
async def enrolment_page(request: Request, feed: FeedDep, viewer: AtEnrolment) -> Response:
    """The picture that an authenticator reads, and the key as text."""
    return await _enrolment(request, feed, viewer, 200, None)


async def _enrolment(
    request: Request, feed: Feed, viewer: Viewer, status: int, problem: str | None
) -> Response:
    async with feed.database.login() as conn:
        secret = await second_factor.begin(conn, viewer.login, feed.wall_now())
    if secret is None:
        return render(request, "error.html", None, 409, message="login.factor_there", refresh=None)
    return render(
        request,
        "login_factor.html",
        None,
        status,
        problem=problem,
        picture=Markup(second_factor.picture(secret, viewer.login)),  # noqa: S704 - our own drawing
        secret=secret,
        csrf=viewer.csrf_token,
        codes=None,
    )


@login_routes.post("/login/second-factor")
async def enrol_factor(
    request: Request, feed: FeedDep, viewer: AtEnrolment, code: Annotated[str, Form(max_length=64)] = ""
) -> Response:
    """Take the authenticator whose code this is, and show the codes for paper, this once."""
    now = feed.wall_now()
    if not feed.limiter.allow(address_of(request), now.timestamp()):
        return await _enrolment(request, feed, viewer, 429, "locked")
    async with feed.database.login() as conn:
        codes = await second_factor.confirm(conn, viewer.login, code, now)
        if codes is not None:
            await note(conn, now, viewer.login, "second-factor-added", viewer.login)
    if codes is None:
        return await _enrolment(request, feed, viewer, 401, "code_wrong")
    token = await _finish(feed, viewer, "second-factor")
    response = render(
        request, "login_factor.html", None, problem=None, codes=codes, home=home_of(viewer), csrf=""
    )
    sessions.set_cookie(response, token, secure=request.url.scheme == "https")
    return response


# ── log-out ───────────────────────────────────────────────────────────────────────────────────────────────


@login_routes.post("/logout")
async def logout(request: Request, feed: FeedDep, viewer: SessionDep) -> Response:
    """End the session here and, where it was opened with the provider, there."""
    now = feed.wall_now()
    async with feed.database.login() as conn:
        id_token = await sessions.end(conn, viewer)
        await note(conn, now, viewer.login, "logged-out", viewer.login)
    place: str | None = None
    if id_token is not None and feed.access.provider is not None:
        back = feed.access.address(request, "/login?ended=true")
        try:
            place = await feed.access.provider.logout_address(id_token, back, now)
        except OidcError as error:
            log.warning("the provider's session could not be ended", error=str(error))
    response = RedirectResponse(place or "/login?ended=true", 303)
    response.delete_cookie(sessions.COOKIE, path="/")
    return response
