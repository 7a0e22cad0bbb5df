"""The care plan: its form, what a change would have done, saving or proposing it, and deciding a proposal.

A physician saves a version; what a nurse sets becomes a proposal that a physician confirms or declines. Either
sees first what the change would have done (`seen` is the digest of the version that was shown): a form that is
sent without it comes back with the preview.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from alerts.changes import ChangeRefusedError, decline_proposal, propose_version, save_version
from alerts.feed import queries
from alerts.feed.context import Feed, FeedDep, SeeingDep, render_text
from alerts.feed.database import Connection
from alerts.feed.formats import DAY_MS
from alerts.feed.models import Person
from alerts.feed.pages import not_found
from alerts.feed.roles import allowed
from alerts.feed.viewer import Viewer
from alerts.feed.ward import preview as previews
from alerts.feed.ward import store
from alerts.feed.ward.common import (
    ConfirmDep,
    PatientPath,
    PlanDep,
    done,
    form_of,
    formats_of,
    page,
    refused,
    texts_of,
)
from alerts.feed.ward.differences import Difference, differences
from alerts.feed.ward.forms import TEXT_MAX, Form, filled, local_input, offset_min
from alerts.feed.ward.limit_fields import fields_of
from alerts.feed.ward.picture import draw_change
from alerts.feed.ward.plan_form import (
    facts_of,
    read_reason,
    read_version,
    rhythms_of,
    values_of,
)
from alerts.feed.ward.transaction import changing
from alerts.store.connection import Connection as Plain
from devices.times import format_instant
from streams.plans import PlanVersion
from streams.protocols import load_published
from streams.protocols.model import Library

plans = APIRouter(include_in_schema=False)

library = cache(load_published)


@dataclass(frozen=True, slots=True)
class Shown:
    """A change as it is shown before it is saved."""

    digest: str
    differences: list[Difference]
    preview: previews.Preview | None


def digest_of(version: PlanVersion, base: int) -> str:
    """Names what was shown, but for when it takes effect and who asks."""
    plain = msgspec.structs.replace(version, version=0, from_="", author="")
    return hashlib.sha256(msgspec.json.encode((base, plain), order="sorted")).hexdigest()[:32]


async def show(
    request: Request,
    conn: Connection,
    person: Person,
    before: PlanVersion | None,
    wanted: PlanVersion,
    now_ms: int,
    known: Library,
) -> Shown:
    """What differs and what it would have done, over the patient's stored readings."""
    found = differences(before, wanted, known, formats_of(request, person))
    digest = digest_of(wanted, before.version if before is not None else 0)
    if not found:
        return Shown(digest, [], None)
    kinds = previews.kinds_of(known, previews.concerned(before, wanted))
    begin_ms = now_ms - previews.DAYS * DAY_MS
    lead_ms = begin_ms - previews.LEAD_DAYS * DAY_MS
    readings = await store.stored_readings(conn, person.patient, kinds, lead_ms, previews.READINGS_MAX + 1)
    answer = await asyncio.to_thread(
        previews.preview,
        known,
        readings[: previews.READINGS_MAX],
        before,
        wanted,
        begin_ms,
        now_ms,
        truncated=len(readings) > previews.READINGS_MAX,
    )
    return Shown(digest, found, answer)


@plans.get("/alerts/{alert}/limit")
async def limit_of_alert(request: Request, feed: FeedDep, viewer: PlanDep, alert: UUID) -> Response:
    """To the care plan's field of the limit that the alert went by; a rule without one: to the plan."""
    async with feed.database.reading(viewer) as conn:
        found = await queries.alert(conn, viewer, alert)
        if found is None:
            return not_found(request, viewer)
        newest = next((v.plan for v in await store.versions(conn, found.patient)), None)
    facts = facts_of(filled(texts_of(request), values_of(newest, library())))
    fields = fields_of(library(), [found.protocol], facts).get(found.protocol, ())
    own = [one for one in fields if one.rule.name == found.rule]
    fitting = [one for one in own if one.level.severity == found.severity] or own
    # colons as they are: the page's own ids have them
    field = f"#f-{quote(fitting[0].name, safe=':')}" if fitting else ""
    return RedirectResponse(f"/patients/{quote(found.patient, safe='')}/plan{field}", 303)


@plans.get("/patients/{patient}/plan")
async def plan_page(request: Request, feed: FeedDep, viewer: SeeingDep, patient: PatientPath) -> Response:
    return await _present(request, feed, viewer, patient, feed.clock.now_ms())


async def _present(
    request: Request, feed: Feed, viewer: Viewer, patient: str, now_ms: int, tried: Form | None = None
) -> Response:
    """The form as the present plan fills it, with the proposal that waits and what it would have done; after a
    decision that was refused (`tried`), with its note and its faults."""
    async with feed.database.reading(viewer) as conn:
        person = await store.person(conn, viewer, patient)
        found = await store.versions(conn, patient)
        newest = next((v.plan for v in found), None)
        waiting = await store.proposal(conn, patient)
        offered = None
        if waiting is not None:
            offered = await show(request, conn, person, newest, waiting.plan, now_ms, library())
    values = values_of(newest, library()) | {"from": local_input(now_ms, person.time_zone)}
    form = filled(texts_of(request), values)
    form.chosen["protocols"] = newest.protocols if newest is not None else ()
    if tried is not None:
        form.typed["note"], form.faults = tried["note"], tried.faults
    status = 200 if tried is None else 409
    return _plan(request, viewer, person, form, found, status, waiting=waiting, offered=offered)


