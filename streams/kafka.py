"""Kafka: topics, producers and consumers, and what tansu needs to be treated with.

Guarantees that others lean on:
- `produce` returns when every record is on all in-sync replicas (acks=all), however long a broker is away.
- A real Kafka gets an idempotent producer, so that a retry neither doubles nor reorders. tansu does not
  have one that aiokafka can use; there a retry may double, which everything after it must bear anyway.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.structs import RecordMetadata

from scad.kafka_connections import connections_closed
from scad.settings import Settings
from scad.tls import kafka_security
from streams import topics

log = structlog.get_logger()

WORKER_GROUP = "scad-worker"  # Faust's application id: consumer group and prefix of the changelogs
PATIENTS_TABLE = "patients"
DEVICES_TABLE = "devices"
PATIENTS_CHANGELOG = f"{WORKER_GROUP}-{PATIENTS_TABLE}-changelog"
DEVICES_CHANGELOG = f"{WORKER_GROUP}-{DEVICES_TABLE}-changelog"

DAY_MS = 86_400_000
TELEMETRY_KEPT_MS = 7 * DAY_MS  # the raw truth outlives a long weekend's outage of everything behind it
READINGS_KEPT_MS = 7 * DAY_MS
QUARANTINE_KEPT_MS = 56 * DAY_MS  # a mended cause is replayed weeks later
ALERTS_KEPT_MS = 56 * DAY_MS
PASSING_KEPT_MS = DAY_MS  # receipts and states: worthless once newer ones exist

MAX_RECORD_BYTES = 4 * 1024 * 1024
"""Largest record of any topic. A device's payload is at most 256 KiB; a patient's state holds at most the
histories of 35 days, some hundreds of kB where a rhythm monitor is worn."""
BATCH_BYTES = 1_000_000
"""Records of one partition that go in one request: the next waits for its acknowledgement. The states of a batch of
readings are some 3 MB, so three requests and not two dozen; just under what a broker takes by default."""
TANSU_BATCH_BYTES = 1
"""tansu reports a partition's end from the first record of the last batch: one record a batch mends that."""
FETCH_WAIT_MS = 50
"""Long poll. aiokafka asks again only after the answer, so a partition that has just been emptied waits
this long for its turn; 50 ms costs some 20 idle requests a second."""
TANSU_FETCH_WAIT_MS = 20  # tansu does not wake a long poll
TANSU_SESSION_MS = 6_000  # tansu holds each group join for half of it
SESSION_MS = 10_000
HEARTBEAT_MS = 1_000
RETRY_SECONDS = 0.5  # between two attempts on a broker that is away
REQUEST_TIMEOUT_MS = 15_000
"""One request. Above any session timeout in use, below what a person waits for."""


REFUSALS = (
    AuthenticationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)


class KafkaSetupError(RuntimeError):
    """The topics on the broker are not what the settings ask for; the message says what to do."""


class NotMadeYetError(KafkaError):  # type: ignore[misc]  # the library has no types
    """A topic is missing, and making it is another account's work (`scad kafka prepare`): it is waited for."""

    retriable = True


@dataclass(frozen=True)
class TopicSpec:
    """What a topic must be; `config` in Kafka's own names."""

    name: str
    config: Mapping[str, str] = field(default_factory=dict)


