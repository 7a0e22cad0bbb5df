"""A nurse's morning in the browser: the queue fills, moves only when it may, and survives a lost connection."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from feed_server import RunningFeed, running, until
from made_up_ward import HOUR, NOW_MS, PASSWORD, one_signal
from playwright.sync_api import Page, expect

from alerts.store import write_signals

expect.set_options(timeout=20_000)


def signal_in(feed: RunningFeed, patient: str, alert: str | None = None, **more: Any) -> str:
    row = feed.conn.execute(
        "select coalesce(max(n), 0) from scad.alert_event where patient = %s", (patient,)
    ).fetchone()
    assert row is not None
    alert = alert or str(uuid4())
    write_signals(feed.conn, [one_signal(patient, int(row[0]) + 1, alert, **more)], feed.hands.now_ms)
    return alert


def rows(page: Page) -> list[str]:
    return [str(key) for key in page.locator(".row").evaluate_all("rows => rows.map(row => row.dataset.key)")]


def away(page: Page) -> None:
    """The pointer and the keyboard leave the queue."""
    page.mouse.move(2, 2)
    page.evaluate("document.activeElement?.blur()")


def test_the_queue_fills_clears_and_sorts_itself_without_reloading(feed: RunningFeed, window: Any):
    page = window(feed)
    expect(page.get_by_text("No open clinical alert.")).to_be_visible()
    page.evaluate("window.notReloaded = true")
    signal_in(feed, "p-0", severity="medium", rule="weight-gain-7d")
    expect(page.locator(".row")).to_have_count(1)
    expect(page.get_by_text("No open clinical alert.")).to_be_hidden()
    grave = signal_in(feed, "p-1")
    expect(page.locator(".row")).to_have_count(2)
    until(lambda: rows(page) == ["clinical:p-1", "clinical:p-0"], "the graver one stands first")
    expect(page).to_have_title("(1) Alerts · SCAD")
    expect(page.locator("#status")).to_contain_text("2 open alerts")
    expect(page.locator("#announce")).to_have_text(
        "New high alert: Marcel Duquesne. Weight 82.4 kg: 2.4 kg more."
    )
    signal_in(feed, "p-2", cls="technical", rule="no-reading", severity="medium")
    expect(page.locator("section.technical .row")).to_have_count(1)
    signal_in(feed, "p-1", grave, state="cleared", at_ms=NOW_MS + HOUR)
    expect(page.locator('[id="clinical:p-1"]')).to_contain_text("condition over")
    assert page.evaluate("window.notReloaded")


def test_one_click_acknowledges_and_everybody_sees_who(feed: RunningFeed, window: Any):
    nurse, doctor = window(feed), window(feed, "medecin")
    signal_in(feed, "p-0")
    for page in (nurse, doctor):
        expect(page.locator(".row")).to_have_count(1)
    nurse.get_by_role("button", name="Acknowledge: Weight gain in 3 days").click()
    for page in (nurse, doctor):
        expect(page.locator(".row .seen")).to_have_text("Acknowledged by Claire Martin at 10:42")
        expect(page).to_have_title("Alerts · SCAD")


def test_of_two_windows_the_slower_learns_who_was_quicker(feed: RunningFeed, window: Any):
    nurse, doctor = window(feed), window(feed, "medecin")
    doctor.route("**/queue/rows*", lambda route: route.abort())  # its page hears late of everything
    signal_in(feed, "p-0")
    expect(nurse.locator(".row")).to_have_count(1)
    doctor.reload()
    button = doctor.get_by_role("button", name="Acknowledge: Weight gain in 3 days")
    expect(button).to_be_visible()
    nurse.get_by_role("button", name="Acknowledge: Weight gain in 3 days").click()
    expect(nurse.locator(".row .seen")).to_have_count(1)
    button.click()
    expect(doctor.locator("#toasts")).to_contain_text("Already acknowledged by Claire Martin at ")
    doctor.unroute("**/queue/rows*")
    expect(doctor.locator(".row .seen")).to_have_text("Acknowledged by Claire Martin at 10:42")


def test_new_rows_never_move_the_row_under_the_pointer(feed: RunningFeed, window: Any):
    page = window(feed)
    signal_in(feed, "p-0", severity="medium", rule="weight-gain-7d")
    row = page.locator('[id="clinical:p-0"]')
    row.hover()
    top = row.bounding_box()["y"]
    signal_in(feed, "p-1")
    signal_in(feed, "p-2")
    held = page.locator("#held")
    expect(held).to_have_text("2 new")
    expect(page.locator("#announce")).to_contain_text("New high alert")
    expect(page).to_have_title("(2) Alerts · SCAD")
    assert rows(page) == ["clinical:p-0"]
    assert row.bounding_box()["y"] == top
    signal_in(feed, "p-0", rule="temperature", severity="medium")
    expect(row.locator(".alert")).to_have_count(2)
    assert row.bounding_box()["y"] == top, "its own row grows downwards"
    away(page)
    expect(page.locator(".row")).to_have_count(3)
    until(lambda: rows(page)[-1] == "clinical:p-0", "the mildest stands last")
    expect(held).to_be_hidden()


def test_the_button_shows_what_was_held(feed: RunningFeed, window: Any):
    page = window(feed)
    signal_in(feed, "p-0", severity="medium")
    link = page.locator('[id="clinical:p-0"] h3 a')
    expect(link).to_be_visible()
    page.keyboard.press("Tab")
    link.focus()
    signal_in(feed, "p-1")
    expect(page.locator("#held")).to_have_text("1 new")
    page.locator("#held").click()
    until(lambda: rows(page) == ["clinical:p-1", "clinical:p-0"], "the graver one stands first")


def test_the_queue_is_worked_with_the_keyboard_and_the_focus_stays(feed: RunningFeed, window: Any):
    page = window(feed)
    signal_in(feed, "p-0")
    signal_in(feed, "p-0", severity="medium", rule="temperature")
    expect(page.locator(".alert")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    first = page.get_by_role("button", name="Acknowledge: Weight gain in 3 days")
    for _ in range(40):
        if first.evaluate("button => button === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".row .seen")).to_have_count(1)
    following = page.get_by_role("link", name="Resolve: Weight gain in 3 days")
    expect(following).to_be_focused()


def test_a_lost_connection_is_told_and_nothing_is_missed_or_doubled(feed: RunningFeed, window: Any):
    page = window(feed)
    signal_in(feed, "p-0")
    expect(page.locator(".row")).to_have_count(1)
    port = int(feed.url.rsplit(":", 1)[1])
    feed.server.should_exit = True
    feed.thread.join(20)
    expect(page.locator("#live.lost")).to_have_text(
        "Connection lost: this page is no longer current. Trying again…"
    )
    signal_in(feed, "p-0", severity="medium", rule="temperature")
    signal_in(feed, "p-1")
    with running(feed.feed.database.dsn, feed.conn, port=port):
        expect(page.locator("#live.on")).to_be_visible()
        expect(page.locator(".row")).to_have_count(2)
        expect(page.locator(".alert")).to_have_count(3)
        signal_in(feed, "p-2")
        expect(page.locator(".row")).to_have_count(3)
        wanted = ["clinical:p-0", "clinical:p-1", "clinical:p-2"]
        until(lambda: sorted(rows(page)) == wanted, "a row for each")
        expect(page.locator(".alert")).to_have_count(4)
        ids = page.locator(".alert").evaluate_all("alerts => alerts.map(alert => alert.id)")
        assert len(ids) == len(set(ids)) == 4
        page.goto("about:blank")


def test_a_session_that_ends_is_told(feed: RunningFeed, window: Any):
    page = window(feed)
    signal_in(feed, "p-0")
    expect(page.locator(".row")).to_have_count(1)
    feed.conn.execute("delete from scad.session")
    page.locator(".alert button").click()
    expect(page.locator("#live")).to_have_text("Session ended: log in again.")


def test_ages_tick_by_the_servers_clock(feed: RunningFeed, window: Any):
    page = window(feed)
    signal_in(feed, "p-0")
    expect(page.locator(".row .age").first).to_have_text("just now")
    feed.hands.now_ms += 5 * HOUR
    signal_in(feed, "p-1", at_ms=NOW_MS + 5 * HOUR)
    expect(page.locator('[id="clinical:p-0"] .age').first).to_have_text("5 h ago")


def test_the_sound_is_off_until_somebody_wants_it(feed: RunningFeed, window: Any):
    page = window(feed)
    button = page.get_by_role("button", name="Sound: off")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(page.get_by_role("button", name="Sound: on")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_role("button", name="Sound: on")).to_be_visible()


def test_everything_works_without_javascript(feed: RunningFeed, browser: Any):
    signal_in(feed, "p-0")
    context = browser.new_context(java_script_enabled=False, locale="fr-FR")
    page = context.new_page()
    page.goto(feed.url)
    page.get_by_label("Identifiant").fill("infirmiere")
    page.get_by_label("Mot de passe").fill(PASSWORD)
    page.get_by_role("button", name="Se connecter").click()
    page.get_by_role("button", name="Acquitter : Prise de poids en 3 jours").click()
    expect(page.locator(".row .seen")).to_have_text(re.compile("Acquittée par Claire Martin à 10:42"))
    page.get_by_role("button", name="English").click()
    expect(page.locator(".row .seen")).to_have_text("Acknowledged by Claire Martin at 10:42")
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("You are logged out.")).to_be_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/patients/p-0002", "/docs", "/login"])
def test_axe_finds_no_violation(ward: RunningFeed, window: Any, scheme: str, path: str):
    page = window(ward, color_scheme=scheme)
    if path != "/":
        page.goto(ward.url + path)
    page.locator("main").wait_for()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("locale", ["fr-FR", "en-GB"])
@pytest.mark.parametrize("path", ["/", "/patients/p-0007", "/login"])
def test_pages_fit_a_telephone(ward: RunningFeed, window: Any, locale: str, path: str):
    page = window(ward, locale=locale, viewport={"width": 360, "height": 740})
    page.goto(ward.url + path)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.locator("main button:visible").evaluate_all(
        "buttons => buttons.filter(b => b.getBoundingClientRect().height < 24).length"
    )
    assert small == 0, "WCAG 2.2: targets of 24 pixels at least"
