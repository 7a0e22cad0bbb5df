"""The application: its parts put together, and what becomes of errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.resources import files
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

import scad
from alerts.audit.glass import glass
from alerts.audit.guarantee import guarantee
from alerts.audit.middleware import AuditMiddleware
from alerts.audit.pages import audit_pages
from alerts.audit.recorder import Recorder
from alerts.feed.access import Access
from alerts.feed.accounts import Accounts, LoginLimiter
from alerts.feed.actions import actions
from alerts.feed.api import MissingError, api
from alerts.feed.caregiver import caregiver
from alerts.feed.context import (
    BadTokenError,
    Feed,
    NotAllowedError,
    NotLoggedInError,
    ReadingOnlyError,
    TooManyRequestsError,
    make_templates,
    render,
)
from alerts.feed.database import UNAVAILABLE, Database
from alerts.feed.forms import forms
from alerts.feed.guard import Guard
from alerts.feed.login import login_routes
from alerts.feed.metrics import FeedMetrics
from alerts.feed.openapi import complete
from alerts.feed.operations import operations
from alerts.feed.pages import pages
from alerts.feed.people import people
from alerts.feed.provider_login import provider_routes
from alerts.feed.questionnaire import questionnaire
from alerts.feed.stream import Hub
from alerts.feed.team import team_settings
from alerts.feed.ward import ward
from alerts.fhir import FhirError, FhirResponse, fhir, fhir_error, outcome
from alerts.identity.files_page import files_page
from alerts.identity.page import identity_page
from alerts.identity.rights_page import rights_page
from alerts.identity.vault import Vault
from alerts.report.routes import reports
from scad.clock import Clock

log = structlog.get_logger()

# Seconds after which a page that met a database away tries again by itself.
REFRESH_S = 5
READING_ONLY = "this patient is another team's: reading only (the glass is broken); only that team acts"


def create_app(
    database: str,
    clock: Clock | None = None,
    *,
    demonstration: bool = False,
    access: Access | None = None,
    grafana_url: str = "",
    vault: Vault | None = None,
) -> FastAPI:
    """The feed on the database with this connection string.

    `clock` is what the pages call now; sessions last by its wall. `demonstration` says on every page that
    the patients are made up; `access` how people get in; `grafana_url` where the dashboards are (empty:
    nowhere); `vault` opens and seals identities. The pool and the listener start and stop with the application's
    lifespan.
    """
    clock, access = clock or Clock(), access or Access()
    metrics = FeedMetrics()
    pool = Database(database, vault)
    feed = Feed(
        database=pool,
        clock=clock,
        hub=Hub(pool, clock, metrics),
        metrics=metrics,
        accounts=Accounts(pool),
        limiter=LoginLimiter(),
        templates=make_templates(),
        trail=Recorder(pool, vault.keys if vault is not None else None),
        demonstration=demonstration,
        access=access,
    )

    feed.templates.globals["grafana_url"] = grafana_url

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await pool.open()
        listener = asyncio.create_task(feed.hub.run(), name="feed listener")
        try:
            yield
        finally:
            feed.hub.close()
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener
            await pool.close()

    app = FastAPI(
        title="SCAD feed",
        version=scad.__version__,
        summary="Alerts of clinical follow-up at home, for the people who answer them",
        description="This is not an emergency service: in an emergency call 15 or 112.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    app.state.feed = feed
    app.include_router(ward)
    app.include_router(questionnaire)
    app.include_router(caregiver)
    app.include_router(reports)
    app.include_router(pages)
    app.include_router(forms)
    app.include_router(login_routes)
    app.include_router(provider_routes)
    app.include_router(people)
    app.include_router(team_settings)
    app.include_router(api)
    app.include_router(actions)
    app.include_router(operations)
    app.include_router(fhir)
    app.include_router(glass)
    app.include_router(audit_pages)
    app.include_router(guarantee)
    app.include_router(identity_page)
    app.include_router(files_page)
    app.include_router(rights_page)
    app.mount("/static", StaticFiles(directory=str(files("alerts.feed").joinpath("static"))), "static")
    # A log-out that goes on to the provider is a form's answer: the policy must let it.
    form_action = f"'self' {access.provider.origin}" if access.provider is not None else "'self'"
    app.add_middleware(AuditMiddleware, trail=feed.trail, now_ms=clock.wall)
    app.add_middleware(Guard, metrics=metrics, form_action=form_action)
    app.openapi = partial(complete, app)  # type: ignore[method-assign]
    _handle_errors(app)
    return app


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(("/api", "/openapi", "/metrics", "/queue/", "/fhir"))


def _answer(
    request: Request, status: int, detail: str, page: str, refresh: int | None = None, named: str = ""
) -> Response:
    """An error in the form that the asker reads: JSON for programs, FHIR's under /fhir, a page for people, which
    says which inputs (`named`) were the matter."""
    headers = {"Retry-After": str(refresh)} if refresh is not None else None
    if request.url.path.startswith("/fhir"):
        return FhirResponse(outcome(status, detail), status, headers=headers)
    if _is_api(request):
        return JSONResponse({"detail": detail}, status, headers=headers)
    viewer = getattr(request.state, "viewer", None)
    response = render(request, "error.html", viewer, status, message=page, refresh=refresh, named=named)
    response.headers.update(headers or {})
    return response


def _named(error: Exception) -> str:
    """The inputs that a request was refused for: parameters of the address and fields of the form."""
    if not isinstance(error, RequestValidationError):
        return ""
    return ", ".join(dict.fromkeys(str(one["loc"][1]) for one in error.errors() if len(one["loc"]) > 1))


def _handle_errors(app: FastAPI) -> None:
    async def not_logged_in(request: Request, _: Exception) -> Response:
        if _is_api(request) or request.method != "GET":
            return _answer(request, 401, "no session: log in", "login.needed")
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(here, safe='')}" if here != "/" else "/login", 303)

    async def bad_token(request: Request, _: Exception) -> Response:
        return _answer(request, 403, "the CSRF token is missing or wrong", "error.forbidden")

    async def not_allowed(request: Request, _: Exception) -> Response:
        return _answer(request, 403, "your role does not include this", "error.role")

    async def reading_only(request: Request, _: Exception) -> Response:
        return _answer(request, 403, READING_ONLY, "glass.reading_only")

    async def too_many(request: Request, _: Exception) -> Response:
        return _answer(request, 429, "too many requests in this session", "error.unavailable", REFRESH_S)

    async def missing(request: Request, error: Exception) -> Response:
        return _answer(request, 404, f"no such {error}, or it is not about your patients", "error.not_found")

    async def unavailable(request: Request, error: Exception) -> Response:
        log.warning("the database is away", error=str(error).strip(), path=request.scope.get("path"))
        return _answer(request, 503, "the database does not answer", "error.unavailable", REFRESH_S)

    async def invalid(request: Request, error: Exception) -> Response:
        if _is_api(request) and isinstance(error, RequestValidationError):
            return await request_validation_exception_handler(request, error)
        return _answer(
            request, 400, "the request was not understood", "error.bad_request", named=_named(error)
        )

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = str(error.detail) if isinstance(error, HTTPException) else ""
        text = "error.not_found" if status == 404 else "error.bad_request"
        response = _answer(request, status, detail, text)
        response.headers.update(getattr(error, "headers", None) or {})
        return response

    app.add_exception_handler(NotLoggedInError, not_logged_in)
    app.add_exception_handler(BadTokenError, bad_token)
    app.add_exception_handler(NotAllowedError, not_allowed)
    app.add_exception_handler(ReadingOnlyError, reading_only)
    app.add_exception_handler(TooManyRequestsError, too_many)
    app.add_exception_handler(MissingError, missing)
    app.add_exception_handler(FhirError, fhir_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, unavailable)
