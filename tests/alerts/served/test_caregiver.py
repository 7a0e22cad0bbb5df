"""A caregiver's access over HTTP and in raw SQL: granted at the patient's wish, bounded, withdrawn at once."""

from __future__ import annotations

import re
from typing import Any, LiteralString

import httpx
import psycopg
import pytest
from caregivers import EVERYTHING, NAME, PASSWORD, caregiver_of, invite, join
from feed_server import RunningFeed, csrf_of
from made_up_ward import DAY, FAMILY, GIVEN, NOW_MS
from psycopg import sql

from alerts.feed.accounts import AccountError, check_account
from alerts.feed.caregiver.accesses import draw, hashed
from alerts.feed.sessions import COOKIE, hash_token
from alerts.identity.files import erase
from alerts.identity.store import Change
from devices.times import to_datetime

HERE = "/patients/p-caen/caregivers"


def test_a_caregiver_reads_what_the_patient_shows_and_nothing_that_people_wrote(ward: RunningFeed):
    nurse = ward.client("infirmiere")
    said = nurse.post(
        "/patients/p-0000/notes", data={"note": "a note about the family", "csrf": csrf_of(nurse)}
    )
    assert said.status_code == 303
    caregiver = caregiver_of(ward, nurse, "p-0000", until="2031-01-31", **EVERYTHING)
    page = caregiver.get("/caregiver").text
    assert "15 or 112" in page
    assert f"{GIVEN[0]} {FAMILY[0]}" in page
    assert re.search(r'class="value">\d\d\.\d\u202fkg', page)
    assert '<svg class="curve"' in page
    assert "The team has not seen it yet." in page
    (sentence,) = ward.conn.execute(
        "select explanation ->> 'en' from scad.alert where patient = 'p-0000' and class = 'clinical'"
        " and condition = 'raised' and inhibited_by is null and superseded_by is null limit 1"
    ).fetchone()
    assert sentence in page
    assert re.search(r"\d+ of 14", page)
    for word in (
        "Claire Martin",
        "Hamelin",
        "a note",
        "02 31 00",
        "p-0000",
        "000000000000000",
        "weight-gain",
    ):
        assert word not in page, word
    french = caregiver.get("/caregiver", headers={"Accept-Language": "fr"}).text
    assert "n’est pas un service d’urgence" in french
    assert "L’équipe ne l’a pas encore vue." in french

    part = caregiver_of(ward, nurse, "p-0000", adherence="1").get("/caregiver").text
    assert re.search(r"\d+ of 14", part)
    assert "<svg" not in part
    assert sentence not in part


def test_in_every_relation_a_caregiver_is_nobody_but_for_the_views_of_the_access(ward: RunningFeed):
    nurse = ward.client("infirmiere")
    whole = session_of(caregiver_of(ward, nurse, "p-0000", **EVERYTHING))
    part = session_of(caregiver_of(ward, nurse, "p-0000", alerts="1"))
    views = {"cared_reading", "cared_alert", "cared_day", "cared_plan"}
    with psycopg.connect(ward.feed.database.dsn) as conn:
        conn.execute("set local role scad_feed")
        become(conn, whole)
        assert seen(conn) == {f"scad.{view}" for view in views} | {"scad.migration", "scad.alert_event"}
        for view in views:
            query = sql.SQL("select distinct patient from scad.{}").format(sql.Identifier(view))
            assert conn.execute(query).fetchall() == [("p-0000",)], view
        become(conn, part)
        assert seen(conn) == {"scad.cared_alert", "scad.migration", "scad.alert_event"}
        assert conn.execute("select patient, readings from scad.my_care()").fetchall() == [("p-0000", False)]
        assert conn.execute(
            "select * from scad.last_readings(array['p-0000'], array['body-weight'], '-infinity')"
        )
        for statement in WRITES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
                conn.execute(statement)
        become(conn, b"x" * 32)
        assert conn.execute("select from scad.my_care()").fetchall() == []
        conn.rollback()


