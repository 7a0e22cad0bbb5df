"""A patient's state on disk: the value in the worker's changelog.

Full blocks of the history are packed once (streams.packing) and stand behind the record as they are; the
rest is one MessagePack record, compressed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import msgspec

from streams.episodes import Episode, RuleState
from streams.history import History, Key, Observation
from streams.packing import pack_block, unpack_block
from streams.plans import CarePlan
from streams.program import Program
from streams.retime import Loose, lay, note_senders
from streams.state import Checkpoint, Lane, PatientState
from streams.timeline import RuleKey

FORMAT = 2
"""Version of the form on disk. 2 has pieces between the blocks and the tail."""

READABLE = (1, 2)
"""Formats that `read` knows and `write` can write: this one and the one before. What 1 has not is empty. A release that
reads and writes its predecessor's can work beside it while workers are replaced one by one."""

COMPRESSION_LEVEL = 1
"""zlib's quickest: states repeat themselves so much that the higher levels gain under a tenth."""


class DamagedStateError(ValueError):
    """Bytes that are no state of this format, or another patient's."""


class NewerStateError(DamagedStateError):
    """A later release wrote the state. It is not damaged, and nobody may make it anew from less."""


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
    skip: int = 0
    """How many observations of the first block are forgotten."""
    pieces: list[int] = []
    """Lengths in bytes of the packed pieces between the blocks and the tail, which stand behind the blocks."""


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
    stamp: int = 0
    """Of the protocols that it was evaluated with (Library.stamp); 0 when it must be evaluated again."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Stored)
_piece_decoder = msgspec.msgpack.Decoder(list[Observation])


def pack(stored: Stored, blocks: list[bytes]) -> bytes:
    """The record, compressed, behind its length; then the blocks of its lanes, which are compressed already."""
    record = zlib.compress(_encoder.encode(stored), COMPRESSION_LEVEL)
    return b"".join((len(record).to_bytes(4, "little"), record, *blocks))


def pack_piece(observations: list[Observation]) -> bytes:
    """A few observations as they are, compressed; columns (pack_block) pay from some hundred on."""
    return zlib.compress(_encoder.encode(observations), COMPRESSION_LEVEL)


def unpack_piece(data: bytes) -> list[Observation]:
    return _piece_decoder.decode(zlib.decompress(data))


def unpack(data: bytes) -> tuple[Stored, dict[str, list[bytes]]]:
    """The record and the packed blocks and pieces by lane. Raises msgspec.ValidationError or zlib.error for what is no
    state of this format."""
    end = 4 + int.from_bytes(data[:4], "little")
    stored = _decoder.decode(zlib.decompress(data[4:end]))
    blocks: dict[str, list[bytes]] = {}
    for name, lane in stored.lanes.items():
        for size in (*lane.blocks, *lane.pieces):
            blocks.setdefault(name, []).append(data[end : end + size])
            end += size
    return stored, blocks


def write(state: PatientState, form: int = FORMAT) -> bytes:
    """The patient as bytes, in one of the READABLE formats."""
    lanes = {}
    packed: list[bytes] = []
    for name, lane in state.lanes.items():
        blocks, rest = lane.history.blocks(pack_block)
        pieces, tail = ([], rest) if form == 1 else lane.history.pieces(pack_piece)
        packed += blocks + pieces
        lanes[name] = StoredLane(
            base_key=lane.base.key,
            base_version=lane.base.version,
            base_stats=list(lane.base.stats),
            base_states=list(lane.base.states),
            version=lane.version,
            stats=lane.stats,
            states=lane.states,
            tail=tail,
            closed=lane.closed,
            conflicts=sorted(lane.history.conflicts),
            blocks=[len(block) for block in blocks],
            skip=lane.history.skip,
            pieces=[len(piece) for piece in pieces],
        )
        lane.history.cool()
    layouts = {name: lane.program.layout for name, lane in state.lanes.items()}
    stored = Stored(
        format=form,
        patient=state.patient,
        n=state.n,
        clock_ms=state.clock_ms,
        plan=state.plan,
        rules={name: list(layout.keys) for name, layout in layouts.items()},
        statistics={name: list(layout.stat_keys) for name, layout in layouts.items()},
        lanes=lanes,
        last_before=state.last_before,
        silences=[e for found in state.silences.values() for e in found],
        deadline_ms=state.deadline_ms,
        too_late=state.too_late,
        duplicates=state.duplicates,
        stamp=0 if state.stale else state.timeline.library.stamp,
    )
    return pack(stored, packed)


def read(
    state: PatientState, data: bytes, begin: Callable[[CarePlan], None], program_of: Callable[[str], Program]
) -> None:
    """Fill a new state with what `write` wrote.

    `begin` is given the plan, before `program_of` is asked for the program of each lane under it. Raises
    DamagedStateError when the bytes are another patient's, of an unknown format or damaged; zlib's checksums
    find what changed on the way.
    """
    try:
        _read(state, data, begin, program_of)
    except DamagedStateError:
        raise
    except Exception as error:  # whatever a length or a type that is not ours leads to
        raise DamagedStateError(
            f"state of {state.patient!r}: {len(data)} bytes that are none: {type(error).__name__}: {error}"
        ) from error


def _read(
    state: PatientState, data: bytes, begin: Callable[[CarePlan], None], program_of: Callable[[str], Program]
) -> None:
    stored, packed = unpack(data)
    if stored.format > FORMAT:
        raise NewerStateError(
            f"state of {stored.patient!r} in format {stored.format}: a later release wrote it, and this one reads up "
            f"to {FORMAT}; run the later release, with SCAD_STATE_FORMAT={FORMAT} beside this one (docs/capacity.md)"
        )
    if stored.format not in READABLE or stored.patient != state.patient:
        raise DamagedStateError(
            f"state of {stored.patient!r} in format {stored.format}, expected {state.patient!r}, {FORMAT}"
        )
    state.n, state.clock_ms, state.deadline_ms = stored.n, stored.clock_ms, stored.deadline_ms
    state.last_before = stored.last_before
    state.too_late, state.duplicates = stored.too_late, stored.duplicates
    if stored.plan is not None:
        begin(stored.plan)
    for episode in stored.silences:
        state.silences.setdefault(episode.key, []).append(episode)
    if stored.stamp == state.timeline.library.stamp:
        for name, kept in stored.lanes.items():
            state.lanes[name] = _lane(stored, name, kept, packed, program_of(name))
    else:
        state.stale = True
        _lay(state, stored, packed, program_of)
    note_senders(state)


def _history(name: str, kept: StoredLane, packed: dict[str, list[bytes]]) -> History:
    parts, of_blocks = packed.get(name, []), len(kept.blocks)
    blocks, pieces = parts[:of_blocks], parts[of_blocks:]
    observations = [o for block in blocks for o in unpack_block(block)][kept.skip :]
    observations += [o for piece in pieces for o in unpack_piece(piece)] + kept.tail
    return History(observations, kept.conflicts, blocks, kept.skip, pieces)


def _lane(
    stored: Stored, name: str, kept: StoredLane, packed: dict[str, list[bytes]], program: Program
) -> Lane:
    layout, keys, stat_keys = program.layout, stored.rules[name], stored.statistics[name]
    base = Checkpoint(
        kept.base_key,
        layout.read_stats(stat_keys, kept.base_stats),
        layout.read_rules(keys, kept.base_states),
        kept.base_version,
    )
    lane = Lane(program, base, _history(name, kept, packed))
    lane.stats = list(layout.read_stats(stat_keys, kept.stats))
    lane.states = list(layout.read_rules(keys, kept.states))
    lane.version, lane.closed = kept.version, kept.closed
    lane.settle()
    return lane


def _lay(
    state: PatientState,
    stored: Stored,
    packed: dict[str, list[bytes]],
    program_of: Callable[[str], Program],
) -> None:
    """Lanes that were evaluated with other protocols, to be evaluated again when the state is next applied to.
    Statistics that the present rules do not have cannot be read, and are not needed. Episodes of rules that are
    no more are kept among those closed, to be withdrawn then."""
    statistics = {r.statistic_key: r.statistic for r in state.timeline.rules if r.statistic is not None}
    loose = []
    for name, kept in stored.lanes.items():
        of_stats = zip(stored.statistics[name], kept.base_stats, strict=True)
        base_stats = {
            key: msgspec.convert(raw, statistics[key].State) for key, raw in of_stats if key in statistics
        }
        base_states, states = (
            {
                (key[0], key[1]): msgspec.convert(raw, RuleState)
                for key, raw in zip(stored.rules[name], of, strict=True)
            }
            for of in (kept.base_states, kept.states)
        )
        history = _history(name, kept, packed)
        loose.append(Loose(kept.base_key, base_stats, base_states, states, history, kept.closed))
    state.lanes, gone = lay(loose, state.timeline, program_of)
    for lane in state.lanes.values():
        lane.closed += [(lane.base.key, episode) for episode in gone]
        break
