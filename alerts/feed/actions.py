"""Actions on alerts as JSON: one, many at once, and the question why there was no alert.

A refusal is 409 with its name (alerts.lifecycle.Refusal), who made it so and when, and the alert as it is now.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from alerts.actions import BULK_MAX, Done
from alerts.feed import queries
from alerts.feed.acting import perform, perform_in_bulk
from alerts.feed.api import MissingError, PatientPath, answers
from alerts.feed.context import ActingDep, FeedDep, SeeingDep
from alerts.feed.models import Acknowledged, Conflict, Model
from alerts.feed.why import Reason, why
from alerts.lifecycle import ActionRequest, Outcome, Refusal, Refused
from devices.times import from_datetime, to_datetime

actions = APIRouter(prefix="/api", tags=["feed"])

PersonsAction = Literal[
    "acknowledge", "start", "assign", "snooze", "wake", "resolve", "false-alert", "note", "undo"
]
"""What a person may ask for; `escalate` is asked for by time alone."""
BulkAction = Literal["acknowledge", "note", "assign"]

# 500: a few sentences; what is longer belongs in the patient's record. No NUL: the database takes none.
Words = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
Login = Annotated[str, Field(max_length=64, pattern=r"^[^\x00]*$")]


class ActionBody(BaseModel):
    """What goes with an action. Which fields it needs the refusals say; the others are not looked at."""

    model_config = ConfigDict(extra="forbid")
    version: int | None = Field(
        default=None, description="Of the alert as it was seen; a later one is refused."
    )
    note: Words | None = None
    reason: Words | None = Field(
        default=None,
        description="snooze: why. resolve while the condition holds: why. false-alert: one of wrong-patient,"
        " technique, device, artefact, known-condition, limit-too-tight, other.",
    )
    until: AwareDatetime | None = Field(default=None, description="snooze: at most 24 h from now.")
    outcome: Outcome | None = Field(default=None, description="resolve: what was done.")
    to: Login | None = Field(default=None, description="assign: login; empty: nobody.")
    undoes: PersonsAction | None = Field(
        default=None,
        description="undo: the action that is to be taken back; another one done since is refused (`stale`)."
        " Without it the newest that still stands.",
    )


class SeenAlert(BaseModel):
    """An alert with the version that was seen."""

    model_config = ConfigDict(extra="forbid")
    alert: UUID
    version: int = Field(description="A later one is refused (`stale`), that alert alone.")


class BulkBody(BaseModel):
    """The same action with the same words for several alerts; never for high ones."""

    model_config = ConfigDict(extra="forbid")
    alerts: list[UUID | SeenAlert] = Field(min_length=1, max_length=BULK_MAX)
    action: BulkAction
    note: Words | None = None
    to: Login | None = None


class BulkResult(Model):
    """What became of one of the alerts: `error` names the refusal, null when it was done."""

    alert: UUID
    error: Refusal | None = None
    by: str | None = None
    at: datetime | None = None
    state: str | None = None
    version: int | None = None


class BulkResults(Model):
    """One result an alert, in the order in which they were asked for."""

    done: int
    refused: int
    results: list[BulkResult]


class Why(Model):
    """Why there was no alert, or which there was: reasons with the sentence that says them."""

    patient: str
    at: datetime
    reasons: list[Reason]


def _request(action: PersonsAction, body: ActionBody) -> ActionRequest:
    return ActionRequest(
        action=action,
        version=body.version,
        note=body.note,
        reason=body.reason,
        until=None if body.until is None else from_datetime(body.until),
        outcome=body.outcome,
        to=body.to,
        undoes=body.undoes,
    )


@actions.post("/alerts/bulk", responses=answers(403))
async def bulk(feed: FeedDep, viewer: ActingDep, body: BulkBody) -> BulkResults:
    """Acknowledge, note or assign several alerts at once, each with its result."""
    request = ActionRequest(action=body.action, note=body.note, to=body.to)
    alerts = [one.alert if isinstance(one, SeenAlert) else one for one in body.alerts]
    versions = {one.alert: one.version for one in body.alerts if isinstance(one, SeenAlert)}
    found, names = await perform_in_bulk(feed, viewer, alerts, request, versions)
    results = [_result(which, result, names) for which, result in found.items()]
    failed = sum(result.error is not None for result in results)
    return BulkResults(done=len(results) - failed, refused=failed, results=results)


def _result(which: UUID, result: Done | Refused, names: dict[str, str]) -> BulkResult:
    if isinstance(result, Done):
        return BulkResult(alert=which, state=result.row.state, version=result.row.version)
    return BulkResult(
        alert=which,
        error=result.refusal,
        by=names.get(result.by or "", result.by),
        at=None if result.at is None else to_datetime(result.at),
    )


@actions.post(
    "/alerts/{alert}/{action}",
    response_model=Acknowledged,
    responses={409: {"model": Conflict, "description": "Refused: `error` names why"}, **answers(403, 404)},
)
async def act_on_alert(
    feed: FeedDep,
    viewer: ActingDep,
    alert: UUID,
    action: Annotated[PersonsAction, Path(description="What is to be done")],
    body: ActionBody | None = None,
) -> Acknowledged | JSONResponse:
    """Act on an alert. When two do at once one wins; the other learns who, and the new state."""
    result = await perform(feed, viewer, alert, _request(action, body or ActionBody()))
    if result is None:
        raise MissingError("alert")
    if isinstance(result, Conflict):
        return JSONResponse(result.model_dump(mode="json", by_alias=True), 409)
    return Acknowledged(alert=result)


@actions.get("/patients/{patient}/why", responses=answers(404))
async def why_no_alert(
    feed: FeedDep,
    viewer: SeeingDep,
    patient: PatientPath,
    at: Annotated[AwareDatetime | None, Query(description="Default: now")] = None,
    rule: Annotated[str | None, Query(pattern=r"^[a-z0-9-]{1,64}$")] = None,
) -> Why:
    """Why there was no alert about a patient at an instant, or which there was and what kept it away."""
    when = at or to_datetime(feed.clock.now_ms())
    async with feed.database.reading(viewer) as conn:
        if patient not in await queries.persons(conn, viewer, [patient]):
            raise MissingError("patient")
        reasons = await why(conn, patient, when, rule)
    return Why(patient=patient, at=when, reasons=reasons)
