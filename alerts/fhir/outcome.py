"""Answers in FHIR's own media type, and errors as OperationOutcome."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse


class FhirResponse(JSONResponse):
    """A FHIR resource as JSON."""

    media_type = "application/fhir+json"


class FhirError(Exception):
    """What was asked cannot be answered: `code` is of FHIR's issue types, `words` name the input and the remedy."""

    def __init__(self, status: int, code: str, words: str) -> None:
        super().__init__(words)
        self.status, self.code, self.words = status, code, words


CODES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    413: "too-long",
    429: "throttled",
    503: "transient",
}
"""HTTP status to the code of the issue, for errors that the feed met before or behind the FHIR routes."""


def outcome(status: int, words: str, code: str | None = None) -> dict[str, Any]:
    """An OperationOutcome with one issue."""
    issue = {
        "severity": "error",
        "code": code or CODES.get(status, "exception"),
        "diagnostics": words or "error",
    }
    return {"resourceType": "OperationOutcome", "issue": [issue]}
