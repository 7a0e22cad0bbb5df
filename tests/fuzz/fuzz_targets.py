# ruff: noqa: PT017 - what is caught is the very thing to look at; this runs without pytest too
"""Decoders of what devices and gateways send, each with what must hold for whatever bytes come.

A target makes an input from a source of chance and checks one: `check` returns a word for the statistics
(what became of it) and raises AssertionError, or whatever the decoder let through, where the promise is broken.
"""

from __future__ import annotations

import io
import json
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from time import process_time
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import fuzz_messages as valid
import msgspec
from fuzz_engine import engine_takes
from fuzz_mutation import message, mutate_bytes

from devices.bluetooth.fields import BadGattError
from devices.bluetooth.translate import CHARACTERISTICS, translate
from devices.content import content_digest
from devices.decode import RefusedError, decode_line, decode_payload
from devices.ledger import BadReceiptError, covers, parse_receipt
from devices.outbox import OutboxStore
from devices.payload import MAX_INTEGER, MAX_PAYLOAD_BYTES, split
from devices.readings import Reading, Refusal, from_wire, to_wire
from devices.refusals import REASONS, Problem
from devices.status import BadStatusError, parse_status
from streams import topics
from streams.files import LineReader
from streams.intake import Interval, encode_quarantine, process, quarantine_id
from streams.strips import Strips
from streams.writing import decode_quarantine, decode_status

PARIS = ZoneInfo("Europe/Paris")

CPU_SECONDS = 0.5
"""Processor time for one payload of at most 256 KiB. On a quiet machine none takes 0.05 s; ten times that is a
quadratic search, not a busy neighbour."""
LINE_CPU_SECONDS = 3.0
"""The same for a line of a file, which may be sixteen times as long, with the analysis of its strip."""

TRACED = 8.0
"""How much longer everything takes while memory is watched, at most."""

ALWAYS = (Interval(-(1 << 53), None, valid.PATIENT),)


@dataclass(frozen=True)
class Target:
    """`make` draws an input; `check` says what became of it. `structured`: inputs are JSON or TOML texts."""

    name: str
    make: Callable[[Random], bytes]
    check: Callable[[bytes], str]


class SlowError(AssertionError):
    """An input that takes too long."""


def within(seconds: float, began: float, what: str) -> None:
    """Raise SlowError when more processor time than `seconds` has gone by since `began`."""
    taken = process_time() - began
    if tracemalloc.is_tracing():
        seconds *= TRACED
    if taken > seconds:
        raise SlowError(f"{what} took {taken:.2f} s of processor time; at most {seconds} s are allowed")


# ── MQTT payloads ─────────────────────────────────────────────────────────────────────────────────────────


def check_payload(data: bytes) -> str:
    """A payload becomes readings or refusals; nothing of it is lost; the engine takes what is accepted."""
    began = process_time()
    decoded = decode_payload(data, valid.DEVICE, valid.NOW_MS, PARIS)
    within(CPU_SECONDS, began, "decode_payload")
    assert decoded == decode_payload(data, valid.DEVICE, valid.NOW_MS, PARIS), (
        "decoding twice gives two results"
    )
    _check_whole(data, decoded)
    readings = [item for item in decoded if isinstance(item, Reading)]
    for item in decoded:
        if isinstance(item, Refusal):
            check_refusal(item)
        else:
            _check_reading(item)
    began = process_time()
    taken = process(data, valid.DEVICE, valid.NOW_MS, lambda _: ALWAYS, PARIS)
    nobodys = process(data, valid.DEVICE, valid.NOW_MS, lambda _: None, PARIS)
    within(2 * CPU_SECONDS, began, "the intake, known and unknown")
    assert [r.identity for r in taken.readings] == [r.identity for r in readings]
    assert len(taken.refusals) + len(taken.readings) == len(decoded)
    _check_replay(nobodys.refusals, taken.readings)
    assert not nobodys.readings
    assert len(nobodys.refusals) == len(decoded)
    engine_takes(taken.readings)
    refused = next((item.reason for item in decoded if isinstance(item, Refusal)), None)
    return refused or (readings[0].kind if readings else "empty")


def _check_whole(data: bytes, decoded: Sequence[Reading | Refusal]) -> None:
    """The refused bytes stand in the payload in their order, and between elements only what JSON puts there."""
    if len(decoded) == 1 and isinstance(decoded[0], Refusal) and decoded[0].raw == data:
        return
    assert len(data) <= MAX_PAYLOAD_BYTES
    elements = split(data)
    assert len(elements) == len(decoded)
    at = 0
    for element, item in zip(elements, decoded, strict=True):
        found = data.index(element, at)
        assert not data[at:found].strip(b" \t\r\n,["), f"lost between elements: {data[at:found][:80]!r}"
        if isinstance(item, Refusal):
            assert item.raw == element
        at = found + len(element)
    assert not data[at:].strip(b" \t\r\n]" if elements else b" \t\r\n[]"), (
        f"lost behind the last element: {data[at:][:80]!r}"
    )


