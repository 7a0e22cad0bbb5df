"""The administrator's page: who may log in, as what, for which team. Administrators see no patient."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Depends, Form, Path, Request
from starlette.responses import RedirectResponse, Response

from alerts.audit.glass import unreviewed
from alerts.feed.access_log import note
from alerts.feed.accounts import AccountError, check_account, hash_password
from alerts.feed.context import Feed, FeedDep, permission, render
from alerts.feed.database import Connection
from alerts.feed.texts import LANGUAGES
from alerts.feed.viewer import ROLES, Viewer

people = APIRouter(include_in_schema=False)
AdministratorDep = Annotated[Viewer, Depends(permission("accounts"))]

# A region's nurses are some hundreds; a page of a thousand names is still one that a browser can search.
PEOPLE_MAX = 1000
NAME_MAX = 100
Text = Annotated[str, Form(max_length=200, pattern=r"^[^\x00]*$")]


class _RefusedError(Exception):
    """A change that cannot be; `text` is the key of the page's text."""

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(detail)
        self.text, self.detail = text, detail


@people.get("/accounts")
async def accounts_page(request: Request, feed: FeedDep, viewer: AdministratorDep) -> Response:
    return await _page(request, feed, viewer, 200)


async def _page(
    request: Request, feed: Feed, viewer: Viewer, status: int, problem: _RefusedError | None = None
) -> Response:
    async with feed.database.reading(viewer) as conn:
        found = await conn.execute(
            """
            select a.login, a.display_name, a.role, a.care_team, a.language, a.disabled_at, a.locked_until,
                   f.confirmed_at as factor
              from scad.account a left join scad.second_factor f using (login)
             order by a.disabled_at is not null, a.login limit %s""",
            (PEOPLE_MAX,),
        )
        rows = await found.fetchall()
        teams = await (
            await conn.execute("select care_team, name from scad.care_team order by name")
        ).fetchall()
        waiting = await unreviewed(conn)
    return render(
        request,
        "accounts.html",
        viewer,
        status,
        people=rows,
        teams=teams,
        roles=ROLES,
        now=feed.wall_now(),
        required=feed.access.second_factor,
        unreviewed=waiting,
        problem=problem,
    )


@people.post("/accounts")
async def create(
    request: Request,
    feed: FeedDep,
    viewer: AdministratorDep,
    login: Text = "",
    display_name: Text = "",
    role: Text = "",
    care_team: Text = "",
    language: Text = "fr",
    password: Text = "",
) -> Response:
    """A new person; an existing login is refused, not changed."""
    login, now = login.strip(), feed.wall_now()
    try:
        account = {
            "login": login,
            "name": display_name.strip()[:NAME_MAX] or login,
            "role": role,
            "team": care_team or None,
            "language": language if language in LANGUAGES else LANGUAGES[0],
            "hash": await _hash(login, password),
            "at": now,
        }
        check_account(login, role, care_team or None)
        async with feed.database.writing(viewer) as conn:
            await _insert(conn, account)
            await note(
                conn, now, viewer.login, "account-created", login, role=role, care_team=care_team or None
            )
    except (_RefusedError, AccountError) as error:
        return await _page(request, feed, viewer, 400, _refusal(error))
    return RedirectResponse("/accounts", 303)


def _refusal(error: _RefusedError | AccountError) -> _RefusedError:
    return error if isinstance(error, _RefusedError) else _RefusedError("access.bad_account", str(error))


async def _hash(login: str, password: str) -> str:
    return await asyncio.to_thread(hash_password, login, password)


async def _insert(conn: Connection, account: dict[str, Any]) -> None:
    try:
        await conn.execute(
            """
            insert into scad.account
               (login, display_name, password_hash, role, care_team, language, created_at)
            values (%(login)s, %(name)s, %(hash)s, %(role)s, %(team)s, %(language)s, %(at)s)""",
            account,
        )
    except psycopg.errors.UniqueViolation:
        raise _RefusedError("access.exists") from None
    except psycopg.errors.ForeignKeyViolation:
        raise _RefusedError("access.no_team") from None


@dataclass(frozen=True, slots=True)
class _Change:
    """What the form says about one person."""

    login: str
    role: str
    team: str | None
    password_hash: str | None


async def _set_role(conn: Connection, change: _Change, _: datetime) -> None:
    check_account(change.login, change.role, change.team)
    try:
        await conn.execute(
            "update scad.account set role = %s, care_team = %s where login = %s",
            (change.role, change.team, change.login),
        )
    except psycopg.errors.ForeignKeyViolation:
        raise _RefusedError("access.no_team") from None


async def _set_password(conn: Connection, change: _Change, _: datetime) -> None:
    await conn.execute(
        "update scad.account set password_hash = %s, failed_logins = 0, locked_until = null where login = %s",
        (change.password_hash, change.login),
    )


async def _disable(conn: Connection, change: _Change, now: datetime) -> None:
    await conn.execute("update scad.account set disabled_at = %s where login = %s", (now, change.login))


async def _enable(conn: Connection, change: _Change, _: datetime) -> None:
    await conn.execute(
        "update scad.account set disabled_at = null, failed_logins = 0, locked_until = null where login = %s",
        (change.login,),
    )


async def _reset_factor(conn: Connection, change: _Change, _: datetime) -> None:
    await conn.execute("delete from scad.recovery_code where login = %s", (change.login,))
    await conn.execute("delete from scad.second_factor where login = %s", (change.login,))


CHANGES = {
    "role": _set_role,
    "password": _set_password,
    "disable": _disable,
    "enable": _enable,
    "reset-factor": _reset_factor,
}


@people.post("/accounts/{login}/{change}")
async def change_account(
    request: Request,
    feed: FeedDep,
    viewer: AdministratorDep,
    login: Annotated[str, Path(max_length=64, pattern=r"^[^\x00]*$")],
    change: str,
    role: Text = "",
    care_team: Text = "",
    password: Text = "",
) -> Response:
    """Change one thing of one person, whose sessions end: what they may do is asked anew at the next log-in."""
    apply = CHANGES.get(change)
    now = feed.wall_now()
    try:
        if apply is None:
            raise _RefusedError("access.unknown")
        if login == viewer.login:
            raise _RefusedError("access.not_yourself")  # the last administrator would lock everybody out
        hashed = await _hash(login, password) if change == "password" else None
        async with feed.database.writing(viewer) as conn:
            found = await conn.execute("select from scad.account where login = %s", (login,))
            if await found.fetchone() is None:
                raise _RefusedError("access.unknown")
            await apply(conn, _Change(login, role, care_team or None, hashed), now)
            await conn.execute("delete from scad.session where login = %s", (login,))
            detail = {"role": role, "care_team": care_team or None} if change == "role" else {}
            await note(conn, now, viewer.login, f"account-{change}", login, **detail)
    except (_RefusedError, AccountError) as error:
        return await _page(request, feed, viewer, 400, _refusal(error))
    return RedirectResponse("/accounts", 303)
