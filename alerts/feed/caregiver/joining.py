"""Opening an invitation: login and code from the paper, a password of one's own, then the second factor."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from alerts.audit import watch
from alerts.feed import sessions
from alerts.feed.access_log import note
from alerts.feed.accounts import HASHES_AT_ONCE, AccountError, hash_password
from alerts.feed.caregiver import accesses
from alerts.feed.context import BadTokenError, FeedDep, language_of, render
from alerts.feed.login import address_of
from alerts.feed.viewer import Viewer

joining = APIRouter(include_in_schema=False)

FIELDS = ("login", "code", "password", "again")
FIELD_MAX = 200  # characters of a field; a password's own bound


async def _own_page(request: Request) -> None:
    """Raises BadTokenError for a form of another site: there is no session yet to have a token."""
    if not sessions.same_site(request):
        raise BadTokenError


def _turn(request: Request) -> asyncio.Semaphore:
    """As many hashes at once as the log-in makes: whoever floods this page leaves the others theirs."""
    state = request.app.state
    if not hasattr(state, "invitations"):
        state.invitations = asyncio.Semaphore(HASHES_AT_ONCE)
    turn: asyncio.Semaphore = state.invitations
    return turn


@joining.get("/caregiver/join")
async def join_page(request: Request) -> Response:
    return _page(request, 200, None)


def _page(request: Request, status: int, problem: str | None, login: str = "") -> Response:
    return render(request, "caregiver_join.html", None, status, problem=problem, login=login)


@joining.post("/caregiver/join", dependencies=[Depends(_own_page)])
async def join(request: Request, feed: FeedDep) -> Response:
    """Make the account; the log-in goes on with the second factor, without which nothing is shown."""
    form = await request.form()
    typed = {name: str(form.get(name, ""))[:FIELD_MAX].replace("\0", "") for name in FIELDS}
    login = typed["login"].strip().lower()
    now = feed.wall_now()
    if not feed.limiter.allow(address_of(request), now.timestamp()):
        return _page(request, 429, "limited", login)
    if typed["password"] != typed["again"]:
        return _page(request, 422, "different", login)
    try:
        async with _turn(request):
            hashed = await asyncio.to_thread(hash_password, login, typed["password"])
    except AccountError:
        return _page(request, 422, "password", login)
    async with feed.database.login() as conn:
        joined = await accesses.join(conn, login, typed["code"], hashed, language_of(request), now)
        if joined:
            await note(conn, now, login, "caregiver-joined", login)
    if not joined:
        watch.says(did="invitation refused")
        return _page(request, 422, "wrong", login)
    viewer = Viewer(login=login, display_name=login, role="caregiver", teams=())
    async with feed.database.login() as conn:
        token = await sessions.begin(conn, viewer, now, stage="enrol")
    response = RedirectResponse("/login/second-factor", 303)
    sessions.set_cookie(response, token, secure=request.url.scheme == "https")
    return response
