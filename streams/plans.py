"""Care plans and assignments: what a clinician has set for a patient, and whose device it was when.

A plan is the whole list of its versions, because its topic is compacted: the last record of a patient
must say what was in force at any instant that a reading within the horizon can still carry.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from devices.times import parse_instant

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
"""The number of a version, from 1: what the database's integer holds."""


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a kind is expected. `every_hours` is the rhythm that adherence is counted against;
    *no reading* opens `overdue_hours` after the last reading (medium), and is high from `grave_hours` on.
    Absent hours take the protocol's defaults for the kind."""

    every_hours: float
    overdue_hours: float | None = None
    grave_hours: float | None = None


class NextTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The day by which the next reading of a kind is wanted, in the plan's time zone: without one the kind is overdue
    when that day is over.

    It is about the silence after the last reading measured until `after`, when it was decided. Any reading measured
    later ends it, and the schedule's rhythm counts again; later versions may go on carrying it.
    """

    after: str
    by: date

    @property
    def after_ms(self) -> int:
        return parse_instant(self.after)[0]


class PlanVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What holds from the instant `from` until the next version's.

    `limits` overrides a rule's numbers: {"heart-failure": {"weight-gain-3d": {"limit": 1.5}}}; the names
    that a rule takes stand in its protocol file.
    """

    version: Count
    from_: str = msgspec.field(name="from")
    protocols: tuple[str, ...]
    author: str = ""
    time_zone: str = "Europe/Paris"
    limits: dict[str, dict[str, dict[str, float]]] = {}
    schedule: dict[str, Schedule] = {}
    next_tests: dict[str, NextTest] | UnsetType = (
        UNSET  # left out where there is none: older releases refuse it
    )
    dry_weight_kg: float | None = None
    known_atrial_fibrillation: bool = False
    pregnancy: bool = False
    spo2_scale: Literal[1, 2] = 1
    inr_target: tuple[float, float] | None = None
    mechanical_valve: bool = False

    @property
    def from_ms(self) -> int:
        return parse_instant(self.from_)[0]


class CarePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The value in `scad.care-plans`, and one element of the file that `scad replay --care-plans` reads."""

    patient: str
    versions: tuple[PlanVersion, ...]
    care_team: str = ""
    v: Count = 1


class ProtocolVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A version of a protocol in `scad.care-plans`, under the key `protocol:{protocol}:{version}`.

    It holds for every patient on the protocol, for readings measured from `from` on. `document` is the whole
    protocol file: its TOML text, or the same parsed.
    """

    protocol: str
    version: str
    from_: str = msgspec.field(name="from")
    document: str | dict[str, Any]
    author: str = ""
    v: Count = 1

    @property
    def from_ms(self) -> int:
        return parse_instant(self.from_)[0]

    @property
    def key(self) -> str:
        return f"{PROTOCOL_KEY}{self.protocol}:{self.version}"


PROTOCOL_KEY = "protocol:"
"""How the keys of protocols begin in `scad.care-plans`; no pseudonym has a colon."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One interval in which a device was a patient's: from inclusive, to exclusive, open when null."""

    device: str
    patient: str
    from_: str = msgspec.field(name="from")
    to: str | None = None


class DeviceAssignments(msgspec.Struct, frozen=True, kw_only=True):
    """The value in `scad.assignments`: every interval of one device. The topic is compacted, so the last
    record must be able to say whose a late reading is."""

    device: str
    intervals: tuple[Assignment, ...]
    v: Count = 1