WRITES: tuple[LiteralString, ...] = (
    "select scad.care_end('aidant-aaaaaaaa', 'p-0000', 'me', now())",
    "insert into scad.caregiver_access (access, patient, readings, alerts, adherence, granted_at, granted_by)"
    " values ('aidant-aaaaaaaa', 'p-0000', true, true, true, now(), 'me')",
    "insert into scad.alert_event (at, recorded_at, patient, kind, event, actor, body)"
    " values (now(), now(), 'p-0000', 'action', 'note', 'me', '{}')",
    "select * from scad.break_glass('p-0001', null, 'out of curiosity')",
)


def session_of(browser: httpx.Client) -> bytes:
    return hash_token(browser.cookies[COOKIE])


def become(conn: psycopg.Connection[Any], token_hash: bytes) -> None:
    conn.execute("select set_config('scad.session', %s, true)", (token_hash.hex(),))


def seen(conn: psycopg.Connection[Any]) -> set[str]:
    """Every relation of the catalogue, in any column that the role may read, that has a row for it."""
    found = conn.execute(
        "select n.nspname, c.relname, (select a.attname from pg_attribute a where a.attrelid = c.oid and a.attnum > 0"
        " and not a.attisdropped and has_column_privilege(c.oid, a.attnum, 'select') order by a.attnum limit 1)"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname in ('scad', 'identity', 'audit') and c.relkind in ('r', 'p', 'v', 'm')"
    ).fetchall()
    rows = set()
    for schema, name, column in found:
        if column is not None:
            query = sql.SQL("select {} from {} limit 1").format(
                sql.Identifier(column), sql.Identifier(schema, name)
            )
            if conn.execute(query).fetchone() is not None:
                rows.add(f"{schema}.{name}")
    return rows


