"""The trail of accesses as the feed writes it: every read of a patient, every action, log-in and refusal."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from feed_server import RunningFeed, csrf_of

from alerts.audit.store import verify_database


def lines(feed: RunningFeed) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for (line,) in feed.conn.execute("select line from audit.entry order by n").fetchall()
    ]


def of(feed: RunningFeed, did: str) -> list[dict[str, Any]]:
    return [line for line in lines(feed) if line["did"] == did]


def test_a_log_in_a_page_an_answer_and_an_action_are_on_record(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    assert nurse.get("/patients/p-caen").status_code == 200
    assert nurse.get("/api/patients/p-caen").status_code == 200
    assert nurse.get("/fhir/Patient").status_code == 200
    assert (
        nurse.post("/patients/p-caen/notes", data={"csrf": csrf_of(nurse), "note": "vue"}).status_code == 303
    )
    (entered,) = of(feed, "logged-in")
    assert (entered["by"], entered["status"], entered["from"]) == ("infirmiere", 303, "127.0.0.1")
    for did in ("GET /patients/{patient}", "GET /api/patients/{patient}", "GET /fhir/Patient"):
        (line,) = of(feed, did)
        assert (line["by"], line["role"], line["patients"]) == ("infirmiere", "nurse", ["p-caen"]), did
    (note,) = of(feed, "POST /patients/{patient}/notes")
    assert (note["patients"], note["status"]) == (["p-caen"], 303)
    assert verify_database(feed.conn, None).faults == []


def test_what_is_refused_is_on_record_and_what_somebody_typed_is_not(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    assert nurse.get("/patients/p-bayeux").status_code == 404
    assert nurse.get("/patients/Lefevre").status_code == 404
    assert nurse.get("/accounts").status_code == 403
    assert feed.client().post("/login", data={"user": "infirmiere", "password": "no"}).status_code == 401
    assert feed.client().post("/login", data={"user": "my password", "password": "no"}).status_code == 401
    found = [line for line in lines(feed) if line["did"] != "logged-in"]
    assert [(line.get("patients"), line["status"], line["by"], line.get("about")) for line in found] == [
        (["p-bayeux"], 404, "infirmiere", None),
        (None, 404, "infirmiere", None),
        (None, 403, "infirmiere", None),
        (None, 401, "", "infirmiere"),
        (None, 401, "", None),
    ]
    assert "Lefevre" not in json.dumps(found)


def test_requests_at_once_are_chained_one_behind_the_other(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: nurse.get("/api/patients/p-caen").status_code, range(40)))
    assert answers == [200] * 40
    report = verify_database(feed.conn, None)
    assert (report.faults, report.lines) == ([], 41)


def test_without_a_trail_nothing_about_a_patient_is_shown(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    feed.conn.execute("alter function audit.append(text[]) rename to away")
    answer = nurse.get("/patients/p-caen")
    assert answer.status_code == 503
    assert "p-caen" not in answer.text
    assert nurse.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    "statement",
    ["insert into audit.entry values (1, '{}', decode(repeat('00', 32), 'hex'))", "delete from audit.entry",
     "select line from audit.entry", "select audit.cut(1, now(), null)", "update audit.checkpoint set n = 0"],
)  # fmt: skip
def test_the_feeds_role_appends_and_nothing_else(store: psycopg.Connection[Any], statement: str):
    with store.transaction(force_rollback=True):
        store.execute("set local role scad_feed")
        store.execute('select audit.append(array[\'{"did":"x"}\'])')
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            store.execute(statement.encode())


@pytest.mark.parametrize("statement", ["delete from audit.entry", "update audit.entry set line = ''",
                                       "truncate audit.entry"])  # fmt: skip
def test_the_owner_too_is_told_that_lines_stay(store: psycopg.Connection[Any], statement: str):
    store.execute('select audit.append(array[\'{"did":"x"}\'])')
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
        store.execute(statement.encode())
