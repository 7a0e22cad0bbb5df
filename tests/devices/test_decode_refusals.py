"""What is refused: a line for each fault, the reason it must have, and what the sentence must name."""

from __future__ import annotations

import base64
import json
import time

import pytest
from device_messages import ABSENT, DEVICE, MEASURED_AT, RECEIVED_AT_MS, encode, gatt_message, message

from devices.decode import MAX_PAYLOAD_BYTES, REASONS, Reason, RefusedError, decode_line, decode_payload
from devices.readings import Reading, Refusal


def bp(**values: object):
    return message("blood-pressure", values={"systolic": 142, "diastolic": 88, **values})


def ecg(**values: object):
    return message("ecg", values={"fs": 250, **values})


COUNTS = base64.b64encode(b"\x01\x00\xff\xff").decode()

# reason, what the sentence must name, the payload (a message, or bytes as they are)
TABLE = [
    # the payload as a whole, or no JSON
    ("not-json", "element", b""),
    ("not-json", "element", b"hello"),
    ("not-json", "element", b'{"v":1,'),
    ("not-json", "element", b"\xef\xbb\xbf" + encode(message())),
    ("not-json", "element", json.dumps(message()).encode("utf-16")),
    ("not-json", "UTF-8", encode(message()).replace(b"body-weight", b"body-w\xe9ight")),
    ("not-json", "NaN", encode(message(values={"weight": float("nan")}))),
    ("not-json", "NaN", encode(message(values={"weight": float("-inf")}))),
    ("not-json", "element", encode(message()) + encode(message())),
    ("not-json", "payload", b"[" + encode(message())),
    ("not-json", "payload", b"[1,]"),
    ("too-large", "262144", b" " * (MAX_PAYLOAD_BYTES + 1)),
    ("too-many", "500", encode([message()] * 501)),
    ("too-deep", "nested", b"[" * 100_000),
    ("too-deep", "nested", encode(message(later=[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]))),
    ("duplicate-key", "seq", encode(message()).replace(b'"seq": 7', b'"seq": 7, "seq": 8')),
    (
        "duplicate-key",
        "weight",
        encode(message()).replace(b'"weight": 80.1', b'"weight": 80.1, "\\u0077eight": 90'),
    ),
    # types and presence of the message's own fields
    ("wrong-type", "element", b"7"),
    ("wrong-type", "element", b'"reading"'),
    ("wrong-type", "element", b"[[]]"),
    ("missing-field", "v:", message(v=ABSENT)),
    ("wrong-type", "v:", message(v=True)),
    ("wrong-type", "v:", message(v="1")),
    ("unknown-version", "v:", message(v=2)),
    ("missing-field", "device:", message(device=ABSENT)),
    ("wrong-type", "device:", message(device=5)),
    ("device-mismatch", DEVICE, message(device="dev-2")),
    ("missing-field", "seq:", message(seq=ABSENT)),
    ("missing-field", "seq:", message(seq=None)),
    ("wrong-type", "seq:", message(seq="7")),
    ("wrong-type", "seq:", message(seq=True)),
    ("wrong-type", "seq:", message(seq=7.0)),
    ("out-of-range", "seq:", message(seq=-1)),
    ("out-of-range", "seq:", message(seq=2**53 + 1)),
    ("out-of-range", "seq:", message(seq=10**4000)),
    ("wrong-type", "epoch:", message(epoch="0")),
    ("out-of-range", "epoch:", message(epoch=-1)),
    ("wrong-type", "oldest:", message(oldest=1.5)),
    ("out-of-range", "oldest:", message(oldest=8)),
    ("missing-field", "kind:", message(kind=ABSENT)),
    ("wrong-type", "kind:", message(kind=["body-weight"])),
    ("unknown-kind", "blood-sugar", message(kind="blood-sugar")),
    ("missing-field", "measured_at:", message(measured_at=ABSENT)),
    ("wrong-type", "measured_at:", message(measured_at=1795329065)),
    ("bad-time", "measured_at:", message(measured_at="2026-11-22T07:31:05")),
    ("bad-time", "measured_at:", message(measured_at="2026-02-30T07:31:05Z")),
    ("bad-time", "measured_at:", message(measured_at="x" * 1000)),
    ("bad-time", "measured_at:", message(measured_at="0001-01-01T00:00:00+14:00")),
    (
        "clock-ahead",
        "measured_at: 2031-11-22T07:31:05.000+00:00 is",
        message(measured_at="2031-11-22T07:31:05Z"),
    ),
    ("clock-ahead", "10 minutes", message(measured_at="2026-11-22T07:41:20.001+01:00")),
    # values
    ("missing-field", "values:", message(values=ABSENT)),
    ("wrong-type", "values:", message(values=[80.1])),
    ("missing-field", "values.weight:", message(values={})),
    ("missing-field", "values.weight:", message(values={"weight": None})),
    ("missing-field", "values:", message("symptoms", values={})),
    ("unknown-value", "values.wieght", message(values={"weight": 80, "wieght": 80})),
    ("unknown-value", "values.wieght", message(values={"weight": 80, "wieght": None})),
    ("wrong-type", "values.weight:", message(values={"weight": "80"})),
    ("wrong-type", "values.weight:", message(values={"weight": True})),
    ("wrong-type", "values.weight:", message(values={"weight": [80]})),
    ("out-of-range", "22.7 to 340.2 kg", message(values={"weight": 9000})),
    ("out-of-range", "values.weight:", message(values={"weight": 10**400})),
    ("out-of-range", "element", encode(message()).replace(b"80.1", b"1e999")),
    ("out-of-range", "values.systolic:", bp(systolic=281)),
    ("out-of-range", "values.diastolic:", bp(diastolic=29.9)),
    ("out-of-range", "values.mean:", bp(mean=221)),
    ("out-of-range", "values.pulse:", bp(pulse=0)),
    ("out-of-range", "values.glucose:", message("glucose", values={"glucose": 9})),
    (
        "out-of-range",
        "39 to 500",
        message("glucose", values={"glucose": 38}, context={"sample": "interstitial"}),
    ),
    ("out-of-range", "values.spo2:", message("oxygen-saturation", values={"spo2": 101})),
    ("out-of-range", "values.temperature:", message("temperature", values={"temperature": 98.6})),
    ("out-of-range", "values.dyspnoea:", message("symptoms", values={"dyspnoea": 4})),
    ("wrong-type", "values.dyspnoea:", message("symptoms", values={"dyspnoea": 1.5})),
    ("wrong-type", "values.syncope:", message("symptoms", values={"syncope": 1})),
    ("bad-value", "values.wellbeing:", message("symptoms", values={"wellbeing": "fine"})),
    ("wrong-type", "values.wellbeing:", message("symptoms", values={"wellbeing": 2})),
    ("bad-value", "values.event:", message("implant-report", values={"event": "fire"})),
    ("missing-field", "values.event:", message("implant-report", values={"count": 2})),
    ("wrong-type", "values.rr:", message("rr-intervals", values={"rr": 800})),
    ("out-of-range", "values.rr:", message("rr-intervals", values={"rr": []})),
    ("wrong-type", "values.rr[1]:", message("rr-intervals", values={"rr": [800, "810"]})),
    ("wrong-type", "values.rr[1]:", message("rr-intervals", values={"rr": [800, True]})),
    ("out-of-range", "values.rr[1]:", message("rr-intervals", values={"rr": [800, -1]})),
    ("missing-field", "values.samples", ecg()),
    ("bad-value", "values.samples", ecg(samples=[0.1], samples_i16=COUNTS, gain=1000)),
    ("missing-field", "values.gain", ecg(samples_i16=COUNTS)),
    ("out-of-range", "values.gain", ecg(samples_i16=COUNTS, gain=0)),
    ("bad-value", "base64", ecg(samples_i16="a*b", gain=1000)),
    ("bad-value", "two for each", ecg(samples_i16=base64.b64encode(b"abc").decode(), gain=1000)),
    ("out-of-range", "samples_i16", ecg(samples_i16="", gain=1000)),
    ("out-of-range", "values.fs:", message("ecg", values={"fs": 0, "samples": [0]})),
    # unit, flags, context
    ("unknown-unit", "kg or [lb_av]", message(unit="lb")),
    ("unknown-unit", "no unit", message("symptoms", unit="1")),
    ("wrong-type", "unit:", message(unit=5)),
    ("wrong-type", "flags:", message(flags="test")),
    ("wrong-type", "flags:", message(flags={})),
    ("wrong-type", "flags:", message(flags=[1])),
    ("unknown-flag", "wobbly", message(flags=["test", "wobbly"])),
    ("wrong-type", "context:", message(context=["sitting"])),
    ("wrong-type", "context.posture:", message(context={"posture": 1})),
    ("unknown-context", "context.mood", message(context={"mood": "good"})),
    ("unknown-context", "sitting lying standing", message(context={"posture": "kneeling"})),
    # Bluetooth (the rest of its table is in vectors/bluetooth.json)
    ("bad-gatt", "value:", gatt_message("2A37", b"\x00", received_at=MEASURED_AT)),
    ("unknown-characteristic", "2A00", gatt_message("2A00", b"\x00", received_at=MEASURED_AT)),
    ("no-value", "systolic", gatt_message("2A35", bytes.fromhex("00ff07ff07ff07"), received_at=MEASURED_AT)),
    ("other-user", "user", gatt_message("2A9D", bytes.fromhex("04b03602"), received_at=MEASURED_AT)),
    (
        "demonstration",
        "status",
        gatt_message("2A5E", bytes.fromhex("02600048000004"), received_at=MEASURED_AT),
    ),
]