def check_refusal(refusal: Refusal) -> None:
    """A refusal names its reason, holds its bytes whole through the quarantine, and has one name for ever."""
    assert refusal.reason in REASONS
    assert refusal.device == valid.DEVICE
    assert refusal.seq is None or 0 <= refusal.seq <= MAX_INTEGER
    assert 0 <= refusal.epoch <= MAX_INTEGER
    assert 0 < len(refusal.detail) <= 1_000, f"a detail of {len(refusal.detail)} characters"
    assert refusal.detail.isprintable(), f"no line that a log or a database can hold: {refusal.detail!r}"
    value = encode_quarantine(refusal)
    row = decode_quarantine(_record(topics.QUARANTINE, value))
    assert row.raw == refusal.raw
    assert row.id == quarantine_id(refusal.device, refusal.raw, refusal.reason)
    assert (row.seq, row.epoch, row.reason) == (refusal.seq, refusal.epoch, refusal.reason)
    if refusal.raw[:1] != b"[" and refusal.reason != "too-large":  # an array in an array is one, alone
        (again,) = decode_payload(refusal.raw, valid.DEVICE, refusal.received_at_ms, PARIS)
        assert isinstance(again, Refusal)
        assert quarantine_id(again.device, again.raw, again.reason) == row.id, (refusal, again)


def _record(topic: str, value: bytes) -> Any:
    return SimpleNamespace(topic=topic, partition=0, offset=1, key=valid.DEVICE.encode(), value=value)


def _check_reading(reading: Reading) -> None:
    """What is accepted says the same when it is written and read again, on our topic and as a device's."""
    wire = to_wire(reading)
    assert from_wire(wire) == msgspec.structs.replace(reading, oldest=None)
    (again,) = decode_payload(wire, reading.device, reading.received_at_ms, PARIS)
    assert isinstance(again, Reading), again
    assert content_digest(again) == content_digest(reading)
    assert (again.epoch, again.seq) == (reading.epoch, reading.seq)


def _check_replay(refusals: Sequence[Refusal], readings: Sequence[Reading]) -> None:
    """Refused because nobody had the device, a reading comes out of quarantine as it would have gone in."""
    kept: dict[tuple[str, int, int], list[bytes]] = {reading.identity: [] for reading in readings}
    for reading in readings:
        kept[reading.identity].append(content_digest(reading))
    for refusal in refusals:
        if refusal.reason == "unknown-device":
            (again,) = process(
                refusal.raw, refusal.device, refusal.received_at_ms, lambda _: ALWAYS, PARIS
            ).readings
            assert content_digest(again) in kept[again.identity]


def make_payload(rng: Random) -> bytes:
    return message(rng, valid.payload, valid.READING_WORDS)


def make_bluetooth(rng: Random) -> bytes:
    return message(rng, valid.gatt, valid.READING_WORDS, bombs=0.0) if rng.random() < 0.3 else _gatt(rng)


def _gatt(rng: Random) -> bytes:
    found = valid.gatt(rng)
    return json.dumps(found).encode()


def check_bluetooth(data: bytes) -> str:
    """As a payload; and every characteristic's decoder takes the octets or says what is wrong with them."""
    for octets in (data[:32], data[40:60], data[-24:]):
        for name in CHARACTERISTICS:
            try:
                translate(name, octets)
            except (BadGattError, Problem) as error:
                assert str(error)
    return check_payload(data)


# ── files of readings ─────────────────────────────────────────────────────────────────────────────────────


def check_line(data: bytes) -> str:
    """A line is a reading or one refusal; a strip of ECG is analysed into what JSON can say."""
    began = process_time()
    try:
        reading = decode_line(data, PARIS)
    except RefusedError as error:
        within(LINE_CPU_SECONDS, began, "decode_line")
        assert error.refusal.reason in REASONS
        assert error.refusal.raw == data.strip()
        assert str(error).isprintable(), f"no line that a terminal can show: {str(error)!r}"
        return error.refusal.reason
    again = decode_line(to_wire(reading), PARIS)
    assert content_digest(again) == content_digest(reading)
    if reading.kind == "ecg":
        _check_strip(reading)
    engine_takes([reading])
    within(LINE_CPU_SECONDS, began, "a line")
    return reading.kind


def _check_strip(reading: Reading) -> None:
    strips = Strips()
    line = strips.line(reading)
    assert line is not None
    assert strips.line(reading) is None, "a repeated strip is printed again"
    found = json.loads(line)
    count = len(reading.values["samples"]) if "samples" in reading.values else None
    assert found["beats"] == sorted(set(found["beats"])), found["beats"]
    assert all(beat >= 0 for beat in found["beats"])
    assert count is None or all(beat < count for beat in found["beats"])
    assert 0 <= found["quality"] <= 1
    assert found["heart_rate"] is None or 0 < found["heart_rate"] < 1_000
    assert found["rhythm"] in ("regular", "irregular", "atrial-fibrillation", "unreadable")


