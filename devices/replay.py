"""Plays recorded readings over MQTT as if their devices were sending them, until each has a receipt."""

from __future__ import annotations

import random
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from devices.driver import Driver
from devices.firmware import Firmware, submit_when_room
from devices.outbox import OutboxStore
from devices.recordings import Recorded, to_line

POLL_S = 0.05
REPORT_EVERY_S = 5.0
CHUNK = 500
"""Readings put into the outbox at once, about: as many as an array holds."""
REASONS_SHOWN = 20
"""Refusals that are named at the end; the platform's quarantine has them all."""


class Outcome(msgspec.Struct, frozen=True):
    """What a replay came to. `reasons` are (device, seq, reason) of what was refused."""

    readings: int
    rounds: int
    receipted: int
    reasons: tuple[tuple[str, int | None, str], ...]
    complete: bool

    @property
    def sentence(self) -> str:
        times = "" if self.rounds == 1 else " twice"
        text = (
            f"{self.readings:,} readings sent{times}, {self.receipted:,} receipted, "
            f"{len(self.reasons):,} rejected"
        )
        return text if self.complete else f"interrupted: {text}"


def shuffled(recorded: Sequence[Recorded], seed: int) -> list[Recorded]:
    """The same readings in an order that the seed decides."""
    mixed = list(recorded)
    random.Random(seed).shuffle(mixed)  # noqa: S311 - an order, no secret
    return mixed


def write_sent(path: Path, recorded: Sequence[Recorded]) -> None:
    """Keep what is sent, in its order, for comparison with `scad replay`."""
    with path.open("wb") as file:
        file.writelines(map(to_line, recorded))


class Replay:
    """One run. `password_of` gives each device's MQTT password, `tls_of` its TLS context; `stop` ends it early."""

    def __init__(
        self,
        recorded: Sequence[Recorded],
        driver: Driver,
        store: OutboxStore,
        password_of: Callable[[str], str | None],
        *,
        arrays: int = 1,
        stop: threading.Event | None = None,
        report: Callable[[str], None] = lambda _: None,
        tls_of: Callable[[str], ssl.SSLContext | None] = lambda _: None,
    ) -> None:
        self._recorded = recorded
        self._driver = driver
        self._stop = stop or threading.Event()
        self._report = report
        self._arrays = arrays
        self._since_report_s = 0.0
        self.clients: Mapping[str, Firmware] = {
            device: Firmware(
                device,
                store.open(device),
                password=password_of(device),
                array_max=arrays,
                tls=tls_of(device),
            )
            for device in dict.fromkeys(line.device for line in recorded)
        }

    def run(self, *, twice: bool = False, speed: float | None = None) -> Outcome:
        """Send everything, once or twice, and wait until every reading has its receipt.

        `speed` paces by the times of the recording, so many times as fast; None: as fast as receipts come.
        """
        for client in self.clients.values():
            self._driver.add(client)
        rounds = 0
        while rounds < (2 if twice else 1) and not self._stop.is_set():
            rounds += 1
            if self._feed(speed):
                self._drain()
        return self._outcome(rounds)

    def _feed(self, speed: float | None) -> bool:
        size = max(1, CHUNK // self._arrays) * self._arrays  # else every chunk would end in a short array
        for wait_s, chunk in _chunks(self._recorded, speed, size):
            if wait_s > 0 and self._stop.wait(wait_s):
                return False
            by_device: dict[str, list[Recorded]] = {}
            for line in chunk:
                by_device.setdefault(line.device, []).append(line)
            for device, lines in by_device.items():
                readings = [line.reading for line in lines]
                if not submit_when_room(self.clients[device], readings, self._pause):
                    return False
        return True

    def _drain(self) -> None:
        while not self._stop.is_set() and any(client.waiting for client in self.clients.values()):
            self._pause()

    def _pause(self) -> bool:
        """Wait a moment and report now and then; False when the replay is to stop."""
        self._stop.wait(POLL_S)
        self._since_report_s += POLL_S
        if self._since_report_s >= REPORT_EVERY_S:
            self._since_report_s = 0.0
            waiting = sum(client.waiting for client in self.clients.values())
            errors = {self._driver.error, *(client.error for client in self.clients.values())} - {""}
            self._report("; ".join([f"{waiting:,} readings wait for their receipt", *sorted(errors)[:3]]))
        return not self._stop.is_set()

    def _outcome(self, rounds: int) -> Outcome:
        reasons = tuple(
            (device, line.seq, line.reason)
            for device, client in self.clients.items()
            for line in client.outbox.rejected()
        )
        waiting = sum(client.waiting for client in self.clients.values())
        total = len(self._recorded)
        refused = sum(1 for _, seq, _ in reasons if seq is not None)
        return Outcome(total, rounds, max(0, total - waiting - refused), reasons, not self._stop.is_set())


def _chunks(
    recorded: Sequence[Recorded], speed: float | None, size: int
) -> Iterator[tuple[float, Sequence[Recorded]]]:
    """(seconds to wait before, readings): whole chunks without a pace, single readings with one."""
    if speed is None:
        remaining = iter(recorded)
        while chunk := list(islice(remaining, size)):
            yield 0.0, chunk
        return
    previous_ms = recorded[0].measured_at_ms
    for line in recorded:
        yield max(0, line.measured_at_ms - previous_ms) / 1000 / speed, [line]
        previous_ms = max(previous_ms, line.measured_at_ms)