def test_what_is_withdrawn_or_over_shows_nothing_at_once(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    kept, withdrawn = (caregiver_of(feed, nurse) for _ in range(2))
    (login,) = feed.conn.execute(
        "select access from scad.caregiver_access order by accepted_at desc, granted_at desc, access"
    ).fetchone()
    both = feed.conn.execute("select access from scad.caregiver_access order by access").fetchall()
    assert {kept.get("/caregiver").status_code, withdrawn.get("/caregiver").status_code} == {200}
    ended = nurse.post(f"{HERE}/{login}/end", data={"csrf": csrf_of(nurse)})
    assert "withdrawn" in ended.text
    answers = [browser.get("/caregiver") for browser in (kept, withdrawn)]
    assert sorted(answer.status_code for answer in answers) == [200, 303]
    again = feed.client().post("/login", data={"user": login, "password": PASSWORD})
    assert again.status_code == 401
    assert feed.conn.execute("select from scad.session where login = %s", (login,)).fetchall() == []

    (other,) = {one for (one,) in both} - {login}
    feed.conn.execute(
        "update scad.caregiver_access set granted_at = '2020-01-01', until = '2020-01-02' where access = %s",
        (other,),
    )
    (open_,) = (b for b, a in zip((kept, withdrawn), answers, strict=True) if a.status_code == 200)
    over = open_.get("/caregiver")
    assert over.status_code == 403
    assert "There is nothing to see here" in over.text


def test_an_invitation_is_good_once_for_seven_days_and_five_wrong_codes(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    login, code = invite(nurse)
    assert join(feed.client(), login, code, again="something else").status_code == 422
    assert join(feed.client(), login, code, password="short", again="short").status_code == 422
    used = join(feed.client(), login.upper(), code.lower().replace("-", " "))
    assert used.status_code == 303
    assert join(feed.client(), login, code).status_code == 422

    login, code = invite(nurse)
    browser = feed.client()
    assert [join(browser, login, draw().code).status_code for _ in range(5)] == [422] * 5
    assert join(browser, login, code).status_code == 422
    assert "invitation lapsed" in nurse.get(HERE).text

    login, code = invite(nurse)
    feed.hands.now_ms += 7 * DAY + 1
    assert join(feed.client(), login, code).status_code == 422
    elsewhere = feed.client(**{"Sec-Fetch-Site": "cross-site"})
    assert join(elsewhere, login, code).status_code == 403
    (stored,) = feed.conn.execute(
        "select code_hash from scad.caregiver_access where access = %s", (login,)
    ).fetchone()
    assert bytes(stored) == hashed(code)


def test_without_the_second_factor_a_caregiver_sees_nothing(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    login, code = invite(nurse)
    browser = feed.client()
    join(browser, login, code)
    assert browser.get("/caregiver").status_code == 303
    again = feed.client()
    answer = again.post("/login", data={"user": login, "password": PASSWORD})
    assert answer.headers["location"] == "/login/second-factor"
    assert again.get("/caregiver").status_code == 303
    with pytest.raises(AccountError):
        check_account("somebody", "caregiver", None)


def test_the_wish_is_the_patients_and_the_own_team_records_it(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    good = {"name": NAME, "readings": "1", "asked": "1", "csrf": csrf_of(nurse)}
    for wrong in (
        {"asked": ""},
        {"readings": ""},
        {"name": ""},
        {"until": "2026-11-21"},
        {"until": "2099-01-01"},
    ):
        answer = nurse.post(HERE, data=good | wrong)
        assert answer.status_code == 422, wrong
        assert 'role="alert"' in answer.text
    other, auditor = feed.client("bayeux"), feed.client("audit")
    login, _ = invite(nurse)
    assert other.get(HERE).status_code == 404
    assert other.post(HERE, data=good | {"csrf": csrf_of(other)}).status_code == 404
    assert other.post(f"{HERE}/{login}/end", data={"csrf": csrf_of(other)}).status_code == 404
    assert NAME in auditor.get(HERE).text
    assert auditor.post(HERE, data=good | {"csrf": csrf_of(auditor)}).status_code == 403
    for _ in range(4):
        invite(nurse)
    sixth = nurse.post(HERE, data=good)
    assert sixth.status_code == 422
    assert "There are 5 accesses already" in sixth.text


def test_every_look_is_on_the_trail_and_the_name_lies_sealed_until_it_is_erased(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    caregiver = caregiver_of(feed, nurse)
    caregiver.get("/caregiver")
    (login,) = feed.conn.execute("select access from scad.caregiver_access").fetchone()
    lines = feed.conn.execute(
        "select line::jsonb from audit.entry where line::jsonb ->> 'by' = %s order by n", (login,)
    ).fetchall()
    looks = [line for (line,) in lines if line["did"] == "GET /caregiver"]
    assert [(one["patients"], one["role"], one["status"]) for one in looks] == [
        (["p-caen"], "caregiver", 200)
    ]
    listed = feed.client("audit").get("/patients/p-caen/accesses").text
    assert f"{login} – Caregiver" in listed

    tables = feed.conn.execute(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('scad', 'identity', 'audit')"
    ).fetchall()
    for (table,) in tables:
        query = sql.SQL("select t::text from {} t where t::text ilike %s").format(sql.SQL(table))
        assert feed.conn.execute(query, (f"%{NAME.split()[1]}%",)).fetchall() == [], table

    feed.conn.execute("delete from scad.assignment where patient = 'p-caen'")
    erase(feed.conn, "p-caen", Change("me", NOW_MS, "the patient asks for it"))
    assert caregiver.get("/caregiver").status_code == 303
    assert feed.conn.execute("select from identity.caregiver").fetchall() == []
    assert feed.conn.execute("select ended_by, ended_at from scad.caregiver_access").fetchone() == (
        "erasure",
        to_datetime(NOW_MS),
    )
    assert "name erased" in nurse.get(HERE).text
