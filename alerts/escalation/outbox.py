"""Messages in the database: queued with the step they are about, claimed for an attempt, settled after it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import tuple_row

from alerts.escalation.message import Counts, Kind, Outcome
from alerts.service_times import Contact, Team

Connection = psycopg.AsyncConnection[Any]

GATHER = timedelta(minutes=5)
"""Between two messages to one person: what comes meanwhile goes into the next one. Nobody can call more than
some patients in that time, and the page has every alert at once."""
CLAIM = timedelta(minutes=2)
"""An attempt that has not been settled by then died with its process. Four times the longest attempt."""
CLAIMED_AT_ONCE = 20  # messages of one round; they are sent at the same time
ATTEMPTS_MAX = 8
BACKOFF_FIRST = timedelta(seconds=30)
BACKOFF_LONGEST = timedelta(minutes=15)
"""Doubling from half a minute: eight attempts take some 50 min, after which the chain's next step has long been
reached."""

Settled = Outcome | str


@dataclass(frozen=True, slots=True)
class Pair:
    """That `contact` is to be told of `alert` at step `level`."""

    team: Team
    contact: Contact
    alert: str
    due: datetime
    level: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that is ours for this attempt, counted from 1."""

    id: int
    delivery: UUID
    team: str
    kind: Kind
    person: str
    channel: str
    address: str
    language: Any
    created_at: datetime
    attempt: int


_NEW_PAIRS = """
insert into scad.notification_alert (alert, due_at, level, channel, person, notification)
select alert, due_at, level, %(channel)s, %(person)s, %(notification)s
  from unnest(%(alerts)s::uuid[], %(dues)s::timestamptz[], %(levels)s::smallint[]) as p(alert, due_at, level)
on conflict do nothing"""

_KNOWN_PAIRS = """
select alert::text, due_at, level from scad.notification_alert
 where channel = %s and person = %s and alert = any(%s::uuid[])"""

# One that nobody has tried to send takes the new alerts in; its row is locked, so that it is not sent meanwhile.
_JOIN = """
select id from scad.notification
 where care_team = %(team)s and kind = %(kind)s and person = %(person)s and channel = %(channel)s
   and address = %(address)s and state = 'waiting' and attempts = 0
 order by id limit 1 for update skip locked"""

_LAST_SENT = """
select max(settled_at) from scad.notification
 where care_team = %(team)s and kind = %(kind)s and person = %(person)s and channel = %(channel)s
   and address = %(address)s and state = 'sent'"""

_QUEUE = """
insert into scad.notification (delivery, care_team, kind, person, channel, address, language, not_before, created_at)
values (%(delivery)s, %(team)s, %(kind)s, %(person)s, %(channel)s, %(address)s, %(language)s, %(not_before)s, %(now)s)
returning id"""

_CLAIM = """
with mine as (
    select id from scad.notification where state = 'waiting' and not_before <= %(now)s
     order by not_before, id limit %(limit)s for update skip locked
)
update scad.notification n set attempts = n.attempts + 1, not_before = %(until)s
  from mine where n.id = mine.id
returning n.id, n.delivery, n.care_team, n.kind, n.person, n.channel, n.address, n.language, n.created_at, n.attempts"""

_ATTEMPT = """
insert into scad.notification_attempt (notification, attempt, at, outcome, detail) values (%s, %s, %s, %s, %s)"""

_COUNTS = """
select a.peak_severity, n.level, count(*), array_agg(distinct a.patient)
  from scad.notification_alert n join scad.alert a on a.alert = n.alert and a.due_at = n.due_at
 where n.notification = %s and a.state in ('open', 'escalated')
   and a.inhibited_by is null and a.suppressed is null
 group by a.peak_severity, n.level"""

_DIGEST_COUNTS = """
select a.peak_severity, 0, count(*), array_agg(distinct a.patient)
  from scad.alert a join scad.patient p on p.patient = a.patient
 where p.care_team = %s and a.in_digest group by a.peak_severity"""


_GLASS_COUNTS = """
select count(g.id) from scad.notification_glass n join scad.glass g on g.id = n.glass
 where n.notification = %s and g.reviewed_at is null"""


