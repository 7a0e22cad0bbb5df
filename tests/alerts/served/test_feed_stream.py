"""Server-sent events: everything once and in order, whatever happens to the connection; and what rings."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from acting_people import act
from feed_server import Events, Hands, RunningFeed, csrf_of, running, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_ward import HOUR, NOW_MS, PASSWORD, one_signal

from alerts.feed import database, stream
from alerts.feed.accounts import create_account
from alerts.feed.database import Database
from alerts.feed.metrics import FeedMetrics
from alerts.feed.stream import PAGE, QUEUE_MAX, Hub
from alerts.feed.viewer import Viewer
from alerts.store import write_signals
from alerts.store.connection import Connection
from devices.times import to_datetime
from scad.clock import Clock

NURSE = Viewer("infirmiere", "Claire Martin", "nurse", ("caen",), token_hash=b"n" * 32)
AUDITOR = Viewer("audit", "Nadia Benali", "auditor", (), token_hash=b"a" * 32)


def signal_in(conn: Connection, patient: str, alert: str | None = None, **more: Any) -> str:
    """One more signal of the patient; returns its alert."""
    row = conn.execute(
        "select coalesce(max(n), 0) from scad.alert_event where patient = %s", (patient,)
    ).fetchone()
    assert row is not None
    alert = alert or str(uuid4())
    more.setdefault("rule", f"rule-{alert}")  # a problem of its own: nothing hides it
    write_signals(conn, [one_signal(patient, int(str(row[0])) + 1, alert, **more)], NOW_MS)
    return alert


def all_ids(conn: Connection, patient: str = "p-caen") -> list[int]:
    rows = conn.execute(
        "select id from scad.alert_event where patient = %s order by id", (patient,)
    ).fetchall()
    return [int(str(row[0])) for row in rows]


def data_of(events: Events, name: str = "alert") -> list[dict[str, Any]]:
    return [json.loads(data) for found, _, data in events.seen if found == name]


def test_an_alert_its_acknowledgement_and_its_end_arrive_without_reloading(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    events = Events(nurse, after=nurse.get("/api/queue").json()["cursor"]).open()
    alert = signal_in(feed.conn, "p-caen")
    nurse.post(f"/api/alerts/{alert}/acknowledge", headers={"X-CSRF-Token": csrf_of(nurse)})
    signal_in(feed.conn, "p-caen", alert, state="cleared", at_ms=NOW_MS + HOUR)
    until(lambda: len(events.ids) == 3, "three events")
    assert [step["event"] for step in data_of(events)] == ["raised", "acknowledged", "cleared"]
    assert {step["alert"] for step in data_of(events)} == {alert}
    assert events.ids == all_ids(feed.conn)
    assert data_of(events, "clock")[0] == {"now": "2026-11-22T09:42:00.000+00:00", "rate": 1.0}


def test_another_team_hears_nothing_of_it(feed: RunningFeed):
    stranger = Events(feed.client("bayeux")).open()
    auditor = Events(feed.client("audit")).open()
    signal_in(feed.conn, "p-caen")
    signal_in(feed.conn, "p-bayeux")
    until(lambda: len(auditor.ids) == 2, "the auditor hears both")
    until(lambda: len(stranger.ids) == 1, "the other team hears its own")
    assert [step["patient"] for step in data_of(stranger)] == ["p-bayeux"]


def test_a_browser_that_comes_back_gets_what_it_missed_once(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    first = Events(nurse).open()
    signal_in(feed.conn, "p-caen")
    until(lambda: first.ids, "the first event")
    first.stop()
    for _ in range(5):
        signal_in(feed.conn, "p-caen")
    signal_in(feed.conn, "p-bayeux")
    again = Events(nurse, after=0, last_event_id=first.ids[-1]).open()
    until(lambda: len(again.ids) == 5, "what was missed")
    signal_in(feed.conn, "p-caen")
    until(lambda: len(again.ids) == 6, "what comes")
    assert first.ids[:1] + again.ids == all_ids(feed.conn)


def test_nothing_is_missed_or_doubled_with_many_writers_and_restless_browsers(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    for index in range(4):
        feed.conn.execute("insert into scad.patient values (%s, 'caen', now())", (f"p-{index}",))
    start = nurse.get("/api/queue").json()["cursor"]
    done = threading.Event()

    def write(patient: str) -> None:
        with psycopg.connect(feed.feed.database.dsn, autocommit=True) as conn:
            for _ in range(25):
                signal_in(conn, patient, severity="medium")

    seen: list[list[int]] = []

    def listen(seed: int) -> None:
        random, mine, last = Random(seed), list[int](), start
        while not (done.is_set() and len(mine) >= 100):
            events = Events(nurse, after=last).open()
            wanted = len(mine) + random.randrange(1, 40)
            until(lambda w=wanted, e=events, m=mine: len(m) + len(e.ids) >= min(w, 100), "the next events")
            events.stop()
            mine += events.ids
            last = mine[-1] if mine else last
        seen.append(mine)

    writers = [threading.Thread(target=write, args=(f"p-{index}",)) for index in range(4)]
    listeners = [threading.Thread(target=listen, args=(seed,)) for seed in range(3)]
    for thread in writers + listeners:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in listeners:
        thread.join()
    truth = [
        int(str(row[0]))
        for row in feed.conn.execute("select id from scad.alert_event order by id").fetchall()
    ]
    assert len(truth) == 100
    assert seen == [truth] * 3


def test_the_feed_goes_on_after_the_database_dropped_its_connections(feed: RunningFeed):
    events = Events(feed.client("infirmiere")).open()
    signal_in(feed.conn, "p-caen")
    until(lambda: len(events.ids) == 1, "the first event")
    feed.conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name like 'scad feed%' and datname = current_database()"
    )
    signal_in(feed.conn, "p-caen")
    until(lambda: len(events.ids) == 2, "the event written while nobody listened")
    assert events.ids == all_ids(feed.conn)


def test_a_log_out_ends_the_stream(feed: RunningFeed, monkeypatch: Any):
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(stream, "CHECK_EVERY_S", 0.1)
    nurse = feed.client("infirmiere")
    events = Events(nurse).open()
    nurse.post("/logout", data={"csrf": csrf_of(nurse)})
    until(events.closed.is_set, "the stream ends")
    assert events.seen[-1][0] == "ended"


def test_streams_beyond_the_bound_are_refused(feed: RunningFeed, monkeypatch: Any):
    monkeypatch.setattr(stream, "STREAMS_MAX", 1)
    nurse = feed.client("infirmiere")
    Events(nurse).open()
    refused = Events(nurse).open()
    until(refused.closed.is_set, "the second stream is refused")
    assert refused.status == 503


# ── the hub alone ─────────────────────────────────────────────────────────────────────────────────────


async def valid() -> bool:
    return True


async def take(parts: AsyncIterator[bytes], count: int) -> list[tuple[str, int | None]]:
    """The next `count` events other than the clock's."""
    found: list[tuple[str, int | None]] = []
    async with asyncio.timeout(20):
        async for part in parts:
            for event in re.findall(r"(?:id: (\d+)\n)?event: (\w+)", part.decode()):
                if event[1] != "clock":
                    found.append((event[1], int(event[0]) if event[0] else None))
            if len(found) >= count:
                break
    return found


