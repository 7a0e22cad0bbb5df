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
IMPLANT_EVENTS = ("atrial-fibrillation", "ventricular-tachycardia", "shock", "lead-fault", "battery-low")
"""The catalogue's words for `event`; an observation holds the place."""
CONSCIOUSNESS = ("A", "C", "V", "P", "U")

BLOCK = 256
"""Observations of a block that is packed as a whole (streams.packing): two days of continuous glucose."""

PIECE = 48
"""Observations of a piece of what is behind the last block: a dump then writes 24 records on average and not 128.
Smaller pieces would take more bytes, since each is compressed by itself."""

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


def observation_digest(
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


_encode = msgspec.msgpack.Encoder().encode


def observe(reading: Reading) -> Observation:
    """Reduce a reading to its observation."""
    extract = _EXTRACT.get(reading.kind)
    if extract is None and reading.kind in DENSE_KINDS:
        extract = _rhythm()
    x = extract(reading) if extract is not None else ()
    kind, artefact = reading.kind, bool(reading.marks)
    at_ms, offset_min, flags = reading.measured_at_ms, reading.offset_min, reading.flags
    digest = crc32(
        _encode((kind, at_ms, offset_min, x, flags, artefact))
    )  # observation_digest, without the call
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
    def extract(reading: Reading) -> tuple[float | None, ...]:
        value = reading.values.get(name)
        return (None if value is None else float(value),)

    return extract


def _pressure(reading: Reading) -> tuple[float | None, ...]:
    get = reading.values.get
    systolic, diastolic, pulse = get("systolic"), get("diastolic"), get("pulse")
    return (
        None if systolic is None else float(systolic),
        None if diastolic is None else float(diastolic),
        None if pulse is None else float(pulse),
    )


_EXTRACT: dict[str, Callable[[Reading], tuple[float | None, ...]]] = {
    "body-weight": _single("weight"),
    "blood-pressure": _pressure,
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
    "implant-report": lambda r: (
        float(IMPLANT_EVENTS.index(r.values["event"])),
        _number(r, "count"),
        _number(r, "burden"),
    ),
}


class History:
    """Observations of one lane in order, each once, with the identities that conflict.

    `insert` says what changed; nothing here is evaluated. Lookups are by bisection over the keys. What was
    written and is old lies packed (`cool`): a sensor's six weeks take 20 kB instead of 5 MB. It is unpacked
    when somebody asks for it, which a reading that is late by days does and hardly any other.
    """

    __slots__ = (
        "_cold", "_hot", "_identities", "_keys", "_packed", "_pieces", "conflicts", "newest_seq", "skip",
    )  # fmt: skip

    def __init__(
        self,
        observations: Iterable[Observation] = (),
        conflicts: Iterable[tuple[str, int, int]] = (),
        packed: Iterable[bytes] = (),
        skip: int = 0,
        pieces: Iterable[bytes] = (),
    ) -> None:
        self._hot = list(observations)  # what lies behind the cold blocks
        self._keys: list[Key] = [o.key for o in self._hot]
        self.newest_seq: dict[str, tuple[int, int]] = {}
        self.conflicts = frozenset(conflicts)
        """Identities that came with more than one content, here or in another lane of the patient."""
        self._identities: set[tuple[str, int, int]] | None = None  # made when a reading is out of order
        self._packed: list[bytes] = list(packed)  # the leading full blocks, as they stand on disk
        self._pieces: list[bytes] = list(pieces)  # the next PIECE observations each, likewise
        self._cold: list[Key] = []  # of the first of those, which are nowhere else: the last key of each
        self.skip = skip
        """How many observations of the first packed block are forgotten: it is kept whole until all of it is, so
        that the blocks behind it stay as they are."""
        for observation in self._hot:
            self._note_seq(observation)

    def __len__(self) -> int:
        return self._before_hot + len(self._hot)

    @property
    def _before_hot(self) -> int:
        return len(self._cold) * BLOCK - self.skip if self._cold else 0

    @property
    def observations(self) -> list[Observation]:
        """All of them, in order."""
        self._thaw()
        return self._hot

    @property
    def newest(self) -> Key | None:
        """The key of the last observation."""
        return self._keys[-1] if self._keys else None

    def since(self, key: Key) -> tuple[list[Key], list[Observation], int]:
        """Keys, observations, and the index in them of the first at or after `key`."""
        if self._cold and key <= self._cold[-1]:
            self._thaw()
        return self._keys, self._hot, bisect_left(self._keys, key)

    def append(self, observation: Observation, key: Key) -> bool:
        """Put an observation behind all others, where it belongs, when nothing else has to be looked at: its
        `seq` is the highest of its device. False when it is not: then nothing is done, and `insert` is needed."""
        count = (observation.epoch, observation.seq)
        newest = self.newest_seq.get(observation.device)
        if newest is not None and count <= newest:
            return False
        self.newest_seq[observation.device] = count
        self._keys.append(key)
        self._hot.append(observation)
        if self._identities is not None:
            self._identities.add(observation.identity)
        return True

    def insert(self, observation: Observation) -> tuple[Key, Key] | None:
        """Put the observation where it belongs. Returns the first and the last key at which anything changed,
        or None when it was there already. With a conflict of identity that reaches over all its contents."""
        key = observation.key
        if self._keys and key <= self._keys[-1]:
            keys, observations, index = self.since(key)
            if keys[index] == key:
                return None
            keys.insert(index, key)
            observations.insert(index, observation)
            place = index + self._before_hot + self.skip
            behind = place - len(self._packed) * BLOCK
            if behind >= 0:
                del self._pieces[behind // PIECE :]
            else:
                del self._packed[place // BLOCK :]
                self._pieces.clear()
            if not self._packed:
                self.skip = 0
        else:
            self._keys.append(key)
            self._hot.append(observation)
        if self._note_seq(observation):
            if self._identities is not None:
                self._identities.add(observation.identity)
        elif self._twice(observation.identity):
            self.conflicts |= {observation.identity}
            same = [o.key for o in self.observations if o.identity == observation.identity]
            return min(same), max(same)
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
        start = self._tail
        while start + BLOCK <= len(self._hot):
            self._packed.append(pack(self._hot[start : start + BLOCK]))
            self._pieces.clear()
            start += BLOCK
        return list(self._packed), self._hot[start:]

    def pieces(self, pack: Callable[[list[Observation]], bytes]) -> tuple[list[bytes], list[Observation]]:
        """What `blocks` left, in its turn: pieces of PIECE observations, each packed once until a block is full, and
        the observations after them, fewer than PIECE, which alone are written anew with every reading."""
        start = self._tail + len(self._pieces) * PIECE
        while start + PIECE <= len(self._hot):
            self._pieces.append(pack(self._hot[start : start + PIECE]))
            start += PIECE
        return list(self._pieces), self._hot[start:]

    @property
    def _tail(self) -> int:
        """Index in `_hot` of the first observation behind the packed blocks."""
        return len(self._packed) * BLOCK - self.skip - self._before_hot if self._packed else 0

    def cool(self) -> None:
        """Let go of all packed blocks but the last."""
        chilled = len(self._packed) - 1 - len(self._cold)
        if chilled <= 0:
            return
        count = chilled * BLOCK - (0 if self._cold else self.skip)
        first = count - (chilled - 1) * BLOCK
        self._cold += [self._keys[end - 1] for end in range(first, count + 1, BLOCK)]
        del self._keys[:count]
        del self._hot[:count]
        self._identities = None

    def _thaw(self) -> None:
        if not self._cold:
            return
        old = [o for block in self._packed[: len(self._cold)] for o in _unpacked(block)][self.skip :]
        self._cold.clear()
        self._hot[:0] = old
        self._keys[:0] = [o.key for o in old]

    def forget_through(self, key: Key) -> list[Observation]:
        """Drop the observations up to `key`, behind which everything belongs that may still arrive, and return
        them. Those in a cold block stay until all of it may go."""
        gone: list[Observation] = []
        while self._cold and self._cold[0] <= key:
            gone += _unpacked(self._packed.pop(0))[self.skip :]
            del self._cold[0]
            self.skip = 0
        if self._cold:
            return gone
        index = bisect_right(self._keys, key)
        if index:
            gone += self._hot[:index]
            del self._keys[:index]
            del self._hot[:index]
            self._identities = None
            whole, self.skip = divmod(index + self.skip, BLOCK)
            del self._packed[:whole]
            if not self._packed:
                self.skip = 0
                self._pieces.clear()
        return gone


def _unpacked(block: bytes) -> list[Observation]:
    from streams.packing import unpack_block  # which needs Observation

    return unpack_block(block)
