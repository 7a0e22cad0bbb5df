"""Each local service starts, answers, is killed -9, and starts again with the data it had acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from scad.services import Kafka, Mosquitto, Postgres, Program, ServiceError, wait_until

TOPIC = "scad.telemetry"
RECORDS = 200
GONE_SECONDS = 15.0


async def make_topic(bootstrap: str, partitions: int = 3, replicas: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, partitions, replicas)])
    finally:
        await admin.close()


async def produce(bootstrap: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        for sent in [await producer.send(TOPIC, value, key=value) for value in values]:
            await sent
    finally:
        await producer.stop()


async def consume(bootstrap: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(TOPIC, number) for number in range(3)])
        values: list[bytes] = []
        async with asyncio.timeout(30):
            while len(values) < count:
                values.append((await consumer.getone()).value)
        return values
    finally:
        await consumer.stop()


def numbered(first: int, count: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def test_kafka_keeps_what_it_acknowledged_through_a_kill(start_kafka):
    broker = start_kafka(1)
    asyncio.run(make_topic(broker.bootstrap))
    asyncio.run(produce(broker.bootstrap, numbered(0, RECORDS)))
    broker.kill()
    assert not broker.answers()
    broker.start()
    asyncio.run(produce(broker.bootstrap, numbered(RECORDS, RECORDS)))
    assert sorted(asyncio.run(consume(broker.bootstrap, 2 * RECORDS))) == sorted(numbered(0, 2 * RECORDS))


@pytest.mark.slow
def test_a_cluster_of_three_goes_on_when_one_node_is_killed(start_kafka):
    cluster = start_kafka(3)
    asyncio.run(make_topic(cluster.bootstrap, replicas=3))
    cluster.nodes[1].kill()
    asyncio.run(produce(cluster.bootstrap, numbered(0, RECORDS)))
    cluster.nodes[1].start()
    assert sorted(asyncio.run(consume(cluster.bootstrap, RECORDS))) == sorted(numbered(0, RECORDS))


def test_tansu_produces_and_consumes(tansu):
    asyncio.run(make_topic(tansu.bootstrap))
    asyncio.run(produce(tansu.bootstrap, numbered(0, RECORDS)))
    assert sorted(asyncio.run(consume(tansu.bootstrap, RECORDS))) == sorted(numbered(0, RECORDS))


def test_tansu_starts_again_after_a_kill_and_has_forgotten_everything(tansu):
    asyncio.run(make_topic(tansu.bootstrap))
    tansu.kill()
    tansu.start()
    asyncio.run(make_topic(tansu.bootstrap))  # would be refused if the topic were there
    asyncio.run(produce(tansu.bootstrap, numbered(0, 1)))
    assert asyncio.run(consume(tansu.bootstrap, 1)) == [b"0"]


def test_deleted_topics_take_their_records_with_them(kafka):
    kafka.delete_topics()
    asyncio.run(make_topic(kafka.bootstrap))
    asyncio.run(produce(kafka.bootstrap, numbered(0, 5)))
    kafka.delete_topics()
    asyncio.run(make_topic(kafka.bootstrap))
    asyncio.run(produce(kafka.bootstrap, numbered(90, 1)))
    assert asyncio.run(consume(kafka.bootstrap, 1)) == [b"90"]


def test_postgres_keeps_what_it_committed_through_a_kill(postgres, service_folder):
    server = Postgres(service_folder / "postgres")
    with server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("create table kept (n int)")
            connection.execute("insert into kept values (42)")
        server.kill()
        server.start()
        with psycopg.connect(server.dsn) as connection:
            assert connection.execute("select n from kept").fetchone() == (42,)


def test_postgres_starts_again_in_another_object_on_the_same_folder(postgres, service_folder):
    with Postgres(service_folder / "postgres") as first:
        address = first.create_database("own")
    with Postgres(service_folder / "postgres", port=first.port) as second, psycopg.connect(address):
        assert second.edition == first.edition
        assert second.version == first.version


def test_mosquitto_keeps_accounts_and_saved_sessions_through_stop_and_kill(mosquitto, service_folder):
    broker = Mosquitto(service_folder / "mosquitto", {"sc-1": "secret"})
    with broker:
        publish(broker, "sc-1", "secret", "scad/v1/sc-1/status", b'{"state":"online"}', retain=True)
        broker.restart()  # an orderly stop saves
        broker.kill()
        broker.start()
        assert retained(broker, "scad/v1/+/status") == [b'{"state":"online"}']


def publish(broker: Mosquitto, user: str, password: str, topic: str, payload: bytes, retain: bool) -> None:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, f"{user}-publisher", protocol=mqtt.MQTTv5)
    client.username_pw_set(user, password)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def retained(broker: Mosquitto, topic: str) -> list[bytes]:
    seen: list[bytes] = []
    came = threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "reader", protocol=mqtt.MQTTv5)
    client.username_pw_set("bridge", broker.bridge_password)

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        seen.append(message.payload)
        came.set()

    client.on_message = on_message
    client.connect("127.0.0.1", broker.port)
    client.subscribe(topic, qos=1)
    client.loop_start()
    came.wait(30)
    client.disconnect()
    client.loop_stop()
    return seen


def test_a_paused_service_does_not_answer_until_it_is_resumed(tansu, service_folder, postgres):
    with Mosquitto(service_folder / "mosquitto") as broker:
        broker.pause()
        assert not broker.answers()
        broker.resume()
        broker.wait_ready(10)


def test_a_paused_service_can_be_stopped(mosquitto, service_folder):
    with Mosquitto(service_folder / "mosquitto") as broker:
        broker.pause()
    assert not broker.running


def test_a_service_that_cannot_start_says_so_with_the_end_of_its_log(service_folder, monkeypatch):
    monkeypatch.setattr("scad.services.base.START_TRIES", 1)
    program = Program(
        "broken", [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"], service_folder
    )
    monkeypatch.setattr(program, "answers", lambda: False)
    with pytest.raises(ServiceError, match=r"broken ends as soon as it is started(.|\n)*no such thing"):
        program.start()


PARENT = textwrap.dedent("""
    import sys, threading
    from pathlib import Path
    from scad.services import Mosquitto, Postgres, Program, Tansu
    folder = Path(sys.argv[1])
    services = [Mosquitto(folder / "m"), Postgres(folder / "p"), Tansu(folder / "t")]
    services.append(Program("sleep", ["sleep", "1000"], folder / "s"))
    threads = [threading.Thread(target=service.start) for service in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(service.running for service in services), "the end of its thread ended a service"
    print(*[pid for service in services for pid in service._family()], flush=True)
    try:
        sys.stdin.read()
    finally:
        for service in services:
            service.stop()
""")


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet collected does not."""
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_behind_when_the_parent_dies(mosquitto, postgres, tansu, service_folder, blow):
    command = [sys.executable, "-c", PARENT, str(service_folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        # some of the database's helpers end by themselves soon after its start
        assert len([pid for pid in pids if alive(pid)]) >= 6, "four services, one with children of its own"
        os.kill(parent.pid, blow)
        parent.wait(30)
    wait_until(lambda: not any(map(alive, pids)), GONE_SECONDS, "the services to die with their parent")


def test_each_service_says_its_version(mosquitto, postgres, kafka, tansu):
    services = (mosquitto, postgres, kafka, tansu)
    assert [service.version.partition(".")[0] for service in services] == ["2", "17", "4", "0"]


def test_the_id_of_a_cluster_is_kept_in_its_folder_and_is_never_taken_for_an_option(tmp_path):
    drawn = [Kafka(tmp_path / str(number)).nodes[0].cluster for number in range(200)]
    assert not any(cluster.startswith("-") for cluster in drawn)
    assert len(set(drawn)) == 200
    assert Kafka(tmp_path / "0").nodes[0].cluster == drawn[0]
