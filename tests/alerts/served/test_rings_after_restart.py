"""What months and restarts do to an alert: acknowledged it never rings again, unanswered it rings and climbs."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from escalating import Ward, paris
from feed_server import Hands
from test_feed_stream import AUDITOR, valid
from test_store_signals import events, name_of, signal

from alerts.feed.accounts import create_account
from alerts.feed.database import Database
from alerts.feed.metrics import FeedMetrics
from alerts.feed.queue_queries import counts
from alerts.feed.stream import Hub
from alerts.store import write_signals
from alerts.store.connection import Connection
from devices.times import from_datetime
from scad.clock import Clock

MONTHS_LATER = "2027-06-11T10:00"  # two hundred days after Monday 23 November 2026
NOBODY: list[tuple[str, str, int]] = []


@pytest.fixture
def ward(store: Connection, store_address: str) -> Ward:
    made = Ward(store, store_address)
    store.execute("insert into scad.patient values ('p-1', 'caen', '2026-01-01T00:00Z')")
    create_account(store, AUDITOR.login, "long enough for anybody", "auditor", None, at=paris("08:00"))
    store.execute(
        "insert into scad.session values (%s, %s, 'token', now(), now(), now() + interval '1 day')",
        (AUDITOR.token_hash, AUDITOR.login),
    )
    return made


def told_by_a_feed_that_starts(ward: Ward, at: str, after: int = 0) -> tuple[list[tuple[str, bool]], int]:
    """What a browser that comes back hears from a new process of the feed, and how many alerts its title counts.

    `after`: the last event that the browser has seen.
    """

    async def life() -> tuple[list[tuple[str, bool]], int]:
        database = Database(ward.address)
        await database.open()
        try:
            hub = Hub(database, Clock(wall=Hands()), FeedMetrics())
            await hub.catch_up()
            parts = hub.stream(AUDITOR, after, valid)
            heard: list[tuple[str, bool]] = []
            due = len(events(ward.store)) - after
            async with asyncio.timeout(20):
                async for part in parts:
                    found = re.findall(r"event: alert\ndata: (.*)", part.decode())
                    heard += [(step["event"], step["ring"]) for step in map(json.loads, found)]
                    if len(heard) >= due:
                        break
            await parts.aclose()
            async with database.reading(AUDITOR) as conn:
                return heard, (await counts(conn, AUDITOR, paris(at))).ringing
        finally:
            await database.close()

    return asyncio.run(life())


def deliver(ward: Ward, at: str, *signals: Any) -> None:
    write_signals(ward.store, list(signals), from_datetime(paris(at)))


def test_an_alert_acknowledged_months_ago_never_rings_again(ward: Ward):
    raised, goes_on = signal(1), signal(2, "updated", 30)
    deliver(ward, "10:00", raised)
    assert told_by_a_feed_that_starts(ward, "10:00") == ([("raised", True)], 1)
    ward.act(name_of("p-1", 1), "acknowledge", "10:20")
    deliver(ward, "10:30", goes_on)
    rang = ward.row(name_of("p-1", 1), "state, rang_at, rang_n")
    # the worker starts anew from what it has in Kafka, the feed from the database, and both go on
    deliver(ward, MONTHS_LATER, raised, goes_on, signal(3, "updated", 60))
    assert ward.round(MONTHS_LATER) == NOBODY
    said = [("raised", False), ("acknowledged", False), ("updated", False), ("updated", False)]
    assert told_by_a_feed_that_starts(ward, MONTHS_LATER) == (said, 0)
    assert ward.row(name_of("p-1", 1), "state, rang_at, rang_n") == rang == ("acknowledged", rang[1], 1)


def test_late_data_months_later_does_not_make_an_acknowledged_alert_ring(ward: Ward):
    deliver(ward, "10:00", signal(1))
    ward.act(name_of("p-1", 1), "acknowledge", "10:20")
    seen = len(events(ward.store))
    moved = [
        signal(2, "cleared", 5, reason="late-data"),
        signal(3, "raised", -60, alert=2, supersedes=[1]),
    ]
    deliver(ward, MONTHS_LATER, *moved)
    heard, title = told_by_a_feed_that_starts(ward, MONTHS_LATER, after=seen)
    assert ({ring for _, ring in heard}, title) == ({False}, 0)
    assert ward.round(MONTHS_LATER) == NOBODY


def test_an_alert_that_was_open_before_a_restart_rings_and_climbs(ward: Ward):
    raised = signal(1)
    deliver(ward, "10:00", raised)  # while no feed runs
    assert told_by_a_feed_that_starts(ward, "10:25") == ([("raised", True)], 1)
    assert ward.round("10:30") == [("bea", "mail", 1)]
    deliver(ward, "10:40", raised)  # a worker that starts anew says it again
    assert told_by_a_feed_that_starts(ward, "10:45") == ([("raised", True), ("escalated", False)], 1)
    assert ward.round("11:00") == [("dr-carre", "mail", 1), ("dr-carre", "webhook", 1)]
    assert ward.row(name_of("p-1", 1)) == ("escalated", 2)
    _, title = told_by_a_feed_that_starts(ward, MONTHS_LATER)
    assert title == 1  # nobody has answered it: time alone takes nothing away
