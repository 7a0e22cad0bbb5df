"""Everything that the engine keeps of one patient, and its form on disk.

A lane is a set of kinds that rules connect (weight with symptoms, glucose with ketones); lanes do not
influence each other, so a late glucose value never re-evaluates the weights.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from streams.episodes import Episode, RuleState
from streams.history import History, Key, Observation
from streams.plans import CarePlan
from streams.silence import Instants
from streams.timeline import RuleKey, Timeline

FORMAT = 1
"""Version of the form on disk. `load` reads this one and, from the next on, the one before."""

LONG_AGO_MS = -(1 << 62)
NEVER_MS = 1 << 62
"""Before and after every instant that a reading can carry, in milliseconds."""

NOTHING_BEFORE: Key = (LONG_AGO_MS, "", 0, 0, 0)

COMPRESSION_LEVEL = 1
"""zlib's quickest: states repeat themselves so much that the higher levels gain under a tenth."""


class Checkpoint:
    """States of statistics and rules just after the observation `key`. States are immutable, so this costs
    references only."""

    __slots__ = ("key", "states", "stats", "version")

    def __init__(self, key: Key, stats: tuple[Any, ...], states: tuple[RuleState, ...], version: int) -> None:
        self.key = key
        self.stats = stats
        self.states = states
        self.version = version


class Lane:
    """The history of connected kinds, the rules' states after it, and points to go back to."""

    __slots__ = (
        "base",
        "checkpoints",
        "closed",
        "history",
        "open_rules",
        "since_checkpoint",
        "states",
        "stats",
        "version",
    )

    def __init__(self, base: Checkpoint, history: History) -> None:
        self.history = history
        self.base = base
        self.checkpoints: list[Checkpoint] = []
        self.stats: list[Any] = list(base.stats)
        self.states: list[RuleState] = list(base.states)
        self.version = base.version
        self.closed: list[tuple[Key, Episode]] = []
        self.since_checkpoint = 0
        self.open_rules: frozenset[RuleKey] = frozenset()


class PatientState:
    """One patient. Mutable; only `streams.engine` changes it."""

    __slots__ = (
        "clock_ms", "deadline_ms", "duplicates", "lanes", "last_before", "n", "patient", "plan", "silences",
        "silent_from_ms", "timeline", "times", "too_late",
    )  # fmt: skip

    def __init__(self, patient: str, timeline: Timeline) -> None:
        self.patient = patient
        self.timeline = timeline
        self.plan: CarePlan | None = None
        self.clock_ms = -(1 << 53)
        self.n = 0
        self.lanes: dict[str, Lane] = {}
        self.times: dict[str, Instants] = {}
        """Instants of measurement of the kinds that the plan expects, within the history kept and the last one
        before it; derived, not on disk."""
        self.silent_from_ms = LONG_AGO_MS
        """The earliest instant from which silence may differ from `silences`; derived, not on disk."""
        self.last_before: dict[str, int] = {}
        """The last instant by kind of what is no longer kept."""
        self.silences: dict[RuleKey, list[Episode]] = {}
        self.deadline_ms: int | None = None
        self.too_late = 0
        self.duplicates = 0


class StoredLane(msgspec.Struct, array_like=True):
    """A lane on disk. Checkpoints are not kept: after a restart the first late reading re-evaluates from the
    base and makes them again."""

    base_key: Key
    base_version: int
    base_stats: list[Any]
    base_states: list[Any]
    version: int
    stats: list[Any]
    states: list[Any]
    tail: list[Observation]
    closed: list[tuple[Key, Episode]]
    conflicts: list[tuple[str, int, int]]
    blocks: list[int]
    """Lengths in bytes of the packed blocks before the tail, which stand behind the record."""


class Stored(msgspec.Struct, array_like=True):
    """A patient on disk. Rules are named, so that a release with other rules can read it."""

    format: int
    patient: str
    n: int
    clock_ms: int
    plan: CarePlan | None
    rules: dict[str, list[RuleKey]]
    statistics: dict[str, list[str]]
    lanes: dict[str, StoredLane]
    last_before: dict[str, int]
    silences: list[Episode]
    deadline_ms: int | None
    too_late: int
    duplicates: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Stored)


def pack(stored: Stored, blocks: list[bytes]) -> bytes:
    """The record, compressed, behind its length; then the blocks of its lanes, which are compressed already."""
    record = zlib.compress(_encoder.encode(stored), COMPRESSION_LEVEL)
    return b"".join((len(record).to_bytes(4, "little"), record, *blocks))


def unpack(data: bytes) -> tuple[Stored, dict[str, list[bytes]]]:
    """The record and the packed blocks by lane. Raises msgspec.ValidationError or zlib.error for what is no
    state of this format."""
    end = 4 + int.from_bytes(data[:4], "little")
    stored = _decoder.decode(zlib.decompress(data[4:end]))
    blocks: dict[str, list[bytes]] = {}
    for name, lane in stored.lanes.items():
        for size in lane.blocks:
            blocks.setdefault(name, []).append(data[end : end + size])
            end += size
    return stored, blocks
