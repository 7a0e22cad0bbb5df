"""Caregivers as the tests have them: invited by the nurse, joined with a password and a second factor."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import httpx
import pyotp
from feed_server import RunningFeed, csrf_of

PASSWORD = "un proche qui veille"
NAME = "Camille Testard"
EVERYTHING = {"readings": "1", "alerts": "1", "adherence": "1"}


def invite(nurse: httpx.Client, patient: str = "p-caen", **fields: Any) -> tuple[str, str]:
    """Login and code of a new invitation; `fields` over the form's usual ones."""
    said = {"name": NAME, "asked": "1", **(EVERYTHING if not EVERYTHING.keys() & fields else {}), **fields}
    answer = nurse.post(f"/patients/{patient}/caregivers", data={**said, "csrf": csrf_of(nurse)})
    assert answer.status_code == 200, answer.text
    login, code = re.findall(r'<b class="code">([^<]+)</b>', answer.text)
    return login, code


def join(browser: httpx.Client, login: str, code: str, **fields: str) -> httpx.Response:
    said = {"login": login, "code": code, "password": PASSWORD, "again": PASSWORD, **fields}
    return browser.post("/caregiver/join", data=said)


def set_up_factor(browser: httpx.Client, now_s: float) -> str:
    """Link an authenticator; returns its key."""
    form = unescape(browser.get("/login/second-factor").text)
    key = re.search(r'class="key">([A-Z2-7]+)<', form)
    csrf = re.search(r'name="csrf" value="([^"]+)"', form)
    assert key is not None
    assert csrf is not None
    answer = browser.post(
        "/login/second-factor", data={"code": pyotp.TOTP(key[1]).at(int(now_s)), "csrf": csrf[1]}
    )
    assert answer.status_code == 200, answer.text
    assert 'href="/caregiver"' in answer.text
    return key[1]


def caregiver_of(
    feed: RunningFeed, nurse: httpx.Client, patient: str = "p-caen", **fields: Any
) -> httpx.Client:
    """A browser in which a caregiver has joined and passed the second factor."""
    login, code = invite(nurse, patient, **fields)
    browser = feed.client()
    answer = join(browser, login, code)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login/second-factor"), answer.text
    set_up_factor(browser, feed.hands.now_ms / 1000)
    return browser
