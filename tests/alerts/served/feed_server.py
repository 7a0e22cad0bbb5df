"""The feed on a real port in a thread, with a clock that the test moves."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import psycopg
from made_up_ward import NOW_MS, PASSWORD
from sealing import vault_of_tests

from alerts.feed.access import Access
from alerts.feed.app import create_app
from alerts.feed.context import Feed
from alerts.feed.server import Server, make_server
from scad.clock import Clock

DEADLINE_S = 60.0


class Hands:
    """A clock's hands: `now_ms` is what both the wall and the feed's clock say."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class RunningFeed:
    """What a test needs of the feed: its address, its clock's hands, its database."""

    server: Server
    thread: threading.Thread

    def __init__(self, url: str, hands: Hands, feed: Feed, conn: psycopg.Connection[Any]) -> None:
        self.url = url
        self.hands = hands
        self.feed = feed
        self.conn = conn
        self._open = ExitStack()

    def close(self) -> None:
        """Close every client; the feed stops by itself."""
        self._open.close()

    def client(self, login: str | None = None, password: str = PASSWORD, **headers: str) -> httpx.Client:
        """A browser without JavaScript; logged in when `login` is given."""
        client = httpx.Client(base_url=self.url, headers={"Accept-Language": "en", **headers}, timeout=10)
        self._open.enter_context(client)
        if login is not None:
            answer = client.post("/login", data={"user": login, "password": password})
            assert answer.status_code == 303, answer.text
        return client


def csrf_of(client: httpx.Client) -> str:
    return str(client.get("/api/session").json()["csrf_token"])


def until(check: Callable[[], Any], what: str) -> Any:
    """What `check` returns as soon as it is true; fails with `what` after DEADLINE_S."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


@contextmanager
def running(
    address: str,
    conn: psycopg.Connection[Any],
    hands: Hands | None = None,
    port: int = 0,
    access: Access | None = None,
) -> Iterator[RunningFeed]:
    """The feed on the database at `address`, stopped at the end of the block."""
    hands = hands or Hands()
    app = create_app(address, Clock(wall=hands), access=access, vault=vault_of_tests())
    server = make_server(app, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, name="feed under test")
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), "the feed starts")
        assert server.started, "the feed did not start"
        bound = server.servers[0].sockets[0].getsockname()[1]
        found = RunningFeed(f"http://127.0.0.1:{bound}", hands, app.state.feed, conn)
        found.server, found.thread = server, thread
        try:
            yield found
        finally:
            found.close()
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "the feed did not stop"


class Events:
    """A browser's EventSource in a thread: events as (name, id, data) in the order in which they came."""

    def __init__(
        self, client: httpx.Client, after: int | None = None, last_event_id: int | None = None
    ) -> None:
        self.seen: list[tuple[str, int | None, str]] = []
        self.status = 0
        self.closed = threading.Event()
        self._client = client
        self._headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        self._path = "/api/stream" if after is None else f"/api/stream?after={after}"
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        timeout = httpx.Timeout(10, read=30)
        try:
            with self._client.stream("GET", self._path, headers=self._headers, timeout=timeout) as answer:
                self.status = answer.status_code
                self._read(answer)
        except httpx.HTTPError:
            pass  # the server went away: that is what some tests are about
        finally:
            self.closed.set()

    def _read(self, answer: httpx.Response) -> None:
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if self._stop:
                return
            if line:
                match = re.fullmatch(r"(\w+): ?(.*)", line)
                if match:
                    fields[match[1]] = match[2]
                continue
            if "event" in fields:
                id_ = int(fields["id"]) if "id" in fields else None
                self.seen.append((fields["event"], id_, fields.get("data", "")))
            fields = {}

    @property
    def ids(self) -> list[int]:
        return [id_ for name, id_, _ in self.seen if name == "alert" and id_ is not None]

    def open(self) -> Events:
        until(lambda: self.seen or self.closed.is_set(), "the stream opens")
        return self

    def stop(self) -> None:
        self._stop = True
