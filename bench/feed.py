"""How quick the queue is with 5,000 open alerts of one team: paint, actions, bulk, and 200 streams at once.

    python -m bench.feed [--alerts 5000] [--streams 200] [--json FILE]

Starts PostgreSQL and `scad feed` as processes of their own, fills the database, and measures from outside: with
headless Chromium what a person sees, over HTTP what an action takes. Prints a table; the exit status is 1 when a
bound of docs/page.md is not held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from playwright.async_api import Page, async_playwright

from alerts.feed.accounts import create_account
from alerts.schema import apply_schema
from alerts.store import write_readings, write_signals
from devices.readings import Reading
from devices.times import format_instant, to_datetime
from scad.services import HOST, Postgres, Program, chromium_program, free_port
from streams.signal import AlertSignal, Evidence

TEAM, LOGIN, PASSWORD = "bench", "bench", "mesurer sans attendre"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
ALERTS_PER_PATIENT = 3
CURVE_DAYS = 14
PAINTS, ACTIONS, BULKS, NEWS = 7, 60, 5, 10
BULK = 50
READY_S, ARRIVE_S = 60.0, 10.0
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
FOCUS_FIRST = """() => {
  const alert = document.querySelector(".alert.waiting");
  alert.tabIndex = -1;
  alert.focus();
  return alert.id;
}"""
# Rules of different problems: none of them hides another inside itself.
RULES = (
    ("heart-failure", "weight-gain-3d", "body-weight", "kg", 82.0),
    ("hypertension", "bp-crisis", "blood-pressure", "mm[Hg]", 178.0),
    ("respiratory", "temperature", "temperature", "Cel", 38.4),
)
SEVERITIES = ("high", "medium", "medium", "low")


@dataclass(frozen=True)
class Measured:
    """One line of the table. `bound`: what the page promises, in the same unit, for 95 of 100 (with fewer than 20
    values: for all); None where it promises nothing."""

    what: str
    unit: str
    median: float
    p95: float
    worst: float
    bound: float | None = None

    @property
    def held(self) -> bool:
        return self.bound is None or self.p95 <= self.bound


def line_of(what: str, unit: str, values: list[float], bound: float | None = None) -> Measured:
    ordered = sorted(values)
    p95 = ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]
    return Measured(what, unit, round(median(ordered), 1), round(p95, 1), round(ordered[-1], 1), bound)


# ── the ward ───────────────────────────────────────────────────────────────────────────────────────────────


def fill(conn: psycopg.Connection[Any], alerts: int, now_ms: int) -> None:
    """`alerts` open alerts of one team, three a patient, with a fortnight of readings behind each."""
    begin = to_datetime(now_ms - 45 * DAY_MS)
    conn.execute("insert into scad.care_team (care_team, name) values (%s, %s)", (TEAM, "Équipe de mesure"))
    create_account(conn, LOGIN, PASSWORD, "nurse", TEAM, at=begin, display_name="Nurse", language="en")
    patients = [f"p-{i:05d}" for i in range(-(-alerts // ALERTS_PER_PATIENT))]
    with conn.cursor() as cursor:
        cursor.executemany(
            "insert into scad.patient values (%s, %s, %s)", [(patient, TEAM, begin) for patient in patients]
        )
        cursor.executemany(
            "insert into identity.person (patient, family_name, given_names, birth_date, sex, phone)"
            " values (%s, %s, %s, %s, 'female', '02 31 00 00 00')",
            [(patient, f"Durand-{patient[2:]}", "Jeanne", date(1940, 5, 1)) for patient in patients],
        )
    numbers = dict.fromkeys(patients, 0)
    signals = []
    for index in range(alerts):
        patient = patients[index // ALERTS_PER_PATIENT]
        numbers[patient] += 1
        signals.append(signal_of(patient, numbers[patient], index, now_ms - (index * 7919) % (3 * DAY_MS)))
    for place in range(0, len(signals), 500):
        write_signals(conn, signals[place : place + 500], now_ms)
    for patient in patients[:600]:  # what the first pages can show
        write_readings(conn, list(readings_of(patient, now_ms)), now_ms)
    conn.execute("analyze")


def signal_of(patient: str, n: int, index: int, at_ms: int, severity: str | None = None) -> AlertSignal:
    protocol, rule, kind, unit, value = RULES[index % len(RULES)]
    return AlertSignal(
        alert=str(uuid4()),
        patient=patient,
        protocol=protocol,
        protocol_version="2026.1",
        rule=rule,
        cls="clinical",
        severity=severity or SEVERITIES[index % len(SEVERITIES)],  # type: ignore[arg-type]
        state="raised",
        at=format_instant(at_ms),
        value=value,
        limit=value * 0.97,
        unit=unit,
        late=False,
        evidence=(Evidence(f"{kind[:2]}-{patient}", 1, format_instant(at_ms), value, kind=kind),),
        explanation={
            "fr": f"Valeur {value:g} au-dessus de la limite du patient, deux mesures de suite.",
            "en": f"Value {value:g} above the patient's limit, two readings in a row.",
        },
        n=n,
    )


def readings_of(patient: str, now_ms: int) -> Iterator[Reading]:
    for _, _, kind, _, value in RULES:
        for day in range(CURVE_DAYS):
            at_ms = now_ms - day * DAY_MS - HOUR_MS
            main = value * (1 + ((day * 37) % 11 - 5) / 200)
            values = {"body-weight": {"weight": main}, "temperature": {"temperature": main}}.get(
                kind, {"systolic": main, "diastolic": main * 0.6}
            )
            yield Reading(
                device=f"{kind[:2]}-{patient}",
                seq=day + 1,
                kind=kind,
                measured_at_ms=at_ms,
                values={name: round(number, 1) for name, number in values.items()},
                offset_min=60,
                received_at_ms=at_ms + 3000,
                patient=patient,
            )


@contextmanager
def feed_running(address: str, folder: Path) -> Iterator[str]:
    """`scad feed` as a process of its own, ended with the block; its address."""
    port = free_port()
    environment = {"SCAD_DATABASE": address, "SCAD_FEED_PORT": str(port), "SCAD_LOG_LEVEL": "warning"}
    program = Program("feed", [sys.executable, "-m", "scad", "feed"], folder / "feed", environment)
    url = f"http://{HOST}:{port}"
    program.start()
    try:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                if httpx.get(f"{url}/health/ready", timeout=2).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline or not program.running:
                raise RuntimeError(f"the feed does not start; its log ends with:\n{program.log_tail()}")
            time.sleep(0.1)
        yield url
    finally:
        program.stop()


# ── measuring ──────────────────────────────────────────────────────────────────────────────────────────────


async def log_in(page: Page, url: str) -> None:
    await page.goto(f"{url}/login")
    await page.locator("#user").fill(LOGIN)
    await page.locator("#password").fill(PASSWORD)
    await page.locator("form.login button").first.click()
    await page.locator("#live.on").wait_for()


async def paints(page: Page, url: str) -> list[Measured]:
    """First contentful paint of the queue, and what the page weighs; the first load is warm-up."""
    painted, bytes_, shown = [], [], []
    for turn in range(PAINTS + 1):
        answer = await page.goto(url + "/")
        if answer is None:
            raise RuntimeError("the browser was given no answer")
        await page.locator("#live.on").wait_for()
        painted_at = await page.wait_for_function(FIRST_PAINT)
        if turn:
            painted.append(float(await painted_at.json_value()))
            bytes_.append(len(await answer.body()) / 1000)
            shown.append(float(await page.locator(".row").count()))
    return [
        line_of("first paint", "ms", painted, 1000),
        line_of("size of the page", "kB", bytes_, 150),
        line_of("rows in the page", "rows", shown),
    ]


async def keys(page: Page) -> Measured:
    """From the key `a` until the row says who acknowledged, as a person sees it."""
    taken = []
    for _ in range(ACTIONS // 4):
        name = await page.evaluate(FOCUS_FIRST)  # in one go: a row may be put in place anew at any time
        begin = time.perf_counter()
        await page.keyboard.press("a")
        await page.locator(f'[id="{name}"]:not(.waiting)').wait_for(state="attached")
        taken.append((time.perf_counter() - begin) * 1000)
    return line_of("key to changed row", "ms", taken)


async def actions(client: httpx.AsyncClient, conn: psycopg.Connection[Any]) -> list[Measured]:
    """One request an action, one after the other, as the page sends them."""
    rows = conn.execute(
        "select alert::text from scad.alert where state = 'open' and severity <> 'high' order by alert limit %s",
        (ACTIONS + BULK * BULKS,),
    ).fetchall()
    names = [name for (name,) in rows]
    single, bulk = [], []
    for name in names[:ACTIONS]:
        begin = time.perf_counter()
        answer = await client.post(f"/api/alerts/{name}/acknowledge", json={})
        single.append((time.perf_counter() - begin) * 1000)
        answer.raise_for_status()
    for turn in range(BULKS):
        part = names[ACTIONS + turn * BULK : ACTIONS + (turn + 1) * BULK]
        body = {"alerts": part, "action": "acknowledge", "note": "seen together"}
        begin = time.perf_counter()
        answer = await client.post("/api/alerts/bulk", json=body)
        bulk.append((time.perf_counter() - begin) * 1000)
        answer.raise_for_status()
        if answer.json()["done"] != BULK:
            raise RuntimeError(f"bulk: {answer.text}")
    return [line_of("an action", "ms", single, 100), line_of(f"bulk of {BULK}", "ms", bulk, 1000)]


class Streams:
    """Browsers' event streams; remembers when each heard of an alert."""

    def __init__(self, client: httpx.AsyncClient, count: int) -> None:
        self.client = client
        self.count = count
        self.heard: dict[str, list[float]] = {}
        self.open = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._listen()) for _ in range(self.count)]
        deadline = time.monotonic() + READY_S
        while self.open < self.count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.open} of {self.count} streams opened within {READY_S:g} s")
            await asyncio.sleep(0.05)

    async def _listen(self) -> None:
        async with self.client.stream("GET", "/api/stream", timeout=httpx.Timeout(30, read=60)) as answer:
            answer.raise_for_status()
            self.open += 1
            async for line in answer.aiter_lines():
                found = re.search(r'"alert":"([0-9a-f-]{36})"', line)
                if found:
                    self.heard.setdefault(found[1], []).append(time.perf_counter())

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def news(page: Page, streams: Streams, conn: psycopg.Connection[Any], now_ms: int) -> list[Measured]:
    """From the commit of a new high alert until every stream has it, and until the browser shows its row."""
    on_all, on_page = [], []
    for turn in range(NEWS):
        patient = f"p-{9000 + turn:05d}"
        begin_at = to_datetime(now_ms - DAY_MS)
        conn.execute("insert into scad.patient values (%s, %s, %s)", (patient, TEAM, begin_at))
        signal = signal_of(patient, 1, 0, now_ms - 9 * DAY_MS - turn, "high")
        begin = time.perf_counter()
        await asyncio.to_thread(write_signals, conn, [signal], now_ms)
        begin = time.perf_counter()
        await page.locator(f'[id="a-{signal.alert}"]').wait_for(state="attached", timeout=ARRIVE_S * 1000)
        on_page.append((time.perf_counter() - begin) * 1000)
        deadline = time.monotonic() + ARRIVE_S
        while len(streams.heard.get(signal.alert, [])) < streams.count:
            if time.monotonic() > deadline:
                heard = len(streams.heard.get(signal.alert, []))
                raise RuntimeError(f"{heard} of {streams.count} streams heard of a new alert")
            await asyncio.sleep(0.01)
        on_all.append(max((max(streams.heard[signal.alert]) - begin) * 1000, 0.0))
    return [
        line_of(f"new alert on {streams.count} streams", "ms", on_all, 1000),
        line_of("new alert in the browser", "ms", on_page, 1000),
    ]