def with_hub(address: str, body: Any) -> Any:
    """Run `body(hub)` with a hub that nobody wakes: the test calls catch_up itself."""

    async def go() -> Any:
        pool = Database(address)
        await pool.open()
        try:
            return await body(Hub(pool, Clock(wall=Hands()), FeedMetrics()))
        finally:
            await pool.close()

    return asyncio.run(go())


def patients(conn: Connection) -> None:
    conn.execute("insert into scad.care_team (care_team, name) values ('caen', 'Caen'), ('bayeux', 'Bayeux')")
    conn.execute("insert into scad.patient values ('p-caen', 'caen', now()), ('p-bayeux', 'bayeux', now())")
    for viewer, team in ((NURSE, "caen"), (AUDITOR, None)):
        create_account(conn, viewer.login, PASSWORD, viewer.role, team, at=to_datetime(NOW_MS))
        conn.execute(
            "insert into scad.session values (%s, %s, 'token', now(), now(), now() + interval '1 day')",
            (viewer.token_hash, viewer.login),
        )


def events(conn: Connection, count: int) -> None:
    """So many steps of alerts at once."""
    conn.execute(
        "insert into scad.alert_event (at, recorded_at, patient, kind, n, event, actor, body)"
        " select now(), now(), 'p-caen', 'signal', i, 'updated', 'engine', '{}' from generate_series(1, %s) i",
        (count,),
    )


