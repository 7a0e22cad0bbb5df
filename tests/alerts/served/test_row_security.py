"""Row-level security with raw SQL under the feed's role: no row of another team, and none at all without a viewer.

Tables come from the catalogue: one that is new, and about which nothing is decided here, fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from made_up_ward import NOW_MS, PASSWORD, add_patient, enrol, one_signal
from psycopg import sql

from alerts.feed.accounts import create_account
from alerts.store import write_readings, write_signals
from devices.readings import Reading
from devices.times import to_datetime
from scad.services import Postgres

Connection = psycopg.Connection[Any]

# Tables that scad_feed reads and writes as its session's teams allow.
GUARDED = {
    "identity.caregiver",
    "identity.erasure",
    "identity.former",
    "identity.index_key",
    "identity.link",
    "identity.person",
    "scad.absence",
    "scad.access_event",
    "scad.administrator_contact",
    "scad.account",
    "scad.alert",
    "scad.assignment",
    "scad.care_plan",
    "scad.care_team",
    "scad.caregiver_access",
    "scad.device",
    "scad.device_status",
    "scad.digest",
    "scad.glass",
    "scad.manual_reading",
    "scad.notification",
    "scad.notification_alert",
    "scad.notification_attempt",
    "scad.notification_glass",
    "scad.outbox",
    "scad.patient",
    "scad.plan_proposal",
    "scad.quarantine",
    "scad.questionnaire_sitting",
    "scad.recovery_code",
    "scad.research_objection",
    "scad.rule_review",
    "scad.second_factor",
    "scad.service_times",
    "scad.session",
    "scad.tablet",
}
# Names of migrations; events' ids, which are the page's cursor.
OPEN = {"scad.migration"}
# Views: those that are barriers, and those that read with the rights of whoever asks.
VIEWS = {"scad.my_reading", "scad.my_reading_daily", "scad.my_alert_event", "scad.queue"} | {
    f"scad.cared_{what}" for what in ("reading", "alert", "day", "plan", "absence")
}
SESSIONS = {"infirmiere": b"n", "bayeux": b"b", "audit": b"a", "ops": b"o", "admin": b"d"}


@pytest.fixture(scope="module")
def address(postgres: Postgres, schema_template: str) -> Iterator[str]:
    """Two teams with a patient each: readings, an alert, a plan, a device; a session for each person."""
    address = postgres.create_database(template=schema_template)
    with psycopg.connect(address, autocommit=True) as conn:
        enrol(conn, NOW_MS)
        create_account(conn, "admin", PASSWORD, "administrator", None, at=to_datetime(NOW_MS))
        for index, team in enumerate(("caen", "bayeux")):
            fill_team(conn, team, index)
        for login, letter in SESSIONS.items():
            open_session(conn, login, letter * 32)
    yield address
    postgres.drop_database(address)


def open_session(conn: Connection, login: str, token_hash: bytes, stage: str = "full") -> None:
    conn.execute(
        "insert into scad.session (token_hash, login, csrf_token, created_at, last_seen_at, expires_at, stage)"
        " values (%s, %s, 'x', now(), now(), now() + interval '1 hour', %s)",
        (token_hash, login, stage),
    )


def fill_team(conn: Connection, team: str, index: int) -> None:
    patient = f"p-{team}"
    device = add_patient(conn, patient, team, index, "body-weight", NOW_MS)
    reading = Reading(
        device=device,
        seq=1,
        kind="body-weight",
        measured_at_ms=NOW_MS,
        received_at_ms=NOW_MS,
        values={"weight": 80.0},
        patient=patient,
    )
    write_readings(conn, [reading], NOW_MS)
    write_signals(conn, [one_signal(patient, 1, str(uuid4()))], NOW_MS)
    for table, columns, values in (
        (
            "scad.care_plan",
            "patient, version, from_at, document, recorded_at",
            (patient, 1, "now", "{}", "now"),
        ),
        ("scad.device_status", "device, state, received_at", (device, "online", "now")),
        ("scad.tablet", "device, patient, issued_by, issued_at", (device, patient, "infirmiere", "now")),
        (
            "scad.questionnaire_sitting",
            "sitting, patient, device, seq, at, version, answers, advice, followed, red",
            (str(uuid4()), patient, device, 1, "now", "1", "[]", "[]", "{}", False),
        ),
        (
            "scad.research_objection",
            "patient, objects, recorded_at, recorded_by",
            (patient, True, "now", "infirmiere"),
        ),
        (
            "scad.quarantine",
            "id, device, reason, detail, received_at, raw, source_topic, source_partition, source_offset, stored_at",
            (f"q-{team}", device, "not-json", "", "now", b"x", "t", 0, 0, "now"),
        ),
    ):
        marks = sql.SQL(", ").join(sql.Placeholder() * len(values))
        conn.execute(
            sql.SQL("insert into {} ({}) values ({})").format(sql.SQL(table), sql.SQL(columns), marks), values
        )


@pytest.fixture
def conn(address: str) -> Iterator[Connection]:
    """As the feed has it, in a transaction that is rolled back."""
    with psycopg.connect(address) as conn:
        conn.execute("set local role scad_feed")
        yield conn
        conn.rollback()


def become(conn: Connection, login: str | None) -> None:
    token = SESSIONS[login] * 32 if login else b""
    conn.execute("select set_config('scad.session', %s, true)", (token.hex(),))


def patients(conn: Connection, relation: LiteralString) -> set[str]:
    return {row[0] for row in conn.execute(sql.SQL("select patient from {}").format(sql.SQL(relation)))}


def relations(conn: Connection, condition: LiteralString) -> set[str]:
    found = conn.execute(
        sql.SQL(
            "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname in ('scad', 'identity') and {}"
        ).format(sql.SQL(condition))
    )
    return {row[0] for row in found}


READABLE: LiteralString = "(has_table_privilege('scad_feed', c.oid, 'select')" \
    " or has_any_column_privilege('scad_feed', c.oid, 'select'))"  # fmt: skip


def test_every_relation_that_the_feed_may_read_is_guarded(address: str):
    with psycopg.connect(address) as owner:
        tables = relations(owner, f"c.relkind in ('r', 'p') and {READABLE}")
        secured = relations(owner, "c.relkind in ('r', 'p') and c.relrowsecurity")
        views = relations(owner, f"c.relkind in ('v', 'm') and {READABLE}")
    undecided = tables - GUARDED - OPEN - {"scad.alert_event"}
    assert undecided == set(), "decide in a migration (scad.guard_by_patient) and here who may see their rows"
    assert GUARDED - secured == set()
    assert views == VIEWS


def test_of_events_the_feed_reads_the_ids_only(address: str):
    with psycopg.connect(address) as owner:
        columns = owner.execute(
            "select attname from pg_attribute where attrelid = 'scad.alert_event'::regclass and attnum > 0"
            " and not attisdropped and has_column_privilege('scad_feed', attrelid, attnum, 'select')"
        ).fetchall()
    assert columns == [("id",)]


def test_a_view_is_a_barrier_or_reads_with_the_rights_of_whoever_asks(address: str):
    with psycopg.connect(address) as owner:
        safe = relations(
            owner,
            "c.relkind = 'v' and (c.reloptions @> '{security_barrier=true}'"
            " or c.reloptions @> '{security_invoker=true}')",
        )
    assert safe >= VIEWS


@pytest.mark.parametrize("relation", sorted(GUARDED | VIEWS))
def test_without_a_viewer_there_is_no_row(conn: Connection, relation: str):
    become(conn, None)
    found = conn.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
        " and has_column_privilege(attrelid, attnum, 'select') order by attnum limit 1",
        (relation,),
    ).fetchone()
    if found is not None:
        query = sql.SQL("select {} from {}").format(sql.Identifier(found[0]), sql.SQL(relation))  # type: ignore[arg-type]
        assert conn.execute(query).fetchall() == []


def with_patients(conn: Connection) -> set[str]:
    return relations(
        conn,
        "c.relkind in ('r', 'v', 'm') and exists (select from pg_attribute a where a.attrelid = c.oid"
        " and a.attname = 'patient' and has_column_privilege('scad_feed', c.oid, a.attnum, 'select'))",
    )


@pytest.mark.parametrize(("login", "team"), [("infirmiere", "caen"), ("bayeux", "bayeux")])
def test_a_person_sees_the_rows_of_the_own_team_in_every_relation_and_no_other(
    conn: Connection, login: str, team: str
):
    become(conn, login)
    empty = set()
    for relation in with_patients(conn):
        found = patients(conn, relation)  # type: ignore[arg-type]
        assert found <= {f"p-{team}"}, relation
        if not found:
            empty.add(relation)
    assert empty <= {
        "identity.caregiver",
        "scad.caregiver_access",
        *(view for view in VIEWS if "cared_" in view),
        "identity.erasure",
        "identity.former",
        "identity.link",
        "scad.glass",
        "scad.absence",
        "scad.plan_proposal",
        "scad.manual_reading",
    }  # nothing is in them


def test_an_auditor_without_a_team_sees_all_and_changes_nothing(conn: Connection):
    become(conn, "audit")
    for relation in with_patients(conn):
        assert patients(conn, relation) <= {"p-caen", "p-bayeux"}  # type: ignore[arg-type]
    assert patients(conn, "scad.alert") == patients(conn, "scad.my_reading") == {"p-caen", "p-bayeux"}
    assert conn.execute("update scad.alert set unit = 'x'").rowcount == 0


@pytest.mark.parametrize("login", ["ops", "admin"])
def test_engineers_and_administrators_see_no_patient(conn: Connection, login: str):
    become(conn, login)
    for relation in with_patients(conn):
        assert patients(conn, relation) == set()  # type: ignore[arg-type]


def test_devices_and_what_they_said_are_those_of_the_team(conn: Connection):
    become(conn, "infirmiere")
    for relation in ("scad.device", "scad.device_status", "scad.quarantine"):
        found = conn.execute(sql.SQL("select device from {}").format(sql.SQL(relation))).fetchall()
        assert found == [("bo-0000",)], relation
    become(conn, "ops")
    assert len(conn.execute("select raw from scad.quarantine").fetchall()) == 2
    assert conn.execute("select from scad.assignment").fetchall() == []


def test_settings_and_digests_of_a_team_are_shown_to_it_and_to_who_looks_after_the_platform(conn: Connection):
    conn.execute("reset role")
    for team in ("caen", "bayeux"):
        conn.execute("insert into scad.digest values (%s, '2026-11-20', now(), 1)", (team,))
        conn.execute(
            "insert into scad.service_times (care_team, version, document, recorded_at, recorded_by)"
            " values (%s, 1, '{}', now(), 'admin')",
            (team,),
        )
    conn.execute("set local role scad_feed")
    both = {"caen", "bayeux"}
    seen = {  # by table: nurse of caen, of bayeux, engineer, administrator, auditor of all teams
        "scad.service_times": ({"caen"}, {"bayeux"}, set(), both, both),
        "scad.digest": ({"caen"}, {"bayeux"}, both, both, both),
    }
    for relation, expected in seen.items():
        query = sql.SQL("select care_team from {}").format(sql.SQL(relation))  # type: ignore[arg-type]
        for login, teams in zip(("infirmiere", "bayeux", "ops", "admin", "audit"), expected, strict=True):
            become(conn, login)
            assert {row[0] for row in conn.execute(query)} == teams, (relation, login)
    become(conn, "infirmiere")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(
            "insert into scad.service_times (care_team, version, document, recorded_at, recorded_by)"
            " values ('caen', 2, '{}', now(), 'infirmiere')"
        )


def test_functions_that_look_past_the_guards_ask_who_looks(conn: Connection):
    last = "select patient from scad.last_readings(array['p-caen', 'p-bayeux'], array['body-weight'], '-infinity')"
    become(conn, "infirmiere")
    assert conn.execute(last).fetchall() == [("p-caen",)]
    become(conn, None)
    assert conn.execute(last).fetchall() == []


@pytest.mark.parametrize(
    "statement",
    [
        "select * from scad.reading",
        "select patient from scad.alert_event",
        "select * from scad.reading_daily",
        "select * from scad.reading_identity",
        "select * from scad.signal_cursor",
        "select password_hash from scad.account",
        "select token_hash from scad.session",
        "select secret from scad.second_factor",
        "select code_hash from scad.recovery_code",
        "select token_hash from scad.tablet",
        "select code_hash from scad.tablet",
        "select code_hash from scad.caregiver_access",
        "select scad.care_join('', '', '', '', now())",
        "select scad.my_care_access()",
        "select scad.tablet_link('', '', now())",
        "select scad.tablet_of('', now())",
        "select value from scad.outbox",
        "select scad.my_account()",
        "delete from scad.account",
        "delete from scad.access_event",
        "update scad.migration set name = name",
    ],
)
def test_what_no_viewer_needs_is_closed(conn: Connection, statement: LiteralString):
    become(conn, "infirmiere")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into scad.alert_event (at, recorded_at, patient, kind, event, actor, body)"
        " values (now(), now(), 'p-bayeux', 'action', 'note', 'infirmiere', '{}')",
        "insert into scad.care_plan (patient, version, from_at, document, recorded_at)"
        " values ('p-bayeux', 2, now(), '{}', now())",
        "insert into scad.patient values ('p-new', 'bayeux', now())",
        "insert into identity.person values ('p-bayeux', 'a', 'b', '1950-01-01', 'female')",
        "insert into scad.care_team (care_team, name) values ('mine', 'Mine')",
        "insert into scad.account (login, display_name, password_hash, role, created_at)"
        " values ('me2', 'Me', '$argon2id$x', 'administrator', now())",
    ],
)
def test_nothing_is_written_about_another_team_nor_beyond_the_role(
    conn: Connection, statement: LiteralString
):
    become(conn, "infirmiere")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(statement)


def test_rows_of_another_team_cannot_be_changed_nor_given_away(conn: Connection):
    become(conn, "infirmiere")
    assert conn.execute("update scad.alert set unit = 'x' where patient = 'p-bayeux'").rowcount == 0
    assert conn.execute("update scad.account set role = 'administrator'").rowcount == 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("update scad.patient set care_team = 'bayeux' where patient = 'p-caen'")


def test_a_disabled_account_or_a_password_alone_shows_nothing(address: str):
    with psycopg.connect(address) as conn:
        open_session(conn, "infirmiere", b"s" * 32, "code")
        conn.execute("update scad.account set disabled_at = now() where login = 'bayeux'")
        conn.execute("set local role scad_feed")
        for token in (b"s" * 32, SESSIONS["bayeux"] * 32):
            conn.execute("select set_config('scad.session', %s, true)", (token.hex(),))
            assert conn.execute("select from scad.patient").fetchall() == []
        conn.rollback()


def test_the_feeds_role_inherits_neither_of_the_others(address: str):
    with psycopg.connect(address) as owner:
        for role in ("scad_service", "scad_login"):
            row = owner.execute(
                "select pg_has_role('scad_feed', %s, 'usage'), pg_has_role('scad_feed', %s, 'set')",
                (role, role),
            ).fetchone()
            assert row == (False, True)


def test_the_log_in_sees_no_patient_and_the_service_every_team(address: str):
    with psycopg.connect(address) as conn:
        conn.execute("set local role scad_service")
        assert {f"p-{team}" for team in ("caen", "bayeux")} <= patients(conn, "scad.my_reading")
        conn.rollback()
        conn.execute("set local role scad_login")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select * from scad.patient")
