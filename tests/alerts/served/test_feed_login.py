"""Who gets in, for how long, and what stands against guessing and foreign pages."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from feed_server import RunningFeed, csrf_of
from hypothesis import given
from hypothesis import strategies as st
from made_up_ward import NOW_MS, PASSWORD

from alerts.feed.accounts import (
    ADDRESS_ATTEMPTS,
    ADDRESS_WINDOW_S,
    ADDRESSES_MAX,
    LOCK_AFTER,
    LOCK_MINUTES,
    AccountError,
    LoginLimiter,
    create_account,
)
from alerts.feed.sessions import COOKIE, IDLE_MINUTES, SESSION_HOURS, SESSIONS_OF_ONE, local_path
from alerts.store.connection import Connection
from devices.times import to_datetime

MINUTE_MS = 60_000
AT = to_datetime(NOW_MS)
PROTECTED = ["/", "/patients/p-caen", "/docs", "/queue/rows", "/api/session", "/api/queue", "/api/alerts",
             "/api/stream", "/api/patients/p-caen", "/api/patients/p-caen/readings", "/openapi.json",
             "/api/alerts/00000000-0000-0000-0000-000000000000", "/metrics"]  # fmt: skip


def try_login(client: httpx.Client, user: str, password: str, **headers: str) -> httpx.Response:
    return client.post("/login", data={"user": user, "password": password}, headers=headers)


def test_nothing_is_shown_without_a_session(feed: RunningFeed):
    client = feed.client()
    for path in PROTECTED:
        answer = client.get(path)
        if path.startswith(("/api", "/openapi", "/queue", "/metrics")):
            assert answer.status_code == 401, path
        else:
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login")
        assert "p-caen" not in answer.text


def test_health_and_the_log_in_page_need_no_session(feed: RunningFeed):
    for path in ("/health/live", "/health/ready", "/login", "/static/feed.css", "/static/feed.js"):
        assert feed.client().get(path).status_code == 200


def test_a_person_logs_in_goes_where_they_wanted_and_logs_out(feed: RunningFeed):
    client = feed.client()
    wanted = client.get("/patients/p-caen?days=30").headers["location"]
    assert wanted == "/login?next=%2Fpatients%2Fp-caen%3Fdays%3D30"
    assert 'value="/patients/p-caen?days=30"' in client.get(wanted).text
    answer = client.post(
        "/login", data={"user": "Infirmiere ", "password": PASSWORD, "next": "/patients/p-caen?days=30"}
    )
    assert answer.headers["location"] == "/patients/p-caen?days=30"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    page = client.get("/").text
    assert "Claire Martin" in page
    assert client.post("/logout", data={"csrf": csrf_of(client)}).headers["location"] == "/login?ended=true"
    assert client.get("/").status_code == 303


def test_over_https_the_cookie_is_secure_and_the_browser_is_told_to_stay(feed: RunningFeed):
    answer = try_login(feed.client(), "infirmiere", PASSWORD, **{"X-Forwarded-Proto": "https"})
    assert "Secure" in answer.headers["set-cookie"]
    assert "max-age" in answer.headers["strict-transport-security"]


def test_a_stolen_copy_of_the_cookie_is_worthless_after_the_log_out(feed: RunningFeed):
    client = feed.client("infirmiere")
    copy = feed.client()
    copy.cookies.set(COOKIE, client.cookies[COOKIE])
    assert copy.get("/api/session").status_code == 200
    client.post("/logout", data={"csrf": csrf_of(client)})
    assert copy.get("/api/session").status_code == 401


def test_a_session_ends_after_a_shift(feed: RunningFeed):
    client = feed.client("infirmiere")
    for _ in range(SESSION_HOURS - 1):
        feed.hands.now_ms += 3_600_000
        assert client.get("/api/session").status_code == 200
    feed.hands.now_ms += 3_600_000 - 1000
    assert client.get("/api/session").status_code == 200
    feed.hands.now_ms += 2000
    assert client.get("/api/session").status_code == 401


def test_a_screen_that_somebody_has_left_is_logged_out_although_it_asks_for_rows(feed: RunningFeed):
    client = feed.client("infirmiere")
    for _ in range(3):
        feed.hands.now_ms += IDLE_MINUTES * 60_000 // 3 - 1000
        assert client.get("/queue/rows").status_code == 200
    feed.hands.now_ms += 4000
    assert client.get("/queue/rows").status_code == 401


def test_a_session_that_asks_too_often_is_slowed_down_and_others_are_not(feed: RunningFeed):
    greedy, other = feed.client("infirmiere"), feed.client("infirmiere")
    feed.feed.requests.most = 3
    answers = [greedy.get("/api/session") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"]
    assert other.get("/api/session").status_code == 200


def test_a_disabled_account_is_out_at_once(feed: RunningFeed):
    client = feed.client("infirmiere")
    feed.conn.execute("update scad.account set disabled_at = now() where login = 'infirmiere'")
    assert client.get("/api/session").status_code == 401
    assert try_login(feed.client(), "infirmiere", PASSWORD).status_code == 401


def test_the_database_holds_neither_password_nor_token(feed: RunningFeed):
    client = feed.client("infirmiere")
    row = feed.conn.execute("select token_hash, csrf_token from scad.session").fetchone()
    assert row is not None
    assert client.cookies[COOKIE].encode() not in bytes(row[0])
    assert client.cookies[COOKIE] != row[1]
    hashed = feed.conn.execute("select password_hash from scad.account").fetchall()
    assert all(str(found[0]).startswith("$argon2id$") for found in hashed)


def test_one_person_has_a_bounded_number_of_sessions(feed: RunningFeed):
    first = feed.client("infirmiere")
    for index in range(SESSIONS_OF_ONE):
        feed.hands.now_ms += 61_000 if index % 25 == 24 else 1
        feed.feed.limiter.__init__()  # type: ignore[misc] - the address limit is another test's
        feed.client("infirmiere")
    assert first.get("/api/session").status_code == 401
    count = feed.conn.execute("select count(*) from scad.session").fetchone()
    assert count == (SESSIONS_OF_ONE,)


def test_wrong_name_and_wrong_password_are_told_in_the_same_words(feed: RunningFeed):
    wrong = try_login(feed.client(), "infirmiere", "not the password")
    nobody = try_login(feed.client(), "nobody", "not the password")
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.text.replace("infirmiere", "nobody") == nobody.text
    assert "set-cookie" not in wrong.headers


def test_after_too_many_failures_even_the_right_password_waits(feed: RunningFeed):
    client = feed.client()
    for _ in range(LOCK_AFTER - 1):
        assert try_login(client, "infirmiere", "wrong").status_code == 401
    assert try_login(client, "infirmiere", "wrong").status_code == 429
    locked = try_login(client, "infirmiere", PASSWORD)
    assert locked.status_code == 429
    assert "Try again in" in locked.text
    assert try_login(client, "medecin", PASSWORD).status_code == 303
    feed.hands.now_ms += LOCK_MINUTES * MINUTE_MS + 1
    assert try_login(client, "infirmiere", PASSWORD).status_code == 303


def test_a_success_forgets_the_failures_before_it(feed: RunningFeed):
    client = feed.client()
    for _ in range(2):
        for _ in range(LOCK_AFTER - 1):
            assert try_login(client, "infirmiere", "wrong").status_code == 401
        assert try_login(client, "infirmiere", PASSWORD).status_code == 303


def test_one_address_has_a_bounded_number_of_attempts(feed: RunningFeed):
    client = feed.client()
    codes = [try_login(client, f"someone-{i % 7}", "x").status_code for i in range(ADDRESS_ATTEMPTS + 3)]
    assert codes == [401] * ADDRESS_ATTEMPTS + [429] * 3
    feed.hands.now_ms += ADDRESS_WINDOW_S * 1000
    assert try_login(client, "infirmiere", PASSWORD).status_code == 303


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=200))
def test_no_address_ever_gets_more_than_its_share_of_a_window(steps: list[tuple[str, float]]):
    limiter, now, allowed = LoginLimiter(), 0.0, []
    for address, pause in steps:
        now += pause
        if limiter.allow(address, now):
            allowed.append((address, now))
    for address, begin in allowed:
        window = [at for who, at in allowed if who == address and begin <= at < begin + ADDRESS_WINDOW_S]
        assert len(window) <= 2 * ADDRESS_ATTEMPTS


def test_the_limiter_forgets_the_oldest_addresses_rather_than_grow():
    limiter = LoginLimiter()
    for i in range(ADDRESSES_MAX + 10):
        limiter.allow(f"2001:db8::{i:x}", 0.0)
    assert len(limiter._windows) == ADDRESSES_MAX


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}]
)
def test_a_foreign_page_cannot_log_anybody_in_or_out(feed: RunningFeed, headers: dict[str, str]):
    client = feed.client("infirmiere")
    token = csrf_of(client)
    assert try_login(client, "infirmiere", PASSWORD, **headers).status_code == 403
    assert client.post("/logout", data={"csrf": token}, headers=headers).status_code == 403
    assert client.post("/preferences", data={"language": "fr"}, headers=headers).status_code == 403


@pytest.mark.parametrize("token", ["", "wrong", "é"])
def test_a_write_without_the_sessions_token_is_refused(feed: RunningFeed, token: str):
    client = feed.client("infirmiere")
    assert client.post("/logout", data={"csrf": token}).status_code == 403
    assert client.get("/api/session").status_code == 200


def test_the_token_of_another_session_is_no_token(feed: RunningFeed):
    one, other = feed.client("infirmiere"), feed.client("infirmiere")
    assert one.post("/logout", data={"csrf": csrf_of(other)}).status_code == 403


@pytest.mark.parametrize(
    "path", ["//elsewhere", "/\\elsewhere", "https://elsewhere", "", "/a\nb", "/" + "x" * 500]
)
def test_after_the_log_in_nobody_is_sent_elsewhere(path: str):
    assert local_path(path) == "/"


@given(st.text(max_size=60))
def test_where_a_form_leads_is_always_a_path_of_ours(path: str):
    found = local_path(path)
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))


def test_every_answer_carries_the_security_headers(feed: RunningFeed):
    client = feed.client("infirmiere")
    for path in ("/", "/login", "/static/feed.js", "/api/queue", "/nowhere", "/health/live"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert ("no-store" in headers.get("cache-control", "")) is not path.startswith("/static")


def test_pages_hold_no_script_or_style_of_their_own(feed: RunningFeed):
    page = feed.client("infirmiere").get("/").text
    assert "<style" not in page
    assert "style=" not in page
    assert "onclick" not in page
    assert page.count("<script") == 1
    assert '<script type="module" src="/static/feed.js">' in page


def test_a_body_that_is_too_large_is_refused(feed: RunningFeed):
    answer = feed.client().post("/login", content=b"user=" + b"x" * 100_000)
    assert answer.status_code == 413
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    pieces = iter([b"user=" + b"x" * 40_000, b"x" * 40_000])
    assert (
        feed.client().post("/login", content=pieces, headers=form).status_code == 413
    )  # length not announced


@pytest.mark.parametrize(
    ("login", "password", "role", "team", "message"),
    [
        ("Capital", PASSWORD, "nurse", "caen", "small letters"),
        ("short", "too short", "nurse", "caen", "12 to 200"),
        ("long", "x" * 201, "nurse", "caen", "12 to 200"),
        ("noteam", PASSWORD, "nurse", None, "needs a care team"),
        ("where", PASSWORD, "nurse", "nowhere", "no care team 'nowhere'"),
        ("who", PASSWORD, "king", "caen", "not one of"),
    ],
)
def test_an_account_that_cannot_be_says_why(
    store: Connection, login: str, password: str, role: str, team: str | None, message: str
):
    store.execute("insert into scad.care_team (care_team, name) values ('caen', 'Caen')")
    with pytest.raises(AccountError, match=message):
        create_account(store, login, password, role, team, at=AT)  # type: ignore[arg-type]


def test_making_an_account_again_unlocks_it(store: Connection):
    store.execute("insert into scad.care_team (care_team, name) values ('caen', 'Caen')")
    create_account(store, "nurse", PASSWORD, "nurse", "caen", at=AT)
    locked = {"locked_until": AT + timedelta(hours=1), "disabled_at": AT}
    store.execute(
        "update scad.account set locked_until = %(locked_until)s, disabled_at = %(disabled_at)s", locked
    )
    create_account(store, "nurse", PASSWORD, "physician", "caen", at=AT, display_name="Dr N", language="en")
    row = store.execute(
        "select display_name, role, locked_until, disabled_at, language from scad.account"
    ).fetchone()
    assert row == ("Dr N", "physician", None, None, "en")
