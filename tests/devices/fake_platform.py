"""The platform's end of the contract in 100 lines: takes readings from a real broker and sends receipts.

Every element of every message is kept in the order of arrival. Receipts count `through` as the contract says:
from the lowest `oldest` or first seq that was seen of an epoch.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for a real service's answer; fails the test when it does not come."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        pause.wait(0.01)


class FakePlatform:
    """Use as a context manager with a running `mosquitto` fixture."""

    def __init__(self, broker: Any, client_id: str = "fake-platform") -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.readings: list[dict[str, Any]] = []
        self.statuses: dict[str, dict[str, Any]] = {}
        self.silent = False
        """While true, readings are taken and no receipt is sent."""
        self.rejects: dict[tuple[str, int], str] = {}
        self._seen: dict[tuple[str, int], set[int]] = {}
        self._base: dict[tuple[str, int], int] = {}
        self._through: dict[tuple[str, int], int] = {}
        self._subscribed = threading.Event()
        self._port = broker.port
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        self.client.username_pw_set("bridge", broker.bridge_password)
        tls = getattr(broker, "tls", None)  # the deployment's broker takes nobody without
        if tls is not None:
            self.client.tls_set_context(tls)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message

    def __enter__(self) -> FakePlatform:
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 600  # as a bridge: what comes while it is away waits for it
        self.client.connect("127.0.0.1", self._port, clean_start=False, properties=session)
        self.client.loop_start()
        assert self._subscribed.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.unsubscribe(["scad/v1/+/readings", "scad/v1/+/status"])
        self.client.disconnect()
        self.client.loop_stop()

    def of(self, device: str) -> list[dict[str, Any]]:
        return [reading for reading in self.readings if reading["device"] == device]

    def seqs(self, device: str) -> list[int]:
        return [reading["seq"] for reading in self.of(device)]

    def send_receipt(self, device: str, receipt: dict[str, Any]) -> None:
        self.client.publish(f"scad/v1/{device}/receipts", json.dumps(receipt), qos=1)

    def _on_connect(self, client: Any, *_: object) -> None:
        client.subscribe([("scad/v1/+/readings", 1), ("scad/v1/+/status", 1)])

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        device, leaf = message.topic.split("/")[2:]
        silent = self.silent  # as it is now: a test that has seen the reading may change it at once
        payload = json.loads(message.payload)
        if leaf == "status":
            self.statuses[device] = payload
            return
        self.messages.append((device, bytes(message.payload)))
        batch = payload if isinstance(payload, list) else [payload]
        for reading in batch:
            key = (device, reading.get("epoch", 0))
            lowest = min(reading["seq"], reading.get("oldest", reading["seq"]))
            self._base[key] = min(self._base.get(key, lowest), lowest)
            self._seen.setdefault(key, set()).add(reading["seq"])
        self.readings.extend(batch)
        if not silent:
            for epoch in {reading.get("epoch", 0) for reading in batch}:
                self.send_receipt(device, self.receipt(device, epoch))

    def receipt(self, device: str, epoch: int = 0) -> dict[str, Any]:
        seen = self._seen[(device, epoch)]  # behind `through` only, so that a long recording stays cheap
        through = max(self._base[(device, epoch)] - 1, self._through.get((device, epoch), -1))
        while through + 1 in seen:
            through += 1
            seen.remove(through)
        self._through[(device, epoch)] = through
        also = [[seq, seq] for seq in sorted(seen) if seq > through]
        rejected = [
            {"seq": seq, "reason": reason}
            for (of_device, seq), reason in self.rejects.items()
            if of_device == device and (seq <= through or seq in seen)
        ]
        return {"epoch": epoch, "through": through, "also": also, "rejected": rejected}
