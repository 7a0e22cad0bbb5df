"""Each account of the deployment's Kafka does what its access list says and nothing else, and the broker says so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
from deployed import ROOT
from msgspec.structs import replace
from stronghold import Stronghold

from scad.kafka_connections import connections_closed
from scad.services import wait_until
from scad.services.admin import with_admin
from scad.settings import Settings
from scad.tls import kafka_security
from streams import kafka
from streams.access import ROLES, Role, grant

ACCOUNTS = ("bridge", "worker", "writer", "enrol")
"""Those of compose.yaml, and `writer`, which is for where it runs apart from the worker."""
TOPICS = [spec.name for spec in kafka.SPECS]
GROUPS = sorted({group for role in ROLES.values() for group in role.groups})
LOG_SECONDS = 30.0

each_account = pytest.mark.parametrize("account", ACCOUNTS)


@pytest.fixture(scope="module")
def settings_of(stronghold: Stronghold) -> Callable[[str], Settings]:
    def settings(account: str) -> Settings:
        return replace(
            stronghold.kafka.settings, kafka_user=account, kafka_password=stronghold.kafka_password(account)
        )

    for account in ACCOUNTS:  # lists are in force a moment after they are written
        line = settings(account)
        wait_until(
            lambda line=line: set(TOPICS) <= topics_seen(line), LOG_SECONDS, f"{account} sees the topics"
        )
    return settings


def topics_seen(settings: Settings) -> set[str]:
    async def ask(admin: AIOKafkaAdminClient) -> set[str]:
        return set(await admin.list_topics())

    return with_admin(settings.kafka, ask, kafka_security(settings))


def refused(stronghold: Stronghold, account: str, what: str, name: str) -> None:
    """Wait until the broker's log says so."""
    words = re.compile(rf"Principal = User:{account} is Denied operation = {what} .*:{re.escape(name)} ")
    wait_until(lambda: bool(words.search(stronghold.kafka.log_path.read_text())), LOG_SECONDS, words.pattern)


async def ended(work: Awaitable[None]) -> None:
    try:
        await work
    finally:
        await connections_closed()


@each_account
def test_an_account_writes_its_topics_and_no_other(
    stronghold: Stronghold, settings_of: Callable[[str], Settings], account: str
) -> None:
    settings = settings_of(account)

    async def write() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, **kafka_security(settings))
        await producer.start()
        try:
            for topic in TOPICS:
                if topic not in ROLES[account].writes:
                    with pytest.raises(TopicAuthorizationFailedError):
                        await producer.send_and_wait(topic, b"{}", key=b"x")
        finally:
            await producer.stop()

    asyncio.run(ended(write()))
    for topic in set(TOPICS) - set(ROLES[account].writes):
        refused(stronghold, account, "WRITE", topic)


@each_account
def test_an_account_reads_its_topics_and_no_other(
    stronghold: Stronghold, settings_of: Callable[[str], Settings], account: str
) -> None:
    settings = settings_of(account)

    async def read() -> None:
        for topic in TOPICS:
            consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, **kafka_security(settings))
            consumer.assign([TopicPartition(topic, 0)])
            await consumer.start()
            try:
                await consumer.seek_to_beginning()
                if topic in ROLES[account].reads:
                    await consumer.getmany(timeout_ms=50)
                    continue
                with pytest.raises(TopicAuthorizationFailedError):
                    await asyncio.wait_for(consumer.getone(), LOG_SECONDS)
            finally:
                await consumer.stop()

    asyncio.run(ended(read()))
    for topic in set(TOPICS) - set(ROLES[account].reads):
        refused(stronghold, account, "READ", topic)


@each_account
def test_an_account_joins_no_group_of_another(
    stronghold: Stronghold, settings_of: Callable[[str], Settings], account: str
) -> None:
    settings = settings_of(account)
    others = set(GROUPS) - set(ROLES[account].groups)

    async def join() -> None:
        for group in others:
            consumer = AIOKafkaConsumer(
                TOPICS[0], bootstrap_servers=settings.kafka, group_id=group, **kafka_security(settings)
            )
            try:
                with pytest.raises(GroupAuthorizationFailedError):
                    await consumer.start()
            finally:
                await consumer.stop()

    asyncio.run(ended(join()))
    for group in others:
        refused(stronghold, account, "DESCRIBE", group)


@each_account
def test_an_account_makes_and_deletes_no_topic_and_gives_itself_no_right(
    stronghold: Stronghold, settings_of: Callable[[str], Settings], account: str
) -> None:
    settings = settings_of(account)

    async def reach() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka, **kafka_security(settings))
        await admin.start()
        try:
            made = await admin.create_topics([NewTopic(f"scad.of-{account}", 1, 1)])
            assert [code for _, code, *_ in made.topic_errors] == [TopicAuthorizationFailedError.errno]
            gone = await admin.delete_topics([kafka.PATIENTS_CHANGELOG])
            assert [code for _, code, *_ in gone.topic_error_codes] == [TopicAuthorizationFailedError.errno]
        finally:
            await admin.close()
        with pytest.raises(ClusterAuthorizationFailedError):
            await grant(settings, {account: Role(reads=(kafka.PATIENTS_CHANGELOG,))})

    asyncio.run(ended(reach()))
    refused(stronghold, account, "CREATE", f"scad.of-{account}")
    refused(stronghold, account, "DELETE", kafka.PATIENTS_CHANGELOG)
    refused(stronghold, account, "ALTER", "kafka-cluster")


def test_a_process_whose_topics_are_not_made_waits_and_says_for_what(
    stronghold: Stronghold, settings_of: Callable[[str], Settings]
) -> None:
    settings, missing = settings_of("bridge"), [kafka.TopicSpec("scad.not-there")]

    async def wait() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka, **kafka_security(settings))
        await admin.start()
        try:
            with pytest.raises(kafka.NotMadeYetError, match=r"'bridge' may not make it"):
                await kafka._create_missing(admin, settings, missing)
        finally:
            await admin.close()

    asyncio.run(ended(wait()))
    assert kafka.NotMadeYetError.retriable


def test_preparing_again_changes_nothing(stronghold: Stronghold) -> None:
    said = [stronghold.scad("topics", "kafka", "prepare").stdout for _ in range(2)]
    lines = sum(len(role.rights()) for role in ROLES.values())
    assert said[0] == said[1] == f"the topics are there, {lines} lines of access lists are in force\n"


def test_every_topic_of_an_access_list_is_the_platforms_and_the_documentation_has_the_table() -> None:
    page = (ROOT / "docs/security.md").read_text()
    rows = re.findall(
        r"^\| `([^`]+)` \| (.*) \| (.*) \| (.*) \|$", page.partition("## Roles of Kafka")[2], re.MULTILINE
    )
    told = {
        name: Role(*(tuple(re.findall(r"`([^`]+)`", cell)) for cell in (reads, writes, groups)))
        for name, reads, writes, groups in rows
        if name in ROLES
    }
    assert {name: tuple(map(set, role)) for name, role in told.items()} == {
        name: tuple(map(set, role)) for name, role in ROLES.items()
    }
    for role in ROLES.values():
        assert {*role.reads, *role.writes} <= set(TOPICS)
