"""A nurse's morning by keyboard: acknowledge, snooze, resolve, undo, several at once, a colleague in between."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from feed_server import RunningFeed, until
from made_up_ward import DAY, HOUR, NOW_MS, PASSWORD
from playwright.sync_api import Page, expect
from test_morning import rows, signal_in

expect.set_options(timeout=20_000)


def state_of(feed: RunningFeed, alert: str) -> str:
    row = feed.conn.execute("select state from scad.alert where alert = %s", (alert,)).fetchone()
    assert row is not None
    return str(row[0])


def expect_state(feed: RunningFeed, alert: str, state: str) -> None:
    until(lambda: state_of(feed, alert) == state, f"the alert is {state}")


def marked(page: Page) -> str:
    return str(page.locator(".alert.marked").get_attribute("id"))[2:]


def expect_marked(page: Page, alert: str) -> None:
    """The page marks an alert some time after its queue has changed."""
    expect(page.locator(".alert.marked")).to_have_attribute("id", f"a-{alert}")


def test_a_morning_is_worked_with_keys_alone(feed: RunningFeed, window: Any):
    page = window(feed)
    grave = signal_in(feed, "p-0")
    middle = signal_in(feed, "p-1", severity="medium", rule="bp-weekly-mean")
    low = signal_in(feed, "p-2", severity="low", rule="temperature")
    expect(page.locator(".row")).to_have_count(3)
    press = page.keyboard.press

    press("j")
    expect_marked(page, grave)
    expect(page.locator(".alert.marked")).to_be_focused()
    press("a")
    expect(page.locator(f'[id="a-{grave}"] .seen')).to_have_text("Acknowledged by Claire Martin at 10:42")
    expect(page.locator(f'[id="a-{grave}"]')).to_be_focused()

    press("r")  # the condition holds: an outcome is not enough
    dialog = page.locator("#d-resolve")
    expect(dialog).to_contain_text("Weight gain in 3 days")
    page.get_by_label("Outcome").select_option("call-made")
    dialog.get_by_label("Reason").fill("Takes her diuretic again since this morning")
    dialog.get_by_role("button", name="Resolve").click()
    expect(page.locator(f'[id="a-{grave}"]')).to_have_count(0)
    expect_state(feed, grave, "resolved")
    expect_marked(page, middle)  # the next alert has the keyboard

    press("u")
    expect(page.locator(f'[id="a-{grave}"]')).to_have_count(1)
    expect_state(feed, grave, "acknowledged")

    press("s")
    snooze = page.locator("#d-snooze")
    snooze.get_by_label("4 hours", exact=True).check()
    snooze.get_by_label("Reason").fill("He is at his GP until noon")
    press("Enter")
    expect(page.locator(f'[id="a-{middle}"]')).to_have_count(0)
    expect(page.get_by_role("link", name="1 snoozed")).to_be_visible()
    ends = feed.conn.execute("select snoozed_until from scad.alert where alert = %s", (middle,)).fetchone()
    assert ends is not None
    assert abs(ends[0].timestamp() * 1000 - NOW_MS - 4 * HOUR) < 60_000

    press("k")
    press("j")
    press("n")
    page.locator("#d-note").get_by_label("Note").fill("Daughter will call back")
    page.locator("#d-note").get_by_role("button", name="Add a note").click()
    expect(page.locator("#toasts")).to_contain_text("Note added")
    press("?")
    expect(page.locator("#d-help")).to_be_visible()
    press("Escape")
    assert low in (marked(page), low)


def test_a_toast_offers_undo_and_the_keyboard_and_the_history_do_too(feed: RunningFeed, window: Any):
    page = window(feed)
    alert = signal_in(feed, "p-0")
    waiting = page.locator(f'[id="a-{alert}"].waiting')
    page.get_by_role("button", name="Acknowledge: Weight gain in 3 days").click()
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(page.locator("#toasts")).to_contain_text("Undone: Weight gain in 3 days")
    expect(waiting).to_have_count(1)
    expect_state(feed, alert, "open")
    page.keyboard.press("j")
    expect_marked(page, alert)
    page.keyboard.press("a")
    expect(waiting).to_have_count(0)
    page.keyboard.press("a")
    expect(page.locator("#toasts")).to_contain_text("Started: Weight gain in 3 days")
    expect(page.locator("#toasts").get_by_role("button", name="Undo")).to_have_count(1)  # of the newest step
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect(waiting).to_have_count(1)
    expect_state(feed, alert, "open")
    page.keyboard.press("a")
    expect(waiting).to_have_count(0)
    page.goto(f"{feed.url}/alerts/{alert}")
    expect(page.locator("table").last).to_contain_text("Claire Martin")
    page.locator("form#undo button").click()
    expect(waiting).to_have_count(1)


def test_a_colleague_who_was_quicker_is_named_with_the_new_state(feed: RunningFeed, window: Any):
    nurse, doctor = window(feed), window(feed, "medecin")
    alert = signal_in(feed, "p-0")
    for page in (nurse, doctor):
        expect(page.locator(".row")).to_have_count(1)
    doctor.keyboard.press("j")
    doctor.keyboard.press("r")
    nurse.keyboard.press("j")
    nurse.keyboard.press("r")
    for page in (nurse, doctor):
        page.get_by_label("Outcome").select_option("advice")
        page.locator("#d-resolve").get_by_label("Reason").fill("Seen this morning")
    nurse.locator("#d-resolve").get_by_role("button", name="Resolve").click()
    expect(nurse.locator(f'[id="a-{alert}"]')).to_have_count(0)
    doctor.locator("#d-resolve").get_by_role("button", name="Resolve").click()
    problem = doctor.locator("#d-resolve .problem")
    expect(problem).to_contain_text("Already dealt with by Claire Martin at ")
    expect(problem).to_contain_text("the alert is resolved")


def test_several_are_acknowledged_with_one_note_and_never_a_high_one(feed: RunningFeed, window: Any):
    page = window(feed)
    signal_in(feed, "p-0")
    one = signal_in(feed, "p-1", severity="medium", rule="bp-weekly-mean")
    two = signal_in(feed, "p-2", severity="low", rule="temperature")
    expect(page.locator(".row")).to_have_count(3)
    expect(page.locator('input[form="bulk"]')).to_have_count(2)
    expect(page.locator("#bulk")).to_be_hidden()
    page.locator('input[form="bulk"]').first.check()
    expect(page.locator("#bulk-count")).to_have_text("1 alert selected")
    page.get_by_role("button", name="Select all").click()
    feed.conn.execute("update scad.alert set severity = 'high' where alert = %s", (two,))  # meanwhile graver
    page.get_by_label("One note for all").fill("Ward round")
    page.get_by_role("button", name="Acknowledge selected").click()
    expect(page.locator("#toasts")).to_contain_text("1 alert acknowledged.")
    expect(page.locator("#toasts")).to_contain_text("A high alert is acknowledged by itself.")
    expect_state(feed, one, "acknowledged")
    assert state_of(feed, two) == "open"


def test_filters_stay_in_the_address_and_hold_for_what_comes(feed: RunningFeed, window: Any):
    page = window(feed)
    signal_in(feed, "p-0", severity="medium", rule="bp-weekly-mean")
    expect(page.locator(".row")).to_have_count(1)
    page.get_by_role("link", name="High", exact=True).click()
    page.wait_for_url("**/?severity=high")
    expect(page.get_by_text("No alert matches this filter.").first).to_be_visible()
    page.locator("#live.on").wait_for()
    signal_in(feed, "p-1")
    expect(page.locator(".row")).to_have_count(1)
    signal_in(feed, "p-2", severity="low", rule="temperature")
    expect(page.locator("#status")).to_contain_text("3 open alerts")
    until(lambda: rows(page) == ["clinical:p-1"], "only the row that the filter shows")


def test_without_a_script_every_action_has_a_form(feed: RunningFeed, browser: Any):
    alert = signal_in(feed, "p-0", severity="medium", rule="bp-weekly-mean")
    context = browser.new_context(java_script_enabled=False, locale="fr-FR")
    page = context.new_page()
    page.goto(feed.url)
    page.get_by_label("Identifiant").fill("infirmiere")
    page.get_by_label("Mot de passe").fill(PASSWORD)
    page.get_by_role("button", name="Se connecter", exact=True).click()
    page.get_by_role("link", name="Autres actions : Tension moyenne de la semaine élevée").click()
    form = page.locator("form#snooze")
    form.get_by_label("2 heures").check()
    form.get_by_label("Motif").fill("Chez son médecin")
    form.get_by_role("button", name="Mettre en pause").click()
    expect_state(feed, alert, "snoozed")
    page.get_by_role("link", name="En pause").first.click()
    page.get_by_role("button", name="Reprendre").click()
    page.locator('input[form="bulk"]').check()
    page.get_by_label("Note commune").fill("Vue")
    page.get_by_role("button", name="Acquitter la sélection").click()
    expect(page.get_by_text("1 alerte acquittée.")).to_be_visible()
    expect_state(feed, alert, "acknowledged")
    context.close()


def test_the_header_warns_when_the_synthetic_reading_stays_away(feed: RunningFeed, window: Any):
    insert = """
        insert into scad.reading (measured_at, device, epoch, seq, digest, patient, kind, "values", marks,
                                  received_at, stored_at)
        select to_timestamp(%(at)s / 1000.0), 'synthetic-1', 0, %(at)s / 1000, '\\x00000000000000000000000000000000',
               'p-synthetic', 'temperature', '{}', '{test}', to_timestamp(%(at)s / 1000.0),
               to_timestamp(%(at)s / 1000.0 + 1.2)"""
    feed.conn.execute(insert, {"at": NOW_MS - 20_000})
    page = window(feed)
    expect(page.locator(".path")).to_have_text("path checked just now, 1.2 s")
    feed.hands.now_ms += 4 * 60_000
    signal_in(feed, "p-0", at_ms=feed.hands.now_ms)
    expect(page.locator(".fresh.broken")).to_contain_text("Readings have not been arriving since 10:41")
    feed.conn.execute(insert, {"at": feed.hands.now_ms})
    signal_in(feed, "p-1", at_ms=feed.hands.now_ms)
    expect(page.locator(".path")).to_contain_text("path checked just now")


@pytest.mark.parametrize("key", ["s", "n", "r", "m", "?"])
def test_axe_finds_no_violation_in_a_dialog(feed: RunningFeed, window: Any, key: str):
    signal_in(feed, "p-0", at_ms=NOW_MS - DAY)
    page = window(feed, color_scheme="dark" if key in "sr" else "light")
    page.keyboard.press("j")
    page.keyboard.press(key)
    expect(page.locator("dialog[open]")).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
