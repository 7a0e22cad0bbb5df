"""From what a Bluetooth device said to the content of a reading: kind, values, unit, flags, marks, time.

- One message is one reading, because (device, epoch, seq) is its identity. A heart rate with RR intervals
  (2A37) therefore gives the heart rate; a gateway that wants rhythm sends its own `rr-intervals` readings.
- The device's clock tells local time. A time that it does not know, that cannot be, or that it says is
  not set, is replaced by the gateway's `received_at`, flag `clock-unset`. A measurement that carries no
  date at all (a scale without a clock, minutes since a sensor was started) takes `received_at` unflagged.
- Only the first user of a device is its patient.
- Marks that no flag of the contract can say are set here: `signal-questionable`, `beyond-meter`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

import msgspec

from devices.bluetooth import (
    blood_pressure,
    cgm,
    dexcom_g5,
    glucose,
    heart_rate,
    oximeter,
    oximeter_continuous,
    oximeter_spot,
    temperature,
    weight,
)
from devices.bluetooth.fields import DateTime, MedicalFloat
from devices.quality import BEYOND_METER, SIGNAL_QUESTIONABLE
from devices.refusals import Reason, refuse, shown

FIRST_USERS: Final = frozenset({0, 1, blood_pressure.USER_UNKNOWN})
"""Cuffs and scales with several users number them from 1; 0 and 255 are sent where nobody was chosen."""

CLOCK_TOLERANCE: Final = timedelta(minutes=10)  # as for every other clock (contract section 1)


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a reading says, apart from whose and when it is. From `translate` the values are in `unit` and
    unchecked, and `time` is the device's local time with `clock_set` false where it is not to be used."""

    kind: str
    values: dict[str, Any]
    unit: str | None = None
    flags: tuple[str, ...] = ()
    context: dict[str, str] = {}
    marks: tuple[str, ...] = ()
    time: DateTime | None = None
    offset_min: int = 0
    clock_set: bool = True


def translate(characteristic: str, payload: bytes) -> Content:
    """Raises BadGattError for damaged bytes, Problem for a measurement that is none of the patient's."""
    translator = _TRANSLATORS.get(characteristic)
    if translator is None:
        refuse(
            Reason.UNKNOWN_CHARACTERISTIC,
            f"gatt: {shown(characteristic)} came; one of {' '.join(CHARACTERISTICS)} is allowed",
        )
    return translator(payload)


def instant(content: Content, heard_ms: int, heard_offset_min: int, zone: tzinfo) -> tuple[int, int, bool]:
    """(measured_at_ms, offset_min, clock_set): the device's local time in `zone`, or when it was heard.

    In the hour that comes twice in autumn the later one is meant, unless it lies ahead of the hearing.
    """
    if content.time is None and content.clock_set:
        return heard_ms, heard_offset_min, True
    local = content.time.local() if content.time is not None and content.clock_set else None
    if local is None:
        return heard_ms, heard_offset_min, False
    local += timedelta(minutes=content.offset_min)
    heard = _EPOCH + timedelta(milliseconds=heard_ms)
    moment = local.replace(tzinfo=zone, fold=1)
    if moment.astimezone(UTC) > heard + CLOCK_TOLERANCE:
        moment = local.replace(tzinfo=zone, fold=0)
    offset_min = int((moment.utcoffset() or timedelta()) / timedelta(minutes=1))
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1), offset_min, True


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _required(name: str, number: MedicalFloat | None) -> float:
    if number is None or number.value is None:
        why = "not sent" if number is None else number.absent
        refuse(Reason.NO_VALUE, f"{name}: {why}; the device could not measure it")
    return number.value


def _present(**numbers: MedicalFloat | None) -> dict[str, float]:
    """The numbers that have a value, by name."""
    return {name: n.value for name, n in numbers.items() if n is not None and n.value is not None}


def _check_user(user: int | None) -> None:
    if user is not None and user not in FIRST_USERS:
        refuse(Reason.OTHER_USER, f"user: {user} came; only the device's first user is its patient")


def _flags(**said: bool) -> tuple[str, ...]:
    return tuple(name.replace("_", "-") for name, yes in said.items() if yes)


def _blood_pressure(payload: bytes) -> Content:
    said = blood_pressure.decode(payload)
    _check_user(said.user)
    return Content(
        kind="blood-pressure",
        unit=said.unit,
        values={
            "systolic": _required("systolic", said.systolic),
            "diastolic": _required("diastolic", said.diastolic),
            **_present(mean=said.mean, pulse=said.pulse),
        },
        flags=_flags(
            movement=said.body_movement,
            cuff_loose=said.cuff_loose,
            irregular_pulse=said.irregular_pulse,
            pulse_out_of_range=said.pulse_range in ("above upper limit", "below lower limit"),
            wrong_position=said.improper_position,
        ),
        time=said.time,
    )