def test_a_browser_that_does_not_read_is_cut_off_and_catches_up_from_the_table(
    store_address: str, store: Connection
):
    patients(store)

    async def body(hub: Hub) -> None:
        parts = hub.stream(NURSE, None, valid)
        await anext(parts)
        for _ in range(QUEUE_MAX + 5):
            signal_in(store, "p-caen")
        await hub.catch_up()
        got = [id_ for _, id_ in await take(parts, QUEUE_MAX) if id_ is not None]
        assert [part async for part in parts] == [], "the stream ends after what it had"
        again = hub.stream(NURSE, got[-1], valid)
        more = await take(again, 5)
        await again.aclose()
        assert got + [id_ for _, id_ in more] == all_ids(store)

    with_hub(store_address, body)


def test_a_burst_however_long_cuts_nobody_off_who_reads(store_address: str, store: Connection):
    patients(store)

    async def body(hub: Hub) -> None:
        parts = hub.stream(NURSE, None, valid)
        await anext(parts)
        events(store, 4 * QUEUE_MAX)
        reading = asyncio.create_task(take(parts, 4 * QUEUE_MAX))
        await hub.catch_up()
        assert [id_ for _, id_ in await reading] == all_ids(store)
        await parts.aclose()

    with_hub(store_address, body)


@pytest.mark.parametrize("missed", [1, PAGE, PAGE + 1, 2 * PAGE, 20 * PAGE + 3])
def test_a_browser_is_given_every_step_that_it_missed_however_many(
    store_address: str, store: Connection, missed: int
):
    patients(store)

    async def body(hub: Hub) -> None:
        await hub.catch_up()
        events(store, missed)
        await hub.catch_up()
        parts = hub.stream(NURSE, 0, valid)
        given = await take(parts, missed)
        events(store, 1)
        await hub.catch_up()
        given += await take(parts, 1)
        assert [id_ for _, id_ in given] == all_ids(store)
        await parts.aclose()

    with_hub(store_address, body)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["caen", "bayeux", "wake", "leave"]), max_size=25))
def test_any_course_of_writes_wakes_and_reconnections_gives_each_event_once(
    store_address: str, store: Connection, steps: list[str]
):
    if store.execute("select 1 from scad.care_team").fetchone() is None:
        patients(store)

    async def body(hub: Hub) -> None:
        await hub.catch_up()
        begin = hub.cursor or 0
        last, got = begin, list[int]()

        async def read(parts: AsyncIterator[bytes]) -> None:
            """Everything that is there for the browser, then the connection is lost."""
            nonlocal last
            hub_has = [id_ for id_ in all_ids(store) if last < id_ <= (hub.cursor or 0)]
            for _, id_ in await take(parts, len(hub_has)) if hub_has else []:
                assert id_ is not None
                got.append(id_)
                last = id_

        parts = hub.stream(NURSE, last, valid)
        await anext(parts)
        for step in steps:
            if step == "wake":
                await hub.catch_up()
            elif step == "leave":
                await read(parts)
                await parts.aclose()
                parts = hub.stream(NURSE, last, valid)
                await anext(parts)
            else:
                signal_in(store, f"p-{step}")
        await hub.catch_up()
        await read(parts)
        await parts.aclose()
        assert got == [id_ for id_ in all_ids(store) if id_ > begin]

    with_hub(store_address, body)


def rings(address: str, conn: Connection, write: Any) -> list[bool]:
    """Whether each event that `write` made rings, as a browser hears it afterwards."""

    async def body(hub: Hub) -> list[bool]:
        await hub.catch_up()
        begin = hub.cursor or 0
        write()
        await hub.catch_up()
        parts = hub.stream(AUDITOR, begin, valid)
        found: list[bool] = []
        wanted = conn.execute("select count(*) from scad.alert_event where id > %s", (begin,)).fetchone()
        assert wanted is not None
        async with asyncio.timeout(20):
            async for part in parts:
                found += [match == "true" for match in re.findall(r'"ring":(true|false)', part.decode())]
                if len(found) >= int(str(wanted[0])):
                    break
        await parts.aclose()
        return found

    return list(with_hub(address, body))


