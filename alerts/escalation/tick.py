"""What time does to alerts that nobody answers: decide who is to be told of what, and write it down.

A round changes rows and queues messages in one transaction, so that a crash loses neither. One process at a
time decides (an advisory lock); another that finds it taken leaves this round to it. A round after a night of
standstill does at once what was due meanwhile; the messages of one round to one person are one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from uuid import UUID

import psycopg
import structlog
from psycopg.rows import tuple_row

from alerts.actions import Done, act_on_all, pass_time
from alerts.escalation import metrics
from alerts.escalation.glass import tell_administrators, unreviewed
from alerts.escalation.outbox import Pair, queue_digest, queue_escalation
from alerts.lifecycle import ESCALATION_MAX, ActionRequest
from alerts.service_times import (
    NO_TEAM,
    Team,
    due_at,
    escalates,
    level_reached,
    load_teams_async,
)

log = structlog.get_logger()

Connection = psycopg.AsyncConnection[Any]

ACTOR = "escalation"
ESCALATION_LOCK = 0x5CAD_0005  # advisory lock: one process decides at a time
AT_ONCE = 100
"""Alerts of one transaction. Their patients are locked until it ends, some 200 ms; a nurse who acts on one of
them waits for that long."""

# Alerts that want an answer and have waited too long, or have no due time yet (raised by an older release).
# Of what brought an alert back to the queue the last instant counts: nobody could answer it before.
_CANDIDATES = """
select a.alert::text, a.class, a.peak_severity, p.care_team, a.due_at, a.due_from, a.escalation_level,
       (select max(e.recorded_at) from scad.alert_event e
         where e.alert = a.alert and e.kind = 'action'
           and e.event in ('woken', 'released', 'reopened', 'undone')) as came_back
  from scad.alert a left join scad.patient p on p.patient = a.patient
 where a.state in ('open', 'escalated') and a.inhibited_by is null and a.suppressed is null
   and a.class = 'clinical' and a.escalation_level < %(levels)s
   and (a.due_at is null or (a.due_at <= %(now)s and a.peak_severity = any(%(severities)s)))
 order by a.due_at nulls last, a.alert"""

_UNCHANGED = "select alert::text, escalation_level, due_at from scad.alert where alert = any(%s::uuid[])"

_RENEW = """
update scad.alert set due_at = %s, due_from = %s, due_severity = peak_severity where alert = %s"""

_OVERDUE = """
select count(*) from scad.alert
 where state in ('open', 'escalated') and inhibited_by is null and suppressed is null
   and class = 'clinical' and due_at <= %s"""

_DIGEST = """
insert into scad.digest (care_team, day, at, alerts)
select %(team)s, %(day)s, %(now)s, count(*) from scad.alert a join scad.patient p on p.patient = a.patient
 where p.care_team = %(team)s and a.in_digest
on conflict do nothing returning alerts"""


@dataclass(frozen=True, slots=True)
class Ticked:
    """What one round did. `woken`: patients for whom time changed something; `escalated`: steps; `unheard`:
    steps for which nobody was on call; `glass`: files of other teams that administrators are told of; `led`: whether
    this process decided."""

    woken: int = 0
    renewed: int = 0
    escalated: int = 0
    unheard: int = 0
    digests: int = 0
    glass: int = 0
    led: bool = True


@dataclass(frozen=True, slots=True)
class _Candidate:
    alert: str
    team: Team
    level: int
    due: datetime


async def tick(conn: Connection, now: datetime) -> Ticked:
    """Do what is due at `now`. `conn` sees every team and is in autocommit mode.

    Raises psycopg.Error; what was done until then stays done, the rest is for the next round.
    """
    glass = await tell_administrators(conn, now)
    metrics.GLASS_UNREVIEWED.set(await unreviewed(conn))
    woken = 0
    while changed := await pass_time(conn, now):
        woken += changed
    metrics.WOKEN.inc(woken)
    teams = await load_teams_async(conn)
    renewed, escalated, unheard, led = await _escalate(conn, teams, now)
    digests = await _digests(conn, teams.values(), now)
    metrics.OVERDUE.set((await _all(conn, _OVERDUE, (now,)))[0][0])
    return Ticked(woken, renewed, escalated, unheard, digests, glass, led)


async def _escalate(conn: Connection, teams: dict[str, Team], now: datetime) -> tuple[int, int, int, bool]:
    """Step by step, until no alert has a step left that is due."""
    renewed = escalated = unheard = 0
    for _ in range(ESCALATION_MAX):
        async with conn.transaction():
            if not await _ours(conn):
                return renewed, escalated, unheard, False
            candidates, fresh = await _candidates(conn, teams, now)
        renewed += fresh
        for first in range(0, len(candidates), AT_ONCE):
            async with conn.transaction():
                if not await _ours(conn):
                    return renewed, escalated, unheard, False
                ready = await _as_they_were(conn, candidates[first : first + AT_ONCE])
                done = await _one_step(conn, ready, now)
                unheard += await _tell(conn, done, now)
            escalated += len(done)
        if not candidates:
            break
    return renewed, escalated, unheard, True


async def _ours(conn: Connection) -> bool:
    """Whether this transaction decides; another process that does so will not be waited for."""
    return bool((await _all(conn, "select pg_try_advisory_xact_lock(%s)", (ESCALATION_LOCK,)))[0][0])


async def _as_they_were(conn: Connection, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Those that nobody has escalated or renewed since they were looked for."""
    rows = await _all(conn, _UNCHANGED, ([candidate.alert for candidate in candidates],))
    now = {(alert, level, due) for alert, level, due in rows}
    return [c for c in candidates if (c.alert, c.level, c.due) in now]


