"""When a device sends again what has no receipt: a timeline, second by second, with a platform that is too slow."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devices.firmware import LOST_AFTER_S, RESEND_AFTER_MAX_S, RESEND_AFTER_S, Firmware
from devices.outbox import OutboxStore
from streams import receipts

NOON_MS = 1_795_345_200_000


@dataclass
class Line:
    """A device, the broker's queue before the platform, and a clock. Publishing is taken from the device's MQTT client,
    receipts are handed to it as the client's thread does."""

    client: Firmware
    now_s: float = 0.0
    sent: int = 0
    measured: int = 0
    queue: deque[list[int]] = field(default_factory=deque)
    ledger: receipts.Ledger = field(default_factory=receipts.new_ledger)
    """The platform's own, which knows of all numbers from the first."""
    mid: int = 0
    time_left: float = 0.0
    """Readings that the platform may still work on."""

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool = False) -> Any:
        if topic.endswith("/readings"):
            readings = json.loads(payload)
            self.queue.append(
                [one["seq"] for one in (readings if isinstance(readings, list) else [readings])]
            )
            self.sent += len(self.queue[-1])
        self.mid += 1
        return SimpleNamespace(rc=0, mid=self.mid)

    def second(self, measured: int = 0, worked_on: float = 0.0) -> None:
        """One second in which so much is measured, and the platform has time for so many readings."""
        self.now_s += 1.0
        for _ in range(measured):
            self.client.measure("body-weight", {"weight": 80.0}, NOON_MS, 60)
        self.measured += measured
        self.client.tick(self.now_s)
        for mid in list(self.client._unacknowledged):
            self.client._on_publish(
                self.client.client, None, mid, SimpleNamespace(is_failure=False, value=0), None
            )  # type: ignore[arg-type]
        self.time_left += worked_on
        while self.queue and self.time_left >= len(self.queue[0]):
            message = self.queue.popleft()
            self.time_left -= len(message)
            self.receipt(message)
        if not self.queue:
            self.time_left = 0.0

    def breaks(self, session_present: bool = True) -> None:
        """The connection is cut and at once there again."""
        client = self.client
        client._on_disconnect(client.client, None, None, SimpleNamespace(is_failure=True, value=0x80), None)  # type: ignore[arg-type]
        flags = SimpleNamespace(session_present=session_present)
        client._on_connect(client.client, None, flags, SimpleNamespace(is_failure=False, value=0), None)  # type: ignore[arg-type]

    def receipt(self, seqs: list[int]) -> None:
        answer = receipts.receipt(0, receipts.note(self.ledger, 0, seqs, oldest=1))
        message = SimpleNamespace(payload=receipts.encode_receipt(answer))
        self.client._on_message(self.client.client, None, message)  # type: ignore[arg-type]


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    store = OutboxStore(tmp_path / "outbox", durable=False)
    client = Firmware("sc-1", store.open("sc-1"))
    line = Line(client)
    monkeypatch.setattr(client.client, "publish", line.publish)
    client.online = True
    return line


def test_ten_minutes_at_twice_what_the_platform_does_are_hardly_sent_twice(line: Line) -> None:
    for second in range(600):
        line.second(measured=100 if second % 33 == 0 else 0, worked_on=1.5)
    for _ in range(1_200):
        line.second(worked_on=1.5)
    assert line.client.waiting == 0
    assert line.sent <= 1.2 * line.measured


def test_a_receipt_that_took_long_makes_the_device_wait_longer_for_the_next(line: Line) -> None:
    line.second(measured=1)
    for _ in range(50):
        line.second()
    line.second(measured=1, worked_on=1.0)  # the first reading's receipt, after 51 s
    line.queue.clear()  # the second is lost
    for _ in range(95):
        line.second()
    assert line.client.counts.rewinds == 0
    for _ in range(15):
        line.second()
    assert line.client.counts.rewinds == 1


def test_where_receipts_come_at_once_a_lost_reading_is_sent_again_after_a_minute(line: Line) -> None:
    for _ in range(5):
        line.second(measured=1, worked_on=1.0)
    line.second(measured=1)
    line.queue.clear()
    for _ in range(int(RESEND_AFTER_S) + 2):
        line.second()
    assert line.client.counts.rewinds == 1


def test_nothing_makes_a_device_wait_for_more_than_ten_minutes(line: Line) -> None:
    line.second(measured=1)
    for _ in range(2_000):
        line.second()
    line.second(worked_on=100.0)  # the first receipt, after more than half an hour
    assert line.client.waiting == 0
    rewinds = line.client.counts.rewinds
    line.second(measured=1)
    line.queue.clear()
    for _ in range(int(RESEND_AFTER_MAX_S) + 2):
        line.second()
    assert line.client.counts.rewinds == rewinds + 1


def test_a_line_that_breaks_while_the_platform_is_behind_brings_it_few_copies(line: Line) -> None:
    for second in range(600):
        if second % 20 == 19:
            line.breaks()
        line.second(measured=100 if second % 33 == 0 else 0, worked_on=1.5)
    for _ in range(1_200):
        line.second(worked_on=1.5)
    assert line.client.waiting == 0
    assert line.sent <= 1.5 * line.measured  # 15 times as many if each connection began anew


def test_where_receipts_come_at_once_a_broken_line_is_reason_to_send_again(line: Line) -> None:
    line.second(measured=1, worked_on=1.0)
    line.second(measured=1)
    line.queue.clear()  # lost, and the line breaks
    line.breaks()
    assert line.queue == deque([[2]])


def test_a_broker_that_has_forgotten_the_device_is_sent_everything_again(line: Line) -> None:
    line.second(measured=2)
    for _ in range(55):
        line.second()
    line.queue.clear()
    line.breaks(session_present=True)
    assert not line.queue
    line.breaks(session_present=False)
    assert line.queue == deque([[1, 2]])


def test_a_line_that_breaks_again_and_again_does_not_put_off_the_sending(line: Line) -> None:
    line.second(measured=1)
    for _ in range(50):
        line.second()
    line.second(
        measured=1, worked_on=1.0
    )  # the first receipt, after 51 s; the next is waited for twice as long
    line.queue.clear()
    for second in range((2 * 51) + 2):
        if second % 7 == 0:
            line.breaks()
        line.second()
    assert line.queue == deque([[2]])


def test_what_was_gathered_is_not_sent_again_because_what_is_measured_meanwhile_is_receipted_first(
    line: Line,
) -> None:
    line.second(measured=200)
    gathered = list(line.queue)
    line.queue.clear()  # the slow way
    for second in range(600):
        line.second(measured=second % 50 == 0, worked_on=5.0)
        if second % 200 == 150:
            line.breaks()
    assert line.sent == line.measured
    line.queue.extend(gathered)
    line.second(worked_on=1_000.0)
    assert line.client.waiting == 0


def test_a_lost_reading_is_sent_again_within_the_hour_though_others_are_receipted_all_the_time(
    line: Line,
) -> None:
    line.second(measured=1)
    line.queue.clear()
    for _ in range(int(LOST_AFTER_S) + 2):
        line.second(measured=1, worked_on=10.0)
    assert line.client.waiting == 0
    assert line.sent <= line.measured + 3
