"""The worker's engine in a bare aiokafka loop: nothing is durable, nothing is committed.

    python -m bench.peers.bare BOOTSTRAP TOPIC PARTITIONS COUNT

The upper bound of what the worker can reach: fetch (as much at once as the worker), decode, evaluate, send signals.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.peers.made import name_of, plan
from bench.peers.stopwatch import Stopwatch
from devices.readings import Reading, from_wire
from devices.times import parse_instant
from streams.agents import FETCH_BYTES, POLL_RECORDS_MAX
from streams.engine import Engine
from streams.protocols import load_file, load_published
from streams.protocols.model import Dated, Library
from streams.signal import encode_signal

ALERTS = "bench.alerts.bare"


def library(begin_ms: int) -> Library:
    protocol = load_file(Path(__file__).with_name("three_rules.toml"))
    return load_published().with_published([Dated(begin_ms, protocol)])


async def run(bootstrap: str, topic: str, partitions: int, count: int, patients: int, begin: str) -> None:
    begin_ms = parse_instant(begin)[0]
    engine = Engine(library(begin_ms - 10 * 86_400_000), silence_by_ticks=True)
    states = {}
    for number in range(patients):  # as the worker, which has its plans before the clock starts
        state = states[name_of(number)] = engine.new_state(name_of(number))
        engine.apply(state, plans=[plan(number, begin_ms)])
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    watch = Stopwatch(count)
    async with producer, consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
        while True:
            fetched = await consumer.getmany(timeout_ms=500, max_records=POLL_RECORDS_MAX)
            for records in fetched.values():
                work: dict[str, list[Reading]] = {}
                for record in records:
                    work.setdefault(record.key.decode(), []).append(from_wire(record.value))
                for patient, readings in work.items():
                    for signal in engine.apply(states[patient], readings):
                        watch.alert(signal.state == "raised")
                        await producer.send(ALERTS, encode_signal(signal), patient.encode())
                if watch.lap(len(records)):
                    await producer.flush()
                    watch.print()
                    return


if __name__ == "__main__":
    bootstrap, topic, partitions, count, patients, begin = sys.argv[1:]
    asyncio.run(run(bootstrap, topic, int(partitions), int(count), int(patients), begin))
