"""The report on the patient's page: as a page to read and print, and as a PDF to send."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from alerts.feed.context import FeedDep, SeeingDep, language_of, render_text
from alerts.feed.curves import LARGE, draw
from alerts.feed.formats import Formats, zone
from alerts.feed.models import Person
from alerts.feed.texts import Texts
from alerts.feed.ward import store
from alerts.feed.ward.common import PatientPath
from alerts.feed.ward.plans import library
from alerts.report.collect import DAYS_MAX, Report, ReportError, collect
from alerts.report.document import html_values, versions_of
from alerts.report.pdf import make_pdf
from devices.times import to_datetime

reports = APIRouter(include_in_schema=False)

DAYS = 90  # a prescription is renewed after some months; what changed since is what the doctor asks
First = Annotated[date | None, Query(alias="from")]
Last = Annotated[date | None, Query(alias="to")]


@dataclass(frozen=True, slots=True)
class Made:
    """What both routes answer with: whose report, of which days, in whose formats; `report` is None for a period that
    cannot be."""

    person: Person
    report: Report | None
    first: date
    last: date
    formats: Formats


async def made(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    patient: PatientPath,
    first: First = None,
    last: Last = None,
) -> Made:
    """A dependency: the report that the address asks for. Raises MissingError for a patient who is not the viewer's."""
    now = to_datetime(feed.clock.now_ms())
    report = None
    async with feed.database.reading(viewer) as conn:
        person = await store.person(conn, viewer, patient)
        until = last or now.astimezone(zone(person.time_zone)).date()
        since = first or until - timedelta(days=DAYS - 1)
        with suppress(ReportError):
            report = await collect(conn, person, since, until, now, library())
    return Made(person, report, since, until, Formats(Texts(language_of(request)), person.time_zone))


MadeDep = Annotated[Made, Depends(made)]


@reports.get("/patients/{patient}/report")
async def report_page(request: Request, viewer: SeeingDep, made: MadeDep) -> Response:
    values: dict[str, Any] = {"report": None}
    if made.report is not None:
        values = html_values(made.report, made.formats)
    text = render_text(
        request,
        "report.html",
        viewer,
        person=made.person,
        first=made.first,
        last=made.last,
        most=DAYS_MAX,
        large=LARGE,
        picture=draw,
        alone=False,
        f=made.formats,
        **values,
    )
    return Response(text, 200 if made.report is not None else 422, media_type="text/html; charset=utf-8")


@reports.get("/patients/{patient}/report.pdf")
async def report_pdf(_: SeeingDep, made: MadeDep) -> Response:
    """The same as a file; its name has the pseudonym, not the patient's."""
    if made.report is None:
        text = made.formats.texts("report.bad_period", days=DAYS_MAX)
        return Response(text, 422, media_type="text/plain")
    pdf = await asyncio.to_thread(make_pdf, made.report, made.formats, versions_of(made.report))
    name = f"{made.person.patient}-{made.first}-{made.last}.pdf"
    return Response(
        pdf, media_type="application/pdf", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
