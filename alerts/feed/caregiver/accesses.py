"""Caregivers' accesses in the database: granted, listed, opened, ended.

Statements of the patient's team run under row-level security like those of every page. An invitation is opened by the
log-in's role through one function, scad.care_join (alerts/schema/0055_caregiver.sql).
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b32encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from alerts.changes import ChangeRefusedError, note_event
from alerts.feed import database
from alerts.identity import store as identity
from alerts.identity.keys import NONCE_BYTES, KeyFileError
from alerts.identity.vault import KEY_PURPOSE, Vault
from alerts.store.connection import Connection
from devices.times import to_datetime

Scope = Literal["readings", "alerts", "adherence"]
SCOPES: tuple[Scope, ...] = ("readings", "alerts", "adherence")

PREFIX = "aidant-"
LOGIN_BYTES = 5  # 40 random bits: nobody guesses a login to wear its invitation out
CODE_BYTES = 10  # 80 random bits in 16 letters; five wrong ones end the invitation (care_join)
INVITED_DAYS = 7  # the paper goes home with the patient, and the family comes at the weekend
OPEN_MAX = 5  # accesses to one patient at once: a family, not a village; the patient keeps them in view
LISTED_MAX = 50


@dataclass(frozen=True, slots=True)
class Wish:
    """What the patient wants: who may see what, until when (None: until it is taken back)."""

    name: str
    scopes: frozenset[Scope]
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """What is written down for the caregiver, shown once."""

    login: str
    code: str


@dataclass(frozen=True, slots=True)
class Access:
    """One access as the team sees it. `name` is None where the process has no key or the identity was erased."""

    access: str
    name: str | None
    scopes: tuple[Scope, ...]
    until: datetime | None
    granted_at: datetime
    granted_by: str
    accepted_at: datetime | None
    ended_at: datetime | None
    ended_by: str | None
    code_until: datetime | None
    wrong_codes: int

    def state(self, now: datetime) -> str:
        """`ended`, `over` (its date has come), `open`, `invited`, or `lapsed` (the invitation is good no more)."""
        if self.ended_at is not None:
            return "ended"
        if self.until is not None and self.until <= now:
            return "over"
        if self.accepted_at is not None:
            return "open"
        usable = self.code_until is not None and self.code_until > now and self.wrong_codes < 5
        return "invited" if usable else "lapsed"


def plain_code(typed: str) -> str:
    """A code as it was drawn: spaces, dashes and case do not count."""
    return "".join(typed.split()).replace("-", "").upper()


def hashed(code: str) -> bytes:
    return hashlib.sha256(plain_code(code).encode()).digest()


def draw() -> Invitation:
    login = PREFIX + b32encode(secrets.token_bytes(LOGIN_BYTES)).decode().lower()
    code = b32encode(secrets.token_bytes(CODE_BYTES)).decode()
    return Invitation(login, "-".join(code[i : i + 4] for i in range(0, len(code), 4)))


# ── the name ──────────────────────────────────────────────────────────────────────────────────────────────


def seal(vault: Vault, patient: str, wrapped: bytes, access: str, name: str) -> bytes:
    """The caregiver's name under the patient's data key, bound to the access: it goes when the key goes."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    cipher = AESGCM(vault.keys.unwrap(wrapped, KEY_PURPOSE, patient))
    return nonce + cipher.encrypt(nonce, name.encode(), _context(patient, access))


def unseal(vault: Vault, patient: str, wrapped: bytes, access: str, sealed: bytes) -> str:
    """The name. Raises KeyFileError: no key for it, or altered."""
    cipher = AESGCM(vault.keys.unwrap(wrapped, KEY_PURPOSE, patient))
    try:
        plain = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _context(patient, access))
    except (InvalidTag, ValueError):
        raise KeyFileError(f"the name of {access} does not open with its key: it was altered") from None
    return plain.decode()


def _context(patient: str, access: str) -> bytes:
    return f"caregiver {access} of {patient}".encode()


# ── the team's side ───────────────────────────────────────────────────────────────────────────────────────


