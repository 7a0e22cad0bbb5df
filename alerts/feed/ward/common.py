"""What every page of the ward needs: who may, which patient, the form as it was sent, and how a page answers."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Path, Request
from starlette.responses import RedirectResponse, Response

from alerts.changes import ChangeRefusedError
from alerts.feed.context import FeedDep, SeeingDep, language_of, permission, render
from alerts.feed.formats import Formats
from alerts.feed.models import Person
from alerts.feed.pages import PATIENT_PATTERN
from alerts.feed.roles import READING, allowed
from alerts.feed.texts import Texts
from alerts.feed.viewer import Viewer
from alerts.feed.ward.forms import Form

PatientPath = Annotated[str, Path(pattern=PATIENT_PATTERN)]
EnrolDep = Annotated[Viewer, Depends(permission("enrol"))]
IdentityDep = Annotated[Viewer, Depends(permission("identity"))]
EraseDep = Annotated[Viewer, Depends(permission("erase"))]
PlanDep = Annotated[Viewer, Depends(permission("plan"))]
ConfirmDep = Annotated[Viewer, Depends(permission("confirm"))]
AbsenceDep = Annotated[Viewer, Depends(permission("absence"))]
ManualDep = Annotated[Viewer, Depends(permission("manual_value"))]
NoteDep = Annotated[Viewer, Depends(permission("act"))]

__all__ = ["FeedDep", "SeeingDep"]


def texts_of(request: Request) -> Texts:
    return Texts(language_of(request))


def formats_of(request: Request, person: Person) -> Formats:
    return Formats(texts_of(request), person.time_zone)


async def form_of(request: Request) -> Form:
    """What the browser sent; its token was asked for by the permission."""
    return Form.of(texts_of(request), await request.form())


def page(
    request: Request,
    template: str,
    viewer: Viewer,
    person: Person | None,
    status: int = 200,
    **values: Any,
) -> Response:
    """A page of the ward; `may` tells the template which permissions the person has.

    Of a patient of another team (the glass is broken) it is a page to read.
    """
    if person is not None:
        viewer = viewer.before(person.care_team)
    return render(
        request,
        template,
        viewer,
        status,
        person=person,
        may=lambda name: allowed(viewer.role, name) and (name in READING or not viewer.read_only),
        iso_date=date.fromisoformat,
        **values,
    )


def refused(form: Form, error: ChangeRefusedError, fields: dict[str, str]) -> None:
    """A refusal of the database's side as a sentence at the field that it is about."""
    about = {name: value for name, value in error.about.items() if isinstance(value, str | int)}
    form.fault(fields.get(error.why, "form"), error.why.replace("-", "_"), **about)


def done(patient: str, anchor: str = "", said: str = "") -> Response:
    """Back to a page of the patient; `said` names the sentence (ward.said_…) that it begins with."""
    path = f"/patients/{quote(patient, safe='')}{anchor}"
    where, _, fragment = path.partition("#")
    query = f"?said={said}" if said else ""
    return RedirectResponse(where + query + (f"#{fragment}" if fragment else ""), 303)


SAID = frozenset(
    {
        *("saved", "proposed", "confirmed", "declined", "attached", "released", "absent", "back"),
        *("corrected", "merged", "split", "erased", "objects", "agrees"),
        *("entered", "noted", "note_empty", "enrolled", "inr_decided"),
    }
)


def said_of(name: str) -> str:
    """The name of a sentence of ours; nothing that somebody has put into an address."""
    return name if name in SAID else ""
