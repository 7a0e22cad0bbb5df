"""Headless Chromium on the feed: one browser for the run, a database and a feed for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "alerts"))
sys.path.insert(0, str(Path(__file__).parents[1] / "alerts" / "served"))  # the made-up ward is shared

from feed_server import RunningFeed, running
from made_up_ward import NOW_MS, PASSWORD, add_patient, enrol
from ward_fixtures import quick_hashes, ward, ward_template

from alerts.schema import apply_schema
from scad.services import Postgres

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
TIMEOUT_MS = 20_000  # two cores are shared with the services of the run

__all__ = ["browser", "feed", "quick_hashes", "ward", "ward_template", "window"]

Open = Callable[..., Page]


@pytest.fixture(
    scope="module"
)  # Playwright keeps an event loop running, which would break asyncio.run elsewhere
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(chromium), args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def feed(postgres: Postgres) -> Iterator[RunningFeed]:
    """Three patients of one team, nobody ill."""
    address = postgres.create_database()
    with psycopg.connect(address, autocommit=True) as conn:
        apply_schema(conn)
        enrol(conn, NOW_MS)
        for index in range(3):
            add_patient(conn, f"p-{index}", "caen", index, "body-weight", NOW_MS)
        with running(address, conn) as found:
            yield found
    postgres.drop_database(address)


@pytest.fixture
def window(browser: Browser) -> Iterator[Open]:
    """window(feed, user): a browser window of its own, logged in and live; problems on its console fail the test."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_window(feed: RunningFeed, user: str = "infirmiere", path: str = "/", **options: object) -> Page:
        settings = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}
        context = browser.new_context(**{**settings, **options})  # type: ignore[arg-type]
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda said: problems.append(said.text) if "Security Policy" in said.text else None
        )
        page.goto(f"{feed.url}/login?next={path}")
        page.get_by_label(
            "User name" if settings["locale"] == options.get("locale", "en-GB") else "Identifiant"
        ).fill(user)
        page.locator("#password").fill(PASSWORD)
        page.locator("form.login button").click()
        page.locator("#live.on").wait_for()
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert problems == []
