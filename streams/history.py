"""A patient's recent readings in event time: each takes the place where it belongs, whenever it arrives.

A reading is reduced once, on entry, to an `Observation`: what rules need of it, and who it is. A
`History` keeps observations sorted by (measured_at, device, epoch, seq, content), each once. It knows
nothing of rules; `streams.engine` moves over it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from functools import cache
from zlib import crc32

import msgspec

from devices.readings import Reading
from devices.times import format_instant

DAY_MS = 86_400_000

HORIZON_MS = 35 * DAY_MS
"""A reading that arrives later than this after it was measured is stored and not evaluated (contract 3)."""

DENSE_HORIZON_MS = 14 * DAY_MS
"""The same for continuous glucose and heart rhythm."""

LATE_MS = DAY_MS
"""An alert raised by a reading that arrived later than this is marked late (contract 3)."""

SLACK_MS = 7 * DAY_MS
"""How much longer than the horizon a live history is kept. A reading is judged by when the bridge received
it; the worker may see it days later (a backlog), and it must still find its place. A week is longer than any
backlog that is not a disaster; beyond it the reading is counted as too late."""

DENSE_KINDS = frozenset({"rr-intervals", "ecg"})

SYMPTOM_ITEMS = (
    "dyspnoea", "oedema", "fatigue", "cough", "orthopnoea_pillows", "night_dyspnoea", "dizziness",
    "syncope", "chest_pain", "bleeding", "missed_medication", "salt_lapse", "wellbeing", "consciousness",
)  # fmt: skip
WELLBEING = ("better", "same", "worse", "much-worse")
CONSCIOUSNESS = ("A", "C", "V", "P", "U")

BLOCK = 256
"""Observations of a block that is packed as a whole (streams.packing): two days of continuous glucose."""

Key = tuple[int, str, int, int, int]
"""(measured_at_ms, device, epoch, seq, digest): where an observation stands among its patient's."""


def horizon_ms(kind: str, context: dict[str, str]) -> int:
    """How long after its measurement a reading may arrive and still be evaluated, in milliseconds."""
    if kind in DENSE_KINDS or (kind == "glucose" and context.get("sample") == "interstitial"):
        return DENSE_HORIZON_MS
    return HORIZON_MS


def too_late(reading: Reading) -> bool:
    """Whether the reading arrived beyond its horizon: stored, marked, counted, and not evaluated."""
    late_ms = reading.received_at_ms - reading.measured_at_ms
    return late_ms > DENSE_HORIZON_MS and late_ms > horizon_ms(reading.kind, reading.context)


class Observation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the rules see of a reading.

    `x` holds the kind's numbers in canonical units, in the order that `_EXTRACT` writes for the kind;
    None is a value that was not measured. `flags` are those of the contract, `artefact` says that a gate
    failed, `late` that it arrived more than a day after it was measured.
    """

    at_ms: int
    offset_min: int
    device: str
    epoch: int
    seq: int
    digest: int
    kind: str
    x: tuple[float | None, ...]
    flags: tuple[str, ...] = ()
    artefact: bool = False
    late: bool = False

    @property
    def key(self) -> Key:
        return (self.at_ms, self.device, self.epoch, self.seq, self.digest)

    @property
    def identity(self) -> tuple[str, int, int]:
        return (self.device, self.epoch, self.seq)

    @property
    def measured_at(self) -> str:
        return format_instant(self.at_ms, self.offset_min)


def content_digest(
    kind: str,
    at_ms: int,
    offset_min: int,
    x: tuple[float | None, ...],
    flags: tuple[str, ...],
    artefact: bool,
) -> int:
    """A number that tells two contents of one identity apart (CRC-32).

    What the rules do not see, what the device says of itself and when the platform got it are no part of it;
    the database compares whole contents.
    """
    return crc32(_encode((kind, at_ms, offset_min, x, flags, artefact)))


def reading_digest(reading: Reading) -> int:
    """The same for a whole reading: any difference in values, flags or context counts."""
    content = (
        reading.kind,
        reading.measured_at_ms,
        reading.offset_min,
        sorted(reading.values.items()),
        reading.flags,
        sorted(reading.context.items()),
    )
    return crc32(_encode(content))


_encode = msgspec.msgpack.Encoder().encode


def observe(reading: Reading) -> Observation:
    """Reduce a reading to its observation."""
    extract = _EXTRACT.get(reading.kind)
    if extract is None and reading.kind in DENSE_KINDS:
        extract = _rhythm()
    x = extract(reading) if extract is not None else ()
    kind, artefact = reading.kind, bool(reading.marks)
    at_ms, offset_min, flags = reading.measured_at_ms, reading.offset_min, reading.flags
    digest = crc32(_encode((kind, at_ms, offset_min, x, flags, artefact)))  # content_digest, without the call
    late = reading.received_at_ms - at_ms > LATE_MS
    return Observation(
        at_ms, offset_min, reading.device, reading.epoch, reading.seq, digest, kind, x, flags, artefact, late
    )


@cache
def _rhythm() -> Callable[[Reading], tuple[float | None, ...]]:
    """Signal processing is loaded when the first recording comes: most workers' patients have none."""
    from streams.rolling.rhythm import extract

    return extract


