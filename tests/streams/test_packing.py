"""Histories on disk: what is packed comes back equal, and continuous glucose stays small."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.engine import Engine
from streams.history import BLOCK, PIECE, History, Observation, observation_digest
from streams.packing import pack_block, unpack_block
from streams.protocols import load_published
from streams.stored import FORMAT, NewerStateError, pack, pack_piece, unpack, unpack_piece
from tests.streams.histories import START_MS
from tests.streams.made import glucose_day, glucose_readings

THREE_WEEKS = glucose_day(START_MS, days=21)

values = st.one_of(
    st.none(),
    st.integers(0, 4000).map(lambda tenths: tenths / 10),
    st.floats(-1e6, 1e6, allow_nan=False),
)


@st.composite
def observations(draw: st.DrawFn) -> list[Observation]:
    found = []
    for _ in range(draw(st.integers(1, 40))):
        kind = draw(st.sampled_from(["glucose", "body-weight", "ecg"]))
        x = tuple(draw(values) for _ in range({"glucose": 2, "body-weight": 1, "ecg": 0}[kind]))
        at_ms = draw(st.integers(0, 2**45))
        flags = draw(st.sampled_from([(), ("movement",), ("clock-unset", "movement")]))
        bad = draw(st.booleans())
        found.append(
            Observation(
                at_ms=at_ms,
                offset_min=draw(st.sampled_from([0, 60, -240])),
                device=draw(st.sampled_from(["cg-1", "sc-1"])),
                epoch=draw(st.integers(0, 2)),
                seq=draw(st.integers(0, 2**53)),
                digest=observation_digest(kind, at_ms, 0, x, flags, bad),
                kind=kind,
                x=x,
                flags=flags,
                artefact=bad,
                late=draw(st.booleans()),
            )
        )
    return [
        Observation(
            o.at_ms, o.offset_min, o.device, o.epoch, o.seq,
            observation_digest(o.kind, o.at_ms, o.offset_min, o.x, o.flags, o.artefact),
            o.kind, o.x, o.flags, o.artefact, o.late,
        )
        for o in found
    ]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(observations())
@example(
    [Observation(0, 0, "cg-1", 0, 0, observation_digest("ecg", 0, 0, (-0.0,), (), False), "ecg", (-0.0,))]
)
def test_a_block_comes_back_as_it_was(block: list[Observation]) -> None:
    assert unpack_block(pack_block(block)) == block


def test_an_insertion_packs_again_only_from_its_block_on() -> None:
    readings = glucose_day(START_MS, days=4)
    history = History()
    for o in readings:
        history.insert(o)
    packed = []

    def pack(block: list[Observation]) -> bytes:
        packed.append(block[0].at_ms)
        return pack_block(block)

    blocks, tail = history.blocks(pack)
    assert len(blocks) == len(readings) // BLOCK
    assert len(tail) == len(readings) % BLOCK
    packed.clear()
    late = readings[BLOCK + 5]
    digest = observation_digest("glucose", late.at_ms + 1, 60, (99.0, 1.0), (), False)
    history.insert(Observation(late.at_ms + 1, 60, "cg-2", 0, 1, digest, "glucose", (99.0, 1.0)))
    again, _ = history.blocks(pack)
    assert again[0] == blocks[0]
    assert packed[0] == readings[BLOCK].at_ms
    assert [o for block in again for o in unpack_block(block)][: BLOCK * 2] == history.observations[
        : BLOCK * 2
    ]


def test_a_piece_is_packed_once_until_something_comes_before_its_end() -> None:
    readings = glucose_day(START_MS, days=1)[: 4 * PIECE + 5]
    history = History(readings[:-1])
    history.blocks(pack_block)
    pieces, tail = history.pieces(pack_piece)
    assert (len(pieces), tail) == (4, readings[4 * PIECE : -1])
    history.insert(readings[-1])
    assert history.pieces(_refused) == (pieces, readings[4 * PIECE :])
    late = readings[2 * PIECE]
    digest = observation_digest("glucose", late.at_ms + 1, 60, (99.0, 1.0), (), False)
    history.insert(Observation(late.at_ms + 1, 60, "cg-2", 0, 1, digest, "glucose", (99.0, 1.0)))
    again, _ = history.pieces(pack_piece)
    assert again[:2] == pieces[:2]
    assert [o for piece in again for o in unpack_piece(piece)] == history.observations[: 4 * PIECE]


def test_a_state_that_an_earlier_release_wrote_is_read_and_goes_on_as_if_it_were_ours() -> None:
    """420 readings of glucose, written in format 1 by the release that had it: a block and a tail."""
    readings = glucose_readings(START_MS, days=2)
    data = (Path(__file__).parent / "state_format_1.bin").read_bytes()
    engine = Engine(load_published(), ("diabetes",))
    read, ours = engine.load("p-1", data), engine.new_state("p-1")
    engine.apply(ours, readings[:420])
    assert read.lanes["glucose"].history.observations == ours.lanes["glucose"].history.observations
    assert unpack(data)[0].format == 1
    for state in (read, ours):
        engine.apply(state, readings[420:])
    assert engine.standing(read) == engine.standing(ours)
    written = engine.dump(read)
    assert unpack(written)[0].format == FORMAT
    assert engine.dump(engine.load("p-1", written)) == written


def test_a_state_that_a_later_release_wrote_is_not_taken_for_damage() -> None:
    engine = Engine(load_published(), ("diabetes",))
    stored, _ = unpack(engine.dump(engine.new_state("p-1")))
    later = pack(msgspec.structs.replace(stored, format=FORMAT + 1), [])
    with pytest.raises(NewerStateError, match="a later release wrote it"):
        engine.load("p-1", later)


def test_six_weeks_of_continuous_glucose_take_less_than_48_kilobytes() -> None:
    engine = Engine(load_published(), ("diabetes",))
    state = engine.new_state("p-1")
    from tests.streams.made import as_reading

    engine.apply(state, [as_reading(o) for o in glucose_day(START_MS, days=42)])
    data = engine.dump(state)
    assert len(data) < 48_000
    assert engine.dump(engine.load("p-1", data)) == data


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["come", "come", "late", "forget", "write", "restart"]), st.integers(1, 400)
        ),
        max_size=16,
    )
)
def test_what_is_written_is_the_history_whatever_was_forgotten_and_came_late(
    steps: list[tuple[str, int]],
) -> None:
    coming = iter(THREE_WEEKS)
    history, expected = History(), list[Observation]()

    def is_expected(found: list[Observation]) -> None:
        """What may be forgotten may stay for a while, in front of what must be there."""
        longer = len(found) - len(expected)
        assert 0 <= longer < BLOCK
        assert found[longer:] == expected

    for what, number in steps:
        if what == "come":
            for o, _ in zip(coming, range(number), strict=False):
                history.insert(o)
                expected.append(o)
        elif what == "late" and expected:
            place = number % len(expected)
            at_ms = expected[place].at_ms + 1_000
            digest = observation_digest("glucose", at_ms, 60, (99.0, 1.0), (), False)
            late = Observation(at_ms, 60, "cg-2", 0, number, digest, "glucose", (99.0, 1.0))
            if history.insert(late) is not None:
                expected.insert(place + 1, late)
                expected.sort(key=lambda o: o.key)
        elif what == "forget" and expected:
            number = min(number, len(expected))
            history.forget_through(expected[number - 1].key)
            del expected[:number]
        elif what in ("write", "restart"):
            blocks, behind = history.blocks(pack_block)
            pieces, tail = history.pieces(pack_piece)
            assert [o for piece in pieces for o in unpack_piece(piece)] + tail == behind
            assert len(tail) < PIECE
            written = [o for block in blocks for o in unpack_block(block)][history.skip :] + behind
            is_expected(written)
            if what == "restart":
                history = History(written, history.conflicts, blocks, history.skip, pieces)
            history.cool()
            assert len(history) == len(written)
    is_expected(history.observations)


@pytest.mark.parametrize("cold", [False, True])
def test_forgetting_packs_no_block_again(cold: bool) -> None:
    readings = glucose_day(START_MS, days=10)
    history = History(readings)
    before, _ = history.blocks(pack_block)
    if cold:
        history.cool()
    gone = history.forget_through(readings[BLOCK + 48].key)
    after, _ = history.blocks(_refused)
    assert after == before[1:]
    assert gone == readings[: BLOCK if cold else BLOCK + 49]


def test_what_is_packed_is_unpacked_only_for_what_is_older() -> None:
    readings = glucose_day(START_MS, days=10)
    history = History(readings)
    history.blocks(pack_block)
    history.cool()
    hot = len(readings) % BLOCK + BLOCK
    keys, found, place = history.since(readings[-hot].key)
    assert (len(keys), len(found), place) == (hot, hot, 0)
    keys, found, place = history.since(readings[3].key)
    assert found == readings
    assert place == 3


def _refused(block: list[Observation]) -> bytes:
    raise AssertionError(f"{len(block)} observations are packed again")
