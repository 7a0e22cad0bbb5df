"""An alert as DetectedIssue, and how it came about as Provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from alerts.feed.models import Alert, Evidence
from alerts.fhir.codes import PARTICIPANT, coding, concept, extension, identifier_system, system
from alerts.fhir.ids import logical_id
from alerts.fhir.observation import instant_text, quantity, reading_identifier

Json = dict[str, Any]
Reading = tuple[str, int, int, datetime]
"""Device, epoch, seq and instant: what an alert's evidence says of a reading."""
Found = Mapping[Reading, Sequence[str]]
"""The ids of the Observations of these readings."""

SEVERITY: Final = {"high": "high", "medium": "moderate", "low": "low"}
TRANSLATION: Final = "http://hl7.org/fhir/StructureDefinition/translation"


def reading_of(evidence: Evidence) -> Reading:
    return evidence.device, evidence.epoch, evidence.seq, evidence.measured_at


def detected_issue(alert: Alert, found: Found) -> Json:
    """The alert as it stands, with what people did about it as mitigations."""
    issue: Json = {
        "resourceType": "DetectedIssue",
        "id": str(alert.alert),
        "meta": {"versionId": str(alert.version), "lastUpdated": instant_text(alert.changed_at)},
        "extension": _figures(alert),
        "identifier": [{"system": identifier_system("alert"), "value": str(alert.alert)}],
        "status": status_of(alert),
        "code": rule_of(alert),
        "severity": SEVERITY[alert.severity],
        "patient": {"reference": f"Patient/{logical_id(alert.patient)}"},
        "identifiedDateTime": instant_text(alert.opened_at),
        "mitigation": _mitigations(alert),
    }
    references = evidence_references(alert, found)
    if references:
        issue["evidence"] = [{"detail": references}]
    if alert.explanation.fr:
        issue["detail"] = alert.explanation.fr
        if alert.explanation.en:
            issue["_detail"] = {"extension": [_translation("en", alert.explanation.en)]}
    return {name: value for name, value in issue.items() if value != []}


def _translation(language: str, text: str) -> Json:
    return {
        "url": TRANSLATION,
        "extension": [
            {"url": "lang", "valueCode": language},
            {"url": "content", "valueString": text},
        ],
    }


def status_of(alert: Alert) -> str:
    """FHIR's status: an alert that stands is preliminary; closed it is final; one that another replaced is
    cancelled; one that late data unsaid (it was cleared though nothing ended) is entered in error."""
    if alert.superseded_by is not None:
        return "cancelled"
    if alert.condition == "cleared" and alert.reason is not None:
        return "entered-in-error"
    return "preliminary" if alert.live else "final"


def rule_of(alert: Alert) -> Json:
    name = f"{alert.protocol}/{alert.rule}"
    return concept(name, coding(system("rule"), name))


def _figures(alert: Alert) -> list[Json]:
    """Class and state of the alert, the rule's version, and the value against the limit."""
    found = [
        extension("alert-class", valueCode=alert.class_),
        extension("alert-state", valueCode=alert.state),
        extension("protocol-version", valueString=alert.protocol_version),
        extension("last-met", valueDateTime=instant_text(alert.last_at)),
    ]
    for name, value in (("value", alert.value), ("limit", alert.limit)):
        if value is not None:
            said = quantity(value, alert.unit) if alert.unit else {"value": value}
            found.append(extension(f"alert-{name}", valueQuantity=said))
    if alert.cleared_at is not None:
        found.append(extension("condition-ended", valueDateTime=instant_text(alert.cleared_at)))
    if alert.late:
        found.append(extension("late", valueBoolean=True))
    if alert.superseded_by is not None:
        found.append(extension("superseded-by", valueReference=_issue(alert.superseded_by)))
    return found


def _issue(which: UUID) -> Json:
    return {"reference": f"DetectedIssue/{which}"}


def evidence_references(alert: Alert, found: Found) -> list[Json]:
    """The readings that decided: their Observations, or their names where they are not stored (yet)."""
    references: list[Json] = []
    for evidence in alert.evidence:
        named = reading_identifier(evidence.device, evidence.epoch, evidence.seq)
        ids = found.get(reading_of(evidence), ())
        references += [{"reference": f"Observation/{id_}", "identifier": named} for id_ in ids]
        if not ids:
            references.append({"type": "Observation", "identifier": named})
    return references


def _person(login: str, name: str | None) -> Json:
    """A person by login; there is no resource Practitioner."""
    identifier = {"system": identifier_system("account"), "value": login}
    return {"type": "Practitioner", "identifier": identifier, **({"display": name} if name else {})}


def _mitigations(alert: Alert) -> list[Json]:
    """What people did: taken note of, closed with an outcome."""
    found = []
    if alert.acknowledged_by is not None and alert.acknowledged_at is not None:
        found.append(
            _done("acknowledge", alert.acknowledged_at, alert.acknowledged_by, alert.acknowledged_name)
        )
    if alert.closed_by is not None and alert.closed_at is not None:
        outcome = alert.outcome or alert.false_reason or alert.state
        found.append(_done(outcome, alert.closed_at, alert.closed_by, alert.closed_name))
    return found


def _done(what: str, at: datetime, login: str, name: str | None) -> Json:
    return {
        "action": concept(what, coding(system("action"), what)),
        "date": instant_text(at),
        "author": _person(login, name),
    }


def provenance(alert: Alert, stored_at: datetime, found: Found) -> Json:
    """How the alert came about: rule, version, limit and readings; and who took note of it and closed it.

    `stored_at` is when the platform first knew of it.
    """
    who = {
        "identifier": {
            "system": identifier_system("rule-version"),
            "value": f"{alert.protocol}/{alert.rule}@{alert.protocol_version}",
        },
        "display": f"SCAD, protocol {alert.protocol} {alert.protocol_version}, rule {alert.rule}",
    }
    agents = [_agent("assembler", {"type": "Device", **who})]
    if alert.acknowledged_by is not None:
        agents.append(_agent("verifier", _person(alert.acknowledged_by, alert.acknowledged_name)))
    if alert.closed_by is not None:
        agents.append(_agent("attester", _person(alert.closed_by, alert.closed_name)))
    entities = [{"role": "source", "what": what} for what in evidence_references(alert, found)]
    limits = [e for e in _figures(alert) if e["url"].endswith(("/alert-limit", "/protocol-version"))]
    made: Json = {
        "resourceType": "Provenance",
        "id": str(alert.alert),
        "meta": {"lastUpdated": instant_text(alert.changed_at)},
        "extension": limits,
        "target": [_issue(alert.alert)],
        "occurredDateTime": instant_text(alert.opened_at),
        "recorded": instant_text(stored_at),
        "activity": rule_of(alert),
        "agent": agents,
    }
    return {**made, "entity": entities} if entities else made


def _agent(role: str, who: Json) -> Json:
    return {"type": {"coding": [coding(PARTICIPANT, role)]}, "who": who}