def _number(reading: Reading, name: str) -> float | None:
    value = reading.values.get(name)
    return None if value is None else float(value)


def _symptoms(reading: Reading) -> tuple[float | None, ...]:
    codes: list[float | None] = []
    for item in SYMPTOM_ITEMS:
        value = reading.values.get(item)
        if value is None:
            codes.append(None)
        elif item == "wellbeing":
            codes.append(float(WELLBEING.index(value)))
        elif item == "consciousness":
            codes.append(float(CONSCIOUSNESS.index(value)))
        else:
            codes.append(float(value))
    return tuple(codes)


def _glucose(reading: Reading) -> tuple[float | None, ...]:
    value = reading.values.get("glucose")
    sensor = 1.0 if reading.context.get("sample") == "interstitial" else 0.0
    return (None if value is None else float(value), sensor)


def _single(name: str) -> Callable[[Reading], tuple[float | None, ...]]:
    return lambda reading: (_number(reading, name),)


_EXTRACT: dict[str, Callable[[Reading], tuple[float | None, ...]]] = {
    "body-weight": _single("weight"),
    "blood-pressure": lambda r: (_number(r, "systolic"), _number(r, "diastolic"), _number(r, "pulse")),
    "glucose": _glucose,
    "heart-rate": lambda r: (
        _number(r, "heart_rate"),
        1.0 if r.context.get("activity") == "active" else 0.0,
    ),
    "oxygen-saturation": lambda r: (
        _number(r, "spo2"),
        1.0 if r.context.get("oxygen") == "supplemental" else 0.0,
        _number(r, "pulse"),
    ),
    "temperature": _single("temperature"),
    "respiratory-rate": _single("respiratory_rate"),
    "inr": _single("inr"),
    "ketones": _single("ketones"),
    "symptoms": _symptoms,
}


