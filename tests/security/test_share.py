"""No device takes a part of the bridges' readings away: the name of their share is a secret of theirs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_line import ANSWER_SECONDS, Line
from secured import Broker, Devices

from scad.services import wait_until
from scad.settings import Settings, SettingsError, load_settings
from streams.share import OPEN_NAME, client_id, share_name, subscriptions

READINGS = 40
GUESSES = ("scad", "bridge", "bridges", "scad-bridge")


@pytest.fixture
def open_line(broker: Broker, devices: Devices) -> Iterator[Callable[[str], Line]]:
    """By account: a device's own line, or one of the bridges'."""
    lines: list[Line] = []

    def open_line(user: str) -> Line:
        if user == "bridge":
            name = f"scad-bridge-{secrets.token_hex(4)}"
            lines.append(Line(broker.port, user, broker.bridge_password, broker.tls, name))
        else:
            lines.append(Line(broker.tls_port, user, devices.passwords[user], devices.context()))
        assert lines[-1].open() == "Success"
        return lines[-1]

    yield open_line
    for line in lines:
        line.unsubscribe_all()
        line.close()


def arrived(open_line: Callable[[str], Line], shares: list[str], intruder: list[str]) -> set[bytes]:
    """Readings of one device that arrive at the bridges, while another device has subscriptions of its own."""
    bridges, hostile, device = [open_line("bridge") for _ in range(2)], open_line("sc-1"), open_line("sc-2")
    for bridge in bridges:
        bridge.subscribe("scad/v1/sc-2/status")
        for topic in shares:
            bridge.subscribe(topic)
    for topic in intruder:
        hostile.subscribe(topic)
    sent = {b"%d" % number for number in range(READINGS)}
    for payload in sent:
        assert device.publish("scad/v1/sc-2/readings", payload) == "Success"
    device.publish("scad/v1/sc-2/status", b"the end")  # to all: behind it nothing comes
    end = ("scad/v1/sc-2/status", b"the end")
    wait_until(lambda: all(end in bridge.messages for bridge in bridges), ANSWER_SECONDS, "the end")
    assert hostile.messages == []
    return {
        body for bridge in bridges for topic, body in bridge.messages if topic.endswith("readings")
    } & sent


def test_every_reading_arrives_at_the_bridges_whatever_share_a_device_joins(
    open_line: Callable[[str], Line], broker: Broker
) -> None:
    since = broker.mark
    own = [topic for topic, _ in subscriptions(Settings(mqtt_password=broker.bridge_password))]
    guessed = [f"$share/{name}/scad/v1/+/readings" for name in GUESSES]
    assert len(arrived(open_line, own, guessed)) == READINGS
    broker.says("Subscription of sc-1 to $share/", since)


def test_a_share_whose_name_a_device_knows_loses_readings(open_line: Callable[[str], Line]) -> None:
    """Why the name is a secret: what the broker may not deliver to the member in turn is gone."""
    known = f"$share/{secrets.token_hex(4)}/scad/v1/+/readings"
    assert len(arrived(open_line, [known], [known])) < READINGS


def test_the_name_of_a_share_is_in_no_log(open_line: Callable[[str], Line], broker: Broker) -> None:
    since, own = broker.mark, subscriptions(Settings(mqtt_password=broker.bridge_password))
    bridge, device = open_line("bridge"), open_line("sc-1")
    for topic, _ in own:
        bridge.subscribe(topic)
        device.subscribe(topic)
    broker.says("Subscription of sc-1 to $share/.../scad/v1/+/status", since)
    assert "Subscription of scad-bridge-" not in broker.said()[since:]
    assert share_name(Settings(mqtt_password=broker.bridge_password)) not in broker.said()


@given(st.text(min_size=1), st.text(min_size=1))
@settings(max_examples=20)
def test_bridges_of_one_password_share_and_the_name_does_not_lead_to_it(one: str, other: str) -> None:
    names = [share_name(Settings(mqtt_password=each, worker_id=each)) for each in (one, one, other)]
    assert names[0] == names[1]
    assert (names[1] == names[2]) is (one == other)
    assert all(len(name) == 37 and not set(name) & set("/+#") for name in names)


def test_without_a_password_the_share_is_open_unless_it_is_named() -> None:
    assert share_name(Settings()) == OPEN_NAME
    named = load_settings({"SCAD_MQTT_SHARE": "its-name", "SCAD_MQTT_PASSWORD": "x"})
    assert subscriptions(named) == [
        (f"$share/its-name/scad/v1/+/{leaf}", 1) for leaf in ("readings", "status")
    ]
    with pytest.raises(SettingsError, match="SCAD_MQTT_SHARE") as refused:
        load_settings({"SCAD_MQTT_SHARE": "its-name/#"})
    assert "its-name" not in str(refused.value)


def test_a_bridge_of_another_share_takes_up_another_session() -> None:
    ids = [client_id(Settings(worker_id="b-1", mqtt_password=password)) for password in ("", "one", "two")]
    assert ids[0] == "scad-bridge-b-1"
    assert len(set(ids)) == 3
    assert all(name.startswith("scad-bridge-b-1") for name in ids)
    assert share_name(Settings(mqtt_password="one"))[5:] not in ids[1]
