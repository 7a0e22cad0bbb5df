from __future__ import annotations

import pytest

from devices.catalogue import CONTEXT, KINDS, Number, Series

# The contract's table, written out again so that neither changes alone.
UNITS = {
    "body-weight": ("kg", "[lb_av]"),
    "blood-pressure": ("mm[Hg]", "kPa"),
    "glucose": ("mg/dL", "mmol/L", "g/L"),
    "heart-rate": ("/min",),
    "rr-intervals": ("ms",),
    "ecg": ("mV",),
    "oxygen-saturation": ("%",),
    "temperature": ("Cel", "[degF]"),
    "respiratory-rate": ("/min",),
    "inr": ("{INR}",),
    "ketones": ("mmol/L",),
    "symptoms": (),
    "implant-report": ("%",),
}

# Clinical reference 8.1: value, low, high, MDC.
PLAUSIBLE = [
    ("blood-pressure", "systolic", 50, 280, 150021),
    ("blood-pressure", "diastolic", 30, 180, 150022),
    ("blood-pressure", "mean", 35, 220, 150023),
    ("heart-rate", "heart_rate", 20, 300, 147842),
    ("body-weight", "weight", 22.7, 340.2, 188736),
    ("oxygen-saturation", "spo2", 50, 100, 150456),
    ("temperature", "temperature", 30, 45, 150364),
    ("respiratory-rate", "respiratory_rate", 3, 70, 151562),
    ("glucose", "glucose", 10, 1000, 160184),
    ("inr", "inr", 0.5, 15, 160260),
]


def test_every_kind_of_the_contract_is_there_with_its_units():
    assert {name: kind.units for name, kind in KINDS.items()} == UNITS


@pytest.mark.parametrize(("kind", "value", "low", "high", "mdc"), PLAUSIBLE)
def test_ranges_and_codes_are_the_references(kind, value, low, high, mdc):
    spec = KINDS[kind].values[value]
    assert isinstance(spec, Number)
    assert (spec.low, spec.high, spec.mdc) == (low, high, mdc)
    assert spec.loinc


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_is_consistent_in_itself(kind):
    assert set(kind.conversions) == set(kind.units[1:])
    assert set(kind.context) <= set(CONTEXT)
    assert kind.meaning
    for spec in kind.values.values():
        assert spec.meaning
        if isinstance(spec, Number | Series):
            assert spec.low < spec.high
        if isinstance(spec, Number) and spec.converted:
            assert spec.ucum == kind.unit
        if isinstance(spec, Number) and spec.narrower:
            assert spec.narrower[1] in CONTEXT[spec.narrower[0]]


def test_interstitial_glucose_has_the_sensors_range():
    spec = KINDS["glucose"].values["glucose"]
    assert isinstance(spec, Number)
    assert spec.narrower == ("sample", "interstitial", 39, 500)
