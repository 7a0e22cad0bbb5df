from __future__ import annotations

import asyncio
import itertools
import json
from functools import partial
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from hypothesis import given
from hypothesis import strategies as st
from sealing import vault_of_tests

from alerts.enrol import AssignmentConflictError, Interval, announce_everything, assign
from alerts.enrol import enrol as enrol_with
from alerts.enrolment import Enrolment, EnrolmentError, ins_fault, parse_enrolment
from alerts.identity.store import read
from alerts.outbox import publish_outbox
from alerts.store.connection import Connection
from devices.times import parse_instant
from scad.services import Kafka
from scad.settings import Settings
from streams import topics
from streams.kafka import ensure_topics, make_consumer, make_producer, started
from streams.plans import CarePlan, DeviceAssignments
from streams.protocols import load_published

LIBRARY = load_published()
VAULT = vault_of_tests()
enrol = partial(enrol_with, vault=VAULT)
NOW_MS = parse_instant("2026-03-01T08:00:00Z")[0]
OID = "1.2.250.1.213.1.4.10"

TEAM = {"care_team": "caen", "name": "Caen"}
PERSON = {
    "family_name": "MARTIN",
    "given_names": "Jeanne",
    "birth_date": "1948-05-02",
    "sex": "female",
    "ins": {"value": "248057500100134", "oid": OID},
}
PLAN = {"from": "2026-01-01T00:00:00Z", "protocols": ["heart-failure"], "dry_weight_kg": 71.5}


def patient(**fields: Any) -> dict[str, Any]:
    return {"patient": "p-1", "care_team": "caen", **fields}


def device(start: str, to: str | None = None, serial: str = "sc-1") -> dict[str, Any]:
    return {"device": serial, "from": start, "to": to}


def document(*patients: dict[str, Any], teams: tuple[Any, ...] = (TEAM,)) -> Enrolment:
    data = json.dumps({"care_teams": teams, "patients": patients}).encode()
    return parse_enrolment(data, "ward.json", LIBRARY)


def assignments(store: Connection, serial: str = "sc-1") -> list[tuple[Any, ...]]:
    return store.execute(
        "select patient, to_char(from_at at time zone 'UTC', 'MM-DD'), to_char(to_at at time zone 'UTC', 'MM-DD')"
        "  from scad.assignment where device = %s order by from_at",
        (serial,),
    ).fetchall()


def outbox(store: Connection) -> list[tuple[str, str, Any]]:
    rows = store.execute("select topic, key, value from scad.outbox order by id").fetchall()
    return [(topic, key, json.loads(bytes(value))) for topic, key, value in rows]


def whole_database(store: Connection) -> list[Any]:
    tables = (
        "identity.person", "scad.care_team", "scad.patient", "scad.device", "scad.assignment", "scad.care_plan",
        "scad.absence", "scad.outbox",
    )  # fmt: skip
    return [store.execute(f"select * from {table} order by 1, 2".encode()).fetchall() for table in tables]


def test_a_patient_is_enrolled_with_device_and_care_plan(store: Connection):
    done = enrol(
        store,
        document(patient(identity=PERSON, devices=[device("2026-02-01T00:00:00Z")], care_plan=PLAN)),
        NOW_MS,
    )
    assert (done.patients, done.devices, done.care_plans) == (["p-1"], ["sc-1"], ["p-1"])
    traits = read(store, VAULT, "p-1")
    assert traits is not None
    assert (traits.family_name, traits.ins) == ("MARTIN", "248057500100134")
    assert store.execute("select family_name, given_names, ins from identity.person").fetchall() == [
        (None,) * 3
    ]
    (topic, key, value), (plan_topic, plan_key, plan) = outbox(store)
    assert (topic, key) == (topics.ASSIGNMENTS, "sc-1")
    assert msgspec.convert(value, DeviceAssignments).intervals[0].patient == "p-1"
    assert (plan_topic, plan_key) == (topics.CARE_PLANS, "p-1")
    decoded = msgspec.convert(plan, CarePlan)
    assert (decoded.care_team, [v.version for v in decoded.versions]) == ("caen", [1])


