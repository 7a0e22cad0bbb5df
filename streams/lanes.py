"""Which way a message takes from the bridge to the intake, and how fast the slow way goes. Pure: time is an argument.

The engine does not depend on order, so what a device has gathered may come later than what it measures now:

- LIVE: `scad.telemetry`, for as many readings as a device measures when all is well;
- BACKLOG: `scad.backlog`, for everything above that. Workers read it at a rate of their own;
- HELD: not forwarded. The device gets no receipt, so it still has the reading and sends it again.

All bounds are per device, and each bridge counts for itself: with two bridges a device may have twice as much.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from aiokafka.structs import ConsumerRecord

LIVE_READINGS_BURST = 60
"""Readings that a device may send at once on the fast way: an hour of one a minute, so that whoever was out of
reach for an hour is live again at once."""
LIVE_READINGS_PER_S = 2.0
"""What it may send for ever: twice the pace of a pulse oximeter that reports each second, the fastest in use."""
MESSAGES_PER_S = 60.0
"""Above this a device floods. A full array counts as 21, so that nobody brings more than some 1,400 readings a
second for long: less than one worker's share for backlogs."""
MESSAGES_BURST = 6_000
"""Messages that may come before the bound holds: 140,000 readings in arrays, or a week of one every two minutes sent
one by one. It is full again after 100 s of silence."""
READINGS_PER_EXTRA_MESSAGE = 25
"""An array costs more than one reading, but much less than its readings one by one."""
READINGS_MAX = 500  # in one message (contract); what holds more is refused whole and costs no more than that
BYTES_PER_READING = 4_096
"""A message without a readable reading counts by its size: no reading but a strip or a series is longer."""
DEVICES_MAX = 65_536
"""Devices remembered, some 15 MB. One that is forgotten has its full allowance again, which after 100 s of silence
it would have anyway."""
SAMPLE_MS = (
    60_000  # one example of a flood a minute and device goes to quarantine: enough to know who and what
)
PART_READINGS = 500
"""Readings of the slow way that are worked on at once, some 50 ms: what a live one may have to wait for."""


class Lane(Enum):
    """The ways."""

    LIVE = "live"
    BACKLOG = "backlog"
    HELD = "held"


class Route(NamedTuple):
    """What to do with one message. `sample`: show this one to the operator, with `held`, the number of messages
    that were held since the last sample."""

    lane: Lane
    sample: bool = False
    held: int = 0


@dataclass(slots=True)
class _Account:
    """What one device may still send, as of `at_ms`."""

    live: float
    messages: float
    at_ms: int
    limited: bool = False
    sampled_at_ms: int | None = None
    held: int = 0


def readings_in(payload: bytes) -> int:
    """How many readings a message seems to hold, 1 to READINGS_MAX. Nothing is parsed: each reading names its
    `seq` once, and one that spells it otherwise is counted by its bytes."""
    return max(1, min(READINGS_MAX, max(payload.count(b'"seq"'), len(payload) // BYTES_PER_READING)))


def cost(readings: int) -> int:
    """A message with so many readings, counted in messages."""
    return 1 + readings // READINGS_PER_EXTRA_MESSAGE


class Router:
    """Decides for each message; remembers DEVICES_MAX devices, those that sent last."""

    def __init__(self, devices_max: int = DEVICES_MAX) -> None:
        self._devices_max = devices_max
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._held_at_ms: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accounts)

    def route(self, device: str, payload: bytes, now_ms: int) -> Route:
        """A device that was held stays on the slow way until its allowance is full again: what it sends then
        does not overtake what it sent before, so that a receipt cannot begin above what was held."""
        account = self._account(device, now_ms)
        readings = readings_in(payload)
        price = cost(readings)
        if account.messages < price:
            return self._hold(device, account, now_ms)
        if account.messages >= MESSAGES_BURST:
            account.limited = False
        account.messages -= price
        if account.limited or account.live < readings:
            return Route(Lane.BACKLOG)
        account.live -= readings
        return Route(Lane.LIVE)

    def flooding(self, now_ms: int) -> int:
        """Devices of which something was held within the last minute."""
        while self._held_at_ms and next(iter(self._held_at_ms.values())) <= now_ms - SAMPLE_MS:
            self._held_at_ms.popitem(last=False)
        return len(self._held_at_ms)

    def _account(self, device: str, now_ms: int) -> _Account:
        account = self._accounts.get(device)
        if account is None:
            account = _Account(LIVE_READINGS_BURST, MESSAGES_BURST, now_ms)
            self._accounts[device] = account
            if len(self._accounts) > self._devices_max:
                self._accounts.popitem(last=False)
            return account
        self._accounts.move_to_end(device)
        passed_s = max(0, now_ms - account.at_ms) / 1000  # a clock that was set back gives nothing
        account.live = min(LIVE_READINGS_BURST, account.live + passed_s * LIVE_READINGS_PER_S)
        account.messages = min(MESSAGES_BURST, account.messages + passed_s * MESSAGES_PER_S)
        account.at_ms = now_ms
        return account

    def _hold(self, device: str, account: _Account, now_ms: int) -> Route:
        account.limited = True
        account.held += 1
        self._held_at_ms[device] = now_ms
        self._held_at_ms.move_to_end(device)
        if len(self._held_at_ms) > self._devices_max:
            self._held_at_ms.popitem(last=False)
        if account.sampled_at_ms is not None and 0 <= now_ms - account.sampled_at_ms < SAMPLE_MS:
            return Route(Lane.HELD)
        held, account.held, account.sampled_at_ms = account.held, 0, now_ms
        return Route(Lane.HELD, True, held)


class Throttle:
    """Readings a second. What was not used is not saved up, so that after a quiet hour there is no rush."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._free_at_s = float("-inf")

    def wait_s(self, readings: int, now_s: float) -> float:
        """Book so many readings; the seconds to wait before they are worked on. `now_s` is monotonic."""
        begin_s = max(self._free_at_s, now_s)
        self._free_at_s = begin_s + readings / self._per_s
        return begin_s - now_s


def parts(records: Sequence[ConsumerRecord]) -> Iterator[tuple[Sequence[ConsumerRecord], int]]:
    """The records in their order, in parts of PART_READINGS readings at most (one record may hold as many), each
    with its number of readings."""
    begin = held = 0
    for index, record in enumerate(records):
        count = readings_in(record.value or b"")
        if index > begin and held + count > PART_READINGS:
            yield records[begin:index], held
            begin, held = index, 0
        held += count
    if begin < len(records):
        yield records[begin:], held
