"""What devices send, decoded strictly: a reading in canonical units, or a refusal that says why.

`decode_payload` takes an MQTT payload (contract section 1): one reading or an array, in JSON or as what
a Bluetooth device said. `decode_line` takes a line of a file, which names its patient. Neither raises for
anything that a device can send, except that `decode_line` gives its one refusal as `RefusedError`.

Forward compatible where the contract is open, strict where it is closed: a field of the message that is
not known is ignored (the contract may add optional ones); a value, flag or context word that is not known
is refused, because those lists are closed and a silently dropped `systolc` is a lost reading. Refused
readings wait whole in quarantine and can be replayed after an upgrade. A null is an absent field.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import Any, Final

from devices import payload as _payload
from devices.bluetooth.fields import BadGattError
from devices.bluetooth.translate import Content, instant, translate
from devices.catalogue import CONTEXT, FLAGS
from devices.payload import MAX_INTEGER, MAX_LINE_BYTES, MAX_PAYLOAD_BYTES, MAX_READINGS
from devices.quality import gates
from devices.readings import Reading, Refusal
from devices.refusals import REASONS, Problem, Reason, RefusedError, named, refuse, shown
from devices.times import BadTimeError, format_instant, parse_instant
from devices.values import canonical, ecg_samples, kind_of, usable_intervals

__all__ = [
    "MAX_AHEAD_MS",
    "MAX_LINE_BYTES",
    "MAX_PAYLOAD_BYTES",
    "MAX_READINGS",
    "REASONS",
    "Reason",
    "RefusedError",
    "decode_line",
    "decode_payload",
    "ecg_samples",
    "usable_intervals",
]

VERSION: Final = 1
MAX_AHEAD_MS: Final = 600_000  # contract section 1: a clock more than 10 minutes ahead is refused
EARLIEST_MS: Final = -86_400_000  # a reset clock says 1970-01-01 in its own zone; none says less
LATEST_MS: Final = 7_258_118_400_000  # 2200-01-01: keeps every later computation inside the calendar
MAX_GATT_BYTES: Final = 512  # the longest value of an attribute in Bluetooth
MAX_TIME_CHARS: Final = 40  # RFC 3339 to the nanosecond has 35; a longer text is not repeated in the detail
MAX_PATIENT_CHARS: Final = 128  # a pseudonym; ours have 34

_SERIAL = re.compile(r"[A-Za-z0-9._-]{1,64}")


def decode_payload(
    payload: bytes, device: str, received_at_ms: int, zone: tzinfo = UTC
) -> list[Reading | Refusal]:
    """Decode an MQTT payload that `device` published and the platform received at `received_at_ms`.

    One entry for each element, in its order; a payload that fails as a whole gives one Refusal without a
    seq. `zone` is the care plan's: Bluetooth devices tell local time. Never raises for any bytes.
    """
    try:
        elements = _payload.split(payload)
    except Problem as problem:
        return [_refusal(problem, payload, device, received_at_ms, (None, 0))]
    decoded: list[Reading | Refusal] = []
    for raw in elements:
        try:
            decoded.append(_element(_payload.parse(raw), device, received_at_ms, zone))
        except Problem as problem:
            decoded.append(_refusal(problem, raw, device, received_at_ms, _payload.identity(raw)))
    return decoded


def decode_line(line: bytes, zone: tzinfo = UTC) -> Reading:
    """Decode one line of a file of readings: as in MQTT, with `patient`.

    `received_at` is optional: without it the reading counts as received when it was measured. Raises
    RefusedError.
    """
    raw = line.strip()
    device = ""
    try:
        if len(raw) > MAX_LINE_BYTES:
            refuse(Reason.TOO_LARGE, f"line: {len(raw)} bytes came; at most {MAX_LINE_BYTES} are allowed")
        message = _object(_payload.parse(raw))
        device = _serial(message)
        patient = _text(message, "patient")
        if not 1 <= len(patient) <= MAX_PATIENT_CHARS:
            refuse(Reason.BAD_VALUE, f"patient: 1 to {MAX_PATIENT_CHARS} characters are allowed")
        return _element(message, device, _line_received_at(message), zone, patient)
    except Problem as problem:
        refusal = _refusal(problem, raw, device, 0, _payload.identity(raw))
    raise RefusedError(refusal)


def _refusal(
    problem: Problem, raw: bytes, device: str, received_at_ms: int, identity: tuple[int | None, int]
) -> Refusal:
    return Refusal(
        device=device,
        reason=problem.reason,
        detail=problem.detail,
        raw=raw,
        seq=identity[0],
        epoch=identity[1],
        received_at_ms=received_at_ms,
    )


def _element(decoded: object, device: str, received_at_ms: int, zone: tzinfo, patient: str = "") -> Reading:
    message = _object(decoded)
    _check_version(message)
    came = message.get("device")
    if came != device:
        _refuse_device(came, device)
    seq = _natural(message, "seq", None)
    epoch = _natural(message, "epoch", 0)
    oldest = None
    if message.get("oldest") is not None:
        oldest = _natural(message, "oldest", None)
        if oldest > seq:  # believing it, a receipt would let the device forget what never came
            refuse(Reason.OUT_OF_RANGE, f"oldest: {oldest} came; at most this reading's seq {seq} is allowed")
    if message.get("gatt") is not None:
        content, measured_at_ms, offset_min = _bluetooth(message, zone)
    else:
        content = _json(message)
        measured_at_ms, offset_min = _time(message, "measured_at")
    if measured_at_ms - received_at_ms > MAX_AHEAD_MS:
        _refuse_ahead("measured_at", measured_at_ms, received_at_ms)
    _check_calendar("measured_at", measured_at_ms)
    marks = gates(content.kind, content.values, content.flags, content.context)
    return Reading(
        device=device,
        seq=seq,
        epoch=epoch,
        kind=content.kind,
        measured_at_ms=measured_at_ms,
        offset_min=offset_min,
        received_at_ms=received_at_ms,
        patient=patient,
        values=content.values,
        flags=content.flags,
        context=content.context,
        marks=tuple(sorted({*marks, *content.marks})) if content.marks else marks,
        oldest=oldest,
    )


def _json(message: Mapping[str, Any]) -> Content:
    kind = kind_of(message.get("kind"))
    context = _context(message.get("context"))
    return Content(
        kind=kind.name,
        values=canonical(kind, message.get("values"), message.get("unit"), context),
        flags=_flags(message.get("flags")),
        context=context,
    )


def _bluetooth(message: Mapping[str, Any], zone: tzinfo) -> tuple[Content, int, int]:
    """(content, measured_at_ms, offset_min) of a message that forwards what a Bluetooth device said."""
    if message.get("kind") is not None:
        refuse(Reason.BAD_GATT, "gatt: came together with kind; a message is either the one or the other")
    # The gateway's time, not the platform's: it is the same however often the message is delivered.
    heard_ms, heard_offset_min = _time(message, "received_at")
    _check_calendar("received_at", heard_ms)
    name = _text(message, "gatt").upper()
    try:
        octets = binascii.a2b_base64(_text(message, "value"), strict_mode=True)
    except ValueError as error:
        refuse(Reason.BAD_GATT, f"value: no base64 ({error}); base64 of the characteristic is required")
    if len(octets) > MAX_GATT_BYTES:
        refuse(Reason.BAD_GATT, f"value: {len(octets)} bytes came; at most {MAX_GATT_BYTES} are allowed")
    try:
        said = translate(name, octets)
    except BadGattError as error:
        refuse(Reason.BAD_GATT, f"value: {error}")
    kind = kind_of(said.kind)
    measured_at_ms, offset_min, clock_set = instant(said, heard_ms, heard_offset_min, zone)
    flags = said.flags if clock_set else (*said.flags, "clock-unset")
    content = Content(
        kind=said.kind,
        values=canonical(kind, said.values, said.unit, said.context),
        flags=tuple(sorted(set(flags))),
        context=said.context,
        marks=said.marks,
    )
    return content, measured_at_ms, offset_min


def _object(decoded: object) -> dict[str, Any]:
    if type(decoded) is not dict:
        refuse(Reason.WRONG_TYPE, f"element: {shown(decoded)} came; a reading is a JSON object")
    return decoded


def _check_version(message: Mapping[str, Any]) -> None:
    version = message.get("v")
    if version is None:
        refuse(Reason.MISSING_FIELD, f"v: absent; {VERSION} is required")
    if type(version) is not int:
        refuse(Reason.WRONG_TYPE, f"v: {shown(version)} came; the whole number {VERSION} is required")
    if version != VERSION:
        refuse(Reason.UNKNOWN_VERSION, f"v: {shown(version)} came; {VERSION} is allowed")


def _refuse_device(came: object, device: str) -> None:
    if came is None:
        refuse(Reason.MISSING_FIELD, f"device: absent; {device!r} is required")
    if type(came) is not str:
        refuse(Reason.WRONG_TYPE, f"device: {shown(came)} came; a text is required")
    refuse(
        Reason.DEVICE_MISMATCH, f"device: {shown(came)} came; {device!r} published and may speak for itself"
    )


def _serial(message: Mapping[str, Any]) -> str:
    device = _text(message, "device")
    if _SERIAL.fullmatch(device) is None:
        refuse(Reason.BAD_DEVICE, f"device: {shown(device)} came; 1 to 64 of A-Z a-z 0-9 . _ - are allowed")
    return device


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if value is None:
        refuse(Reason.MISSING_FIELD, f"{name}: absent; a text is required")
    if type(value) is not str:
        refuse(Reason.WRONG_TYPE, f"{name}: {shown(value)} came; a text is required")
    return value


def _natural(message: Mapping[str, Any], name: str, default: int | None) -> int:
    value = message.get(name)
    if value is None:
        if default is None:
            refuse(Reason.MISSING_FIELD, f"{name}: absent; a whole number from 0 is required")
        return default
    if type(value) is not int:
        refuse(Reason.WRONG_TYPE, f"{name}: {shown(value)} came; a whole number is required")
    if not 0 <= value <= MAX_INTEGER:
        refuse(Reason.OUT_OF_RANGE, f"{name}: {shown(value)} came; 0 to {MAX_INTEGER} is allowed")
    return value


def _time(message: Mapping[str, Any], name: str) -> tuple[int, int]:
    text = _text(message, name)
    try:
        return parse_instant(text)
    except BadTimeError as error:
        why = str(error) if len(text) <= MAX_TIME_CHARS else f"{shown(text)} is no RFC 3339 text"
        refuse(Reason.BAD_TIME, f"{name}: {why}")


def _line_received_at(message: Mapping[str, Any]) -> int:
    name = "measured_at" if message.get("received_at") is None else "received_at"
    received_at_ms = _time(message, name)[0]
    _check_calendar(name, received_at_ms)
    return received_at_ms


def _check_calendar(name: str, instant_ms: int) -> None:
    if not EARLIEST_MS <= instant_ms < LATEST_MS:
        refuse(Reason.BAD_TIME, f"{name}: before 1970 or after 2199, which no device's clock says")


def _refuse_ahead(name: str, instant_ms: int, received_at_ms: int) -> None:
    minutes = (instant_ms - received_at_ms) // 60_000
    refuse(
        Reason.CLOCK_AHEAD,
        f"{name}: {format_instant(instant_ms)} is {minutes} minutes after {format_instant(received_at_ms)}, when"
        f" it was received; at most {MAX_AHEAD_MS // 60_000} minutes ahead are allowed: set the device's clock",
    )


def _flags(flags: object) -> tuple[str, ...]:
    """Sorted and without repetition, so that equal content is equal."""
    if not flags and (flags is None or type(flags) is list):
        return ()
    if type(flags) is not list:
        refuse(Reason.WRONG_TYPE, f"flags: {shown(flags)} came; an array of texts is required")
    for flag in flags:
        if type(flag) is not str:
            refuse(Reason.WRONG_TYPE, f"flags: {shown(flag)} came; an array of texts is required")
        if flag not in FLAGS:
            refuse(
                Reason.UNKNOWN_FLAG, f"flags: {shown(flag)} came; one of {' '.join(sorted(FLAGS))} is allowed"
            )
    return tuple(sorted(set(flags)))


def _context(context: object) -> dict[str, str]:
    """In the catalogue's order; null words are absent."""
    if context is None:
        return {}
    if type(context) is not dict:
        refuse(Reason.WRONG_TYPE, f"context: {shown(context)} came; an object is required")
    for key, word in context.items():
        words = CONTEXT.get(key)
        if words is None:
            refuse(Reason.UNKNOWN_CONTEXT, f"context.{named(key)}: one of {' '.join(CONTEXT)} is allowed")
        if word is not None and type(word) is not str:
            refuse(Reason.WRONG_TYPE, f"context.{key}: {shown(word)} came; a text is required")
        if word is not None and word not in words:
            refuse(
                Reason.UNKNOWN_CONTEXT,
                f"context.{key}: {shown(word)} came; one of {' '.join(words)} is allowed",
            )
    return {key: context[key] for key in CONTEXT if context.get(key) is not None}