def test_the_same_file_twice_changes_nothing(store: Connection):
    entry = patient(
        identity=PERSON, devices=[device("2026-02-01T00:00:00Z")], care_plan=PLAN, absences=[STAY]
    )
    enrol(store, document(entry), NOW_MS)
    before = whole_database(store)
    done = enrol(store, document(entry), NOW_MS + 1000)
    assert (done.patients, done.identities, done.devices, done.care_plans) == ([], [], [], [])
    assert whole_database(store) == before


def test_a_patient_without_pseudonym_gets_one_and_is_found_again(store: Connection):
    drawn = itertools.count(1)
    entry = {"care_team": "caen", "identity": PERSON}
    other = {"care_team": "caen", "identity": {**PERSON, "given_names": "Paul", "sex": "male", "ins": None}}
    first = enrol(store, document(entry, other), NOW_MS, lambda: f"p-{next(drawn)}")
    assert first.drawn == {"patients[0]": "p-1", "patients[1]": "p-2"}
    assert enrol(store, document(entry, other), NOW_MS, lambda: f"p-{next(drawn)}").drawn == {}
    assert store.execute("select count(*) from scad.patient").fetchone() == (2,)


def test_a_device_moves_to_another_patient_and_the_former_interval_ends_there(store: Connection):
    enrol(store, document(patient(devices=[device("2026-02-01T00:00:00Z")])), NOW_MS)
    moved = patient(patient="p-2", devices=[device("2026-02-20T00:00:00Z")])
    enrol(store, document(moved), NOW_MS)
    assert assignments(store) == [("p-1", "02-01", "02-20"), ("p-2", "02-20", None)]
    enrol(store, document(patient(devices=[device("2026-02-01T00:00:00Z")])), NOW_MS)  # the old file again
    assert assignments(store) == [("p-1", "02-01", "02-20"), ("p-2", "02-20", None)]


def test_a_device_is_released(store: Connection):
    enrol(store, document(patient(devices=[device("2026-02-01T00:00:00Z")])), NOW_MS)
    enrol(store, document(patient(devices=[device("2026-02-01T00:00:00Z", "2026-02-10T00:00:00Z")])), NOW_MS)
    assert assignments(store) == [("p-1", "02-01", "02-10")]


def test_two_patients_cannot_have_a_device_from_the_same_instant(store: Connection):
    both = [patient(patient=name, devices=[device("2026-02-01T00:00:00Z")]) for name in ("p-1", "p-2")]
    with pytest.raises(EnrolmentError) as caught:
        enrol(store, document(*both), NOW_MS)
    assert str(caught.value) == (
        "ward.json: patients[1].devices[0].device: sc-1: it is p-1's from 2026-02-01T00:00:00.000+00:00 on"
    )
    assert not any(whole_database(store))


def test_a_changed_care_plan_is_a_new_version(store: Connection):
    enrol(store, document(patient(care_plan=PLAN)), NOW_MS)
    enrol(
        store,
        document(patient(care_plan={**PLAN, "from": "2026-02-01T00:00:00Z", "dry_weight_kg": 70})),
        NOW_MS,
    )
    assert store.execute("select version, document->'dry_weight_kg' from scad.care_plan").fetchall() == [
        (1, 71.5),
        (2, 70.0),
    ]
    enrol(store, document(patient(care_plan=PLAN)), NOW_MS)  # the old file again: its version is known
    assert store.execute("select count(*) from scad.care_plan").fetchone() == (2,)
    latest = outbox(store)[-1][2]
    assert [version["version"] for version in latest["versions"]] == [1, 2]


def test_a_numbered_version_is_never_changed_nor_skipped(store: Connection):
    enrol(store, document(patient(care_plan={**PLAN, "version": 1})), NOW_MS)
    for version, said in (
        (1, "is never changed; give the new one version 2"),
        (3, "the next version of p-1 is 2"),
    ):
        with pytest.raises(EnrolmentError, match=said):
            enrol(
                store, document(patient(care_plan={**PLAN, "version": version, "dry_weight_kg": 70})), NOW_MS
            )


