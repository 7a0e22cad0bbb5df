"""Single changes of enrolment in the database, and the outbox through a real broker."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer

from alerts.changes import (
    ChangeRefusedError,
    TypedIn,
    attach_device,
    manual_device,
    propose_version,
    release_device,
    save_version,
    type_in,
)
from alerts.outbox import keep_publishing
from alerts.store.connection import Connection
from devices.times import format_instant, parse_instant, to_datetime
from scad.services import Kafka
from scad.settings import Settings
from streams import topics
from streams.kafka import ensure_topics, make_consumer, started
from streams.plans import PlanVersion

NOW_MS = parse_instant("2026-03-01T08:00:00Z")[0]
HOUR = 3_600_000


@pytest.fixture
def ward(store: Connection) -> Connection:
    """Patients p-1 and p-2 of one team."""
    store.execute("insert into scad.care_team values ('caen', 'Caen')")
    for patient in ("p-1", "p-2"):
        store.execute("insert into scad.patient values (%s, 'caen', %s)", (patient, to_datetime(NOW_MS)))
    return store


def intervals(store: Connection, device: str) -> list[tuple[Any, ...]]:
    return store.execute(
        "select patient, to_at is null from scad.assignment where device = %s order by from_at", (device,)
    ).fetchall()


def test_a_device_goes_from_one_patient_to_the_next_only_after_its_release(ward: Connection):
    attach_device(ward, "p-1", "sc-1", "Balance", NOW_MS, "nurse", NOW_MS)
    with pytest.raises(ChangeRefusedError, match="device-taken"):
        attach_device(ward, "p-2", "sc-1", None, NOW_MS + HOUR, "nurse", NOW_MS + HOUR)
    with pytest.raises(ChangeRefusedError, match="device-yours"):
        attach_device(ward, "p-1", "sc-1", None, NOW_MS + HOUR, "nurse", NOW_MS + HOUR)
    with pytest.raises(ChangeRefusedError, match="device-not-yours"):
        release_device(ward, "p-2", "sc-1", NOW_MS + HOUR, "nurse", NOW_MS + HOUR)
    with pytest.raises(ChangeRefusedError, match="device-ends-before"):
        release_device(ward, "p-1", "sc-1", NOW_MS, "nurse", NOW_MS)
    release_device(ward, "p-1", "sc-1", NOW_MS + HOUR, "nurse", NOW_MS + HOUR)
    with pytest.raises(ChangeRefusedError, match="device-taken"):
        attach_device(ward, "p-2", "sc-1", None, NOW_MS, "nurse", NOW_MS + 2 * HOUR)
    attach_device(ward, "p-2", "sc-1", None, NOW_MS + 2 * HOUR, "nurse", NOW_MS + 2 * HOUR)
    assert intervals(ward, "sc-1") == [("p-1", False), ("p-2", True)]


def plan(version: int = 0, **fields: Any) -> PlanVersion:
    return PlanVersion(version=version, from_=format_instant(NOW_MS), protocols=("heart-failure",), **fields)


def test_versions_are_numbered_in_turn_and_a_stale_base_is_refused(ward: Connection):
    assert save_version(ward, "p-1", plan(), 0, "a", "doctor", NOW_MS).version == 1
    with pytest.raises(ChangeRefusedError, match="plan-moved"):
        save_version(ward, "p-1", plan(dry_weight_kg=70.0), 0, "b", "doctor", NOW_MS)
    with pytest.raises(ChangeRefusedError, match="plan-moved"):
        propose_version(ward, "p-1", plan(dry_weight_kg=70.0), 0, "b", "nurse", NOW_MS)
    first = propose_version(ward, "p-1", plan(dry_weight_kg=70.0), 1, "b", "nurse", NOW_MS)
    second = propose_version(ward, "p-1", plan(dry_weight_kg=71.0), 1, "c", "nurse", NOW_MS)
    with ward.transaction(force_rollback=True), pytest.raises(ChangeRefusedError, match="proposal-gone"):
        save_version(ward, "p-1", plan(), 1, "b", "doctor", NOW_MS, proposal=first)
    assert save_version(ward, "p-1", plan(dry_weight_kg=71.0), 1, "c", "doctor", NOW_MS, second).version == 2
    states = ward.execute("select state from scad.plan_proposal order by id").fetchall()
    assert states == [("replaced",), ("confirmed",)]


def test_the_virtual_device_of_a_long_pseudonym_still_has_a_serial():
    assert manual_device("p-1") == "manual-p-1"
    longest = manual_device("p" * 64)
    assert len(longest) <= 64
    assert longest != manual_device("q" * 64)


def test_a_value_from_before_anything_is_evaluated_is_refused(ward: Connection):
    old = TypedIn("body-weight", NOW_MS - 36 * 24 * HOUR, {"weight": 70.0})
    with pytest.raises(ChangeRefusedError, match="before-enrolment"):
        type_in(ward, "p-1", old, "nurse", NOW_MS)


@pytest.mark.slow
def test_what_the_page_saves_is_on_kafka_by_itself_with_the_assignment_first(
    ward: Connection, store_address: str, fresh_kafka: Kafka
):
    settings = Settings(kafka=fresh_kafka.bootstrap, partitions=2, database=store_address)

    async def scenario() -> list[Any]:
        await ensure_topics(settings)
        consumer: AIOKafkaConsumer = make_consumer(
            settings, topics.TELEMETRY, topics.ASSIGNMENTS, client_id="t", group_id="t"
        )
        await started(consumer, settings)
        stop = asyncio.Event()
        publishing = asyncio.create_task(keep_publishing(settings, stop))
        got: list[Any] = []

        def enter() -> None:
            with psycopg.connect(store_address) as conn:
                type_in(conn, "p-1", TypedIn("body-weight", NOW_MS, {"weight": 70.5}), "nurse", NOW_MS)

        try:
            async with asyncio.timeout(60):
                await asyncio.to_thread(enter)
                while len(got) < 2:
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        got += batch
                while await asyncio.to_thread(waiting):  # noqa: ASYNC110 - the database is asked
                    await asyncio.sleep(0.02)
        finally:
            stop.set()
            await publishing
            await consumer.stop()
        return got

    def waiting() -> bool:
        return ward.execute("select from scad.outbox").fetchone() is not None

    got = sorted(asyncio.run(scenario()), key=lambda record: record.timestamp)
    reading = next(record for record in got if record.topic == topics.TELEMETRY)
    assert reading.key == b"manual-p-1"
    assert (topics.HEADER_RECEIVED_AT, format_instant(NOW_MS).encode()) in reading.headers
    assert b'"flags":["manual"]' in reading.value
    assigned = next(record for record in got if record.topic == topics.ASSIGNMENTS)
    assert assigned.timestamp <= reading.timestamp
