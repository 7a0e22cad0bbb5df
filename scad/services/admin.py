"""What is asked of a Kafka-protocol broker about itself, from code inside or outside of an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from scad.kafka_connections import connections_closed
from scad.services.places import ServiceError

REQUEST_MS = 5_000
GONE_SECONDS = 30.0
POLL_SECONDS = 0.05

T = TypeVar("T")


def with_admin(
    bootstrap: str,
    ask: Callable[[AIOKafkaAdminClient], Awaitable[T]],
    security: Mapping[str, Any] | None = None,
) -> T:
    """Run `ask` with a connected admin client, in a thread with an event loop of its own.

    `security`: what `scad.tls.kafka_security` gives; None: no TLS.
    """

    async def session() -> T:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_MS, **(security or {})
        )
        try:
            await admin.start()
            return await ask(admin)
        finally:
            await admin.close()
            await connections_closed()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(session())).result()


def broker_ids(bootstrap: str, security: Mapping[str, Any] | None = None) -> set[int]:
    """Ids of the brokers that are up, as the one at `bootstrap` sees them; empty when it does not answer."""

    async def ask(admin: AIOKafkaAdminClient) -> set[int]:
        cluster = await admin.describe_cluster()
        return {int(broker["node_id"]) for broker in cluster["brokers"]}

    try:
        return with_admin(bootstrap, ask, security)
    except (KafkaError, OSError):
        return set()


def delete_topics(bootstrap: str, topics: Iterable[str] | None = None) -> None:
    """Delete these topics (default: all but Kafka's own), wait until they are gone. Raises ServiceError."""

    async def ask(admin: AIOKafkaAdminClient) -> None:
        there = {name for name in await admin.list_topics() if not name.startswith("__")}
        doomed = there if topics is None else there & set(topics)
        if doomed:
            await admin.delete_topics(sorted(doomed))
        async with asyncio.timeout(GONE_SECONDS):
            while doomed & set(await admin.list_topics()):  # noqa: ASYNC110 - the broker sends no event
                await asyncio.sleep(POLL_SECONDS)

    try:
        with_admin(bootstrap, ask)
    except TimeoutError:
        raise ServiceError(f"Kafka has not deleted its topics within {GONE_SECONDS:g} s") from None
