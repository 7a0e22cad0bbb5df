"""The date of the next INR test: confirmed on the page, carried by the care plan, looked at by the engine."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import httpx
import msgspec
from feed_server import RunningFeed, csrf_of
from made_up_ward import DAY, HOUR, NOW_MS

from alerts.changes import propose_version
from alerts.enrol import insert_version
from alerts.store import write_readings
from devices.readings import Reading
from devices.times import format_instant
from streams import topics
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion
from streams.protocols import load_published

PATIENT = "p-caen"
PAGE = f"/patients/{PATIENT}/inr"


def result(feed: RunningFeed, value: float) -> Reading:
    at_ms = NOW_MS - HOUR
    reading = Reading(
        device="inr-1", seq=1, kind="inr", measured_at_ms=at_ms, received_at_ms=at_ms, values={"inr": value},
        patient=PATIENT,
    )  # fmt: skip
    write_readings(feed.conn, [reading], NOW_MS)
    return reading


def on_anticoagulants(feed: RunningFeed, number: int, from_ms: int, **personal: Any) -> PlanVersion:
    version = PlanVersion(
        version=number, from_=format_instant(from_ms, 60), protocols=("anticoagulation",), **personal
    )
    insert_version(feed.conn, PATIENT, version, NOW_MS)
    return version


def confirm(client: httpx.Client, feed: RunningFeed, day: str) -> httpx.Response:
    row = feed.conn.execute("select max(measured_at) from scad.reading").fetchone()
    assert row is not None
    fields = {"next_test": day, "measured_at": row[0].isoformat(), "note": "weekend"}
    return client.post(PAGE, data={"csrf": csrf_of(client), **fields})


def announced(feed: RunningFeed) -> CarePlan:
    rows = feed.conn.execute(
        "select value from scad.outbox where topic = %s order by id", (topics.CARE_PLANS,)
    )
    return msgspec.convert(json.loads(bytes(rows.fetchall()[-1][0])), CarePlan)


def overdue(plan: CarePlan, reading: Reading, at_ms: int) -> set[str]:
    engine = Engine(load_published())
    state = engine.new_state(PATIENT)
    engine.apply(state, readings=[reading], plans=[plan])
    engine.apply(state, tick_ms=at_ms)
    return {episode.rule for episode in engine.standing(state) if episode.end is None}


def test_the_confirmed_date_is_a_version_of_the_plan_that_moves_the_overdue_test(feed: RunningFeed):
    on_anticoagulants(feed, 1, NOW_MS - 100 * DAY, inr_target=(2.0, 3.0))
    on_anticoagulants(feed, 2, NOW_MS + 30 * DAY, inr_target=(2.5, 3.5))
    reading = result(feed, 2.4)
    doctor = feed.client("medecin")
    assert confirm(doctor, feed, "2026-11-30").status_code == 303  # NOW is the 22nd
    plan = announced(feed)
    assert [(v.version, v.inr_target, bool(v.next_tests)) for v in plan.versions] == [
        (1, (2.0, 3.0), False),
        (2, (2.5, 3.5), False),
        (3, (2.0, 3.0), True),
        (4, (2.5, 3.5), True),
    ]
    assert plan.versions[3].from_ms == plan.versions[1].from_ms
    assert plan.versions[2].next_tests["inr"].by == date(2026, 11, 30)  # type: ignore[index]
    end_of_day_ms = NOW_MS + 8 * DAY + 14 * HOUR  # the 1st at 00:42
    assert overdue(plan, reading, end_of_day_ms - HOUR) == set()
    assert overdue(plan, reading, end_of_day_ms) == {"inr-overdue"}
    history = doctor.get(f"/patients/{PATIENT}").text
    assert "Next test after an INR of 2.4" in history
    assert "Next test: INR" in history
    body = feed.conn.execute("select body from scad.alert_event where event = 'inr-decided'").fetchone()
    assert body is not None
    assert body[0]["version"] == 4


def test_a_proposal_that_waits_goes_on_waiting_with_the_date(feed: RunningFeed):
    held = on_anticoagulants(feed, 1, NOW_MS - 100 * DAY)
    result(feed, 2.4)
    wanted = msgspec.structs.replace(held, version=2, inr_target=(2.5, 3.5), from_=format_instant(NOW_MS))
    number = propose_version(feed.conn, PATIENT, wanted, 1, "valve", "infirmiere", NOW_MS)
    doctor = feed.client("medecin")
    assert confirm(doctor, feed, "2026-11-30").status_code == 303
    path = f"/patients/{PATIENT}/plan/proposals/{number}"
    answer = doctor.post(path, data={"csrf": csrf_of(doctor), "do": "confirm", "note": ""})
    assert answer.status_code == 303, answer.text
    last = announced(feed).versions[-1]
    assert (last.version, last.inr_target) == (3, (2.5, 3.5))
    assert last.next_tests["inr"].by == date(2026, 11, 30)  # type: ignore[index]


def test_without_a_plan_for_it_the_decision_is_kept_and_no_plan_made(feed: RunningFeed):
    result(feed, 2.4)
    assert confirm(feed.client("medecin"), feed, "2026-11-30").status_code == 303
    assert feed.conn.execute("select count(*) from scad.care_plan").fetchone() == (0,)
    assert feed.conn.execute("select count(*) from scad.outbox").fetchone() == (0,)
