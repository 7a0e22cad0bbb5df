"""Kafka: topics as the program needs them, replicas in sync, who is at work and how far behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest, DescribeGroupsRequest_v1

from scad.checks.finding import Finding, fault, fine, warning
from scad.kafka_connections import connections_closed
from scad.settings import Settings
from scad.tls import kafka_security
from streams import topics
from streams.kafka import SPECS, WORKER_GROUP, KafkaSetupError, TopicSpec, _raise_if_refused

PART = "kafka"
REQUEST_MS = 20_000
BEHIND_RECORDS = 100_000
"""A worker takes some thousand readings a second: more than a minute behind."""
GROUPS = {
    WORKER_GROUP: ("worker", "start `scad worker`, and see its log"),
    "scad-writer": ("writer", "start `scad worker` (it writes too) or `scad writer`, and see its log"),
    "scad-receipts": ("bridge", "start `scad bridge`, and see its log"),
}
"""Consumer group to the process that forms it, and what to do when nobody is in it."""
OF_GROUP = {
    WORKER_GROUP: (topics.TELEMETRY, topics.READINGS),
    "scad-writer": (topics.READINGS, topics.ALERTS),
}


def check_kafka(settings: Settings) -> list[Finding]:
    return asyncio.run(_check(settings))


async def _check(settings: Settings) -> list[Finding]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka, request_timeout_ms=REQUEST_MS, **kafka_security(settings)
    )
    try:
        await admin.start()
        found = await _topics(admin, settings)
        if settings.kafka_embedded:
            return found  # tansu answers neither of the next
        found += await _configs(admin)
        found += await _groups(admin, settings)
        return found
    except KafkaError as error:
        return [fault(PART, *await _why(settings, error))]
    finally:
        await admin.close()
        await connections_closed()


async def _why(settings: Settings, error: KafkaError) -> tuple[str, str]:
    try:
        await _raise_if_refused(settings)
    except KafkaSetupError as refused:
        problem, _, remedy = str(refused).partition("; ")
        return problem, remedy
    return (
        f"{settings.kafka} does not answer ({type(error).__name__}: {error})",
        "is Kafka running, and SCAD_KAFKA its host:port? SCAD_KAFKA_TLS right?",
    )


async def _topics(admin: AIOKafkaAdminClient, settings: Settings) -> list[Finding]:
    there = set(await admin.list_topics())
    missing = [spec.name for spec in SPECS if spec.name not in there]
    found = []
    if missing:
        remedy = (
            "`scad kafka prepare` makes them, with SCAD_PARTITIONS and SCAD_REPLICATION (with containers the service "
            "`topics` does: see its log); where Kafka has no access lists any bridge or worker makes them too"
        )
        found.append(fault(PART, f"no topic {', '.join(missing)}", remedy))
    for topic in await admin.describe_topics([spec.name for spec in SPECS if spec.name in there]):
        name, partitions = topic["topic"], topic["partitions"]
        if len(partitions) != settings.partitions:
            found.append(
                fault(
                    PART,
                    f"topic {name} has {len(partitions)} partitions and SCAD_PARTITIONS is {settings.partitions}",
                    "set it to what exists; another number is another installation (docs/capacity.md)",
                )
            )
        replicas = min(len(each["replicas"]) for each in partitions)
        if replicas < settings.replication:
            found.append(
                fault(
                    PART,
                    f"topic {name} has {replicas} replicas and SCAD_REPLICATION is {settings.replication}",
                    "kafka-reassign-partitions.sh adds replicas to a topic that exists",
                )
            )
        behind = sum(len(each["isr"]) < len(each["replicas"]) for each in partitions)
        if behind:
            found.append(
                fault(
                    PART,
                    f"topic {name}: {behind} partitions lack a replica in sync",
                    "start the broker",
                )
            )
    return found or [fine(PART, f"{len(SPECS)} topics of {settings.partitions} partitions, replicas in sync")]


async def _configs(admin: AIOKafkaAdminClient) -> list[Finding]:
    wanted = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in SPECS]
    there: dict[str, Mapping[str, str]] = {}
    for answer in await admin.describe_configs(wanted):
        for _error, _message, _kind, name, entries in (entry[:5] for entry in answer.resources):
            there[name] = {entry[0]: entry[1] for entry in entries}
    found = []
    for spec in SPECS:
        for key, value in spec.config.items():
            is_ = there.get(spec.name, {}).get(key)
            if is_ is not None and not _enough(key, is_, value):
                found.append(_config_fault(spec, key, is_, value))
    return found or [fine(PART, "every topic keeps its records as long as it has to")]


def _enough(key: str, is_: str, wanted: str) -> bool:
    """Whether a topic's setting does what ours asks for; keeping more, or larger records, is an operator's choice."""
    if key in ("retention.ms", "max.message.bytes"):
        return int(is_) == -1 or int(is_) >= int(wanted)
    return key != "cleanup.policy" or is_ == wanted


def _config_fault(spec: TopicSpec, key: str, is_: str, wanted: str) -> Finding:
    return fault(
        PART,
        f"topic {spec.name}: {key} is {is_} and has to be {wanted}",
        f"kafka-configs.sh --alter --topic {spec.name} --add-config {key}={wanted}",
    )


async def _groups(admin: AIOKafkaAdminClient, settings: Settings) -> list[Finding]:
    found: list[Finding] = []
    try:
        answers = [await _members(admin, name) for name in GROUPS]
    except GroupCoordinatorNotAvailableError:  # a broker that no group has ever asked
        return [fault(process, "none has ever been at work", remedy) for process, remedy in GROUPS.values()]
    for answer in answers:
        for group in answer.groups:
            name, members = str(group[1]), len(group[5])
            process, remedy = GROUPS[name]
            if members:
                found.append(fine(process, f"{members} at work (group {name}, {group[2]})"))
                if name == WORKER_GROUP and members > settings.partitions:
                    found.append(
                        warning(
                            process,
                            f"{members} workers share {settings.partitions} partitions",
                            "the rest has nothing to do",
                        )
                    )
            else:
                found.append(fault(process, f"none is at work: nobody is in group {name}", remedy))
    there = set(await admin.list_topics())  # a group may remember a topic that is gone: nobody knows its end
    for name, read in OF_GROUP.items():
        found += await _behind(admin, settings, name, tuple(there.intersection(read)))
    return found


class _Describe(DescribeGroupsRequest):  # type: ignore[misc]  # the library has no types
    """aiokafka 0.14 reads the answer to version 3 as if it were of version 2, and closes the connection."""

    def build(self, _newest: object) -> DescribeGroupsRequest_v1:
        return DescribeGroupsRequest_v1(self._groups)


async def _members(admin: AIOKafkaAdminClient, group: str) -> Any:
    return await admin._send_request(_Describe([group]), await admin.find_coordinator(group))


async def _behind(
    admin: AIOKafkaAdminClient, settings: Settings, group: str, read: tuple[str, ...]
) -> list[Finding]:
    committed: Mapping[TopicPartition, Any] = await admin.list_consumer_group_offsets(group)
    places = [place for place in committed if place.topic in read and committed[place].offset >= 0]
    if not places:
        return []
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, **kafka_security(settings))
    try:
        await consumer.start()
        ends = await consumer.end_offsets(places)
    finally:
        await consumer.stop()
    behind = sum(max(0, ends[place] - committed[place].offset) for place in places)
    process = GROUPS[group][0]
    if behind > BEHIND_RECORDS:
        remedy = "more workers, up to the number of partitions, or a faster database (docs/capacity.md)"
        return [warning(process, f"{behind} records behind", remedy)]
    return [fine(process, f"{behind} records behind")]