def _weight(payload: bytes) -> Content:
    said = weight.decode(payload)
    _check_user(said.user)
    if said.weight is None:
        refuse(Reason.NO_VALUE, "weight: unsuccessful; the scale could not measure it")
    return Content(kind="body-weight", unit=said.unit, values={"weight": said.weight}, time=said.time)


def _glucose(payload: bytes) -> Content:
    said = glucose.decode(payload)
    status = said.status or 0
    concentration = _required("glucose", said.concentration)
    # 1 kg/L is 100 000 mg/dL, 1 mol/L is 1 000 mmol/L (reference 8.2).
    scaled = concentration * (1000 if said.unit == "mol/L" else 100_000)
    context = {}
    if said.type in glucose.TYPE_CAPILLARY:
        context = {"sample": "capillary"}
    elif said.type == glucose.TYPE_INTERSTITIAL:
        context = {"sample": "interstitial"}
    return Content(
        kind="glucose",
        unit="mmol/L" if said.unit == "mol/L" else "mg/dL",
        values={"glucose": round(scaled, 6)},
        flags=_flags(
            low_battery=said.low_battery,
            device_fault=bool(status & (glucose.MALFUNCTION | glucose.GENERAL_FAULT)),
            sample_insufficient=bool(status & glucose.SAMPLE_SMALL),
            strip_fault=bool(status & glucose.STRIP_ERRORS),
            temperature_out_of_range=bool(status & glucose.TEMPERATURE),
            control_solution=said.control_solution,
        ),
        marks=(BEYOND_METER,) if status & glucose.BEYOND else (),
        context=context,
        time=said.time,
        offset_min=said.offset_min,
        clock_set=not status & glucose.TIME_FAULT,
    )


def _heart_rate(payload: bytes) -> Content:
    said = heart_rate.decode(payload)
    return Content(
        kind="heart-rate",
        values={"heart_rate": said.bpm},
        flags=_flags(contact_lost=said.contact is False),
    )


def _oximetry(said: oximeter.Oximetry) -> Content:
    status, sensor = said.status or 0, said.device_status or 0
    if status & (oximeter.DEMONSTRATION | oximeter.TESTING | oximeter.CALIBRATION):
        refuse(Reason.DEMONSTRATION, "status: demonstration, test or calibration data; nobody was measured")
    if status & oximeter.UNAVAILABLE:
        refuse(Reason.NO_VALUE, "status: measurement unavailable; the oximeter could not measure")
    doubt = status & (oximeter.QUESTIONABLE | oximeter.INVALID) or sensor & oximeter.SENSOR_DOUBT
    return Content(
        kind="oxygen-saturation",
        values={"spo2": _required("spo2", said.spo2), **_present(pulse=said.pulse)},
        flags=_flags(
            contact_lost=bool(sensor & oximeter.SENSOR_OFF),
            device_fault=bool(sensor & oximeter.SENSOR_FAULT),
        ),
        marks=(SIGNAL_QUESTIONABLE,) if doubt else (),
        time=said.time,
        clock_set=said.clock_set,
    )


def _temperature(payload: bytes) -> Content:
    said = temperature.decode(payload)
    return Content(
        kind="temperature",
        unit=said.unit,
        values={"temperature": _required("temperature", said.temperature)},
        time=said.time,
    )


def _cgm(payload: bytes) -> Content:
    said = cgm.decode(payload)
    status = said.status or 0
    return Content(
        kind="glucose",
        unit="mg/dL",
        values={"glucose": _required("glucose", said.glucose_mg_dl)},
        flags=_flags(
            low_battery=said.low_battery,
            device_fault=bool(status & (cgm.SESSION_STOPPED | cgm.FAULTS)),
            temperature_out_of_range=bool((said.calibration or 0) & cgm.SENSOR_TEMPERATURE),
        ),
        marks=(BEYOND_METER,) if (said.warning or 0) & cgm.BEYOND else (),
        context={"sample": "interstitial"},
    )


def _dexcom_g5(payload: bytes) -> Content:
    said = dexcom_g5.decode(payload)
    warmup = said.state == dexcom_g5.STATE_WARMUP
    return Content(
        kind="glucose",
        unit="mg/dL",
        values={"glucose": said.glucose_mg_dl},
        flags=_flags(
            sensor_warmup=warmup,
            device_fault=not warmup and said.state not in dexcom_g5.STATES_GOOD,
        ),
        context={"sample": "interstitial"},
    )


_TRANSLATORS: Final[dict[str, Callable[[bytes], Content]]] = {
    "2A35": _blood_pressure,
    "2A9D": _weight,
    "2A18": _glucose,
    "2A37": _heart_rate,
    "2A5E": lambda payload: _oximetry(oximeter_spot.decode(payload)),
    "2A5F": lambda payload: _oximetry(oximeter_continuous.decode(payload)),
    "2A1C": _temperature,
    "2AA7": _cgm,
    "DEXCOM-G5-GLUCOSERX": _dexcom_g5,
}
CHARACTERISTICS: Final = tuple(_TRANSLATORS)
