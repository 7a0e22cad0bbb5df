"""Logging in and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from alerts.feed import sessions
from alerts.feed.context import BadTokenError, FeedDep, SessionDep, render

login_routes = APIRouter(include_in_schema=False)


@login_routes.get("/login")
async def login_page(request: Request, next: str = "/", ended: bool = False) -> Response:
    return render(
        request,
        "login.html",
        None,
        problem=None,
        minutes=0,
        ended=ended,
        user="",
        next=sessions.local_path(next),
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
    address = request.client.host if request.client is not None else ""
    problem, minutes, viewer = "failed", 0, None
    if not feed.limiter.allow(address, now.timestamp()):
        problem, minutes = "locked", 1
        outcome = "limited"
    else:
        viewer, minutes = await feed.accounts.check(user, password, now)
        outcome = "success" if viewer is not None else "locked" if minutes else "refused"
        problem = "locked" if minutes else "failed"
    feed.metrics.logins.labels(outcome).inc()
    path = sessions.local_path(next)
    if viewer is None:
        status = 429 if minutes else 401
        return render(
            request,
            "login.html",
            None,
            status,
            problem=problem,
            minutes=minutes,
            ended=False,
            user=user[:64],
            next=path,
        )
    async with feed.database.login() as conn:
        token = await sessions.begin(conn, viewer, now)
    response = RedirectResponse(path, 303)
    sessions.set_cookie(response, token, secure=request.url.scheme == "https")
    return response


@login_routes.post("/logout")
async def logout(request: Request, feed: FeedDep, viewer: SessionDep) -> Response:
    async with feed.database.login() as conn:
        await sessions.end(conn, viewer)
    response = RedirectResponse("/login?ended=true", 303)
    response.delete_cookie(sessions.COOKIE, path="/")
    return response
