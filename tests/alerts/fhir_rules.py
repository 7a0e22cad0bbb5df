"""What makes a resource right: two maintained model libraries, and the rules of HL7's vital-signs profiles.

`fhirclient` is R4 (4.0.1) itself: names, types and cardinalities. `fhir.resources` has R4B, which says the same of
these resources, and checks more: patterns of primitives, choices, required codes. Neither knows profiles, so the
invariants of the vital-signs profiles (hl7.org/fhir/R4/observation-vitalsigns.html) are written out here.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from fhirclient.models import fhirelementfactory

Json = dict[str, Any]
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
PROFILES = "http://hl7.org/fhir/StructureDefinition/"
# Profile to the LOINC code that it requires, and the units of UCUM that it allows.
VITAL_SIGNS: dict[str, tuple[str, set[str]]] = {
    "bodyweight": ("29463-7", {"kg", "g", "[lb_av]"}),
    "bp": ("85354-9", set()),
    "heartrate": ("8867-4", {"/min"}),
    "oxygensat": ("2708-6", {"%"}),
    "bodytemp": ("8310-5", {"Cel", "[degF]"}),
    "resprate": ("9279-1", {"/min"}),
}
PRESSURES = {"8480-6", "8462-4"}
DAY_OR_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?")


def validated(resource: Json) -> Json:
    """The resource itself, after every rule. Raises what the libraries raise, or AssertionError."""
    text = json.dumps(resource)
    get_fhir_model_class(resource["resourceType"]).model_validate_json(text)
    fhirelementfactory.FHIRElementFactory.instantiate(resource["resourceType"], json.loads(text))
    without_empty(resource)
    if resource["resourceType"] == "Observation":
        observation_rules(resource)
    for entry in resource.get("entry", []):
        validated(entry["resource"])
        assert entry["fullUrl"].endswith(f"/{entry['resource']['resourceType']}/{entry['resource']['id']}")
    return resource


def without_empty(value: Any) -> None:
    """ele-1: every element has a value or children; no array is empty."""
    assert value not in ({}, [], "", None)
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        without_empty(below)


def value_of(element: Json) -> Any:
    found = [name for name in element if name.startswith("value")]
    assert len(found) <= 1
    return element[found[0]] if found else None


def codes(concept: Json, system: str = LOINC) -> set[str]:
    return {coding["code"] for coding in concept.get("coding", []) if coding["system"] == system}


def observation_rules(it: Json) -> None:
    assert not (value_of(it) is not None and "dataAbsentReason" in it)  # obs-6
    inside = [codes(component["code"]) for component in it.get("component", [])]
    assert value_of(it) is None or codes(it["code"]) not in inside or not codes(it["code"])  # obs-7
    (category,) = it["category"]
    if "vital-signs" in {coding["code"] for coding in category["coding"]}:
        vital_sign_rules(it)
    else:
        assert "profile" not in it["meta"]


def profile_of(it: Json) -> str:
    """The profile that a vital sign names; where it names that of all vital signs or none, as HL7's examples do, the
    one that its code asks for."""
    named = {name.removeprefix(PROFILES) for name in it.get("meta", {}).get("profile", [])} - {"vitalsigns"}
    by_code = {name for name, (code, _) in VITAL_SIGNS.items() if code in codes(it["code"])}
    (profile,) = named or by_code
    return profile


def vital_sign_rules(it: Json) -> None:
    profile = profile_of(it)
    code, units = VITAL_SIGNS[profile]
    assert code in codes(it["code"])
    assert DAY_OR_INSTANT.fullmatch(it["effectiveDateTime"])  # vs-1: at least the day; a time has its zone
    if "component" not in it:
        assert (value_of(it) is None) == ("dataAbsentReason" in it)  # vs-2
    for component in it.get("component", []):
        assert (value_of(component) is None) == ("dataAbsentReason" in component)  # vs-3
    for quantity in filter(None, [it.get("valueQuantity")]):
        assert quantity["system"] == UCUM
        assert quantity["code"] in units
        assert quantity["unit"]
    if profile == "bp":
        assert "valueQuantity" not in it
        found = {code: c for c in it["component"] for code in codes(c["code"])}
        assert set(found) >= PRESSURES
        for quantity in (found[code].get("valueQuantity") for code in PRESSURES):
            assert quantity is None or (quantity["code"], quantity["system"]) == ("mm[Hg]", UCUM)