async def measure(url: str, conn: psycopg.Connection[Any], count: int, now_ms: int) -> list[Measured]:
    limits = httpx.Limits(max_connections=count + 20)
    headers = {"Accept-Language": "en"}
    async with (
        async_playwright() as playwright,
        httpx.AsyncClient(base_url=url, limits=limits, headers=headers, timeout=30) as client,
    ):
        browser = await playwright.chromium.launch(executable_path=str(chromium_program()), args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        await log_in(page, url)
        found = await paints(page, url)
        await client.post("/login", data={"user": LOGIN, "password": PASSWORD})
        session = (await client.get("/api/session")).json()
        client.headers["X-CSRF-Token"] = session["csrf_token"]
        found += await actions(client, conn)
        await page.goto(url + "/")
        await page.locator("#live.on").wait_for()
        found.append(await keys(page))
        await page.evaluate("document.activeElement?.blur()")
        streams = Streams(client, count)
        await streams.start()
        found += await news(page, streams, conn, now_ms)
        await streams.stop()
        await browser.close()
    return found


def report(found: list[Measured], conditions: dict[str, Any], path: Path | None) -> bool:
    print(f"{'':32}{'median':>10}{'95 %':>10}{'worst':>10}{'bound':>10}")
    for one in found:
        bound = "" if one.bound is None else f"{one.bound:g}"
        mark = "" if one.held else "  NOT HELD"
        print(f"{one.what:32}{one.median:>10g}{one.p95:>10g}{one.worst:>10g}{bound:>10} {one.unit}{mark}")
    if path is not None:
        document = {**conditions, "measured": [asdict(one) for one in found]}
        path.write_text(json.dumps(document, indent=1) + "\n")
    return all(one.held for one in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--alerts", type=int, default=5000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    folder = Path(tempfile.mkdtemp(prefix="scad-bench-"))
    folder.chmod(0o711)  # PostgreSQL runs as nobody where this runs as root
    with Postgres(folder / "postgres").start() as postgres:
        address = postgres.create_database("bench")
        with psycopg.connect(address, autocommit=True) as conn:
            apply_schema(conn)
            begin = time.monotonic()
            fill(conn, chosen.alerts, now_ms)
            print(f"{chosen.alerts} alerts written in {time.monotonic() - begin:.0f} s", file=sys.stderr)
            with feed_running(address, folder) as url:
                found = asyncio.run(measure(url, conn, chosen.streams, now_ms))
        conditions = {
            "alerts": chosen.alerts,
            "streams": chosen.streams,
            "cores": os.cpu_count(),
            "postgres": postgres.version,
        }
    return 0 if report(found, conditions, chosen.json) else 1


if __name__ == "__main__":
    sys.exit(main())