def test_a_patient_who_changes_team_takes_the_plan_along(store: Connection):
    enrol(store, document(patient(care_plan=PLAN)), NOW_MS)
    other = {"care_team": "bayeux", "name": "Bayeux"}
    enrol(store, document(patient(care_team="bayeux"), teams=(other,)), NOW_MS)
    assert outbox(store)[-1][2]["care_team"] == "bayeux"


def absence(start: str, to: str, **more: Any) -> dict[str, Any]:
    return {"kind": "hospital", "from": start, "to": to, **more}


def absences(store: Connection) -> list[tuple[Any, ...]]:
    return store.execute(
        "select kind, to_char(from_at at time zone 'UTC', 'MM-DD HH24'),"
        "  to_char(to_at at time zone 'UTC', 'MM-DD HH24'), note, recorded_by, begun from scad.absence order by from_at"
    ).fetchall()


STAY = absence("2026-02-27T20:00:00+01:00", "2026-03-09T12:00:00+01:00", note="hip")
TRIP = absence("2026-04-01T00:00:00Z", "2026-07-02T00:00:00Z", kind="holiday")


def test_planned_absences_are_recorded_once_and_standing_alerts_wait_for_whoever_lets_time_pass(
    store: Connection,
):
    assert enrol(store, document(patient(absences=[STAY, TRIP])), NOW_MS).absences == ["p-1", "p-1"]
    recorded = [
        ("hospital", "02-27 19", "03-09 11", "hip", "scad enrol", False),
        ("holiday", "04-01 00", "07-02 00", None, "scad enrol", False),
    ]
    assert absences(store) == recorded
    for later_ms in (1000, 200 * 86_400_000):  # also when both are long over
        assert enrol(store, document(patient(absences=[TRIP, STAY])), NOW_MS + later_ms).absences == []
    assert absences(store) == recorded
    assert enrol(store, document(patient()), NOW_MS).absences == []  # what is left out is not taken back
    assert absences(store) == recorded


def test_an_absence_that_somebody_ended_on_the_page_is_not_begun_again_by_the_file(store: Connection):
    enrol(store, document(patient(absences=[STAY])), NOW_MS)
    store.execute(
        "update scad.absence set to_at = '2026-03-02Z', ended_at = '2026-03-02Z', ended_by = 'nurse'"
    )
    assert enrol(store, document(patient(absences=[STAY])), NOW_MS + 1000).absences == []
    assert [row[2] for row in absences(store)] == ["03-02 00"]


def test_every_absence_that_cannot_be_recorded_is_named_and_nothing_is_written(store: Connection):
    enrol(store, document(patient(absences=[STAY])), NOW_MS)
    before = absences(store)
    bad = [
        {**STAY, "to": "2026-03-20T12:00:00+01:00"},
        absence("2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"),
        absence("2026-01-02T00:00:00Z", "2026-03-20T00:00:00Z"),
        TRIP,
    ]
    with pytest.raises(EnrolmentError) as caught:
        enrol(store, document(patient(absences=bad), patient(patient="p-2", care_team="x")), NOW_MS)
    changed, over, too_old, team = str(caught.value).splitlines()
    assert changed.startswith(
        "ward.json: patients[0].absences[0]: another kind, end or note than recorded, 'hospital' until 2026-03-09T11"
    )
    assert over.startswith("ward.json: patients[0].absences[1]: it is over")
    assert too_old.startswith(
        "ward.json: patients[0].absences[2]: it is over, or began more than 35 days ago"
    )
    assert team.startswith("ward.json: patients[1].care_team")
    assert absences(store) == before


def test_an_ins_belongs_to_one_patient(store: Connection):
    enrol(store, document(patient(identity=PERSON)), NOW_MS)
    with pytest.raises(EnrolmentError, match=r"patients\[0\]\.identity\.ins: another patient than p-2"):
        enrol(store, document(patient(patient="p-2", identity=PERSON)), NOW_MS)