def grant(
    conn: Connection, vault: Vault | None, patient: str, wish: Wish, by: str, now_ms: int
) -> Invitation:
    """Record the patient's wish and draw an invitation.

    Raises ChangeRefusedError: `no-identity-key` (the process has no key, or the patient has no identity here),
    `too-many-caregivers`.
    """
    now = to_datetime(now_ms)
    conn.execute("select from scad.patient where patient = %s for update", (patient,))
    row = conn.execute(
        "select count(*) from scad.caregiver_access"
        " where patient = %s and ended_at is null and (until is null or until > %s)",
        (patient, now),
    ).fetchone()
    if row is not None and row[0] >= OPEN_MAX:
        raise ChangeRefusedError("too-many-caregivers", most=OPEN_MAX)
    wrapped = _data_key(conn, vault, patient, by, now_ms)
    if vault is None or wrapped is None:
        raise ChangeRefusedError("no-identity-key")
    drawn = draw()
    conn.execute(
        "insert into scad.caregiver_access"
        " (access, patient, readings, alerts, adherence, until, granted_at, granted_by, code_hash, code_until)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            drawn.login,
            patient,
            *(scope in wish.scopes for scope in SCOPES),
            wish.until,
            now,
            by,
            hashed(drawn.code),
            now + timedelta(days=INVITED_DAYS),
        ),
    )
    conn.execute(
        "insert into identity.caregiver (access, patient, sealed) values (%s, %s, %s)",
        (drawn.login, patient, seal(vault, patient, wrapped, drawn.login, wish.name)),
    )
    note_event(conn, patient, "caregiver-granted", by, now_ms, {"access": drawn.login})
    return drawn


def _data_key(conn: Connection, vault: Vault | None, patient: str, by: str, now_ms: int) -> bytes | None:
    """The patient's wrapped data key; an identity from before there were keys is sealed first."""
    if vault is None:
        return None
    query = "select sealed, wrapped from identity.person where patient = %s and erased_at is null"
    row = conn.execute(query, (patient,)).fetchone()
    if row is not None and row[0] is None:
        traits = identity.read(conn, vault, patient)
        if traits is not None:
            identity.write(conn, vault, patient, traits, identity.Change(by, now_ms, "sealed"))
        row = conn.execute(query, (patient,)).fetchone()
    return None if row is None else row[1]


def end(conn: Connection, patient: str, access: str, by: str, now_ms: int) -> bool:
    """Withdraw an access now: invitation, account and sessions end. Whether there was one."""
    row = conn.execute(
        "select scad.care_end(%s, %s, %s, %s)", (access, patient, by, to_datetime(now_ms))
    ).fetchone()
    ended = bool(row is not None and row[0])
    if ended:
        note_event(conn, patient, "caregiver-ended", by, now_ms, {"access": access})
    return ended


async def accesses(conn: database.Connection, patient: str) -> list[Access]:
    """The patient's caregivers, the newest first, with those whose access has ended."""
    result = await conn.execute(
        """
        select c.*, n.sealed, p.wrapped
          from (select access, patient, readings, alerts, adherence, until, granted_at, accepted_at, ended_at,
                       code_until, wrong_codes,
                       coalesce((select display_name from scad.account where login = granted_by), granted_by)
                           as granted_by,
                       coalesce((select display_name from scad.account where login = ended_by), ended_by) as ended_by
                  from scad.caregiver_access where patient = %s) c
          left join identity.caregiver n on n.access = c.access
          left join identity.person p on p.patient = c.patient
         order by c.granted_at desc, c.access limit %s""",
        (patient, LISTED_MAX),
    )
    vault = database.vault_in(conn)
    return [_access(vault, row) for row in await result.fetchall()]


def _access(vault: Vault | None, row: dict[str, Any]) -> Access:
    name = None
    if vault is not None and row["sealed"] is not None and row["wrapped"] is not None:
        name = unseal(vault, row["patient"], row["wrapped"], row["access"], row["sealed"])
    plain = {field: row[field] for field in Access.__dataclass_fields__ if field in row}
    return Access(**plain, name=name, scopes=tuple(scope for scope in SCOPES if row[scope]))


# ── the caregiver's side ──────────────────────────────────────────────────────────────────────────────────


async def join(
    conn: database.Connection, login: str, code: str, password_hash: str, language: str, now: datetime
) -> bool:
    """Use the invitation up and make the account; False when it is none, wrong, used or too old."""
    result = await conn.execute(
        "select scad.care_join(%s, %s, %s, %s, %s) as joined",
        (login, hashed(code), password_hash, language, now),
    )
    row = await result.fetchone()
    return bool(row is not None and row["joined"])
