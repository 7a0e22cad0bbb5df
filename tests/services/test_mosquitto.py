"""The broker's access list, accounts and bounds, on the real mosquitto."""

from __future__ import annotations

import secrets
import subprocess
import threading
from base64 import b64decode

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from scad.services import Mosquitto, wait_until
from scad.services.mosquitto import connack, password_line

NOT_AUTHORIZED = 135
PACKET_TOO_LARGE = 149
SUCCESS = 0
NO_SUBSCRIBER = 16
WAIT_SECONDS = 30.0


class Person:
    """A connected MQTT 5 client that remembers reasons and messages."""

    def __init__(self, broker: Mosquitto, user: str, password: str) -> None:
        self.reasons: dict[int, int] = {}
        self.messages: list[tuple[str, bytes]] = []
        self.ended: int | None = None
        self.changed = threading.Condition()
        # a broker that reads its files anew at this moment drops who is not yet known: such a client asks again, as
        # a new one, because paho's starts a second loop without closing the sockets of the first
        while (client := self._connected(broker, user, password)) is None:
            pass
        self.client = client

    def _connected(self, broker: Mosquitto, user: str, password: str) -> mqtt.Client | None:
        """A client the broker answered, or None where it was dropped before the answer."""
        self.ended = None
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, f"{user}-{secrets.token_hex(3)}", protocol=mqtt.MQTTv5
        )
        client.username_pw_set(user, password)
        client.on_publish = lambda _c, _d, mid, reason, _p: self._note(
            lambda: self.reasons.update({mid: reason.value})
        )
        client.on_subscribe = lambda _c, _d, mid, _r, _p: self._note(lambda: self.reasons.update({mid: 0}))
        client.on_message = lambda _c, _d, m: self._note(lambda: self.messages.append((m.topic, m.payload)))
        client.on_disconnect = lambda _c, _d, _f, reason, _p: self._note(
            lambda: setattr(self, "ended", reason.value)
        )
        answers: list[int] = []
        client.on_connect = lambda _c, _d, _f, reason, _p: self._note(lambda: answers.append(reason.value))
        client.reconnect_delay_set(60, 60)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        self.wait(lambda: answers or self.ended is not None)
        if answers:
            return client
        client.loop_stop()
        return None

    def _note(self, change) -> None:
        with self.changed:
            change()
            self.changed.notify_all()

    def wait(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, WAIT_SECONDS)

    def publish(self, topic: str, payload: bytes = b"x") -> int:
        """The reason with which the broker acknowledged."""
        mid = self.client.publish(topic, payload, qos=1).mid
        self.wait(lambda: mid in self.reasons)
        return self.reasons[mid]

    def subscribe(self, topic: str) -> None:
        mid = self.client.subscribe(topic, qos=1)[1]
        self.wait(lambda: mid in self.reasons)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def connect(mosquitto):
    people: list[Person] = []

    def connect(user: str, password: str | None = None) -> Person:
        if password is None:
            password = mosquitto.accounts.get(user) or secrets.token_urlsafe(8)
            if user not in mosquitto.accounts:
                mosquitto.add_account(user, password)
        people.append(Person(mosquitto, user, password))
        return people[-1]

    yield connect
    for person in people:
        person.close()


def test_a_device_publishes_its_own_readings_and_the_bridge_receives_them(connect):
    bridge, device = connect("bridge"), connect("sc-own")
    bridge.subscribe("scad/v1/+/readings")
    assert device.publish("scad/v1/sc-own/readings", b"reading") == SUCCESS
    bridge.wait(lambda: bridge.messages == [("scad/v1/sc-own/readings", b"reading")])


@pytest.mark.parametrize(
    "topic",
    [
        "scad/v1/sc-other/readings",
        "scad/v1/sc-other/status",
        "scad/v1/sc-evil/receipts",
        "scad/v1/sc-evil",
        "x",
    ],
)
def test_a_device_is_refused_on_any_topic_but_its_own(connect, topic):
    assert connect("sc-evil").publish(topic) == NOT_AUTHORIZED


def test_a_device_receives_its_own_receipts_and_nobody_elses(connect):
    bridge, device = connect("bridge"), connect("sc-reader")
    for topic in ("scad/v1/+/receipts", "scad/v1/+/readings", "scad/v1/sc-reader/receipts"):
        device.subscribe(topic)
    other = connect("sc-else")
    assert other.publish("scad/v1/sc-else/readings") in (SUCCESS, NO_SUBSCRIBER)
    assert bridge.publish("scad/v1/sc-else/receipts", b"not yours") in (SUCCESS, NO_SUBSCRIBER)
    assert bridge.publish("scad/v1/sc-reader/receipts", b"yours") == SUCCESS
    device.wait(lambda: bool(device.messages))
    assert set(device.messages) == {("scad/v1/sc-reader/receipts", b"yours")}


