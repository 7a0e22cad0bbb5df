"""Logging in at an OpenID Connect provider, and coming back from it."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from alerts.feed import sessions
from alerts.feed.access_log import note
from alerts.feed.accounts import locked_minutes, viewer_of
from alerts.feed.context import Feed, FeedDep
from alerts.feed.login import address_of
from alerts.feed.oidc import OidcError, Pending
from alerts.feed.roles import home_of
from alerts.feed.viewer import Viewer

log = structlog.get_logger()
provider_routes = APIRouter(include_in_schema=False)

# What the browser keeps while it is at the provider: state, nonce, verifier, and where the person wanted to go.
COOKIE = "scad_oidc"
COOKIE_S = 600
PLACE = "/login/oidc"
VALUE_MAX = 4096  # codes are some hundred characters


@provider_routes.get(PLACE)
async def begin(request: Request, feed: FeedDep, next: str = "/") -> Response:
    """Send the browser to the provider."""
    provider = feed.access.provider
    if provider is None:
        return RedirectResponse("/login", 303)
    back = feed.access.address(request, f"{PLACE}/return")
    try:
        place, pending = await provider.start(back, sessions.local_path(next), feed.wall_now())
    except OidcError as error:
        log.warning("the log-in at the provider could not begin", error=str(error))
        return RedirectResponse("/login?failed=true", 303)
    response = RedirectResponse(place, 303)
    response.set_cookie(
        COOKIE,
        pending.text().encode().hex(),
        max_age=COOKIE_S,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
        path=PLACE,
    )
    return response


@provider_routes.get(f"{PLACE}/return")
async def come_back(
    request: Request,
    feed: FeedDep,
    code: Annotated[str, Query(max_length=VALUE_MAX)] = "",
    state: Annotated[str, Query(max_length=VALUE_MAX)] = "",
) -> Response:
    """The provider sends the browser here with a code; a person whom it vouches for is logged in."""
    try:
        viewer, id_token, path = await _vouched(request, feed, code, state)
    except OidcError as error:
        feed.metrics.logins.labels("refused").inc()
        log.warning("a log-in at the provider was refused", error=str(error))
        response: Response = RedirectResponse("/login?failed=true", 303)
    else:
        now = feed.wall_now()
        async with feed.database.login() as conn:
            token = await sessions.begin(conn, viewer, now, method="oidc", id_token=id_token)
            await note(conn, now, viewer.login, "logged-in", viewer.login, method="oidc")
        feed.metrics.logins.labels("success").inc()
        response = RedirectResponse(home_of(viewer) if path == "/" else path, 303)
        sessions.set_cookie(response, token, secure=request.url.scheme == "https")
    response.delete_cookie(COOKIE, path=PLACE)
    return response


async def _vouched(request: Request, feed: Feed, code: str, state: str) -> tuple[Viewer, str, str]:
    """The person, the ID token, and where to go on. Raises OidcError."""
    provider, now = feed.access.provider, feed.wall_now()
    if provider is None:
        raise OidcError("no provider is set up")
    if not feed.limiter.allow(address_of(request), now.timestamp()):
        raise OidcError("too many log-ins from one address")
    pending = _pending(request)
    if pending is None or not code:
        raise OidcError(
            f"no log-in was under way, or the provider refused it: {request.query_params.get('error')!r}"
        )
    back = feed.access.address(request, f"{PLACE}/return")
    login, id_token = await provider.finish(pending, state, code, back, now)
    async with feed.database.login() as conn:
        result = await conn.execute(
            "select * from scad.account where login = %s and disabled_at is null", (login,)
        )
        account = await result.fetchone()
    if account is None:
        raise OidcError("the provider vouches for somebody who has no account here")
    if locked_minutes(account, now):
        raise OidcError("the account is locked")
    return viewer_of(account), id_token, sessions.local_path(pending.next)


def _pending(request: Request) -> Pending | None:
    try:
        return Pending.parse(bytes.fromhex(request.cookies.get(COOKIE, "")).decode())
    except ValueError:
        return None
