"""`scad check` on real services with things broken one by one: each is named, with its remedy."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psycopg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from deployed import ComposedMosquitto, make_secrets, need_openssl
from typer.testing import CliRunner

from alerts.schema import apply_schema
from scad.backups import Backup, Folder
from scad.checks import Finding, check_all
from scad.checks import database as database_checks
from scad.checks import kafka as kafka_checks
from scad.checks.certificates import check_certificates
from scad.checks.database import check_database
from scad.checks.kafka import check_kafka
from scad.checks.mqtt import check_mqtt
from scad.checks.run import check_backups, check_disk, check_process
from scad.clock import Clock
from scad.main import build_app
from scad.services import Kafka, Mosquitto, free_port
from scad.settings import Settings
from streams import topics
from streams.kafka import WORKER_GROUP, ensure_topics, make_consumer, make_producer, started

pytestmark = pytest.mark.slow


def faults(found: list[Finding]) -> list[str]:
    return [finding.what for finding in found if finding.state == "fault"]


def named(found: list[Finding], *words: str) -> Finding:
    """The one fault or warning that says all of these."""
    (only,) = (each for each in found if each.state != "ok" and all(word in each.what for word in words))
    assert only.remedy
    return only


def test_every_setting_that_cannot_be_used_is_named_at_once():
    found = check_all({"SCAD_PARTITIONS": "many", "SCAD_KAFKA_CA": "x", "SCAD_CLOCK": "noon"})
    assert [finding.part for finding in found] == ["settings"] * 3
    for word in ("SCAD_PARTITIONS='many'", "SCAD_CLOCK='noon'", "SCAD_KAFKA_CA is given"):
        assert named(found, word).state == "fault"


# ── MQTT ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bridges_log_in_and_the_access_list_are_tried(mosquitto: Mosquitto):
    right = Settings(mqtt=mosquitto.address, mqtt_password=mosquitto.bridge_password)
    assert faults(check_mqtt(right)) == []
    assert [finding.what for finding in check_mqtt(right)][1:] == [
        "the bridge may publish receipts",
        "the access list is in force",
    ]
    wrong = msgspec.structs.replace(right, mqtt_password="wrong")
    assert named(check_mqtt(wrong), "refuses the log-in").remedy.startswith("SCAD_MQTT_USER")
    away = msgspec.structs.replace(right, mqtt=f"127.0.0.1:{free_port()}")
    assert "is mosquitto running" in named(check_mqtt(away), "refused").remedy


def test_a_broker_without_an_access_list_is_found(mosquitto: Mosquitto, service_folder: Path):
    class Open(Mosquitto):
        def prepare(self) -> None:
            super().prepare()
            config = self.folder / "mosquitto.conf"
            kept = [line for line in config.read_text().splitlines() if not line.startswith("acl_file")]
            config.write_text("\n".join([*kept, "allow_anonymous true"]).replace("allow_anonymous false", ""))

        def answers(self) -> bool:
            return self.running and self.log_path.exists() and "running" in self.log_path.read_text()

    with Open(service_folder / "open") as broker:
        found = check_mqtt(Settings(mqtt=broker.address, mqtt_password=broker.bridge_password))
    assert "mosquitto.acl" in named(found, "no access list").remedy
    assert "allow_anonymous false" in named(found, "without an account").remedy


# ── Kafka ─────────────────────────────────────────────────────────────────────────────────────────────


async def alter(settings: Settings, topic: str, **config: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        resource = ConfigResource(
            ConfigResourceType.TOPIC, topic, {key.replace("_", "."): value for key, value in config.items()}
        )
        await admin.alter_configs([resource])
    finally:
        await admin.close()


def test_topics_replicas_and_who_is_at_work_are_looked_at(
    fresh_kafka: Kafka, monkeypatch: pytest.MonkeyPatch
):
    settings = Settings(kafka=fresh_kafka.bootstrap, partitions=2)
    assert "scad kafka prepare" in named(check_kafka(settings), "no topic", topics.READINGS).remedy
    asyncio.run(ensure_topics(settings))

    async def with_a_writer() -> list[Finding]:
        consumer = make_consumer(settings, topics.READINGS, client_id="w", group_id="scad-writer")
        await started(consumer, settings)
        try:
            return await asyncio.to_thread(check_kafka, settings)
        finally:
            await consumer.stop()

    found = asyncio.run(with_a_writer())
    assert [finding.what for finding in found if finding.part == "kafka"] == [
        "11 topics of 2 partitions, replicas in sync",
        "every topic keeps its records as long as it has to",
    ]
    assert [finding.part for finding in found if finding.state == "fault"] == ["worker", "bridge"]
    assert "1 at work" in next(finding.what for finding in found if finding.part == "writer")

    asyncio.run(alter(settings, topics.ALERTS, retention_ms="60000"))
    finding = named(check_kafka(settings), topics.ALERTS, "retention.ms is 60000")
    assert "--add-config retention.ms=4838400000" in finding.remedy
    more = msgspec.structs.replace(settings, partitions=4, replication=3)
    assert any("SCAD_PARTITIONS is 4" in what for what in faults(check_kafka(more)))
    assert any("SCAD_REPLICATION is 3" in what for what in faults(check_kafka(more)))
    one = msgspec.structs.replace(settings, partitions=1)  # as if a worker more than partitions had joined

    async def two_workers() -> list[Finding]:
        first = TopicPartition(topics.READINGS, 0)
        before = make_consumer(settings, client_id="before", group_id=WORKER_GROUP)
        producer = await make_producer(settings, "check")
        try:
            await before.start()
            before.assign([first])
            await before.commit({first: 0})
            for _ in range(2):
                await producer.send_and_wait(topics.READINGS, b"{}", partition=0)
        finally:
            await before.stop()
            await producer.stop()
        joined = [
            make_consumer(settings, topics.READINGS, client_id=f"w{n}", group_id=WORKER_GROUP) for n in (1, 2)
        ]
        try:
            await asyncio.gather(*(started(each, settings) for each in joined))
            return await asyncio.to_thread(check_kafka, one)
        finally:
            for each in joined:
                await each.stop()

    monkeypatch.setattr(kafka_checks, "BEHIND_RECORDS", 1)
    found = asyncio.run(two_workers())
    assert "nothing to do" in named(found, "2 workers share 1 partitions").remedy
    assert "more workers" in named(found, "2 records behind").remedy
    fresh_kafka.delete_topics()  # what the groups have committed stays
    assert named(check_kafka(settings), "no topic", topics.READINGS)
    away = msgspec.structs.replace(settings, kafka=f"127.0.0.1:{free_port()}")
    assert "is Kafka running" in named(check_kafka(away), "does not answer").remedy


# ── the database ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def store(database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(database, autocommit=True) as conn:
        apply_schema(conn)
        yield conn


def test_schema_processes_and_the_synthetic_reading_are_looked_at(
    store: psycopg.Connection[tuple[object, ...]], database: str
):
    settings = Settings(database=database)

    def look(clock: Clock | None = None) -> list[Finding]:
        return check_database(settings, clock or Clock())

    names = [f"application_name=scad {name}" for name in ("feed listener", "escalation")]
    with (
        psycopg.connect(f"{database}?{names[0].replace(' ', '%20')}"),
        psycopg.connect(f"{database}?{names[1].replace(' ', '%20')}"),
    ):
        assert faults(look()) == []
        assert named(look(), "no synthetic reading").part == "path"
    assert {finding.part for finding in look() if finding.state == "fault"} == {"feed", "escalation"}

    def hours(number: float) -> Callable[[], int]:
        return lambda: int((datetime.now(UTC) + timedelta(hours=number)).timestamp() * 1000)

    assert named(look(Clock(wall=hours(1))), "clock").state == "fault"
    insert = (
        'insert into scad.reading (measured_at, device, epoch, seq, digest, patient, kind, "values", received_at,'
        " stored_at) values (now() - interval '10 min', 'synthetic-1', 0, 1, '0123456789abcdef', 'p', 'temperature',"
        " '{}', now() - interval '10 min', now() - interval '10 min')"
    )
    store.execute(insert.encode())
    assert "scad synthetic" in named(look(), "the last synthetic reading").remedy
    store.execute("insert into scad.signal_cursor (patient, last_n) values ('p-gone', 1)")
    assert "same pseudonyms" in named(look(), "not enrolled here").remedy
    store.execute("delete from scad.migration where name = '0050_writer_offsets.sql'")
    assert "scad schema apply" in named(look(), "0050_writer_offsets.sql").remedy
    store.execute("insert into scad.migration (name, checksum, edition) values ('9000_later.sql', '', '')")
    assert "newer" in named(look(), "9000_later.sql").what
    wrong = Settings(database=database.replace("scad:", "scad:x"))
    assert "SCAD_DATABASE" in named(check_database(wrong, Clock()), "cannot be used").remedy


# ── certificates, processes, disks, backups ───────────────────────────────────────────────────────────


def test_certificates_are_named_with_the_day_on_which_they_end(mosquitto: Mosquitto, service_folder: Path):
    need_openssl()
    secrets = service_folder / "secrets"
    assert make_secrets(secrets, "mqtt.example.org").returncode == 0
    with ComposedMosquitto(service_folder, secrets) as broker:
        settings = Settings(
            mqtt=f"localhost:{broker.port}", mqtt_tls=True, mqtt_ca=(secrets / "ca_certificate").read_text()
        )
        now = datetime.now(UTC)
        assert [finding.state for finding in check_certificates(settings, now)] == ["ok", "ok"]
        soon = check_certificates(settings, now + timedelta(days=810))
        assert "renew" in named(soon, "MQTT broker").remedy
        assert (
            named(check_certificates(settings, now + timedelta(days=826)), "MQTT broker", "ended").state
            == "fault"
        )
    assert named(check_certificates(settings, now), "no TLS").state == "fault"


def test_a_disk_warns_below_a_tenth_and_is_a_fault_below_a_fiftieth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    states = {}
    for free in (10, 9, 2, 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(total=100, free=free))
        (finding,) = check_disk(tmp_path)
        states[free] = finding.state
        assert ("make room" in finding.remedy) is (finding.state != "ok")
    assert states == {10: "ok", 9: "warning", 2: "warning", 1: "fault"}


def test_four_fifths_of_the_connections_are_a_warning(
    store: psycopg.Connection[tuple[object, ...]], database: str, monkeypatch: pytest.MonkeyPatch
):
    (most,) = store.execute("select current_setting('max_connections')::int").fetchone() or (0,)
    (used,) = store.execute(
        "select count(*) + 1 from pg_stat_activity where backend_type = 'client backend'"
    ).fetchone() or (0,)
    assert isinstance(most, int)
    assert isinstance(used, int)

    def said(share: float) -> list[str]:
        monkeypatch.setattr(database_checks, "CONNECTIONS_SHARE", share)
        found = check_database(Settings(database=database), Clock())
        return [each.remedy for each in found if "connections are used" in each.what]

    assert database_checks.CONNECTIONS_SHARE == 0.8
    assert said(1.0) == []
    (remedy,) = said(used / most / 2)  # others of this server may come and go meanwhile
    assert "max_connections" in remedy


def test_a_process_a_disk_and_backups_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "running" in check_process(f"http://127.0.0.1:{free_port()}").remedy
    assert check_process("file:///etc/passwd").state == "fault"
    assert check_disk(tmp_path / "not" / "there")[0].part == "disk"
    folder = Folder(tmp_path)
    assert named(check_backups(folder, Clock()), "no base backup").part == "backup"
    folder.make()
    old = datetime.now(UTC) - timedelta(hours=50)
    folder.note(Backup(name="x", ended_at=old, first_wal="0" * 24, bytes=1, server="17"))
    assert named(check_backups(folder, Clock()), "50 h ago").state == "fault"
    assert named(check_backups(folder, Clock()), "never").state == "fault"
    (tmp_path / "wal/00000001").mkdir()
    (tmp_path / "wal/00000001/000000010000000000000001.partial").touch()
    assert len(faults(check_backups(folder, Clock()))) == 1

    monkeypatch.setenv("SCAD_PARTITIONS", "many")
    done = CliRunner().invoke(build_app(), ["check", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)[0]["part"] == "settings"