async def _candidates(
    conn: Connection, teams: dict[str, Team], now: datetime
) -> tuple[list[_Candidate], int]:
    """Alerts whose next step is due, the longest overdue first, and how many due times were reckoned anew."""
    severities = {severity for team in [*teams.values(), NO_TEAM] for severity in team.times.escalate}
    wanted = {"now": now, "levels": ESCALATION_MAX, "severities": sorted(severities)}
    found: list[_Candidate] = []
    renewed: list[tuple[datetime, datetime, str]] = []
    for alert, cls, severity, name, due, since, level, came_back in await _all(conn, _CANDIDATES, wanted):
        team = teams.get(name, NO_TEAM)
        if due is None or (came_back is not None and (since is None or came_back > since)):
            start = came_back if due is not None and came_back is not None else now
            due = due_at(severity, start, team, cls)
            renewed.append((due, start, alert))
        if escalates(team, severity, cls) and level < level_reached(team, due, now):
            found.append(_Candidate(alert, team, level, due))
    if renewed:
        async with conn.cursor() as cursor:
            await cursor.executemany(_RENEW, renewed)
    return found, len(renewed)


async def _one_step(conn: Connection, ready: Sequence[_Candidate], now: datetime) -> list[_Candidate]:
    """Escalate each by one level; those that somebody has answered meanwhile are refused and left out."""
    results = await act_on_all(
        conn, [UUID(c.alert) for c in ready], ActionRequest(action="escalate"), ACTOR, now
    )
    done = []
    for candidate in ready:
        result = results[UUID(candidate.alert)]
        if isinstance(result, Done):
            level = result.row.escalation_level
            metrics.ESCALATED.labels(level=level).inc()
            done.append(_Candidate(candidate.alert, candidate.team, level, candidate.due))
    return done


async def _tell(conn: Connection, done: Iterable[_Candidate], now: datetime) -> int:
    """Queue messages to those who are on call for each step; returns for how many steps nobody is."""
    unheard = 0
    pairs: list[Pair] = []
    for candidate in done:
        step = candidate.team.times.steps[candidate.level - 1]
        contacts = [contact for contact in step.to if contact.on_call(now)]
        if not contacts:
            unheard += 1
            metrics.UNHEARD.labels(level=candidate.level).inc()
        for contact in contacts:
            pairs.append(Pair(candidate.team, contact, candidate.alert, candidate.due, candidate.level))
    if unheard:
        log.warning("escalation.nobody_on_call", steps=unheard)
    await queue_escalation(conn, pairs, now)
    return unheard


async def _digests(conn: Connection, teams: Iterable[Team], now: datetime) -> int:
    """The morning digest of each team whose hour has come: once a working day, nothing when nothing waits."""
    told = 0
    for team in teams:
        local = team.calendar.local(now)
        if not team.calendar.works_on(local.date()) or local.time() < time.fromisoformat(
            team.times.digest.at
        ):
            continue
        async with conn.transaction():
            wanted = {"team": team.care_team, "day": local.date(), "now": now}
            made = await _all(conn, _DIGEST, wanted)
            if made and made[0][0]:
                told += 1
                metrics.DIGESTS.inc()
                contacts = [contact for contact in team.times.digest.to if contact.on_call(now)]
                await queue_digest(conn, team, contacts, now)
    return told


async def _all(conn: Connection, query: str, parameters: Any) -> list[tuple[Any, ...]]:
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query.encode(), parameters)
        return await cursor.fetchall()
