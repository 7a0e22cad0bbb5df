from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from alerts.schema import (
    Migration,
    SchemaError,
    apply_schema,
    load_migrations,
    parse_migration,
    schema_status,
)
from alerts.store.connection import Connection
from scad.services import Postgres


def migration(number: int, text: str) -> Migration:
    return parse_migration(f"{number:04}_made_up.sql", text)


@pytest.fixture
def empty(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def test_applying_twice_changes_nothing(empty: Connection):
    applied = apply_schema(empty)
    assert applied[0] == "0001_people.sql"
    assert apply_schema(empty) == ()
    status = schema_status(empty)
    assert status.applied == applied
    assert status.pending == ()


def test_every_file_is_applied_or_named_as_for_another_edition(empty: Connection):
    apply_schema(empty)
    status = schema_status(empty)
    assert sorted((*status.applied, *status.elsewhere)) == [m.name for m in load_migrations()]


def test_before_the_first_run_everything_is_pending(empty: Connection):
    status = schema_status(empty)
    assert status.applied == ()
    assert "0003_alerts.sql" in status.pending


def test_two_appliers_at_once_apply_each_file_once(database: str):
    results: list[tuple[str, ...]] = []

    def run() -> None:
        with psycopg.connect(database, autocommit=True) as conn:
            results.append(apply_schema(conn))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(result) > 0 for result in results) == [False, False, True]


def test_an_altered_file_is_refused_by_name(empty: Connection):
    apply_schema(empty, (migration(1, "create table one ()"),))
    with pytest.raises(SchemaError, match=r"0001_made_up\.sql has been changed since it was applied"):
        apply_schema(empty, (migration(1, "create table one (a int)"),))


def test_a_file_that_this_release_does_not_know_is_refused(empty: Connection):
    apply_schema(empty, (migration(1, "select 1"), migration(2, "select 2")))
    with pytest.raises(SchemaError, match=r"0002_made_up\.sql is applied here but not part of this release"):
        apply_schema(empty, (migration(1, "select 1"),))


def test_a_failing_file_leaves_nothing_of_itself_and_keeps_those_before_it(empty: Connection):
    broken = migration(2, "create table two (); select no_such_function()")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        apply_schema(empty, (migration(1, "create table one ()"), broken))
    found = empty.execute("select to_regclass('one') is not null, to_regclass('two') is null").fetchone()
    assert found == (True, True)
    mended = migration(2, "create table two ()")
    assert apply_schema(empty, (migration(1, "create table one ()"), mended)) == ("0002_made_up.sql",)


def test_an_edition_that_lost_what_a_file_needs_is_refused(empty: Connection):
    apply_schema(empty, (migration(1, "-- needs: community\nselect 1"),), edition="community")
    with pytest.raises(SchemaError, match=r"needs community, which the installed edition \(apache\)"):
        apply_schema(empty, (migration(1, "-- needs: community\nselect 1"),), edition="apache")


def test_an_upgraded_edition_gets_the_files_it_lacked(empty: Connection):
    both = (migration(1, "-- needs: community\nselect 1"), migration(2, "-- without: community\nselect 2"))
    assert apply_schema(empty, both, edition="apache") == ("0002_made_up.sql",)
    assert apply_schema(empty, both, edition="community") == ("0001_made_up.sql",)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("one.sql", "", "0001_words.sql"),
        ("0001_a.sql", "-- needs: oracle", "known are timescaledb and community"),
    ],
)
def test_a_malformed_file_is_refused_with_its_name(name: str, text: str, said: str):
    with pytest.raises(SchemaError, match=said) as caught:
        parse_migration(name, text)
    assert name in str(caught.value)


def test_a_plain_database_moves_its_rows_when_timescaledb_comes(postgres: Postgres):
    address = postgres.create_database(template="template0")
    try:
        with psycopg.connect(address, autocommit=True) as conn:
            apply_schema(conn, edition="plain")
            conn.execute(
                """insert into scad.reading (measured_at, device, epoch, seq, digest, patient, kind, value,
                       "values", received_at, stored_at)
                   values ('2026-03-01 08:00Z', 'sc-1', 0, 1, %s, 'p-1', 'body-weight', 80,
                       '{"weight":80}', '2026-03-01 08:00Z', now())""",
                (b"0" * 16,),
            )
        if postgres.edition == "none":
            return
        with psycopg.connect(
            postgres.dsn_of(address.rpartition("/")[2], "postgres"), autocommit=True
        ) as admin:
            admin.execute("create extension timescaledb")
        with psycopg.connect(address, autocommit=True) as conn:
            assert "0005_hypertables.sql" in apply_schema(conn)
            chunks = conn.execute("select count(*) from show_chunks('scad.reading')").fetchone()
            assert chunks == (1,)
            assert conn.execute("select value from scad.reading").fetchone() == (80.0,)
    finally:
        postgres.drop_database(address)


def test_events_can_be_added_and_never_changed(store: Connection):
    store.execute(
        "insert into scad.alert_event (at, recorded_at, patient, kind, event, actor, body)"
        " values (now(), now(), 'p-1', 'action', 'noted', 'nurse', '{}')"
    )
    for statement in ("update scad.alert_event set actor = 'x'", "delete from scad.alert_event"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
            store.execute(sql.SQL(statement))
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
        store.execute("truncate scad.alert_event")


def test_an_event_becomes_visible_only_after_those_with_lower_ids(store: Connection, store_address: str):
    """The cursor of the feed must never jump over an id that commits later."""
    insert = (
        "insert into scad.alert_event (at, recorded_at, patient, kind, event, actor, body)"
        " values (now(), now(), 'p-1', 'action', 'noted', 'nurse', '{}')"
    )
    done = threading.Event()

    def second_writer() -> None:
        with psycopg.connect(store_address, autocommit=True) as other:
            other.execute(insert)
            done.set()

    with store.transaction():
        store.execute(insert)
        thread = threading.Thread(target=second_writer)
        thread.start()
        assert not done.wait(0.2)  # it waits for the first one's commit
    assert done.wait(10)
    thread.join()
    assert store.execute("select array_agg(id order by id) from scad.alert_event").fetchone() == ([1, 2],)


def test_retention_refuses_to_reach_into_the_horizon(store: Connection):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="less than 36 days"):
        store.execute("select scad.apply_retention('35 days')")
