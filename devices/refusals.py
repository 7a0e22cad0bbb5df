"""Why a reading is refused: a closed set of machine-readable reasons, and the errors that carry them.

A reason never changes its meaning: firmware, dashboards and the quarantine's replay compare the text.
A new reason may be added; `REASONS` is the list that documentation and metrics are made from.
"""

from __future__ import annotations

from typing import Final, NoReturn

from devices.readings import Refusal


class Reason:
    """The machine-readable reasons. Plain strings, so that they are the same in JSON, SQL and metrics."""

    NOT_JSON: Final = "not-json"
    TOO_LARGE: Final = "too-large"
    TOO_MANY: Final = "too-many"
    TOO_DEEP: Final = "too-deep"
    DUPLICATE_KEY: Final = "duplicate-key"
    WRONG_TYPE: Final = "wrong-type"
    MISSING_FIELD: Final = "missing-field"
    UNKNOWN_VERSION: Final = "unknown-version"
    BAD_DEVICE: Final = "bad-device"
    DEVICE_MISMATCH: Final = "device-mismatch"
    UNKNOWN_KIND: Final = "unknown-kind"
    UNKNOWN_UNIT: Final = "unknown-unit"
    UNKNOWN_VALUE: Final = "unknown-value"
    UNKNOWN_FLAG: Final = "unknown-flag"
    UNKNOWN_CONTEXT: Final = "unknown-context"
    BAD_VALUE: Final = "bad-value"
    OUT_OF_RANGE: Final = "out-of-range"
    BAD_TIME: Final = "bad-time"
    CLOCK_AHEAD: Final = "clock-ahead"
    UNKNOWN_CHARACTERISTIC: Final = "unknown-characteristic"
    BAD_GATT: Final = "bad-gatt"
    NO_VALUE: Final = "no-value"
    OTHER_USER: Final = "other-user"
    DEMONSTRATION: Final = "demonstration"
    UNKNOWN_DEVICE: Final = "unknown-device"
    NOT_ASSIGNED: Final = "not-assigned"
    RATE_LIMITED: Final = "rate-limited"


REASONS: Final[dict[str, str]] = {
    Reason.NOT_JSON: "the payload, or this element of the array, is not JSON in UTF-8",
    Reason.TOO_LARGE: "the payload is longer than is allowed",
    Reason.TOO_MANY: "the array holds more readings than is allowed",
    Reason.TOO_DEEP: "arrays and objects are nested deeper than any reading needs",
    Reason.DUPLICATE_KEY: "one object names the same field twice",
    Reason.WRONG_TYPE: "a field has another type than the contract's",
    Reason.MISSING_FIELD: "a required field is absent",
    Reason.UNKNOWN_VERSION: "`v` is a version of the message that this platform does not read",
    Reason.BAD_DEVICE: "`device` is no serial: 1 to 64 of A-Z a-z 0-9 . _ -",
    Reason.DEVICE_MISMATCH: "`device` is another than the one that published",
    Reason.UNKNOWN_KIND: "`kind` is none of the catalogue's",
    Reason.UNKNOWN_UNIT: "`unit` is none of the kind's",
    Reason.UNKNOWN_VALUE: "`values` names something that the kind does not have",
    Reason.UNKNOWN_FLAG: "`flags` holds a word that is not in the contract's list",
    Reason.UNKNOWN_CONTEXT: "`context` holds a key or a word that is not in the contract's list",
    Reason.BAD_VALUE: "a value is none of the allowed words, or not the encoding it should be",
    Reason.OUT_OF_RANGE: "a number is outside what can be",
    Reason.BAD_TIME: "a time is not RFC 3339 with an offset, or no date that a device can have",
    Reason.CLOCK_AHEAD: "the device's clock is more than 10 minutes ahead",
    Reason.UNKNOWN_CHARACTERISTIC: "`gatt` names a characteristic that is not read",
    Reason.BAD_GATT: "the Bluetooth payload is truncated or damaged",
    Reason.NO_VALUE: "the device reports that it could not measure",
    Reason.OTHER_USER: "the device says that another person than its first user was measured",
    Reason.DEMONSTRATION: "the device says that this is demonstration, test or calibration data",
    Reason.UNKNOWN_DEVICE: "no such device is enrolled",
    Reason.NOT_ASSIGNED: "the device was not assigned to a patient at that time",
    Reason.RATE_LIMITED: "an example of what a flooding device sent; no receipt names it, and the device keeps it",
}


class Problem(Exception):  # noqa: N818 - becomes a Refusal, which is data and no error
    """Raised inside decoding by whatever finds the fault; `decode` turns it into a Refusal.

    No ValueError, so that no `except ValueError` around a parser can swallow it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class RefusedError(ValueError):
    """Raised by `decode.decode_line` for a line that is no acceptable reading; `.refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.reason}: {refusal.detail}")
        self.refusal = refusal


def refuse(reason: str, detail: str) -> NoReturn:
    raise Problem(reason, detail)


_SHOWN_CHARS = 60  # enough to recognise what came; a detail must stay one line in a log and a receipt
_SHOWN_BITS = 256  # Python refuses to print very long integers; nobody reads 80 digits anyway


def shown(value: object) -> str:
    """What came, short enough for a sentence."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


_NAME_CHARS = 40  # longer than any name of the contract


def named(key: str) -> str:
    """A field's name that came, for a sentence: as it is where that can be printed, else with escapes."""
    text = key[:_NAME_CHARS]
    return text if text.isprintable() else repr(text)
