"""Which readings of a device are durable, and the receipts that say so (contract section 1). Pure.

A ledger is kept for each device, and in it one `Seen` for each epoch: the sequence numbers that stand in
Kafka, as ranges. A receipt never claims a number that is not in it, except below where the count begins:
the lowest number seen, or `oldest`, below which the device says that it holds nothing.

Everything is bounded. What does not fit is not claimed, so the device sends it again: never lost.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import msgspec

from devices.payload import json_decoder

MAX_RANGES = 1_024
"""Ranges beyond `through` named in one receipt, the lowest ones. A device that empties its buffer in order needs
one or two; several bridges that take turns some dozens; one that sends in no order at all needs as many as it may
have in flight (1,000 readings), else its window fills and it waits for ever. A receipt stays under 32 kB."""
KEPT_RANGES = 8_192
"""Ranges beyond `through` kept per epoch, the lowest ones: those that a receipt has no room for grow together
unseen, so that 30,000 readings in no order are receipted without being sent again. At most some 60 kB a device."""
MAX_EPOCHS = 4
"""Epochs kept per device, the highest. A device raises its epoch when it must start counting again."""
MAX_REJECTED = 500
"""Refusals named in one receipt: as many as one payload can hold. More are in quarantine all the same."""
NOTHING = -1
"""`through` when no number was ever read: sequence numbers begin at 0."""


class Rejected(msgspec.Struct, frozen=True):
    """One refused reading; `seq` is None when it could not be read."""

    seq: int | None
    reason: str


class Receipt(msgspec.Struct, frozen=True):
    """What is published to the device. Ranges include both ends."""

    epoch: int
    through: int
    also: tuple[tuple[int, int], ...] = ()
    rejected: tuple[Rejected, ...] = ()


class Seen(msgspec.Struct, array_like=True):
    """The durable numbers of one epoch: disjoint ranges in order, none below `base`.

    `told` says that the device named `base` itself (`oldest`); else it is the lowest number seen.
    """

    base: int
    told: bool
    ranges: list[tuple[int, int]]


class Ledger(msgspec.Struct, array_like=True):
    """What is kept per device, by epoch."""

    epochs: dict[int, Seen]
    v: int = 1


class ReceiptRecord(msgspec.Struct, frozen=True):
    """The value in `scad.receipts`."""

    device: str
    receipt: Receipt


_encode_ledger = msgspec.msgpack.Encoder().encode
_decode_ledger = msgspec.msgpack.Decoder(Ledger).decode
_encode_json = msgspec.json.Encoder().encode
_decode_record = json_decoder(ReceiptRecord)


def new_ledger() -> Ledger:
    return Ledger({})


def dump_ledger(ledger: Ledger) -> bytes:
    return _encode_ledger(ledger)


def load_ledger(data: bytes) -> Ledger:
    """Raises msgspec.DecodeError for what is no ledger, or one whose ranges are not what `Seen` promises: a receipt
    made of it could tell a device to forget what nobody has."""
    ledger = _decode_ledger(data)
    for epoch, seen in ledger.epochs.items():
        before = seen.base - 1
        for first, last in seen.ranges:
            if not before < first <= last:
                raise msgspec.ValidationError(f"ranges of epoch {epoch} are not in order from {seen.base}")
            before = last
    return ledger


def encode_record(device: str, receipt: Receipt) -> bytes:
    return _encode_json(ReceiptRecord(device, receipt))


def decode_record(message: bytes) -> ReceiptRecord:
    """Raises msgspec.DecodeError for what is no receipt record."""
    return _decode_record(message)


def encode_receipt(receipt: Receipt) -> bytes:
    """The MQTT payload."""
    return _encode_json(receipt)


def note(ledger: Ledger, epoch: int, seqs: Iterable[int], oldest: int | None = None) -> Seen | None:
    """Enter numbers that are durable now, and the device's `oldest` when it told one.

    Returns what is known of that epoch. An epoch lower than those that are kept is looked at for this call
    only and not kept. None when there is nothing to know: no number, no `oldest`, an epoch not kept.
    """
    numbers = sorted(set(seqs))
    seen = ledger.epochs.get(epoch)
    if seen is None:
        if not numbers and oldest is None:
            return None
        seen = Seen(numbers[0] if numbers else oldest or 0, False, [])
        _keep(ledger, epoch, seen)
    if oldest is not None:
        _believe(seen, oldest)
    for first, last in _runs(numbers):
        _add(seen, first, last)
    del seen.ranges[KEPT_RANGES + 1 :]  # one for `through`
    return seen


def receipt(epoch: int, seen: Seen | None, rejected: Iterable[Rejected] = ()) -> Receipt:
    """What may be told to the device. `through` is the end of the unbroken range that begins at the base."""
    named = tuple(rejected)[:MAX_REJECTED]
    if seen is None:
        return Receipt(epoch, NOTHING, (), named)
    if seen.ranges and seen.ranges[0][0] <= seen.base:
        return Receipt(epoch, seen.ranges[0][1], tuple(seen.ranges[1 : MAX_RANGES + 1]), named)
    return Receipt(epoch, seen.base - 1, tuple(seen.ranges[:MAX_RANGES]), named)


def merge(older: Receipt, newer: Receipt) -> Receipt:
    """One receipt for two of the same epoch that could not be published: the newer one, naming the refusals
    of both, the newest first to be kept."""
    rejected = list(dict.fromkeys((*older.rejected, *newer.rejected)))[-MAX_REJECTED:]
    return msgspec.structs.replace(newer, rejected=tuple(rejected))


def _keep(ledger: Ledger, epoch: int, seen: Seen) -> None:
    if len(ledger.epochs) >= MAX_EPOCHS:
        lowest = min(ledger.epochs)
        if epoch < lowest:
            return
        del ledger.epochs[lowest]
    ledger.epochs[epoch] = seen


def _believe(seen: Seen, oldest: int) -> None:
    """The device holds nothing below `oldest`. A message that was delayed may tell an older one, which
    changes nothing; the first one told replaces the guess that counting begins at the lowest number seen."""
    if seen.told and oldest <= seen.base:
        return
    seen.base, seen.told = oldest, True
    kept = [(max(first, oldest), last) for first, last in seen.ranges if last >= oldest]
    seen.ranges = kept


def _add(seen: Seen, first: int, last: int) -> None:
    """Enter the range first to last, both included."""
    if seen.told:
        first = max(first, seen.base)
    if last < first:
        return
    seen.base = min(seen.base, first)
    ranges = seen.ranges
    # Those that touch [first, last] become one range: their ends reach first - 1, their starts last + 1.
    low = bisect_left(ranges, first - 1, key=lambda span: span[1])
    high = bisect_right(ranges, last + 1, key=lambda span: span[0])
    if low < high:
        first, last = min(first, ranges[low][0]), max(last, ranges[high - 1][1])
    ranges[low:high] = [(first, last)]


def _runs(numbers: list[int]) -> Iterable[tuple[int, int]]:
    """Sorted distinct numbers as ranges of neighbours."""
    start = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield numbers[start], numbers[index - 1]
            start = index
