"""The values of a reading: checked against the catalogue and converted to canonical units, once, here.

What comes out holds the catalogue's names in the catalogue's order: numbers as floats, whole numbers as
ints, arrays as lists of floats; an optional value that is null is absent. ECG counts stay base64 (a strip
of 30 s is 29 kB so, and four times that as JSON floats); `ecg_samples` gives the millivolts.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from devices.catalogue import (
    KINDS,
    RR_USABLE_MS,
    Conversion,
    Kind,
    Number,
    Samples16,
    Series,
    Spec,
    Truth,
    Word,
)
from devices.payload import MAX_INTEGER
from devices.refusals import Reason, named, refuse, shown

_NUMERIC: Final = frozenset({int, float})


def kind_of(name: object) -> Kind:
    """The catalogue's entry. Raises Problem."""
    if name is None:
        refuse(Reason.MISSING_FIELD, f"kind: absent; one of {' '.join(KINDS)} is required")
    if type(name) is not str:
        refuse(Reason.WRONG_TYPE, f"kind: {shown(name)} came; a text is required")
    kind = KINDS.get(name)
    if kind is None:
        refuse(Reason.UNKNOWN_KIND, f"kind: {shown(name)} came; one of {' '.join(KINDS)} is allowed")
    return kind


def canonical(kind: Kind, values: object, unit: object, context: Mapping[str, str]) -> dict[str, Any]:
    """`values` of a message in canonical units and order. Raises Problem naming the field."""
    if values is None:
        refuse(Reason.MISSING_FIELD, f"values: absent; an object with {_names(kind)} is required")
    if type(values) is not dict:
        refuse(Reason.WRONG_TYPE, f"values: {shown(values)} came; an object is required")
    conversion = None if unit is None or unit == kind.unit else _conversion(kind, unit)
    checked: dict[str, Any] = {}
    known = 0
    for name, spec in kind.values.items():
        value = values.get(name)
        if value is not None:
            known += 1
            if type(spec) is Number:
                checked[name] = _number(name, value, spec, conversion, context)
            else:
                checked[name] = _other(name, value, spec)
        elif not spec.optional:
            refuse(Reason.MISSING_FIELD, f"values.{name}: absent; a {kind.name} reading requires it")
    if known != len(values):
        _refuse_unknown(kind, values)
    if not checked:
        refuse(Reason.MISSING_FIELD, f"values: empty; at least one of {_names(kind)} is required")
    if kind.name == "ecg":
        _check_samples(checked)
    return checked


def _names(kind: Kind) -> str:
    return " ".join(kind.values)


def _refuse_unknown(kind: Kind, values: dict[str, Any]) -> None:
    for name in values:
        if name not in kind.values:
            refuse(
                Reason.UNKNOWN_VALUE, f"values.{named(name)}: a {kind.name} reading has only {_names(kind)}"
            )


def _conversion(kind: Kind, unit: object) -> Conversion:
    if type(unit) is not str:
        refuse(Reason.WRONG_TYPE, f"unit: {shown(unit)} came; a UCUM text is required")
    conversion = kind.conversions.get(unit)
    if conversion is None:
        allowed = " or ".join(kind.units) if kind.units else "no unit"
        refuse(Reason.UNKNOWN_UNIT, f"unit: {shown(unit)} came; {allowed} is allowed for {kind.name}")
    return conversion


def _number(
    name: str, value: Any, spec: Number, conversion: Conversion | None, context: Mapping[str, str]
) -> float:
    kind = type(value)
    if kind is not float and kind is not int:
        refuse(Reason.WRONG_TYPE, f"values.{name}: {shown(value)} came; a number is required")
    if kind is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
        refuse(
            Reason.OUT_OF_RANGE, f"values.{name}: {shown(value)} came; {_range(spec.low, spec.high, spec)}"
        )
    low, high, slack = spec.low, spec.high, 0.0
    if spec.narrower is not None and context.get(spec.narrower[0]) == spec.narrower[1]:
        low, high = spec.narrower[2:]
    if conversion is not None and spec.converted:
        number = conversion.canonical(value)
        slack = conversion.slack
    else:
        number = float(value)
    if not low - slack <= number <= high + slack:
        came = shown(value) if number == value else f"{shown(value)} (that is {number:.6g} {spec.ucum})"
        refuse(Reason.OUT_OF_RANGE, f"values.{name}: {came} came; {_range(low, high, spec)}")
    if spec.whole:
        if not number.is_integer():
            refuse(Reason.WRONG_TYPE, f"values.{name}: {shown(value)} came; a whole number is required")
        return int(number)
    return number + 0.0  # no negative zero: it would be other content than zero


