"""The administrator's page: accounts made and changed, and who is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from feed_server import RunningFeed, csrf_of, running
from made_up_ward import NOW_MS, PASSWORD, enrol

from alerts.feed.accounts import create_account
from devices.times import to_datetime


@pytest.fixture
def feed(store_address: str, store: psycopg.Connection[Any]) -> Iterator[RunningFeed]:
    enrol(store, NOW_MS)
    create_account(store, "admin", PASSWORD, "administrator", None, at=to_datetime(NOW_MS))
    with running(store_address, store) as found:
        yield found


def send(client: httpx.Client, path: str, **form: str) -> httpx.Response:
    return client.post(path, data={"csrf": csrf_of(client), **form})


NEW = {"login": "lea", "display_name": "Léa Roux", "role": "nurse", "care_team": "caen", "password": PASSWORD}


@pytest.mark.parametrize(("language", "title"), [("fr", "Comptes"), ("en", "Accounts")])
def test_an_administrator_begins_at_the_accounts(feed: RunningFeed, language: str, title: str):
    client = feed.client()
    answer = client.post("/login", data={"user": "admin", "password": PASSWORD})
    assert answer.headers["location"] == "/accounts"
    page = client.get("/accounts", headers={"Accept-Language": language}).text
    assert f"<h1>{title}</h1>" in page
    assert "Dr Paul Hamelin" in page
    assert client.get("/").status_code == 403


def test_a_new_person_logs_in_and_sees_the_own_team(feed: RunningFeed):
    admin = feed.client("admin")
    assert send(admin, "/accounts", **NEW).status_code == 303
    assert feed.client("lea").get("/api/session").json()["care_teams"] == ["caen"]
    rows = feed.conn.execute("select actor, event, subject from scad.access_event where actor = 'admin'")
    assert ("admin", "account-created", "lea") in rows.fetchall()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"login": "medecin"}, "exists already"),
        ({"login": "Léa"}, "small letters"),
        ({"password": "short"}, "12 to 200"),
        ({"role": "king"}, "is not one of"),
        ({"care_team": ""}, "needs a care team"),
        ({"care_team": "nowhere"}, "no such care team"),
    ],
)
def test_an_account_that_cannot_be_is_refused_with_the_reason(
    feed: RunningFeed, change: dict[str, str], words: str
):
    answer = send(feed.client("admin"), "/accounts", **{**NEW, **change})
    assert answer.status_code == 400
    assert words in answer.text
    kept = feed.conn.execute("select role, care_team from scad.account where login = 'medecin'").fetchone()
    assert kept == ("physician", "caen")


def test_a_change_ends_the_sessions_of_the_person(feed: RunningFeed):
    admin, nurse = feed.client("admin"), feed.client("infirmiere")
    changed = send(admin, "/accounts/infirmiere/role", role="physician", care_team="bayeux")
    assert changed.status_code == 303
    assert nurse.get("/api/session").status_code == 401
    again = feed.client("infirmiere").get("/api/session").json()
    assert (again["role"], again["care_teams"]) == ("physician", ["bayeux"])


def test_somebody_who_is_disabled_is_out_until_enabled(feed: RunningFeed):
    admin, nurse = feed.client("admin"), feed.client("infirmiere")
    send(admin, "/accounts/infirmiere/disable")
    assert nurse.get("/api/session").status_code == 401
    login = {"user": "infirmiere", "password": PASSWORD}
    assert feed.client().post("/login", data=login).status_code == 401
    send(admin, "/accounts/infirmiere/enable")
    assert feed.client().post("/login", data=login).status_code == 303


def test_a_new_password_takes_the_place_of_the_old(feed: RunningFeed):
    send(feed.client("admin"), "/accounts/infirmiere/password", password="une autre longue phrase")
    assert feed.client().post("/login", data={"user": "infirmiere", "password": PASSWORD}).status_code == 401
    assert feed.client("infirmiere", "une autre longue phrase").get("/api/session").status_code == 200


def test_a_lost_telephone_is_answered_by_a_reset(feed: RunningFeed):
    feed.conn.execute(
        "insert into scad.second_factor values ('medecin', 'A', now(), now(), 0);"
        "insert into scad.recovery_code values ('medecin', decode(repeat('00', 32), 'hex'))"
    )
    assert send(feed.client("admin"), "/accounts/medecin/reset-factor").status_code == 303
    left = "select (select count(*) from scad.second_factor) + (select count(*) from scad.recovery_code)"
    assert feed.conn.execute(left).fetchone() == (0,)


@pytest.mark.parametrize(
    "path", ["/accounts/admin/disable", "/accounts/nobody/disable", "/accounts/audit/fly"]
)
def test_oneself_and_what_is_not_there_are_not_changed(feed: RunningFeed, path: str):
    assert send(feed.client("admin"), path).status_code == 400
    assert feed.conn.execute(
        "select count(*) from scad.account where disabled_at is not null"
    ).fetchone() == (0,)
