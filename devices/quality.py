"""Artefact gates: what makes a plausible reading unfit to decide about a patient.

A reading that fails a gate is accepted and stored with the gate's name in `Reading.marks`; it may raise a
technical alert, never a clinical one. Sources: clinical reference section 2 (the gate for blood
pressure), 8.2 (status bits, control solution) and the contract, which wins where they differ: a
diastolic above the systolic is stored with its mark, not refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

ARTEFACT_FLAGS: Final = frozenset(
    {
        # The cuff's status bits must be clear (reference section 2), the pulse's range among them.
        "movement",
        "cuff-loose",
        "wrong-position",
        "pulse-out-of-range",
        # No skin, no blood, no patient, or no dependable sensor behind the number.
        "contact-lost",
        "control-solution",
        "strip-fault",
        "sample-insufficient",
        "temperature-out-of-range",
        "device-fault",
        "sensor-warmup",
        "test",
    }
)
"""Flags that are marks. The others are not: `irregular-pulse` is kept (the pressure is less certain, the
finding is real), `low-battery`, `clock-unset` and `manual` say nothing against the number."""

_ANSWERS: Final = frozenset({"symptoms", "implant-report"})
"""Kinds without a sensor of ours: a fault of the tablet or gateway does not unsay "chest pain", and an
implant that reports a broken lead is the alert itself. Only `test` marks them."""

DIASTOLIC_NOT_BELOW: Final = "diastolic-not-below-systolic"
PULSE_PRESSURE: Final = "pulse-pressure"
MEAN_OUTSIDE: Final = "mean-outside"
MEAN_UNLIKELY: Final = "mean-unlikely"
PULSE_UNLIKELY: Final = "pulse-unlikely"
SIGNAL_QUESTIONABLE: Final = "signal-questionable"  # set by the Bluetooth oximeters' status bits
BEYOND_METER: Final = "beyond-meter"  # set by the glucose meter's "too high / too low to process"

PULSE_PRESSURE_MMHG: Final = (15.0, 120.0)
MEAN_TOLERANCE_MMHG: Final = 15.0  # around diastolic + a third of the pulse pressure
CUFF_PULSE_PER_MIN: Final = (25.0, 250.0)


def gates(
    kind: str, values: Mapping[str, Any], flags: Iterable[str], context: Mapping[str, str]
) -> tuple[str, ...]:
    """Names of the gates that a reading (canonical units) fails, sorted; empty when it passes all.

    `context` is taken for gates that depend on it; none of today's does.
    """
    marks: set[str] = set()
    if flags:
        marks.update(ARTEFACT_FLAGS.intersection(flags))
        if kind in _ANSWERS:
            marks &= {"test"}
    if kind == "blood-pressure":
        marks.update(_blood_pressure(values))
    return tuple(sorted(marks)) if marks else ()


def _blood_pressure(values: Mapping[str, Any]) -> list[str]:
    systolic, diastolic = values["systolic"], values["diastolic"]
    failed = []
    pulse_pressure = systolic - diastolic
    if pulse_pressure <= 0:
        failed.append(DIASTOLIC_NOT_BELOW)
    elif not PULSE_PRESSURE_MMHG[0] <= pulse_pressure <= PULSE_PRESSURE_MMHG[1]:
        failed.append(PULSE_PRESSURE)
    mean = values.get("mean")
    if mean is not None:
        if not diastolic <= mean <= systolic:
            failed.append(MEAN_OUTSIDE)
        elif abs(mean - (diastolic + pulse_pressure / 3)) > MEAN_TOLERANCE_MMHG:
            failed.append(MEAN_UNLIKELY)
    pulse = values.get("pulse")
    if pulse is not None and not CUFF_PULSE_PER_MIN[0] <= pulse <= CUFF_PULSE_PER_MIN[1]:
        failed.append(PULSE_UNLIKELY)
    return failed
