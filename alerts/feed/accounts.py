"""Local accounts: passwords as argon2id hashes, and what stands against guessing them.

Guessing is bounded twice. In the database per account, so that it holds for all processes: after
LOCK_AFTER failures in a row the account is locked for LOCK_MINUTES, whatever the password. In this process
per address: LoginLimiter. Neither an answer nor its time tells whether an account exists.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import psycopg
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from alerts.audit import watch
from alerts.feed import second_factor
from alerts.feed.database import Connection, Database
from alerts.feed.viewer import ROLES, Role, Viewer

# NIST SP 800-63B asks for at least 8 characters; 12 because there may be no second factor.
PASSWORD_MIN = 12
# argon2 reads all of it: without a bound, a megabyte of password is a megabyte of work.
PASSWORD_MAX = 200
LOGIN_PATTERN = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")

LOCK_AFTER = (
    10  # more than a tired person mistypes, and 10 guesses each 15 minutes find no 12-letter password
)
LOCK_MINUTES = 15
# Attempts from one address: a hospital's people often share one, so some more than one person needs.
ADDRESS_ATTEMPTS = 30
ADDRESS_WINDOW_S = 60
# Requests of one session: a live page asks for changed rows a few times a second when a ward is busy.
SESSION_REQUESTS = 1200
ADDRESSES_MAX = 10_000  # addresses remembered; the oldest are forgotten: some 2 MB
# One hash takes 64 MiB and some 50 ms of a core: two at once leave the pages alive under a flood of logins.
HASHES_AT_ONCE = 2

_hasher = PasswordHasher()  # argon2id with the RFC 9106 low-memory profile


class AccountError(ValueError):
    """An account that cannot be made; the message says why and what is allowed."""


def check_account(login: str, role: str, care_team: str | None) -> None:
    """Raises AccountError for a login, role or team that cannot be."""
    if not LOGIN_PATTERN.fullmatch(login):
        raise AccountError(f"login {login!r}: small letters, digits and ._@- only, at most 64")
    if role not in ROLES:
        raise AccountError(f"role {role!r} is not one of {', '.join(ROLES)}")
    if care_team is None and role in ("nurse", "physician"):
        raise AccountError(f"a {role} needs a care team")


def hash_password(login: str, password: str) -> str:
    """The password's argon2id hash. Raises AccountError when it is too short or too long."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise AccountError(f"the password of {login!r} needs {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    return _hasher.hash(password)


def create_account(
    conn: psycopg.Connection[Any],
    login: str,
    password: str,
    role: Role,
    care_team: str | None,
    *,
    at: datetime,
    display_name: str | None = None,
    language: str = "fr",
) -> None:
    """Make a person who may log in, or give an existing one this password, role and team.

    Nurses and physicians need a care team; an auditor without one sees all. Raises AccountError for a
    login, password, role or team that cannot be. Sessions of before end.
    """
    check_account(login, role, care_team)
    try:
        conn.execute(
            """
            insert into scad.account
               (login, display_name, password_hash, role, care_team, language, created_at)
            values (%(login)s, %(name)s, %(hash)s, %(role)s, %(team)s, %(language)s, %(at)s)
            on conflict (login) do update set
               display_name = excluded.display_name, password_hash = excluded.password_hash,
               role = excluded.role, care_team = excluded.care_team, language = excluded.language,
               disabled_at = null, failed_logins = 0, locked_until = null""",
            {
                "login": login,
                "name": display_name or login,
                "hash": hash_password(login, password),
                "role": role,
                "team": care_team,
                "language": language,
                "at": at,
            },
        )
        conn.execute("delete from scad.session where login = %s", (login,))
    except psycopg.errors.ForeignKeyViolation:
        raise AccountError(
            f"there is no care team {care_team!r}; `scad enrol FILE` creates care teams"
        ) from None


@cache
def _nobody() -> str:
    return _hasher.hash("a password that no account has")


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


