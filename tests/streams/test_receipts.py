from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from streams.receipts import (
    KEPT_RANGES,
    MAX_EPOCHS,
    MAX_RANGES,
    MAX_REJECTED,
    NOTHING,
    Receipt,
    Rejected,
    Seen,
    decode_record,
    dump_ledger,
    encode_record,
    load_ledger,
    merge,
    new_ledger,
    note,
    receipt,
)

SEQ = st.integers(0, 60)


def claims(given_receipt: Receipt, seen: Seen, seq: int) -> bool:
    """What the contract lets a device forget, from where the count begins."""
    return (seen.base <= seq <= given_receipt.through) or any(a <= seq <= b for a, b in given_receipt.also)


def told(seqs: list[int], oldest: int | None = None) -> Receipt:
    ledger = new_ledger()
    return receipt(0, note(ledger, 0, seqs, oldest))


def test_a_first_reading_is_claimed_and_nothing_above_it() -> None:
    assert told([7]) == Receipt(0, 7)


def test_a_gap_holds_through_back_and_what_is_above_it_is_named() -> None:
    assert told([1, 2, 5, 6, 9]) == Receipt(0, 2, ((5, 6), (9, 9)))


def test_a_lower_number_that_comes_late_moves_the_beginning_down() -> None:
    ledger = new_ledger()
    assert receipt(0, note(ledger, 0, [10])).through == 10
    assert receipt(0, note(ledger, 0, [8])) == Receipt(0, 8, ((10, 10),))


def test_what_a_device_still_holds_is_not_claimed_before_it_came() -> None:
    assert told([10], oldest=8) == Receipt(0, 7, ((10, 10),))


def test_what_a_device_no_longer_holds_does_not_hold_a_receipt_back() -> None:
    ledger = new_ledger()
    note(ledger, 0, [1, 2])
    assert receipt(0, note(ledger, 0, [9], oldest=8)) == Receipt(0, 7, ((9, 9),))
    assert receipt(0, note(ledger, 0, [8])).through == 9


def test_a_delayed_message_does_not_bring_an_old_beginning_back() -> None:
    ledger = new_ledger()
    note(ledger, 0, [20], oldest=20)
    assert receipt(0, note(ledger, 0, [5], oldest=5)) == Receipt(0, 20)


def test_epochs_are_counted_apart_and_the_highest_are_kept() -> None:
    ledger = new_ledger()
    for epoch in range(MAX_EPOCHS + 3):
        assert receipt(epoch, note(ledger, epoch, [3])) == Receipt(epoch, 3)
    assert sorted(ledger.epochs) == list(range(3, MAX_EPOCHS + 3))
    assert receipt(0, note(ledger, 0, [50])).through == 50
    assert 0 not in ledger.epochs


def test_a_refusal_without_a_number_is_told_when_nothing_is_known() -> None:
    rejected = [Rejected(None, "not-json")]
    assert receipt(0, note(new_ledger(), 0, []), rejected) == Receipt(0, NOTHING, (), tuple(rejected))


def test_refusals_of_two_receipts_are_merged_with_a_bound() -> None:
    older = Receipt(0, 4, (), tuple(Rejected(n, "bad-time") for n in range(MAX_REJECTED)))
    newer = Receipt(0, 9, (), (Rejected(700, "bad-time"), Rejected(3, "bad-time")))
    merged = merge(older, newer)
    assert merged.through == 9
    assert len(merged.rejected) == MAX_REJECTED
    assert Rejected(700, "bad-time") in merged.rejected


def test_records_survive_encoding() -> None:
    ledger = new_ledger()
    seen = note(ledger, 2, [1, 2, 8], oldest=1)
    assert load_ledger(dump_ledger(ledger)) == ledger
    record = receipt(2, seen, [Rejected(None, "not-json")])
    decoded = decode_record(encode_record("sc-1", record))
    assert (decoded.device, decoded.receipt) == ("sc-1", record)


@given(st.lists(st.tuples(st.lists(SEQ, max_size=8), st.none() | SEQ), max_size=30))
def test_a_receipt_claims_only_what_was_seen(messages: list[tuple[list[int], int | None]]) -> None:
    """The model: a set. `oldest` is honest here only in that nothing below it is still awaited."""
    ledger = new_ledger()
    model: set[int] = set()
    for seqs, oldest in messages:
        low = None if oldest is None or not seqs else min(oldest, *seqs)
        seen = note(ledger, 0, seqs, low)
        model.update(seqs)
        if seen is None:
            continue
        said = receipt(0, seen)
        claimed = {seq for seq in range(61) if claims(said, seen, seq)}
        assert claimed <= model
        assert {seq for seq in model if seq >= seen.base} == claimed
        assert load_ledger(dump_ledger(ledger)) == ledger


@given(st.permutations(range(40)), st.integers(1, 7), st.booleans())
def test_in_any_order_and_batching_everything_is_claimed_at_the_end(
    order: list[int], size: int, tells: bool
) -> None:
    ledger = new_ledger()
    seen = None
    for start in range(0, len(order), size):
        seen = note(ledger, 0, order[start : start + size], 0 if tells else None)
    assert receipt(0, seen) == Receipt(0, 39)


def test_a_backlog_in_no_order_is_receipted_though_a_receipt_names_few_ranges() -> None:
    order = list(range(8 * MAX_RANGES))
    random.Random(1).shuffle(order)
    ledger, widest = new_ledger(), 0
    for start in range(0, len(order), 500):
        seen = note(ledger, 0, order[start : start + 500], 0)
        said = receipt(0, seen)
        widest = max(widest, len(ledger.epochs[0].ranges))
        assert len(said.also) <= MAX_RANGES
        assert all(seq in order[: start + 500] for first, last in said.also for seq in (first, last))
    assert widest > MAX_RANGES
    assert said == Receipt(0, 8 * MAX_RANGES - 1)


def test_more_ranges_than_are_kept_are_claimed_when_they_come_again() -> None:
    ledger = new_ledger()
    said = receipt(0, note(ledger, 0, range(0, 4 * KEPT_RANGES, 2), 0))
    assert (said.through, len(said.also)) == (0, MAX_RANGES)
    assert len(ledger.epochs[0].ranges) == KEPT_RANGES + 1
    assert receipt(0, note(ledger, 0, range(4 * KEPT_RANGES), 0)) == Receipt(0, 4 * KEPT_RANGES - 1)
