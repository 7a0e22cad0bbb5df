"""The CapabilityStatement: what there is under /fhir, made from the table of search parameters."""

from __future__ import annotations

from typing import Any, Final

import scad
from alerts.fhir.search import PARAMETERS, SORTED

# The day on which what this server can do last changed.
DATE: Final = "2026-11-22"
VERSION: Final = "4.0.1"
HEALTH_NOTE: Final = "This is not an emergency service: in an emergency call 15 or 112."
NOTES: Final = {
    "Observation": "A search names a patient or ids. Marked readings carry no value but a reason for its absence.",
    "DetectedIssue": "Alerts. Dates compare with the measurement that opened the alert.",
    "Provenance": "One an alert, with the alert's id: its rule, version, limit and readings, and who acted.",
}


def statement(base: str) -> dict[str, Any]:
    """For the server at this address, which ends in /fhir."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": DATE,
        "kind": "instance",
        "software": {"name": "SCAD", "version": scad.__version__},
        "implementation": {"description": f"SCAD feed, read-only. {HEALTH_NOTE}", "url": base},
        "fhirVersion": VERSION,
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "description": "The feed's own session (a cookie that POST /login opens) and its roles: nurse,"
                    " physician and auditor see resources of their care team."
                },
                "resource": [_resource(name) for name in PARAMETERS],
            }
        ],
    }


def _resource(name: str) -> dict[str, Any]:
    parameters = [{"name": known, "type": kind} for known, kind in PARAMETERS[name].items()]
    found: dict[str, Any] = {
        "type": name,
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "versioning": "no-version",
        "readHistory": False,
        "updateCreate": False,
        "conditionalCreate": False,
        "searchParam": parameters,
    }
    notes = [NOTES[name]] if name in NOTES else []
    if name in SORTED:
        notes.append(f"_sort is {' or '.join(SORTED[name])}.")
    if notes:
        found["documentation"] = " ".join(notes)
    if name == "Patient":
        definition = "http://hl7.org/fhir/OperationDefinition/Patient-everything"
        found["operation"] = [{"name": "everything", "definition": definition}]
    return found
