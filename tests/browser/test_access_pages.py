"""The pages of the log-in and of the accounts in a browser: nothing that axe finds, and room at 360 px."""

from __future__ import annotations

import pyotp
import pytest
from axe_playwright_python.sync_playwright import Axe
from feed_server import RunningFeed
from made_up_ward import NOW_MS, PASSWORD
from playwright.sync_api import Browser, Page

from alerts.feed.accounts import create_account
from devices.times import to_datetime


def log_in(page: Page, feed: RunningFeed, login: str) -> None:
    page.goto(f"{feed.url}/login")
    page.locator("#user").fill(login)
    page.locator("#password").fill(PASSWORD)
    page.locator("form.login button").click()


def look(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page is wider than the window"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_administrator_and_a_second_factor_at_360_pixels(browser: Browser, feed: RunningFeed, scheme: str):
    create_account(feed.conn, "admin", PASSWORD, "administrator", None, at=to_datetime(NOW_MS))
    window = browser.new_context(
        locale="fr-FR",
        viewport={"width": 360, "height": 740},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = window.new_page()
    problems: list[str] = []
    page.on("console", lambda said: problems.append(said.text) if "Security Policy" in said.text else None)
    log_in(page, feed, "admin")
    page.locator("details summary").first.click()
    look(page)
    page.goto(f"{feed.url}/teams/caen")
    page.locator("#f-due_high").wait_for()
    look(page)
    page.goto(f"{feed.url}/login/second-factor")
    look(page)
    secret = page.locator(".key").inner_text()
    page.locator("#code").fill(pyotp.TOTP(secret).at(feed.hands.now_ms // 1000))
    page.locator("form.login button").last.click()
    page.locator(".codes").wait_for()
    look(page)
    feed.hands.now_ms += 30_000
    log_in(page, feed, "admin")
    page.locator("#code").wait_for()
    look(page)
    page.locator("#code").fill(pyotp.TOTP(secret).at(feed.hands.now_ms // 1000))
    page.locator("form.login button").last.click()
    page.locator(".accounts").wait_for()
    assert problems == []
    window.close()
