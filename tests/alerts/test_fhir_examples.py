"""What HL7's own examples of vital signs code, against what we code, through the same rules.

The examples are those of R4 (hl7.org/fhir/R4, dedicated to the public, CC0). Here stand the facts that they state,
put into resources by us: codes, category, profile, value, UCUM unit and date; not their narrative nor their files.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from fhir_rules import LOINC, PRESSURES, PROFILES, UCUM, VITAL_SIGNS, codes, validated

from alerts.fhir.codes import CATEGORY, MDC
from alerts.fhir.observation import observation

AT = datetime(2026, 11, 22, 6, 31, 5, tzinfo=UTC)
Json = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """`codings` and those of `parts`: (system, code, display); `parts` are a pressure's components."""

    name: str
    kind: str
    effective: str
    codings: tuple[tuple[str, str, str], ...]
    quantity: tuple[float, str] | None = None
    parts: tuple[tuple[tuple[str, str, str], float, str], ...] = ()
    profile: str | None = "vitalsigns"
    ours: str = ""
    """The value of our kind that the quantity is."""

    def resource(self) -> Json:
        found: Json = {
            "resourceType": "Observation",
            "id": self.name,
            "status": "final",
            "category": [{"coding": [{"system": CATEGORY, "code": "vital-signs", "display": "Vital Signs"}]}],
            "code": {"coding": [_coding(*each) for each in self.codings]},
            "subject": {"reference": "Patient/example"},
            "effectiveDateTime": self.effective,
        }
        if self.profile is not None:
            found["meta"] = {"profile": [PROFILES + self.profile]}
        if self.quantity is not None:
            found["valueQuantity"] = _quantity(*self.quantity)
        if self.parts:
            found["component"] = [
                {"code": {"coding": [_coding(*of)]}, "valueQuantity": _quantity(value, unit)}
                for of, value, unit in self.parts
            ]
        return found


def _coding(system: str, code: str, display: str) -> Json:
    return {"system": system, "code": code, "display": display}


def _quantity(value: float, unit: str) -> Json:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


EXAMPLES = [
    Example("heart-rate", "heart-rate", "1999-07-02", ((LOINC, "8867-4", "Heart rate"),), (44, "/min"),
            ours="heart_rate"),
    Example("respiratory-rate", "respiratory-rate", "1999-07-02", ((LOINC, "9279-1", "Respiratory rate"),),
            (26, "/min"), ours="respiratory_rate"),
    Example("body-temperature", "temperature", "1999-07-02", ((LOINC, "8310-5", "Body temperature"),), (36.5, "Cel"),
            ours="temperature"),
    Example("satO2", "oxygen-saturation", "2014-12-05T09:30:10+01:00",
            ((LOINC, "2708-6", "Oxygen saturation in Arterial blood"),
             (LOINC, "59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
             (MDC, "150456", "MDC_PULS_OXIM_SAT_O2")), (95, "%"), ours="spo2"),
    Example("example", "body-weight", "2016-03-28",
            ((LOINC, "29463-7", "Body Weight"), (LOINC, "3141-9", "Body weight Measured")), (185, "[lb_av]"),
            profile=None, ours="weight"),
    Example("blood-pressure", "blood-pressure", "2012-09-17",
            ((LOINC, "85354-9", "Blood pressure panel with all children optional"),),
            parts=(((LOINC, "8480-6", "Systolic blood pressure"), 107, "mm[Hg]"),
                   ((LOINC, "8462-4", "Diastolic blood pressure"), 60, "mm[Hg]"))),
]  # fmt: skip


def made(example: Example) -> Json:
    """Our Observation of the same measurement; a weight in kilograms, which is all that is stored."""
    pressures = dict(zip(("systolic", "diastolic"), (value for _, value, _ in example.parts), strict=False))
    said = {example.ours: example.quantity[0]} if example.quantity is not None else pressures
    row = {
        "patient": "p-1", "device": "sc-1", "epoch": 0, "seq": 41, "digest": b"\x07" * 16, "kind": example.kind,
        "measured_at": AT, "received_at": AT, "stored_at": AT, "flags": [], "marks": [], "context": {},
        "offset_min": 60, "too_late": False, "cut": False, "values": said,
    }  # fmt: skip
    return validated(observation(row))


NOT_OURS = {"3141-9"}
"""A weight that was measured, as opposed to one that was told: the example names it beside, the profile does not."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.name)
def test_hl7s_example_passes_the_rules_that_ours_pass_and_codes_as_we_code(example: Example):
    theirs, ours = validated(example.resource()), made(example)
    for system in (LOINC, MDC):
        assert codes(theirs["code"], system) - NOT_OURS <= codes(ours["code"], system)
    assert codes(theirs["category"][0], CATEGORY) == codes(ours["category"][0], CATEGORY) == {"vital-signs"}
    first = (theirs["code"]["coding"][0], ours["code"]["coding"][0])
    assert len({(each["code"], each["display"].lower()) for each in first}) == 1
    for here, there in zip(*(paired(each) for each in (theirs, ours)), strict=True):
        assert (here["system"], there["system"]) == (UCUM, UCUM)
        if example.kind != "body-weight":
            assert (here["code"], here["value"]) == (there["code"], there["value"])
    # theirs name the profile of all vital signs; ours that of the measurement, which is derived from it
    (profile,) = ours["meta"]["profile"]
    required, units = VITAL_SIGNS[profile.removeprefix(PROFILES)]
    assert required in codes(theirs["code"])
    assert not units or {theirs["valueQuantity"]["code"], ours["valueQuantity"]["code"]} <= units


def paired(it: Json) -> list[Json]:
    """The quantity, or those of systolic and diastolic pressure in the order of their codes."""
    if "valueQuantity" in it:
        return [it["valueQuantity"]]
    found = [(codes(each["code"]) & PRESSURES, each["valueQuantity"]) for each in it["component"]]
    return [quantity for code, quantity in sorted(found, key=lambda each: sorted(each[0])) if code]


def test_every_profile_that_we_name_has_an_example():
    shown = {made(example)["meta"]["profile"][0].removeprefix(PROFILES) for example in EXAMPLES}
    assert shown == set(VITAL_SIGNS)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"effectiveDateTime": "1999-07"},
        {"effectiveDateTime": "1999-07-02T08:00"},
        {"valueQuantity": {"value": 44, "unit": "beats", "system": UCUM, "code": "{beats}"}},
        {"dataAbsentReason": {"text": "there is a value"}},
        {
            "code": {"coding": [{"system": LOINC, "code": "9279-1"}]},
            "meta": {"profile": [PROFILES + "heartrate"]},
        },
        {"category": []},
    ],
)
def test_an_example_that_is_spoilt_is_refused_by_the_same_rules(spoilt: Json):
    with pytest.raises((AssertionError, ValueError)):
        validated({**EXAMPLES[0].resource(), **spoilt})
