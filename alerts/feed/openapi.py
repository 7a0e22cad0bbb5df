"""What every operation of the API has in common, written into its OpenAPI document once."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_COMMON = {
    "400": "The body is not what its content type says",
    "401": "No session",
    "403": "Your role does not include this, the CSRF token is missing or wrong, or the patient is another team's and"
    " only to be read (broken glass)",
    "413": "The body is larger than 64 KiB",
    "429": "Too many requests in this session; Retry-After says when to ask again",
    "503": "The database is away; try again",
}
_TOKEN = {
    "name": "X-CSRF-Token",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "`csrf_token` of GET /api/session",
}
SAFE = ("get", "head")
OF_BODIES = ("400", "413")


def complete(app: FastAPI) -> dict[str, Any]:
    """The application's document with the answers and the header that the guards around a route add."""
    document: dict[str, Any] = FastAPI.openapi(app)
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for methods in document["paths"].values():
        for method, operation in methods.items():
            for code, words in _COMMON.items():
                if code in OF_BODIES and method in SAFE:
                    continue
                answer = {"description": words, "content": {"application/json": problem}}
                operation["responses"].setdefault(code, answer)
            parameters = operation.setdefault("parameters", [])
            if method not in SAFE and _TOKEN not in parameters:
                parameters.append(_TOKEN)
    return document
