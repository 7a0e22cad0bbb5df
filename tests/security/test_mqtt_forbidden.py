"""More that the MQTT broker of the deployment refuses: last wills, MQTT 3.1.1, the bridges' account, large packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mqtt_line import ANSWER_SECONDS, NOT_AUTHORIZED, Line
from paho.mqtt.enums import MQTTProtocolVersion
from secured import Broker, Devices

from scad.services import wait_until

TEN_MEGABYTES = 10 * 1024 * 1024


@pytest.fixture
def bridge(broker: Broker) -> Iterator[Line]:
    """Hears every reading and status; what it is sent before `heard` comes back is all that there was."""
    with Line(broker.port, "bridge", broker.bridge_password, broker.tls, "scad-bridge-ear") as line:
        line.subscribe("scad/v1/+/readings")
        line.subscribe("scad/v1/+/status")
        yield line
        line.unsubscribe_all()


def heard(bridge: Line, broker: Broker, devices: Devices) -> list[tuple[str, bytes]]:
    """What the bridge was sent: up to a message of sc-2 that follows."""
    end = ("scad/v1/sc-2/status", b"the end")
    with Line(broker.tls_port, "sc-2", devices.passwords["sc-2"], devices.context()) as other:
        other.publish(*end)
        wait_until(lambda: end in bridge.messages, ANSWER_SECONDS, "the end")
    return bridge.messages[: bridge.messages.index(end)]


@pytest.mark.parametrize(
    ("topic", "own"),
    [("scad/v1/sc-1/status", True), ("scad/v1/sc-2/status", False), ("scad/v1/sc-2/readings", False)],
)
def test_a_last_will_on_the_topic_of_another_is_not_published_and_is_logged(
    broker: Broker, devices: Devices, bridge: Line, topic: str, own: bool
) -> None:
    since = broker.mark
    line = Line(broker.tls_port, "sc-1", devices.passwords["sc-1"], devices.context())
    line.client.will_set(topic, b"last words", qos=1)
    with line:
        line.drop()
    broker.says("Client sc-1 ", since)  # its end, with which the will is published or is not
    assert heard(bridge, broker, devices) == ([(topic, b"last words")] if own else [])
    if own:
        assert "Last will" not in broker.said()[since:]
    else:
        broker.says(f"Last will of sc-1 on {topic}", since)


def test_in_mqtt_3_a_publication_on_the_topic_of_another_is_dropped_and_logged(
    broker: Broker, devices: Devices, bridge: Line
) -> None:
    since = broker.mark
    account = (broker.tls_port, "sc-1", devices.passwords["sc-1"], devices.context())
    with Line(*account, protocol=MQTTProtocolVersion.MQTTv311) as line:
        line.publish("scad/v1/sc-2/readings", b"not its own")  # acknowledged: MQTT 3.1.1 has no word for no
    assert heard(bridge, broker, devices) == []
    broker.says("Denied PUBLISH from sc-1 ", since)
    broker.says("'scad/v1/sc-2/readings'", since)


@pytest.mark.parametrize("topic", ["scad/v1/sc-1/readings", "scad/v1/sc-1/status", "other"])
def test_the_bridges_account_speaks_for_no_device_and_the_broker_says_so(broker: Broker, topic: str) -> None:
    since = broker.mark
    with Line(broker.port, "bridge", broker.bridge_password, broker.tls, "scad-bridge-mouth") as line:
        assert line.publish(topic) == NOT_AUTHORIZED
    broker.says("Denied PUBLISH from scad-bridge-mouth ", since)
    broker.says(f"'{topic}'", since)


def test_the_operators_account_is_delivered_nothing_and_its_wish_is_logged(
    broker: Broker, devices: Devices, bridge: Line
) -> None:
    since = broker.mark
    password = (devices.secrets / "mqtt_operator_password").read_text().strip()
    with Line(broker.port, "operator", password, broker.tls) as line:
        line.subscribe("#")
        assert heard(bridge, broker, devices) == []
        line.unsubscribe_all()  # answered behind whatever was sent to it
        assert line.messages == []
    broker.says("Subscription of operator to #", since)


def test_ten_megabytes_end_the_connection_of_their_sender_and_of_nobody_else(
    broker: Broker, devices: Devices, bridge: Line
) -> None:
    since = broker.mark
    with Line(broker.tls_port, "sc-1", devices.passwords["sc-1"], devices.context()) as line:
        line.client.publish("scad/v1/sc-1/readings", bytes(TEN_MEGABYTES), qos=1)
        assert line.lost.wait(ANSWER_SECONDS)
    assert heard(bridge, broker, devices) == []
    assert not bridge.lost.is_set()
    broker.says("Client sc-1 disconnected due to oversize packet", since)
