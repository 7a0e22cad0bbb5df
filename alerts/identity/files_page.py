"""The page of two files of one person: side by side before they are merged, split where that was wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from alerts.audit import watch
from alerts.feed.api import MissingError
from alerts.feed.context import Feed, FeedDep
from alerts.feed.database import Connection
from alerts.feed.viewer import Viewer
from alerts.feed.ward import store as ward_store
from alerts.feed.ward.common import (
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
from alerts.identity import files, store
from alerts.identity.store import Change, IdentityError
from alerts.identity.vault import Traits
from alerts.store.connection import Connection as Plain

files_page = APIRouter(include_in_schema=False)

PAGE = "/identity/files"
SUGGESTED_MAX = 5  # files with the same names and birth date; more are no doubles but a test's
LINKS_SHOWN = 20
SHOWN = ("family_name", "given_names", "birth_date", "sex", "birth_place", "ins", "reliability")
Other = Annotated[str, Query(max_length=64)]

_LINKS = """
select l.patient as file, l.holder, l.linked_at, l.why, l.ended_at, l.ended_why,
       coalesce(a.display_name, l.linked_by) as linked_by, coalesce(b.display_name, l.ended_by) as ended_by,
       (select coalesce(jsonb_agg(jsonb_build_object('device', s.device, 'file', s.patient, 'from', s.from_at)
                                  order by s.from_at, s.device), '[]')
          from scad.assignment s
         where s.patient in (l.patient, l.holder) and s.from_at >= l.linked_at
           and s.from_at < coalesce(l.ended_at, 'infinity')) as attached
  from identity.link l left join scad.account a on a.login = l.linked_by
  left join scad.account b on b.login = l.ended_by
 where %(patient)s in (l.patient, l.holder) order by l.linked_at desc limit %(most)s"""

_FILES = """
select p.patient, p.enrolled_at,
       (select coalesce(array_agg(s.device order by s.device), '{}') from scad.assignment s
         where s.patient = p.patient and s.to_at is null) as devices
  from scad.patient p where p.patient = any(%s)"""


@files_page.get("/patients/{patient}/identity/files")
async def show(
    request: Request,
    feed: FeedDep,
    viewer: IdentityDep,
    patient: PatientPath,
    other: Other = "",
    said: str = "",
) -> Response:
    form = filled(texts_of(request), {"other": other.strip()})
    return await _page(request, feed, viewer, patient, form, 200, said)


async def _page(
    request: Request,
    feed: Feed,
    viewer: Viewer,
    patient: str,
    form: Form,
    status: int = 422,
    said: str = "",
) -> Response:
    other = form["other"]
    async with feed.database.reading(viewer) as conn:
        person = await ward_store.person(conn, viewer, patient)
        links = await _links(conn, patient)
        merged = any(link["ended_at"] is None and link["file"] == patient for link in links)
        beside = None
        if other and not merged:
            beside = await _mine(conn, viewer, other) if other != patient else None
            if beside is None:
                form.fault("other", "identity_itself" if other == patient else "identity_no_file")
        names = [patient] if beside is None else [patient, other]
        about = {row["patient"]: row for row in await (await conn.execute(_FILES, (names,))).fetchall()}
    traits, alike = await changing(feed, viewer, lambda plain: _traits(plain, feed, names, links))
    return page(
        request, "ward_files.html", viewer, person, status if form.faults else 200, form=form, links=links,
        merged=merged, beside=beside, about=about, traits=traits, alike=alike, shown=SHOWN, said=said_of(said),
    )  # fmt: skip


async def _links(conn: Connection, patient: str) -> list[dict[str, Any]]:
    """Links of this file, the latest first, each with the devices that either file got while they were one."""
    rows = await (await conn.execute(_LINKS, {"patient": patient, "most": LINKS_SHOWN})).fetchall()
    for row in rows:
        row["attached"] = [{**one, "from": datetime.fromisoformat(one["from"])} for one in row["attached"]]
    return rows


async def _mine(conn: Connection, viewer: Viewer, patient: str) -> str | None:
    """The pseudonym, if it is one of the viewer's own team; one behind glass is not."""
    try:
        found = await ward_store.person(conn, viewer, patient)
    except MissingError:
        return None
    return patient if viewer.sees(found.care_team) else None


def _traits(
    conn: Plain, feed: Feed, names: list[str], links: list[dict[str, Any]]
) -> tuple[dict[str, Traits | None], list[str]]:
    """Each file's own traits (not its holder's), and files of people of the same names and birth date."""
    vault = feed.database.vault
    traits = {name: store.read(conn, vault, name) for name in names}
    own = traits[names[0]]
    if own is None:
        return traits, []
    known = {
        names[0],
        *(row[side] for row in links for side in ("file", "holder") if row["ended_at"] is None),
    }
    found = store.find(conn, vault, own.family_name, own.given_names, own.birth_date)
    return traits, [name for name in found if name not in known][:SUGGESTED_MAX]


@files_page.post("/patients/{patient}/identity/files/merge")
async def merge(request: Request, feed: FeedDep, viewer: IdentityDep, patient: PatientPath) -> Response:
    """Two files are one person from now on; `holder` says whose identity is right."""
    form = await form_of(request)
    other = form["other"]
    async with feed.database.reading(viewer) as conn:
        await ward_store.person(conn, viewer, patient)
        if await _mine(conn, viewer, other) is None:
            form.fault("other", "identity_no_file")
    holder = form.choice("holder", (patient, other))
    why = form.text("why", most=TEXT_MAX, required=True)
    if form.faults or holder is None or why is None:
        return await _page(request, feed, viewer, patient, form)
    file = other if holder == patient else patient
    try:
        change = Change(viewer.login, feed.clock.now_ms(), why)
        await changing(feed, viewer, lambda plain: files.merge(plain, file, holder, change))
    except IdentityError as error:
        form.fault("form", f"identity_{error.code}")
        return await _page(request, feed, viewer, patient, form)
    watch.saw(file, holder)
    watch.says(did="identity-merge", why=why)
    return done(patient, PAGE, "merged")


@files_page.post("/patients/{patient}/identity/files/split")
async def split(request: Request, feed: FeedDep, viewer: IdentityDep, patient: PatientPath) -> Response:
    """End a wrong merge. `file` is the one that was merged into the other: this, or one that this one holds."""
    form = await form_of(request)
    file = form["file"] or patient
    async with feed.database.reading(viewer) as conn:
        await ward_store.person(conn, viewer, patient)
        standing = [row for row in await _links(conn, patient) if row["ended_at"] is None]
    if file not in [row["file"] for row in standing]:
        form.fault("form", "identity_not_merged")
    why = form.text("why", most=TEXT_MAX, required=True)
    if form.faults or why is None:
        return await _page(request, feed, viewer, patient, form)
    try:
        change = Change(viewer.login, feed.clock.now_ms(), why)
        ended = await changing(feed, viewer, lambda plain: files.split(plain, file, change))
    except IdentityError as error:  # somebody was quicker
        form.fault("form", f"identity_{error.code}")
        return await _page(request, feed, viewer, patient, form)
    watch.saw(file, ended.holder)
    watch.says(did="identity-split", why=why)
    return done(patient, PAGE, "split")
