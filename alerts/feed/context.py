"""What every request needs: the application's parts, who is asking, in which language, what time it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, cast

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from alerts.audit.recorder import Recorder
from alerts.feed import sessions
from alerts.feed.access import Access
from alerts.feed.accounts import Accounts, LoginLimiter, RequestLimiter
from alerts.feed.curves import LARGE, SMALL, draw
from alerts.feed.database import Database
from alerts.feed.formats import Formats, years
from alerts.feed.metrics import FeedMetrics
from alerts.feed.roles import READING, Permission, allowed, home_of
from alerts.feed.script_texts import SCRIPT_TEXTS
from alerts.feed.stream import Hub
from alerts.feed.texts import LANGUAGES, Texts, choose_language
from alerts.feed.viewer import Viewer
from devices.times import from_datetime, to_datetime
from scad.clock import Clock

THEMES = ("auto", "light", "dark")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
# What the live page asks for by itself: no sign that anybody is there.
PASSIVE = frozenset({"/queue/rows", "/api/stream"})
LANGUAGE_COOKIE, THEME_COOKIE = "scad_language", "scad_theme"


class NotLoggedInError(Exception):
    """The request has no session that stands."""


class BadTokenError(Exception):
    """A write without the session's CSRF token, or from a page of another site."""


class TooManyRequestsError(Exception):
    """The session has asked more often than a person and a page do."""


class NotAllowedError(Exception):
    """The person's role does not include this."""


class ReadingOnlyError(Exception):
    """It is about a patient of another team, whom the person sees through broken glass: to read."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The parts of the application that live as long as it does."""

    database: Database
    clock: Clock
    hub: Hub
    metrics: FeedMetrics
    accounts: Accounts
    limiter: LoginLimiter
    templates: Environment
    trail: Recorder
    demonstration: bool = False
    access: Access = field(default_factory=Access)
    requests: RequestLimiter = field(default_factory=RequestLimiter)

    def wall_now(self) -> datetime:
        """The wall's time: sessions and lock-outs last as long for people in a demo as elsewhere."""
        return to_datetime(self.clock.wall())


def make_templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("alerts.feed"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        auto_reload=False,
    )
    environment.globals.update(
        draw=draw,
        SMALL=SMALL,
        LARGE=LARGE,
        ms=from_datetime,
        utc=_utc,
        years=years,
        languages=LANGUAGES,
        themes=THEMES,
        allowed=allowed,
        home_of=home_of,
    )
    return environment


def _utc(at: datetime) -> str:
    """For <time>: to the second, in UTC."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def feed_of(request: Request) -> Feed:
    return cast(Feed, request.app.state.feed)


FeedDep = Annotated[Feed, Depends(feed_of)]

_cookie = APIKeyCookie(
    name=sessions.COOKIE, auto_error=False, description="The session that POST /login opens."
)


async def viewer_of_request(
    request: Request, feed: FeedDep, token: Annotated[str | None, Security(_cookie)]
) -> Viewer:
    """The logged-in person. Raises NotLoggedInError, TooManyRequestsError."""
    viewer = None
    if token:
        async with feed.database.login() as conn:
            touch = request.url.path not in PASSIVE
            viewer = await sessions.find(conn, token, feed.wall_now(), touch=touch)
    if viewer is None:
        raise NotLoggedInError
    if not feed.requests.allow(viewer.token_hash.hex(), asyncio.get_running_loop().time()):
        raise TooManyRequestsError
    request.state.viewer = viewer
    return viewer


ViewerDep = Annotated[Viewer, Depends(viewer_of_request)]


@dataclass(frozen=True, slots=True)
class Permitted:
    """A dependency: the logged-in person, whose role includes `name`; what permission() returns."""

    name: Permission

    async def __call__(self, request: Request, viewer: ViewerDep) -> Viewer:
        if request.method not in SAFE_METHODS:
            await check_token(request, viewer)
        if not allowed(viewer.role, self.name):
            raise NotAllowedError
        if self.name not in READING and request.path_params.get("patient") in viewer.glass:
            raise ReadingOnlyError
        return viewer


def permission(name: Permission) -> Permitted:
    """The dependency of a route that needs this permission: `Annotated[Viewer, Depends(permission("act"))]`.

    Asks for the session's CSRF token where the method writes. Raises NotLoggedInError, BadTokenError,
    NotAllowedError, ReadingOnlyError (of a route with `{patient}` in its path).
    """
    return Permitted(name)


async def check_token(request: Request, viewer: Viewer) -> None:
    """Raises BadTokenError unless the request comes from a page of ours with the session's token, in the
    header X-CSRF-Token or the form field `csrf`."""
    sent = request.headers.get("x-csrf-token")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent is None and kind in FORMS:
        field = (await request.form()).get("csrf")
        sent = field if isinstance(field, str) else None
    if not sessions.same_site(request) or not sessions.csrf_matches(viewer, sent):
        raise BadTokenError


SessionDep = Annotated[Viewer, Depends(permission("session"))]
SeeingDep = Annotated[Viewer, Depends(permission("see_patients"))]
ActingDep = Annotated[Viewer, Depends(permission("act"))]


def language_of(request: Request) -> str:
    return choose_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))


def theme_of(request: Request) -> str:
    theme = request.cookies.get(THEME_COOKIE, "auto")
    return theme if theme in THEMES else "auto"


def render_text(request: Request, template: str, viewer: Viewer | None, **values: Any) -> str:
    """A template in the request's language. `fmt(zone)` makes the formats of a care team's time zone.

    A page about a `person` of another team offers no action and says why (Viewer.read_only).
    """
    feed = feed_of(request)
    person = values.get("person")
    if viewer is not None and person is not None:
        viewer = viewer.before(person.care_team)
    texts = Texts(language_of(request))
    now_ms = feed.clock.now_ms()
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return feed.templates.get_template(template).render(
        t=texts,
        language=texts.language,
        theme=theme_of(request),
        viewer=viewer,
        now_ms=now_ms,
        clock=feed.hub.clock_now(),
        fmt=lambda zone="Europe/Paris": Formats(texts, zone),
        here=path if request.method == "GET" else "/",
        demonstration=feed.demonstration,
        other_text=lambda key, other: Texts(other)(key),
        texts=texts.subset(SCRIPT_TEXTS),
        **values,
    )


def render(
    request: Request, template: str, viewer: Viewer | None, status: int = 200, **values: Any
) -> HTMLResponse:
    return HTMLResponse(
        render_text(request, template, viewer, **values),
        status_code=status,
        headers={"Content-Language": language_of(request), "Vary": "Accept-Language, Cookie"},
    )