def make_line(rng: Random) -> bytes:
    return message(rng, valid.line, valid.READING_WORDS)


def make_strip(rng: Random) -> bytes:
    return message(rng, lambda r: valid.line(r, "ecg"), valid.READING_WORDS, bombs=0.0)


def make_file(rng: Random) -> bytes:
    lines = [
        json.dumps(valid.line(rng)).encode() if rng.random() < 0.6 else message(rng, valid.line, bombs=0.0)
        for _ in range(rng.choice([0, 1, 3, 6]))
    ]
    end = rng.choice([b"\n", b"\r\n", b"\n\n", b"\n \t\n", b"\r", b"\x00\n"])
    data = end.join(lines) + rng.choice([b"", end])
    return mutate_bytes(data, rng) if rng.random() < 0.3 else data


def check_file(data: bytes) -> str:
    """Every line that is not blank is a reading or refused, and counted once."""
    path = scratch() / "readings.jsonl"
    path.write_bytes(data)
    said = io.StringIO()
    with LineReader(str(path), said) as lines:
        read = list(lines)
    spoken = sum(1 for line in data.split(b"\n") if line.strip())
    assert lines.lines == spoken
    assert len(read) + lines.refused == spoken
    assert lines.exit_status == (1 if lines.refused else 0)
    return "refused" if lines.refused else "read"


@cache
def scratch() -> Path:
    """A folder of this process, in memory where there is such a place."""
    place = Path("/dev/shm")  # noqa: S108 - taken only where it is
    folder = tempfile.TemporaryDirectory(prefix="scad-fuzz-", dir=place if place.is_dir() else None)
    _folders.append(folder)  # removed when the process ends
    return Path(folder.name)


_folders: list[tempfile.TemporaryDirectory[str]] = []


# ── what a device is told, and what it says of itself ─────────────────────────────────────────────────────


@cache
def _outboxes() -> OutboxStore:
    return OutboxStore(scratch() / "outbox", durable=False)


def check_receipt(data: bytes) -> str:
    """A device forgets exactly what the definition of a receipt covers, and nothing for what is no receipt."""
    began = process_time()
    try:
        receipt = parse_receipt(data)
    except BadReceiptError as error:
        within(CPU_SECONDS, began, "parse_receipt")
        assert len(str(error)) < 2_000
        return "refused"
    store = _outboxes()
    outbox = store.open("d")  # empty: the input before left nothing
    outbox.put_many([(epoch, seq, b"{}") for epoch in (0, 1) for seq in range(12)])
    held = outbox.after(0, 100)
    outbox.mark_sent([one.position for one in held if one.seq % 4])
    before = {(one.epoch, one.seq) for one in held}
    settled = outbox.settle(receipt)
    left = {(one.epoch, one.seq) for one in outbox.after(0, 100)}
    wanted = {(e, s) for e, s in before if s % 4 and covers(receipt, e, s)}
    assert before - left == wanted, (before - left, wanted)
    assert len(settled.received) + len(settled.rejected) == len(wanted)
    assert len(outbox) == len(left)
    with store.lock:
        store.connection.execute("delete from reading")
        store.connection.execute("delete from rejected")
    within(CPU_SECONDS, began, "a receipt")
    return "settled" if wanted else "nothing"


def make_receipt(rng: Random) -> bytes:
    return message(rng, valid.receipt, ["through", "epoch", "also", "rejected", "seq", "reason"])


def check_status(data: bytes) -> str:
    """A state is forwarded or passed over, and what is forwarded can be stored."""
    began = process_time()
    try:
        status = parse_status(data)
    except BadStatusError as error:
        within(CPU_SECONDS, began, "a status")
        assert str(error)
        return "ignored"
    record = {"device": valid.DEVICE, "received_at": "2026-11-22T07:31:20+01:00", "status": status}
    row = decode_status(_record(topics.STATUS, msgspec.json.encode(record)))
    within(CPU_SECONDS, began, "a status")
    assert row.device == valid.DEVICE
    assert row.battery is None or 0 <= row.battery <= 100, row.battery
    assert row.firmware is None or (len(row.firmware) <= 200 and row.firmware.isprintable()), row.firmware
    return row.state


def make_status(rng: Random) -> bytes:
    return message(rng, valid.status, ["state", "battery", "firmware", "online"])


DEVICE_TARGETS = (
    Target("payload", make_payload, check_payload),
    Target("bluetooth", make_bluetooth, check_bluetooth),
    Target("line", make_line, check_line),
    Target("ecg", make_strip, check_line),
    Target("file", make_file, check_file),
    Target("receipt", make_receipt, check_receipt),
    Target("status", make_status, check_status),
)
