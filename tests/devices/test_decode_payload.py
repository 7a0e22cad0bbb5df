from __future__ import annotations

import base64
import contextlib
import json
import math
import struct

import numpy as np
import pytest
from device_messages import DEVICE, MEASURED_AT, RECEIVED_AT_MS, VALUES, encode, message, unhurried
from hypothesis import given
from hypothesis import strategies as st

from devices.catalogue import FLAGS, KINDS, Conversion, Number
from devices.decode import REASONS, RefusedError, decode_line, decode_payload, ecg_samples, usable_intervals
from devices.readings import Reading, Refusal, from_wire, to_wire
from devices.times import parse_instant


def accept(element: object) -> Reading:
    (reading,) = decode_payload(encode(element), DEVICE, RECEIVED_AT_MS)
    assert isinstance(reading, Reading), reading
    return reading


@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_reading_of_every_kind_is_accepted(kind):
    reading = accept(message(kind))
    assert reading.kind == kind
    assert reading.values == VALUES[kind]
    assert reading.marks == ()
    assert reading.received_at_ms == RECEIVED_AT_MS
    assert (reading.measured_at_ms, reading.offset_min) == parse_instant(MEASURED_AT)


def test_the_contracts_own_example_is_accepted():
    payload = (
        b'{"v":1,"device":"bp-0a1b2c","seq":1042,"kind":"blood-pressure",'
        b'"measured_at":"2026-11-22T07:31:05.120+01:00",'
        b'"values":{"systolic":142,"diastolic":88,"pulse":71},'
        b'"unit":"mm[Hg]","flags":["irregular-pulse"],"context":{"posture":"sitting"}}'
    )
    (reading,) = decode_payload(payload, "bp-0a1b2c", RECEIVED_AT_MS)
    assert isinstance(reading, Reading)
    assert reading.identity == ("bp-0a1b2c", 0, 1042)
    assert reading.values == {"systolic": 142.0, "diastolic": 88.0, "pulse": 71.0}
    assert reading.flags == ("irregular-pulse",)
    assert reading.marks == ()
    assert reading.context == {"posture": "sitting"}


def test_an_empty_array_says_nothing():
    assert decode_payload(b" [ ] ", DEVICE, RECEIVED_AT_MS) == []


def test_an_unknown_field_of_the_message_is_ignored_and_a_null_is_absent():
    plain = accept(message())
    assert accept(message(cuff={"size": ["M", "\u00e9"]}, unit=None, flags=None, context=None)) == plain
    assert accept(message(context={"posture": None}, epoch=None, oldest=None)) == plain


def test_the_same_content_is_equal_however_it_is_written():
    one = message("blood-pressure", flags=["test", "movement"], context={"arm": "left", "meal": "fasting"})
    other = message(
        "blood-pressure",
        values={"pulse": 71.0, "mean": 106.0, "diastolic": 88, "systolic": 142.0},
        flags=["movement", "test", "movement"],
        context={"meal": "fasting", "arm": "left"},
        unit="mm[Hg]",
    )
    assert to_wire(accept(one)) == to_wire(accept(other))


@pytest.mark.parametrize(
    ("kind", "unit", "values", "expected"),
    [
        ("body-weight", "[lb_av]", {"weight": 180}, {"weight": 81.646627}),
        ("blood-pressure", "kPa", {"systolic": 18.9, "diastolic": 11, "pulse": 60},
         {"systolic": 141.761661, "diastolic": 82.506787, "pulse": 60}),
        ("glucose", "mmol/L", {"glucose": 5.5}, {"glucose": 99}),
        ("glucose", "g/L", {"glucose": 1.1}, {"glucose": 110}),
        ("temperature", "[degF]", {"temperature": 98.6}, {"temperature": 37}),
        ("implant-report", "%", {"event": "shock", "burden": 4}, {"event": "shock", "burden": 4}),
    ],
)  # fmt: skip
def test_units_are_converted_once_to_the_first_of_the_kind(kind, unit, values, expected):
    assert accept(message(kind, unit=unit, values=values)).values == expected


CONVERSIONS = [(kind, unit) for kind in KINDS.values() for unit in kind.conversions]


@unhurried
@given(choice=st.sampled_from(CONVERSIONS), share=st.floats(0, 1))
def test_the_same_quantity_in_any_unit_gives_the_same_canonical_value(choice, share):
    kind, unit = choice
    conversion = kind.conversions[unit]
    canonical = {
        name: spec.low + share * (spec.high - spec.low)
        for name, spec in kind.values.items()
        if isinstance(spec, Number) and spec.converted
    }
    sent = {name: (value - conversion.offset) / conversion.factor for name, value in canonical.items()}
    plain = accept(message(kind.name, values=canonical, unit=kind.unit))
    converted = accept(message(kind.name, values=sent, unit=unit))
    assert converted.values == pytest.approx(plain.values, abs=1e-6, rel=0)


def test_a_limit_is_exceeded_only_by_more_than_half_of_the_digit_that_devices_show():
    sensor = {"context": {"sample": "interstitial"}, "unit": "mmol/L"}
    assert accept(message("glucose", values={"glucose": 27.8}, **sensor)).values["glucose"] == 500.4
    (refusal,) = decode_payload(
        encode(message("glucose", values={"glucose": 27.9}, **sensor)), DEVICE, RECEIVED_AT_MS
    )
    assert isinstance(refusal, Refusal)
    assert Conversion(18, step=0.1).slack == pytest.approx(0.9)


def test_oldest_is_carried_but_is_no_content():
    assert accept(message(oldest=3)).oldest == 3
    assert b"oldest" not in to_wire(accept(message(oldest=3)))


