from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from aiokafka import ConsumerRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.schema import apply_schema
from alerts.store.connection import Connection
from scad.services import Postgres
from streams import topics
from streams.writing import write_batch
from tests.streams.writer_records import START_MS, refusal, signal, status, weight

NOW_MS = START_MS + 60_000

offsets = iter(range(10**9))


@pytest.fixture(scope="module")
def template(postgres: Postgres) -> str:
    name = "scad_writing"
    with psycopg.connect(postgres.create_database(name), autocommit=True) as conn:
        apply_schema(conn)
    postgres.make_template(name)
    return name


@pytest.fixture
def store(postgres: Postgres, template: str) -> Iterator[Connection]:
    address = postgres.create_database(template=template)
    with psycopg.connect(address, autocommit=True) as conn:
        yield conn
    postgres.drop_database(address)


def record(topic: str, value: bytes | None, key: bytes = b"sc-1", offset: int | None = None) -> Any:
    return ConsumerRecord(
        topic=topic,
        partition=0,
        offset=next(offsets) if offset is None else offset,
        timestamp=NOW_MS,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=len(key),
        serialized_value_size=len(value or b""),
        headers=(),
    )


def poison(store: Connection) -> list[tuple[Any, ...]]:
    return store.execute(
        "select source_topic, reason, detail, raw from scad.quarantine"
        " where source_topic <> 'scad.quarantine' or reason in ('undecodable-record', 'refused-by-database')"
        " order by source_offset"
    ).fetchall()


def count(store: Connection, table: str) -> int:
    row = store.execute(f"select count(*) from scad.{table}").fetchone()
    assert row is not None
    return int(row[0])


def test_a_mixed_batch_reaches_every_table(store: Connection):
    batch = [
        record(topics.READINGS, weight(1)),
        record(topics.ALERTS, signal(1)),
        record(topics.QUARANTINE, refusal()),
        record(topics.STATUS, status("2026-03-01T08:00:00Z", state="online", battery=80, firmware="1.2")),
        record(topics.STATUS, status("2026-03-01T09:00:00Z", state="offline")),
        record(topics.STATUS, status("2026-03-01T08:30:00Z", state="online", battery=79)),
    ]
    written = write_batch(store, batch, NOW_MS)
    assert written.counts[topics.READINGS, "stored"] == 1
    assert [count(store, table) for table in ("reading", "alert", "quarantine")] == [1, 1, 1]
    found = store.execute("select state, battery, firmware from scad.device_status").fetchone()
    assert found == ("offline", 79, "1.2")
    again = write_batch(store, batch, NOW_MS)
    assert again.counts[topics.READINGS, "duplicate"] == 1
    assert again.counts[topics.ALERTS, "duplicate"] == 1
    assert store.execute("select times from scad.quarantine").fetchone() == (1,)


@pytest.mark.parametrize("topic", [topics.READINGS, topics.ALERTS, topics.QUARANTINE, topics.STATUS])
@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"{}", b'{"at":1}', None])
def test_a_record_that_is_no_message_goes_to_quarantine(store: Connection, topic: str, value: bytes | None):
    write_batch(store, [record(topic, value, offset=41), record(topics.READINGS, weight(1))], NOW_MS)
    ((where, reason, detail, raw),) = poison(store)
    assert (where, reason, raw) == (topic, "undecodable-record", value or b"")
    assert detail.startswith(f"{topic}[0] offset 41: ")
    assert count(store, "reading") == 1


@pytest.mark.parametrize(
    ("topic", "value", "error"),
    [
        (topics.READINGS, weight(2**63), "NumericValueOutOfRange"),
        (topics.READINGS, weight(2, device="a\x00b"), "DataError"),
        (topics.READINGS, weight(2, values={"weight": 80.0, "note": "\x00"}), "UntranslatableCharacter"),
        (topics.ALERTS, signal(2, alert="no uuid"), "InvalidTextRepresentation"),
        (topics.ALERTS, signal(2, at="yesterday"), "BadTimeError"),
        (topics.STATUS, status("2026-03-01T08:00:00Z", state="asleep"), "CheckViolation"),
        (topics.QUARANTINE, refusal(epoch=2**63), "NumericValueOutOfRange"),
    ],
)
def test_what_the_database_refuses_goes_to_quarantine_and_the_rest_is_written(
    store: Connection, topic: str, value: bytes, error: str
):
    batch = [record(topics.READINGS, weight(seq)) for seq in range(10, 20)]
    batch += [record(topics.ALERTS, signal(1))]
    batch.insert(4, record(topic, value, offset=99))
    written = write_batch(store, batch, NOW_MS)
    assert written.counts[topic, "poison"] == 1
    ((where, reason, detail, raw),) = poison(store)
    assert (where, reason, raw) == (topic, "refused-by-database", value)
    assert detail.startswith(f"{topic}[0] offset 99: {error}")
    assert count(store, "reading") == 10
    assert count(store, "alert") == 1


