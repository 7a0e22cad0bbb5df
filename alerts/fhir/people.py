"""Patients and devices as resources."""

from __future__ import annotations

from typing import Any

from alerts.feed.models import Person
from alerts.fhir.codes import UCUM, extension, identifier_system
from alerts.fhir.ids import logical_id

Json = dict[str, Any]


def patient(person: Person) -> Json:
    """A patient: the pseudonym, and of the identity what the feed shows this viewer.

    Without the national identifier (INS): it leaves the identity schema only where a page needs it.
    """
    found: Json = {
        "resourceType": "Patient",
        "id": logical_id(person.patient),
        "identifier": [{"use": "secondary", "system": identifier_system("patient"), "value": person.patient}],
        "gender": person.sex,
        "managingOrganization": {
            "identifier": {"system": identifier_system("care-team"), "value": person.care_team},
            "display": person.team_name,
        },
    }
    if person.family_name or person.given_names:
        name: Json = {"use": "official"}
        if person.family_name:
            name["family"] = person.family_name
        if person.given_names:
            name["given"] = person.given_names.split()
        found["name"] = [name]
    if person.phone:
        found["telecom"] = [{"system": "phone", "value": person.phone}]
    if person.birth_date:
        found["birthDate"] = person.birth_date.isoformat()
    return found


def device(row: Json) -> Json:
    """A device; `active` while a patient has it. `patient` is only there where the viewer may see whose it is."""
    found: Json = {
        "resourceType": "Device",
        "id": logical_id(row["device"]),
        "identifier": [{"system": identifier_system("device"), "value": row["device"]}],
        "status": "active" if row["patient"] else "inactive",
        "serialNumber": row["device"],
    }
    if row["model"]:
        found["deviceName"] = [{"name": row["model"], "type": "model-name"}]
    if row["firmware"]:
        found["version"] = [{"value": row["firmware"]}]
    if row["battery"] is not None:
        value = {"value": row["battery"], "unit": "%", "system": UCUM, "code": "%"}
        found["extension"] = [extension("battery", valueQuantity=value)]
    if row["patient"]:
        found["patient"] = {"reference": f"Patient/{logical_id(row['patient'])}"}
    return found
