"""The INR page: the curve with its target, time in range, what the reference says, and the next test's date,
which a physician confirms or changes. The software never doses, and says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from alerts.changes import ChangeRefusedError, note_event, set_next_test
from alerts.feed.context import Feed, FeedDep, SeeingDep
from alerts.feed.curves import Curve, Point
from alerts.feed.database import Connection
from alerts.feed.formats import DAY_MS, zone
from alerts.feed.models import Person
from alerts.feed.viewer import Viewer
from alerts.feed.ward import store
from alerts.feed.ward.common import ConfirmDep, PatientPath, done, form_of, page, said_of, texts_of
from alerts.feed.ward.forms import TEXT_MAX, Form, filled, offset_min
from alerts.feed.ward.guidance import TARGET, Guidance, guide, next_test
from alerts.feed.ward.plans import library
from alerts.feed.ward.transaction import changing
from alerts.store.connection import Connection as Plain
from devices.times import format_instant, from_datetime, to_datetime
from streams.plans import NextTest, PlanVersion
from streams.statistics.anticoagulation import time_in_range

inr = APIRouter(include_in_schema=False)

PROTOCOL, KIND = "anticoagulation", "inr"
CURVE_DAYS = 180  # the window of the rule on time in range
TTR_DAYS = 180
GOAL, ACT = 70, 65  # per cent: goal ESC 2024, act below (secondary source); clinical reference, section 5
LATEST_DAYS = 84  # a stable patient's longest interval in use is twelve weeks
BLEEDING_DAYS = 3  # an answer about bleeding counts this long before the last test, and ever after it


@dataclass(frozen=True, slots=True)
class InrView:
    """Everything the page says; without a test `guidance` and `proposed` are None."""

    target: tuple[float, float]
    tests: list[dict[str, Any]]
    curve: Curve
    ttr: float | None
    guidance: Guidance | None
    proposed: date | None
    decisions: list[dict[str, Any]]
    decided: dict[str, Any] | None
    """The decision about the last test, if one was made."""
    bled_at: datetime | None
    on_protocol: bool

    @property
    def last(self) -> dict[str, Any] | None:
        return self.tests[-1] if self.tests else None


async def view(conn: Connection, person: Person, plan: PlanVersion | None, now_ms: int) -> InrView:
    """Read and judge one patient's INR."""
    where = zone(person.time_zone)
    tests = await store.inr_tests(conn, person.patient)
    decisions = await store.inr_decisions(conn, person.patient)
    target = (plan.inr_target if plan is not None else None) or TARGET
    asked = plan.schedule.get("inr") if plan is not None else None
    bled_at = None
    guidance = proposed = decided = None
    if tests:
        last = tests[-1]
        bled_at = await store.bled_since(
            conn, person.patient, last["measured_at"] - timedelta(days=BLEEDING_DAYS)
        )
        guidance = guide(
            [test["value"] for test in tests],
            target,
            every_days=asked.every_hours / 24 if asked is not None else None,
            mechanical_valve=plan is not None and plan.mechanical_valve,
            bleeding=bled_at is not None,
        )
        today = to_datetime(now_ms).astimezone(where).date()
        if guidance is not None:
            proposed = next_test(last["measured_at"].astimezone(where).date(), guidance, today)
        stamp = last["measured_at"].isoformat()
        decided = next((d for d in decisions if d["body"].get("measured_at") == stamp), None)
    return InrView(
        target=target,
        tests=tests,
        curve=_curve(tests, target, now_ms),
        ttr=_ttr(tests, target, now_ms, person.time_zone),
        guidance=guidance,
        proposed=proposed,
        decisions=decisions,
        decided=decided,
        bled_at=bled_at,
        on_protocol=plan is not None and PROTOCOL in plan.protocols,
    )


def _curve(tests: list[dict[str, Any]], target: tuple[float, float], now_ms: int) -> Curve:
    begin_ms = now_ms - CURVE_DAYS * DAY_MS
    points = tuple(
        Point(from_datetime(test["measured_at"]), test["value"], test["value"], test["value"], 1, False)
        for test in tests
        if from_datetime(test["measured_at"]) >= begin_ms
    )
    return Curve("inr", begin_ms, now_ms, points, target=target)


