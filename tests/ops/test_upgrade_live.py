"""An upgrade without a gap: a later release's migration comes while an old writer and an old feed are at work; new
ones take over beside them."""

from __future__ import annotations

import asyncio
import sys
import urllib.request
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import psycopg
import pytest

from alerts.schema import apply_schema, load_migrations, parse_migration
from scad.services import HOST, Kafka, Program, free_port
from scad.settings import Settings
from streams import topics
from streams.kafka import Record
from tests.streams.test_writer import ask, send, until, writing
from tests.streams.writer_records import signal, weight

pytestmark = pytest.mark.slow

LATER = """
alter table scad.reading add column of_a_later_release text;
alter table scad.alert add column of_a_later_release integer not null default 0;
create table scad.of_a_later_release (patient text primary key);
create view scad.seen_by_a_later_release as select patient, of_a_later_release from scad.alert;
"""
"""What docs/contributing.md allows: it only adds."""


def feed(folder: Path, database: str, name: str) -> Program:
    port = free_port()
    environment = {"SCAD_DATABASE": database, "SCAD_FEED_PORT": str(port), "PORT": str(port)}
    command = [sys.executable, "-m", "scad", "feed"]
    return Program(name, command, folder / name, environment, lambda: says(port) != "")


def says(port: int) -> str:
    """What /health/ready answers with 200; empty where it does not."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health/ready", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def port_of(program: Program) -> int:
    return int(program.environment()["PORT"])


def test_old_and_new_work_side_by_side_and_nothing_is_lost_or_stored_twice(
    fresh_kafka: Kafka, database: str, service_folder: Path
):
    settings = Settings(kafka=fresh_kafka.bootstrap, database=database, partitions=2)
    totals = "select (select count(*) from scad.reading), (select count(*) from scad.alert_event)"
    later = parse_migration("9000_later.sql", LATER)

    def migrate(*more: object) -> None:
        with psycopg.connect(database, autocommit=True) as conn:
            apply_schema(conn, (*load_migrations(), *more))  # type: ignore[arg-type]

    def readings(begin: int, end: int) -> list[Record]:
        return [Record(topics.READINGS, f"p-{seq}".encode(), weight(seq)) for seq in range(begin, end)]

    migrate()
    with ExitStack() as programs:
        old_feed = programs.enter_context(feed(service_folder, database, "old"))

        async def scenario() -> None:
            async with AsyncExitStack() as old_writer:
                await old_writer.enter_async_context(writing(settings))
                await send(settings, [*readings(0, 40), Record(topics.ALERTS, b"p-1", signal(1))])
                await until(lambda: ask(database, totals) == (40, 1))
                sending = asyncio.create_task(send(settings, readings(40, 80)))
                await asyncio.to_thread(migrate, later)  # while records are written
                await sending
                await send(settings, [Record(topics.ALERTS, b"p-1", signal(2))])
                await until(lambda: ask(database, totals) == (80, 2))
                await until(lambda: "newer than this release: 9000_later.sql" in says(port_of(old_feed)))
                async with writing(settings):  # the new one beside the old one, which is then stopped
                    await send(settings, readings(80, 120))
                    await until(lambda: ask(database, totals) == (120, 2))
                    await old_writer.aclose()
                    await send(settings, [*readings(120, 160), Record(topics.ALERTS, b"p-1", signal(3))])
                    await until(lambda: ask(database, totals) == (160, 3))

        asyncio.run(scenario())
        programs.enter_context(feed(service_folder, database, "new"))
        old_feed.stop()
        conflicts = "select count(*) from scad.reading_conflict"
        assert ask(database, conflicts) == (0,)