@plans.post("/patients/{patient}/plan")
async def change_plan(request: Request, feed: FeedDep, viewer: PlanDep, patient: PatientPath) -> Response:
    """Preview or save, by the button; saving what was not previewed previews it."""
    form = await form_of(request)
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        person = await store.person(conn, viewer, patient)
        found = await store.versions(conn, patient)
        newest = next((v.plan for v in found), None)
        moved = form["base"] != str(found[0].number if found else 0)
        wanted = read_version(form, newest, library(), person.time_zone, viewer.display_name, now_ms)
        saving = form["do"] == "save"
        reason = read_reason(form) if saving else ""
        shown = None
        if wanted is not None:
            shown = await show(request, conn, person, newest, wanted, now_ms, library())
        waiting = await store.proposal(conn, patient)
    if moved:
        form.fault("form", "plan_moved", version=found[0].number if found else 0)
    if saving and shown is not None and not shown.differences:
        form.fault("form", "no_change")
    seen = shown is not None and form["seen"] == shown.digest
    if saving and seen and wanted is not None and not form.faults:
        refusal = await _save(feed, viewer, patient, form, wanted, reason, now_ms)
        if refusal is None:
            return done(patient, "#plan", "saved" if allowed(viewer.role, "confirm") else "proposed")
    elif saving and not form.faults:
        form.fault("form", "look_first")
    if request.headers.get("x-fragment") == "preview":
        return _fragment(request, viewer, person, form, shown)
    status = 409 if moved else 422 if form.faults else 200
    return _plan(request, viewer, person, form, found, status, shown=shown, waiting=waiting)


async def _save(
    feed: Feed,
    viewer: Viewer,
    patient: str,
    form: Form,
    wanted: PlanVersion,
    reason: str,
    now_ms: int,
) -> ChangeRefusedError | None:
    """Save or propose; a refusal is noted in the form."""
    base = wanted.version - 1

    def work(conn: Plain) -> None:
        if allowed(viewer.role, "confirm"):
            save_version(conn, patient, wanted, base, reason, viewer.login, now_ms)
        else:
            propose_version(conn, patient, wanted, base, reason, viewer.login, now_ms)

    try:
        await changing(feed, viewer, work)
    except ChangeRefusedError as error:
        refused(form, error, {})
        return error
    return None


@plans.post("/patients/{patient}/plan/proposals/{number}")
async def decide(
    request: Request, feed: FeedDep, viewer: ConfirmDep, patient: PatientPath, number: int
) -> Response:
    """A physician confirms a proposal (it takes effect now, or when it asks to) or declines it."""
    form = await form_of(request)
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        person = await store.person(conn, viewer, patient)
        waiting = await store.proposal(conn, patient)
    note = form.text("note", most=TEXT_MAX) or ""
    declining = form["do"] == "decline"
    if declining and not note:
        form.fault("note", "required")
    if waiting is None or waiting.id != number:
        form.fault("form", "proposal_gone")
    elif not form.faults:
        proposal = waiting

        def work(conn: Plain) -> None:
            if declining:
                decline_proposal(conn, patient, number, note, viewer.login, now_ms)
                return
            wanted = proposal.plan
            if wanted.from_ms < now_ms:
                wanted = msgspec.structs.replace(wanted, from_=_now_text(now_ms, person.time_zone))
            wanted = msgspec.structs.replace(wanted, author=viewer.display_name)
            reason = f"{proposal.reason} – {note}" if note else proposal.reason
            save_version(conn, patient, wanted, proposal.base, reason, viewer.login, now_ms, proposal=number)

        try:
            await changing(feed, viewer, work)
            return done(patient, "#plan", "declined" if declining else "confirmed")
        except ChangeRefusedError as error:
            refused(form, error, {})
    return await _present(request, feed, viewer, patient, now_ms, form)


def _now_text(now_ms: int, time_zone: str) -> str:
    return format_instant(now_ms, offset_min(now_ms, time_zone))


def _plan(
    request: Request,
    viewer: Viewer,
    person: Person,
    form: Form,
    found: list[store.StoredVersion],
    status: int = 200,
    **values: Any,
) -> Response:
    known = library()
    ticked = [name for name in known.protocols if name in set(form.chosen.get("protocols", ()))]
    base = found[0].number if found else 0
    return page(
        request,
        "ward_plan.html",
        viewer,
        person,
        status,
        form=form,
        base=base,
        protocols=list(known.protocols),
        ticked=ticked,
        fields=fields_of(known, ticked, facts_of(form)),
        kinds=list(rhythms_of(known, ticked)),
        usual=rhythms_of(known, ticked),
        confirms=allowed(viewer.role, "confirm"),
        draw_change=draw_change,
        **{"shown": None, "waiting": None, "offered": None, **values},
    )


def _fragment(request: Request, viewer: Viewer, person: Person, form: Form, shown: Shown | None) -> Response:
    """The preview alone, for the script that asks while somebody types."""
    html = render_text(
        request,
        "ward_preview.html",
        viewer,
        person=person,
        form=form,
        shown=shown,
        draw_change=draw_change,
    )
    return Response(html, 200, media_type="text/html", headers={"Vary": "Accept-Language, Cookie"})