def _ttr(
    tests: list[dict[str, Any]], target: tuple[float, float], now_ms: int, time_zone: str
) -> float | None:
    """Rosendaal over the last 180 days, the test before the window included where it still bears."""
    where = zone(time_zone)
    recent = [t for t in tests if now_ms - from_datetime(t["measured_at"]) <= TTR_DAYS * DAY_MS]
    if len(recent) < 2:
        return None
    instants = np.array([from_datetime(t["measured_at"]) for t in recent], dtype=np.int64)
    days = np.array([t["measured_at"].astimezone(where).date().toordinal() for t in recent], dtype=np.int64)
    values = np.array([t["value"] for t in recent], dtype=np.float64)
    return time_in_range(instants, days, values, target)


@inr.get("/patients/{patient}/inr")
async def inr_page(
    request: Request, feed: FeedDep, viewer: SeeingDep, patient: PatientPath, said: str = ""
) -> Response:
    return await _page(request, feed, viewer, patient, None, said=said_of(said))


@inr.post("/patients/{patient}/inr")
async def decide_test(request: Request, feed: FeedDep, viewer: ConfirmDep, patient: PatientPath) -> Response:
    """A physician's decision about the last test: its date, and why it differs from the proposed one. The plan
    carries it from now on, so that the next test is overdue when that day is over."""
    form = await form_of(request)
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        person = await store.person(conn, viewer, patient)
        plan = store.in_force(await store.versions(conn, patient), now_ms)
        found = await view(conn, person, plan.plan if plan is not None else None, now_ms)
    today = to_datetime(now_ms).astimezone(zone(person.time_zone)).date()
    asked = form.day("next_test", required=True)
    if asked is not None and not today <= asked <= today + timedelta(days=LATEST_DAYS):
        form.fault("next_test", "next_test", days=LATEST_DAYS)
    note = form.text("note", most=TEXT_MAX)
    last = found.last
    if last is None or form["measured_at"] != last["measured_at"].isoformat():
        form.fault("form", "inr_moved")
    if asked is not None and asked != found.proposed and note is None:
        form.fault("note", "inr_why")
    if form.faults or asked is None or last is None:
        return await _page(request, feed, viewer, patient, form)
    body: dict[str, Any] = {
        "inr": last["value"],
        "measured_at": last["measured_at"].isoformat(),
        "guidance": found.guidance.key if found.guidance is not None else None,
        "proposed": None if found.proposed is None else found.proposed.isoformat(),
        "next_test": asked.isoformat(),
        "decision": "confirmed" if asked == found.proposed else "changed",
        "note": note or "",
    }
    after = format_instant(now_ms, offset_min(now_ms, person.time_zone))
    wanted = NextTest(after, asked)

    def work(conn: Plain) -> None:
        number = set_next_test(
            conn,
            patient,
            KIND,
            wanted,
            library(),
            viewer.display_name,
            _reason(form, body),
            viewer.login,
            now_ms,
        )
        note_event(conn, patient, "inr-decided", viewer.login, now_ms, body | {"version": number})

    try:
        await changing(feed, viewer, work)
    except ChangeRefusedError:
        form.fault("next_test", "next_test", days=LATEST_DAYS)
        return await _page(request, feed, viewer, patient, form)
    return done(patient, "/inr", "inr_decided")


def _reason(form: Form, body: dict[str, Any]) -> str:
    """Why there is a version of the plan, in its history."""
    return form.texts("inr.reason", inr=form.figure(body["inr"])) + (
        f" – {body['note']}" if body["note"] else ""
    )


async def _page(
    request: Request,
    feed: Feed,
    viewer: Viewer,
    patient: str,
    form: Form | None,
    said: str = "",
) -> Response:
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        person = await store.person(conn, viewer, patient)
        plan = store.in_force(await store.versions(conn, patient), now_ms)
        found = await view(conn, person, plan.plan if plan is not None else None, now_ms)
    shown = form or filled(texts_of(request), {"next_test": found.proposed})
    return page(
        request,
        "ward_inr.html",
        viewer,
        person,
        200 if form is None else 422,
        form=shown,
        inr=found,
        goal=GOAL,
        act=ACT,
        said=said,
    )
