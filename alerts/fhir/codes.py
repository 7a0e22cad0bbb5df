"""Code systems, and what each kind of the catalogue is called in FHIR.

Codes are the catalogue's (devices/catalogue.py); here stands only what FHIR adds: categories, profiles, LOINC's
names where HL7's table of vital signs gives them, and SCAD's own code systems.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from devices.catalogue import KINDS, Kind, Number, Series, Spec

LOINC: Final = "http://loinc.org"
MDC: Final = "urn:iso:std:iso:11073:10101"
UCUM: Final = "http://unitsofmeasure.org"
CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
OBSERVATION_VALUE: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
PARTICIPANT: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
PROFILE: Final = "http://hl7.org/fhir/StructureDefinition"

# Names of SCAD's own systems and extensions. example.org can belong to nobody (RFC 2606): a name, not an address.
OWN: Final = "https://scad.example.org/fhir"


def system(name: str) -> str:
    """One of SCAD's own code systems, such as `kind` or `rule`."""
    return f"{OWN}/CodeSystem/{name}"


def identifier_system(name: str) -> str:
    """The system of an identifier that SCAD gives, such as `reading` or `alert`."""
    return f"{OWN}/identifier/{name}"


def extension(name: str, **value: Any) -> dict[str, Any]:
    """One of SCAD's extensions: extension("flag", valueCode="movement")."""
    return {"url": f"{OWN}/StructureDefinition/{name}", **value}


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind as an Observation: its category, HL7's vital-signs profile, and which value is Observation.value."""

    category: str
    profile: str | None = None
    main: str | None = None


# The six kinds for which R4 has a vital-signs profile. Glucose, ketones and INR are measurements of blood.
SHAPES: Final[dict[str, Shape]] = {
    "body-weight": Shape("vital-signs", "bodyweight", "weight"),
    "blood-pressure": Shape("vital-signs", "bp"),
    "heart-rate": Shape("vital-signs", "heartrate", "heart_rate"),
    "oxygen-saturation": Shape("vital-signs", "oxygensat", "spo2"),
    "temperature": Shape("vital-signs", "bodytemp", "temperature"),
    "respiratory-rate": Shape("vital-signs", "resprate", "respiratory_rate"),
    "glucose": Shape("laboratory", main="glucose"),
    "ketones": Shape("laboratory", main="ketones"),
    "inr": Shape("laboratory", main="inr"),
    "ecg": Shape("procedure"),
    "rr-intervals": Shape("procedure"),
    "symptoms": Shape("survey"),
    "implant-report": Shape("procedure", main="event"),
}
UNKNOWN: Final = Shape("exam")
"""A kind that a later release stored and this one does not know."""

NAMES: Final = {
    "29463-7": "Body weight",
    "85354-9": "Blood pressure panel with all children optional",
    "8480-6": "Systolic blood pressure",
    "8462-4": "Diastolic blood pressure",
    "8478-0": "Mean blood pressure",
    "8867-4": "Heart rate",
    "2708-6": "Oxygen saturation in Arterial blood",
    "59408-5": "Oxygen saturation in Arterial blood by Pulse oximetry",
    "8310-5": "Body temperature",
    "9279-1": "Respiratory rate",
}

# What a glucose is called depends on what was measured; the IEEE code of the catalogue is capillary whole blood.
GLUCOSE_LOINC: Final = {"capillary": "41653-7", "interstitial": "99504-3"}
GLUCOSE_ANY: Final = "2339-0"
SAMPLES: Final = ("capillary", "interstitial", "")


def coding(system: str, code: str, display: str | None = None) -> dict[str, str]:
    return {"system": system, "code": code, **({"display": display} if display else {})}


def concept(text: str, *codings: dict[str, str]) -> dict[str, Any]:
    return {**({"coding": list(codings)} if codings else {}), "text": text}


def _codings(loinc: tuple[str, ...], mdc: int | None) -> list[dict[str, str]]:
    found = [coding(LOINC, code, NAMES.get(code)) for code in loinc]
    return found + ([coding(MDC, str(mdc))] if mdc is not None else [])


def codings_of(kind: str, sample: str = "") -> list[dict[str, str]]:
    """Observation.code.coding of a kind: LOINC, IEEE 11073, then SCAD's own name, always.

    `sample` is the context's word for glucose.
    """
    known = KINDS.get(kind)
    if known is None:
        return [coding(system("kind"), kind)]
    loinc, mdc = known.loinc, known.mdc
    if kind == "glucose":
        loinc, mdc = (GLUCOSE_LOINC.get(sample, GLUCOSE_ANY),), mdc if sample == "capillary" else None
    elif kind == "inr":
        loinc = loinc[:1]  # whole blood: home tests are meters, the second code is a laboratory's plasma
    return [*_codings(loinc, mdc), coding(system("kind"), kind)]


def value_codings(name: str, spec: Spec | None) -> list[dict[str, str]]:
    """Component.code.coding of one value of a kind."""
    loinc = (spec.loinc,) if isinstance(spec, Number) and spec.loinc else ()
    mdc = spec.mdc if isinstance(spec, Number | Series) else None
    return [*_codings(loinc, mdc), coding(system("value"), name)]


def components_of(kind: Kind) -> Iterator[tuple[str, Spec]]:
    """The values of a kind that are components: all but the main one and what a strip is made of."""
    main = SHAPES.get(kind.name, UNKNOWN).main
    for name, spec in kind.values.items():
        if name != main and kind.name not in ("ecg", "rr-intervals"):
            yield name, spec


def _matches(token: str, found: dict[str, str]) -> bool:
    """FHIR's tokens: `code`, `system|code`, `system|` (any code of it), `|code` (no system: none here)."""
    wanted, bar, code = token.rpartition("|")
    if not bar:
        return found["code"] == code
    return found["system"] == wanted and code in ("", found["code"])


def kinds_with(tokens: list[str], *, components: bool) -> set[tuple[str, str]]:
    """(kind, sample) whose code is one of the tokens; with `components` also those with such a component.

    `sample` is "" for every kind but glucose.
    """
    found = set()
    for name, kind in KINDS.items():
        inside = [c for value, spec in components_of(kind) for c in value_codings(value, spec)]
        for sample in SAMPLES if name == "glucose" else ("",):
            codings = codings_of(name, sample) + (inside if components else [])
            if any(_matches(token, c) for token in tokens for c in codings):
                found.add((name, sample))
    return found


def kinds_in(tokens: list[str]) -> set[tuple[str, str]]:
    """(kind, sample) of the categories that the tokens name."""
    return {
        (name, sample)
        for name in KINDS
        for sample in (SAMPLES if name == "glucose" else ("",))
        if any(_matches(token, coding(CATEGORY, SHAPES[name].category)) for token in tokens)
    }
