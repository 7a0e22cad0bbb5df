"""What bridges take from mosquitto to Kafka: messages a second, with one reading in each and with ten.

    python -m bench.bridge [--devices 400] [--messages 40] [--bridges 1,2] [--json bench/results/bridge.json]

A real mosquitto and a real Kafka, and `scad bridge` processes. Devices publish at QoS 1, some at a time, from two
processes of their own, which share the machine with everything that is measured. The time runs until every message is
in Kafka; then all are read back: each is there once. (A device with more than a minute's worth of readings is put in
the backlog's topic, as always; both topics count.)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from aiokafka import AIOKafkaConsumer, TopicPartition
from paho.mqtt.enums import CallbackAPIVersion

from bench.processes import RESULTS, cpu_seconds, cpu_seconds_of_family, memory_mib, ready, result
from devices.times import format_instant
from scad.services import HOST, Kafka, Mosquitto, Program, free_port
from scad.settings import Settings
from streams import topics
from streams.kafka import ensure_topics

SAYS = "Messages a second from mosquitto to Kafka, by number of bridges"
PARTITIONS = 12
TOGETHER = (1, 10)
PUBLISHERS, AT_A_TIME = 2, 10  # processes, and devices that one of them lets publish at once
PASSWORD = "secret-of-a-made-up-device"  # noqa: S105 - of a broker that lives as long as the measurement
READY_SECONDS, TAKEN_SECONDS = 60.0, 180.0
LOOK_SECONDS = 0.1
FETCH_MS = 500
LANES = (topics.TELEMETRY, topics.BACKLOG)


def publish(port: int, devices: list[str], messages: int, together: int, begin: Any, spent: Any) -> None:
    """A process of devices: each connects, publishes, waits for the broker's PUBACKs, and goes."""
    made = {device: [_message(device, n * together, together) for n in range(messages)] for device in devices}
    begin.wait(READY_SECONDS)
    before = time.process_time()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(lambda device: _device(port, device, made[device]), devices))
    spent.put(time.process_time() - before)


def _device(port: int, device: str, messages: list[bytes]) -> None:
    acknowledged = threading.Semaphore(0)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=device, protocol=mqtt.MQTTv5)
    client.username_pw_set(device, PASSWORD)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.on_publish = lambda *_: acknowledged.release()
    client.connect(HOST, port)
    client.loop_start()
    if not connected.wait(READY_SECONDS):
        raise TimeoutError(f"mosquitto does not let {device} in")
    for message in messages:
        client.publish(f"scad/v1/{device}/readings", message, qos=1)
    for number in range(len(messages)):
        if not acknowledged.acquire(timeout=TAKEN_SECONDS):
            raise TimeoutError(f"{number} of {len(messages)} messages of {device} were acknowledged")
    client.disconnect()
    client.loop_stop()


def _message(device: str, first: int, together: int) -> bytes:
    measured_ms = time.time_ns() // 1_000_000
    readings = [
        {
            "v": 1, "device": device, "seq": seq, "kind": "body-weight",
            "measured_at": format_instant(measured_ms), "values": {"weight": 80.0},
        }
        for seq in range(first, first + together)
    ]  # fmt: skip
    return json.dumps(readings if together > 1 else readings[0]).encode()