class History:
    """Observations of one lane in order, each once, with the identities that conflict.

    `insert` says what changed; nothing here is evaluated. Lookups are by bisection over `keys`.
    """

    __slots__ = ("_identities", "_packed", "conflicts", "keys", "newest_seq", "observations", "skip")

    def __init__(
        self,
        observations: list[Observation] | None = None,
        conflicts: Iterable[tuple[str, int, int]] = (),
        packed: Iterable[bytes] = (),
        skip: int = 0,
    ) -> None:
        self.observations: list[Observation] = observations or []
        self.keys: list[Key] = [o.key for o in self.observations]
        self.newest_seq: dict[str, tuple[int, int]] = {}
        self.conflicts = frozenset(conflicts)
        """Identities that came with more than one content, here or in another lane of the patient."""
        self._identities: set[tuple[str, int, int]] | None = None  # made when a reading is out of order
        self._packed: list[bytes] = list(packed)  # the leading full blocks, as they stand on disk
        self.skip = skip
        """How many observations of the first packed block are forgotten: it is kept whole until all of it is, so
        that the blocks behind it stay as they are."""
        for observation in self.observations:
            self._note_seq(observation)

    def __len__(self) -> int:
        return len(self.keys)

    def place(self, key: Key) -> int:
        """Index of the first observation at or after `key`."""
        return bisect_left(self.keys, key)

    def after(self, key: Key) -> int:
        """Index of the first observation after `key`."""
        return bisect_right(self.keys, key)

    def append(self, observation: Observation, key: Key) -> bool:
        """Put an observation behind all others, where it belongs, when nothing else has to be looked at: its
        `seq` is the highest of its device. False when it is not: then nothing is done, and `insert` is needed."""
        count = (observation.epoch, observation.seq)
        newest = self.newest_seq.get(observation.device)
        if newest is not None and count <= newest:
            return False
        self.newest_seq[observation.device] = count
        self.keys.append(key)
        self.observations.append(observation)
        if self._identities is not None:
            self._identities.add(observation.identity)
        return True

    def insert(self, observation: Observation) -> tuple[Key, Key] | None:
        """Put the observation where it belongs. Returns the first and the last key at which anything changed,
        or None when it was there already. With a conflict of identity that reaches over all its contents."""
        key = observation.key
        if self.keys and key <= self.keys[-1]:
            index = self.place(key)
            if self.keys[index] == key:
                return None
            self.keys.insert(index, key)
            self.observations.insert(index, observation)
            del self._packed[(index + self.skip) // BLOCK :]
            if not self._packed:
                self.skip = 0
        else:
            self.keys.append(key)
            self.observations.append(observation)
        if self._note_seq(observation):
            if self._identities is not None:
                self._identities.add(observation.identity)
        elif self._twice(observation.identity):
            self.conflicts |= {observation.identity}
            keys = [o.key for o in self.observations if o.identity == observation.identity]
            return min(keys), max(keys)
        return key, key

    def contradicted(self, identity: tuple[str, int, int]) -> tuple[Key, Key] | None:
        """Another lane has a reading of this identity: the first and the last key of it here, if it is here,
        which are a conflict from now on."""
        newest = self.newest_seq.get(identity[0])
        if newest is None or newest < identity[1:]:
            return None
        keys = [o.key for o in self.observations if o.identity == identity]
        if not keys:
            return None
        self.conflicts |= {identity}
        return min(keys), max(keys)

    def _twice(self, identity: tuple[str, int, int]) -> bool:
        """Whether the identity was there before the observation that has just been inserted."""
        if self._identities is None:
            identities = [o.identity for o in self.observations]
            self._identities = set(identities)
            return identities.count(identity) > 1
        if identity in self._identities:
            return True
        self._identities.add(identity)
        return False

    def _note_seq(self, observation: Observation) -> bool:
        """Whether this is a new highest (epoch, seq) of its device, so that no conflict can be."""
        count = (observation.epoch, observation.seq)
        newest = self.newest_seq.get(observation.device)
        if newest is None or count > newest:
            self.newest_seq[observation.device] = count
            return True
        return False

    def blocks(self, pack: Callable[[list[Observation]], bytes]) -> tuple[list[bytes], list[Observation]]:
        """The history for disk: full blocks packed, each once, and the observations after them. The first `skip` of
        the first block are forgotten."""
        for start in range(self._tail, len(self.observations) - BLOCK + 1, BLOCK):
            self._packed.append(pack(self.observations[start : start + BLOCK]))
        return list(self._packed), self.observations[self._tail :]

    @property
    def _tail(self) -> int:
        """Index of the first observation behind the packed blocks."""
        return len(self._packed) * BLOCK - self.skip

    def forget_before(self, index: int) -> None:
        """Drop the first `index` observations: nothing that may still arrive comes before them."""
        if index == 0:
            return
        del self.keys[:index]
        del self.observations[:index]
        self._identities = None
        whole, self.skip = divmod(index + self.skip, BLOCK)
        del self._packed[:whole]
        if not self._packed:
            self.skip = 0
