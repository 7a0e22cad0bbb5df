"""The pure half of the firmware client: which readings a receipt lets a device forget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.ledger import BadReceiptError, Ledger, Receipt, Rejection, covers, parse_receipt

SEQS = st.integers(0, 12)
EPOCHS = st.integers(0, 2)
RANGES = st.tuples(SEQS, SEQS).map(lambda pair: (min(pair), max(pair)))
RECEIPTS = st.builds(
    Receipt,
    through=st.none() | SEQS,
    epoch=EPOCHS,
    also=st.lists(RANGES, max_size=3).map(tuple),
    rejected=st.lists(st.builds(Rejection, seq=st.none() | SEQS, reason=st.just("range")), max_size=3).map(
        tuple
    ),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), EPOCHS, SEQS),
        st.tuples(st.just("send"), st.integers(0, 40)),
        st.tuples(st.just("receipt"), RECEIPTS),
    ),
    max_size=40,
)


@given(STEPS)
def test_nothing_is_forgotten_that_no_receipt_covered_and_everything_that_one_did(steps):
    ledger = Ledger()
    held: dict[int, tuple[int, int]] = {}
    sent: set[int] = set()
    for step in steps:
        if step[0] == "hold":
            position = len(held) + 1000 * len(sent) + sum(map(len, map(str, held)))  # any new number
            while position in held or position in sent:
                position += 1
            ledger.hold(position, step[1], step[2])
            held[position] = (step[1], step[2])
        elif step[0] == "send":
            waiting = sorted(held)
            if waiting:
                position = waiting[step[1] % len(waiting)]
                ledger.sent(position)
                sent.add(position)
        else:
            receipt = step[1]
            settled = ledger.settle(receipt)
            expected = {p for p, (epoch, seq) in held.items() if p in sent and covers(receipt, epoch, seq)}
            gone = {*settled.received, *(position for position, _ in settled.rejected)}
            assert gone == expected
            assert len(settled.received) + len(settled.rejected) == len(gone)
            refused = {rejection.seq for rejection in receipt.rejected}
            assert all(held[position][1] in refused for position, _ in settled.rejected)
            assert not any(held[position][1] in refused for position in settled.received)
            for position in gone:
                del held[position]
        assert len(ledger) == len(held)
        for epoch in range(3):
            seqs = [seq for of_epoch, seq in held.values() if of_epoch == epoch]
            assert ledger.lowest(epoch) == (min(seqs) if seqs else None)


@given(RECEIPTS, st.lists(SEQS, unique=True))
def test_the_same_receipt_twice_changes_nothing_the_second_time(receipt, seqs):
    ledger = Ledger()
    for position, seq in enumerate(seqs):
        ledger.hold(position, 0, seq)
        ledger.sent(position)
    ledger.settle(receipt)
    again = ledger.settle(receipt)
    assert again.received == ()
    assert again.rejected == ()


def test_a_receipt_never_covers_what_was_not_sent():
    ledger = Ledger()
    ledger.hold(1, 0, 1)
    ledger.hold(2, 0, 2)
    ledger.sent(1)
    assert ledger.settle(Receipt(through=99)).received == (1,)
    assert ledger.lowest(0) == 2


def test_a_refusal_without_a_seq_removes_nothing_and_is_reported():
    ledger = Ledger()
    ledger.hold(1, 0, 1)
    ledger.sent(1)
    settled = ledger.settle(Receipt(through=None, rejected=(Rejection(None, "not-json"),)))
    assert settled.unmatched == (Rejection(None, "not-json"),)
    assert len(ledger) == 1


def test_a_receipt_is_read_as_the_contract_writes_it():
    payload = (
        b'{"epoch":0,"through":1042,"also":[[1045,1047]],"rejected":[{"seq":1040,"reason":"unknown-kind"}]}'
    )
    receipt = parse_receipt(payload)
    assert covers(receipt, 0, 1042)
    assert not covers(receipt, 0, 1043)
    assert covers(receipt, 0, 1046)
    assert not covers(receipt, 1, 1)
    assert receipt.rejected == (Rejection(1040, "unknown-kind"),)


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"through":"all"}', b"\xff", b'{"also":[[1]]}'])
def test_what_is_no_receipt_is_named(payload):
    with pytest.raises(BadReceiptError, match="no receipt"):
        parse_receipt(payload)