def test_intervals_that_are_odd_are_kept_and_masked_not_refused():
    values = accept(message("rr-intervals", values={"rr": [76, 150, 800, 5000, 5001, 0]})).values
    assert values == {"rr": [76.0, 150.0, 800.0, 5000.0, 5001.0, 0.0]}
    assert usable_intervals(values).tolist() == [False, True, True, True, False, False]


@unhurried
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50), st.floats(1, 1e5))
def test_both_forms_of_an_ecg_give_the_same_millivolts(counts, gain):
    octets = base64.b64encode(struct.pack(f"<{len(counts)}h", *counts)).decode()
    packed = accept(message("ecg", values={"fs": 360, "samples_i16": octets, "gain": gain}))
    assert packed.values == {"fs": 360.0, "samples_i16": octets, "gain": gain}
    assert ecg_samples(packed.values) == pytest.approx(np.array(counts) / gain)
    plain = [count / 1e6 for count in counts]
    spelt = accept(message("ecg", values={"fs": 360, "samples": plain}))
    assert ecg_samples(spelt.values).tolist() == plain


numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8))
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = sorted({*message(), "epoch", "oldest", "unit", "flags", "context", "gatt", "value", "received_at"})


@st.composite
def elements(draw):
    """A reading with some of its fields spoilt, or anything else."""
    if draw(st.integers(0, 9)) == 0:
        return draw(trees)
    kind = draw(st.sampled_from(sorted(KINDS)))
    element = message(kind, seq=draw(st.integers(0, 50)))
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
        element[name] = draw(trees)
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(KINDS[kind].values)))
        element["values"] = {**VALUES[kind], name: draw(trees)}
    return element


def check(decoded, raw):
    for entry in decoded:
        if isinstance(entry, Refusal):
            assert entry.reason in REASONS
            assert entry.detail
            assert entry.seq is None or entry.seq >= 0
        else:
            assert from_wire(to_wire(entry)).identity == entry.identity
            assert all(math.isfinite(v) for v in entry.values.values() if isinstance(v, float))


@unhurried
@given(st.binary(max_size=300))
def test_any_bytes_give_readings_or_refusals_and_never_an_error(payload):
    check(decode_payload(payload, DEVICE, RECEIVED_AT_MS), payload)


@unhurried
@given(elements(), st.data())
def test_a_damaged_message_gives_readings_or_refusals_and_never_an_error(element, data):
    payload = bytearray(encode(element))
    for _ in range(data.draw(st.integers(0, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    check(decode_payload(bytes(payload), DEVICE, RECEIVED_AT_MS), payload)
    with contextlib.suppress(RefusedError):
        decode_line(bytes(payload))


@unhurried
@given(st.lists(elements(), max_size=8), st.data())
def test_an_element_is_decoded_alike_wherever_and_however_often_it_stands(batch, data):
    alone = {}
    for element in batch:
        (alone[encode(element)],) = decode_payload(encode([element]), DEVICE, RECEIVED_AT_MS)
    mixed = data.draw(st.lists(st.sampled_from(batch), max_size=12)) if batch else []
    assert decode_payload(encode(mixed), DEVICE, RECEIVED_AT_MS) == [alone[encode(e)] for e in mixed]


@unhurried
@given(
    kind=st.sampled_from(sorted(KINDS)),
    flags=st.lists(st.sampled_from(sorted(FLAGS)), max_size=3),
    epoch=st.integers(0, 2**53),
    offset=st.sampled_from(["Z", "+01:00", "-09:30", "+14:00"]),
)
def test_a_reading_survives_the_way_to_its_topic_and_back(kind, flags, epoch, offset):
    element = message(kind, flags=flags, epoch=epoch, measured_at=f"2026-11-21T07:31:05.120{offset}")
    reading = accept(element)
    assert from_wire(to_wire(reading)) == reading


@unhurried
@given(st.dictionaries(st.text(max_size=5), scalars, max_size=5), st.integers(0, 5))
def test_a_doubled_key_is_found_wherever_it_stands(extra, at):
    members = [f"{json.dumps(k)}:{json.dumps(v)}" for k, v in {**message(), **extra}.items()]
    (single,) = decode_payload(f"{{{','.join(members)}}}".encode(), DEVICE, RECEIVED_AT_MS)
    members.insert(at, members[-1])
    (doubled,) = decode_payload(f"{{{','.join(members)}}}".encode(), DEVICE, RECEIVED_AT_MS)
    assert not isinstance(single, Refusal) or single.reason != "duplicate-key"
    assert isinstance(doubled, Refusal)
    assert doubled.reason == "duplicate-key"


def test_a_line_counts_as_received_when_measured_unless_it_says_otherwise():
    line = encode(message(patient="p-1")) + b"\n"
    reading = decode_line(line)
    assert reading.patient == "p-1"
    assert reading.received_at_ms == reading.measured_at_ms
    late = decode_line(encode(message(patient="p-1", received_at="2026-11-24T07:31:05Z")))
    assert late.received_late_ms > 2 * 86_400_000


def test_a_line_may_hold_what_a_bluetooth_device_said():
    octets = base64.b64encode(bytes.fromhex("00b036")).decode()
    fields = {"v": 1, "device": DEVICE, "seq": 1, "patient": "p-1", "gatt": "2A9D", "value": octets}
    reading = decode_line(encode({**fields, "received_at": MEASURED_AT}))
    assert reading.values == {"weight": 70.0}
    assert reading.measured_at_ms == reading.received_at_ms == parse_instant(MEASURED_AT)[0]