def _range(low: float, high: float, spec: Number | Series) -> str:
    unit = "" if spec.ucum.startswith("{") else f" {spec.ucum}"
    return f"{low:g} to {high:g}{unit} is allowed"


def _other(name: str, value: Any, spec: Spec) -> Any:
    if type(spec) is Truth:
        if type(value) is not bool:
            refuse(Reason.WRONG_TYPE, f"values.{name}: {shown(value)} came; true or false is required")
        return value
    if type(spec) is Series:
        return _series(name, value, spec)
    if type(value) is not str:
        refuse(Reason.WRONG_TYPE, f"values.{name}: {shown(value)} came; a text is required")
    if type(spec) is Word:
        if value not in spec.words:
            refuse(
                Reason.BAD_VALUE,
                f"values.{name}: {shown(value)} came; one of {' '.join(spec.words)} is allowed",
            )
    elif type(spec) is Samples16:
        _check_counts(name, value, spec)
    return value


def _series(name: str, value: Any, spec: Series) -> list[float]:
    if type(value) is not list:
        refuse(Reason.WRONG_TYPE, f"values.{name}: {shown(value)} came; an array of numbers is required")
    if not 1 <= len(value) <= spec.most:
        refuse(Reason.OUT_OF_RANGE, f"values.{name}: {len(value)} numbers came; 1 to {spec.most} are allowed")
    if not set(map(type, value)) <= _NUMERIC:
        at = next(i for i, item in enumerate(value) if type(item) not in _NUMERIC)
        refuse(Reason.WRONG_TYPE, f"values.{name}[{at}]: {shown(value[at])} came; a number is required")
    if min(value) < spec.low or max(value) > spec.high:
        at = next(i for i, item in enumerate(value) if not spec.low <= item <= spec.high)
        refuse(
            Reason.OUT_OF_RANGE,
            f"values.{name}[{at}]: {shown(value[at])} came; {_range(spec.low, spec.high, spec)}",
        )
    return list(map(float, value))


def _check_counts(name: str, value: str, spec: Samples16) -> None:
    try:
        counts = binascii.a2b_base64(value, strict_mode=True)
    except ValueError as error:
        refuse(Reason.BAD_VALUE, f"values.{name}: no base64 ({error}); base64 of 16-bit counts is required")
    if len(counts) % 2:
        refuse(Reason.BAD_VALUE, f"values.{name}: {len(counts)} bytes came; two for each sample are required")
    if not 1 <= len(counts) // 2 <= spec.most:
        refuse(
            Reason.OUT_OF_RANGE,
            f"values.{name}: {len(counts) // 2} samples came; 1 to {spec.most} are allowed",
        )


def _check_samples(values: Mapping[str, Any]) -> None:
    if ("samples" in values) == ("samples_i16" in values):
        reason = Reason.BAD_VALUE if "samples" in values else Reason.MISSING_FIELD
        refuse(reason, "values.samples: either samples (mV) or samples_i16 with gain is required")
    if "samples_i16" in values and "gain" not in values:
        refuse(Reason.MISSING_FIELD, "values.gain: absent; samples_i16 requires it (counts per mV)")


def ecg_samples(values: Mapping[str, Any]) -> NDArray[np.float64]:
    """The samples of an accepted `ecg` reading in mV, shape (n,), `values["fs"]` a second."""
    if "samples" in values:
        return np.asarray(values["samples"], dtype=np.float64)
    counts = np.frombuffer(binascii.a2b_base64(values["samples_i16"]), dtype="<i2")
    return counts / float(values["gain"])


def usable_intervals(values: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which intervals of an accepted `rr-intervals` reading may count, shape (n,).

    The others stay in the array, because the instants of the beats are its running sum; the statistics
    mask them (contract section 1).
    """
    intervals = np.asarray(values["rr"], dtype=np.float64)
    return (intervals >= RR_USABLE_MS[0]) & (intervals <= RR_USABLE_MS[1])
