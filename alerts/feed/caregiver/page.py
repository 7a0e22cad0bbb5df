"""The caregiver's page: one patient's follow-up in plain words, as far as the patient lets it be seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from alerts.feed.caregiver import shown
from alerts.feed.context import FeedDep, permission, render
from alerts.feed.viewer import Viewer

care_page = APIRouter(include_in_schema=False)
CareDep = Annotated[Viewer, Depends(permission("care"))]


@care_page.get("/caregiver")
async def follow_up(request: Request, feed: FeedDep, viewer: CareDep) -> Response:
    """What the access shows; when its date has come, a sentence that says so and nothing else."""
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        care = await shown.care(conn, now_ms)
    return render(request, "caregiver.html", viewer, 200 if care is not None else 403, care=care)