def test_only_a_new_high_alert_that_is_in_time_and_still_stands_rings(store_address: str, store: Connection):
    patients(store)
    alert = str(uuid4())

    def once(**more: Any) -> list[bool]:
        return rings(store_address, store, lambda: signal_in(store, "p-caen", **more))

    assert once() == [True]
    assert once(severity="medium") == [False]
    assert once(late=True) == [False]
    assert once(cls="technical") == [False]
    assert once(alert=alert, severity="medium") == [False]
    assert once(alert=alert, severity="high", state="updated") == [True]
    assert once(alert=alert, severity="high", state="updated") == [False]
    assert once(alert=alert, severity="medium", state="updated") == [False]
    assert once(alert=alert, severity="high", state="updated") == [False]


def test_an_alert_that_was_over_or_acknowledged_before_anybody_heard_does_not_ring(
    store_address: str, store: Connection
):
    patients(store)

    def over() -> None:
        alert = signal_in(store, "p-caen")
        signal_in(store, "p-caen", alert, state="cleared", at_ms=NOW_MS + HOUR)

    def taken() -> None:
        alert = signal_in(store, "p-caen")
        act(store, alert, "acknowledge", "infirmiere", NOW_MS)

    assert rings(store_address, store, over) == [False, False]
    assert rings(store_address, store, taken) == [False, False]


def test_an_alert_that_replaces_others_rings_only_when_none_of_them_was_high(
    store_address: str, store: Connection
):
    patients(store)
    high, medium = signal_in(store, "p-caen"), signal_in(store, "p-caen", severity="medium")
    assert rings(store_address, store, lambda: signal_in(store, "p-caen", supersedes=(high,))) == [False]
    assert rings(store_address, store, lambda: signal_in(store, "p-caen", supersedes=(medium,))) == [True]


# ── the process ───────────────────────────────────────────────────────────────────────────────────────


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start_feed(address: str, port: int) -> subprocess.Popen[str]:
    environ = {**os.environ, "SCAD_DATABASE": address, "SCAD_FEED_PORT": str(port)}
    command = [sys.executable, "-c", "from scad.main import run; run()", "feed"]
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


def test_the_process_stops_at_once_although_a_browser_listens(feed: RunningFeed):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for how in (signal.SIGTERM, signal.SIGINT):
        with start_feed(feed.feed.database.dsn, port) as process:
            try:
                until(lambda: answers(url), "the process answers")
                with httpx.Client(base_url=url) as client:
                    client.post("/login", data={"user": "infirmiere", "password": PASSWORD})
                    events = Events(client).open()
                    process.send_signal(how)
                    assert process.wait(30) == 0
                    until(events.closed.is_set, "the stream ends")
            finally:
                process.kill()
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()


def test_a_browser_goes_on_where_it_was_after_the_process_was_killed(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    before = Events(nurse).open()
    signal_in(feed.conn, "p-caen")
    until(lambda: before.ids, "the first event")
    before.stop()
    signal_in(feed.conn, "p-caen")
    with running(feed.feed.database.dsn, feed.conn) as other:
        after = Events(other.client("infirmiere"), last_event_id=before.ids[0]).open()
        signal_in(feed.conn, "p-caen")
        until(lambda: len(after.ids) == 2, "what was missed and what came")
        assert before.ids + after.ids == all_ids(feed.conn)


def test_the_process_says_so_when_its_port_is_taken(feed: RunningFeed):
    port = int(feed.url.rsplit(":", 1)[1])
    with start_feed(feed.feed.database.dsn, port) as process:
        assert process.wait(60) != 0
        assert process.stderr is not None
        assert "address already in use" in process.stderr.read()


def test_without_the_database_pages_say_so_and_health_still_answers(monkeypatch: Any):
    monkeypatch.setattr(database, "POOL_WAIT_S", 0.2)
    with running("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1", None) as feed:  # type: ignore[arg-type]
        client = feed.client()
        assert client.get("/health/live").status_code == 200
        client.cookies.set("scad_session", "something")
        client.timeout = httpx.Timeout(20)
        assert client.get("/health/ready").status_code == 503
        page = client.get("/")
        assert page.status_code == 503
        assert page.headers["retry-after"] == "5"
        assert "The database does not answer" in page.text
        assert client.get("/api/queue").json() == {"detail": "the database does not answer"}
