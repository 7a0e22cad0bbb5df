"""The database server's roles, databases and settings, on the real PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest


def one(address: str, query: str) -> object:
    with psycopg.connect(address) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def test_the_owner_of_a_database_makes_hypertables_where_timescaledb_is_there(postgres, database):
    if postgres.edition == "none":
        pytest.skip("this PostgreSQL has no TimescaleDB")
    with psycopg.connect(database) as connection:
        connection.execute("create table reading (measured_at timestamptz not null, value float8)")
        connection.execute("select create_hypertable('reading', by_range('measured_at', interval '7 days'))")
        connection.execute(
            "insert into reading"
            " select t, 1 from generate_series('2026-01-01'::timestamptz, '2026-02-01', '1 day') t"
        )
        chunks = connection.execute("select count(*) from show_chunks('reading')").fetchone()
    assert chunks is not None
    assert chunks[0] >= 5


def test_the_edition_is_what_the_server_says(postgres, database):
    if postgres.edition == "none":
        assert one(postgres.admin_dsn, "select count(*) from pg_extension where extname = 'timescaledb'") == 0
    else:
        assert one(database, "show timescaledb.license") in ("apache", "timescale")
        assert (one(database, "show timescaledb.license") == "apache") == (postgres.edition == "apache")


def test_the_owner_is_no_superuser_and_may_create_roles(postgres):
    with psycopg.connect(postgres.dsn) as connection:
        row = connection.execute(
            "select rolsuper, rolcreaterole, rolbypassrls from pg_roles where rolname = current_user"
        ).fetchone()
    assert row == (False, True, False)


def test_nobody_gets_in_without_the_password(postgres):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn.replace(":", ":wrong", 2).replace("wrong//", "//"))


def test_settings_keep_what_is_committed_and_speak_utc(postgres):
    shown = {
        name: one(postgres.dsn, f"show {name}") for name in ("fsync", "jit", "timezone", "server_encoding")
    }
    assert shown == {"fsync": "on", "jit": "off", "timezone": "UTC", "server_encoding": "UTF8"}


def test_the_database_knows_the_time_zones_of_patients(postgres):
    query = "select to_char('2026-07-01 00:00Z'::timestamptz at time zone 'Europe/Paris', 'HH24')"
    assert one(postgres.dsn, query) == "02"


def test_a_template_is_copied_with_what_is_in_it_and_the_copies_are_apart(postgres):
    original = postgres.create_database("template_of_test")
    with psycopg.connect(original) as connection:
        connection.execute("create table plan (n int)")
        connection.execute("insert into plan values (7)")
    postgres.make_template("template_of_test")
    copies = [postgres.create_database(template="template_of_test") for _ in range(2)]
    with psycopg.connect(copies[0]) as connection:
        connection.execute("delete from plan")
    assert [one(copy, "select count(*) from plan") for copy in copies] == [0, 1]
    for name in (*copies, "template_of_test"):
        postgres.drop_database(name)


def test_a_database_in_use_can_be_dropped(postgres):
    address = postgres.create_database()
    with psycopg.connect(address) as connection:
        postgres.drop_database(address)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
