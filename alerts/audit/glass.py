"""Breaking the glass: a patient of another team, for an hour, with a reason that an administrator reads."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import psycopg
import structlog
from fastapi import APIRouter, Depends, Form, Path, Request
from starlette.responses import RedirectResponse, Response

from alerts.audit import watch
from alerts.feed.access_log import note
from alerts.feed.api import MissingError
from alerts.feed.context import ActingDep, Feed, FeedDep, permission, render
from alerts.feed.database import Connection
from alerts.feed.viewer import Viewer
from alerts.identity.vault import ins_index, name_index
from alerts.service_times import Contact

log = structlog.get_logger()

glass = APIRouter(include_in_schema=False)
AdministratorDep = Annotated[Viewer, Depends(permission("accounts"))]

REASON_MIN, REASON_MAX = 10, 500  # shorter is no reason; alerts/schema/0038_glass.sql says it too
ADMINISTRATORS_SHOWN = 50  # an installation with more has given the role away too freely
CHANNELS = ("mail", "webhook")
OPENED_SHOWN = 200  # a region that breaks more in the time that nobody looked has another problem
Text = Annotated[str, Form(max_length=REASON_MAX, pattern=r"^[^\x00]*$")]


@glass.get("/glass")
async def glass_page(request: Request, feed: FeedDep, viewer: ActingDep) -> Response:
    return await _page(request, feed, viewer)


async def _page(
    request: Request, feed: Feed, viewer: Viewer, status: int = 200, problem: str = "", **typed: str
) -> Response:
    async with feed.database.reading(viewer) as conn:
        found = await conn.execute(
            "select patient as file, reason, opened_at, expires_at from scad.glass"
            " where login = %s and closed_at is null and expires_at > now() order by opened_at",
            (viewer.login,),
        )
        standing = await found.fetchall()
    return render(
        request, "glass.html", viewer, status, problem=problem, typed=typed, standing=standing,
        reason_min=REASON_MIN, reason_max=REASON_MAX,
    )  # fmt: skip


@glass.post("/glass")
async def break_glass(
    request: Request,
    feed: FeedDep,
    viewer: ActingDep,
    reason: Text = "",
    patient: Text = "",
    ins: Text = "",
    ins_oid: Text = "",
    family_name: Text = "",
    given_names: Text = "",
    birth_date: Text = "",
) -> Response:
    """Open one file and go there. What was typed to find it is kept nowhere."""
    reason = reason.strip()
    if len(reason) < REASON_MIN:
        return await _page(request, feed, viewer, 422, "glass.no_reason", reason=reason)
    watch.says(why=reason)
    async with feed.database.writing(viewer) as conn:
        index = None
        if feed.database.vault is not None:
            row = await (await conn.execute("select wrapped from identity.index_key")).fetchone()
            key = feed.database.vault.index_key(row["wrapped"]) if row is not None else None
            index = key and _index(key, ins, ins_oid, family_name, given_names, birth_date)
        try:
            result = await conn.execute(
                "select patient, expires_at from scad.break_glass(%s, %s, %s)",
                (patient.strip() or None, index, reason),
            )
            opened = await result.fetchone()
        except psycopg.errors.CheckViolation:
            opened = None
    if opened is None:
        return await _page(request, feed, viewer, 404, "glass.nobody", reason=reason)
    if opened["expires_at"] is not None:
        feed.metrics.glass.inc()
        log.warning("the glass is broken", login=viewer.login, patient=opened["patient"])
    return RedirectResponse(f"/patients/{opened['patient']}", 303)


def _index(
    key: bytes, ins: str, ins_oid: str, family_name: str, given_names: str, birth_date: str
) -> bytes | None:
    """The blind index of who was typed in: by INS, or by names with birth date."""
    if ins.strip():
        return ins_index(key, ins_oid.strip(), ins)
    try:
        return name_index(key, family_name, given_names, date.fromisoformat(birth_date))
    except ValueError:
        return None


@glass.post("/glass/{file}/close")
async def mend_glass(
    feed: FeedDep, viewer: ActingDep, file: Annotated[str, Path(max_length=64, pattern=r"^[^\x00]*$")]
) -> Response:
    """Close what one has opened. (`file`: of a `patient` the permission would see to it that it is only read.)"""
    if file in viewer.glass:
        watch.saw(file)
    async with feed.database.writing(viewer) as conn:
        await conn.execute("select scad.mend_glass(%s)", (file,))
    return RedirectResponse("/glass", 303)


@glass.get("/glass/opened")
async def opened_page(request: Request, feed: FeedDep, viewer: AdministratorDep) -> Response:
    """Every broken glass, those that nobody has reviewed first; and where administrators are told of the next."""
    return await _opened(request, feed, viewer)


async def _opened(
    request: Request, feed: Feed, viewer: Viewer, status: int = 200, problem: str = ""
) -> Response:
    async with feed.database.reading(viewer) as conn:
        found = await conn.execute(
            """
            select g.id, g.patient as file, g.login, a.display_name, a.care_team, g.reason, g.opened_at, g.expires_at,
                   g.closed_at, g.reviewed_by, g.reviewed_at, g.review_note
              from scad.glass g left join scad.account a using (login)
             order by g.reviewed_at is not null, g.opened_at desc limit %s""",
            (OPENED_SHOWN,),
        )
        rows = await found.fetchall()
        people = await _administrators(conn)
    return render(
        request,
        "glass_opened.html",
        viewer,
        status,
        opened=rows,
        people=people,
        channels=CHANNELS,
        problem=problem,
    )


async def _administrators(conn: Connection) -> list[dict[str, Any]]:
    """Administrators with the addresses at which they are told, by channel."""
    result = await conn.execute(
        """
        select a.login, a.display_name,
               (select coalesce(jsonb_object_agg(c.channel, c.address), '{}')
                  from scad.administrator_contact c where c.login = a.login) as addresses
          from scad.account a where a.role = 'administrator' and a.disabled_at is null
         order by a.display_name limit %s""",
        (ADMINISTRATORS_SHOWN,),
    )
    return await result.fetchall()


@glass.post("/glass/contacts/{login}")
async def set_contacts(
    request: Request,
    feed: FeedDep,
    viewer: AdministratorDep,
    login: Annotated[str, Path(max_length=64, pattern=r"^[^\x00]*$")],
    mail: Text = "",
    webhook: Text = "",
) -> Response:
    """Where one administrator is told; an empty field takes the address away."""
    wanted = {"mail": mail.strip(), "webhook": webhook.strip()}
    try:
        for channel, address in wanted.items():
            if address:
                Contact(person=login, channel=channel, address=address)  # type: ignore[arg-type]
    except ValueError:
        return await _opened(request, feed, viewer, 422, "glass.bad_address")
    async with feed.database.writing(viewer) as conn:
        known = await conn.execute(
            "select from scad.account where login = %s and role = 'administrator'", (login,)
        )
        if await known.fetchone() is None:
            raise MissingError("administrator")
        for channel, address in wanted.items():
            await conn.execute(
                "delete from scad.administrator_contact where login = %s and channel = %s", (login, channel)
            )
            if address:
                await conn.execute(
                    "insert into scad.administrator_contact (login, channel, address) values (%s, %s, %s)",
                    (login, channel, address),
                )
        said = [channel for channel, address in wanted.items() if address]
        await note(conn, feed.wall_now(), viewer.login, "contact-set", login, channels=said)
    watch.says(did="contact-set", about=login)
    return RedirectResponse("/glass/opened", 303)


@glass.post("/glass/opened/{id}")
async def review(
    feed: FeedDep,
    viewer: AdministratorDep,
    id: Annotated[int, Path(ge=1, le=2**62)],
    finding: Annotated[str, Form(alias="note", max_length=REASON_MAX, pattern=r"^[^\x00]*$")] = "",
) -> Response:
    """An administrator has looked into it."""
    async with feed.database.writing(viewer) as conn:
        await conn.execute(
            "update scad.glass set reviewed_by = %s, reviewed_at = %s, review_note = %s"
            " where id = %s and reviewed_at is null",
            (viewer.login, feed.wall_now(), finding.strip(), id),
        )
    watch.says(did="glass-reviewed", about=str(id))
    return RedirectResponse("/glass/opened", 303)


async def unreviewed(conn: Any) -> int:
    """How many broken glasses no administrator has looked into."""
    row = await (
        await conn.execute("select count(*) as n from scad.glass where reviewed_at is null")
    ).fetchone()
    return int(row["n"])
