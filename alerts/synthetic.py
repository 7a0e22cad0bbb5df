"""The synthetic reading: proof, every minute, that the whole path from a device to the page works.

`scad synthetic` is a device like any other: it publishes by MQTT, keeps each reading until its receipt, and
its readings pass bridge, Kafka, worker and writer. They carry the flag `test`, their patient is nobody, on no
protocol, in a care team of their own to which no person belongs: no ward ever sees them. The feed looks when
the last one arrived and how long it took, and its header says so; when none arrives, the header warns.

Time on the way is the wall's, also where the platform's clock is a demonstration's and runs faster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from alerts.enrolment import CareTeam, DeviceUse, Enrolment, PatientEntry
from devices.firmware import Firmware
from devices.outbox import OutboxFullError
from devices.times import format_instant
from scad.clock import Clock
from streams.plans import PlanVersion

TEAM, PATIENT, DEVICE = "synthetic", "p-synthetic", "synthetic-1"
KIND, VALUES, FLAG = "temperature", {"temperature": 37.0}, "test"
EVERY_S = 60.0
# Three readings in a row are missing: one may be lost to a restart, a rebalance of the workers takes 30 s.
STALLED_AFTER_MS = 3 * 60_000 + 10_000
# A reading that took longer came, but late: the data that the page shows are as late.
SLOW_AFTER_MS = 30_000
# Waited for between two looks at the stop signal.
PAUSE_S = 0.5


def enrolment(now_ms: int) -> Enrolment:
    """The document that makes the device's readings somebody's: a team, a patient without a name, no protocol."""
    begin = format_instant(now_ms)
    patient = PatientEntry(
        care_team=TEAM,
        patient=PATIENT,
        devices=(DeviceUse(device=DEVICE, from_=begin, model="scad synthetic"),),
        care_plan=PlanVersion(version=1, from_=begin, protocols=(), author="scad synthetic"),
        place="synthetic",
    )
    team = CareTeam(care_team=TEAM, name="Synthetic reading")
    return Enrolment(source="synthetic", care_teams=(team,), patients=(patient,), numbered=frozenset())


@dataclass(frozen=True, slots=True)
class PathCheck:
    """The last synthetic reading that reached the database.

    `measured_at_ms` is by the platform's clock: everything measured and sent before it has had its turn.
    `age_ms` (since it was measured) and `round_trip_ms` (from device to database) are the wall's time.
    """

    measured_at_ms: int
    age_ms: int
    round_trip_ms: int

    @property
    def stalled(self) -> bool:
        """Several in a row did not come, or the last one took so long that the next are waiting too."""
        return self.age_ms > STALLED_AFTER_MS

    @property
    def slow(self) -> bool:
        return self.round_trip_ms > SLOW_AFTER_MS


def check(clock: Clock, measured_at_ms: int, stored_at_ms: int) -> PathCheck:
    """What the last stored reading says, its instants being by `clock`."""
    measured = clock.wall_of_ms(measured_at_ms)
    return PathCheck(
        measured_at_ms,
        max(clock.wall() - measured, 0),
        max(clock.wall_of_ms(stored_at_ms) - measured, 0),
    )


def publish(
    firmware: Firmware,
    clock: Clock,
    stop: threading.Event,
    every_s: float = EVERY_S,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Measure now and then every `every_s` seconds of the wall's time, until `stop` is set.

    What has no receipt waits in the outbox as on any device, so a platform that was down is seen to catch up.
    """
    due_ms = clock.wall()
    told = ""
    while not stop.wait(PAUSE_S):
        if firmware.error != told:
            told = firmware.error
            report(told or "online")
        if clock.wall() < due_ms:
            continue
        due_ms = max(due_ms + int(every_s * 1000), clock.wall())
        try:
            firmware.measure(KIND, VALUES, clock.now_ms(), 0, flags=[FLAG])
        except OutboxFullError as error:
            report(str(error))
