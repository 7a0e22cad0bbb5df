"""SQL of the tablet and of its sittings.

The tablet's own statements run as scad_login, which reaches patients through three functions only (0040): a token
opens one patient's questions. The nurse's run under row-level security like those of every page.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from alerts.changes import attach_device
from alerts.feed import database
from alerts.feed.formats import zone
from alerts.store.connection import Connection
from devices.questionnaire import KIND, LANGUAGES, Walk, begin
from devices.times import format_instant, from_datetime, to_datetime
from streams import topics
from streams.plans import PlanVersion

MODEL = "tablet"
"""The model of the device under which a tablet's readings travel."""
PREFIX = "tablet-"
CODE_DIGITS = 8
"""Typed by a patient or carer. With 30 attempts a minute from an address (accounts.ADDRESS_ATTEMPTS) and half an
hour's life, somebody who guesses meets a code once in some 100,000 tries of half an hour."""
CODE_MINUTES = 30
ASK_WITHIN = timedelta(days=7)
"""Advice that is older is not asked about any more: nobody remembers."""
SITTINGS_SHOWN = 14


def hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def draw_token() -> str:
    return secrets.token_urlsafe(32)


def draw_code() -> str:
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"


@dataclass(frozen=True, slots=True)
class Told:
    """One message of the last sitting as it was shown: `text` by language."""

    key: str
    level: str
    text: dict[str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """What a linked tablet may know: no name, no value, no other sitting than the last one's advice."""

    device: str
    zone: ZoneInfo
    protocols: tuple[str, ...]
    last_at: datetime | None
    last_red: bool
    told: tuple[Told, ...]
    advised: tuple[str, ...]

    def answered_today(self, now: datetime) -> bool:
        return self.last_at is not None and self._day(self.last_at) == self._day(now)

    def walk(self, now: datetime) -> Walk:
        """Today's questions, with those about the advice of an earlier day."""
        recent = self.last_at is not None and now - self.last_at <= ASK_WITHIN
        ask = recent and not self.answered_today(now)
        return begin(self.protocols, self.advised if ask else ())

    def _day(self, at: datetime) -> str:
        return at.astimezone(self.zone).date().isoformat()


async def link(conn: database.Connection, code: str, token: str, now: datetime) -> bool:
    """Use the code up; whether it was good."""
    result = await conn.execute(
        "select scad.tablet_link(%s, %s, %s) as linked", (hashed(code), hashed(token), now)
    )
    row = await result.fetchone()
    return bool(row is not None and row["linked"])


async def opened(conn: database.Connection, token: str, now: datetime) -> Opened | None:
    """What the token opens; None when it opens nothing (any more)."""
    result = await conn.execute("select * from scad.tablet_of(%s, %s)", (hashed(token), now))
    row = await result.fetchone()
    if row is None:
        return None
    return Opened(
        row["device"],
        zone(row["time_zone"]),
        _protocols(row["plan"]),
        row["last_at"],
        bool(row["last_red"]),
        tuple(
            Told(one["key"], one["level"], {language: one[language] for language in LANGUAGES})
            for one in row["last_advice"] or ()
        ),
        tuple(row["advised"]),
    )


def _protocols(document: Any) -> tuple[str, ...]:
    try:
        return msgspec.convert(document, PlanVersion).protocols if document is not None else ()
    except msgspec.ValidationError:  # of a later release: nothing is asked rather than the wrong things
        return ()


async def store(
    conn: database.Connection, token: str, sitting: UUID, walk: Walk, here: ZoneInfo, now: datetime
) -> bool:
    """Keep a finished walk and send its reading; False when this sitting is there already."""
    offset = now.astimezone(here).utcoffset() or timedelta()
    payload = {
        "v": 1,
        "kind": KIND,
        "measured_at": format_instant(from_datetime(now), int(offset.total_seconds() // 60)),
        "values": walk.values(),
    }
    headers = [[topics.HEADER_RECEIVED_AT, format_instant(from_datetime(now))]]
    result = await conn.execute(
        "select scad.tablet_store(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) as new",
        (
            hashed(token),
            now,
            sitting,
            walk.version,
            Jsonb(answers_of(walk)),
            Jsonb([{"key": one.key, "level": one.level, **one.text} for one in walk.advice()]),
            Jsonb(walk.followed()),
            walk.red,
            Jsonb(payload),
            Jsonb(headers),
        ),
    )
    row = await result.fetchone()
    return bool(row is not None and row["new"])


def answers_of(walk: Walk) -> list[dict[str, Any]]:
    """The sitting word for word, as it was read on the screen."""
    return [
        {"question": question.key, "choice": choice.key, "red": choice.red}
        | {language: [question.text[language], choice.text[language]] for language in LANGUAGES}
        for question, choice in walk.given()
    ]


# ── the nurse's side ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Advised:
    """One message, and what the patient said later: yes, partly, no; None while nobody has been asked."""

    told: Told
    followed: str | None


@dataclass(frozen=True, slots=True)
class Sitting:
    """One sitting as it was."""

    sitting: UUID
    at: datetime
    version: str
    red: bool
    answers: list[dict[str, Any]]
    advice: list[Advised]


@dataclass(frozen=True, slots=True)
class TabletState:
    """The patient's tablet, if one was given out."""

    device: str
    linked_at: datetime | None
    code_until: datetime | None


async def sittings_of(
    conn: database.Connection,
    patient: str,
    time_zone: str,
    most: int = SITTINGS_SHOWN,
    since: datetime | None = None,
) -> list[Sitting]:
    """The newest sittings, the newest first; each message with what a later sitting said about it."""
    result = await conn.execute(
        "select sitting, at, version, red, answers, advice, followed from scad.questionnaire_sitting"
        " where patient = %s and (%s::timestamptz is null or at >= %s) order by at desc, seq desc limit %s",
        (patient, since, since, most),
    )
    return joined(await result.fetchall(), zone(time_zone))


def joined(rows: Sequence[dict[str, Any]], here: ZoneInfo) -> list[Sitting]:
    """Rows, the newest first, as sittings. What a sitting said about advice is about the last day before its own
    on which the patient answered."""
    said: dict[str, str] = {}
    about: date | None = None  # the day that `said` is about
    pending: list[
        tuple[date, dict[str, str]]
    ] = []  # days with what was said on them, about a day not met yet
    found = []
    for row in rows:
        day = row["at"].astimezone(here).date()
        if pending and day < pending[-1][0]:
            said, about = pending.pop()[1], day
        if row["followed"]:
            pending = [(day, dict(row["followed"]))]
        advice = [
            Advised(
                Told(one["key"], one["level"], {language: one[language] for language in LANGUAGES}),
                said.get(one["key"]) if day == about else None,
            )
            for one in row["advice"]
        ]
        found.append(Sitting(row["sitting"], row["at"], row["version"], row["red"], row["answers"], advice))
    return found


async def tablet_of(conn: database.Connection, patient: str, now: datetime) -> TabletState | None:
    result = await conn.execute(
        "select t.device, t.linked_at, case when t.code_until > %(now)s then t.code_until end as code_until"
        "  from scad.tablet t join scad.assignment a on a.device = t.device and a.patient = t.patient"
        " where t.patient = %(patient)s and (a.to_at is null or a.to_at > %(now)s)"
        " order by t.issued_at desc limit 1",
        {"patient": patient, "now": now},
    )
    row = await result.fetchone()
    return None if row is None else TabletState(row["device"], row["linked_at"], row["code_until"])


def issue(conn: Connection, patient: str, by: str, now_ms: int) -> str:
    """A code that links a tablet to the patient, good once for CODE_MINUTES; the first one also enrols the device.

    A tablet that is linked already stays so until the code is used.
    """
    now = to_datetime(now_ms)
    row = conn.execute(
        "select t.device from scad.tablet t join scad.assignment a on a.device = t.device"
        " and a.patient = t.patient and a.to_at is null where t.patient = %s order by t.issued_at desc limit 1",
        (patient,),
    ).fetchone()
    code = draw_code()
    until = now + timedelta(minutes=CODE_MINUTES)
    if row is not None:
        conn.execute(
            "update scad.tablet set code_hash = %s, code_until = %s, issued_by = %s, issued_at = %s"
            " where device = %s",
            (hashed(code), until, by, now, row[0]),
        )
        return code
    device = f"{PREFIX}{secrets.token_hex(6)}"
    attach_device(conn, patient, device, MODEL, now_ms, by, now_ms)
    conn.execute(
        "insert into scad.tablet (device, patient, code_hash, code_until, issued_by, issued_at)"
        " values (%s, %s, %s, %s, %s, %s)",
        (device, patient, hashed(code), until, by, now),
    )
    return code


def unlink(conn: Connection, patient: str) -> int:
    """End the access of the patient's tablets now; what was said stays. Returns how many were linked."""
    return conn.execute(
        "update scad.tablet set token_hash = null, linked_at = null, code_hash = null, code_until = null"
        " where patient = %s and (linked_at is not null or code_until is not null)",
        (patient,),
    ).rowcount


UNIQUE = psycopg.errors.UniqueViolation
"""Two codes alike at one time: the second asks again."""