async def queue_escalation(conn: Connection, pairs: Iterable[Pair], now: datetime) -> int:
    """Queue a message for each person, in the caller's transaction; returns how many messages are new.

    What a person has been told of already, over this channel and at this step, is left out.
    """
    by_person: dict[tuple[str, Contact], list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_person[pair.team.care_team, pair.contact].append(pair)
    made = 0
    for (team, contact), wanted in by_person.items():
        news = await _not_told_yet(conn, contact, wanted)
        if not news:
            continue
        notification, new = await message_for(conn, "escalation", team, contact, now)
        made += new
        values = {
            "channel": contact.channel,
            "person": contact.person,
            "notification": notification,
            "alerts": [pair.alert for pair in news],
            "dues": [pair.due for pair in news],
            "levels": [pair.level for pair in news],
        }
        await conn.execute(_NEW_PAIRS, values)
    return made


async def message_for(
    conn: Connection, kind: Kind, team: str, contact: Contact, now: datetime
) -> tuple[int, bool]:
    """The message of this kind that takes further news to this person, and whether it is a new one.

    One that waits and that nobody has tried yet takes it in; a new one keeps GATHER from the last one sent.
    """
    to = {
        "kind": kind, "team": team, "person": contact.person, "channel": contact.channel,
        "address": contact.address,
    }  # fmt: skip
    joined = await _all(conn, _JOIN, to)
    if joined:
        return int(joined[0][0]), False
    last = (await _all(conn, _LAST_SENT, to))[0][0]
    begin = now if last is None else max(now, last + GATHER)
    return await _insert(conn, kind, team, contact, begin, now), True


async def _not_told_yet(conn: Connection, contact: Contact, wanted: Sequence[Pair]) -> list[Pair]:
    alerts = [pair.alert for pair in wanted]
    known = set(await _all(conn, _KNOWN_PAIRS, (contact.channel, contact.person, alerts)))
    return [pair for pair in wanted if (pair.alert, pair.due, pair.level) not in known]


async def queue_digest(conn: Connection, team: Team, contacts: Iterable[Contact], now: datetime) -> None:
    """Queue a team's digest, in the transaction that says that today's is made."""
    for contact in contacts:
        await _insert(conn, "digest", team.care_team, contact, now, now)


async def _insert(
    conn: Connection, kind: Kind, team: str, contact: Contact, not_before: datetime, now: datetime
) -> int:
    values = {
        "delivery": uuid4(),
        "team": team,
        "kind": kind,
        "person": contact.person,
        "channel": contact.channel,
        "address": contact.address,
        "language": contact.language,
        "not_before": not_before,
        "now": now,
    }
    return int((await _all(conn, _QUEUE, values))[0][0])


async def claim(conn: Connection, now: datetime) -> list[Claimed]:
    """Take what is to be sent now, for as long as an attempt may take; the attempt is on record before it
    begins, so that a message that kills its sender is not tried for ever."""
    async with conn.transaction():
        rows = await _all(conn, _CLAIM, {"now": now, "until": now + CLAIM, "limit": CLAIMED_AT_ONCE})
        taken = [Claimed(*row) for row in rows]
        for one in taken:
            await conn.execute(_ATTEMPT, (one.id, one.attempt, now, "started", ""))
    return sorted(taken, key=lambda one: one.id)


async def count(conn: Connection, one: Claimed) -> Counts:
    """What the message is about now: alerts that nobody has answered since it was queued, or broken glasses that
    nobody has looked into."""
    if one.kind == "glass":
        return Counts(0, 0, {}, {}, accesses=int((await _all(conn, _GLASS_COUNTS, (one.id,)))[0][0]))
    if one.kind == "digest":
        rows = await _all(conn, _DIGEST_COUNTS, (one.team,))
    else:
        rows = await _all(conn, _COUNTS, (one.id,))
    by_severity: dict[str, int] = defaultdict(int)
    by_level: dict[int, int] = defaultdict(int)
    patients: set[str] = set()
    for severity, level, number, whose in rows:
        by_severity[severity] += number
        if level:
            by_level[level] += number
        patients.update(whose)
    return Counts(sum(by_severity.values()), len(patients), dict(by_severity), dict(by_level))


async def settle(conn: Connection, one: Claimed, outcome: Settled, detail: str, now: datetime) -> Settled:
    """Put on record what came of an attempt; returns it, `failed` when it was the last one.

    A process that comes back after its claim has lapsed does not undo what another one has settled.
    """
    if outcome == "retry" and one.attempt >= ATTEMPTS_MAX:
        outcome, detail = "failed", f"given up after {one.attempt} attempts: {detail}"
    async with conn.transaction():
        if outcome == "retry":
            await conn.execute(
                "update scad.notification set not_before = %s"
                " where id = %s and state = 'waiting' and attempts = %s",
                (now + backoff(one.attempt), one.id, one.attempt),
            )
        else:
            await conn.execute(
                "update scad.notification set state = %s, settled_at = %s where id = %s and state = 'waiting'",
                (outcome, now, one.id),
            )
        await conn.execute(_ATTEMPT, (one.id, one.attempt, now, outcome, detail))
    return outcome


async def waiting(conn: Connection) -> int:
    """How many messages are still to be sent."""
    return int((await _all(conn, "select count(*) from scad.notification where state = 'waiting'", ()))[0][0])


def backoff(attempt: int) -> timedelta:
    """How long to wait after a failed attempt, counted from 1."""
    doubled: timedelta = BACKOFF_FIRST * 2 ** (attempt - 1)
    return min(doubled, BACKOFF_LONGEST)


async def _all(conn: Connection, query: str, parameters: Any) -> list[tuple[Any, ...]]:
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query.encode(), parameters)
        return await cursor.fetchall()