def test_a_signal_number_with_other_content_is_kept_aside(store: Connection):
    write_batch(store, [record(topics.ALERTS, signal(1))], NOW_MS)
    written = write_batch(store, [record(topics.ALERTS, signal(1, severity="low"))], NOW_MS)
    assert written.counts[topics.ALERTS, "conflict"] == 1
    assert store.execute("select reason from scad.quarantine").fetchall() == [("signal-conflict",)]
    assert store.execute("select severity from scad.alert").fetchone() == ("high",)


def test_a_refusal_that_comes_again_from_further_on_is_counted_and_open_again(store: Connection):
    write_batch(store, [record(topics.QUARANTINE, refusal(), offset=5)], NOW_MS)
    store.execute("update scad.quarantine set state = 'replayed'")
    write_batch(store, [record(topics.QUARANTINE, refusal(), offset=5)], NOW_MS)
    assert store.execute("select state, times from scad.quarantine").fetchone() == ("replayed", 1)
    write_batch(store, [record(topics.QUARANTINE, refusal(), offset=8)], NOW_MS)
    assert store.execute("select state, times from scad.quarantine").fetchone() == ("open", 2)


def test_a_reading_that_passes_after_a_replay_resolves_its_entry(store: Connection):
    write_batch(store, [record(topics.QUARANTINE, refusal())], NOW_MS)
    write_batch(store, [record(topics.READINGS, weight(7))], NOW_MS)
    assert store.execute("select state from scad.quarantine").fetchone() == ("open",)
    store.execute("update scad.quarantine set state = 'replayed'")
    write_batch(store, [record(topics.READINGS, weight(7))], NOW_MS)
    assert store.execute("select state from scad.quarantine").fetchone() == ("resolved",)


def test_two_writers_at_once_store_everything_once(store: Connection):
    """A writer that is about to lose its partitions and the one that takes over write the same records."""
    batches = [
        [record(topics.READINGS, weight(seq)) for seq in range(start, start + 50)]
        + [record(topics.ALERTS, signal(n)) for n in range(1, start // 10 + 2)]
        for start in range(0, 300, 25)
    ]

    def write(order: int) -> None:
        with psycopg.connect(store.info.dsn, password=store.info.password, autocommit=True) as conn:
            for batch in batches[::order]:
                while True:
                    try:
                        write_batch(conn, batch, NOW_MS)
                        break
                    except psycopg.errors.DeadlockDetected:
                        continue  # as the writer does: the same batch again

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, (1, -1, 1)))
    assert count(store, "reading") == 325
    assert store.execute(
        "select last_n, (select count(*) from scad.alert_event) from scad.alert"
    ).fetchone() == (
        28,
        28,
    )
    assert store.execute("select sum(n) from scad.reading_daily").fetchone() == (325,)


def test_a_database_without_the_schema_is_no_records_fault(database: str):
    with (
        psycopg.connect(database, autocommit=True) as conn,
        pytest.raises(psycopg.errors.UndefinedTable),
    ):
        write_batch(conn, [record(topics.READINGS, weight(1))], NOW_MS)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bad=st.sets(st.integers(0, 39), max_size=6), size=st.integers(1, 40))
def test_any_number_of_bad_records_anywhere_costs_only_themselves(
    store: Connection, bad: set[int], size: int
):
    start = next(offsets) * 1000 + 1
    batch = [
        record(topics.READINGS, weight(start + i, device="a\x00b" if i in bad else "sc-1"))
        for i in range(size)
    ]
    before = count(store, "reading"), count(store, "quarantine")
    written = write_batch(store, batch, NOW_MS)
    expected = len([i for i in bad if i < size])
    assert written.counts[topics.READINGS, "poison"] == expected
    assert (count(store, "reading"), count(store, "quarantine")) == (
        before[0] + size - expected,
        before[1] + expected,
    )