class Accounts:
    """Checks passwords. `now` is the wall's time: a demo's clock runs too fast for lock-outs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)

    async def check(self, login: str, password: str, now: datetime) -> tuple[Viewer | None, int]:
        """The person whose password this is, or None; and for how many minutes the account is locked.

        Counts a failure, locks the account at LOCK_AFTER, forgets failures after a success that no second
        factor follows. No connection is held while the password is hashed, so a flood of log-ins leaves the
        pages theirs.
        """
        login = login.strip().lower()[:64].replace("\0", "")
        account = await self._find(login)
        if account is not None:
            watch.says(about=login)  # who somebody tried to be; a name that is no account might be a password
        if account is not None and (minutes := locked_minutes(account, now)):
            return None, minutes
        known = account is not None and account["disabled_at"] is None
        stored = account["password_hash"] if account is not None and known else _nobody()
        async with self._hashing:
            right = await asyncio.to_thread(_verify, stored, password[:PASSWORD_MAX])
        if account is None or not known:
            return None, 0
        async with self._database.login() as conn:
            if not right:
                return None, LOCK_MINUTES if await self._failed(conn, login, now) else 0
            if account["factor"] is None:
                await _forget_failures(conn, login)
        return viewer_of(account), 0

    async def check_code(self, login: str, code: str, now: datetime) -> tuple[bool, int]:
        """Whether this is the person's next code or an unused recovery code; and for how many minutes the
        account is locked. Wrong codes count as wrong passwords do."""
        account = await self._find(login)
        if account is None or (minutes := locked_minutes(account, now)):
            return False, minutes if account is not None else 0
        async with self._database.login() as conn:
            if await second_factor.use(conn, login, code, now):
                await _forget_failures(conn, login)
                return True, 0
            return False, LOCK_MINUTES if await self._failed(conn, login, now) else 0

    async def _find(self, login: str) -> dict[str, Any] | None:
        async with self._database.login() as conn:
            result = await conn.execute(
                """
                select a.*, f.confirmed_at as factor
                  from scad.account a left join scad.second_factor f using (login) where a.login = %s""",
                (login,),
            )
            return await result.fetchone()

    async def _failed(self, conn: Connection, login: str, now: datetime) -> bool:
        """Count a failure; True when it locked the account."""
        result = await conn.execute(
            """
            update scad.account
               set failed_logins = (failed_logins + 1) %% %(after)s,
                   locked_until = case when failed_logins + 1 >= %(after)s then %(until)s
                                       else locked_until end
             where login = %(login)s returning failed_logins""",
            {"after": LOCK_AFTER, "until": now + timedelta(minutes=LOCK_MINUTES), "login": login},
        )
        row = await result.fetchone()
        return row is not None and row["failed_logins"] == 0


def locked_minutes(account: dict[str, Any], now: datetime) -> int:
    """For how many minutes yet the account is locked; 0 when it is not."""
    until: datetime | None = account["locked_until"]
    return 1 + int((until - now).total_seconds() // 60) if until is not None and until > now else 0


async def _forget_failures(conn: Connection, login: str) -> None:
    await conn.execute(
        "update scad.account set failed_logins = 0, locked_until = null"
        " where login = %s and (failed_logins > 0 or locked_until is not null)",
        (login,),
    )


def viewer_of(account: dict[str, Any]) -> Viewer:
    """The viewer that a row of scad.account is."""
    return Viewer(
        login=account["login"],
        display_name=account["display_name"],
        role=account["role"],
        teams=(account["care_team"],) if account["care_team"] is not None else (),
    )


class Limiter:
    """At most `most` of something a minute for each name, counted in this process."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def allow(self, name: str, now_s: float) -> bool:
        """Count an attempt at `now_s` (seconds, any origin); False when it is one too many."""
        begin, attempts = self._windows.pop(name, (now_s, 0))
        if now_s - begin >= ADDRESS_WINDOW_S:
            begin, attempts = now_s, 0
        self._windows[name] = (begin, attempts + 1)
        if len(self._windows) > ADDRESSES_MAX:
            self._windows.popitem(last=False)
        return attempts < self.most


class LoginLimiter(Limiter):
    """Log-ins from one address."""

    def __init__(self) -> None:
        super().__init__(ADDRESS_ATTEMPTS)


class RequestLimiter(Limiter):
    """Requests of one session."""

    def __init__(self) -> None:
        super().__init__(SESSION_REQUESTS)