LINES = [
    ("bad-device", "device:", message(patient="p-1", device="no/serial")),
    ("bad-device", "device:", message(patient="p-1", device="d" * 65)),
    ("bad-device", "device:", message(patient="p-1", device="")),
    ("missing-field", "patient:", message()),
    ("wrong-type", "patient:", message(patient=7)),
    ("bad-value", "patient:", message(patient="")),
    ("bad-time", "received_at:", message(patient="p-1", received_at="now")),
    ("clock-ahead", "measured_at:", message(patient="p-1", received_at="2026-11-22T06:00:00Z")),
    ("bad-time", "measured_at:", message(patient="p-1", measured_at="2201-01-01T00:00:00Z")),
    ("wrong-type", "element", [message(patient="p-1")]),
    ("not-json", "element", b""),
]


def as_bytes(payload: object) -> bytes:
    return payload if isinstance(payload, bytes) else encode(payload)


@pytest.mark.parametrize(("reason", "named", "payload"), TABLE, ids=lambda case: str(case)[:40])
def test_a_payload_is_refused_with_a_reason_and_a_sentence_that_names_the_field(reason, named, payload):
    (refusal,) = decode_payload(as_bytes(payload), DEVICE, RECEIVED_AT_MS)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.reason == reason
    assert named in refusal.detail
    assert len(refusal.detail) < 500
    assert refusal.device == DEVICE
    assert refusal.received_at_ms == RECEIVED_AT_MS


