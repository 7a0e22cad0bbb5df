"""Where the writer begins to read, and that a database which was set back gets back what it lacks."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scad.services import Kafka
from scad.settings import Settings
from streams import topics
from streams.kafka import Record
from streams.placing import first_offset
from tests.streams.test_writer import apply, ask, send, until, writing
from tests.streams.writer_records import signal, weight

offsets = st.integers(0, 20)


@given(st.none() | offsets, st.none() | offsets, offsets, offsets, st.booleans())
def test_nothing_that_kafka_still_has_is_skipped_unless_both_sides_have_passed_it(
    stored: int | None, committed: int | None, begin: int, more: int, empty: bool
):
    end = begin + more
    first, lost = first_offset(stored, committed, begin, end, empty)
    assert first >= begin
    for known in (stored, committed):
        if known is not None and known <= end and not (known is committed and stored is None and empty):
            assert first <= max(begin, known)
    if committed is None or (stored is None and empty):
        assert first == begin
    another_log = stored is not None and stored > end
    known_to_both = [known for known in (stored, committed) if known is not None]
    if another_log or not known_to_both or (stored is None and empty):
        assert lost == 0
    else:
        assert lost == max(0, begin - min(known_to_both))


@pytest.mark.parametrize(
    ("stored", "committed", "lost"),
    [(100, None, 400), (None, 100, 400), (100, 200, 400), (500, None, 0), (600, None, 0), (None, None, 0)],
)
def test_what_expired_while_the_writer_was_away_is_counted_even_where_kafka_forgot_the_group(
    stored: int | None, committed: int | None, lost: int
):
    assert first_offset(stored, committed, begin=500, end=900, empty=False) == (500, lost)


def everything(readings: int) -> list[Record]:
    return [Record(topics.READINGS, b"p-1", weight(seq)) for seq in range(readings)] + [
        Record(topics.ALERTS, b"p-1", signal(n)) for n in range(1, 4)
    ]


def rewind(database: str, admin: str) -> None:
    """What a restored backup looks like to a writer that ran meanwhile: older rows, older offsets, a cut line."""
    with psycopg.connect(database, autocommit=True) as conn, conn.transaction():
        conn.execute("delete from scad.reading where seq >= 10")
        conn.execute("delete from scad.reading_identity where seq >= 10")
        conn.execute("update scad.writer_offset set next_offset = 0")
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'scad-writer'"
        )


@pytest.mark.slow
def test_a_writer_that_runs_gives_a_database_that_was_set_back_all_that_it_lacks(
    fresh_kafka: Kafka, database: str, postgres
):
    settings = Settings(kafka=fresh_kafka.bootstrap, database=database, partitions=2)
    apply(database)
    totals = "select (select count(*) from scad.reading), (select count(*) from scad.alert_event)"

    async def scenario() -> None:
        await send(settings, everything(50))
        async with writing(settings):
            await until(lambda: ask(database, totals) == (50, 3))
            await asyncio.to_thread(rewind, database, postgres.admin_dsn)
            await send(settings, everything(60)[50:60])
            await until(lambda: ask(database, totals) == (60, 3))
            moved = "select sum(next_offset) from scad.writer_offset"
            await until(lambda: ask(database, moved) == (63,))  # every record has its place

    asyncio.run(scenario())
