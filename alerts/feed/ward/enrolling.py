"""Enrolling a patient from the page: who it is, which protocols as published, which devices.

Personal limits are the next step (alerts.feed.ward.plans): a nurse enrols with the published ones, and what is
personal waits for a physician.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from alerts.changes import ChangeRefusedError, attach_device, note_event
from alerts.enrol import draw_pseudonym, enrol
from alerts.enrolment import Enrolment, EnrolmentError, Identity, Ins, PatientEntry, ins_fault
from alerts.feed.context import Feed, FeedDep
from alerts.feed.viewer import Viewer
from alerts.feed.ward import store
from alerts.feed.ward.common import EnrolDep, done, form_of, page, refused, texts_of
from alerts.feed.ward.forms import NAME_MAX, Form, filled, offset_min
from alerts.feed.ward.plan_form import EVERY_LEAST_HOURS, every_at_most, protocols_of, rhythms_of
from alerts.feed.ward.plans import library
from alerts.feed.ward.transaction import changing
from alerts.identity.store import find
from alerts.store.connection import Connection as Plain
from devices.times import format_instant, to_datetime
from streams.plans import PlanVersion, Schedule

enrolling = APIRouter(include_in_schema=False)

DEVICES_MAX = 4  # rows of the form; a further device is attached on the patient's page
PHONE_MAX = 40  # alerts.enrolment.Identity
OLDEST_YEARS = 125
INS_OIDS = {
    "1.2.250.1.213.1.4.8": "nir",
    "1.2.250.1.213.1.4.9": "nia",
    "1.2.250.1.213.1.4.10": "test",
    "1.2.250.1.213.1.4.11": "demo",
}
"""Kinds of INS (clinical reference, section 8.3)."""
MADE_UP_OID, REAL_OID = "1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.8"


@enrolling.get("/enrol")
async def enrol_page(request: Request, feed: FeedDep, viewer: EnrolDep) -> Response:
    oid = MADE_UP_OID if feed.demonstration else REAL_OID
    form = filled(texts_of(request), {"ins_oid": oid, "sex": "unknown"})
    return await _page(request, feed, viewer, form)


@enrolling.post("/enrol")
async def enrol_patient(request: Request, feed: FeedDep, viewer: EnrolDep) -> Response:
    form = await form_of(request)
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        teams = await store.teams(conn, viewer)
    entry = read_entry(form, teams, viewer.display_name, now_ms)
    devices = read_devices(form)
    if entry is not None and not form.faults:
        patient = await _enrol(feed, viewer, form, entry, devices, now_ms)
        if patient is not None:
            return done(patient, "", "enrolled")
    return await _page(request, feed, viewer, form, 422)


def read_entry(form: Form, teams: list[dict[str, Any]], author: str, now_ms: int) -> PatientEntry | None:
    """The patient whom the form describes, with a pseudonym drawn; None with faults."""
    family, given = form.text("family_name", required=True), form.text("given_names", required=True)
    birth = form.day("birth_date", required=True)
    today = to_datetime(now_ms).date()
    if birth is not None and not today.year - OLDEST_YEARS <= birth.year <= today.year:
        form.fault("birth_date", "birth")
    if birth is not None and birth > today:
        form.fault("birth_date", "birth")
    sex = form.choice("sex", ("female", "male", "unknown"))
    phone = form.text("phone", most=PHONE_MAX)
    ins = _ins(form)
    team = form.choice("care_team", [t["care_team"] for t in teams], teams[0]["care_team"] if teams else None)
    zone = next((t["time_zone"] for t in teams if t["care_team"] == team), "Europe/Paris")
    plan = _first_plan(form, author, zone, now_ms)
    if form.faults or family is None or given is None or birth is None or team is None:
        return None
    identity = Identity(
        family_name=family,
        given_names=given,
        birth_date=birth,
        sex=sex,  # type: ignore[arg-type]  # form.choice has looked
        phone=phone,
        ins=ins,
    )
    return PatientEntry(
        care_team=team, patient=draw_pseudonym(), identity=identity, care_plan=plan, place="form"
    )


def _ins(form: Form) -> Ins | None:
    """An INS is optional; when it is there, it has 15 characters, its key fits, and its kind is said."""
    typed = form["ins"].replace(" ", "").replace("\u202f", "").upper()
    oid = form.choice("ins_oid", INS_OIDS, REAL_OID)
    if not typed:
        return None
    fault = ins_fault(typed)
    if fault is not None:
        form.fault("ins", "ins_key" if "key does" in fault else "ins_form")
        return None
    return Ins(value=typed, oid=oid) if oid is not None else None


def _first_plan(form: Form, author: str, zone: str, now_ms: int) -> PlanVersion | None:
    """Version 1: protocols as published, in the rhythm that was chosen."""
    known = library()
    if not form.chosen.get("protocols"):
        return None
    protocols = protocols_of(form, known)
    schedule = {}
    for kind, usual in rhythms_of(known, protocols).items():
        every = form.number(f"every:{kind}", EVERY_LEAST_HOURS, every_at_most(usual))
        if every is not None:
            schedule[kind] = Schedule(every_hours=every)
    return PlanVersion(
        version=1,
        from_=format_instant(now_ms, offset_min(now_ms, zone)),
        protocols=protocols,
        author=author,
        time_zone=zone,
        schedule=schedule,
    )


def read_devices(form: Form) -> list[tuple[str, str | None]]:
    """(serial, model) of each row that is filled in."""
    found: list[tuple[str, str | None]] = []
    for row in range(DEVICES_MAX):
        serial, model = form.serial(f"device:{row}"), form.text(f"model:{row}", most=NAME_MAX)
        if serial is not None and serial in [known for known, _ in found]:
            form.fault(f"device:{row}", "twice")
        elif serial is not None:
            found.append((serial, model))
        elif model is not None and not form[f"device:{row}"]:
            form.fault(f"device:{row}", "required")
    return found


async def _enrol(
    feed: Feed,
    viewer: Viewer,
    form: Form,
    entry: PatientEntry,
    devices: list[tuple[str, str | None]],
    now_ms: int,
) -> str | None:
    """Write everything in one transaction; None when something was refused, which is noted in the form."""
    document = Enrolment("form", (), (entry,), frozenset({entry.place}))
    patient, person = str(entry.patient), entry.identity
    serials, vault = [serial for serial, _ in devices], feed.database.vault

    def work(conn: Plain) -> None:
        if person is not None and not form.ticked("another"):
            same = find(conn, vault, person.family_name, person.given_names, person.birth_date)
            if same:
                raise ChangeRefusedError("known-already", patient=same[0])
        enrol(conn, document, now_ms, vault=vault, by=viewer.login)
        for serial, model in devices:
            try:
                attach_device(conn, patient, serial, model, now_ms, viewer.login, now_ms)
            except ChangeRefusedError as error:
                raise ChangeRefusedError(error.why, field=serial) from None
        body: dict[str, Any] = {"devices": serials}
        if entry.care_plan is not None:
            body["protocols"] = list(entry.care_plan.protocols)
        note_event(conn, patient, "enrolled", viewer.login, now_ms, body)

    try:
        await changing(feed, viewer, work)
    except ChangeRefusedError as error:
        if error.why == "known-already":
            form.typed["known"] = str(error.about["patient"])
            form.fault("family_name", "known_already")
        else:
            place = next((f"device:{row}" for row in range(DEVICES_MAX)
                          if form[f"device:{row}"] == error.about.get("field")), "form")  # fmt: skip
            refused(form, error, {error.why: place})
        return None
    except EnrolmentError as error:
        form.fault(
            "ins" if ".ins" in str(error) else "form", "ins_taken" if ".ins" in str(error) else "other"
        )
        return None
    return patient


async def _page(request: Request, feed: Feed, viewer: Viewer, form: Form, status: int = 200) -> Response:
    known = library()
    async with feed.database.reading(viewer) as conn:
        teams = await store.teams(conn, viewer)
    kinds: dict[str, dict[str, float]] = {}
    seen: set[str] = set()  # a kind that two protocols expect is asked for once
    for name, protocol in known.protocols.items():
        fresh = {kind: asked.every_hours for kind, asked in protocol.schedule.items() if kind not in seen}
        kinds[name] = fresh
        seen |= set(fresh)
    return page(
        request,
        "ward_enrol.html",
        viewer,
        None,
        status,
        form=form,
        teams=teams,
        schedule=kinds,
        oids=INS_OIDS,
        rows=range(DEVICES_MAX),
    )
