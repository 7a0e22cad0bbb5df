"""A ward in the browser: a limit is changed with its effect in view, a value is typed in, by keyboard and on a
narrow screen; axe finds nothing."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from feed_server import RunningFeed
from playwright.sync_api import Page, expect

expect.set_options(timeout=20_000)

PATHS = ("", "/plan", "/values", "/devices", "/absences", "/inr", "/why")
STRIP = "limit:heart-failure:weight-gain-3d:limit"


def violations(page: Page) -> list[str]:
    return [
        f"{found['id']}: {found['nodes'][0]['html'][:160]}"
        for found in Axe().run(page).response["violations"]
    ]


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def test_the_effect_of_a_limit_is_shown_while_it_is_typed_and_then_saved(ward: RunningFeed, window: Any):
    page = window(ward, "medecin")
    page.goto(f"{ward.url}/patients/p-0000/plan")
    field = page.locator(f'[id="f-{STRIP}"]')
    field.fill("40")
    expect(page.locator("#preview")).to_contain_text("Must lie between 0.5 and 6")
    field.fill("3.5")
    expect(page.locator("#preview .result")).to_contain_text("fewer")
    expect(page.locator("#preview svg.strips").first).to_be_visible()
    field.press("Tab")
    page.locator("#f-reason").fill("insuffisance rénale")
    page.get_by_role("button", name="Save this version").press("Enter")
    expect(page.get_by_role("status").filter(has_text="New version of the plan saved.")).to_be_visible()
    expect(page.locator(".versions > li").first).to_contain_text("insuffisance rénale")
    expect(page.locator("ol.timeline")).to_contain_text("New version of the plan")


def test_the_pages_work_without_a_script(ward: RunningFeed, window: Any):
    page = window(ward, "infirmiere")
    state = page.context.storage_state()
    bare = page.context.browser.new_context(java_script_enabled=False, storage_state=state, locale="en-GB")
    page = bare.new_page()
    page.goto(f"{ward.url}/patients/p-0000/plan")
    page.locator(f'[id="f-{STRIP}"]').fill("3.5")
    page.locator("#f-reason").fill("essai")
    page.get_by_role("button", name="Propose to a physician").click()
    expect(page.locator("#faults")).to_contain_text("This is the effect of the change")
    page.get_by_role("button", name="Propose to a physician").click()
    expect(page.get_by_role("status").first).to_contain_text("a physician has to confirm it")
    page.goto(f"{ward.url}/patients/p-0000/values?kind=body-weight")
    page.get_by_label("Weight").fill("700")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("Must lie between 22.7 and 340.2")
    page.get_by_label("Weight").fill("70,5")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("tr.fate-waiting")).to_contain_text("70.5")
    bare.close()


def test_axe_finds_nothing_on_any_page_wide_or_narrow_light_or_dark(ward: RunningFeed, window: Any):
    page = window(ward, "medecin", color_scheme="dark")
    found = {}
    for patient in ("p-0000", "p-0011"):
        for path in PATHS if patient == "p-0000" else ("",):
            page.set_viewport_size({"width": 360, "height": 740})
            page.goto(f"{ward.url}/patients/{patient}{path}")
            assert overflow(page) <= 0, f"{patient}{path} is wider than the screen"
            found[patient, path, "dark"] = violations(page)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})
    for path in ("/patients/p-0000", "/patients/p-0000/plan", "/enrol"):
        page.goto(f"{ward.url}{path}")
        found[path, "light"] = violations(page)
    assert {place: what for place, what in found.items() if what} == {}
