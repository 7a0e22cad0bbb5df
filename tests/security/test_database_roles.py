"""What each log-in of the database may do, what is refused, and that the server says so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from deployed import ROOT
from psycopg.conninfo import make_conninfo
from stronghold import Stronghold

from scad.services import wait_until

LOG_SECONDS = 30.0
LOGINS = ("scad", "feed", "writer", "escalation", "enrol", "grafana")

MAY: dict[str, dict[str, str]] = {
    "scad_writer": {
        "reading": "select insert update(received_at too_late)",
        "reading_identity": "select insert",
        "reading_daily_rows": "select insert update",
        "reading_conflict": "select insert update",
        "signal_cursor": "select insert update",
        "writer_offset": "select insert update",
        "alert": "select insert update",
        "alert_event": "select insert",
        "quarantine": "select insert update",
        "device_status": "select insert update",
        "absence": "select",
        "patient": "select",
        "care_team": "select",
        "service_times": "select",
        "outbox": "select delete",
        "migration": "select",
    },
    "scad_escalation": {
        "alert": "select insert update",
        "alert_event": "select insert",
        "digest": "select insert",
        "notification": "select insert update",
        "notification_alert": "select insert",
        "notification_attempt": "select insert",
        "absence": "select update(begun)",
        "patient": "select",
        "care_team": "select",
        "service_times": "select",
        "signal_cursor": "select",
        "migration": "select",
        "glass": "select(id login opened_at told_at reviewed_at) update(told_at)",  # not whose file, nor why
        "account": "select(login role care_team language disabled_at)",
        "administrator_contact": "select",
        "notification_glass": "select insert",
    },
}
"""Every table of the schema `scad` that a role has any right on: nothing beyond."""


@pytest.fixture(scope="module")
def held(stronghold: Stronghold) -> Stronghold:
    return stronghold


def server_log(held: Stronghold, words: str) -> None:
    wait_until(
        lambda: words in held.database.log_path.read_text(), LOG_SECONDS, f"{words!r} in the server's log"
    )


def refused(address: str) -> str:
    with pytest.raises(psycopg.OperationalError) as error:
        psycopg.connect(address, connect_timeout=5).close()
    return str(error.value)


@pytest.mark.parametrize("user", LOGINS)
def test_no_log_in_gets_through_without_tls_or_with_a_wrong_password(held: Stronghold, user: str) -> None:
    address = held.address(user)
    assert "no encryption" in refused(make_conninfo(address, sslmode="disable"))
    server_log(
        held, f'no pg_hba.conf entry for host "127.0.0.1", user "{user}", database "scad", no encryption'
    )
    assert "password authentication failed" in refused(make_conninfo(address, password="wrong"))
    server_log(held, f'password authentication failed for user "{user}"')


def test_a_log_in_is_for_its_own_database_and_nobody_else_may_try(held: Stronghold) -> None:
    for wrong in ({"dbname": "postgres"}, {"dbname": "template1"}, {"user": "nobody"}):
        assert "no pg_hba.conf entry" in refused(make_conninfo(held.address("writer"), **wrong))
    server_log(held, 'no pg_hba.conf entry for host "127.0.0.1", user "nobody"')


def test_a_server_that_another_authority_signed_or_of_another_name_is_not_given_the_password(
    held: Stronghold, openssl: Callable[..., None], tmp_path: Path
) -> None:
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", "/CN=another", "-keyout", tmp_path / "ca.key", "-out", tmp_path / "ca.crt"),
    )
    address = held.address("writer")
    assert "certificate verify failed" in refused(
        make_conninfo(address, sslrootcert=str(tmp_path / "ca.crt"))
    )
    assert "does not match host name" in refused(make_conninfo(address, host="elsewhere"))


@pytest.mark.parametrize(
    ("user", "statement"),
    [
        ("writer", "select * from identity.person"),
        ("writer", "select * from scad.account"),
        ("writer", "select * from scad.session"),
        ("writer", "delete from scad.reading"),
        ("writer", "update scad.reading set value = 0"),
        ("writer", "delete from scad.alert"),
        ("writer", "truncate scad.alert_event"),
        ("writer", "update scad.patient set care_team = 'x'"),
        (
            "writer",
            "insert into scad.outbox (topic, key, value, headers, queued_at) values ('', '', '', '[]', now())",
        ),
        ("writer", "create table scad.mine (x int)"),
        ("writer", "create schema mine"),
        ("writer", "set role scad_service"),
        ("writer", "set role scad"),
        ("writer", "copy (select 1) to program 'true'"),
        ("escalation", "select * from identity.person"),
        ("escalation", "select * from scad.reading"),
        ("escalation", "select * from scad.account"),
        ("escalation", "delete from scad.notification_attempt"),
        ("escalation", "update scad.service_times set version = 1"),
        ("escalation", "set role scad_service"),
        ("enrol", "select * from scad.alert"),
        ("enrol", "select * from scad.reading"),
        ("enrol", "select * from scad.account"),
        ("enrol", "delete from identity.person"),
        ("enrol", "update scad.absence set to_at = now()"),
        ("enrol", "delete from scad.absence"),
        ("enrol", "set role scad_feed"),
        ("feed", "select * from scad.reading"),
        ("feed", "select * from scad.session"),
        ("feed", "drop table scad.alert"),
        ("feed", "set role scad_writer"),
        ("grafana", "select * from identity.person"),
        ("grafana", "select * from scad.account"),
        ("grafana", "select * from scad.session"),
        ("grafana", "select * from scad.alert"),
        ("grafana", "select raw from scad.quarantine"),
        ("grafana", "select note from scad.absence"),
        ("grafana", "delete from scad.reading"),
        ("grafana", "update scad.patient set care_team = 'x'"),
        ("grafana", "create table scad.mine (x int)"),
        ("grafana", "set role scad_feed"),
        ("grafana", "copy (select 1) to program 'true'"),
        ("scad", "alter role scad superuser"),
        ("scad", "copy (select 1) to program 'true'"),
    ],
)
def test_what_a_log_in_may_not_do_is_refused_and_logged(held: Stronghold, user: str, statement: str) -> None:
    before = len(held.database.log_path.read_text())
    with held.connect(user) as conn:
        conn.execute("set default_transaction_read_only = off")  # anybody may: it is no lock
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement.encode())
    wait_until(
        lambda: "ERROR:  " in (said := held.database.log_path.read_text()[before:]) and statement in said,
        LOG_SECONDS,
        "the refusal in the server's log",
    )


def test_who_may_enrol_adds_an_absence_and_sees_it(held: Stronghold) -> None:
    with held.connect("enrol") as conn, conn.transaction(force_rollback=True):
        conn.execute("insert into scad.care_team (care_team, name, time_zone) values ('away', 'x', 'UTC')")
        conn.execute(
            "insert into scad.patient (patient, care_team, enrolled_at) values ('p-away', 'away', now())"
        )
        conn.execute(
            "insert into scad.absence (patient, from_at, to_at, kind, recorded_by, recorded_at)"
            " values ('p-away', now(), now() + interval '1 day', 'hospital', 'root', now())"
        )
        assert conn.execute("select kind from scad.absence where patient = 'p-away'").fetchall() == [
            ("hospital",)
        ]


@pytest.mark.parametrize("role", sorted(MAY))
def test_a_processs_role_has_the_rights_that_it_needs_and_no_other(held: Stronghold, role: str) -> None:
    with held.connect("scad") as conn:
        rows = conn.execute(
            "select c.relname, lower(a.privilege_type), null from pg_class c, aclexplode(c.relacl) a"
            " where c.relnamespace = 'scad'::regnamespace and c.relkind in ('r', 'v', 'p')"
            " and a.grantee = %(role)s::regrole"
            " union all select c.relname, lower(a.privilege_type), t.attname from pg_class c"
            " join pg_attribute t on t.attrelid = c.oid, aclexplode(t.attacl) a"
            " where c.relnamespace = 'scad'::regnamespace and a.grantee = %(role)s::regrole",
            {"role": role},
        ).fetchall()
        elsewhere = conn.execute(
            "select count(*) from pg_class c, aclexplode(c.relacl) a"
            " where c.relnamespace = 'identity'::regnamespace and a.grantee = %s::regrole",
            (role,),
        ).fetchone()
    found = {(str(table), str(right), str(column or "")) for table, right, column in rows}
    wanted = set()
    for table, rights in MAY[role].items():
        for right, columns in re.findall(r"(\w+)(?:\(([^)]*)\))?", rights):
            wanted |= {(table, right, column) for column in (columns.split() if columns else [""])}
    assert found == wanted
    assert elsewhere == (0,)


def test_the_documentation_names_every_log_in_and_its_role() -> None:
    page = (ROOT / "docs/security.md").read_text()
    for login in LOGINS:
        assert re.search(rf"^\| `{login}` \|", page, re.MULTILINE), login
    for table in {table for rights in MAY.values() for table in rights}:
        assert f"`{table}`" in page, table