class Record(NamedTuple):
    """One record to be produced. Without a partition the key decides, as it does for every producer here."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


def _deleted_after(name: str, kept_ms: int) -> TopicSpec:
    config = {"cleanup.policy": "delete", "retention.ms": str(kept_ms)}
    return TopicSpec(name, {**config, "max.message.bytes": str(MAX_RECORD_BYTES)})


def _compacted(name: str) -> TopicSpec:
    # Rolled hourly and cleaned when a third is old: recovery reads few records for each key.
    return TopicSpec(
        name,
        {
            "cleanup.policy": "compact",
            "segment.ms": "3600000",
            "min.cleanable.dirty.ratio": "0.3",
            "max.message.bytes": str(MAX_RECORD_BYTES),
        },
    )


SPECS: tuple[TopicSpec, ...] = (
    _deleted_after(topics.TELEMETRY, TELEMETRY_KEPT_MS),
    _deleted_after(topics.BACKLOG, TELEMETRY_KEPT_MS),
    _deleted_after(topics.READINGS, READINGS_KEPT_MS),
    _deleted_after(topics.QUARANTINE, QUARANTINE_KEPT_MS),
    _deleted_after(topics.ALERTS, ALERTS_KEPT_MS),
    _deleted_after(topics.RECEIPTS, PASSING_KEPT_MS),
    _deleted_after(topics.STATUS, PASSING_KEPT_MS),
    _compacted(topics.ASSIGNMENTS),
    _compacted(topics.CARE_PLANS),
    _compacted(PATIENTS_CHANGELOG),
    _compacted(DEVICES_CHANGELOG),
)


async def ensure_topics(settings: Settings, specs: Sequence[TopicSpec] = SPECS) -> None:
    """Create the topics that are missing; waits for a broker that is away.

    All have the same number of partitions, because readings, care plans and changelogs of a patient must
    meet on one worker. Raises KafkaSetupError when a topic exists with another number.
    """
    while True:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=settings.kafka,
            client_id="scad-topics",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **kafka_security(settings),
        )
        try:
            await admin.start()
            await _create_missing(admin, settings, specs)
            return
        except KafkaConnectionError:
            await _raise_if_refused(settings)
            log.info("kafka.waiting", servers=settings.kafka)
        except KafkaError as error:
            if not error.retriable:
                raise
            log.info(
                "kafka.waiting", servers=settings.kafka, error=type(error).__name__, detail=str(error)[:200]
            )
        finally:
            await admin.close()
            await connections_closed()
        await asyncio.sleep(RETRY_SECONDS)


async def _create_missing(admin: AIOKafkaAdminClient, settings: Settings, specs: Sequence[TopicSpec]) -> None:
    there = set(await admin.list_topics())
    missing = [spec for spec in specs if spec.name not in there]
    if missing:
        config = {"min.insync.replicas": "2"} if settings.replication >= 3 else {}
        response = await admin.create_topics(
            [
                NewTopic(
                    spec.name,
                    settings.partitions,
                    settings.replication,
                    topic_configs={**spec.config, **config},
                )
                for spec in missing
            ]
        )
        for name, code, *detail in response.topic_errors:
            if code == TopicAuthorizationFailedError.errno:
                raise NotMadeYetError(
                    f"topic {name} is not there and {settings.kafka_user!r} may not make it"
                )
            if code and code != TopicAlreadyExistsError.errno:
                error = for_code(code)(f"topic {name}: {detail[0] if detail else ''}")
                if getattr(error, "retriable", False):
                    raise error
                raise KafkaSetupError(f"{settings.kafka} refused topic {name}: {error}") from error
        log.info("kafka.topics_created", topics=[spec.name for spec in missing])
    for topic in await admin.describe_topics([spec.name for spec in specs]):
        count = len(topic["partitions"])
        if topic["error_code"] or any(part["error_code"] for part in topic["partitions"]):
            raise LeaderNotAvailableError(topic["topic"])  # made a moment ago: ask again
        if count != settings.partitions:
            raise KafkaSetupError(
                f"topic {topic['topic']} has {count} partitions and SCAD_PARTITIONS is "
                f"{settings.partitions}: set it to what exists; another number needs new topics and a replay"
            )


async def make_producer(settings: Settings, client_id: str, exact_ends: bool = True) -> AIOKafkaProducer:
    """A started producer with acks=all; waits for a broker that is away.

    Without `exact_ends` tansu is sent real batches, some ten times faster: for topics of which nobody asks
    where they end. Those that are read back into memory (compacted ones) need it.
    """
    single = settings.kafka_embedded and exact_ends
    while True:
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka,
            client_id=client_id,
            acks="all",
            enable_idempotence=not settings.kafka_embedded,
            max_batch_size=TANSU_BATCH_BYTES if single else BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **kafka_security(settings),
        )
        try:
            await producer.start()
            return producer
        except KafkaError as error:
            await producer.stop()
            await _raise_if_refused(settings)
            await connections_closed()
            log.info("kafka.waiting", servers=settings.kafka, error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)


def make_consumer(
    settings: Settings,
    *names: str,
    client_id: str,
    group_id: str | None = None,
    group_instance_id: str | None = None,
    max_poll_records: int = 2_000,
) -> AIOKafkaConsumer:
    """A consumer that is not started yet; offsets are committed by hand, missing ones mean the beginning.

    `max_poll_records` bounds what one call of getmany can bring.
    """
    return AIOKafkaConsumer(
        *names,
        bootstrap_servers=settings.kafka,
        client_id=client_id,
        group_id=group_id,
        group_instance_id=None if settings.kafka_embedded else group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=max_poll_records,
        fetch_max_wait_ms=TANSU_FETCH_WAIT_MS if settings.kafka_embedded else FETCH_WAIT_MS,
        session_timeout_ms=TANSU_SESSION_MS if settings.kafka_embedded else SESSION_MS,
        rebalance_timeout_ms=TANSU_SESSION_MS if settings.kafka_embedded else SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        **kafka_security(settings),
    )


async def started(consumer: AIOKafkaConsumer, settings: Settings) -> AIOKafkaConsumer:
    """Start a consumer; waits for a broker that is away."""
    while True:
        try:
            await consumer.start()
            return consumer
        except KafkaError as error:
            await _raise_if_refused(settings)
            log.info("kafka.waiting", servers=settings.kafka, error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)


async def produce(producer: AIOKafkaProducer, records: Sequence[Record]) -> list[RecordMetadata]:
    """Send records in their order; return their metadata once all in-sync replicas have them.

    A broker that is away is waited for. Raises KafkaError for what waiting does not mend: a record too
    large, a producer that was fenced, or whose batch a partition without a leader made expire (to be made anew).
    """
    done: list[RecordMetadata | None] = [None] * len(records)
    waiting = list(range(len(records)))
    while waiting:
        futures: list[tuple[int, asyncio.Future[RecordMetadata]]] = []
        failed: list[int] = []
        for index in waiting:
            futures.append((index, await _send(producer, records[index])))
        results = await asyncio.gather(*(future for _, future in futures), return_exceptions=True)
        for (index, _), result in zip(futures, results, strict=True):
            if isinstance(result, BaseException):
                _raise_if_final(result)
                failed.append(index)
            else:
                done[index] = result
        waiting = sorted(failed)
        if waiting:
            log.warning("kafka.produce_retried", records=len(waiting), topic=records[waiting[0]].topic)
            await asyncio.sleep(RETRY_SECONDS)
    return cast(list[RecordMetadata], done)


async def _send(producer: AIOKafkaProducer, record: Record) -> asyncio.Future[RecordMetadata]:
    """Put a record into the producer, which may have to wait for room: the next one must not overtake it."""
    while True:
        try:
            future: asyncio.Future[RecordMetadata] = await producer.send(
                record.topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                headers=list(record.headers),
            )
        except KafkaTimeoutError:  # no room for REQUEST_TIMEOUT_MS; aiokafka has not taken the record
            log.warning("kafka.no_room", topic=record.topic)
        except KafkaError as error:
            _raise_if_final(error)
            log.warning("kafka.send_retried", topic=record.topic, error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return future


async def _raise_if_refused(settings: Settings) -> None:
    """Ask a broker that could not be reached by TLS why: one that refuses who we are, or that we do not trust, is
    not waited for, or it would be asked for ever with the wrong password. Raises KafkaSetupError.

    (aiokafka says only that it cannot be reached, whatever the reason.)
    """
    if not settings.kafka_tls:
        return
    for server in settings.kafka.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            connection = await create_conn(
                host, int(port), request_timeout_ms=REQUEST_TIMEOUT_MS, **kafka_security(settings)
            )
        except REFUSALS as error:
            problem = f"{server} refuses the account {settings.kafka_user!r}: {error}"
            remedy = "see SCAD_KAFKA_USER, SCAD_KAFKA_PASSWORD, SCAD_KAFKA_MECHANISM"
        except ssl.SSLCertVerificationError as error:
            problem = f"{server} is not to be trusted: {error.verify_message}"
            remedy = "see SCAD_KAFKA_CA, and the names in the broker's certificate"
        except (KafkaError, OSError):
            continue  # away: to be waited for
        else:
            connection.close()
            continue
        await connections_closed()  # who is told of it ends, and the event loop with it
        log.error("kafka.refused", server=server, user=settings.kafka_user, problem=problem)
        raise KafkaSetupError(f"{problem}; {remedy}")


def _raise_if_final(error: BaseException) -> None:
    if not (isinstance(error, KafkaError) and error.retriable):
        raise error


def header(headers: Iterable[tuple[str, bytes]] | None, name: str) -> str | None:
    """The first header of that name as text, None when it is absent or not UTF-8."""
    for key, value in headers or ():
        if key == name:
            try:
                return value.decode()
            except UnicodeDecodeError:
                return None
    return None


def consumer_timings(settings: Settings) -> dict[str, Any]:
    """What Faust's own consumer needs to know of the same timings, in seconds and milliseconds."""
    tansu = settings.kafka_embedded
    session = min(settings.session_seconds, TANSU_SESSION_MS / 1000) if tansu else settings.session_seconds
    wait_ms = TANSU_FETCH_WAIT_MS if tansu else FETCH_WAIT_MS
    return {"session_seconds": session, "fetch_wait_ms": wait_ms}
