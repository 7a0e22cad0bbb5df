"""The tablet in a browser: by keyboard, without a script, on a narrow screen; axe finds nothing."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from feed_server import RunningFeed
from made_up_ward import NOW_MS, care_plan, store_plan
from playwright.sync_api import Browser, Page, expect

expect.set_options(timeout=20_000)


def violations(page: Page) -> list[str]:
    return [
        f"{found['id']}: {found['nodes'][0]['html'][:160]}"
        for found in Axe().run(page).response["violations"]
    ]


def test_a_patient_answers_by_keyboard_and_the_nurse_reads_it(
    feed: RunningFeed, window: Any, browser: Browser
):
    store_plan(feed.conn, care_plan("p-0", "heart-failure", NOW_MS))
    found: dict[str, list[str]] = {}
    nurse = window(feed, "infirmiere")
    nurse.goto(f"{feed.url}/patients/p-0/questionnaire")
    nurse.get_by_role("button", name="Give a code").click()
    code = nurse.locator(".code").inner_text()

    context = browser.new_context(locale="fr-FR", viewport={"width": 360, "height": 740})
    context.set_default_timeout(20_000)
    tablet = context.new_page()
    tablet.goto(f"{feed.url}/tablet")
    found["link"] = violations(tablet)
    tablet.get_by_label("Code").fill(code)
    tablet.keyboard.press("Enter")
    expect(tablet.get_by_role("heading")).to_have_text("Bonjour")
    found["begin"] = violations(tablet)
    tablet.get_by_role("button", name="Commencer").press("Enter")
    expect(tablet.get_by_role("heading")).to_contain_text("poitrine")
    found["question"] = violations(tablet)
    size = tablet.get_by_role("button", name="Non").bounding_box()
    assert size is not None
    assert size["height"] >= 44
    assert tablet.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    tablet.get_by_role("button", name="Non", exact=True).press("Enter")
    tablet.get_by_role("button", name="English").press("Enter")
    expect(tablet.get_by_role("heading")).to_contain_text("fainted")
    tablet.get_by_role("button", name="Yes").press("Enter")
    expect(tablet.get_by_role("alert")).to_contain_text("Call 15 or 112 now")
    found["red"] = violations(tablet)
    context.close()

    nurse.goto(f"{feed.url}/patients/p-0/questionnaire")
    expect(nurse.locator("article").first).to_contain_text("Told to call 15 or 112")
    found["nurse"] = violations(nurse)
    nurse.goto(f"{feed.url}/patients/p-0")
    expect(nurse.locator("article.sitting")).to_contain_text("Told to call 15 or 112")
    nurse.goto(f"{feed.url}/patients/p-0/report")
    found["report"] = violations(nurse)
    assert {place: what for place, what in found.items() if what} == {}
