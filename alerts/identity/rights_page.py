"""What a patient may ask for: no research with the own data, and that nobody can read any more who it was."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from alerts.audit import watch
from alerts.exports.objections import record_objection
from alerts.feed.context import Feed, FeedDep
from alerts.feed.viewer import Viewer
from alerts.feed.ward import store as ward_store
from alerts.feed.ward.common import (
    EraseDep,
    IdentityDep,
    PatientPath,
    done,
    form_of,
    page,
    said_of,
    texts_of,
)
from alerts.feed.ward.forms import TEXT_MAX, Form, filled
from alerts.feed.ward.transaction import changing
from alerts.identity import files
from alerts.identity.page import erasure
from alerts.identity.store import Change, IdentityError
from devices.times import to_datetime

rights_page = APIRouter(include_in_schema=False)

HISTORY_SHOWN = 20  # an objection is given and withdrawn once or twice in a life

_OBJECTIONS = """
select o.objects, o.recorded_at, coalesce(a.display_name, o.recorded_by) as by
  from scad.research_objection o left join scad.account a on a.login = o.recorded_by
 where o.patient = %s order by o.id desc limit %s"""


# ── objection to research ───────────────────────────────────────────────────────────────────────────────────


@rights_page.get("/patients/{patient}/identity/objection")
async def objection(
    request: Request, feed: FeedDep, viewer: IdentityDep, patient: PatientPath, said: str = ""
) -> Response:
    async with feed.database.reading(viewer) as conn:
        person = await ward_store.person(conn, viewer, patient)
        history = await (await conn.execute(_OBJECTIONS, (patient, HISTORY_SHOWN))).fetchall()
    objects = bool(history and history[0]["objects"])
    return page(
        request, "ward_objection.html", viewer, person, history=history, objects=objects, said=said_of(said)
    )


@rights_page.post("/patients/{patient}/identity/objection")
async def record(request: Request, feed: FeedDep, viewer: IdentityDep, patient: PatientPath) -> Response:
    """What the patient has said holds from the next export on."""
    async with feed.database.reading(viewer) as conn:
        await ward_store.person(conn, viewer, patient)
    objects = (await form_of(request))["objects"] == "yes"
    at = to_datetime(feed.clock.now_ms())
    await changing(feed, viewer, lambda plain: record_objection(plain, patient, objects, viewer.login, at))
    watch.says(did="objection" if objects else "objection-withdrawn")
    return done(patient, "/identity/objection", "objects" if objects else "agrees")


# ── erasure ─────────────────────────────────────────────────────────────────────────────────────────────────


@rights_page.get("/patients/{patient}/identity/erase")
async def erase_page(request: Request, feed: FeedDep, viewer: EraseDep, patient: PatientPath) -> Response:
    return await _page(request, feed, viewer, patient, filled(texts_of(request), {}), 200)


async def _page(
    request: Request, feed: Feed, viewer: Viewer, patient: str, form: Form, status: int = 422
) -> Response:
    async with feed.database.reading(viewer) as conn:
        person = await ward_store.person(conn, viewer, patient)
        erased = await erasure(conn, patient)
        state: dict[str, Any] | None = await (
            await conn.execute(
                """
                select exists (select from scad.assignment where patient = %(p)s and to_at is null) as has_device,
                       exists (select from identity.link
                                where ended_at is null and %(p)s in (patient, holder)) as is_merged""",
                {"p": patient},
            )
        ).fetchone()
    remains = await changing(feed, viewer, lambda plain: files.remaining(plain, patient, as_feed=True))
    return page(
        request, "ward_erase.html", viewer, person, status, form=form, erased=erased, state=state,
        remains=remains, said="",
    )  # fmt: skip


@rights_page.post("/patients/{patient}/identity/erase")
async def erase(request: Request, feed: FeedDep, viewer: EraseDep, patient: PatientPath) -> Response:
    """Destroy the key, once the pseudonym has been typed: there is no way back."""
    form = await form_of(request)
    async with feed.database.reading(viewer) as conn:
        await ward_store.person(conn, viewer, patient)
    if form["confirm"] != patient:
        form.fault("confirm", "identity_confirm")
    why = form.text("why", most=TEXT_MAX, required=True)
    if form.faults or why is None:
        return await _page(request, feed, viewer, patient, form)
    change = Change(viewer.login, feed.clock.now_ms(), why)
    try:
        await changing(feed, viewer, lambda plain: files.erase(plain, patient, change, as_feed=True))
    except IdentityError as error:
        form.fault("form", f"identity_{error.code}")
        return await _page(request, feed, viewer, patient, form)
    watch.says(did="identity-erase", why=why)
    return done(patient, "/identity", "erased")