@pytest.mark.parametrize(("reason", "named", "line"), LINES, ids=lambda case: str(case)[:40])
def test_a_line_of_a_file_is_refused_with_a_reason_and_a_sentence(reason, named, line):
    with pytest.raises(RefusedError) as caught:
        decode_line(as_bytes(line))
    assert caught.value.refusal.reason == reason
    assert named in caught.value.refusal.detail


def test_every_reason_is_reached_and_documented():
    decided_elsewhere = {Reason.UNKNOWN_DEVICE, Reason.NOT_ASSIGNED, Reason.RATE_LIMITED}
    reached = {reason for reason, _, _ in TABLE + LINES}
    assert reached == set(REASONS) - decided_elsewhere
    constants = {value for name, value in vars(Reason).items() if name.isupper()}
    assert constants == set(REASONS)


@pytest.mark.parametrize(
    ("payload", "seq", "epoch"),
    [
        (encode(message(kind="nonsense", epoch=3)), 7, 3),
        (encode(message(seq=7.0, epoch=2.0)), 7, 2),
        (encode(message()).replace(b"80.1", b"1e999"), 7, 0),
        (encode(message(values={"weight": float("nan")})), 7, 0),
        (encode(message()).replace(b"body-weight", b"body-w\xe9ight"), 7, 0),
        (encode(message(v=9)), 7, 0),
        (encode(message(device="dev-2")), 7, 0),
        (encode(message(seq="7")), None, 0),
        (encode(message(seq=-7)), None, 0),
        (encode(message()).replace(b'"seq": 7', b'"seq": 7, "seq": 8'), None, 0),
        (b'{"v":1,"device":"dev-1","seq":7,"kind":', None, 0),
        (b"[7]", None, 0),
    ],
)
def test_seq_and_epoch_are_read_from_a_refused_element_whenever_they_can_be(payload, seq, epoch):
    (refusal,) = decode_payload(payload, DEVICE, RECEIVED_AT_MS)
    assert isinstance(refusal, Refusal), refusal
    assert (refusal.seq, refusal.epoch) == (seq, epoch)


