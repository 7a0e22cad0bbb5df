"""Tell people what waits for them: each message tried, and each attempt on record.

At least once: a process that dies between the sending and the record sends again, with the same delivery
number. Two processes at once send each message once.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import psycopg
import structlog

from alerts.escalation import metrics
from alerts.escalation.channels import Channels
from alerts.escalation.message import Counts, Message, Sent
from alerts.escalation.outbox import ATTEMPTS_MAX, Claimed, claim, count, settle, waiting

log = structlog.get_logger()

Connection = psycopg.AsyncConnection[Any]

ROUNDS_MAX = 50  # of one call: a thousand messages, and then the alerts have their turn again


async def deliver(conn: Connection, channels: Channels, now: datetime) -> dict[str, int]:
    """Send what is to be sent at `now`; returns how many messages had each outcome.

    Raises psycopg.Error; what was claimed is tried again when its claim has lapsed.
    """
    outcomes: dict[str, int] = {}
    for _ in range(ROUNDS_MAX):
        taken = await claim(conn, now)
        if not taken:
            break
        counted = [(one, await count(conn, one)) for one in taken]
        results = await asyncio.gather(*(_attempt(one, counts, channels, now) for one, counts in counted))
        for (one, counts), (outcome, detail) in zip(counted, results, strict=True):
            settled = await settle(conn, one, outcome, detail, now)
            outcomes[settled] = outcomes.get(settled, 0) + 1
            metrics.NOTIFICATIONS.labels(channel=one.channel, outcome=settled).inc()
            _say(one, counts, settled, detail, link_of(one, channels.page))
    metrics.WAITING.set(await waiting(conn))
    return outcomes


async def _attempt(one: Claimed, counts: Counts, channels: Channels, now: datetime) -> tuple[str, str]:
    """Outcome and detail; nothing that one message meets may keep another from being sent."""
    if counts.nothing:
        return "withdrawn", "nothing waits any more"
    if one.attempt > ATTEMPTS_MAX:
        return "failed", f"{ATTEMPTS_MAX} attempts were begun and none was finished"
    message = Message(
        delivery=one.delivery,
        kind=one.kind,
        team=one.team,
        person=one.person,
        channel=one.channel,
        address=one.address,
        language=one.language,
        counts=counts,
        link=link_of(one, channels.page),
        created_at=one.created_at,
    )
    try:
        sent = await channels.send(message, now)
    except Exception as error:  # a fault of ours: on record, tried again, and the others go out
        log.exception("notification.fault", channel=one.channel, delivery=str(one.delivery))
        sent = Sent("retry", type(error).__name__)
    return sent.outcome, sent.detail


def link_of(one: Claimed, page: str) -> str:
    """Where to look: the queue, or the page of broken glasses."""
    return page if one.kind != "glass" else page.rstrip("/") + "/glass/opened"


def _say(one: Claimed, counts: Counts, outcome: str, detail: str, link: str) -> None:
    """A line in the log: no patient, no address."""
    what: dict[str, Any] = {
        "kind": one.kind, "care_team": one.team, "person": one.person, "channel": one.channel,
        "delivery": str(one.delivery), "attempt": one.attempt, "alerts": counts.alerts,
        "patients": counts.patients, "accesses": counts.accesses,
    }  # fmt: skip
    if outcome == "off":
        log.info("notification.would_be_sent", **what, by_level=counts.by_level, link=link)
    elif outcome in ("sent", "withdrawn"):
        log.info(f"notification.{outcome}", **what)
    else:
        log.warning(f"notification.{outcome}", **what, detail=detail)
