"""A patient's devices, absences, typed-in values and notes: a page with a form each."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from alerts import absence
from alerts.changes import (
    MANUAL_MODEL,
    MANUAL_PREFIX,
    ChangeRefusedError,
    TypedIn,
    attach_device,
    manual_device,
    note_event,
    release_device,
    type_in,
)
from alerts.feed import queries
from alerts.feed.context import Feed, FeedDep, SeeingDep
from alerts.feed.formats import DAY_MS
from alerts.feed.models import Person
from alerts.feed.viewer import Viewer
from alerts.feed.ward import store
from alerts.feed.ward.common import (
    AbsenceDep,
    EnrolDep,
    ManualDep,
    NoteDep,
    PatientPath,
    done,
    form_of,
    page,
    refused,
    said_of,
    texts_of,
)
from alerts.feed.ward.forms import TEXT_MAX, Form, filled, local_input, offset_min
from alerts.feed.ward.transaction import changing
from devices.catalogue import CONTEXT, KINDS, Number
from devices.times import to_datetime
from streams.history import HORIZON_MS

care = APIRouter(include_in_schema=False)

AHEAD_MS = 10 * 60_000  # the contract refuses readings from further ahead
TYPED_KINDS = (
    "body-weight",
    "blood-pressure",
    "glucose",
    "heart-rate",
    "oxygen-saturation",
    "temperature",
    "respiratory-rate",
    "inr",
    "ketones",
)
CONTEXTS = {"glucose": ("meal",), "blood-pressure": ("posture",), "oxygen-saturation": ("oxygen",)}
"""What is asked beside the value. A glucose told on the telephone is capillary, a heart rate one at rest."""
IMPLIED = {"glucose": {"sample": "capillary"}, "heart-rate": {"activity": "rest"}}
SerialPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


async def _person(feed: Feed, viewer: Viewer, patient: str) -> Person:
    async with feed.database.reading(viewer) as conn:
        return await store.person(conn, viewer, patient)


# ── devices ───────────────────────────────────────────────────────────────────────────────────────────────


@care.get("/patients/{patient}/devices")
async def devices_page(
    request: Request, feed: FeedDep, viewer: SeeingDep, patient: PatientPath, said: str = ""
) -> Response:
    person = await _person(feed, viewer, patient)
    form = filled(texts_of(request), {"from": local_input(feed.clock.now_ms(), person.time_zone)})
    return await _devices(request, feed, viewer, person, form, said=said)


@care.post("/patients/{patient}/devices")
async def attach(request: Request, feed: FeedDep, viewer: EnrolDep, patient: PatientPath) -> Response:
    person, form = await _person(feed, viewer, patient), await form_of(request)
    now_ms = feed.clock.now_ms()
    device, model = form.serial("device", required=True), form.text("model")
    if device is not None and device.startswith(MANUAL_PREFIX):
        form.fault("device", "manual_serial")
    begin_ms = form.moment_ms("from", person.time_zone)
    if begin_ms is not None and not now_ms - HORIZON_MS <= begin_ms <= now_ms + 31 * DAY_MS:
        form.fault("from", "horizon")
    if device is not None and not form.faults:
        serial, from_ms = device, begin_ms or now_ms
        try:
            await changing(
                feed,
                viewer,
                lambda conn: attach_device(conn, patient, serial, model, from_ms, viewer.login, now_ms),
            )
            return done(patient, "/devices", "attached")
        except ChangeRefusedError as error:
            refused(form, error, {"device-taken": "device", "device-yours": "device"})
    return await _devices(request, feed, viewer, person, form, 422)


@care.post("/patients/{patient}/devices/{device}/release")
async def release(
    request: Request, feed: FeedDep, viewer: EnrolDep, patient: PatientPath, device: SerialPath
) -> Response:
    """The device is given back now; what it still has in its memory reaches the patient all the same."""
    person = await _person(feed, viewer, patient)
    now_ms = feed.clock.now_ms()
    form = filled(texts_of(request), {})
    try:
        await changing(
            feed, viewer, lambda conn: release_device(conn, patient, device, now_ms, viewer.login, now_ms)
        )
        return done(patient, "/devices", "released")
    except ChangeRefusedError as error:
        refused(form, error, {})
    return await _devices(request, feed, viewer, person, form, 409)


async def _devices(
    request: Request,
    feed: Feed,
    viewer: Viewer,
    person: Person,
    form: Form,
    status: int = 200,
    said: str = "",
) -> Response:
    async with feed.database.reading(viewer) as conn:
        found = await queries.devices(conn, person.patient)
    found = [device for device in found if device.model != MANUAL_MODEL]
    return page(
        request, "ward_devices.html", viewer, person, status, form=form, devices=found, said=said_of(said)
    )


# ── absences ──────────────────────────────────────────────────────────────────────────────────────────────

_ABSENCE_FIELDS = {"end-needed": "to", "too-long": "to", "over": "from"}


@care.get("/patients/{patient}/absences")
async def absences_page(
    request: Request, feed: FeedDep, viewer: SeeingDep, patient: PatientPath, said: str = ""
) -> Response:
    person = await _person(feed, viewer, patient)
    now = local_input(feed.clock.now_ms(), person.time_zone)
    form = filled(texts_of(request), {"from": now, "kind": "hospital"})
    return await _absences(request, feed, viewer, person, form, said=said)


@care.post("/patients/{patient}/absences")
async def record_absence(
    request: Request, feed: FeedDep, viewer: AbsenceDep, patient: PatientPath
) -> Response:
    person, form = await _person(feed, viewer, patient), await form_of(request)
    now_ms = feed.clock.now_ms()
    kind = form.choice("kind", absence.KINDS)
    from_ms = form.moment_ms("from", person.time_zone, required=True)
    to_ms = form.moment_ms("to", person.time_zone, required=True)
    note = form.text("note", most=TEXT_MAX)
    if kind is not None and from_ms is not None and to_ms is not None and not form.faults:
        try:
            async with feed.database.writing(viewer) as conn:
                await absence.record(
                    conn,
                    patient,
                    kind,  # type: ignore[arg-type]  # form.choice has looked
                    to_datetime(from_ms),
                    to_datetime(to_ms),
                    viewer.login,
                    to_datetime(now_ms),
                    note,
                )
            return done(patient, "/absences", "absent")
        except absence.AbsenceError as error:
            form.fault(
                _ABSENCE_FIELDS.get(error.refusal, "form"), f"absence_{error.refusal.replace('-', '_')}"
            )
    return await _absences(request, feed, viewer, person, form, 422)


@care.post("/patients/{patient}/absences/{number}/end")
async def end_absence(
    request: Request, feed: FeedDep, viewer: AbsenceDep, patient: PatientPath, number: int
) -> Response:
    person = await _person(feed, viewer, patient)
    form = filled(texts_of(request), {})
    now = to_datetime(feed.clock.now_ms())
    try:
        async with feed.database.writing(viewer) as conn:
            if all(known.absence != number for known in await absence.of_patient(conn, patient)):
                raise absence.AbsenceError("unknown", "not this patient's")
            await absence.end(conn, number, viewer.login, now)
        return done(patient, "/absences", "back")
    except absence.AbsenceError:
        form.fault("form", "absence_ended")
    return await _absences(request, feed, viewer, person, form, 409)


async def _absences(
    request: Request,
    feed: Feed,
    viewer: Viewer,
    person: Person,
    form: Form,
    status: int = 200,
    said: str = "",
) -> Response:
    async with feed.database.reading(viewer) as conn:
        found = await store.absences(conn, person.patient)
    return page(
        request,
        "ward_absences.html",
        viewer,
        person,
        status,
        form=form,
        absences=found,
        kinds=absence.KINDS,
        said=said_of(said),
    )


# ── values heard on the telephone ─────────────────────────────────────────────────────────────────────────


def numbers_of(kind: str) -> dict[str, Number]:
    """The numbers of a kind that are asked for, by name; a mean pressure nobody tells on the telephone."""
    return {
        name: spec for name, spec in KINDS[kind].values.items() if isinstance(spec, Number) and name != "mean"
    }


@care.get("/patients/{patient}/values")
async def values_page(
    request: Request,
    feed: FeedDep,
    viewer: SeeingDep,
    patient: PatientPath,
    kind: str = "",
    said: str = "",
) -> Response:
    person = await _person(feed, viewer, patient)
    at = local_input(feed.clock.now_ms(), person.time_zone)
    form = filled(texts_of(request), {"kind": kind, "measured_at": at})
    return await _values(request, feed, viewer, person, form, said=said)


@care.post("/patients/{patient}/values")
async def enter_value(request: Request, feed: FeedDep, viewer: ManualDep, patient: PatientPath) -> Response:
    """The value goes on the way of every reading; the page shows it as waiting until it has come back."""
    person, form = await _person(feed, viewer, patient), await form_of(request)
    now_ms = feed.clock.now_ms()
    entry = read_value(form, person.time_zone, now_ms)
    if entry is not None:
        typed = entry
        try:
            await changing(feed, viewer, lambda conn: type_in(conn, patient, typed, viewer.login, now_ms))
            return done(patient, "/values", "entered")
        except ChangeRefusedError as error:
            refused(form, error, {"before-enrolment": "measured_at"})
    return await _values(request, feed, viewer, person, form, 422)


def read_value(form: Form, time_zone: str, now_ms: int) -> TypedIn | None:
    """The value that the form says, checked against the plausible range of its kind; None with faults."""
    kind = form.choice("kind", TYPED_KINDS)
    at_ms = form.moment_ms("measured_at", time_zone, required=True)
    if at_ms is not None and at_ms > now_ms + AHEAD_MS:
        form.fault("measured_at", "ahead")
    if at_ms is not None and at_ms < now_ms - HORIZON_MS:
        form.fault("measured_at", "too_old")
    note = form.text("note", most=TEXT_MAX) or ""
    if kind is None or at_ms is None:
        return None
    values: dict[str, Any] = {}
    for name, spec in numbers_of(kind).items():
        value = form.number(f"{kind}:{name}", spec.low, spec.high, required=not spec.optional)
        if value is not None:
            values[name] = value
    if kind == "blood-pressure" and values.get("diastolic", 0) >= values.get("systolic", 999):
        form.fault("blood-pressure:diastolic", "diastolic")
    context = dict(IMPLIED.get(kind, {}))
    for name in CONTEXTS.get(kind, ()):
        word = form[f"{kind}:{name}"]
        if word in CONTEXT[name]:
            context[name] = word
    if form.faults:
        return None
    return TypedIn(kind, at_ms, values, offset_min(at_ms, time_zone), context, note)


async def _values(
    request: Request,
    feed: Feed,
    viewer: Viewer,
    person: Person,
    form: Form,
    status: int = 200,
    said: str = "",
) -> Response:
    async with feed.database.reading(viewer) as conn:
        found = await store.manual_values(conn, person.patient)
        used = await queries.kinds_of(conn, person.patient, to_datetime(feed.clock.now_ms() - 90 * DAY_MS))
    if form["kind"] not in TYPED_KINDS:
        form.typed["kind"] = next((kind for kind in TYPED_KINDS if kind in used), TYPED_KINDS[0])
    return page(
        request,
        "ward_values.html",
        viewer,
        person,
        status,
        form=form,
        kinds=TYPED_KINDS,
        numbers=numbers_of,
        contexts={kind: {name: CONTEXT[name] for name in names} for kind, names in CONTEXTS.items()},
        entered=found,
        waiting=any(value["fate"] == "waiting" for value in found),
        device=manual_device(person.patient),
        said=said_of(said),
    )


# ── notes ─────────────────────────────────────────────────────────────────────────────────────────────────


@care.post("/patients/{patient}/notes")
async def note(request: Request, feed: FeedDep, viewer: NoteDep, patient: PatientPath) -> Response:
    """A note about the patient, in the append-only history."""
    await _person(feed, viewer, patient)
    form = await form_of(request)
    text = form.text("note", most=TEXT_MAX, required=True)
    if text is None:
        return done(patient, "#notes", "note_empty")
    now_ms = feed.clock.now_ms()
    words = text
    await changing(
        feed,
        viewer,
        lambda conn: note_event(conn, patient, "patient-noted", viewer.login, now_ms, {"note": words}),
    )
    return done(patient, "#notes", "noted")
