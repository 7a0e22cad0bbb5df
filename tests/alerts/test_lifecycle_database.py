"""Actions, absences and the clock in the database: who wins, what is on record, what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
from acting_people import act
from test_store_signals import DAY_MS, MINUTE_MS, NOW_MS, events, name_of, one, queue, signal

from alerts import absence
from alerts.absence import AbsenceError
from alerts.actions import BULK_MAX, Connection, Done, act_in_bulk, pass_time
from alerts.actions import act as act_async
from alerts.lifecycle import ActionRequest, Refused
from alerts.store import write_signals
from alerts.store.connection import Connection as Store
from devices.times import to_datetime

HOUR_MS = 60 * MINUTE_MS
T = TypeVar("T")


@asynccontextmanager
async def connected(store: Store) -> AsyncIterator[Connection]:
    info = store.info
    async with await psycopg.AsyncConnection.connect(
        info.dsn, password=info.password, autocommit=True
    ) as conn:
        yield conn


def run(store: Store, work: Callable[[Connection], Awaitable[T]]) -> T:
    async def go() -> T:
        async with connected(store) as conn:
            return await work(conn)

    return asyncio.run(go())


def enrol(store: Store) -> None:
    store.execute(
        "insert into scad.care_team values ('caen', 'Caen'), ('bayeux', 'Bayeux');"
        "insert into scad.patient values ('p-1', 'caen', now());"
        "insert into scad.account (login, display_name, password_hash, role, care_team, created_at) values"
        " ('anne', 'A', '$argon2id$', 'nurse', 'caen', now()),"
        " ('marie', 'M', '$argon2id$', 'nurse', 'bayeux', now())"
    )


def tick(store: Store, at_ms: int) -> int:
    return run(store, lambda conn: pass_time(conn, to_datetime(at_ms)))


def plan(store: Store, kind: Any, from_ms: int, to_ms: int, at_ms: int = NOW_MS) -> int:
    begin, end, at = to_datetime(from_ms), to_datetime(to_ms), to_datetime(at_ms)
    return run(store, lambda c: absence.record(c, "p-1", kind, begin, end, "anne", at)).absence


def test_of_two_nurses_at_once_one_wins_and_the_other_is_told_who(store: Store):
    write_signals(store, [signal(1)], NOW_MS)

    async def both() -> list[Done | Refused]:
        async with connected(store) as one_, connected(store) as other:
            wanted = ActionRequest(action="acknowledge", version=1)
            tries = [(one_, "anne"), (other, "paul")]
            at = to_datetime(NOW_MS)
            which = UUID(name_of("p-1", 1))
            return await asyncio.gather(*(act_async(conn, which, wanted, by, at) for conn, by in tries))

    results = asyncio.run(both())
    (won,) = [result for result in results if isinstance(result, Done)]
    (lost,) = [result for result in results if isinstance(result, Refused)]
    assert (lost.refusal, lost.by) == ("already-acknowledged", won.row.acknowledged_by)
    assert [event for kind, _, event in events(store) if kind == "action"] == ["acknowledged"]


def test_who_acts_on_an_older_version_is_refused_and_another_reading_makes_none_older(store: Store):
    write_signals(store, [signal(1), signal(2, "updated", 3)], NOW_MS)
    name = name_of("p-1", 1)
    assert one(store, 1, "version") == (1,)
    enrol(store)
    assert act(store, name, "assign", "paul", NOW_MS, version=1, to="anne") == "assigned"
    assert act(store, name, "acknowledge", "marie", NOW_MS, version=1) == ("stale", "paul")
    assert act(store, name, "acknowledge", "marie", NOW_MS, version=2) == "acknowledged"


def test_only_somebody_of_the_patients_team_can_be_assigned(store: Store):
    enrol(store)
    write_signals(store, [signal(1)], NOW_MS)
    name = name_of("p-1", 1)
    for nobody in ("marie", "nobody"):
        assert act(store, name, "assign", "anne", NOW_MS, to=nobody) == ("unknown-assignee", None)
    assert act(store, name, "assign", "anne", NOW_MS, to="anne") == "assigned"
    assert act(store, name, "assign", "anne", NOW_MS, to="") == "assigned"
    assert one(store, 1, "assignee") == (None,)


def test_a_snooze_holds_on_new_readings_ends_by_itself_and_does_not_ring_again(store: Store):
    write_signals(store, [signal(1)], NOW_MS)
    rang = one(store, 1, "rang_n, rang_at")
    name, until = name_of("p-1", 1), NOW_MS + 2 * HOUR_MS
    assert act(store, name, "snooze", "anne", NOW_MS, until=until, reason="calls back") == "snoozed"
    write_signals(store, [signal(2, "updated", 30)], NOW_MS + HOUR_MS)
    assert (one(store, 1, "state"), queue(store)) == (("snoozed",), [])
    assert tick(store, until - 1) == 0
    assert tick(store, until) == 1
    assert (one(store, 1, "state"), queue(store)) == (("open",), [name])
    assert tick(store, until + DAY_MS) == 0
    assert one(store, 1, "rang_n, rang_at") == rang
    assert events(store)[-1] == ("action", None, "woken")


def test_a_rise_in_severity_breaks_a_snooze_and_rings(store: Store):
    write_signals(store, [signal(1, severity="medium")], NOW_MS)
    name = name_of("p-1", 1)
    act(store, name, "snooze", "anne", NOW_MS, until=NOW_MS + DAY_MS, reason="calls back")
    write_signals(store, [signal(2, "updated", 30)], NOW_MS + HOUR_MS)
    assert one(store, 1, "state, rang_n, snoozed_until") == ("open", 2, None)
    assert queue(store) == [name]


def test_late_data_carries_snooze_assignee_and_work_over_without_ringing(store: Store):
    enrol(store)
    write_signals(store, [signal(1)], NOW_MS)
    name = name_of("p-1", 1)
    act(store, name, "start", "anne", NOW_MS)
    act(store, name, "snooze", "anne", NOW_MS, until=NOW_MS + DAY_MS, reason="visit tomorrow")
    moved = [
        signal(2, "cleared", 5, reason="late-data"),
        signal(3, "raised", -60, alert=2, supersedes=[1]),
    ]
    write_signals(store, moved, NOW_MS)
    columns = "state, assignee, started_by, snooze_reason, rang_n"
    assert one(store, 2, columns) == ("snoozed", "anne", "anne", "visit tomorrow", None)
    new = name_of("p-1", 2)
    assert act(store, new, "undo", "anne", NOW_MS) == "undone"
    assert one(store, 2, "state") == ("in-progress",)


def test_an_acknowledgement_that_was_taken_back_does_not_return_with_a_straggler(store: Store):
    write_signals(store, [signal(1), signal(3, "updated", 9)], NOW_MS)
    name = name_of("p-1", 1)
    act(store, name, "acknowledge", "anne", NOW_MS)
    act(store, name, "undo", "anne", NOW_MS)
    write_signals(store, [signal(2, "updated", 4)], NOW_MS)
    assert one(store, 1, "state, acknowledged_by") == ("open", None)


def test_many_at_once_say_what_became_of_each_and_leave_the_high_ones(store: Store):
    rules = {1: "bp-low", 2: "inr-low", 3: "ttr-low"}
    write_signals(
        store,
        [
            signal(1, rule=rules[1], severity="medium"),
            signal(2, rule=rules[2], alert=2),
            signal(3, rule=rules[3], alert=3, severity="low"),
        ],
        NOW_MS,
    )
    act(store, name_of("p-1", 3), "acknowledge", "paul", NOW_MS)
    asked = [UUID(name_of("p-1", number)) for number in (1, 2, 3, 4)]
    request = ActionRequest(action="acknowledge", note="seen at the round")
    results = run(store, lambda c: act_in_bulk(c, asked, request, "anne", to_datetime(NOW_MS)))
    said = [r.event if isinstance(r, Done) else (r.refusal, r.by) for r in results.values()]
    assert said == [
        "acknowledged", ("high-in-bulk", None), ("already-acknowledged", "paul"), ("unknown", None),
    ]  # fmt: skip
    notes = store.execute(
        "select body->>'note' from scad.alert_event where event = 'acknowledged' order by id"
    )
    assert notes.fetchall() == [(None,), ("seen at the round",)]


def test_what_closes_an_alert_is_not_done_to_many_at_once_nor_anything_to_too_many(store: Store):
    resolve = ActionRequest(action="resolve", outcome="advice")
    asked = [UUID(int=n) for n in range(BULK_MAX + 1)]
    at = to_datetime(NOW_MS)
    results = run(store, lambda c: act_in_bulk(c, asked[:1], resolve, "anne", at))
    assert results == {asked[0]: Refused(refusal="not-in-bulk")}
    with pytest.raises(ValueError, match="201 alerts at once; 200 are allowed"):
        run(store, lambda c: act_in_bulk(c, asked, resolve, "anne", at))


def test_an_absence_holds_alerts_back_from_its_beginning_and_gives_back_what_is_true_at_its_end(store: Store):
    enrol(store)
    silent = {"rule": "no-reading", "cls": "technical", "severity": "medium"}
    stays, ends = name_of("p-1", 1), name_of("p-1", 2)
    write_signals(store, [signal(1), signal(2, alert=2, rule="bp-low", severity="medium")], NOW_MS)
    plan(store, "hospital", NOW_MS + HOUR_MS, NOW_MS + 10 * HOUR_MS)
    assert set(queue(store)) == {stays, ends}
    assert tick(store, NOW_MS + HOUR_MS) == 1
    assert queue(store) == []
    write_signals(store, [signal(3, alert=3, minutes=90, **silent)], NOW_MS + 2 * HOUR_MS)
    assert queue(store) == [name_of("p-1", 3)]
    cleared = signal(4, "cleared", 120, alert=2, rule="bp-low", severity="medium")
    write_signals(store, [cleared], NOW_MS + 3 * HOUR_MS)
    assert tick(store, NOW_MS + 10 * HOUR_MS) == 1
    assert set(queue(store)) == {stays, name_of("p-1", 3)}
    assert one(store, 2, "state, suppressed") == ("cleared", None)


def test_an_absence_that_is_ended_early_gives_back_at_once(store: Store):
    enrol(store)
    write_signals(store, [signal(1)], NOW_MS)
    number = plan(store, "hospital", NOW_MS, NOW_MS + DAY_MS)
    assert queue(store) == []
    at = to_datetime(NOW_MS + HOUR_MS)
    assert run(store, lambda c: absence.end(c, number, "anne", at)).ended_by == "anne"
    assert queue(store) == [name_of("p-1", 1)]
    with pytest.raises(AbsenceError) as refused:
        run(store, lambda c: absence.end(c, number, "anne", at))
    assert refused.value.refusal == "ended"
    assert len(run(store, lambda c: absence.of_patient(c, "p-1"))) == 1


@pytest.mark.parametrize(
    ("from_h", "to_h", "refusal"),
    [(2, 1, "end-needed"), (0, 93 * 24, "too-long"), (-5, -1, "over"), (-36 * 24, 5, "over")],
)
def test_an_absence_that_cannot_be_is_refused_by_name(store: Store, from_h: int, to_h: int, refusal: str):
    enrol(store)
    with pytest.raises(AbsenceError) as refused:
        plan(store, "holiday", NOW_MS + from_h * HOUR_MS, NOW_MS + to_h * HOUR_MS)
    assert refused.value.refusal == refusal


def test_an_absence_of_nobody_is_refused(store: Store):
    with pytest.raises(AbsenceError, match="there is no patient p-1"):
        plan(store, "holiday", NOW_MS, NOW_MS + HOUR_MS)


def test_a_quiet_rule_speaks_when_its_time_is_over_if_it_is_still_true(store: Store):
    first = [signal(1, severity="medium"), signal(2, "cleared", 5, severity="medium")]
    write_signals(store, first[:1], NOW_MS)
    write_signals(store, first[1:], NOW_MS + 5 * MINUTE_MS)
    write_signals(store, [signal(3, "raised", 60, alert=2, severity="medium")], NOW_MS + HOUR_MS)
    assert queue(store) == []
    assert events(store)[-1] == ("action", None, "suppressed")
    until = NOW_MS + 5 * MINUTE_MS + 12 * HOUR_MS
    assert (tick(store, until - 1), tick(store, until)) == (0, 1)
    assert queue(store) == [name_of("p-1", 2)]
    assert events(store)[-1] == ("action", None, "released")
