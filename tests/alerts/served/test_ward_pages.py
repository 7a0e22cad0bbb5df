"""The ward's pages without a browser: what a form does to the database, and what it refuses in words."""

from __future__ import annotations

import json
import re
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec
from feed_server import RunningFeed, csrf_of
from made_up_ward import DAY, HOUR, NOW_MS
from sealing import vault_of_tests

from alerts.identity.store import read
from alerts.store import write_readings
from devices.readings import Reading
from devices.times import format_instant, to_datetime
from streams import topics
from streams.intake import decode_intervals, process
from streams.plans import CarePlan

PARIS = ZoneInfo("Europe/Paris")
PAGE_MAX = 150_000


def local(at_ms: int) -> str:
    return f"{to_datetime(at_ms).astimezone(PARIS):%Y-%m-%dT%H:%M}"


def post(client: httpx.Client, path: str, **fields: Any) -> httpx.Response:
    names = {name.replace("__", ":").replace("_at_", "-"): value for name, value in fields.items()}
    return client.post(path, data={"csrf": csrf_of(client), **names})


def rows(feed: RunningFeed, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    return feed.conn.execute(query.encode(), parameters).fetchall()


def outbox(feed: RunningFeed) -> list[tuple[str, str, Any, Any]]:
    found = rows(feed, "select topic, key, value, headers from scad.outbox order by id")
    return [(topic, key, json.loads(bytes(value)), headers) for topic, key, value, headers in found]


def weigh(feed: RunningFeed, patient: str, weights: list[float], device: str = "bo-0001") -> None:
    """A weight each morning, the last one today."""
    readings = [
        Reading(
            device=device,
            seq=place + 1,
            kind="body-weight",
            measured_at_ms=NOW_MS - (len(weights) - 1 - place) * DAY - 2 * HOUR,
            received_at_ms=NOW_MS - (len(weights) - 1 - place) * DAY - 2 * HOUR,
            values={"weight": weight},
            patient=patient,
            offset_min=60,
        )
        for place, weight in enumerate(weights)
    ]
    write_readings(feed.conn, readings, NOW_MS)


PLAN = {"protocols": "heart-failure", "spo2_scale": "1", "base": "0"}


def plan_of(feed: RunningFeed, patient: str) -> CarePlan:
    return msgspec.convert(
        [value for topic, key, value, _ in outbox(feed) if (topic, key) == (topics.CARE_PLANS, patient)][-1],
        CarePlan,
    )


def save(client: httpx.Client, patient: str, **fields: str) -> httpx.Response:
    """Preview, then save what was shown."""
    path = f"/patients/{patient}/plan"
    asked = {"csrf": csrf_of(client), **PLAN, **fields}
    shown = client.post(path, data={**asked, "do": "preview"})
    seen = re.search(r'name="seen" value="(\w+)"', shown.text)
    assert seen is not None, shown.text
    return client.post(path, data={**asked, "do": "save", "seen": seen[1]})


def test_a_patient_is_enrolled_from_the_form_and_kafka_is_told(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    answer = post(
        nurse,
        "/enrol",
        family_name="Auvray",
        given_names="Odette",
        birth_date="1948-05-02",
        sex="female",
        ins="2 48 05 75 001 001 34",
        ins_oid="1.2.250.1.213.1.4.10",
        protocols="heart-failure",
        every__body_at_weight="12",
        device__0="sc-900",
        model__0="Balance",
    )
    assert answer.status_code == 303, answer.text
    patient = re.fullmatch(r"/patients/(p-[0-9a-f]{32})\?said=enrolled", answer.headers["location"])
    assert patient is not None
    person = read(feed.conn, vault_of_tests(), patient[1])
    assert person is not None
    assert (person.family_name, person.ins, person.ins_oid) == (
        "Auvray", "248057500100134", "1.2.250.1.213.1.4.10"
    )  # fmt: skip
    plan = plan_of(feed, patient[1])
    assert (plan.care_team, plan.versions[0].protocols) == ("caen", ("heart-failure",))
    assert plan.versions[0].schedule["body-weight"].every_hours == 12
    assert [key for topic, key, *_ in outbox(feed) if topic == topics.ASSIGNMENTS] == ["sc-900"]
    assert not any(
        "Auvray" in json.dumps(value) or "24805" in json.dumps(value) for _, _, value, _ in outbox(feed)
    )
    page = nurse.get(answer.headers["location"])
    assert "Odette Auvray" in page.text
    assert feed.client("bayeux").get(f"/patients/{patient[1]}").status_code == 404


ENROLMENT_FAULTS = [
    ("ins", "248057500100135", "The key does not fit the number"),
    ("ins", "24805750010013", "13 characters and a key of 2 digits"),
    ("family_name", "", "Fill this in"),
    ("birth_date", "2031-01-01", "A birth date that can be"),
    ("device:0", "no/slash", "Letters, digits, dot"),
    ("device:0", "bo-0001", "attached to another patient"),
]


def test_what_is_wrong_is_said_at_the_field_and_nothing_is_written(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    for field, value, sentence in ENROLMENT_FAULTS:
        fields = {
            "family_name": "A",
            "given_names": "B",
            "birth_date": "1948-05-02",
            "sex": "male",
            field: value,
        }
        answer = nurse.post("/enrol", data={"csrf": csrf_of(nurse), **fields})
        assert answer.status_code == 422, (field, value)
        fault = re.search(rf'id="e-{re.escape(field)}">([^<]+)', answer.text)
        assert fault is not None, (field, value)
        assert sentence in fault[1]
        assert f'href="#f-{field}"' in answer.text
    assert rows(feed, "select count(*) from scad.patient") == [(2,)]
    assert outbox(feed) == []


def test_somebody_of_the_same_name_and_birth_date_is_asked_about_first(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    known = rows(
        feed,
        "select family_name, given_names, birth_date::text from identity.person where patient = 'p-caen'",
    )
    fields = dict(zip(("family_name", "given_names", "birth_date"), known[0], strict=True)) | {
        "sex": "female"
    }
    answer = post(nurse, "/enrol", **fields)
    assert answer.status_code == 422
    assert 'href="/patients/p-caen"' in answer.text
    assert post(nurse, "/enrol", **fields, another="1").status_code == 303


def test_a_physician_sees_the_effect_of_a_limit_before_it_is_saved(feed: RunningFeed):
    weigh(feed, "p-caen", [80.0] * 60 + [80.0, 80.9, 81.7] + [80.0] * 20)
    doctor = feed.client("medecin")
    limit = "limit:heart-failure:weight-gain-3d:limit"
    assert save(doctor, "p-caen", reason="inclusion").status_code == 303
    asked = {"csrf": csrf_of(doctor), **PLAN, "base": "1", limit: "1,6", "reason": "insuffisance sévère"}
    unseen = doctor.post("/patients/p-caen/plan", data={**asked, "do": "save"})
    assert unseen.status_code == 422, "what was not shown is not saved"
    assert "1 alert more" in unseen.text
    assert "Weight gain in 3 days" in unseen.text
    assert '<svg class="strips"' in unseen.text
    assert len(plan_of(feed, "p-caen").versions) == 1
    fragment = doctor.post(
        "/patients/p-caen/plan", data={**asked, "do": "preview"}, headers={"X-Fragment": "preview"}
    )
    assert "<html" not in fragment.text
    seen = re.search(r'name="seen" value="(\w+)"', fragment.text)
    assert seen is not None
    saved = doctor.post("/patients/p-caen/plan", data={**asked, "do": "save", "seen": seen[1]})
    assert saved.status_code == 303
    plan = plan_of(feed, "p-caen")
    assert [v.version for v in plan.versions] == [1, 2]
    assert plan.versions[1].limits == {"heart-failure": {"weight-gain-3d": {"limit": 1.6}}}
    page = doctor.get("/patients/p-caen").text
    assert "insuffisance sévère" in page
    assert "2.0\u202fkg (published) → <b>1.6\u202fkg</b>" in page


def test_a_nurse_proposes_and_a_physician_confirms(feed: RunningFeed):
    nurse, doctor = feed.client("infirmiere"), feed.client("medecin")
    assert (
        save(nurse, "p-caen", dry_weight_kg="71,5", reason="pesée à domicile")
        .headers["location"]
        .endswith("said=proposed#plan")
    )
    assert rows(feed, "select count(*) from scad.care_plan") == [(0,)]
    [(number,)] = rows(feed, "select id from scad.plan_proposal where state = 'open'")
    path = f"/patients/p-caen/plan/proposals/{number}"
    assert post(nurse, path, do="confirm").status_code == 403
    assert "pesée à domicile" in doctor.get("/patients/p-caen/plan").text
    assert post(doctor, path, do="decline").status_code == 409, "a refusal needs words"
    assert post(doctor, path, do="confirm").status_code == 303
    [version] = plan_of(feed, "p-caen").versions
    assert (version.dry_weight_kg, version.author) == (71.5, "Dr Paul Hamelin")
    assert rows(feed, "select proposed_by, recorded_by, reason from scad.care_plan") == [
        ("infirmiere", "medecin", "pesée à domicile")
    ]
    assert post(doctor, path, do="confirm").status_code == 409, "it no longer waits"


def test_two_people_who_change_the_plan_at_once_do_not_overwrite_each_other(feed: RunningFeed):
    doctor = feed.client("medecin")
    assert save(doctor, "p-caen", dry_weight_kg="70", reason="a").status_code == 303
    late = doctor.post(
        "/patients/p-caen/plan",
        data={
            "csrf": csrf_of(doctor),
            **PLAN,
            "dry_weight_kg": "71",
            "reason": "b",
            "do": "save",
            "seen": "x",
        },
    )
    assert late.status_code == 409
    assert "The plan has changed meanwhile (version 1)" in late.text
    assert len(plan_of(feed, "p-caen").versions) == 1


PLAN_FAULTS = [
    ("limit:heart-failure:weight-gain-3d:limit", "40", "Must lie between 0.5 and 6"),
    ("limit:heart-failure:weight-gain-3d:limit", "deux", "A number, such as 1.5"),
    ("dry_weight_kg", "5", "Must lie between 20 and 350"),
    ("from", "2020-01-01T00:00", "takes effect now"),
    ("inr_low", "2", "Both ends of the target"),
    ("every:body-weight", "0", "Must lie between 1 and "),
    ("overdue:body-weight", "9000", "Must lie between 2 and "),
]


def test_limits_out_of_range_are_refused_with_the_range(feed: RunningFeed):
    doctor = feed.client("medecin")
    for field, value, sentence in PLAN_FAULTS:
        asked = {
            "csrf": csrf_of(doctor),
            **PLAN,
            "protocols": ["heart-failure", "anticoagulation"],
            field: value,
        }
        answer = doctor.post("/patients/p-caen/plan", data={**asked, "do": "preview"})
        assert answer.status_code == 422, (field, value)
        assert sentence in answer.text


def test_a_device_is_attached_refused_to_others_and_released(feed: RunningFeed):
    nurse, other = feed.client("infirmiere"), feed.client("bayeux")
    assert post(nurse, "/patients/p-caen/devices", device="bp-77", model="BP-7").status_code == 303
    taken = post(other, "/patients/p-bayeux/devices", device="bp-77")
    assert taken.status_code == 422
    assert "attached to another patient" in taken.text
    assert post(other, "/patients/p-caen/devices/bp-77/release").status_code == 404
    feed.hands.now_ms += HOUR // 12
    assert post(nurse, "/patients/p-caen/devices/bp-77/release").status_code == 303
    feed.hands.now_ms += HOUR // 12
    assert post(other, "/patients/p-bayeux/devices", device="bp-77").status_code == 303
    last = [value for topic, key, value, _ in outbox(feed) if (topic, key) == (topics.ASSIGNMENTS, "bp-77")][
        -1
    ]
    assert [(i["patient"], i["to"] is None) for i in last["intervals"]] == [
        ("p-caen", False),
        ("p-bayeux", True),
    ]


def test_a_typed_in_value_takes_the_way_of_every_reading(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    path = "/patients/p-caen/values"
    answer = post(nurse, path, kind="body-weight", body_at_weight__weight="72,4", measured_at=local(NOW_MS - HOUR),
                  note="au téléphone")  # fmt: skip
    assert answer.status_code == 303, answer.text
    (assigned, device, intervals, _), (topic, key, payload, headers) = outbox(feed)
    assert (assigned, topic) == (topics.ASSIGNMENTS, topics.TELEMETRY), "whose it is goes first"
    assert device == key == "manual-p-caen"
    assert headers == [[topics.HEADER_RECEIVED_AT, format_instant(NOW_MS)]]
    known = decode_intervals(json.dumps(intervals).encode())
    taken = process(json.dumps(payload).encode(), key, NOW_MS, lambda _: known)
    assert (taken.refusals, [r.patient for r in taken.readings]) == ([], ["p-caen"])
    assert taken.readings[0].values == {"weight": 72.4}
    assert taken.readings[0].flags == ("manual",)
    assert "on its way" in nurse.get(path).text
    assert rows(feed, "select count(*) from scad.reading") == [(0,)], "not straight into the table"
    write_readings(feed.conn, taken.readings, NOW_MS)
    assert "on its way" not in nurse.get(path).text
    post(nurse, path, kind="inr", inr__inr="2.6", measured_at=local(NOW_MS))
    assert [value["seq"] for topic, _, value, _ in outbox(feed) if topic == topics.TELEMETRY] == [1, 2]
    page = nurse.get("/patients/p-caen").text
    assert "typed in" in page
    assert "au téléphone" in page


VALUE_FAULTS: list[tuple[dict[str, str], str]] = [
    ({"kind": "body-weight", "body-weight:weight": "720"}, "Must lie between 22.7 and 340.2"),
    ({"kind": "blood-pressure", "blood-pressure:systolic": "120"}, "Fill this in"),
    (
        {"kind": "blood-pressure", "blood-pressure:systolic": "80", "blood-pressure:diastolic": "120"},
        "Diastolic must be below systolic",
    ),
    ({"kind": "inr", "inr:inr": "2", "measured_at": local(NOW_MS + DAY)}, "In the future"),
    ({"kind": "inr", "inr:inr": "2", "measured_at": local(NOW_MS - 40 * DAY)}, "More than 35 days ago"),
    ({"kind": "ecg"}, "Choose from the list"),
]


def test_a_typed_in_value_that_cannot_be_is_refused_in_words(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    for fields, sentence in VALUE_FAULTS:
        sent = {"csrf": csrf_of(nurse), "measured_at": local(NOW_MS), **fields}
        answer = nurse.post("/patients/p-caen/values", data=sent)
        assert answer.status_code == 422, fields
        assert sentence in answer.text
    assert outbox(feed) == []


def test_an_absence_is_recorded_shown_and_ended(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    path = "/patients/p-caen/absences"
    wrong = post(nurse, path, kind="hospital", **{"from": local(NOW_MS), "to": local(NOW_MS - DAY)})
    assert "The end must come after the beginning" in wrong.text
    sent = {"from": local(NOW_MS - HOUR), "to": local(NOW_MS + 5 * DAY)}
    assert post(nurse, path, kind="hospital", note="CHU", **sent).status_code == 303
    assert "CHU" in nurse.get("/patients/p-caen").text
    [(number,)] = rows(feed, "select absence from scad.absence")
    assert post(feed.client("bayeux"), f"/patients/p-bayeux/absences/{number}/end").status_code == 409
    assert post(nurse, f"{path}/{number}/end").status_code == 303
    assert rows(feed, "select ended_by from scad.absence") == [("infirmiere",)]


def test_a_note_stands_in_the_timeline_for_good(feed: RunningFeed):
    nurse = feed.client("infirmiere")
    post(nurse, "/patients/p-caen/notes", note="Rappeler <b>demain</b>")
    page = nurse.get("/patients/p-caen").text
    assert "Rappeler &lt;b&gt;demain&lt;/b&gt;" in page
    assert rows(feed, "select event, actor from scad.alert_event") == [("patient-noted", "infirmiere")]


def test_the_timeline_filters_and_goes_back(feed: RunningFeed):
    weigh(feed, "p-caen", [80.0 + day / 100 for day in range(40)])
    nurse = feed.client("infirmiere")
    post(nurse, "/patients/p-caen/notes", note="rien à signaler")
    only = nurse.get("/patients/p-caen?show=action").text
    assert 'class="e-action' in only
    assert 'class="e-reading' not in only
    older = re.search(r'href="\?days=14&amp;before=([^#"]+)#timeline"', nurse.get("/patients/p-caen").text)
    assert older is not None
    before = nurse.get(f"/patients/p-caen?before={older[1]}").text
    assert before.count('class="e-reading') == 14
    assert "rien à signaler" in before, "notes stay in view"
    assert nurse.get("/patients/p-caen?before=garbage").status_code == 400


def inr(feed: RunningFeed, *values: float) -> None:
    readings = [
        Reading(
            device="inr-1",
            seq=place + 1,
            kind="inr",
            measured_at_ms=NOW_MS - (len(values) - 1 - place) * 10 * DAY - HOUR,
            received_at_ms=NOW_MS - (len(values) - 1 - place) * 10 * DAY - HOUR,
            values={"inr": value},
            patient="p-caen",
        )
        for place, value in enumerate(values)
    ]
    write_readings(feed.conn, readings, NOW_MS)


def test_the_inr_page_guides_never_doses_and_a_physician_decides(feed: RunningFeed):
    inr(feed, 1.5, 3.5)
    nurse, doctor = feed.client("infirmiere"), feed.client("medecin")
    page = nurse.get("/patients/p-caen/inr").text
    assert "This software never works out a dose" in page
    assert '<b class="big">50 %</b>' in page, "reference, section 10: 1.5 to 3.5 against 2 to 3"
    assert "no skipped dose" in page
    assert "Proposed date: 23\u202fNov\u202f2026" in page
    assert "Confirm the date" not in page
    measured = rows(feed, "select max(measured_at) from scad.reading")[0][0].isoformat()
    assert (
        post(nurse, "/patients/p-caen/inr", next_test="2026-11-23", measured_at=measured).status_code == 403
    )
    path = "/patients/p-caen/inr"
    wordless = post(doctor, path, next_test="2026-11-25", measured_at=measured)
    assert "A note is needed" in wordless.text
    assert "From today to" in post(doctor, path, next_test="2025-01-01", measured_at=measured).text
    stale = post(doctor, path, next_test="2026-11-23", measured_at="2026-01-01T00:00:00+00:00")
    assert "A new INR came meanwhile" in stale.text
    assert (
        post(doctor, path, next_test="2026-11-25", measured_at=measured, note="dimanche").status_code == 303
    )
    [(actor, body)] = rows(feed, "select actor, body from scad.alert_event where event = 'inr-decided'")
    assert (actor, body["proposed"], body["next_test"], body["decision"]) == (
        "medecin", "2026-11-23", "2026-11-25", "changed",
    )  # fmt: skip
    assert "Set to 25\u202fNov\u202f2026 by Dr Paul Hamelin" in nurse.get(path).text


PATHS = ("", "/plan", "/devices", "/absences", "/values", "/inr", "/why")


def test_every_page_of_every_story_is_small_and_whole(ward: RunningFeed):
    for place, patient in enumerate(("p-0000", "p-0002", "p-0007", "p-0011", "p-0014")):
        language = ("fr", "en")[place % 2]
        doctor = ward.client("medecin", **{"Accept-Language": language})
        for path in PATHS:
            answer = doctor.get(f"/patients/{patient}{path}")
            assert answer.status_code == 200, (patient, path)
            assert len(answer.content) < PAGE_MAX, (patient, path)
            assert f'lang="{language}"' in answer.text


def test_nobody_else_sees_or_changes_a_patient(feed: RunningFeed):
    other, auditor, engineer = feed.client("bayeux"), feed.client("audit"), feed.client("ops")
    for path in PATHS:
        assert other.get(f"/patients/p-caen{path}").status_code == 404
        assert auditor.get(f"/patients/p-caen{path}").status_code == 200
        assert engineer.get(f"/patients/p-caen{path}").status_code == 403
    for path in ("/plan", "/devices", "/absences", "/values", "/notes"):
        assert post(other, f"/patients/p-caen{path}", note="x").status_code == 404
        assert post(auditor, f"/patients/p-caen{path}", note="x").status_code == 403
    unsigned = feed.client("infirmiere").post("/patients/p-caen/notes", data={"note": "x"})
    assert unsigned.status_code == 403
    assert outbox(feed) == []


def test_why_there_was_no_alert_is_answered(ward: RunningFeed):
    nurse = ward.client("infirmiere")
    answer = nurse.get("/patients/p-0004/why")
    assert answer.status_code == 200
    assert "no rule of the plan was met" in answer.text
    assert "A date and time" in nurse.get("/patients/p-0004/why?at=hier").text
