"""A stored reading as an Observation."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, Final

import numpy as np

from alerts.fhir.codes import (
    ABSENT,
    CATEGORY,
    OBSERVATION_VALUE,
    PROFILE,
    SHAPES,
    UCUM,
    UNKNOWN,
    Shape,
    coding,
    codings_of,
    concept,
    extension,
    identifier_system,
    system,
    value_codings,
)
from alerts.fhir.ids import logical_id, observation_id
from devices.catalogue import KINDS, Kind, Number, Spec
from devices.times import format_instant, from_datetime

# FHIR's dateTime has offsets up to 14 hours; a device may claim 18.
OFFSET_MAX_MIN: Final = 14 * 60
UNIT_NAMES: Final = {"mm[Hg]": "mmHg", "/min": "/min", "Cel": "°C", "{INR}": "INR", "{score}": "score",
                     "{pillow}": "pillows", "{count}": "times"}  # fmt: skip
STRIP_VALUES: Final = frozenset({"fs", "samples", "samples_i16", "gain", "rr"})

Json = dict[str, Any]


def instant_text(at: datetime, offset_min: int = 0) -> str:
    """An instant as FHIR writes it, with the device's offset where FHIR has it."""
    return format_instant(from_datetime(at), offset_min if abs(offset_min) <= OFFSET_MAX_MIN else 0)


def observation(row: Json) -> Json:
    """One row of alerts.fhir.queries.observations.

    `row["cut"]` says that a long strip was left out: then the resource is tagged as incomplete.
    """
    kind, shape = KINDS.get(row["kind"]), SHAPES.get(row["kind"], UNKNOWN)
    found: Json = {
        "resourceType": "Observation",
        "id": observation_id(row),
        "meta": _meta(row, shape),
        "extension": _extensions(row),
        "identifier": [reading_identifier(row["device"], row["epoch"], row["seq"])],
        "status": "final",
        "category": [{"coding": [coding(CATEGORY, shape.category)]}],
        "code": concept(
            kind.meaning if kind else row["kind"],
            *codings_of(row["kind"], row["context"].get("sample", "")),
        ),
        "subject": {"reference": f"Patient/{logical_id(row['patient'])}"},
        "effectiveDateTime": instant_text(row["measured_at"], row["offset_min"]),
        "issued": instant_text(row["received_at"]),
        "device": {"reference": f"Device/{logical_id(row['device'])}"},
    }
    notes = _notes(row)
    if notes:
        found["note"] = [{"text": text} for text in notes]
    if row["kind"] in ("ecg", "rr-intervals"):
        found |= _strip(row)
    else:
        found |= _values(row, kind, shape)
    return {name: value for name, value in found.items() if value != []}


def reading_identifier(device: str, epoch: int, seq: int) -> Json:
    """The reading's name in SCAD: serial, epoch and sequence number."""
    return {"system": identifier_system("reading"), "value": f"{device}/{epoch}/{seq}"}


def _meta(row: Json, shape: Shape) -> Json:
    meta: Json = {"lastUpdated": instant_text(row["stored_at"])}
    if shape.profile is not None:
        meta["profile"] = [f"{PROFILE}/{shape.profile}"]
    if row["cut"]:
        meta["tag"] = [coding(OBSERVATION_VALUE, "SUBSETTED")]
    return meta


def _extensions(row: Json) -> list[Json]:
    """What the device said around the value, and which artefact gates it failed."""
    found = [extension("artefact", valueCode=mark) for mark in row["marks"]]
    found += [extension("flag", valueCode=flag) for flag in row["flags"]]
    found += [extension(f"context-{name}", valueCode=word) for name, word in row["context"].items()]
    if clock_unset(row):
        found.append(extension("clock-fault", valueBoolean=True))
    if row["too_late"]:
        found.append(extension("too-late", valueBoolean=True))
    return found


def clock_unset(row: Json) -> bool:
    """The device's clock was not set: when it was measured is an estimate."""
    return "clock-unset" in row["flags"]


def _notes(row: Json) -> list[str]:
    """The same for people, in words."""
    found = []
    if row["marks"]:
        found.append(f"Not usable, artefact gates failed: {', '.join(row['marks'])}.")
    if clock_unset(row):
        found.append("The device's clock was not set: when it was measured is not certain.")
    if row["too_late"]:
        found.append("It came after the horizon of late data: no rule has looked at it.")
    if "manual" in row["flags"]:
        found.append("Typed in by hand, not sent by a device.")
    return found


def absent(code: str, text: str) -> Json:
    return concept(text, coding(ABSENT, code))


def quantity(value: float, ucum: str) -> Json:
    return {"value": value, "unit": UNIT_NAMES.get(ucum, ucum), "system": UCUM, "code": ucum}


def _values(row: Json, kind: Kind | None, shape: Shape) -> Json:
    """Observation.value and components. A marked reading has neither: a program that knows nothing of marks
    must not take its number for a measurement. The number stands in an extension."""
    specs: dict[str, Spec] = kind.values if kind else {}
    found: Json = {"component": []}
    values = row["values"]
    for name in [*(name for name in specs if name in values), *sorted(set(values) - set(specs))]:
        value = values[name]
        if value is None:
            continue
        spec = specs.get(name)
        said = _value(name, value, spec)
        if row["marks"]:
            said = {
                "extension": [extension("unusable-value", **said)],
                "dataAbsentReason": absent("error", f"artefact: {', '.join(row['marks'])}"),
            }
        if name == shape.main:
            found["extension"] = _extensions(row) + said.pop("extension", [])
            found |= said
        else:
            text = spec.meaning if spec else name
            found["component"].append({**said, "code": concept(text, *value_codings(name, spec))})
    return found


def _value(name: str, value: Any, spec: Spec | None) -> Json:
    """value[x] of one value: true or false, a word, or a number in the catalogue's unit."""
    if isinstance(value, bool):
        return {"valueBoolean": value}
    if isinstance(value, int | float):
        return {"valueQuantity": quantity(value, spec.ucum) if isinstance(spec, Number) else {"value": value}}
    if isinstance(value, str):
        return {"valueCodeableConcept": concept(value, coding(system(f"value-{name}"), value))}
    return {"valueString": str(value)}


def _strip(row: Json) -> Json:
    """An electrocardiogram as SampledData; intervals as text, since SampledData knows only equal steps."""
    values = row["values"]
    if row["marks"]:
        return {"dataAbsentReason": absent("error", f"artefact: {', '.join(row['marks'])}")}
    if row["cut"]:
        return {"dataAbsentReason": absent("unknown", "too long for a search: read the resource by its id")}
    if row["kind"] == "rr-intervals":
        return {"valueString": " ".join(_decimal(rr) for rr in values["rr"])}
    origin = quantity(0, "mV")
    found: Json = {"origin": origin, "period": round(1000 / values["fs"], 6), "dimensions": 1}
    if "samples_i16" in values:
        counts = np.frombuffer(base64.b64decode(values["samples_i16"]), dtype="<i2")
        found["factor"] = 1 / values["gain"]
        found["data"] = " ".join(map(str, counts.tolist()))
    else:
        found["data"] = " ".join(_decimal(sample) for sample in values["samples"])
    return {"valueSampledData": found}


def _decimal(value: float) -> str:
    """Without exponent, which SampledData does not have; to a millionth."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
