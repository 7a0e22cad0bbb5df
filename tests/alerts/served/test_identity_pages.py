"""The pages of identity: files merged and split, an objection to research, an identity erased; each on record."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import httpx
import psycopg
import pytest
from feed_server import RunningFeed, csrf_of
from made_up_ward import NOW_MS, add_patient
from sealing import vault_of_tests

from alerts.exports.objections import objecting
from alerts.identity import store as identities
from alerts.identity.store import Change
from alerts.identity.vault import Traits

WHO = Traits("Lefèvre", "Odette", date(1948, 5, 2), "female", None, "248057500100134", "1.2.250.1.213.1.4.10")
TYPED_BADLY = Traits("LEFEVRE", "Odette", date(1948, 5, 2), "female")
FILES = "/patients/p-caen/identity/files"


@pytest.fixture
def two(feed: RunningFeed) -> RunningFeed:
    """p-caen and p-twice are one person of one team; p-bayeux is of the other team."""
    add_patient(feed.conn, "p-twice", "caen", 4, "heart-rate", NOW_MS)
    for patient, traits in (("p-caen", WHO), ("p-twice", TYPED_BADLY)):
        feed.conn.execute("delete from identity.person where patient = %s", (patient,))
        identities.write(feed.conn, vault_of_tests(), patient, traits, Change("test", NOW_MS, "test"))
    return feed


def send(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    return client.post(path, data={"csrf": csrf_of(client), **fields})


def trail(feed: RunningFeed, did: str) -> list[tuple[Any, ...]]:
    lines = [json.loads(row[0]) for row in feed.conn.execute("select line from audit.entry order by n")]
    return [
        (line["by"], line["patients"], line.get("why"), line["status"])
        for line in lines
        if line["did"] == did
    ]


def test_two_files_are_compared_merged_and_split_again(two: RunningFeed):
    nurse = two.client("infirmiere")
    page = nurse.get(FILES).text
    assert 'href="?other=p-twice"' in page  # found by the same names and birth date
    page = nurse.get(FILES, params={"other": "p-twice"}).text
    assert "Lefèvre" in page
    assert "LEFEVRE" in page
    assert str(WHO.ins) in page
    # what cannot be
    merge = {"other": "p-twice", "holder": "p-caen", "why": "même carte d'identité"}
    for change in (
        {"why": ""},
        {"holder": "p-bayeux"},
        {"other": "p-bayeux", "holder": "p-bayeux"},
        {"other": ""},
    ):
        assert send(nurse, f"{FILES}/merge", **{**merge, **change}).status_code == 422, change
    assert two.conn.execute("select count(*) from identity.link").fetchone() == (0,)
    assert send(nurse, f"{FILES}/merge", **merge).status_code == 303
    assert "Odette Lefèvre" in nurse.get("/patients/p-twice").text
    assert 'href="/patients/p-twice"' in nurse.get(FILES).text
    assert send(nurse, f"{FILES}/merge", **merge).status_code == 422
    # split from the holder's page, with the device to look at
    two.conn.execute(
        "insert into scad.device values ('sc-9', 'x', now());"
        "insert into scad.assignment select 'sc-9', 'p-caen', linked_at + interval '1 second', null from identity.link"
    )
    two.hands.now_ms += 60_000
    doctor = two.client("medecin")
    assert send(doctor, f"{FILES}/split", file="p-caen", why="sœurs").status_code == 422
    assert send(doctor, f"{FILES}/split", file="p-twice", why="sœurs").status_code == 303
    assert "Odette LEFEVRE" in nurse.get("/patients/p-twice").text
    assert "Look at sc-9" in nurse.get(FILES).text
    both = ["p-caen", "p-twice"]
    assert trail(two, "identity-merge") == [("infirmiere", both, "même carte d'identité", 303)]
    assert trail(two, "identity-split") == [("medecin", both, "sœurs", 303)]


def test_an_objection_to_research_is_recorded_and_withdrawn(two: RunningFeed):
    nurse, path = two.client("infirmiere"), "/patients/p-caen/identity/objection"
    assert "No objection" in nurse.get(path).text
    assert send(nurse, path, objects="yes").status_code == 303
    assert objecting(two.conn, "p-caen")
    assert "The patient objects" in nurse.get(path).text
    assert send(nurse, path, objects="no").status_code == 303
    assert not objecting(two.conn, "p-caen")
    assert trail(two, "objection") == [("infirmiere", ["p-caen"], None, 303)]
    assert trail(two, "objection-withdrawn") == [("infirmiere", ["p-caen"], None, 303)]
    assert two.client("bayeux").get(path).status_code == 404


def test_an_identity_is_erased_by_a_physician_who_types_the_pseudonym(two: RunningFeed):
    doctor, path = two.client("medecin"), "/patients/p-caen/identity/erase"
    page = doctor.get(path).text
    assert "A device is still attached" in page
    assert 'name="confirm"' not in page
    wanted = {"confirm": "p-caen", "why": "demande du 3 mars"}
    assert send(doctor, path, **wanted).status_code == 422
    two.conn.execute("update scad.assignment set to_at = now() where patient = 'p-caen'")
    page = doctor.get(path).text
    assert 'name="confirm"' in page
    assert "R. 1112-7" not in page  # no reading is left, so nothing of them
    assert "1 × devices it had" in page
    for change in ({"confirm": "p-twice"}, {"why": ""}):
        assert send(doctor, path, **{**wanted, **change}).status_code == 422
    assert identities.read(two.conn, vault_of_tests(), "p-caen") == WHO
    assert send(doctor, path, **wanted).status_code == 303
    assert identities.read(two.conn, vault_of_tests(), "p-caen") is None
    assert two.conn.execute("select wrapped from identity.person where patient = 'p-caen'").fetchone() == (
        None,
    )
    page = doctor.get("/patients/p-caen/identity").text
    assert "Identity erased by Dr Paul Hamelin" in page
    assert "demande du 3 mars" in page
    assert send(doctor, path, **wanted).status_code == 422
    assert trail(two, "identity-erase") == [("medecin", ["p-caen"], "demande du 3 mars", 303)]


NOT_A_NURSES = [
    "insert into identity.erasure values ('p-caen', now(), 'infirmiere', 'x', '{}')",
    "update identity.person set sealed = null, wrapped = null, ins_index = null, name_index = null,"
    " group_sex = null, group_age = null, erased_at = now() where patient = 'p-caen'",
    "insert into identity.link (patient, holder, linked_at, linked_by, why)"
    " values ('p-caen', 'p-bayeux', now(), 'infirmiere', 'x')",
    "insert into identity.link (patient, holder, linked_at, linked_by, why)"
    " values ('p-caen', 'p-twice', now(), 'medecin', 'x')",
]


def test_the_database_itself_refuses_what_a_nurse_may_not(two: RunningFeed):
    two.client("infirmiere")
    (token,) = two.conn.execute("select encode(token_hash, 'hex') from scad.session").fetchone() or ("",)
    with psycopg.connect(two.feed.database.dsn) as conn:
        conn.execute(
            "select set_config('role', 'scad_feed', true), set_config('scad.session', %s, true)", (token,)
        )
        for statement in NOT_A_NURSES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
                conn.execute(statement.encode())
        assert conn.execute("delete from identity.former where patient = 'p-caen'").rowcount == 0
