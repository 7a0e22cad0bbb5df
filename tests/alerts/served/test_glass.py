"""Breaking the glass opens exactly one patient, to read, for a while; the review of rules; the patient's lists."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import psycopg
import pytest
from feed_server import RunningFeed, csrf_of
from made_up_ward import NOW_MS, PASSWORD, one_signal
from sealing import vault_of_tests

from alerts.feed.accounts import create_account
from alerts.identity import store as identities
from alerts.identity.store import Change
from alerts.identity.vault import Traits
from alerts.store import write_signals
from devices.times import to_datetime

REASON = "malaise au domicile, équipe injoignable"
WHO = Traits("Lefèvre", "Odette", date(1948, 5, 2), "female", None, "248057500100134", "1.2.250.1.213.1.4.10")


def ask(client: httpx.Client, **fields: str) -> httpx.Response:
    return client.post("/glass", data={"csrf": csrf_of(client), "reason": REASON, **fields})


READ = [
    "/alerts/{}",
    *(
        f"/patients/p-bayeux{page}"
        for page in ("", "/plan", "/devices", "/absences", "/inr", "/questionnaire", "/why")
    ),
]
WRITTEN = [
    "/alerts/{}/acknowledge",
    *(
        f"/patients/p-bayeux/{page}"
        for page in ("notes", "plan", "devices", "absences", "values", "tablet", "identity")
    ),
]


def test_a_broken_glass_shows_one_patient_to_one_person_to_read(feed: RunningFeed):
    write_signals(feed.conn, [one_signal("p-bayeux", 1, str(uuid4()))], NOW_MS)
    nurse, colleague = feed.client("infirmiere"), feed.client("medecin")
    assert nurse.get("/patients/p-bayeux").status_code == 404
    assert ask(nurse, patient="p-bayeux", reason="urgent").status_code == 422
    assert ask(nurse, patient="p-nobody").status_code == 404
    opened = ask(nurse, patient="p-bayeux")
    assert (opened.status_code, opened.headers["location"]) == (303, "/patients/p-bayeux")
    page = nurse.get("/patients/p-bayeux")
    assert page.status_code == 200
    assert "Reading only" in page.text
    (alert,) = feed.conn.execute("select alert::text from scad.alert").fetchone() or ("",)
    for path in READ:
        shown = nurse.get(path.format(alert))
        assert shown.status_code == 200, path
        assert "Reading only" in shown.text, path
        offered = set(re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', shown.text))
        assert offered <= {"/preferences", "/logout"}, path
        assert "formaction" not in shown.text, path
    assert nurse.get("/queue/rows", params={"patient": "p-bayeux"}).json()["rows"] == []
    assert "Weight gain" in page.text
    assert nurse.get("/api/patients/p-bayeux").status_code == 200
    assert colleague.get("/patients/p-bayeux").status_code == 404
    assert "p-bayeux" not in nurse.get("/").text
    # what is written stays with the patient's own team, and the answer says so
    token = {"X-CSRF-Token": csrf_of(nurse)}
    for path, body in (
        (f"/api/alerts/{alert}/acknowledge", {}),
        (f"/api/alerts/{alert}/false-alert", {"reason": "other"}),
        ("/api/alerts/bulk", {"alerts": [alert], "action": "acknowledge"}),
    ):
        answer = nurse.post(path, json=body, headers=token)
        assert (answer.status_code, "reading only" in answer.json()["detail"]) == (403, True), path
    for path in WRITTEN:
        answer = nurse.post(path.format(alert), headers=token)
        assert (answer.status_code, "Reading only" in answer.text) == (403, True), path
    events = "select count(*) from scad.alert_event where kind = 'action'"
    assert feed.conn.execute(events).fetchone() == (0,)
    # it ends, and the trail has all of it
    assert nurse.post("/glass/p-bayeux/close", headers=token).status_code == 303
    assert nurse.get("/patients/p-bayeux").status_code == 404
    lines = [json.loads(row[0]) for row in feed.conn.execute("select line from audit.entry order by n")]
    opening = [line for line in lines if line["did"] == "POST /glass" and line["status"] == 303]
    assert [(line["patients"], line["why"]) for line in opening] == [(["p-bayeux"], REASON)]
    assert [
        line["why"] for line in lines if line["did"] == "GET /patients/{patient}" and line["status"] == 200
    ] == ["break the glass"] * 2


def test_a_patient_is_found_by_names_or_ins_without_being_shown(feed: RunningFeed):
    feed.conn.execute("delete from identity.person where patient = 'p-bayeux'")
    identities.write(feed.conn, vault_of_tests(), "p-bayeux", WHO, Change("test", NOW_MS, "test"))
    nurse = feed.client("infirmiere")
    wrong = ask(nurse, family_name="Lefevre", given_names="Odette", birth_date="1948-05-03")
    assert wrong.status_code == 404
    right = ask(nurse, family_name="LEFEVRE", given_names="odette", birth_date="1948-05-02")
    assert right.headers.get("location") == "/patients/p-bayeux"
    by_ins = ask(nurse, ins="2 48 05 75 001 001 34", ins_oid="1.2.250.1.213.1.4.10")
    assert by_ins.headers.get("location") == "/patients/p-bayeux"
    assert "Odette Lefèvre" in nurse.get("/patients/p-bayeux").text
    trail = "".join(row[0] for row in feed.conn.execute("select line from audit.entry"))
    assert not any(word in trail.upper() for word in ("LEFEVRE", "LEFÈVRE", "ODETTE", "24805"))


def test_the_administrator_is_told_and_says_what_came_of_it(feed: RunningFeed):
    create_account(feed.conn, "admin", PASSWORD, "administrator", None, at=to_datetime(NOW_MS))
    assert ask(feed.client("infirmiere"), patient="p-bayeux").status_code == 303
    admin = feed.client("admin")
    assert "1 exceptional access" in admin.get("/accounts").text
    page = admin.get("/glass/opened")
    assert REASON in page.text
    (number,) = feed.conn.execute("select id from scad.glass").fetchone() or (0,)
    done = admin.post(f"/glass/opened/{number}", data={"csrf": csrf_of(admin), "note": "justifié"})
    assert done.status_code == 303
    assert "justifié" in admin.get("/glass/opened").text
    assert "exceptional access" not in admin.get("/accounts").text.partition("<main")[2]
    assert admin.get("/patients/p-bayeux").status_code == 403
    assert "scad_feed_glass_total 1.0" in admin.get("/metrics").text
    # where the next is told is set on the same page
    for address, status in (("admin@example.org", 303), ("nowhere", 422)):
        form = {"csrf": csrf_of(admin), "mail": address}
        assert admin.post("/glass/contacts/admin", data=form).status_code == status
    contacts = feed.conn.execute("select login, channel, address from scad.administrator_contact").fetchall()
    assert contacts == [("admin", "mail", "admin@example.org")]
    assert 'value="admin@example.org"' in admin.get("/glass/opened").text
    assert admin.post("/glass/contacts/infirmiere", data={"csrf": csrf_of(admin)}).status_code == 404


WRITES = [
    "update scad.alert set unit = 'x' where patient = 'p-bayeux'",
    "update identity.person set phone = 'x' where patient = 'p-bayeux'",
    "update scad.assignment set to_at = now() where patient = 'p-bayeux'",
    "update scad.patient set care_team = 'caen' where patient = 'p-bayeux'",
    "update scad.device set model = 'x' where device = 'bo-0002'",
    "delete from scad.absence where patient = 'p-bayeux'",
]


def test_the_database_itself_opens_reading_only_and_only_while_it_lasts(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    assert ask(nurse, patient="p-bayeux").status_code == 303
    (token,) = feed.conn.execute("select encode(token_hash, 'hex') from scad.session").fetchone() or ("",)
    with psycopg.connect(feed.feed.database.dsn) as conn:
        conn.execute(
            "select set_config('role', 'scad_feed', true), set_config('scad.session', %s, true)", (token,)
        )
        patients: Any = lambda: {row[0] for row in conn.execute("select patient from scad.patient")}  # noqa: E731
        assert patients() == {"p-caen", "p-bayeux"}
        assert {row[0] for row in conn.execute("select patient from identity.person")} == {
            "p-caen",
            "p-bayeux",
        }
        for statement in WRITES:
            assert conn.execute(statement.encode()).rowcount == 0, statement
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute(
                "insert into scad.care_plan (patient, version, from_at, document, recorded_at)"
                " values ('p-bayeux', 9, now(), '{}', now())"
            )
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute("update scad.glass set expires_at = now() + interval '1 year'")
        feed.conn.execute(
            "update scad.glass set opened_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'"
        )
        assert patients() == {"p-caen"}


def test_overrides_of_a_rule_are_counted_and_reviewed(feed: RunningFeed):
    names = [str(uuid4()) for _ in range(3)]
    write_signals(feed.conn, [one_signal("p-caen", n, name) for n, name in enumerate(names, start=1)], NOW_MS)
    doctor = feed.client("medecin")
    token = {"X-CSRF-Token": csrf_of(doctor)}
    answer = doctor.post(f"/api/alerts/{names[0]}/false-alert", json={"reason": "device"}, headers=token)
    assert answer.status_code == 200, answer.text
    feed.hands.now_ms = NOW_MS + 60_000
    page = doctor.get("/review").text
    assert "Weight gain in 3 days" in page
    assert "100 %" in page
    form = {"care_team": "caen", "protocol": "heart-failure", "rule": "weight-gain-3d", "decision": "limits"}
    assert doctor.post("/review", data={"csrf": csrf_of(doctor), **form}).status_code == 422
    done = doctor.post("/review", data={"csrf": csrf_of(doctor), **form, "note": "balance à changer"})
    assert done.status_code == 303
    assert "balance à changer" in feed.client("infirmiere").get("/review").text
    assert "balance à changer" not in feed.client("bayeux").get("/review").text
    (figures,) = feed.conn.execute("select figures from scad.rule_review").fetchone() or ({},)
    assert (figures["alerts"], figures["judged"], figures["false"]) == (3, 1, 1)


def test_the_patients_list_and_sheet_are_in_plain_french_and_printable(feed: RunningFeed):
    assert feed.client("infirmiere").get("/patients/p-caen").status_code == 200
    auditor = feed.client("audit", **{"Accept-Language": "fr"})
    page = auditor.get("/patients/p-caen/accesses").text
    assert "Accès à votre dossier" in page
    assert "Claire Martin" in page
    assert "GET /patients/{patient}" in auditor.get("/audit").text
    nurse = feed.client("infirmiere")
    assert nurse.get("/patients/p-caen/accesses").status_code == 403
    for path in ("/information", "/patients/p-caen/information"):
        sheet = nurse.get(path)
        assert sheet.status_code == 200
        assert "appelez le 15 ou le 112" in sheet.text
        assert 'lang="fr"' in sheet.text


def test_an_identity_is_corrected_on_its_page_with_a_reason(feed: RunningFeed):
    feed.conn.execute("delete from identity.person where patient = 'p-caen'")
    vault, validated = vault_of_tests(), msgspec.structs.replace(WHO, reliability="VALI")
    identities.write(feed.conn, vault, "p-caen", validated, Change("test", NOW_MS, "test"))
    nurse, path = feed.client("infirmiere"), "/patients/p-caen/identity"
    page = nurse.get(path)
    assert WHO.ins is not None
    assert WHO.ins in page.text
    fields = dict(re.findall(r'<input id="i-(\w+)" name="\w+" value="([^"]*)"', page.text))
    form = {"csrf": csrf_of(nurse), **fields, "sex": "female", "ins_oid": WHO.ins_oid, "reliability": "VALI"}
    assert nurse.post(path, data={**form, "family_name": "Lefebvre"}).status_code == 422  # no reason
    wrong = nurse.post(path, data={**form, "ins": "248057500100135", "why": "typed wrong"})
    assert wrong.status_code == 422
    assert "or its key does not fit" in wrong.text
    done = nurse.post(path, data={**form, "family_name": "Lefebvre", "why": "lettre oubliée"})
    assert done.status_code == 303
    after = identities.read(feed.conn, vault, "p-caen")
    assert after == msgspec.structs.replace(WHO, family_name="Lefebvre")  # to be validated anew
    assert feed.conn.execute("select replaced_by, why from identity.former").fetchall() == [
        ("infirmiere", "lettre oubliée")
    ]
    assert feed.client("bayeux").get(path).status_code == 404
