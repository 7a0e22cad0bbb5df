"""The second factor: RFC 6238's vectors, no code twice, lock-out, codes on paper, and who must have one."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pyotp
import pytest
from feed_server import RunningFeed, csrf_of, running
from hypothesis import given
from hypothesis import strategies as st
from made_up_ward import NOW_MS, PASSWORD, enrol
from sealing import vault_of_tests

from alerts.feed import second_factor
from alerts.feed.access import Access, access_of
from alerts.feed.accounts import LOCK_AFTER
from alerts.feed.second_factor import STEP_S, hash_recovery, matching_step, new_recovery_codes
from scad.settings import Settings, SettingsError

# RFC 6238 appendix B, SHA-1: the secret is the ASCII text 1234567890 twice; the last 6 of 8 digits.
RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
RFC_VECTORS = [
    (59, "94287082"),
    (1111111109, "07081804"),
    (1111111111, "14050471"),
    (1234567890, "89005924"),
    (2000000000, "69279037"),
    (20000000000, "65353130"),
]


@pytest.mark.parametrize(("at_s", "code"), RFC_VECTORS)
def test_the_codes_are_those_of_rfc_6238(at_s: int, code: str):
    assert matching_step(RFC_SECRET, code[-6:], at_s) == at_s // STEP_S


@given(at_s=st.integers(10**9, 2 * 10**9), drift=st.integers(-5, 5))
def test_a_code_is_taken_one_interval_early_or_late_and_never_again(at_s: int, drift: int):
    code = pyotp.TOTP(RFC_SECRET).at(at_s + drift * STEP_S)
    step = matching_step(RFC_SECRET, code, at_s)
    if abs(drift) <= 1:
        assert step is not None
        assert matching_step(RFC_SECRET, code, at_s, after=at_s // STEP_S + 1) is None
    else:
        near = [pyotp.TOTP(RFC_SECRET).at(at_s + near * STEP_S) for near in (-1, 0, 1)]
        assert (step is not None) == (code in near)


@given(st.text(max_size=8).filter(lambda text: not re.fullmatch("[0-9]{6}", text)))
def test_what_is_no_code_is_refused(text: str):
    assert matching_step(RFC_SECRET, text, 59) is None


def test_recovery_codes_do_not_mind_spaces_and_case():
    codes = new_recovery_codes()
    assert len(set(codes)) == len(codes) == 10
    assert hash_recovery(codes[0].lower().replace("-", " ")) == hash_recovery(codes[0])


def test_settings_name_the_roles_that_must_have_one():
    assert access_of(Settings(second_factor="physician, administrator")).second_factor == {
        "physician",
        "administrator",
    }
    with pytest.raises(SettingsError, match="SCAD_SECOND_FACTOR: doctor is none of nurse"):
        access_of(Settings(second_factor="doctor"))


@pytest.fixture
def feed(store_address: str, store: psycopg.Connection[Any]) -> Iterator[RunningFeed]:
    """Physicians must have a second factor, others may."""
    enrol(store, NOW_MS)
    with running(store_address, store, access=Access(second_factor=frozenset({"physician"}))) as found:
        yield found


def token_in(page: str) -> str:
    match = re.search(r'name="csrf" value="([^"]+)"', page)
    assert match, page
    return match[1]


def try_password(feed: RunningFeed, login: str) -> tuple[httpx.Client, str]:
    """After the password: the client, and where it is sent."""
    client = feed.client()
    answer = client.post("/login", data={"user": login, "password": PASSWORD})
    return client, answer.headers["location"]


def send(client: httpx.Client, path: str, code: str) -> httpx.Response:
    token = token_in(client.get(path).text)
    return client.post(path, data={"csrf": token, "code": code})


def set_up(feed: RunningFeed, login: str = "medecin") -> tuple[str, list[str]]:
    """The secret of a new authenticator and the codes for paper; time then moves on by one interval."""
    client, place = try_password(feed, login)
    if place == "/":
        place = "/login/second-factor"
    page = client.get(place).text
    found = re.search(r'class="key">([A-Z2-7]+)<', page)
    assert found, page
    done = send(client, place, pyotp.TOTP(found[1]).at(feed.hands.now_ms // 1000))
    assert done.status_code == 200
    codes = re.findall(r"<li><code>([A-Z2-7-]+)</code>", done.text)
    feed.hands.now_ms += STEP_S * 1000
    return found[1], codes


def code_now(feed: RunningFeed, secret: str) -> str:
    return pyotp.TOTP(secret).at(feed.hands.now_ms // 1000)


def test_a_role_that_must_have_one_sets_it_up_before_anything_is_seen(feed: RunningFeed):
    client, place = try_password(feed, "medecin")
    assert place == "/login/second-factor"
    assert client.get("/api/session").status_code == 401
    page = client.get(place).text
    assert "<svg" in page
    assert " style=" not in page
    assert send(client, place, "000000").status_code == 401
    _, codes = set_up(feed)
    assert len(codes) == 10
    stored = feed.conn.execute("select code_hash from scad.recovery_code").fetchall()
    assert {bytes(row[0]) for row in stored} == {hash_recovery(code) for code in codes}


def test_after_the_password_the_code_opens_the_session_with_another_token(feed: RunningFeed):
    secret, _ = set_up(feed)
    client, place = try_password(feed, "medecin")
    assert place == "/login/code"
    before = client.cookies["scad_session"]
    assert client.get("/api/session").status_code == 401
    assert (
        client.get("/login/second-factor").status_code == 303
    )  # nobody adds another with the password alone
    assert send(client, place, code_now(feed, secret)).headers["location"] == "/"
    assert client.cookies["scad_session"] != before
    assert client.get("/api/session").json()["login"] == "medecin"


def test_a_code_is_not_taken_twice(feed: RunningFeed):
    secret, _ = set_up(feed)
    code = code_now(feed, secret)
    for expected in (303, 401):
        client, place = try_password(feed, "medecin")
        assert send(client, place, code).status_code == expected


def test_a_code_on_paper_works_once(feed: RunningFeed):
    _, codes = set_up(feed)
    for expected in (303, 401):
        client, place = try_password(feed, "medecin")
        assert send(client, place, codes[3].lower()).status_code == expected


def test_wrong_codes_lock_the_account_and_the_password_does_not_forgive_them(feed: RunningFeed):
    secret, _ = set_up(feed)
    for _ in range(LOCK_AFTER):
        client, place = try_password(feed, "medecin")
        last = send(client, place, "123456" if code_now(feed, secret) != "123456" else "654321")
        feed.hands.now_ms += 61_000  # the limit of the address is another matter
    assert last.status_code == 429
    client = feed.client()
    assert client.post("/login", data={"user": "medecin", "password": PASSWORD}).status_code == 429


def test_the_half_way_session_ends_after_ten_minutes(feed: RunningFeed):
    secret, _ = set_up(feed)
    client, place = try_password(feed, "medecin")
    token = token_in(client.get(place).text)
    feed.hands.now_ms += 10 * 60_000 + 1000
    answer = client.post(place, data={"csrf": token, "code": code_now(feed, secret)})
    assert answer.status_code == 401
    assert client.get("/api/session").status_code == 401


def test_a_code_without_the_token_of_the_session_is_refused(feed: RunningFeed):
    secret, _ = set_up(feed)
    client, place = try_password(feed, "medecin")
    assert client.post(place, data={"code": code_now(feed, secret)}).status_code == 403


def test_a_nurse_may_have_one_and_is_then_asked(feed: RunningFeed):
    secret, _ = set_up(feed, "infirmiere")
    client, place = try_password(feed, "infirmiere")
    assert place == "/login/code"
    assert send(client, place, code_now(feed, secret)).status_code == 303
    assert client.get("/login/second-factor").status_code == 409
    assert csrf_of(client)


def test_the_log_of_access_says_who_and_never_a_secret(feed: RunningFeed):
    secret, codes = set_up(feed)
    rows = feed.conn.execute("select actor, event, subject, detail::text from scad.access_event").fetchall()
    assert ("medecin", "second-factor-added", "medecin", "{}") in rows
    assert not any(word in str(rows) for word in (secret, PASSWORD, *codes))


def test_the_picture_holds_the_address_of_the_key():
    assert second_factor.address(RFC_SECRET, "medecin").startswith("otpauth://totp/SCAD:medecin?secret=")


def test_secrets_are_kept_wrapped_and_old_ones_wrapped_at_the_next_log_in():
    keys = vault_of_tests().keys
    secret = second_factor.new_secret()
    stored = second_factor.stored_form(keys, "medecin", secret)
    assert secret not in stored
    assert second_factor.opened(keys, "medecin", stored) == secret
    assert second_factor.opened(keys, "infirmiere", stored) is None, "a secret is one person's"
    assert second_factor.opened(None, "medecin", stored) is None
    assert (
        second_factor.opened(keys, "medecin", secret)
        == secret
        == second_factor.stored_form(None, "x", secret)
    )
    assert [second_factor.up_to_date(keys, one) for one in (stored, secret)] == [True, False]


def test_a_plain_secret_of_before_is_wrapped_when_its_code_is_taken(feed: RunningFeed):
    feed.conn.execute(
        "insert into scad.second_factor (login, secret, created_at, confirmed_at)"
        " values ('infirmiere', %s, now(), now())",
        (RFC_SECRET,),
    )
    client = feed.client()
    client.post("/login", data={"user": "infirmiere", "password": PASSWORD})
    code = pyotp.TOTP(RFC_SECRET).at(NOW_MS // 1000)
    field = re.search(r'name="csrf" value="([^"]+)"', client.get("/login/code").text)
    assert field is not None
    assert client.post("/login/code", data={"csrf": field[1], "code": code}).status_code == 303
    row = feed.conn.execute("select secret from scad.second_factor").fetchone()
    assert row is not None
    assert row[0].startswith("wrapped:")
    assert second_factor.opened(vault_of_tests().keys, "infirmiere", row[0]) == RFC_SECRET
