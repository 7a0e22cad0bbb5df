"""A connection to a Kafka broker that is given up is closed before its event loop ends."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from scad import kafka_connections
from scad.kafka_connections import connections_closed
from scad.tls import client_context

SLOW_SECONDS = 0.3
"""How long the server takes to answer a goodbye: a round trip of TLS, made long."""


class SilentBroker:
    """Speaks TLS and never answers a request; says goodbye late, or only at the end of the test."""

    def __init__(self, folder: Path, polite: bool) -> None:
        key, self.certificate = folder / "key", folder / "certificate"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", key, "-out", self.certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"localhost:{self._listener.getsockname()[1]}"
        self._polite = polite
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        accepted, _ = self._listener.accept()
        with self._context.wrap_socket(accepted, server_side=True) as peer:
            while peer.recv(1000):  # the request, and then the goodbye
                pass
            self._over.wait(SLOW_SECONDS if self._polite else None)

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()


async def give_up(broker: SilentBroker) -> None:
    """What is left is a connection that was told to close and waits for the goodbye."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=broker.address,
        request_timeout_ms=200,
        security_protocol="SSL",
        ssl_context=client_context(broker.certificate.read_text()),
    )
    with pytest.raises(KafkaConnectionError):
        await admin.start()
    await admin.close()
    assert open_still() == 1, "aiokafka waits for it now: this module is not needed any more"


def open_still() -> int:
    loop = asyncio.get_running_loop()
    return sum(not closed.done() for closed in kafka_connections._closing if closed.get_loop() is loop)


def test_a_goodbye_that_takes_its_time_is_waited_for(tmp_path: Path) -> None:
    broker = SilentBroker(tmp_path, polite=True)

    async def ask() -> None:
        await give_up(broker)
        await connections_closed()
        assert open_still() == 0

    try:
        asyncio.run(ask())
    finally:
        broker.end()
    gc.collect()  # a socket that was left open is a warning, and so a failure


def test_a_broker_that_never_says_goodbye_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = SilentBroker(tmp_path, polite=False)

    async def ask() -> None:
        await give_up(broker)
        with monkeypatch.context() as changed:
            changed.setattr(kafka_connections, "CLOSE_SECONDS", 0.1)
            await connections_closed()
        assert open_still() == 1
        await asyncio.to_thread(broker.end)
        await connections_closed()
        assert open_still() == 0

    try:
        asyncio.run(ask())
    finally:
        broker.end()
    gc.collect()
