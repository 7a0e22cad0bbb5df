"""The fenced table: what recovery finds, whoever wrote what and whatever compaction removed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.record import BadRecordError, Head, dump_record, load_head, load_state
from streams.tables import Token, TokenStore, decode_key, encode_key
from streams.transport import TP

TOPIC = "changelog"


def recovered(log: list[tuple[bytes, bytes | None]], generation: int) -> TokenStore:
    """A store after Faust's recovery of partition 0 by a worker of that generation."""
    app: Any = SimpleNamespace(consumer_generation_id=generation, conf=None)
    table: Any = SimpleNamespace(name="t")
    store: TokenStore = TokenStore("memory://", app, table)
    records = [
        SimpleNamespace(topic=TOPIC, partition=0, offset=offset, key=key, value=value)
        for offset, (key, value) in enumerate(log)
    ]
    store.apply_changelog_batch([SimpleNamespace(value=SimpleNamespace(records=records))], None, None)
    asyncio.run(store.on_recovery_completed({TP(TOPIC, 0)}, set()))
    return store


def compacted(log: list[tuple[bytes, bytes | None]]) -> list[tuple[bytes, bytes | None]]:
    """What log compaction may leave at most: the last record of each key, without its deletions."""
    last = {key: index for index, (key, _) in enumerate(log)}
    return [
        entry
        for index, entry in enumerate(log)
        if last[entry[0]] == index and (entry[1] is not None or index == len(log) - 1)
    ]


@given(st.text(min_size=1).filter(lambda text: "\x00" not in text), st.integers(0), st.integers(0))
def test_a_key_reads_back_as_it_was_written(name: str, epoch: int, generation: int) -> None:
    token = Token(epoch, generation)
    assert decode_key(encode_key(name, token)) == (name, token)


def test_a_key_that_is_none_of_ours_is_passed_over() -> None:
    good = encode_key("p", Token(0, 1))
    store = recovered([(b"strange", b"x"), (good, b"state"), (b"p\x00no.token", b"y")], 2)
    assert store.data == {"p": b"state"}


def test_a_new_owner_outranks_whatever_it_found() -> None:
    store = recovered([(encode_key("p", Token(4, 9)), b"a"), (encode_key("q", Token(2, 30)), b"b")], 3)
    assert store.mine[0] > Token(4, 9)


def test_two_owners_that_saw_the_same_records_are_told_apart_by_generation() -> None:
    log: list[tuple[bytes, bytes | None]] = [(encode_key("p", Token(4, 9)), b"a")]
    assert recovered(log, 10).mine[0] < recovered(log, 12).mine[0]


def test_partitions_that_went_to_others_leave_nothing_behind() -> None:
    store = recovered([(encode_key("p", Token(0, 1)), b"a")], 2)
    asyncio.run(store.on_recovery_completed({TP(TOPIC, 1)}, set()))
    assert store.data == {}
    assert set(store.mine) == {1}


OWNERS = 4
STEP = st.tuples(st.integers(0, OWNERS - 1), st.sampled_from("pqr"))


@settings(max_examples=300)
@given(
    st.lists(STEP, min_size=1, max_size=30),
    st.lists(st.integers(0, 29), max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_the_last_rightful_owners_word_stands_after_any_late_writes_and_compaction(
    steps: list[tuple[int, str]], late: list[int], compact: bool, tombstones: bool
) -> None:
    """Owners take over one after the other; each then knows only its own writes. Some of a former owner's
    writes reach the log late, after its successors wrote."""
    by_owner = sorted(steps)
    log: list[tuple[bytes, bytes | None]] = []
    truth: dict[str, bytes] = {}
    held_back: list[tuple[bytes, bytes | None]] = []
    store, owner_before = recovered(log, 1), 0
    for index, (owner, name) in enumerate(by_owner):
        if owner != owner_before:
            store, owner_before = recovered(log, owner + 1), owner
        token, value = store.mine[0], b"%d" % index
        is_last_of_owner = index + 1 == len(by_owner) or by_owner[index + 1][0] != owner
        if index in late and is_last_of_owner and index + 1 < len(by_owner):
            held_back.append((encode_key(name, token), value))  # on its way when the owner was paused
            continue
        if tombstones:
            old = [key for key in store.old[0] if key != encode_key(name, token)]
            log += [(key, None) for key in old]
            for key in old:
                del store.old[0][key]
        log.append((encode_key(name, token), value))
        store.put(name, 0, token, value)
        truth[name] = value
    written = {key for key, _ in log}
    late_writes = [
        entry for entry in held_back if any(decode_key(key)[1] > decode_key(entry[0])[1] for key in written)
    ]
    final = log + late_writes
    found = recovered(compacted(final) if compact else final, OWNERS + 2)
    for name, value in truth.items():
        later = [entry for entry in late_writes if decode_key(entry[0])[0] == name]
        newest = max((decode_key(key)[1] for key, v in log if v is not None and decode_key(key)[0] == name))
        if all(decode_key(key)[1] < newest for key, _ in later):
            assert found.data[name] == value


def test_a_worker_record_reads_back_and_another_version_is_refused() -> None:
    head = Head(7, 3, 99, [b"signal"])
    record = dump_record(head, b"state")
    assert (load_head(record), load_state(record)) == (head, b"state")
    with pytest.raises(BadRecordError, match="version 02"):
        load_head(b"\x02" + record[1:])
    with pytest.raises(BadRecordError, match="damaged head"):
        load_head(record[:5] + b"\xc1" * 20)
