"""Fields that the characteristics share: IEEE 11073 floats, dates, and a reader that never overruns."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec


class BadGattError(ValueError):
    """A payload whose bytes cannot be what its flags say. The text names the field."""


class MedicalFloat(msgspec.Struct, frozen=True):
    """An IEEE 11073-20601 SFLOAT or FLOAT.

    `value` is None for a special value, and then `absent` is the FHIR dataAbsentReason. `decimals` is the
    precision that the device wrote (2.00 has two).
    """

    value: float | None
    decimals: int = 0
    absent: str | None = None


# Meaning of the mantissas around the middle, at exponent 0 (ISO/IEEE 11073-20601; reference 8.2).
_SPECIALS: Final = ("positive-infinity", "not-a-number", "error", "error", "negative-infinity")


def sfloat(raw: int) -> MedicalFloat:
    """16 bits: signed exponent of 4, signed mantissa of 12. 0xF014 is 2.0, 0x0B2E is -1234."""
    return _medical_float(raw, 12, 4)


def medfloat(raw: int) -> MedicalFloat:
    """32 bits: signed exponent of 8, signed mantissa of 24."""
    return _medical_float(raw, 24, 8)


def _medical_float(raw: int, mantissa_bits: int, exponent_bits: int) -> MedicalFloat:
    first_special = (1 << (mantissa_bits - 1)) - 2
    if first_special <= raw < first_special + len(_SPECIALS):
        return MedicalFloat(None, absent=_SPECIALS[raw - first_special])
    mantissa = signed(raw & ((1 << mantissa_bits) - 1), mantissa_bits)
    exponent = signed(raw >> mantissa_bits, exponent_bits)
    if exponent >= 0:
        return MedicalFloat(float(mantissa * 10**exponent))
    return MedicalFloat(mantissa / 10**-exponent, decimals=-exponent)


def signed(raw: int, bits: int) -> int:
    """Two's complement of `bits` bits."""
    return raw - (1 << bits) if raw >> (bits - 1) else raw


class DateTime(msgspec.Struct, frozen=True):
    """The seven bytes of org.bluetooth.characteristic.date_time, local time, as they came. Year, month
    and day are 0 where the device does not know them."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int

    def local(self) -> datetime | None:
        """The naive local time; None where a part is unknown or the date cannot be."""
        if not 1970 <= self.year < 2200:  # no health device was set before, and none lives until then
            return None
        try:
            return datetime(self.year, self.month, self.day, self.hour, self.minute, self.second)
        except ValueError:
            return None


class Octets:
    """Reads a payload from its start. Every method raises BadGattError where bytes are missing."""

    __slots__ = ("_at", "_data", "_name")

    def __init__(self, name: str, payload: bytes) -> None:
        self._name = name
        self._data = payload
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    @property
    def at(self) -> int:
        """How many bytes have been read."""
        return self._at

    def uint(self, width: int, field: str) -> int:
        """An unsigned integer of `width` bytes."""
        if self.left < width:
            raise BadGattError(
                f"{self._name}: {field} needs {width} bytes at {self._at}, the payload has {self.left} there"
            )
        raw = int.from_bytes(self._data[self._at : self._at + width], "little")
        self._at += width
        return raw

    def sint(self, width: int, field: str) -> int:
        return signed(self.uint(width, field), 8 * width)

    def sfloat(self, field: str) -> MedicalFloat:
        return sfloat(self.uint(2, field))

    def medfloat(self, field: str) -> MedicalFloat:
        return medfloat(self.uint(4, field))

    def date_time(self, field: str) -> DateTime:
        year = self.uint(2, field)
        month, day, hour, minute, second = (self.uint(1, field) for _ in range(5))
        return DateTime(year, month, day, hour, minute, second)
