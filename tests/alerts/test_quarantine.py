from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from alerts.quarantine import Selection, list_entries, replay_entries
from alerts.store import QuarantineRow, quarantine_id, write_quarantine, write_readings
from alerts.store.connection import Connection
from devices.decode import decode_payload
from devices.readings import Reading
from devices.times import parse_instant
from scad.main import build_app
from scad.services import Kafka
from scad.settings import Settings
from streams import topics
from streams.kafka import ensure_topics, header, make_consumer, make_producer, started

RECEIVED_MS = parse_instant("2026-03-01T08:00:00Z")[0]
NOW_MS = RECEIVED_MS + 3_600_000
GOOD = (
    b'{"v":1,"device":"sc-1","seq":7,"kind":"body-weight","measured_at":"2026-03-01T07:59:00Z",'
    b'"values":{"weight":80.0}}'
)

offsets = iter(range(1, 10**9))


def entry(raw: bytes = GOOD, reason: str = "not-assigned", **changes: Any) -> QuarantineRow:
    row = QuarantineRow(
        id=quarantine_id("sc-1", raw, reason),
        device="sc-1",
        seq=7,
        reason=reason,
        detail="nobody had the device then",
        raw=raw,
        received_at_ms=RECEIVED_MS,
        source_topic=topics.QUARANTINE,
        source_partition=0,
        source_offset=next(offsets),
    )
    return msgspec.structs.replace(row, **changes)


def test_entries_are_selected_by_device_reason_time_and_state(store: Connection):
    first, second = entry(), entry(b"\xff", "not-json", device="sc-2", received_at_ms=RECEIVED_MS + 1000)
    write_quarantine(store, [first, second], NOW_MS)

    def found(**fields: Any) -> list[str]:
        return [e.reason for e in list_entries(store, Selection(**fields))]

    assert found() == ["not-assigned", "not-json"]
    assert found(device="sc-2") == ["not-json"]
    assert found(reason="not-assigned") == ["not-assigned"]
    assert found(since_ms=RECEIVED_MS + 500) == ["not-json"]
    assert found(ids=(first.id,)) == ["not-assigned"]
    store.execute("update scad.quarantine set state = 'resolved' where device = 'sc-1'")
    assert found() == ["not-json"]
    assert found(unresolved=False) == ["not-assigned", "not-json"]


def test_what_postgresql_cannot_keep_in_a_text_is_shown_escaped(store: Connection):
    write_quarantine(store, [entry(b"\x00", detail="came: '\x00' \ud800")], NOW_MS)
    (shown,) = list_entries(store, Selection())
    assert shown.detail == "came: '\\0' \\ud800"
    assert shown.raw == b"\x00"


@pytest.mark.slow
def test_bytes_go_through_again_as_they_came_and_are_resolved_when_stored(
    store: Connection, fresh_kafka: Kafka
):
    settings = Settings(kafka=fresh_kafka.bootstrap, partitions=2)
    unread = entry(GOOD.replace(b'"seq":7', b'"seq":8'), "unknown-kind", seq=None)
    poison = entry(
        b"not JSON", "undecodable-record", source_topic=topics.READINGS, source_partition=1, source_key=b"p-1"
    )
    write_quarantine(store, [entry(), unread, poison], NOW_MS)

    async def scenario() -> list[Any]:
        await ensure_topics(settings)
        producer = await make_producer(settings, "test")
        assert await replay_entries(store, producer, Selection(), NOW_MS) == 3
        await producer.stop()
        consumer = make_consumer(settings, topics.TELEMETRY, topics.READINGS, client_id="t", group_id="t")
        await started(consumer, settings)
        got: list[Any] = []
        async with asyncio.timeout(30):
            while len(got) < 3:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    got += batch
        await consumer.stop()
        return got

    got = asyncio.run(scenario())
    sent = {record.value: record for record in got if record.topic == topics.TELEMETRY}
    assert set(sent) == {GOOD, unread.raw}
    record = sent[GOOD]
    assert record.key == b"sc-1"
    assert header(record.headers, topics.HEADER_RECEIVED_AT) == "2026-03-01T08:00:00.000+00:00"
    assert header(record.headers, topics.HEADER_MQTT_TOPIC) == "scad/v1/sc-1/readings"
    (back,) = [record for record in got if record.topic == topics.READINGS]
    assert (back.key, back.partition, back.value) == (b"p-1", 1, b"not JSON")

    states = "select seq, state from scad.quarantine where source_topic = 'scad.quarantine' order by seq"
    assert store.execute(states.encode()).fetchall() == [(7, "replayed"), (8, "replayed")]
    (reading,) = decode_payload(GOOD, "sc-1", RECEIVED_MS)
    assert isinstance(reading, Reading)
    write_readings(store, [msgspec.structs.replace(reading, patient="p-1")], NOW_MS)
    assert store.execute(states.encode()).fetchall() == [(7, "resolved"), (8, "replayed")]
    write_quarantine(store, [msgspec.structs.replace(unread, source_offset=next(offsets))], NOW_MS)
    assert store.execute(states.encode()).fetchall() == [(7, "resolved"), (8, "open")]


def test_the_command_lists_as_text_and_as_json(store: Connection, store_address: str):
    write_quarantine(store, [entry(), entry(b"\xff", "not-json", seq=None)], NOW_MS)
    runner, env = CliRunner(), {"SCAD_DATABASE": store_address}
    text = runner.invoke(build_app(), ["quarantine", "list"], env=env).stdout.splitlines()
    assert len(text) == 2
    assert any("not-assigned  nobody had the device then" in line for line in text)
    lines = runner.invoke(build_app(), ["quarantine", "list", "--json"], env=env).stdout.splitlines()
    shown = {item["reason"]: item for item in map(json.loads, lines)}
    assert json.loads(shown["not-assigned"]["raw"])["seq"] == 7
    assert shown["not-json"]["raw"] == {"base64": "/w=="}


@pytest.mark.parametrize(
    "words", [["quarantine", "list", "--since", "yesterday"], ["quarantine", "replay"], ["enrol"]]
)
def test_wrong_usage_ends_with_2(words: list[str]):
    assert (
        CliRunner().invoke(build_app(), words, env={"SCAD_DATABASE": "postgresql://nowhere"}).exit_code == 2
    )