class Lanes:
    """What is in Kafka."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._places = [TopicPartition(topic, n) for topic in LANES for n in range(PARTITIONS)]

    async def until(self, messages: int) -> None:
        async with AIOKafkaConsumer(bootstrap_servers=self._bootstrap) as consumer:
            deadline = time.monotonic() + TAKEN_SECONDS
            while (there := sum((await consumer.end_offsets(self._places)).values())) < messages:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{there} of {messages} messages are in Kafka")
                await asyncio.sleep(LOOK_SECONDS)

    async def often(self) -> Counter[bytes]:
        """How often each message is there."""
        found: Counter[bytes] = Counter()
        async with AIOKafkaConsumer(bootstrap_servers=self._bootstrap) as consumer:
            consumer.assign(self._places)
            await consumer.seek_to_beginning(*self._places)
            missing = sum((await consumer.end_offsets(self._places)).values())
            while missing > 0:
                for records in (await consumer.getmany(timeout_ms=FETCH_MS)).values():
                    found.update(record.value for record in records)
                    missing -= len(records)
        return found


def run(bridges: int, together: int, asked: argparse.Namespace, folder: Path, kafka: Kafka) -> dict[str, Any]:
    """One line of the result. Raises RuntimeError when a message is missing, or there twice."""
    kafka.delete_topics()
    asyncio.run(ensure_topics(Settings(kafka=kafka.bootstrap, partitions=PARTITIONS)))
    messages = asked.devices * asked.messages
    names = [f"sc-{number}" for number in range(asked.devices)]
    lanes = Lanes(kafka.bootstrap)
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / f"mosquitto-{bridges}-{together}"))
        broker.add_accounts(dict.fromkeys(names, PASSWORD))
        programs = [
            stack.enter_context(_bridge(n, folder / f"bridge-{bridges}-{together}-{n}", broker, kafka))
            for n in range(bridges)
        ]
        context = multiprocessing.get_context("spawn")
        begin, spent = context.Barrier(PUBLISHERS + 1), context.Queue()
        publishers = [
            context.Process(
                target=publish,
                args=(broker.port, names[n::PUBLISHERS], asked.messages, together, begin, spent),
                daemon=True,
            )
            for n in range(PUBLISHERS)
        ]
        for publisher in publishers:
            publisher.start()
        begin.wait(READY_SECONDS)
        before = _spent(programs, broker, kafka)
        began = time.perf_counter()
        asyncio.run(lanes.until(messages))
        took = time.perf_counter() - began
        after = _spent(programs, broker, kafka)
        devices_s = sum(spent.get(timeout=TAKEN_SECONDS) for _ in publishers)
        for publisher in publishers:
            publisher.join(TAKEN_SECONDS)
        memory = max(round(memory_mib(program.pid or 0)) for program in programs)
    often = asyncio.run(lanes.often())
    if len(often) != messages or set(often.values()) != {1}:
        raise RuntimeError(f"{len(often)} of {messages} messages are in Kafka, {often.total()} records")
    cpu_s = {name: after[name] - at for name, at in before.items()} | {"devices": devices_s}
    return {
        "bridges": bridges,
        "readings_a_message": together,
        "messages": messages,
        "messages_per_second": round(messages / took),
        "readings_per_second": round(messages * together / took),
        "cpu_seconds_per_million_messages": {name: round(s / messages * 1e6, 1) for name, s in cpu_s.items()},
        "memory_mib": memory,
    }


def _bridge(number: int, folder: Path, broker: Mosquitto, kafka: Kafka) -> Program:
    port = free_port()
    environment = {
        "SCAD_KAFKA": kafka.bootstrap,
        "SCAD_PARTITIONS": str(PARTITIONS),
        "SCAD_MQTT": broker.address,
        "SCAD_MQTT_PASSWORD": broker.bridge_password,
        "SCAD_WORKER_ID": f"bridge-{number}",
        "SCAD_METRICS_PORT": str(port),
        "SCAD_DATA_DIR": str(folder / "data"),
        "SCAD_LOG_LEVEL": "warning",
    }
    return Program(
        "bridge", [sys.executable, "-m", "scad", "bridge"], folder, environment, lambda: ready(port)
    )


def _spent(programs: list[Program], broker: Mosquitto, kafka: Kafka) -> dict[str, float]:
    return {
        "bridges": sum(cpu_seconds(program.pid or 0) for program in programs),
        "mosquitto": cpu_seconds_of_family(broker.pid or 0),
        "kafka": sum(cpu_seconds_of_family(node.pid or 0) for node in kafka.nodes),
    }


def table(figures: dict[str, Any]) -> str:
    """Markdown."""
    shown = [
        "| bridges | readings a message | messages/s | readings/s | CPU s per million messages: bridges | mosquitto "
        "| kafka | devices | memory of one, MiB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for of in figures["bridge"]:
        cpu = of["cpu_seconds_per_million_messages"]
        cells = [
            of["bridges"],
            of["readings_a_message"],
            of["messages_per_second"],
            of["readings_per_second"],
        ]
        cells += [round(cpu[name]) for name in ("bridges", "mosquitto", "kafka", "devices")]
        shown.append(f"| {' | '.join(f'{cell:,}' for cell in [*cells, of['memory_mib']])} |")
    return "\n".join(shown)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.bridge", description=SAYS)
    parser.add_argument("--devices", type=int, default=400)
    parser.add_argument("--messages", type=int, default=40, help="of each device")
    parser.add_argument("--bridges", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--json", type=Path, default=RESULTS / "bridge.json")
    asked = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="scad-bench-") as name,
        Kafka(Path(name) / "kafka") as kafka,
        result(asked.json) as figures,
    ):
        figures["bridge"] = [
            run(bridges, together, asked, Path(name), kafka)
            for together in TOGETHER
            for bridges in asked.bridges
        ]
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
