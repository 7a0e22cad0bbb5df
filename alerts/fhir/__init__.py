"""FHIR R4, read-only, under `/fhir` of the feed: the same session, roles and row-level security as the pages."""

from __future__ import annotations

from alerts.fhir.outcome import FhirError, FhirResponse, outcome
from alerts.fhir.routes import fhir, fhir_error

__all__ = ["FhirError", "FhirResponse", "fhir", "fhir_error", "outcome"]
