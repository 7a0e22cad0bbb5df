"""A caregiver in a browser, 360 pixels wide: from the paper to the page; axe finds nothing."""

from __future__ import annotations

from typing import Any

import pyotp
from axe_playwright_python.sync_playwright import Axe
from caregivers import NAME, PASSWORD
from feed_server import RunningFeed
from playwright.sync_api import Browser, Page, expect

expect.set_options(timeout=20_000)


def violations(page: Page) -> list[str]:
    return [
        f"{found['id']}: {found['nodes'][0]['html'][:160]}"
        for found in Axe().run(page).response["violations"]
    ]


def test_a_caregiver_comes_from_the_paper_to_the_page_on_a_telephone(
    ward: RunningFeed, window: Any, browser: Browser
):
    found: dict[str, list[str]] = {}
    nurse = window(ward, "infirmiere")
    nurse.goto(f"{ward.url}/patients/p-0000/caregivers")
    nurse.get_by_label("The caregiver’s name").fill(NAME)
    nurse.get_by_label("The patient asks for it").check()
    nurse.get_by_role("button", name="Grant and make").click()
    login, code = nurse.locator("b.code").all_inner_texts()
    found["nurse"] = violations(nurse)

    context = browser.new_context(locale="fr-FR", viewport={"width": 360, "height": 740})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto(f"{ward.url}/caregiver/join")
    found["join"] = violations(page)
    page.get_by_label("Identifiant").fill(login)
    page.get_by_label("Code").fill(code)
    page.locator("#password").fill(PASSWORD)
    page.get_by_label("Le même mot de passe").fill(PASSWORD)
    page.get_by_role("button", name="Continuer").press("Enter")
    key = page.locator("code.key").inner_text()
    page.locator("#code").fill(pyotp.TOTP(key).at(ward.hands.now_ms // 1000))
    page.locator("form.login button").click()
    page.locator("a[href='/caregiver']").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Le suivi de")
    found["page"] = violations(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 18
    expect(page.locator("header")).to_contain_text("le 15 ou le 112")
    page.get_by_role("button", name="English").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("is doing")

    nurse.get_by_role("button", name="Withdraw the access").click()
    expect(nurse.locator("li.card .tag")).to_have_text("withdrawn")
    page.reload()
    expect(page.locator("#password")).to_be_visible()
    context.close()
    assert {place: what for place, what in found.items() if what} == {}
