"""Real recordings and Bluetooth payloads, where they lie beside the checkout; skipped without them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from device_messages import DEVICE, encode, gatt_message, message

from devices.bluetooth import (
    blood_pressure,
    cgm,
    dexcom_g5,
    glucose,
    heart_rate,
    oximeter_continuous,
    oximeter_spot,
    weight,
)
from devices.bluetooth.fields import BadGattError, MedicalFloat
from devices.decode import decode_line, decode_payload, ecg_samples
from devices.readings import Reading, Refusal, from_wire, to_wire
from devices.times import parse_instant

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no recordings in ../shared/data")
RECORDINGS = sorted(DATA.glob("*.jsonl"))
EXAMPLES = DATA / "gatt_examples.json"
VECTORS = json.loads(EXAMPLES.read_text())["vectors"] if EXAMPLES.exists() else []
RECEIVED_AT_MS = parse_instant("2026-11-22T07:31:20+01:00")[0]
KG_PER_LB = 0.45359237


def number(value: MedicalFloat | None) -> float | None:
    return None if value is None else value.value


def iso(time: Any) -> str | None:
    return None if time is None else datetime.isoformat(time.local())


def show_blood_pressure(payload: bytes) -> dict[str, Any]:
    said = blood_pressure.decode(payload)
    time = said.time
    return {
        "unit": {"mm[Hg]": "mmHg"}.get(said.unit, said.unit),
        "systolic": number(said.systolic),
        "diastolic": number(said.diastolic),
        "map": number(said.mean),
        "pulse": number(said.pulse),
        "user": said.user,
        "status": said.status,
        "body_movement": said.body_movement,
        "cuff_loose": said.cuff_loose,
        "irregular_pulse": said.irregular_pulse,
        "pulse_range": said.pulse_range,
        "improper_position": said.improper_position,
        "time": time
        and f"{time.year:04}-{time.month:02}-{time.day:02}T{time.hour:02}:{time.minute:02}:{time.second:02}"
        + ("" if time.local() else " (year unknown)"),
    }


def show_glucose(payload: bytes) -> dict[str, Any]:
    said = glucose.decode(payload)
    base_time = said.time.local()
    assert base_time is not None
    return {
        "sequence": said.sequence,
        "base_time": iso(said.time),
        "time_offset_min": said.offset_min,
        "time": (base_time + timedelta(minutes=said.offset_min)).isoformat(),
        "unit": said.unit,
        "concentration_kg_l": number(said.concentration),
        "type": said.type,
        "location": said.location,
        "status": said.status,
        "low_battery": said.low_battery,
        "context_follows": said.context_follows,
    }


def show_weight(payload: bytes) -> dict[str, Any]:
    said = weight.decode(payload)
    assert said.weight is not None
    pounds = said.unit == "[lb_av]"
    return {"lb": said.weight, "kg": round(said.weight * KG_PER_LB, 3)} if pounds else {"kg": said.weight}


def show_heart_rate(payload: bytes) -> dict[str, Any]:
    said = heart_rate.decode(payload)
    return {"bpm": said.bpm, "contact": said.contact, "rr_ms": list(said.rr_ms)}


def show_oximetry(module: Any) -> Callable[[bytes], dict[str, Any]]:
    def show(payload: bytes) -> dict[str, Any]:
        said = module.decode(payload)
        return {
            "spo2": number(said.spo2),
            "pulse": number(said.pulse),
            "time": iso(said.time),
            "status": said.status,
            "measurement_ongoing": said.ongoing,
            "questionable": said.questionable,
            "device_status": said.device_status,
            "pai": number(said.pulse_amplitude),
        }

    return show


def show_cgm(payload: bytes) -> dict[str, Any]:
    said = cgm.decode(payload)
    return {
        "mg_dl": number(said.glucose_mg_dl),
        "time_offset_min": said.offset_min,
        "low_battery": said.low_battery,
        "sensor_temp_high": said.sensor_temp_high,
        "calibration_recommended": said.calibration_recommended,
        "sensor_status": said.warning,
        "trend": number(said.trend_mg_dl_min),
        "quality": number(said.quality_percent),
        "crc_ok": said.crc_ok,
    }


def show_dexcom(payload: bytes) -> dict[str, Any]:
    said = dexcom_g5.decode(payload)
    return {
        "sequence": said.sequence,
        "timestamp": said.timestamp_s,
        "mg_dl": said.glucose_mg_dl,
        "state": said.state,
        "trend": said.trend,
    }


SHOW = {
    "2A35": show_blood_pressure,
    "2A18": show_glucose,
    "2A9D": show_weight,
    "2A37": show_heart_rate,
    "2A5E": show_oximetry(oximeter_spot),
    "2A5F": show_oximetry(oximeter_continuous),
    "2AA7": show_cgm,
    "dexcom-g5-glucoseRx": show_dexcom,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_bluetooth_example_means_what_it_says(vector):
    show, payload = SHOW[vector["characteristic"]], bytes.fromhex(vector["hex"])
    if not vector["valid"]:
        with pytest.raises(BadGattError):
            show(payload)
        return
    said = show(payload)
    assert {name: said[name] for name in vector["expect"]} == vector["expect"]


# What becomes of each example as a message: its reason of refusal, or its marks.
OUTCOMES = {
    "2A35-01": ["cuff-loose", "mean-unlikely", "movement", "wrong-position"],
    "2A35-02": ["cuff-loose", "mean-unlikely", "pulse-out-of-range"],
    "2A18-01": "out-of-range",
    "2A18-02": "bad-gatt",
    "2A9D-01": [],
    "2A9D-02": [],
    "2A37-01": [],
    "2A37-02": ["contact-lost"],
    "2A5E-01": ["device-fault", "signal-questionable"],
    "2A5F-01": [],
    "2A5F-02": [],
    "2AA7-01": "out-of-range",
    "2AA7-02": [],
    "dexcom-g5-glucoseRx-01": [],
    "dexcom-g5-glucoseRx-02": [],
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_bluetooth_example_is_accepted_or_refused_as_its_note_asks(vector):
    octets = bytes.fromhex(vector["hex"])
    payload = encode(gatt_message(vector["characteristic"], octets, received_at="2026-11-22T07:31:10+01:00"))
    (decoded,) = decode_payload(payload, DEVICE, RECEIVED_AT_MS)
    if isinstance(decoded, Refusal):
        assert decoded.reason == OUTCOMES[vector["id"]], decoded.detail
    else:
        assert list(decoded.marks) == OUTCOMES[vector["id"]]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_every_line_of_a_recording_is_accepted_unmarked(recording):
    for line in recording.read_bytes().splitlines():
        reading = decode_line(line)
        assert reading.marks == ()
        assert from_wire(to_wire(reading)) == reading


def test_an_ecg_strip_of_the_recording_has_its_samples():
    strip = decode_line((DATA / "ecg_mitdb_100.jsonl").read_bytes().splitlines()[0])
    samples = ecg_samples(strip.values)
    assert samples.shape == (30 * 360,)
    assert -5 < samples.min() < samples.max() < 5


def test_a_cuffs_stored_readings_come_in_one_burst_and_keep_their_times():
    log = json.loads((DATA / "bp_omron_log.json").read_text())
    burst = [
        message(
            "blood-pressure",
            seq=seq,
            measured_at=stored["time"] + "+02:00",
            values={name: stored[name] for name in ("systolic", "diastolic", "pulse")},
            flags=["movement"] * stored["movement"] + ["irregular-pulse"] * stored["irregular"],
        )
        for seq, stored in enumerate(log["readings"])
    ]
    readings = [r for r in decode_payload(encode(burst), DEVICE, RECEIVED_AT_MS) if isinstance(r, Reading)]
    expected = log["expected"]
    assert len(readings) == expected["valid"]
    assert [r.measured_at_ms for r in readings] == sorted(r.measured_at_ms for r in readings)
    assert [r.seq for r in readings if r.marks] == [6]
    assert sum(r.marks == ("movement",) for r in readings) == expected["movement_flagged"]