@pytest.mark.parametrize("token", [b"NaN", b"-Infinity", b"nan", b"-inf", b"+inf"])
def test_a_number_that_is_none_costs_only_its_own_reading(token):
    bad = encode(message(seq=2)).replace(b"80.1", token)
    payload = b" [" + encode(message(seq=1)) + b" , " + bad + b"," + encode(message(seq=3)) + b"]\n"
    first, second, third = decode_payload(payload, DEVICE, RECEIVED_AT_MS)
    assert isinstance(first, Reading)
    assert isinstance(third, Reading)
    assert (first.seq, third.seq) == (1, 3)
    assert isinstance(second, Refusal)
    assert (second.reason, second.seq, second.raw) == ("not-json", 2, bad)


def test_a_text_that_looks_like_nan_is_left_alone():
    payload = encode([message(seq=1, note='NaN "inf'), message(seq=2, values={"weight": float("nan")})])
    first, second = decode_payload(payload, DEVICE, RECEIVED_AT_MS)
    assert isinstance(first, Reading)
    assert isinstance(second, Refusal)


def test_exactly_the_largest_payload_and_array_are_accepted():
    readings = [message(seq=seq) for seq in range(500)]
    payload = encode(readings)
    decoded = decode_payload(payload + b" " * (MAX_PAYLOAD_BYTES - len(payload)), DEVICE, RECEIVED_AT_MS)
    assert [reading.seq for reading in decoded] == list(range(500))
    assert all(isinstance(reading, Reading) for reading in decoded)


def test_a_clock_ten_minutes_ahead_is_still_accepted():
    payload = encode(message(measured_at="2026-11-22T07:41:20.000+01:00"))
    (reading,) = decode_payload(payload, DEVICE, RECEIVED_AT_MS)
    assert isinstance(reading, Reading)


KIB_256 = MAX_PAYLOAD_BYTES


@pytest.mark.parametrize(
    "payload",
    [
        b'["' + rb"\"" * (KIB_256 // 2 - 1),
        b'"' * KIB_256,
        b'"' + b"\\" * (KIB_256 - 1),
        b'{"a":' * (KIB_256 // 5),
        b"[" + b"1" * (KIB_256 - 2) + b"]",
        b"inf" * (KIB_256 // 3),
        b"[" + b"NaN," * (KIB_256 // 4 - 2) + b"NaN]",
        ("{" + ",".join(f'"k{at % 20_000}":1' for at in range(20_001)) + "}").encode(),
        ("{" + ",".join(f'"\\u0061{at}":1' for at in range(15_000)) + "}").encode(),
    ],
    ids=lambda payload: payload[:12].decode(),
)
def test_the_worst_payload_is_refused_in_linear_time(payload):
    # A quadratic search took minutes here; linear work is 0.1 s. The bound is far from both.
    begin = time.perf_counter()
    decoded = decode_payload(payload, DEVICE, RECEIVED_AT_MS)
    assert time.perf_counter() - begin < 5
    assert all(isinstance(entry, Refusal) for entry in decoded)
