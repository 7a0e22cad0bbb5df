"""What the tests across processes share: workers and bridges as real processes, and readers of topics."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka.structs import ConsumerRecord
from stand_in import Counted

from devices.times import format_instant
from scad.settings import Settings
from streams import kafka, topics
from streams.kafka import Record
from streams.plans import Assignment, DeviceAssignments
from streams.record import load_state
from streams.tables import Token, decode_key

HERE = Path(__file__).parent
T0_MS = 1_790_000_000_000  # 2026-09-21
PARTITIONS = 4
WAIT_SECONDS = 150.0


class Running:
    """A process of ours, its output in a file."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self.log = folder / f"{name}.log"
        self._command = command
        self._environ = {**os.environ, **environ, "PYTHONPATH": str(HERE)}
        self._log_start = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Running:
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 60.0) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM and the exit status."""
        self.send(signal.SIGTERM)
        return self.wait(seconds)

    def wait_for(self, event: str, seconds: float = 60.0) -> Running:
        """Return once the process has logged the event since the last start."""
        deadline = time.monotonic() + seconds
        while event.encode() not in self.log.read_bytes()[self._log_start :]:
            assert self.running, self.tail()
            assert time.monotonic() < deadline, f"{event} did not come in {seconds:.0f} s:\n{self.tail()}"
            time.sleep(0.05)
        return self

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Deployment:
    """Settings and processes of one test; everything that still runs at its end is killed."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.given = {"partitions": PARTITIONS, "data_dir": str(folder), "tick_seconds": 0.5, **settings}
        self.settings = Settings(**self.given)
        self.processes: list[Running] = []

    def worker(self, worker_id: str = "w1", session_seconds: float = 6.0, **more: str) -> Running:
        script = [sys.executable, str(HERE / "stand_in_worker.py")]
        return self._start(worker_id, script, {"SCAD_SESSION_SECONDS": str(session_seconds), **more})

    def bridge(self, worker_id: str = "b1", **more: str) -> Running:
        return self._start(worker_id, [sys.executable, "-m", "scad", "bridge"], more)

    def _start(self, name: str, command: Sequence[str], more: Mapping[str, str]) -> Running:
        environ = {f"SCAD_{key.upper()}": str(value) for key, value in self.given.items()}
        environ["SCAD_KAFKA_EMBEDDED"] = "true" if self.settings.kafka_embedded else "false"
        running = Running(name, command, {**environ, "SCAD_WORKER_ID": name, **more}, self.folder)
        self.processes.append(running)
        return running.start()

    def end(self) -> None:
        """Kill what still runs, and print the end of each log: pytest shows it where the test failed."""
        for running in self.processes:
            if running.running:
                running.kill()
            print(f"-- {running.log.stem}\n{running.tail()}")


def reading(device: str, seq: int, measured_at_ms: int = T0_MS, **more: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "device": device,
        "seq": seq,
        "kind": "body-weight",
        "measured_at": format_instant(measured_at_ms + seq * 1000),
        "values": {"weight": 70 + seq % 10},
        **more,
    }


def telemetry(device: str, payload: bytes, received_at_ms: int = T0_MS + 86_400_000) -> Record:
    headers = ((topics.HEADER_RECEIVED_AT, format_instant(received_at_ms).encode()),)
    return Record(topics.TELEMETRY, device.encode(), payload, headers)


def load(devices: int, seqs: Iterable[int], size: int = 1) -> list[Record]:
    """Telemetry of `devices` devices, each with these numbers, in payloads of `size` readings, interleaved."""
    numbers = list(seqs)
    records = []
    for start in range(0, len(numbers), size):
        for index in range(devices):
            device = f"d-{index}"
            readings = [reading(device, seq) for seq in numbers[start : start + size]]
            records.append(telemetry(device, msgspec.json.encode(readings if size > 1 else readings[0])))
    return records


def assignments(devices: int) -> list[Record]:
    """Device d-N belongs to patient p-N from long ago."""
    return [assign(f"d-{index}", [(f"p-{index}", "2020-01-01T00:00:00Z", None)]) for index in range(devices)]


def assign(device: str, intervals: Sequence[tuple[str, str, str | None]]) -> Record:
    value = DeviceAssignments(
        device=device,
        intervals=tuple(
            Assignment(device=device, patient=patient, from_=from_, to=to) for patient, from_, to in intervals
        ),
    )
    return Record(topics.ASSIGNMENTS, device.encode(), msgspec.json.encode(value))


async def publish(settings: Settings, records: Sequence[Record]) -> None:
    await kafka.ensure_topics(settings)
    producer = await kafka.make_producer(settings, "test")
    try:
        await kafka.produce(producer, records)
    finally:
        await producer.stop()


class Reader:
    """Everything in some topics, as it grows."""

    def __init__(self, settings: Settings, *names: str) -> None:
        self._settings = settings
        self._names = names
        self.records: dict[str, list[ConsumerRecord]] = defaultdict(list)
        self.damaged: set[bytes] = set()
        """Values of the changelog that a test wrote there and nobody can read."""

    async def __aenter__(self) -> Reader:
        await kafka.ensure_topics(self._settings)
        self._consumer = kafka.make_consumer(self._settings, *self._names, client_id="reader")
        await kafka.started(self._consumer, self._settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read(self, timeout_ms: int = 200) -> None:
        for partition, records in (await self._consumer.getmany(timeout_ms=timeout_ms)).items():
            self.records[partition.topic] += records

    async def until(self, reached: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
        """Read until `reached()`; fails with `what` after the deadline."""
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, f"{what} was not reached in {seconds:.0f} s"
            await self.read()

    async def quiet(self) -> None:
        """Read up to where the topics end now: for when nobody writes any more."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        deadline = time.monotonic() + WAIT_SECONDS
        while any([await self._consumer.position(part) < end for part, end in ends.items()]):
            assert time.monotonic() < deadline, f"the ends {ends} were not reached in {WAIT_SECONDS:.0f} s"
            await self.read()

    def values(self, topic: str) -> list[Any]:
        return [msgspec.json.decode(record.value) for record in self.records[topic]]

    def states(self) -> dict[str, Counted]:
        """Each patient's state as recovery would find it."""
        best: dict[str, tuple[Token, Counted]] = {}
        for record in self.records[kafka.PATIENTS_CHANGELOG]:
            name, token = decode_key(record.key)
            if record.value is None or record.value in self.damaged:
                continue
            if name not in best or token >= best[name][0]:
                state = msgspec.msgpack.decode(load_state(record.value), type=Counted)
                best[name] = (token, state)
        return {name: state for name, (_, state) in best.items()}

    def signals(self) -> dict[str, list[int]]:
        """The numbers of each patient's signals in the order of the topic."""
        found: dict[str, list[int]] = defaultdict(list)
        for value in self.values(topics.ALERTS):
            found[value["patient"]].append(value["n"])
        return found

    def applied(self) -> int:
        return sum(len(state.seen) for state in self.states().values())


def run(main: Any) -> None:
    asyncio.run(main)
