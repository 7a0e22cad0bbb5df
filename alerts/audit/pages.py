"""The auditor's pages: the trail, and the list of accesses that a patient may ask for."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from alerts.feed import queries
from alerts.feed.api import MissingError
from alerts.feed.context import FeedDep, permission, render
from alerts.feed.database import Connection
from alerts.feed.viewer import Viewer
from alerts.feed.ward.common import PatientPath
from devices.times import parse_instant

audit_pages = APIRouter(include_in_schema=False)
AuditDep = Annotated[Viewer, Depends(permission("audit"))]

LINES_SHOWN = 200
LIST_MAX = 20_000  # accesses to one patient in the year that they are kept: fifty a day


async def _lines(conn: Connection, patient: str | None, after: int, most: int) -> list[dict[str, Any]]:
    found = await conn.execute("select n, line from audit.lines(%s, %s, %s)", (patient, after, most))
    lines = [msgspec.json.decode(row["line"]) for row in await found.fetchall()]
    names = await conn.execute(
        "select login, display_name from scad.account where login = any(%s)",
        ([line["by"] for line in lines],),
    )
    known = {row["login"]: row["display_name"] for row in await names.fetchall()}
    return [
        {**line, "at_ms": parse_instant(line["at"])[0], "name": known.get(line["by"], line["by"])}
        for line in lines
    ]


@audit_pages.get("/audit")
async def trail_page(
    request: Request, feed: FeedDep, viewer: AuditDep, after: Annotated[int, Query(ge=0, le=2**62)] = 0
) -> Response:
    """The trail from a line on; for an auditor of all teams. One of a team has the lists of its patients."""
    async with feed.database.reading(viewer) as conn:
        lines = await _lines(conn, None, after, LINES_SHOWN)
    return render(request, "audit.html", viewer, lines=lines, after=after, step=LINES_SHOWN)


@audit_pages.get("/patients/{patient}/accesses")
async def accesses_page(request: Request, feed: FeedDep, viewer: AuditDep, patient: PatientPath) -> Response:
    """Who has looked at one patient, to be printed and handed over."""
    async with feed.database.reading(viewer) as conn:
        person = (await queries.persons(conn, viewer, [patient])).get(patient)
        if person is None:
            raise MissingError("patient")
        lines = await _lines(conn, patient, 0, LIST_MAX)
    return render(
        request, "audit_patient.html", viewer, person=person, lines=lines, whole=len(lines) < LIST_MAX
    )
