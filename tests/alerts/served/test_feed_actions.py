"""Actions over HTTP: one, many, refused with who and why; and the question why there was no alert."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from feed_server import RunningFeed, csrf_of
from made_up_ward import DAY, HOUR, NOW_MS, care_plan, store_plan
from test_feed_queue import raise_alert

from alerts.lifecycle import REFUSALS
from alerts.store import write_readings
from alerts.store.quarantine import QuarantineRow, write_quarantine
from devices.readings import Reading
from devices.times import format_instant, to_datetime

NOW = to_datetime(NOW_MS)


def do(client: httpx.Client, alert: str, action: str, **body: Any) -> httpx.Response:
    headers = {"X-CSRF-Token": csrf_of(client)}
    return client.post(f"/api/alerts/{alert}/{action}", headers=headers, json=body)


def why(client: httpx.Client, patient: str = "p-caen", **asked: str) -> dict[str, dict[str, Any]]:
    """The reasons by name; the last one of each."""
    answer = client.get(f"/api/patients/{patient}/why", params=asked)
    assert answer.status_code == 200, answer.text
    return {reason["reason"]: reason for reason in answer.json()["reasons"]}


def weight(n: int, hours_ago: int, kg: float = 80.0, **more: Any) -> Reading:
    at = NOW_MS - hours_ago * HOUR
    fields: dict[str, Any] = {
        "device": "bo-1", "seq": n, "kind": "body-weight", "measured_at_ms": at, "received_at_ms": at,
        "offset_min": 60, "values": {"weight": kg}, "patient": "p-caen",
    }  # fmt: skip
    return Reading(**{**fields, **more})


def test_an_alert_is_worked_on_from_the_first_look_to_the_outcome_and_back(feed: RunningFeed):
    alert = raise_alert(feed)
    nurse = feed.client("infirmiere")
    until = (NOW + timedelta(hours=2)).isoformat()
    steps: list[tuple[str, dict[str, Any], str]] = [
        ("acknowledge", {"note": "calls"}, "acknowledged"),
        ("assign", {"to": "medecin"}, "acknowledged"),
        ("start", {}, "in-progress"),
        ("note", {"note": "no answer"}, "in-progress"),
        ("snooze", {"until": until, "reason": "calls back"}, "snoozed"),
        ("wake", {}, "in-progress"),
        ("resolve", {"outcome": "advice", "reason": "extra tablet"}, "resolved"),
        ("undo", {"undoes": "resolve"}, "in-progress"),
        ("undo", {}, "snoozed"),
        ("wake", {}, "in-progress"),
        ("resolve", {"outcome": "advice", "reason": "extra tablet"}, "resolved"),
    ]
    for action, body, state in steps:
        answer = do(nurse, alert, action, **body)
        assert (answer.status_code, answer.json()["alert"]["state"]) == (200, state), action
    found = nurse.get(f"/api/alerts/{alert}").json()
    assert (found["alert"]["assignee"], found["alert"]["outcome"]) == ("medecin", "advice")
    assert [step["event"] for step in reversed(found["events"])][1:] == [
        "acknowledged", "assigned", "started", "noted", "snoozed", "woken", "resolved", "undone", "undone",
        "woken", "resolved",
    ]  # fmt: skip


def test_an_acknowledgement_and_a_start_are_both_taken_back_by_two_undos(feed: RunningFeed):
    alert = raise_alert(feed)
    nurse, doctor = feed.client("infirmiere"), feed.client("medecin")
    steps = [
        ("acknowledge", "acknowledged"),
        ("start", "in-progress"),
        ("undo", "acknowledged"),
        ("undo", "open"),
    ]
    for action, state in steps:
        assert do(nurse, alert, action).json()["alert"]["state"] == state
    refused = do(nurse, alert, "undo")
    assert (refused.status_code, refused.json()["error"]) == (409, "nothing-to-undo")
    do(nurse, alert, "acknowledge")
    do(doctor, alert, "start")
    late = do(nurse, alert, "undo", undoes="acknowledge")
    body = late.json()
    assert late.status_code == 409
    assert (body["error"], body["by"], body["alert"]["state"]) == ("stale", "Dr Paul Hamelin", "in-progress")


def test_who_is_late_is_told_by_whom_and_sees_the_new_state(feed: RunningFeed):
    alert = raise_alert(feed)
    nurse, doctor = feed.client("infirmiere"), feed.client("medecin")
    seen = nurse.get(f"/api/alerts/{alert}").json()["alert"]["version"]
    do(doctor, alert, "false-alert", reason="technique")
    refused = do(nurse, alert, "start", version=seen)
    assert refused.status_code == 409
    body = refused.json()
    assert (body["error"], body["by"], body["alert"]["state"]) == ("closed", "Dr Paul Hamelin", "false-alert")
    assert body["alert"]["false_reason"] == "technique"
    assert do(nurse, alert, "resolve", outcome="made-up").status_code == 422
    assert do(nurse, alert, "escalate").status_code == 422
    assert do(nurse, alert, "acknowledge", note="x" * 501).status_code == 422
    assert do(feed.client("bayeux"), alert, "undo").status_code == 404
    assert do(feed.client("audit"), alert, "undo").status_code == 403


def test_many_alerts_at_once_each_with_its_result(feed: RunningFeed):
    medium = raise_alert(feed, severity="medium", rule="bp-low")
    high = raise_alert(feed, n=2, rule="inr-low")
    foreign = raise_alert(feed, patient="p-bayeux", severity="medium")
    nurse = feed.client("infirmiere")
    token = csrf_of(nurse)
    body = {"alerts": [medium, high, foreign], "action": "acknowledge", "note": "seen at the round"}
    answer = nurse.post("/api/alerts/bulk", headers={"X-CSRF-Token": token}, json=body).json()
    assert (answer["done"], answer["refused"]) == (1, 2)
    assert [result["error"] for result in answer["results"]] == [None, "high-in-bulk", "unknown"]
    assert answer["results"][0]["state"] == "acknowledged"
    assert feed.client("bayeux").get(f"/api/alerts/{foreign}").json()["alert"]["state"] == "open"
    assert nurse.post("/api/alerts/bulk", json=body).status_code == 403
    seen = [{"alert": medium, "version": answer["results"][0]["version"]}, {"alert": foreign, "version": 1}]
    stale = [{**seen[0], "version": 1}, medium]
    for alerts, errors in ((stale, ["stale"]), (seen, [None, "unknown"])):
        asked = {"alerts": alerts, "action": "note", "note": "told the daughter"}
        results = nurse.post("/api/alerts/bulk", headers={"X-CSRF-Token": token}, json=asked).json()[
            "results"
        ]
        assert [result["error"] for result in results] == errors
    too_many = {**body, "alerts": [medium] * 201}
    assert nurse.post("/api/alerts/bulk", headers={"X-CSRF-Token": token}, json=too_many).status_code == 422


def test_the_api_describes_every_refusal(feed: RunningFeed):
    schemas = feed.client("infirmiere").get("/openapi.json").json()["components"]["schemas"]
    assert set(schemas["Conflict"]["properties"]["error"]["enum"]) == set(REFUSALS)


def test_an_alert_that_stood_was_acknowledged_or_hidden_is_the_answer(feed: RunningFeed):
    high = raise_alert(feed, rule="glucose-very-low")
    raise_alert(feed, n=2, rule="glucose-low", severity="medium")
    nurse = feed.client("infirmiere")
    found = why(nurse)
    assert found["stood"]["alert"] == high
    assert found["inhibited"]["en"] == (
        "The alert (Glucose low) was gathered inside a graver one of the same problem: Glucose very low."
    )
    assert found["inhibited"]["fr"].startswith("L’alerte (Glucose bas) était regroupée")
    do(nurse, high, "acknowledge")
    assert "acknowledged by Claire Martin at 10:42" in why(nurse)["acknowledged"]["en"]
    do(nurse, high, "undo")
    assert "stood" in why(nurse)
    before = (NOW - timedelta(hours=1)).isoformat()
    assert "stood" not in why(nurse, at=before)
    assert set(why(nurse, rule="glucose-low")) >= {"inhibited"}


def test_readings_explain_what_was_not_raised(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    assert set(why(nurse)) == {"no-plan"}
    store_plan(feed.conn, care_plan("p-caen", "heart-failure", NOW_MS - 30 * DAY))
    assert set(why(nurse)) == {"no-readings"}
    sugar = weight(9, 5, kind="glucose", values={"glucose": 120.0}, device="gl-1")
    write_readings(feed.conn, [weight(1, 48), weight(2, 24, 80.2), sugar], NOW_MS)
    found = why(nurse)
    assert found["within-limits"]["value"] == 80.2
    assert "80.2\u202fkg" in found["within-limits"]["en"]
    assert "Weight gain in 3 days ≥ 2" in found["within-limits"]["en"]
    assert found["not-on-plan"]["kind"] == "glucose"
    assert why(nurse, rule="inr-low")["not-on-plan"]["rule"] == "inr-low"
    assert set(why(nurse, rule="made-up")) == {"unknown-rule"}


@pytest.mark.parametrize(
    ("reading", "code"),
    [
        (weight(1, 24, received_at_ms=NOW_MS + HOUR), "not-yet-received"),
        (weight(1, 24, received_at_ms=NOW_MS + 40 * DAY), "too-late"),
        (weight(1, 24, marks=("contact-lost",)), "artefact"),
    ],
)
def test_readings_that_were_not_evaluated_say_why(feed: RunningFeed, reading: Reading, code: str):
    store_plan(feed.conn, care_plan("p-caen", "heart-failure", NOW_MS - 30 * DAY))
    write_readings(feed.conn, [reading], NOW_MS)
    assert code in why(feed.client("infirmiere"))


def test_what_was_refused_is_named(feed: RunningFeed):
    store_plan(feed.conn, care_plan("p-caen", "heart-failure", NOW_MS - 30 * DAY))
    (device,) = feed.conn.execute(
        "select device from scad.assignment where patient = 'p-caen'"
    ).fetchone() or ("",)
    row = QuarantineRow(
        device=str(device), epoch=0, seq=7, reason="out-of-range", detail="weight 800 kg",
        received_at_ms=NOW_MS - HOUR, raw=b"{}", source_topic="scad.quarantine", source_partition=0,
        source_offset=1, id="0" * 32,
    )  # fmt: skip
    write_quarantine(feed.conn, [row], NOW_MS)
    assert "out-of-range" in why(feed.client("infirmiere"))["quarantined"]["en"]


def test_the_question_is_for_ones_own_patients(feed: RunningFeed):
    at = format_instant(NOW_MS)
    nurse = feed.client("infirmiere")
    assert nurse.get("/api/patients/p-bayeux/why").status_code == 404
    assert nurse.get("/api/patients/p-caen/why", params={"at": at[:10]}).status_code == 422
