"""The page of a patient's identity: every trait with the INS, corrected with a reason, and files merged into it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from alerts.audit import watch
from alerts.feed.context import FeedDep
from alerts.feed.database import Connection as FeedConnection
from alerts.feed.viewer import Viewer
from alerts.feed.ward import store as ward_store
from alerts.feed.ward.common import IdentityDep, PatientPath, page, said_of
from alerts.feed.ward.transaction import changing
from alerts.identity import store
from alerts.identity.correcting import corrected
from alerts.identity.files import REMAINS
from alerts.identity.store import Change, IdentityError
from alerts.identity.vault import INS_OIDS
from alerts.store.connection import Connection

identity_page = APIRouter(include_in_schema=False)

FIELDS = (
    "family_name", "given_names", "birth_date", "sex", "birth_place", "phone", "ins", "ins_oid", "reliability",
)  # fmt: skip
VALUE_MAX = 200
WHY_MAX = 500


@identity_page.get("/patients/{patient}/identity")
async def show(
    request: Request, feed: FeedDep, viewer: IdentityDep, patient: PatientPath, said: str = ""
) -> Response:
    return await _page(request, feed, viewer, patient, said=said)


async def _page(
    request: Request,
    feed: FeedDep,
    viewer: Viewer,
    patient: str,
    status: int = 200,
    problem: IdentityError | None = None,
    said: str = "",
) -> Response:
    async with feed.database.reading(viewer) as conn:
        person = await ward_store.person(conn, viewer, patient)
        found = await conn.execute(
            "select patient as file, holder, linked_at from identity.link"
            " where ended_at is null and %s in (patient, holder) order by linked_at",
            (patient,),
        )
        links = await found.fetchall()
        erased = await erasure(conn, patient)
    try:
        traits = await changing(feed, viewer, lambda conn: store.read(conn, feed.database.vault, patient))
    except IdentityError as error:
        traits, problem, status = None, error, 503
    return page(
        request, "ward_identity.html", viewer, person, status, traits=traits, links=links, fields=FIELDS,
        oids=INS_OIDS, problem=problem, erased=erased, remains=REMAINS, said=said_of(said),
    )  # fmt: skip


async def erasure(conn: FeedConnection, patient: str) -> dict[str, Any] | None:
    """When this patient's key was destroyed, by whom, why, and what remained."""
    result = await conn.execute(
        """
        select e.erased_at, coalesce(a.display_name, e.erased_by) as by, e.why, e.remains
          from identity.erasure e left join scad.account a on a.login = e.erased_by where e.patient = %s""",
        (patient,),
    )
    return await result.fetchone()


@identity_page.post("/patients/{patient}/identity")
async def correct(request: Request, feed: FeedDep, viewer: IdentityDep, patient: PatientPath) -> Response:
    """Correct what differs; what was before is kept with the reason."""
    async with feed.database.reading(viewer) as reading:
        await ward_store.person(reading, viewer, patient)
    sent = await request.form()
    given: dict[str, str | None] = {
        name: str(sent[name]).strip()[:VALUE_MAX] for name in FIELDS if name in sent
    }
    why = str(sent.get("why", "")).strip()[:WHY_MAX]

    def work(conn: Connection) -> Any:
        before = store.read(conn, feed.database.vault, patient)
        if before is None:
            raise IdentityError(f"{patient} has no identity here", "nobody")
        if not why:
            raise IdentityError("a correction needs a reason", "why")
        # the form sends every field: what it shows and nobody touched is no word on the status
        said = {name: value for name, value in given.items() if value != (getattr(before, name) or "")}
        change = Change(viewer.login, feed.clock.now_ms(), why)
        return store.write(conn, feed.database.vault, patient, corrected(before, said), change)

    try:
        await changing(feed, viewer, work)
    except IdentityError as error:
        return await _page(request, feed, viewer, patient, 422, error)
    watch.says(did="identity-correct", why=why)
    return RedirectResponse(f"/patients/{patient}/identity?said=corrected", 303)
