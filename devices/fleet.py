"""The simulated fleet: publishes a cohort's readings as its devices would, at the pace of the clock.

Each device has a real firmware client with an outbox on disk, so a fleet that is killed goes on where it was:
what had been measured before is known by the outbox's counter, and what had no receipt is sent again.
"""

from __future__ import annotations

import heapq
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from devices.driver import Driver
from devices.firmware import Firmware, submit_when_room
from devices.outbox import OutboxStore
from devices.physiology.cohort import Cohort, SimulatedReading
from devices.physiology.defects import Battery
from devices.physiology.parameters import PROFILES

STEP_READINGS = 2_000
"""Readings looked at before the outboxes are written; bounds what is in memory when history is caught up."""
WAIT_MAX_S = 0.5
"""The feeding loop looks at the clock and at the stop signal at least this often."""
PAUSE_S = 0.05
"""Between two tries to put readings into a full outbox."""
STATUS_EVERY_S = 5.0
BATTERY_EVERY_MS = 6 * 3_600_000
"""Devices tell their battery's charge this often, in the clock's time."""


class FleetError(ValueError):
    """A fleet that cannot be started as asked; the message names the remedy."""


class Pace(Protocol):
    """The part of a clock that the fleet needs (scad.clock.Clock)."""

    @property
    def wall(self) -> Callable[[], int]: ...

    def now_ms(self) -> int: ...

    def wall_of_ms(self, instant_ms: int) -> int: ...


class CohortChoice(msgspec.Struct, frozen=True):
    """What a folder of outboxes belongs to. Other numbers make other readings under the same serials, so they
    are kept beside the outboxes and must not change."""

    seed: int
    start_ms: int
    days: int
    profile: str


def remember_choice(folder: Path, wanted: CohortChoice, days_given: bool) -> CohortChoice:
    """The cohort that a folder belongs to: the one kept there, or the wanted one, which is then kept.

    A cohort goes on from its first start, whenever the fleet is started again. Raises FleetError when it was
    begun with another number of days than is asked for now.
    """
    path = folder / "cohort.json"
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=CohortChoice)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(wanted) + b"\n")
        return wanted
    except msgspec.DecodeError as error:
        raise FleetError(
            f"{path} cannot be read ({error}); remove the folder to begin a new cohort"
        ) from None
    if days_given and kept.days != wanted.days:
        raise FleetError(
            f"{folder} holds a cohort of {kept.days} days and --days asks for {wanted.days}; "
            "leave --days out to go on with it, or remove the folder to begin a new one"
        )
    return kept


def make_cohort(choice: CohortChoice, patients: int) -> Cohort:
    """The cohort of a choice. Raises FleetError for an unknown profile."""
    profile = PROFILES.get(choice.profile)
    if profile is None:
        raise FleetError(f"there is no profile {choice.profile!r}; there are {', '.join(sorted(PROFILES))}")
    return Cohort(choice.seed, patients, choice.start_ms, choice.days, profile)


class FleetStatus(msgspec.Struct, frozen=True):
    """Where a fleet stands. `sent` are readings put into outboxes by this process."""

    devices: int
    online: int
    sent: int
    receipted: int
    rejected: int
    waiting: int
    error: str

    @property
    def sentence(self) -> str:
        text = (
            f"{self.online} of {self.devices} devices online, {self.sent:,} readings sent, "
            f"{self.receipted:,} receipted, {self.rejected:,} rejected, {self.waiting:,} waiting"
        )
        return f"{text}; {self.error}" if self.error else text


