"""Sessions: a random token in a cookie, its hash in the database, and the token of every write."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

from alerts.feed.accounts import viewer_of
from alerts.feed.database import Connection
from alerts.feed.viewer import Viewer

Stage = Literal["full", "code", "enrol"]

COOKIE = "scad_session"
SESSION_HOURS = 12  # one shift; after it the person logs in again
# Without a click, a key or a page for so long the session ends: a screen that somebody has left.
# The live page's own requests are no sign of a person (context.PASSIVE).
IDLE_MINUTES = 120
STAGE_MINUTES = 10  # to type the code, or to set an authenticator up, after the password
SEEN_EVERY_S = 60  # `last_seen_at` is written at most this often, not with every request
SESSIONS_OF_ONE = 20  # sessions that one person may have at once: browsers and tabs left open; the oldest go

_TOKEN_BYTES = 32


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def begin(
    conn: Connection,
    viewer: Viewer,
    now: datetime,
    *,
    stage: Stage = "full",
    method: Literal["local", "oidc"] = "local",
    id_token: str | None = None,
) -> str:
    """Open a session and return the cookie's token; deletes the oldest of many and those that ended.

    A `stage` other than full has passed the password only, sees nothing and lasts STAGE_MINUTES.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    await conn.execute(
        """
        delete from scad.session where expires_at <= %(now)s or token_hash in
          (select token_hash from scad.session where login = %(login)s
            order by created_at desc offset %(keep)s)""",
        {"now": now, "login": viewer.login, "keep": SESSIONS_OF_ONE - 1},
    )
    lasts = timedelta(hours=SESSION_HOURS) if stage == "full" else timedelta(minutes=STAGE_MINUTES)
    await conn.execute(
        """
        insert into scad.session
           (token_hash, login, csrf_token, created_at, last_seen_at, expires_at, stage, method, id_token)
        values (%(hash)s, %(login)s, %(csrf)s, %(now)s, %(now)s, %(end)s, %(stage)s, %(method)s, %(id_token)s)""",
        {
            "hash": hash_token(token),
            "login": viewer.login,
            "csrf": secrets.token_urlsafe(_TOKEN_BYTES),
            "now": now,
            "end": now + lasts,
            "stage": stage,
            "method": method,
            "id_token": id_token,
        },
    )
    return token


async def find(
    conn: Connection,
    token: str,
    now: datetime,
    *,
    stages: tuple[Stage, ...] = ("full",),
    touch: bool = True,
) -> Viewer | None:
    """Whose session this token is, while it lasts and the account is not disabled.

    `touch`: a person did something, so the session is not idle.
    """
    result = await conn.execute(
        """
        select a.*, s.csrf_token, s.token_hash, s.expires_at, s.last_seen_at,
               (select array_agg(distinct g.patient) from scad.glass g
                 where g.login = a.login and g.closed_at is null and g.expires_at > now()) as glass
          from scad.session s join scad.account a using (login)
         where s.token_hash = %(hash)s and s.stage = any(%(stages)s) and a.disabled_at is null
           and s.expires_at > %(now)s and s.last_seen_at > %(now)s - make_interval(mins => %(idle)s)""",
        {"hash": hash_token(token), "now": now, "idle": IDLE_MINUTES, "stages": list(stages)},
    )
    row = await result.fetchone()
    if row is None:
        return None
    if touch and now - row["last_seen_at"] > timedelta(seconds=SEEN_EVERY_S):
        await conn.execute(
            "update scad.session set last_seen_at = %s where token_hash = %s", (now, row["token_hash"])
        )
    return replace(
        viewer_of(row),
        csrf_token=row["csrf_token"],
        token_hash=row["token_hash"],
        expires_at=row["expires_at"],
        glass=tuple(row["glass"] or ()),
    )


async def end(conn: Connection, viewer: Viewer) -> str | None:
    """Close the session; returns the provider's ID token where it was opened with one."""
    result = await conn.execute(
        "delete from scad.session where token_hash = %s returning id_token", (viewer.token_hash,)
    )
    row = await result.fetchone()
    return row["id_token"] if row else None


def set_cookie(response: Response, token: str, *, secure: bool) -> None:
    response.set_cookie(
        COOKIE, token, max_age=SESSION_HOURS * 3600, httponly=True, samesite="lax", secure=secure, path="/"
    )


def csrf_matches(viewer: Viewer, sent: str | None) -> bool:
    return bool(sent) and hmac.compare_digest((sent or "").encode(), viewer.csrf_token.encode())


def same_site(request: HTTPConnection) -> bool:
    """Whether a write comes from a page of ours, as far as the browser says.

    Browsers send Sec-Fetch-Site, or at least Origin; a program that is no browser sends neither, and has no
    cookie that it did not ask for.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def local_path(path: str | None, fallback: str = "/") -> str:
    """A path of this site to go on to, or the fallback: `//elsewhere` and `/\\elsewhere` lead away."""
    if not path or not path.startswith("/") or path.startswith("//") or len(path) > 500:
        return fallback
    return fallback if any(c == "\\" or ord(c) < 32 for c in path) else path
