"""One MQTT connection of a test: what the broker answers, what it delivers, and when it ends it."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ANSWER_SECONDS = 30.0
SESSION_SECONDS = 600
NOT_AUTHORIZED = "Not authorized"


class Line:
    """`open()` gives the broker's answer: "Success", its refusal, or why there was no talk at all."""

    def __init__(
        self,
        port: int,
        user: str | None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        client_id: str | None = None,
        stubborn: bool = False,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        self.port = port
        self.messages: list[tuple[str, bytes]] = []
        self.arrived = threading.Event()
        self.lost = threading.Event()
        self.why_lost = ""
        self._answer = ""
        self._answered = threading.Event()
        self._acknowledged: dict[int, str] = {}
        self._subscribed: list[str] = []
        self._something = threading.Condition()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or user or "nobody",
            protocol=protocol,
            reconnect_on_failure=stubborn,
        )
        if user is not None:
            client.username_pw_set(user, password)
        if tls is not None:
            client.tls_set_context(tls)
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = lambda _c, _u, mid, reason, _p: self._note(mid, str(reason))
        client.on_subscribe = lambda _c, _u, mid, reasons, _p: self._note(mid, str(reasons[0]))
        client.on_unsubscribe = lambda _c, _u, mid, _reasons, _p: self._note(mid, "")
        self.client = client

    def open(self) -> str:
        session: dict[str, Any] = {}
        if self.client.protocol == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_SECONDS
            session = {"clean_start": False, "properties": properties}
        self.client.connect_timeout = ANSWER_SECONDS
        try:
            self.client.connect("localhost", self.port, **session)
        except OSError as error:
            return f"{type(error).__name__}: {error}"
        self.client.loop_start()
        assert self._answered.wait(ANSWER_SECONDS), "the broker says nothing"
        return self._answer

    def publish(self, topic: str, payload: bytes = b"{}") -> str:
        return self._wait_for(self.client.publish(topic, payload, qos=1).mid)

    def subscribe(self, topic: str) -> str:
        mid = self.client.subscribe(topic, qos=1)[1]
        assert mid is not None
        self._subscribed.append(topic)
        return self._wait_for(mid)

    def unsubscribe_all(self) -> None:
        """The session outlives the connection: what other tests send must not wait in it."""
        while self._subscribed:
            mid = self.client.unsubscribe(self._subscribed.pop())[1]
            assert mid is not None
            self._wait_for(mid)

    def drop(self) -> None:
        """End the connection without a word, as a device whose battery is empty does."""
        connection = self.client.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)
        assert self.lost.wait(ANSWER_SECONDS)

    def close(self) -> None:
        with suppress(Exception):
            self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self) -> Self:
        answer = self.open()
        assert answer == "Success", answer
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait_for(self, mid: int) -> str:
        with self._something:
            assert self._something.wait_for(lambda: mid in self._acknowledged, ANSWER_SECONDS)
            return self._acknowledged[mid]

    def _note(self, mid: int, reason: str) -> None:
        with self._something:
            self._acknowledged[mid] = reason
            self._something.notify_all()

    def _on_connect(self, _c: Any, _u: Any, _flags: Any, reason: Any, _p: Any) -> None:
        self._answer = str(reason)
        self._answered.set()

    def _on_disconnect(self, _c: Any, _u: Any, _flags: Any, reason: Any, _p: Any) -> None:
        self.why_lost = str(reason)
        if not self._answered.is_set():
            self._answer = f"closed: {reason}"
            self._answered.set()
        self.lost.set()

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload)))
        self.arrived.set()
