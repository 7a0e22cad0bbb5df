"""Who is at the two ends of the platform: a device with its receipts, a browser with its stream of events."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from typing import Any

import httpx
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from whole_platform import DEVICE_PASSWORD, WAIT_SECONDS, Platform

from scad.services import HOST

ARRAY = 500


class Device:
    """A device on MQTT 5 that publishes what it is given and keeps every receipt."""

    def __init__(self, platform: Platform, name: str) -> None:
        self.name = name
        self.receipts: list[dict[str, Any]] = []
        self._platform = platform
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(name, DEVICE_PASSWORD)
        self._client.on_message = lambda _, __, message: self.receipts.append(json.loads(message.payload))
        self._client.on_connect = lambda client, *_: client.subscribe(f"scad/v1/{name}/receipts", qos=1)
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        self._client.connect(HOST, platform.mosquitto.port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert subscribed.wait(WAIT_SECONDS)

    def send(self, *readings: dict[str, Any]) -> Device:
        """Publish in arrays, and wait for the broker's acknowledgement, which is no receipt."""
        for start in range(0, len(readings), ARRAY):
            part = readings[start : start + ARRAY]
            self.send_bytes(json.dumps(list(part) if len(part) > 1 else part[0]).encode())
        return self

    def publish(self, payload: bytes) -> mqtt.MQTTMessageInfo:
        """Without waiting."""
        return self._client.publish(f"scad/v1/{self.name}/readings", payload, qos=1)

    def send_bytes(self, payload: bytes) -> None:
        sent = self.publish(payload)
        sent.wait_for_publish(WAIT_SECONDS)
        assert sent.is_published()

    def until_receipt(self, seq: int) -> dict[str, Any]:
        """The last receipt, once one covers every number up to `seq`."""
        self._platform.until(
            lambda: self.receipts and self.receipts[-1]["through"] >= seq, f"a receipt of {self.name} {seq}"
        )
        return self.receipts[-1]

    @property
    def rejected(self) -> list[tuple[int | None, str]]:
        """(seq, reason) of every refusal that a receipt has named."""
        return [(one["seq"], one["reason"]) for receipt in self.receipts for one in receipt["rejected"]]

    def end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Listener:
    """A browser's EventSource: when the feed goes away it comes back and says the last id that it has."""

    def __init__(self, client: httpx.Client, after: int | None = None) -> None:
        """`after`: the last step that it has had already; else what comes from now on."""
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.connections = 0
        self._client = client
        self.began_after = int(client.get("/api/queue").json()["cursor"]) if after is None else after
        """The id of the last step before those that it hears."""
        self._last = self.began_after
        self._first = True
        self._stopping = threading.Event()
        self._answer: httpx.Response | None = None
        self._thread = threading.Thread(target=self._run, name="browser")
        self._thread.start()

    @property
    def ids(self) -> list[int]:
        return [id_ for id_, _ in self.events]

    def named(self, event: str) -> set[str]:
        """The alerts of which the stream said so."""
        return {data["alert"] for _, data in self.events if data["event"] == event}

    @property
    def rung(self) -> set[str]:
        """The alerts for which a sound was to be heard."""
        return {data["alert"] for _, data in self.events if data["ring"]}

    def stop(self) -> None:
        self._stopping.set()
        answer = self._answer
        if answer is not None:  # wakes the thread, which waits for the next event
            with suppress(OSError):
                answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(httpx.HTTPError):  # the feed is away, or we are stopping
                self._listen()
            self._stopping.wait(0.2)

    def _listen(self) -> None:
        headers = {} if self._first else {"Last-Event-ID": str(self._last)}
        path = f"/api/stream?after={self._last}" if self._first else "/api/stream"
        with self._client.stream("GET", path, headers=headers) as answer:
            answer.raise_for_status()
            self._answer, self._first = answer, False
            self.connections += 1
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if self._stopping.is_set():
                    return
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                self._take(fields)
                fields = {}

    def _take(self, fields: dict[str, str]) -> None:
        if fields.get("event") == "alert":
            self.events.append((int(fields["id"]), json.loads(fields["data"])))
        if "id" in fields:
            self._last = int(fields["id"])

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
