"""What has arrived at a bridge and is not in Kafka yet, while connections to the MQTT broker come and go.

The callbacks are paho's, which calls them in a thread of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scad.clock import Clock
from scad.settings import Settings
from streams import bridge as module
from streams.bridge import ARRIVED_MAX, BATCH_MAX, IN_FLIGHT_MAX, Bridge

Take = Callable[[], list[int]]


def made() -> Bridge:
    return Bridge(Settings(), Clock.parse(""))


def arrive(bridge: Bridge, first: int, count: int) -> None:
    for number in range(first, first + count):
        message = mqtt.MQTTMessage(mid=number % 65_535 + 1, topic=b"scad/v1/sc-1/readings")
        message.payload, message.qos = b"%d" % number, 1
        bridge._on_message(bridge._client, None, message)


def reconnect(bridge: Bridge, session: bool) -> None:
    client = SimpleNamespace(socket=lambda: None, subscribe=lambda _topics: None)
    bridge._on_disconnect(client, None, None, "gone", None)  # type: ignore[arg-type]
    flags, reason = SimpleNamespace(session_present=session), SimpleNamespace(is_failure=False)
    bridge._on_connect(client, None, flags, reason, None)  # type: ignore[arg-type]


def taken(bridge: Bridge) -> list[int]:
    found: list[int] = []
    while bridge._arrived:
        found += [int(message.payload) for message in bridge._take()]
    return found


class Interrupted(deque[Any]):
    """A queue during whose third `popleft` the connection is lost and made again."""

    def __init__(self, of: deque[Any], then: Callable[[], None]) -> None:
        super().__init__(of, of.maxlen)
        self.then, self.pops = then, 0

    def popleft(self) -> Any:
        self.pops += 1
        if self.pops == 3:
            self.then()
        return super().popleft()


@pytest.mark.parametrize("session", [True, False])
def test_a_reconnection_while_messages_are_taken_does_not_end_the_bridge(session: bool) -> None:
    bridge = made()
    arrive(bridge, 0, 10)

    def interrupt() -> None:
        reconnect(bridge, session)
        arrive(bridge, 10, 5)

    bridge._arrived = Interrupted(bridge._arrived, interrupt)
    found = taken(bridge)
    assert found[-5:] == list(range(10, 15))
    assert session or found == list(range(15))


@pytest.mark.parametrize(("session", "kept"), [(True, [7, 8]), (False, [*range(9)])])
def test_what_the_broker_sends_again_does_not_go_twice_and_what_it_has_forgotten_goes(
    session: bool, kept: list[int]
) -> None:
    bridge = made()
    arrive(bridge, 0, 7)
    reconnect(bridge, session)
    arrive(bridge, 7, 2)
    assert taken(bridge) == kept


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, IN_FLIGHT_MAX)), max_size=6),
    st.integers(1, IN_FLIGHT_MAX),
)
@settings(max_examples=15, deadline=None)
def test_the_queue_is_bounded_and_holds_all_of_the_last_connection(
    before: list[tuple[bool, int]], count: int
) -> None:
    bridge, number = made(), 0
    for session, messages in before:  # Kafka is away: nothing is taken
        arrive(bridge, number, messages)
        number += messages
        reconnect(bridge, session)
    arrive(bridge, number, count)
    assert len(bridge._arrived) <= ARRIVED_MAX
    assert len(bridge._take()) <= BATCH_MAX
    arrive(bridge, number, count)
    assert taken(bridge)[-count:] == list(range(number, number + count))


def test_a_burst_wakes_the_loop_once_and_nothing_of_it_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    wakings: list[object] = []
    done: list[int] = []
    bridge, arrived = made(), asyncio.Event()

    async def produce(_producer: object, records: list[Any]) -> None:
        done.extend(int(record.value) for record in records)
        if len(done) % 300 == 0:
            arrived.set()

    async def run() -> None:
        bridge._loop = asyncio.get_running_loop()
        to_loop = bridge._in_loop

        def wake(*call: Any) -> None:
            wakings.append(call)
            to_loop(*call)

        monkeypatch.setattr(bridge, "_in_loop", wake)
        forwarding = asyncio.create_task(bridge._forward(None))
        async with asyncio.timeout(20):
            for first in range(0, 900, 300):
                await asyncio.to_thread(arrive, bridge, first, 300)
                await arrived.wait()
                arrived.clear()
        forwarding.cancel()
        await asyncio.gather(forwarding, return_exceptions=True)

    monkeypatch.setattr(module, "produce", produce)
    asyncio.run(run())
    assert done == list(range(900))
    assert 1 <= len(wakings) < 900
