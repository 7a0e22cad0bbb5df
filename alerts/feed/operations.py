"""For those who run it: health, metrics, and the description of the API."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import structlog
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from alerts.feed import queries
from alerts.feed.context import (
    Feed,
    FeedDep,
    NotAllowedError,
    NotLoggedInError,
    SessionDep,
    render,
    viewer_of_request,
)
from alerts.feed.database import UNAVAILABLE
from alerts.feed.roles import allowed
from alerts.feed.sessions import COOKIE
from alerts.feed.viewer import Viewer
from alerts.schema import load_migrations

log = structlog.get_logger()
operations = APIRouter(include_in_schema=False)


@operations.get("/health/live")
async def live() -> dict[str, str]:
    """The process runs and answers."""
    return {"status": "live"}


@operations.get("/health/ready")
async def ready(feed: FeedDep) -> JSONResponse:
    """200 when the database answers and has every migration that this release needs; else 503 and what is wrong.

    Migrations of a later release are named and do no harm: they only add, and during an upgrade old and new feeds
    serve side by side.
    """
    try:
        async with feed.database.plain() as conn:
            applied = await queries.schema_names(conn)
    except UNAVAILABLE as error:
        log.warning("not ready: the database does not answer", error=str(error).strip())
        return JSONResponse({"status": "waiting", "database": "does not answer"}, 503)
    fits, schema = schema_state(applied)
    if not fits:
        return JSONResponse({"status": "waiting", "database": "answers", "schema": schema}, 503)
    return JSONResponse({"status": "ready", "database": "answers", "schema": schema})


def schema_state(applied: set[str]) -> tuple[bool, str]:
    """Whether this release can serve a database with these migrations, and what is to be said of them."""
    migrations = load_migrations()
    everywhere = {m.name for m in migrations if not m.needs and not m.without}
    missing = sorted(everywhere - applied)
    if missing:
        return False, f"lacks {', '.join(missing)}: run `scad schema apply`"
    unknown = sorted(applied - {m.name for m in migrations})
    if unknown:
        return True, f"is newer than this release: {', '.join(unknown)}"
    return True, "current"


@operations.get("/metrics")
async def metrics(request: Request, feed: FeedDep) -> Response:
    """Prometheus text. A scraper logs in with HTTP Basic, a person with a session; role engineer or
    administrator."""
    viewer = await _operator(request, feed)
    if viewer is None:
        return Response(
            "log in as an engineer or administrator",
            401,
            media_type="text/plain",
            headers={"WWW-Authenticate": 'Basic realm="scad metrics", charset="UTF-8"'},
        )
    if not allowed(viewer.role, "metrics"):
        raise NotAllowedError
    async with feed.database.service() as conn:
        counts = await queries.open_alert_counts(conn)
    async with feed.database.plain() as conn:
        feed.metrics.room(**await queries.room(conn))
    feed.metrics.alerts.clear()
    for row in counts:
        feed.metrics.alerts.labels(row["class"], row["severity"], row["state"]).set(row["n"])
    return Response(generate_latest(feed.metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def _operator(request: Request, feed: Feed) -> Viewer | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        try:
            return await viewer_of_request(request, feed, request.cookies.get(COOKIE))
        except NotLoggedInError:
            return None
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    now = feed.wall_now()
    address = request.client.host if request.client is not None else ""
    if not feed.limiter.allow(address, now.timestamp()):
        return None
    viewer, _ = await feed.accounts.check(user, password, now)
    return viewer


@operations.get("/openapi.json")
async def openapi(request: Request, viewer: SessionDep) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@operations.get("/docs")
async def docs(request: Request, viewer: SessionDep) -> Response:
    """The operations of /openapi.json as a page of our own: nothing is loaded from anywhere else."""
    description: dict[str, Any] = request.app.openapi()
    found = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = description.get("components", {}).get("schemas", {})
    return render(request, "docs.html", viewer, operations=found, schemas=schemas, name_of=schema_name)


def schema_name(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words: `string (uuid)`, `Alert`, `array of Alert`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " | ".join(schema_name(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {schema_name(schema.get('items', {}))}"
    kind = str(schema.get("type", "any"))
    return f"{kind} ({schema['format']})" if "format" in schema else kind