class Fleet:
    """All devices of a cohort on one driver."""

    def __init__(
        self,
        cohort: Cohort,
        driver: Driver,
        store: OutboxStore,
        password_of: Callable[[str], str | None],
        clock: Pace,
        *,
        stop: threading.Event | None = None,
        report: Callable[[str], None] = lambda _: None,
        tls_of: Callable[[str], ssl.SSLContext | None] = lambda _: None,
    ) -> None:
        self._cohort = cohort
        self._driver = driver
        self._clock = clock
        self._stop = stop or threading.Event()
        self._report = report
        self._sent = 0
        self._batteries: dict[str, Battery] = {}
        self._next_battery_ms = 0
        self._next_report_ms = 0
        self._began_ms = clock.now_ms()
        self.clients = {
            one.device: Firmware(
                one.device,
                store.open(one.device),
                password=password_of(one.device),
                version=one.firmware,
                tls=tls_of(one.device),
            )
            for patient in cohort.patients
            for one in patient.devices
        }
        self._known = {device: client.outbox.last_seq for device, client in self.clients.items()}

    def run(self) -> None:
        """Feed the outboxes until the cohort's days are over, then keep the devices online until stopped."""
        for client in self.clients.values():
            self._driver.add(client)
        pending: dict[str, list[SimulatedReading]] = {}
        looked_at = 0
        for event in self._events():
            if event.delivered_ms > self._clock.now_ms() or looked_at >= STEP_READINGS:
                self._submit(pending)
                looked_at = 0
                self._wait_for(event.delivered_ms)
            if self._stop.is_set():
                return
            looked_at += 1
            if not self._was_sent_before(event):
                pending.setdefault(event.device, []).append(event)
        self._submit(pending)
        while not self._stop.wait(WAIT_MAX_S):
            self._housekeeping()

    def status(self) -> FleetStatus:
        """Where the fleet stands now."""
        clients = self.clients.values()
        errors = [self._driver.error, *(client.error for client in clients if not client.online)]
        return FleetStatus(
            devices=len(self.clients),
            online=sum(client.online for client in clients),
            sent=self._sent,
            receipted=sum(client.counts.receipted for client in clients),
            rejected=sum(client.counts.rejected for client in clients),
            waiting=sum(client.waiting for client in clients),
            error=next((error for error in errors if error), ""),
        )

    def _events(self) -> Iterator[SimulatedReading]:
        """The whole cohort's deliveries in order; patients are drawn when the loop begins."""
        streams = []
        for patient in self._cohort.patients:
            simulation = self._cohort.simulate(patient)
            self._batteries.update(simulation.batteries)
            streams.append(simulation.readings())
            if self._stop.is_set():
                return
        yield from heapq.merge(*streams, key=lambda event: event.delivered_ms)

    def _was_sent_before(self, event: SimulatedReading) -> bool:
        """By an earlier run of this fleet: the outbox's counter has passed it."""
        passed = int(event.reading["seq"]) <= self._known[event.device]
        return passed and (not event.duplicate or event.delivered_ms <= self._began_ms)

    def _submit(self, pending: dict[str, list[SimulatedReading]]) -> None:
        """Move readings into their outboxes. A full outbox is waited for: nothing is dropped."""
        for device, events in pending.items():
            if not submit_when_room(self.clients[device], [one.reading for one in events], self._pause):
                return
            self._sent += len(events)
        pending.clear()

    def _pause(self) -> bool:
        self._stop.wait(PAUSE_S)
        self._housekeeping()
        return not self._stop.is_set()

    def _wait_for(self, instant_ms: int) -> None:
        while not self._stop.is_set():
            self._housekeeping()
            if self._clock.now_ms() >= instant_ms:
                return
            wait_s = (self._clock.wall_of_ms(instant_ms) - self._clock.wall()) / 1000
            self._stop.wait(min(WAIT_MAX_S, max(0.005, wait_s)))

    def _housekeeping(self) -> None:
        """Batteries and the status line, each when its time has come."""
        now_ms, wall_ms = self._clock.now_ms(), self._clock.wall()
        if now_ms >= self._next_battery_ms:
            self._next_battery_ms = now_ms + BATTERY_EVERY_MS
            charges = {name: battery.percent(now_ms) for name, battery in self._batteries.items()}
            self._driver.call(lambda: self._tell_batteries(charges))
        if wall_ms >= self._next_report_ms:
            self._next_report_ms = wall_ms + int(STATUS_EVERY_S * 1000)
            self._report(self.status().sentence)

    def _tell_batteries(self, charges: dict[str, int]) -> None:
        for name, percent in charges.items():
            self.clients[name].report_battery(percent)
