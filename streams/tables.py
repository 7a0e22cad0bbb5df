"""Faust tables whose changelog is written before anything that leans on it, and fenced by a token.

A table's record is kept under the key NAME NUL EPOCH.GENERATION. The pair is the owner's token: a worker
that takes a partition over gets a higher one than any it finds there. A worker that was paused and does
not know yet that it lost the partition may still append a record, but only under its own, lower token;
recovery keeps the highest token of each name, so that record changes nothing, whatever log compaction
removes. Records of lower tokens are deleted by the owner, never as the last record of a partition, because
Faust's recovery waits for a last record that compaction would one day take away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, cast

import faust
import structlog
from aiokafka import AIOKafkaProducer
from faust.stores import memory
from faust.types import TP

from streams.kafka import Record, produce
from streams.transport import BatchConsumer, BatchSchema, FencedError, Grant, note_changelog

log = structlog.get_logger()

SEPARATOR = b"\x00"
OLD_RECORDS_PER_WRITE = 500
"""Deletions of old records that one write carries along; after a takeover they are spread over the writes."""
RECOVERY_BUFFER = 2  # fetches, not records; Faust treats 1 as something else


class Token(NamedTuple):
    """Who wrote a record: rises at every takeover. The epoch counts takeovers; the consumer group's
    generation tells two workers apart that took over without seeing each other's records."""

    epoch: int
    generation: int


NO_TOKEN = Token(-1, -1)


def encode_key(name: str, token: Token) -> bytes:
    return name.encode() + SEPARATOR + b"%d.%d" % token


def decode_key(key: bytes) -> tuple[str, Token]:
    """Raises ValueError for what `encode_key` did not write."""
    name, _, text = key.rpartition(SEPARATOR)
    epoch, _, generation = text.partition(b".")
    return name.decode(), Token(int(epoch), int(generation))


class TokenStore(memory.Store):  # type: ignore[type-arg]
    """The table in memory: the value of the highest token for each name, by partition."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tokens: dict[str, Token] = {}
        self.names: dict[int, set[str]] = defaultdict(set)
        self.old: dict[int, dict[bytes, None]] = defaultdict(dict)
        self.mine: dict[int, Token] = {}

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Called by Faust's recovery with events that carry a `Batch` each."""
        for event in batch:
            for record in event.value.records:
                try:
                    self._apply(record.partition, record.key, record.value)
                except ValueError:
                    place = f"{record.topic}[{record.partition}]@{record.offset}"
                    log.error("table.poison_record", record=place, key=record.key)

    def _apply(self, partition: int, key: bytes, value: bytes | None) -> None:
        name, token = decode_key(key)
        known = self.tokens.get(name, NO_TOKEN)
        if value is None:
            self.old[partition].pop(key, None)
            if token == known:
                self.forget(name, partition)
        elif token < known:
            self.old[partition][key] = None
        else:
            self.put(name, partition, token, value)

    def put(self, name: str, partition: int, token: Token, value: bytes) -> None:
        """Enter a record that is in the changelog."""
        known = self.tokens.get(name)
        if known is not None and known != token:
            self.old[partition][encode_key(name, known)] = None
        self.data[name] = value
        self.tokens[name] = token
        self.names[partition].add(name)

    def forget(self, name: str, partition: int) -> None:
        self.data.pop(name, None)
        self.tokens.pop(name, None)
        self.names[partition].discard(name)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Drop what is no longer ours, and take a token for each partition that is."""
        partitions = {tp.partition for tp in active_tps}
        for partition in set(self.names) - partitions:
            for name in self.names.pop(partition):
                self.data.pop(name, None)
                self.tokens.pop(name, None)
            self.old.pop(partition, None)
        self.mine.clear()
        for partition in partitions:
            # Anew at every rebalance, even for a partition that seems never to have left: whoever had it
            # in a generation that we missed may have a token without having written.
            highest = max((self.tokens[name] for name in self.names[partition]), default=NO_TOKEN)
            self.mine[partition] = Token(highest.epoch + 1, self.app.consumer_generation_id)


class TokenTable(faust.Table):  # type: ignore[type-arg]
    """A Faust table with a `TokenStore`. Nothing assigns to it: `write` is the only way in."""

    def __init__(self, app: Any, name: str, partitions: int, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        super().__init__(
            app,
            name=name,
            partitions=partitions,
            schema=BatchSchema(),
            recovery_buffer_size=RECOVERY_BUFFER,
        )

    def _new_store(self) -> TokenStore:
        return TokenStore("memory://", self.app, self, table_name=self.name, loop=self.loop)

    @property
    def consumer(self) -> BatchConsumer:
        return cast(BatchConsumer, self.app.consumer)

    @property
    def store(self) -> TokenStore:
        return cast(TokenStore, self.data)

    def get_value(self, name: str) -> bytes | None:
        value: bytes | None = self.store.data.get(name)
        return value

    def values_of(self, partition: int) -> Iterator[tuple[str, bytes]]:
        """Every name and value of one partition."""
        for name in list(self.store.names.get(partition, ())):
            value = self.get_value(name)
            if value is not None:
                yield name, value

    async def write(self, grant: Grant, values: Mapping[str, bytes]) -> None:
        """Put values into the changelog, wait for all in-sync replicas, then into the table.

        Raises FencedError when the partition was given up meanwhile: the records that may have been
        written then have a token that the next owner's outrank, or are read again by ourselves.
        """
        store = self.store
        token = store.mine.get(grant.partition)
        if token is None or not self.consumer.holds(grant):
            raise FencedError(f"{self.name}: partition {grant.partition} is not ours")
        topic, partition = self.changelog_topic_name, grant.partition
        current = {encode_key(name, token): value for name, value in values.items()}
        gone = [key for key in islice(store.old[partition], OLD_RECORDS_PER_WRITE) if key not in current]
        records = [Record(topic, key, None, partition=partition) for key in gone]
        records += [Record(topic, key, value, partition=partition) for key, value in current.items()]
        written = await produce(self._producer, records)
        if not self.consumer.holds(grant):
            raise FencedError(f"{self.name}: partition {grant.partition} was given up while it was written")
        note_changelog(self.app, TP(topic, partition), [metadata.offset for metadata in written])
        for key in gone:
            store.old[partition].pop(key, None)
        for name, value in values.items():
            store.put(name, partition, token, value)
