from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from device_messages import ABSENT, DEVICE, encode, gatt_message, unhurried
from hypothesis import given
from hypothesis import strategies as st

from devices.bluetooth import (
    blood_pressure,
    cgm,
    dexcom_g5,
    glucose,
    heart_rate,
    oximeter_continuous,
    oximeter_spot,
    temperature,
    weight,
)
from devices.bluetooth.fields import BadGattError, medfloat, sfloat
from devices.bluetooth.translate import CHARACTERISTICS
from devices.decode import decode_payload
from devices.readings import Reading, Refusal
from devices.times import from_datetime, parse_instant

VECTORS = json.loads((Path(__file__).parent / "vectors" / "bluetooth.json").read_text())
PARIS = ZoneInfo("Europe/Paris")
HEARD = "2026-11-22T09:31:10+01:00"
HEARD_MS = parse_instant(HEARD)[0]

DECODERS = {
    "2A35": blood_pressure.decode,
    "2A9D": weight.decode,
    "2A18": glucose.decode,
    "2A37": heart_rate.decode,
    "2A5E": oximeter_spot.decode,
    "2A5F": oximeter_continuous.decode,
    "2A1C": temperature.decode,
    "2AA7": cgm.decode,
    "dexcom-g5-glucoseRx": dexcom_g5.decode,
}


def name_of(vector: dict[str, Any]) -> str:
    return str(vector.get("name", vector.get("raw")))


def one(characteristic: str, octets: bytes, **changes: Any) -> Reading | Refusal:
    payload = encode(gatt_message(characteristic, octets, **changes))
    (decoded,) = decode_payload(payload, DEVICE, HEARD_MS + 500, zone=PARIS)
    return decoded


@pytest.mark.parametrize("vector", VECTORS["sfloat"], ids=name_of)
def test_an_sfloat_is_read_as_the_reference_says(vector):
    number = sfloat(int(vector["raw"], 16))
    assert (number.value, number.absent) == (vector.get("value"), vector.get("absent"))
    assert number.decimals == vector.get("decimals", 0)


@pytest.mark.parametrize("vector", VECTORS["float"], ids=name_of)
def test_a_float_is_read_as_the_reference_says(vector):
    number = medfloat(int(vector["raw"], 16))
    assert (number.value, number.absent) == (vector.get("value"), vector.get("absent"))
    assert number.decimals == vector.get("decimals", 0)


@unhurried
@given(st.integers(0, 0xFFFF))
def test_every_sfloat_has_a_value_or_a_reason_for_none(raw):
    number = sfloat(raw)
    assert (number.value is None) == (number.absent is not None)


@unhurried
@given(st.integers(0, 0xFFFF_FFFF))
def test_every_float_has_a_value_or_a_reason_for_none(raw):
    number = medfloat(raw)
    assert (number.value is None) == (number.absent is not None)


@pytest.mark.parametrize("vector", VECTORS["readings"], ids=name_of)
def test_a_bluetooth_payload_becomes_the_reading_that_it_means(vector):
    reading = one(vector["gatt"], bytes.fromhex(vector["hex"]))
    assert isinstance(reading, Reading), reading
    assert reading.kind == vector["kind"]
    assert reading.values == pytest.approx(vector["values"], abs=1e-6)
    assert reading.flags == tuple(vector.get("flags", ()))
    assert reading.marks == tuple(vector.get("marks", ()))
    assert reading.context == vector.get("context", {})
    local = vector.get("local")
    measured = from_datetime(datetime.fromisoformat(local).replace(tzinfo=PARIS)) if local else HEARD_MS
    assert reading.measured_at_ms == measured
    assert reading.offset_min == 60
    assert reading.received_at_ms == HEARD_MS + 500


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=name_of)
def test_a_bluetooth_payload_is_refused_with_its_reason(vector):
    refusal = one(vector["gatt"], bytes.fromhex(vector["hex"]))
    assert isinstance(refusal, Refusal), refusal
    assert refusal.reason == vector["reason"]
    assert refusal.seq == 7


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"received_at": ABSENT}, "missing-field"),
        ({"received_at": "yesterday"}, "bad-time"),
        ({"received_at": "0001-01-01T00:00:00Z"}, "bad-time"),
        ({"received_at": "2026-11-22T09:50:00+01:00"}, "clock-ahead"),
        ({"value": "not base64"}, "bad-gatt"),
        ({"value": "AA=="[:-1]}, "bad-gatt"),
        ({"value": 5}, "wrong-type"),
        ({"gatt": 10805}, "wrong-type"),
        ({"kind": "body-weight"}, "bad-gatt"),
        ({"value": "A" * 1024}, "bad-gatt"),
    ],
)
def test_a_message_around_bluetooth_bytes_is_checked_too(changes, reason):
    refusal = one("2A37", bytes.fromhex("0048"), **changes)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.reason == reason


def thermometer_at(local: datetime) -> bytes:
    clock = bytes([local.month, local.day, local.hour, local.minute, local.second])
    return bytes.fromhex("026f0100ff") + local.year.to_bytes(2, "little") + clock


@pytest.mark.parametrize(
    ("heard", "offset_min"),
    [("2026-10-25T00:31:00+00:00", 120), ("2026-10-25T01:31:00+00:00", 60)],
)
def test_in_the_hour_that_comes_twice_the_one_before_the_hearing_is_meant(heard, offset_min):
    payload = encode(gatt_message("2A1C", thermometer_at(datetime(2026, 10, 25, 2, 30)), received_at=heard))
    heard_ms = parse_instant(heard)[0]
    (reading,) = decode_payload(payload, DEVICE, heard_ms, zone=PARIS)
    assert isinstance(reading, Reading)
    assert heard_ms - reading.measured_at_ms == 60_000
    assert reading.offset_min == offset_min


def test_the_time_of_a_bluetooth_reading_does_not_depend_on_when_it_is_delivered():
    payload = encode(gatt_message("2A37", bytes.fromhex("0048")))
    (first,) = decode_payload(payload, DEVICE, HEARD_MS, zone=PARIS)
    (again,) = decode_payload(payload, DEVICE, HEARD_MS + 86_400_000, zone=PARIS)
    assert isinstance(first, Reading)
    assert isinstance(again, Reading)
    assert first.measured_at_ms == again.measured_at_ms == HEARD_MS


def test_rr_intervals_of_1024ths_of_a_second_become_milliseconds():
    said = heart_rate.decode(bytes.fromhex("164800040002"))
    assert said.contact is True
    assert said.rr_ms == (1000.0, 500.0)


@pytest.mark.parametrize("characteristic", DECODERS)
@unhurried
@given(payload=st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused_by_every_characteristic(characteristic, payload):
    with contextlib.suppress(BadGattError):
        DECODERS[characteristic](payload)


@unhurried
@given(
    characteristic=st.sampled_from(CHARACTERISTICS),
    payload=st.binary(max_size=30),
    zone=st.sampled_from([UTC, PARIS, ZoneInfo("America/St_Johns")]),
)
def test_any_bytes_in_a_message_give_a_reading_or_a_refusal(characteristic, payload, zone):
    message = encode(gatt_message(characteristic, payload))
    (decoded,) = decode_payload(message, DEVICE, HEARD_MS, zone=zone)
    if isinstance(decoded, Reading):
        assert decoded.measured_at_ms <= HEARD_MS + 600_000
    else:
        assert decoded.seq == 7
        assert decoded.raw == message
