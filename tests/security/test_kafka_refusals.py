"""Whom the Kafka broker refuses, by PLAIN as deployed and by SCRAM, and that both sides say so."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import aiokafka.errors
import pytest
import structlog
from aiokafka.admin import AIOKafkaAdminClient
from msgspec.structs import replace
from secured import Devices
from structlog.testing import capture_logs

from scad.kafka_connections import connections_closed
from scad.services import KafkaNode, SecureListener, free_port, wait_until
from scad.settings import Settings
from streams.kafka import (
    KafkaSetupError,
    Record,
    ensure_topics,
    make_consumer,
    make_producer,
    produce,
    started,
)
from streams.topics import TELEMETRY

LOG_SECONDS = 30.0


@pytest.fixture(autouse=True, scope="module")
def _collected() -> Iterator[None]:
    """A connection that was left open is a warning, and so a failure, here and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that has written before keeps what it wrote through, and cannot be listened to."""
    monkeypatch.setattr("streams.kafka.log", structlog.get_logger())


@pytest.fixture(scope="module")
def node(kafka: object, devices: Devices, services_folder: Path) -> Iterator[KafkaNode]:
    """A broker with a listener of each kind: in the open for its own kind, by TLS with accounts for us."""
    ports = (free_port(), free_port(), free_port())
    made = KafkaNode(services_folder / "accounts", 1, [ports[:2]], "Sc2NhZC1hY2NvdW50cy0wMQ")
    made.secure = SecureListener(
        ports[2], devices.secrets / "kafka_keystore", {"scad": "right", "other": "else"}
    )
    with made.start() as running:
        yield running


@pytest.fixture(params=["SCRAM-SHA-512", "PLAIN"])
def settings(node: KafkaNode, devices: Devices, request: pytest.FixtureRequest) -> Settings:
    assert node.secure is not None
    return Settings(
        kafka=f"localhost:{node.secure.port}",
        partitions=1,
        kafka_tls=True,
        kafka_ca=devices.authority,
        kafka_user="scad",
        kafka_password="right",
        kafka_mechanism=request.param,
    )


def logged(node: KafkaNode, words: str) -> None:
    wait_until(lambda: words in node.log_path.read_text(), LOG_SECONDS, f"{words!r} in Kafka's log")


def test_every_client_of_ours_works_with_an_account_over_tls(settings: Settings) -> None:
    async def send_and_read() -> bytes | None:
        await ensure_topics(settings)
        producer = await make_producer(settings, "test")
        (sent,) = await produce(producer, [Record(TELEMETRY, b"sc-1", settings.kafka_mechanism.encode())])
        await producer.stop()
        consumer = await started(make_consumer(settings, TELEMETRY, client_id="test"), settings)
        (place,) = consumer.assignment()
        consumer.seek(place, sent.offset)
        record = await consumer.getone()
        await consumer.stop()
        value: bytes | None = record.value
        return value

    assert asyncio.run(send_and_read()) == settings.kafka_mechanism.encode()


def _producer(settings: Settings) -> None:
    asyncio.run(make_producer(settings, "test"))


def _consumer(settings: Settings) -> None:
    async def start() -> None:
        consumer = make_consumer(settings, TELEMETRY, client_id="test")
        try:
            await started(consumer, settings)
        finally:
            await consumer.stop()
            await connections_closed()

    asyncio.run(start())


@pytest.mark.parametrize("client", [lambda s: asyncio.run(ensure_topics(s)), _producer, _consumer])
@pytest.mark.parametrize("wrong", [{"kafka_password": "wrong"}, {"kafka_user": "nobody"}])
def test_wrong_credentials_end_every_client_and_are_logged_on_both_sides(
    node: KafkaNode, settings: Settings, client: Callable[[Settings], None], wrong: dict[str, str]
) -> None:
    with capture_logs() as logs, pytest.raises(KafkaSetupError, match="refuses the account") as refused:
        client(replace(settings, **wrong))
    assert "SCAD_KAFKA_PASSWORD" in str(refused.value)  # the remedy
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["kafka.refused"]
    assert "wrong" not in str(logs)
    assert "right" not in str(logs)
    logged(node, "Failed authentication with /127.0.0.1")


def test_a_broker_that_another_authority_signed_is_not_given_the_password(
    node: KafkaNode, settings: Settings, devices: Devices, openssl: Callable[..., None], tmp_path: Path
) -> None:
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", "/CN=another", "-keyout", tmp_path / "ca.key", "-out", tmp_path / "ca.crt"),
    )
    with (
        capture_logs() as logs,
        pytest.raises(KafkaSetupError, match=r"not to be trusted: .* see SCAD_KAFKA_CA"),
    ):
        asyncio.run(ensure_topics(replace(settings, kafka_ca=(tmp_path / "ca.crt").read_text())))
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["kafka.refused"]
    elsewhere = settings.kafka.replace("localhost", "127.0.0.1")  # a name that is not in the certificate
    with pytest.raises(KafkaSetupError, match="not to be trusted"):
        asyncio.run(ensure_topics(replace(settings, kafka=elsewhere)))


@pytest.mark.parametrize("given", [{}, {"security_protocol": "SSL"}])
def test_nobody_gets_in_without_tls_or_without_an_account(
    node: KafkaNode, settings: Settings, devices: Devices, given: dict[str, str]
) -> None:
    async def ask() -> None:
        tls = {"ssl_context": devices.context()} if given else {}
        admin = AIOKafkaAdminClient(
            bootstrap_servers=settings.kafka, request_timeout_ms=3_000, **given, **tls
        )
        try:
            await admin.start()
            await admin.list_topics()
        finally:
            await admin.close()
            await connections_closed()

    with pytest.raises((aiokafka.errors.KafkaError, OSError)):
        asyncio.run(ask())
    logged(node, "Unexpected Kafka request" if given else "SSL handshake failed")