def test_an_unknown_team_is_named(store: Connection):
    with pytest.raises(EnrolmentError, match=r"patients\[0\]\.care_team: 'caen' is not known; add it"):
        enrol(store, document(patient(), teams=()), NOW_MS)


def test_announcing_everything_queues_each_device_and_patient_once(store: Connection):
    enrol(store, document(patient(devices=[device("2026-02-01T00:00:00Z")], care_plan=PLAN)), NOW_MS)
    store.execute("delete from scad.outbox")
    assert announce_everything(store, NOW_MS) == 2
    assert [(topic, key) for topic, key, _ in outbox(store)] == [
        (topics.ASSIGNMENTS, "sc-1"),
        (topics.CARE_PLANS, "p-1"),
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"care_team": "caen"}, "patients[0]: give `patient`, `identity` or both"),
        ({"patient": "p-1"}, "patients[0]: Object missing required field `care_team`"),
        ({"patient": 5, "care_team": "caen"}, "patients[0].patient: Expected `str | null`, got `int`"),
        (patient(wait=1), "patients[0]: Object contains unknown field `wait`"),
        (patient(identity={**PERSON, "sex": "f"}), "patients[0].identity.sex: Invalid enum value 'f'"),
        (
            patient(identity={**PERSON, "birth_date": "1948-13-02"}),
            "patients[0].identity.birth_date: Invalid",
        ),
        (
            patient(identity={**PERSON, "ins": {"value": "248057500100188", "oid": OID}}),
            "patients[0].identity.ins.value: its key does not fit the number",
        ),
        (patient(devices=[device("yesterday")]), "patients[0].devices[0].from: 'yesterday' is not RFC 3339"),
        (
            patient(devices=[device("2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z")]),
            "patients[0].devices[0].to: 2026-01-01T00:00:00Z is not after from",
        ),
        (
            patient(devices=[device("2026-02-01T00:00:00Z", serial="a b")]),
            "patients[0].devices[0].device: Expected",
        ),
        (
            patient(absences=[{**STAY, "kind": "moon"}]),
            "patients[0].absences[0].kind: Invalid enum value 'moon'",
        ),
        (patient(absences=[{**STAY, "to": None}]), "patients[0].absences[0].to: Expected `str`, got `null`"),
        (patient(absences=[{**STAY, "to": "soon"}]), "patients[0].absences[0].to: 'soon' is not RFC 3339"),
        (
            patient(absences=[TRIP, {**TRIP, "from": TRIP["to"], "to": TRIP["from"]}]),
            "patients[0].absences[1].to: 2026-04-01T00:00:00Z is not after from, 2026-07-02",
        ),
        (
            patient(absences=[{**TRIP, "to": "2026-07-02T00:00:01Z"}]),
            "patients[0].absences[0].to: an absence lasts at most 92 days",
        ),
        (
            patient(absences=[TRIP, {**TRIP, "from": "2026-04-01T02:00:00+02:00"}]),
            "patients[0].absences[1].from: 2026-04-01T02:00:00+02:00 stands already in patients[0].absences[0]",
        ),
        (
            patient(care_plan={**PLAN, "protocols": ["love"]}),
            "patients[0].care_plan.protocols: 'love' is not one",
        ),
        (patient(care_plan={"protocols": []}), "patients[0].care_plan: Object missing required field `from`"),
    ],
)
def test_a_fault_is_named_with_file_place_and_field(entry: dict[str, Any], said: str):
    with pytest.raises(EnrolmentError) as caught:
        document(entry)
    assert str(caught.value).startswith(f"ward.json: {said}")


def test_all_faults_are_reported_at_once():
    away = patient(patient="p-9", absences=[{**STAY, "to": "soon"}, {**TRIP, "from": "late"}])
    with pytest.raises(EnrolmentError) as caught:
        document(patient(wait=1), patient(identity={**PERSON, "sex": "f"}), patient(), patient(), away)
    assert len(str(caught.value).splitlines()) == 5


