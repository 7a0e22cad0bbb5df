"""What a receipt lets a device forget: the pure half of the firmware client, without disk or network.

The rule is the contract's: a reading is kept until a receipt covers it (`through`, `also` or `rejected`).
A broker's PUBACK is no receipt. One guard is added: a receipt never covers what the broker has not taken
from this device since it started, so that a receipt which outlived the readings it spoke of (a device that
was reset, a recording that is played twice) cannot remove readings that are still to be sent. A broker sends
its PUBACK before the receipt, so the guard holds nothing back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Annotated

import msgspec

from devices.payload import MAX_INTEGER, json_decoder


class BadReceiptError(ValueError):
    """A message on the receipts topic that is no receipt."""


Number = Annotated[int, msgspec.Meta(ge=-1, le=MAX_INTEGER)]
"""A sequence number or an epoch; -1 is `through` where nothing was seen. What is beyond does not fit the outbox."""


class Rejection(msgspec.Struct, frozen=True):
    """One refused reading. `seq` is None when the platform could not read it."""

    seq: Number | None
    reason: str = ""


class Receipt(msgspec.Struct, frozen=True):
    """A receipt as the contract writes it. Ranges of `also` include both ends."""

    through: Number | None = None
    epoch: Number = 0
    also: tuple[tuple[Number, Number], ...] = ()
    rejected: tuple[Rejection, ...] = ()


_decode = json_decoder(Receipt)


def parse_receipt(payload: bytes) -> Receipt:
    """Read a receipt. Raises BadReceiptError that says what was wrong; unknown fields are passed over."""
    try:
        return _decode(payload)
    except msgspec.DecodeError as error:
        raise BadReceiptError(f"no receipt: {error}: {payload[:200]!r}") from None


def covers(receipt: Receipt, epoch: int, seq: int) -> bool:
    """The definition: may a device forget the reading (epoch, seq), which it has sent, after this receipt?"""
    if epoch != receipt.epoch:
        return False
    if receipt.through is not None and seq <= receipt.through:
        return True
    if any(first <= seq <= last for first, last in receipt.also):
        return True
    return any(rejection.seq == seq for rejection in receipt.rejected)


class Settled(msgspec.Struct, frozen=True):
    """What one receipt changed. `received` and `rejected` hold positions of the outbox, ascending."""

    received: tuple[int, ...] = ()
    rejected: tuple[tuple[int, Rejection], ...] = ()
    unmatched: tuple[Rejection, ...] = ()
    """Refusals of readings that are not held: found after their receipt, or without a seq. To be logged."""


class Ledger:
    """Which position of the outbox holds which (epoch, seq), and which of them were sent.

    The same identity may be held at several positions (a device that stored a reading twice). Every
    operation costs what it touches, not what is held, so that a backlog of 100,000 stays cheap.
    """

    def __init__(self) -> None:
        self._identity: dict[int, tuple[int, int]] = {}
        self._lowest: dict[int, list[int]] = {}  # epoch -> heap of held seqs, deleted ones left until on top
        self._count: dict[tuple[int, int], int] = {}
        self._sent: dict[int, dict[int, list[int]]] = {}  # epoch -> seq -> positions sent
        self._sent_heap: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._identity)

    def __contains__(self, position: int) -> bool:
        return position in self._identity

    def hold(self, position: int, epoch: int, seq: int) -> None:
        """A reading was put at a position that was never used before."""
        if position in self._identity:
            raise ValueError(f"position {position} is already held")
        self._identity[position] = (epoch, seq)
        self._count[(epoch, seq)] = self._count.get((epoch, seq), 0) + 1
        heappush(self._lowest.setdefault(epoch, []), seq)

    def sent(self, position: int) -> None:
        """The broker has taken the reading at this position; doing it again changes nothing."""
        epoch, seq = self._identity[position]
        positions = self._sent.setdefault(epoch, {}).get(seq)
        if positions is None:
            self._sent[epoch][seq] = [position]
            heappush(self._sent_heap.setdefault(epoch, []), seq)
        elif position not in positions:
            positions.append(position)

    def lowest(self, epoch: int) -> int | None:
        """The lowest seq still held of an epoch: what the contract calls `oldest`."""
        heap = self._lowest.get(epoch, [])
        while heap and (epoch, heap[0]) not in self._count:
            heappop(heap)
        return heap[0] if heap else None

    def settle(self, receipt: Receipt) -> Settled:
        """Forget what the receipt covers and say what that was."""
        settled = self.covered_by(receipt)
        self.forget(receipt.epoch, settled)
        return settled

    def covered_by(self, receipt: Receipt) -> Settled:
        """What a receipt would let the device forget. Changes nothing: the disk comes first, then `forget`."""
        refused: dict[int, Rejection] = {}
        unmatched: list[Rejection] = []
        sent = self._sent.get(receipt.epoch, {})
        for rejection in receipt.rejected:
            if rejection.seq is None or rejection.seq not in sent:
                unmatched.append(rejection)
            else:
                refused.setdefault(rejection.seq, rejection)
        received: list[int] = []
        rejected: list[tuple[int, Rejection]] = []
        for seq in self._covered(receipt, sent, refused):
            for position in sent[seq]:
                if seq in refused:
                    rejected.append((position, refused[seq]))
                else:
                    received.append(position)
        rejected.sort(key=lambda pair: pair[0])
        return Settled(tuple(sorted(received)), tuple(rejected), tuple(unmatched))

    def _covered(self, receipt: Receipt, sent: dict[int, list[int]], refused: Iterable[int]) -> set[int]:
        found = set(refused)
        if receipt.through is not None:
            heap = self._sent_heap.get(receipt.epoch, [])
            found.update(seq for seq in _up_to(heap, receipt.through) if seq in sent)
        for first, last in receipt.also:
            if last - first + 1 <= len(sent):
                found.update(seq for seq in range(first, last + 1) if seq in sent)
            else:
                found.update(seq for seq in sent if first <= seq <= last)
        return found

    def forget(self, epoch: int, settled: Settled) -> None:
        """Forget the positions that `covered_by` named."""
        sent = self._sent.get(epoch, {})
        for position in (*settled.received, *(position for position, _ in settled.rejected)):
            identity = self._identity.pop(position)
            left = self._count[identity] - 1
            if left:
                self._count[identity] = left
            else:
                del self._count[identity]
            sent.pop(identity[1], None)  # all its positions that were sent go together
        heap = self._sent_heap.get(epoch, [])
        while heap and heap[0] not in sent:
            heappop(heap)


def _up_to(heap: list[int], highest: int) -> Iterator[int]:
    """The members of a heap that are not above `highest`, in any order, for the cost of these alone."""
    look = [0]
    while look:
        at = look.pop()
        if at < len(heap) and heap[at] <= highest:
            yield heap[at]
            look += (2 * at + 1, 2 * at + 2)
