"""The pages of the log-in and of the accounts in a browser: nothing that axe finds, and room at 360 px."""

from __future__ import annotations

import pyotp
import pytest
from axe_playwright_python.sync_playwright import Axe
from feed_server import RunningFeed, csrf_of
from made_up_ward import NOW_MS, PASSWORD, add_patient, one_signal
from playwright.sync_api import Browser, Page
from sealing import vault_of_tests

from alerts.feed.accounts import create_account
from alerts.identity import store as identities
from alerts.identity.store import Change
from alerts.store import write_signals
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


OF_IDENTITY = [
    *(f"/patients/p-0/identity{page}" for page in ("", "/files?other=p-1", "/objection", "/erase")),
    "/review",
    "/glass",
    "/patients/p-far",
    "/alerts/{}",
]
PAGES = [
    ("medecin", OF_IDENTITY),
    ("admin", ["/glass/opened"]),
    ("audit", ["/audit", "/patients/p-0/accesses"]),
]


def test_axe_finds_nothing_on_the_pages_of_identity_glass_trail_and_review(
    browser: Browser, feed: RunningFeed
):
    create_account(feed.conn, "admin", PASSWORD, "administrator", None, at=to_datetime(NOW_MS))
    add_patient(feed.conn, "p-far", "bayeux", 5, "body-weight", NOW_MS)
    alert = "7b0c6c9e-1f4e-4a8e-9c53-000000000001"
    write_signals(feed.conn, [one_signal("p-far", 1, alert)], NOW_MS)
    write_signals(feed.conn, [one_signal("p-0", 1, alert[:-1] + "2")], NOW_MS)
    for patient in ("p-0", "p-1"):
        traits = identities.read(feed.conn, vault_of_tests(), patient)
        assert traits is not None
        feed.conn.execute("delete from identity.person where patient = %s", (patient,))
        identities.write(feed.conn, vault_of_tests(), patient, traits, Change("test", NOW_MS, "test"))
    feed.conn.execute("update scad.assignment set to_at = now() where patient = 'p-0'")
    clients = {login: feed.client(login) for login, _ in PAGES}
    said = {"csrf": csrf_of(clients["medecin"]), "reason": "malaise au domicile", "patient": "p-far"}
    assert clients["medecin"].post("/glass", data=said).status_code == 303
    window = browser.new_context(locale="fr-FR", viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = window.new_page()
    for login, paths in PAGES:
        session = {"name": "scad_session", "value": clients[login].cookies["scad_session"], "url": feed.url}
        window.add_cookies([session])  # type: ignore[list-item]
        for path in paths:
            answer = page.goto(feed.url + path.format(alert))
            assert answer is not None
            assert answer.status == 200, path
            look(page)
    window.close()
