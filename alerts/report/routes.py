"""The report on the patient's page: as a page to read and print, and as a PDF to send."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from alerts.feed.context import Feed, FeedDep, SeeingDep, language_of, render_text
from alerts.feed.curves import LARGE, draw
from alerts.feed.formats import Formats, zone
from alerts.feed.models import Person
from alerts.feed.texts import Texts
from alerts.feed.viewer import Viewer
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


async def _collected(
    feed: Feed, viewer: Viewer, patient: str, first: date | None, last: date | None
) -> tuple[Person, Report | None, date, date]:
    """The report, or None for a period that cannot be."""
    now = to_datetime(feed.clock.now_ms())
    async with feed.database.reading(viewer) as conn:
        person = await store.person(conn, viewer, patient)
        until = last or now.astimezone(zone(person.time_zone)).date()
        since = first or until - timedelta(days=DAYS - 1)
        try:
            made = await collect(conn, person, since, until, now, library())
        except ReportError:
            return person, None, since, until
    return person, made, since, until


@reports.get("/patients/{patient}/report")
async def report_page(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    patient: PatientPath,
    first: First = None,
    last: Last = None,
) -> Response:
    person, report, since, until = await _collected(feed, viewer, patient, first, last)
    formats = Formats(Texts(language_of(request)), person.time_zone)
    values: dict[str, Any] = {"report": None}
    if report is not None:
        values = html_values(report, formats)
    text = render_text(
        request,
        "report.html",
        viewer,
        person=person,
        first=since,
        last=until,
        most=DAYS_MAX,
        large=LARGE,
        picture=draw,
        alone=False,
        f=formats,
        **values,
    )
    return Response(text, 200 if report is not None else 422, media_type="text/html; charset=utf-8")


@reports.get("/patients/{patient}/report.pdf")
async def report_pdf(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    patient: PatientPath,
    first: First = None,
    last: Last = None,
) -> Response:
    """The same as a file; its name has the pseudonym, not the patient's."""
    person, report, since, until = await _collected(feed, viewer, patient, first, last)
    formats = Formats(Texts(language_of(request)), person.time_zone)
    if report is None:
        return Response(formats.texts("report.bad_period", days=DAYS_MAX), 422, media_type="text/plain")
    pdf = await asyncio.to_thread(make_pdf, report, formats, versions_of(report))
    name = f"{person.patient}-{since}-{until}.pdf"
    return Response(
        pdf, media_type="application/pdf", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