@pytest.mark.parametrize(("name", "data"), [("a.json", b"{"), ("a.toml", b"= 1"), ("b.json", b"[]")])
def test_a_file_that_is_no_document_is_refused_by_name(name: str, data: bytes):
    with pytest.raises(EnrolmentError, match=name):
        parse_enrolment(data, name, LIBRARY)


def test_toml_may_use_its_own_dates():
    text = """
    [[care_teams]]
    care_team = "caen"
    name = "Caen"
    [[patients]]
    patient = "p-1"
    care_team = "caen"
    identity = {family_name = "MARTIN", given_names = "Jeanne", birth_date = 1948-05-02, sex = "female"}
    [[patients.devices]]
    device = "sc-1"
    from = 2026-02-01T00:00:00Z
    """
    (entry,) = parse_enrolment(text.encode(), "ward.toml", LIBRARY).patients
    assert entry.devices[0].from_ms == parse_instant("2026-02-01T00:00:00Z")[0]


def test_the_key_of_an_ins_from_corsica_fits():
    number = int("1480219001001")
    assert ins_fault(f"148022A001001{97 - number % 97:02d}") is None


uses = st.lists(
    st.tuples(st.sampled_from(["p-1", "p-2", "p-3"]), st.integers(0, 20), st.none() | st.integers(1, 30)),
    unique_by=lambda use: use[1],
    max_size=8,
)


@given(
    uses=uses.map(lambda items: [(p, a, None if n is None else a + n) for p, a, n in items]), data=st.data()
)
def test_intervals_do_not_overlap_whatever_the_order_of_assignment(
    uses: list[tuple[str, int, int | None]], data: st.DataObject
):
    def after(order: list[tuple[str, int, int | None]]) -> list[Interval]:
        intervals: list[Interval] = []
        for person, start, to in order:
            intervals = assign(intervals, person, start, to)
        return intervals

    result = after(uses)
    assert after(list(data.draw(st.permutations(uses)))) == result
    assert after(uses + uses) == result
    assert [(interval.from_ms, interval.patient) for interval in result] == sorted((a, p) for p, a, _ in uses)
    for before, following in itertools.pairwise(result):
        assert before.to_ms is not None
        assert before.from_ms < before.to_ms <= following.from_ms


def test_assigning_at_a_taken_instant_says_whose_it_is():
    with pytest.raises(AssignmentConflictError, match="p-1's"):
        assign([Interval(5, "p-1", None)], "p-2", 5, None)


@pytest.mark.slow
def test_what_waits_is_sent_in_order_and_once(store: Connection, fresh_kafka: Kafka):
    settings = Settings(kafka=fresh_kafka.bootstrap, partitions=2)
    enrol(store, document(patient(devices=[device("2026-02-01T00:00:00Z")], care_plan=PLAN)), NOW_MS)
    enrol(store, document(patient(patient="p-2", devices=[device("2026-02-20T00:00:00Z")])), NOW_MS)

    async def scenario() -> tuple[int, int, list[tuple[str, bytes, Any]]]:
        await ensure_topics(settings)
        producer = await make_producer(settings, "test")
        sent, again = await publish_outbox(store, producer), await publish_outbox(store, producer)
        await producer.stop()
        consumer: AIOKafkaConsumer = make_consumer(
            settings, topics.ASSIGNMENTS, topics.CARE_PLANS, client_id="t", group_id="t"
        )
        await started(consumer, settings)
        got: list[tuple[str, bytes, Any]] = []
        async with asyncio.timeout(30):
            while len(got) < 3:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    got += [(record.topic, record.key, json.loads(record.value)) for record in batch]
        await consumer.stop()
        return sent, again, got

    sent, again, got = asyncio.run(scenario())
    assert (sent, again) == (3, 0)
    last = [value for topic, key, value in got if (topic, key) == (topics.ASSIGNMENTS, b"sc-1")][-1]
    assert [interval["patient"] for interval in last["intervals"]] == ["p-1", "p-2"]
    assert outbox(store) == []
