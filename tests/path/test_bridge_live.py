"""Bridges between real brokers: what is acknowledged is in Kafka, and receipts come back."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import pytest
from deployment import Deployment, Reader, publish, reading, run
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from scad.services import Kafka, Mosquitto
from streams import topics
from streams.kafka import Record
from streams.receipts import Receipt, Rejected, decode_record, encode_record

PASSWORD = "secret-of-a-test-device"
PUBACK_SECONDS = 60.0


NO_SUBSCRIBERS = 0x10


class Device:
    """A client that publishes at QoS 1 and keeps its receipts.

    What the broker acknowledges with *no matching subscribers* it sends again, as the firmware does: mosquitto
    forgets shared subscriptions when it restarts, until a bridge has subscribed again.
    """

    def __init__(self, broker: Mosquitto, name: str) -> None:
        self.name = name
        self.receipts: list[bytes] = []
        self._sent = self._acknowledged = 0
        self._in_hand: dict[int, tuple[str, bytes]] = {}
        self._answers: deque[tuple[int, int]] = deque()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self.client.username_pw_set(name, PASSWORD)
        self.client.max_queued_messages_set(0)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe(f"scad/v1/{name}/receipts", qos=1)
        self.client.on_message = lambda client, _, message: self.receipts.append(bytes(message.payload))
        self.client.on_publish = lambda _c, _u, mid, reason, _p: self._answers.append((mid, reason.value))
        self.subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", broker.port, clean_start=False, properties=properties)
        self.client.loop_start()
        assert self.subscribed.wait(PUBACK_SECONDS)

    def publish(self, payload: bytes, leaf: str = "readings") -> None:
        self._sent += 1
        self._publish(f"scad/v1/{self.name}/{leaf}", payload)

    def _publish(self, topic: str, payload: bytes) -> None:
        self._in_hand[self.client.publish(topic, payload, qos=1).mid] = (topic, payload)

    def send(self, first: int, last: int) -> None:
        for seq in range(first, last):
            self.publish(json.dumps(reading(self.name, seq)).encode())

    def wait(self) -> None:
        """Until the broker has taken everything for a subscriber."""
        deadline = time.monotonic() + PUBACK_SECONDS
        while self._acknowledged < self._sent:
            self._read_answers()
            assert time.monotonic() < deadline, f"{self._acknowledged} of {self._sent} were acknowledged"
            time.sleep(0.02)

    def _read_answers(self) -> None:
        while self._answers:
            mid, reason = self._answers.popleft()
            topic, payload = self._in_hand.pop(mid)
            if reason == NO_SUBSCRIBERS:
                self._publish(topic, payload)
            else:
                self._acknowledged += 1

    def end(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(mosquitto: Mosquitto, service_folder: Path) -> Iterator[Mosquitto]:
    """A broker of this test's own: sessions of other tests' bridges would get their share of the messages."""
    with Mosquitto(service_folder / "mosquitto").start() as own:
        yield own


@pytest.fixture
def device(broker: Mosquitto) -> Iterator[Callable[[str], Device]]:
    made: list[Device] = []

    def make(name: str) -> Device:
        broker.add_account(name, PASSWORD)
        made.append(Device(broker, name))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def bridged(deploy, fresh_kafka: Kafka, broker: Mosquitto) -> Deployment:
    return deploy(kafka=fresh_kafka.bootstrap, mqtt=broker.address, mqtt_password=broker.bridge_password)


def arrived(reader: Reader) -> list[Any]:
    """Messages on both ways from the bridge to the intake."""
    return [*reader.records[topics.TELEMETRY], *reader.records[topics.BACKLOG]]


def seqs(reader: Reader, name: str) -> set[int]:
    found: set[int] = set()
    for record in arrived(reader):
        if record.key == name.encode():
            decoded = json.loads(record.value)
            found |= {item["seq"] for item in (decoded if isinstance(decoded, list) else [decoded])}
    return found


def test_a_message_reaches_kafka_byte_for_byte_with_its_topic_and_time(bridged, device) -> None:
    async def main() -> None:
        scale = device("sc-bytes")
        payload = b' {"v":1 ,\xff broken'
        async with Reader(bridged.settings, topics.TELEMETRY, topics.BACKLOG, topics.STATUS) as reader:
            bridge = bridged.bridge("b-bytes").wait_for("bridge.subscribed")
            scale.publish(b'{"state":"online","battery":80,"firmware":"1.0"}', "status")
            scale.publish(b"nonsense", "status")
            scale.publish(b"x" * 300_000)
            scale.publish(payload)
            await reader.until(lambda: len(arrived(reader)) == 2, "two messages")
            await reader.until(lambda: len(reader.records[topics.STATUS]) == 1, "a state")
            assert bridge.stop() == 0, bridge.tail()
            (large,), (small,) = reader.records[topics.BACKLOG], reader.records[topics.TELEMETRY]
            assert len(large.value) == 300_000
            assert (small.key, small.value) == (b"sc-bytes", payload)
            assert dict(small.headers)[topics.HEADER_MQTT_TOPIC] == b"scad/v1/sc-bytes/readings"
            assert dict(small.headers)[topics.HEADER_RECEIVED_AT].endswith(b"+00:00")
            (status,) = reader.values(topics.STATUS)
            assert (status["device"], status["status"]["battery"]) == ("sc-bytes", 80)

    run(main())


@pytest.mark.slow
def test_a_bridge_killed_in_the_middle_of_20000_readings_loses_none(bridged, device) -> None:
    async def main() -> None:
        devices = [device(f"bp-{index}") for index in range(4)]
        async with Reader(bridged.settings, topics.TELEMETRY, topics.BACKLOG) as reader:
            bridge = bridged.bridge("b-killed").wait_for("bridge.subscribed")
            for each in devices:
                each.send(0, 5_000)
            for count in (2_000, 9_000, 15_000):
                await reader.until(lambda c=count: len(arrived(reader)) >= c, f"{count}")
                bridge.kill()
                bridge = bridged.bridge("b-killed")
            for each in devices:
                each.wait()
            await reader.until(
                lambda: all(seqs(reader, each.name) == set(range(5_000)) for each in devices), "all readings"
            )
            assert bridge.stop() == 0, bridge.tail()

    run(main())


@pytest.mark.slow
def test_two_bridges_share_the_load_and_one_goes_on_alone(bridged, device) -> None:
    async def main() -> None:
        scale = device("sc-shared")
        async with Reader(bridged.settings, topics.TELEMETRY, topics.BACKLOG) as reader:
            one, two = (bridged.bridge(name).wait_for("bridge.subscribed") for name in ("b-one", "b-two"))
            scale.send(0, 3_000)
            await reader.until(lambda: len(arrived(reader)) >= 500, "the first readings")
            one.kill()
            scale.send(3_000, 6_000)
            scale.wait()
            one = bridged.bridge("b-one")  # what it had not acknowledged waits in its session
            await reader.until(lambda: seqs(reader, "sc-shared") == set(range(6_000)), "all readings")
            assert (one.stop(), two.stop()) == (0, 0), one.tail() + two.tail()

    run(main())


@pytest.mark.slow
def test_either_broker_may_go_away_and_come_back(deploy, start_kafka, broker, device) -> None:
    kafka = start_kafka(1)
    deployment = deploy(kafka=kafka.bootstrap, mqtt=broker.address, mqtt_password=broker.bridge_password)

    async def main() -> None:
        scale = device("sc-away")
        async with Reader(deployment.settings, topics.TELEMETRY, topics.BACKLOG) as reader:

            async def all_of(count: int, what: str) -> None:
                await reader.until(lambda: seqs(reader, "sc-away") == set(range(count)), what)

            bridge = deployment.bridge("b-away").wait_for("bridge.subscribed")
            scale.send(0, 500)
            await all_of(500, "the first readings")
            kafka.kill()
            scale.send(500, 3_000)
            scale.wait()  # more than may be in flight: the MQTT broker keeps them
            kafka.restart()
            await all_of(3_000, "what came in Kafka's absence")
            broker.stop()
            scale.send(3_000, 3_500)
            broker.start()
            scale.wait()
            await all_of(3_500, "what came in the MQTT broker's absence")
            assert bridge.stop() == 0, bridge.tail()

    run(main())


def test_receipts_come_back_once_each_is_the_newest(bridged, device) -> None:
    async def main() -> None:
        scale = device("sc-receipt")

        def record(receipt: Receipt) -> Record:
            return Record(topics.RECEIPTS, b"sc-receipt", encode_record("sc-receipt", receipt))

        await publish(
            bridged.settings,
            [
                record(Receipt(0, 3, (), (Rejected(2, "bad-time"),))),
                Record(topics.RECEIPTS, b"sc-receipt", b"no receipt"),
                record(Receipt(0, 7, ((9, 9),))),
                record(Receipt(1, 0)),
            ],
        )
        async with Reader(bridged.settings, topics.RECEIPTS) as reader:
            bridge = bridged.bridge("b-receipt")

            def newest() -> dict[int, dict[str, Any]]:
                return {item["epoch"]: item for item in map(json.loads, list(scale.receipts))}

            await reader.until(
                lambda: {epoch: item["through"] for epoch, item in newest().items()} == {0: 7, 1: 0},
                "the receipts",
            )
            assert bridge.stop() == 0, bridge.tail()
        assert newest()[0]["also"] == [[9, 9]]
        refused = [one for item in map(json.loads, scale.receipts) for one in item["rejected"]]
        assert refused == [{"seq": 2, "reason": "bad-time"}]

    run(main())


def test_a_receipt_record_reads_back_as_it_was_written() -> None:
    receipt = Receipt(2, 9, ((12, 14),), (Rejected(None, "not-json"),))
    assert decode_record(encode_record("sc-1", receipt)).receipt == receipt
    assert msgspec.json.decode(encode_record("sc-1", receipt))["receipt"]["rejected"][0]["seq"] is None