def test_the_bridge_may_not_speak_for_a_device(connect):
    assert connect("bridge").publish("scad/v1/sc-own/readings") == NOT_AUTHORIZED


def test_two_bridges_share_the_readings(connect):
    bridges, device = [connect("bridge"), connect("bridge")], connect("sc-share")
    for bridge in bridges:
        bridge.subscribe("$share/bridges/scad/v1/+/readings")
    payloads = [b"%d" % number for number in range(40)]
    for payload in payloads:
        device.publish("scad/v1/sc-share/readings", payload)

    def received() -> list[bytes]:
        return sorted(payload for bridge in bridges for _, payload in bridge.messages)

    wait_until(lambda: len(received()) == len(payloads), WAIT_SECONDS, "every reading at one of the bridges")
    assert received() == sorted(payloads)
    assert all(bridge.messages for bridge in bridges)


def test_a_payload_of_twice_the_limit_of_the_contract_is_cut_off_and_less_comes_through(connect):
    bridge, device = connect("bridge"), connect("sc-large")
    bridge.subscribe("scad/v1/+/readings")
    assert device.publish("scad/v1/sc-large/readings", bytes(300 * 1024)) == SUCCESS
    bridge.wait(lambda: [len(payload) for _, payload in bridge.messages] == [300 * 1024])
    device.client.publish("scad/v1/sc-large/readings", bytes(513 * 1024), qos=1)
    device.wait(lambda: device.ended is not None)
    assert device.ended == PACKET_TOO_LARGE


def test_an_absent_session_is_kept_more_than_a_thousand_messages(mosquitto, connect):
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 3600
    device = connect("sc-many")

    def bridge() -> tuple[mqtt.Client, list[bytes], threading.Event]:
        seen: list[bytes] = []
        done = threading.Event()
        subscribed = threading.Event()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "lasting-bridge", protocol=mqtt.MQTTv5)
        client.username_pw_set("bridge", mosquitto.bridge_password)

        def on_message(_client, _data, message) -> None:
            seen.append(message.payload)
            if len(seen) == 1500:
                done.set()

        client.on_message = on_message
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("127.0.0.1", mosquitto.port, clean_start=False, properties=lasting)
        client.subscribe("scad/v1/sc-many/readings", qos=1)
        client.loop_start()
        assert subscribed.wait(WAIT_SECONDS)
        return client, seen, done

    client, _, _ = bridge()
    client.disconnect()
    client.loop_stop()
    sent = [
        device.client.publish("scad/v1/sc-many/readings", b"%d" % number, qos=1) for number in range(1500)
    ]
    for message in sent:
        message.wait_for_publish(WAIT_SECONDS)
    client, seen, done = bridge()
    assert done.wait(WAIT_SECONDS)
    assert seen == [b"%d" % number for number in range(1500)]
    client.disconnect()
    client.loop_stop()


def test_nobody_connects_without_an_account_or_with_a_wrong_password(mosquitto):
    mosquitto.add_account("sc-known", "right")
    assert connack(mosquitto.port, "sc-known", "right") == 0
    assert connack(mosquitto.port, "sc-known", "wrong") == 5
    assert connack(mosquitto.port) == 5


def test_a_removed_account_is_refused(mosquitto):
    mosquitto.add_account("sc-gone", "secret")
    mosquitto.remove_account("sc-gone")
    assert connack(mosquitto.port, "sc-gone", "secret") == 5


def test_accounts_of_hundreds_of_devices_are_added_at_once(mosquitto):
    accounts = {f"sc-fleet-{number}": f"secret-{number}" for number in range(300)}
    mosquitto.add_accounts(accounts)
    assert all(
        connack(mosquitto.port, user, password) == 0 for user, password in list(accounts.items())[::60]
    )


def test_our_hash_is_that_of_mosquitto_passwd(mosquitto, tmp_path):
    program = mosquitto.program("mosquitto_passwd")
    file = tmp_path / "passwords"
    subprocess.run([program, "-b", "-c", str(file), "sc-1", "pässword"], check=True, capture_output=True)
    line = file.read_text().strip()
    salt = b64decode(line.split("$")[3])
    assert password_line("sc-1", "pässword", salt) == line


@given(user=st.text(st.sampled_from("abc:\n\r-é")), password=st.text(max_size=40))
def test_an_account_is_one_line_or_is_refused(user, password):
    if not user or set(user) & set(":\n\r"):
        with pytest.raises(ValueError, match="user name of mosquitto"):
            password_line(user, password)
    else:
        line = password_line(user, password)
        assert line.splitlines() == [line]
        assert line.split(":")[0] == user
