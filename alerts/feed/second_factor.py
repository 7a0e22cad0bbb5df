"""The second factor of local accounts: codes of an authenticator (RFC 6238), and codes on paper.

SHA-1, 6 digits, 30 seconds, a secret of 160 bits: what every authenticator understands. A code is taken one
interval early or late, because telephones' clocks differ, and never twice. What bounds guessing is the
account's lock-out (alerts.feed.accounts): ten wrong codes of a million lock it.

Secrets are wrapped by the installation's master keys (alerts.identity.keys), where it has them. One that was stored
before, or under an earlier key, is wrapped anew at the person's next log-in.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b32encode, b64decode, b64encode
from datetime import datetime

import pyotp
import segno
import structlog

from alerts.feed.database import Connection, vault_in
from alerts.identity.keys import KeyFileError, MasterKeys, number_of

log = structlog.get_logger()

ISSUER = "SCAD"
PURPOSE = "second factor"
WRAPPED = "wrapped:"  # how a wrapped secret begins; base32 has no colon
STEP_S = 30
DIGITS = 6
SKEW_STEPS = 1  # intervals before and after the present one whose codes are taken (RFC 6238 section 5.2)
RECOVERY_CODES = 10
RECOVERY_BYTES = 10  # 80 bits: cannot be guessed, so a plain SHA-256 is enough


def new_secret() -> str:
    """A secret in base32, 160 bits."""
    return pyotp.random_base32(32)


def stored_form(keys: MasterKeys | None, login: str, secret: str) -> str:
    """The secret as the database has it: wrapped for this person, or as it is where there are no keys."""
    if keys is None:
        return secret
    return WRAPPED + b64encode(keys.wrap(secret.encode(), PURPOSE, login)).decode()


def opened(keys: MasterKeys | None, login: str, stored: str) -> str | None:
    """The secret; None, and a line in the log, where it cannot be opened: a code on paper still lets the person in."""
    if not stored.startswith(WRAPPED):
        return stored
    try:
        if keys is None:
            raise KeyFileError("there are no master keys: set SCAD_IDENTITY_KEYS_FILE")
        return keys.unwrap(b64decode(stored.removeprefix(WRAPPED)), PURPOSE, login).decode()
    except ValueError as error:
        log.error("second_factor.unreadable", login=login, error=str(error))
        return None


def up_to_date(keys: MasterKeys | None, stored: str) -> bool:
    """Whether the secret is stored as it would be now."""
    if keys is None:
        return True
    return stored.startswith(WRAPPED) and number_of(b64decode(stored.removeprefix(WRAPPED))) == keys.current


def _keys(conn: Connection) -> MasterKeys | None:
    vault = vault_in(conn)
    return vault.keys if vault is not None else None


def address(secret: str, login: str) -> str:
    """The otpauth:// address that an authenticator reads from the picture."""
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S).provisioning_uri(name=login, issuer_name=ISSUER)


def picture(secret: str, login: str) -> str:
    """The address as a QR code: SVG markup without a style or script of its own."""
    code = segno.make(address(secret, login), error="m", micro=False)
    return str(code.svg_inline(scale=4, border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr"))


def matching_step(secret: str, code: str, now_s: float, after: int = 0) -> int | None:
    """The interval later than `after` whose code this is, at `now_s` (Unix time), or None."""
    if len(code) != DIGITS or not code.isascii() or not code.isdigit():
        return None
    totp = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S)
    present = int(now_s // STEP_S)
    for step in range(present - SKEW_STEPS, present + SKEW_STEPS + 1):
        if step > after and secrets.compare_digest(totp.generate_otp(step), code):
            return step
    return None


def new_recovery_codes() -> list[str]:
    """Codes on paper, such as `K7QD-2MXA-…`: four groups of four of A to Z and 2 to 7."""
    return [_grouped(b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode()) for _ in range(RECOVERY_CODES)]


def _grouped(text: str) -> str:
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))


def hash_recovery(code: str) -> bytes:
    """What the database knows of a recovery code; spaces, dashes and case do not count."""
    return hashlib.sha256("".join(code.split()).replace("-", "").upper().encode()).digest()


async def stage(conn: Connection, login: str) -> bool:
    """Whether the person has an authenticator that has been confirmed."""
    result = await conn.execute(
        "select from scad.second_factor where login = %s and confirmed_at is not null", (login,)
    )
    return await result.fetchone() is not None


async def begin(conn: Connection, login: str, now: datetime) -> str | None:
    """The secret that waits to be confirmed, drawn where there is none; None where one is confirmed."""
    await conn.execute(
        "insert into scad.second_factor (login, secret, created_at) values (%s, %s, %s) on conflict do nothing",
        (login, stored_form(_keys(conn), login, new_secret()), now),
    )
    result = await conn.execute(
        "select secret from scad.second_factor where login = %s and confirmed_at is null", (login,)
    )
    row = await result.fetchone()
    return opened(_keys(conn), login, row["secret"]) if row else None


async def confirm(conn: Connection, login: str, code: str, now: datetime) -> list[str] | None:
    """Take the authenticator whose first code this is; returns new recovery codes, None for a wrong code."""
    result = await conn.execute(
        "select secret from scad.second_factor where login = %s and confirmed_at is null for update", (login,)
    )
    row = await result.fetchone()
    secret = opened(_keys(conn), login, row["secret"]) if row else None
    step = matching_step(secret, _plain(code), now.timestamp()) if secret is not None else None
    if step is None:
        return None
    await conn.execute(
        "update scad.second_factor set confirmed_at = %s, last_step = %s where login = %s", (now, step, login)
    )
    codes = new_recovery_codes()
    await conn.execute("delete from scad.recovery_code where login = %s", (login,))
    await conn.execute(
        "insert into scad.recovery_code (login, code_hash) select %s, unnest(%s::bytea[])",
        (login, [hash_recovery(one) for one in codes]),
    )
    return codes


async def use(conn: Connection, login: str, code: str, now: datetime) -> bool:
    """Whether this is a code of the person's authenticator or paper that has not been used; it is then used."""
    result = await conn.execute(
        "select secret, last_step from scad.second_factor"
        " where login = %s and confirmed_at is not null for update",
        (login,),
    )
    row = await result.fetchone()
    if row is None:
        return False
    keys = _keys(conn)
    secret = opened(keys, login, row["secret"])
    step = None
    if secret is not None:
        step = matching_step(secret, _plain(code), now.timestamp(), row["last_step"])
    if secret is not None and step is not None:
        stored = row["secret"] if up_to_date(keys, row["secret"]) else stored_form(keys, login, secret)
        await conn.execute(
            "update scad.second_factor set last_step = %s, secret = %s where login = %s",
            (step, stored, login),
        )
        return True
    used = await conn.execute(
        "update scad.recovery_code set used_at = %s where login = %s and code_hash = %s and used_at is null",
        (now, login, hash_recovery(code)),
    )
    return used.rowcount == 1


def _plain(code: str) -> str:
    """Authenticators show `123 456`."""
    return "".join(code.split())
