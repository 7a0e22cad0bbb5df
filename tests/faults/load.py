"""What the devices of a run measure, and the devices: the reference firmware with an outbox on disk."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from made_up_recordings import MAKERS, ward
from whole_platform import DAY_MS, DEVICE_PASSWORD, device, patient

from devices.driver import Driver
from devices.firmware import Firmware
from devices.outbox import OutboxStore
from scad.services import HOST

JUMBLED_SHARE = 0.05
"""Readings that change places with one measured earlier, so that late data rewinds the engine."""
JUMBLED_REACH = 40
ARRAYS = (1, 5, 50)
"""Some devices send each reading alone, others what has gathered."""


def recording(patients: int, each: int, end_ms: int, seed: int) -> list[dict[str, Any]]:
    """Lines of a file: a ward's readings; a twentieth of each device's are sent out of the order of measuring."""
    lines = ward(patients, each, end_ms, seed)
    rng = random.Random(seed + 1)
    of_device: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        of_device.setdefault(line["device"], []).append(line)
    for own in of_device.values():
        for index in range(len(own)):
            if rng.random() < JUMBLED_SHARE:
                other = max(0, index - rng.randint(1, JUMBLED_REACH))
                for name in ("measured_at", "values"):
                    own[index][name], own[other][name] = own[other][name], own[index][name]
    return lines


def enrolment(patients: int, end_ms: int, team: dict[str, str]) -> dict[str, Any]:
    begin_ms = end_ms - 25 * DAY_MS
    people = [
        patient(f"p-{index}", [device(f"d-{index}", begin_ms)], [MAKERS[index % len(MAKERS)][1]], begin_ms)
        for index in range(patients)
    ]
    return {"care_teams": [team], "patients": people}


class Devices:
    """All devices, in this process. What they hold lies on disk; `waiting` is what has no receipt yet."""

    def __init__(self, folder: Path, names: list[str], port: int) -> None:
        self._folder = folder
        self._store = OutboxStore(folder / "outbox", durable=False)
        self._driver = Driver(HOST, port)
        self.clients = {
            name: Firmware(
                name,
                self._store.open(name),
                password=DEVICE_PASSWORD,
                array_max=ARRAYS[number % len(ARRAYS)],
                resend_after_s=15.0,
            )
            for number, name in enumerate(names)
        }

    def measure(self, lines: list[dict[str, Any]]) -> None:
        """Put everything into the outboxes, once: a run that goes on finds them there."""
        done = self._folder / "measured"
        if done.exists():
            return
        of_device: dict[str, list[dict[str, Any]]] = {name: [] for name in self.clients}
        for line in lines:
            of_device[line["device"]].append({key: value for key, value in line.items() if key != "patient"})
        for name, readings in of_device.items():
            self.clients[name].submit(*readings)
        done.touch()

    def start(self) -> None:
        self._driver.start()
        for client in self.clients.values():
            self._driver.add(client)

    @property
    def waiting(self) -> int:
        return sum(client.waiting for client in self.clients.values())

    def rejected(self) -> Iterator[tuple[str, int | None, str]]:
        for name, client in self.clients.items():
            for line in client.outbox.rejected():
                yield name, line.seq, line.reason

    def errors(self) -> list[str]:
        return sorted({self._driver.error, *(client.error for client in self.clients.values())} - {""})[:3]

    def stop(self) -> None:
        self._driver.stop()
        self._store.close()


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    with path.open("w") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return path
