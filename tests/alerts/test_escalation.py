"""Escalation of alerts that nobody answers: who is told when, once, through crashes and standstills."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from escalating import PAGE, SETTINGS, ProcessDiedError, Ward, paris, to
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.escalation import deliver, tick
from alerts.escalation.outbox import ATTEMPTS_MAX, BACKOFF_LONGEST, CLAIM, backoff
from alerts.escalation.process import OPTIONS
from alerts.escalation.tick import ESCALATION_LOCK
from alerts.store.connection import Connection

NOBODY: list[tuple[str, str, int]] = []
DOCTOR = [("dr-carre", "mail", 1), ("dr-carre", "webhook", 1)]


@pytest.fixture
def ward(store: Connection, store_address: str) -> Ward:
    return Ward(store, store_address)


def test_the_second_nurse_after_thirty_minutes_and_the_physician_after_sixty(ward: Ward):
    alert = ward.signal("10:00")
    assert ward.round("10:29") == NOBODY
    assert ward.round("10:30") == [("bea", "mail", 1)]
    assert ward.row(alert) == ("escalated", 1)
    assert ward.round("10:59") == NOBODY
    assert ward.round("11:00") == DOCTOR
    assert ward.row(alert) == ("escalated", 2)
    assert ward.round("2026-11-24T16:00") == NOBODY
    events = ward.store.execute(
        "select actor, body ->> 'level' from scad.alert_event where event = 'escalated' order by id"
    ).fetchall()
    assert events == [("escalation", "1"), ("escalation", "2")]


def test_a_message_names_nobody_who_is_ill(ward: Ward):
    alert = ward.signal("10:00")
    ward.round("10:30")
    (message,) = ward.mail.messages
    assert (message.link, message.counts.by_severity, message.counts.by_level) == (PAGE, {"high": 1}, {1: 1})
    assert message.counts.patients == 1
    for secret in ("p-1", alert, "weight"):
        assert secret not in repr(message)


def test_an_alert_that_was_acknowledged_goes_to_nobody(ward: Ward):
    alert = ward.signal("10:00")
    ward.act(alert, "acknowledge", "10:20")
    assert [ward.round(at) for at in ("10:30", "11:00", "2027-06-01T10:00")] == [NOBODY] * 3


def test_an_alert_that_is_acknowledged_after_the_first_step_does_not_reach_the_second(ward: Ward):
    alert = ward.signal("10:00")
    ward.round("10:30")
    ward.act(alert, "acknowledge", "10:40")
    assert ward.round("11:00") == NOBODY
    assert ward.row(alert, "state") == ("acknowledged",)


def test_what_is_acknowledged_between_the_decision_and_the_sending_is_withdrawn(ward: Ward):
    alert = ward.signal("10:00")
    ward.tick("10:30")
    ward.act(alert, "acknowledge", "10:30")
    assert ward.deliver("10:31") == {"withdrawn": 1}
    assert ward.mail.messages == []
    assert ward.attempts() == [(1, "started"), (1, "withdrawn")]


def test_medium_low_and_technical_alerts_do_not_climb_by_default(ward: Ward):
    ward.signal("10:00", severity="medium")
    ward.signal("10:00", severity="low", alert=2)
    ward.signal("10:00", cls="technical", rule="device-fault", alert=3)
    assert ward.round("2027-01-04T10:00") == [("anne", "mail", 1)]  # the digest of the medium one
    assert ward.mail.messages[0].kind == "digest"


def test_a_team_may_let_medium_alerts_climb(ward: Ward):
    ward.set({**SETTINGS, "escalate": ["high", "medium"], "digest": {}})
    ward.signal("10:00", severity="medium")
    assert ward.round("2026-11-24T09:59") == NOBODY
    assert ward.round("2026-11-24T10:00") == [("bea", "mail", 1)]


def test_a_night_and_a_weekend_stop_the_clock(ward: Ward):
    ward.signal("2026-11-20T16:45")  # Friday, 15 minutes before the closing
    assert ward.round("2026-11-22T12:00") == NOBODY
    assert ward.round("2026-11-23T09:14") == NOBODY
    assert ward.round("2026-11-23T09:15") == [("bea", "mail", 1)]


def test_after_a_standstill_each_person_gets_one_message(ward: Ward):
    for number in range(1, 31):
        ward.signal("10:00", patient=f"p-{number}")
    assert ward.round("16:00") == [("bea", "mail", 30), ("dr-carre", "mail", 30), ("dr-carre", "webhook", 30)]
    assert ward.mail.messages[0].counts.patients == 30
    assert ward.round("16:10") == NOBODY


def test_messages_to_one_person_are_gathered_for_some_minutes(ward: Ward):
    for minute in range(10):
        ward.signal(f"10:{minute:02}", patient=f"p-{minute}")
    sent = [ward.round(f"10:{minute}") for minute in range(30, 41)]
    assert sent[0] == [("bea", "mail", 1)]
    assert [messages for messages in sent[1:] if messages] == [[("bea", "mail", 5)], [("bea", "mail", 4)]]


def test_a_turn_on_call_decides_who_is_told(ward: Ward):
    first = to("bea", until="2026-11-23T12:00:00+01:00")
    second = to("carl", **{"from": "2026-11-23T12:00:00+01:00"})
    ward.set({"steps": [{"after": 0, "to": [first, second]}]})
    ward.signal("10:00")
    ward.signal("13:00", patient="p-2")
    assert ward.round("10:30") == [("bea", "mail", 1)]
    assert ward.round("13:30") == [("carl", "mail", 1)]


def test_a_step_for_which_nobody_is_named_is_taken_all_the_same(ward: Ward):
    ward.set({})
    alert = ward.signal("10:00")
    assert ward.tick("11:00").unheard == 2
    assert ward.row(alert) == ("escalated", 2)
    assert ward.deliver("11:00") == {}


def test_a_snooze_wakes_and_its_time_begins_anew(ward: Ward):
    alert = ward.signal("10:00")
    until = int(paris("12:00").timestamp() * 1000)
    ward.act(alert, "snooze", "10:10", until=until, reason="she calls back at noon")
    assert ward.round("11:30") == NOBODY
    assert ward.tick("12:00").woken == 1
    assert ward.row(alert, "state, due_at") == ("open", paris("12:30"))
    assert ward.round("12:29") == NOBODY
    assert ward.round("12:30") == [("bea", "mail", 1)]


def test_taking_an_acknowledgement_back_gives_the_full_time(ward: Ward):
    alert = ward.signal("10:00")
    ward.act(alert, "acknowledge", "10:05")
    ward.act(alert, "undo", "14:00")
    assert ward.round("14:10") == NOBODY
    assert ward.round("14:30") == [("bea", "mail", 1)]


def test_undoing_an_acknowledgement_after_the_first_step_tells_nobody_twice(ward: Ward):
    alert = ward.signal("10:00")
    ward.round("10:30")
    ward.act(alert, "acknowledge", "10:35")
    ward.act(alert, "undo", "10:40")
    assert ward.round("11:00") == NOBODY  # its time began anew at 10:40: the first step again at 11:10
    assert ward.round("11:10") == NOBODY  # where it already is
    assert ward.round("11:40") == DOCTOR


def test_a_rise_of_severity_after_the_acknowledgement_rings_again(ward: Ward):
    alert = ward.signal("10:00", severity="medium")
    ward.act(alert, "acknowledge", "10:05")
    ward.signal("13:00", "updated", severity="high")
    assert ward.round("13:29") == NOBODY
    assert ward.round("13:30") == [("bea", "mail", 1)]
    assert alert


def test_late_data_that_replaces_an_escalated_alert_tells_nobody_twice(ward: Ward):
    ward.signal("10:00")
    ward.round("10:30")
    ward.signal("10:40", "cleared", reason="late-data")
    new = ward.signal("10:40", alert=2, supersedes=[1])
    assert ward.row(new) == ("escalated", 1)
    assert ward.round("10:50") == NOBODY
    assert ward.round("11:00") == DOCTOR


def test_an_alert_of_an_older_release_gets_its_time_from_now_on(ward: Ward):
    alert = ward.signal("2026-11-16T10:00")
    ward.store.execute("update scad.alert set due_at = null, due_from = null, due_severity = null")
    ticked = ward.tick("10:00")
    assert (ticked.renewed, ticked.escalated) == (1, 0)
    assert ward.row(alert, "due_at") == (paris("10:30"),)
    assert ward.round("10:30") == [("bea", "mail", 1)]


# ── the morning digest ────────────────────────────────────────────────────────────────────────────────────


def test_the_digest_tells_once_a_working_day_of_medium_alerts_that_nobody_noted(ward: Ward):
    noted = ward.signal("2026-11-20T10:00", severity="medium")
    ward.signal("2026-11-21T10:00", severity="medium", patient="p-2")
    ward.signal("2026-11-21T10:00", severity="medium", patient="p-3")
    ward.act(noted, "acknowledge", "2026-11-20T11:00")
    assert ward.round("2026-11-22T12:00") == NOBODY  # Sunday
    assert ward.round("08:59") == NOBODY
    assert ward.round("09:00") == [("anne", "mail", 2)]
    assert ward.round("09:01") == NOBODY
    assert ward.round("2026-11-24T09:30") == [("anne", "mail", 2)]  # they still wait


def test_a_process_that_starts_late_sends_todays_digest_and_no_other(ward: Ward):
    ward.signal("2026-11-16T10:00", severity="medium")
    assert ward.round("15:00") == [("anne", "mail", 1)]
    assert ward.store.execute("select count(*) from scad.digest").fetchone() == (1,)


def test_a_morning_without_medium_alerts_has_no_digest(ward: Ward):
    assert ward.tick("09:00").digests == 0
    assert ward.deliver("09:00") == {}
    assert ward.store.execute("select alerts from scad.digest").fetchall() == [(0,)]


# ── attempts ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_attempt_is_repeated_with_growing_pauses(ward: Ward):
    ward.signal("10:00")
    ward.mail.answers = ["retry", "retry", "sent"]
    assert ward.round("10:30") == [("bea", "mail", 1)]
    assert ward.deliver("10:30:29") == {}
    assert ward.deliver("10:30:30") == {"retry": 1}
    assert ward.deliver("10:31:29") == {}
    assert ward.deliver("10:31:30") == {"sent": 1}
    assert len({message.delivery for message in ward.mail.messages}) == 1
    assert ward.attempts() == [
        *((1, "started"), (1, "retry"), (2, "started"), (2, "retry"), (3, "started"), (3, "sent")),
    ]


def test_attempts_end(ward: Ward):
    ward.signal("10:00")
    ward.set({"steps": [{"after": 0, "to": [to("bea")]}]})
    ward.mail.answers = ["retry"]
    ward.tick("10:30")
    outcomes = []
    for step in range(ATTEMPTS_MAX + 5):
        at = (paris("10:30") + step * BACKOFF_LONGEST).strftime("%H:%M:%S")
        outcomes += list(ward.deliver(at))
    assert outcomes == ["retry"] * (ATTEMPTS_MAX - 1) + ["failed"]
    assert ward.store.execute("select state, attempts from scad.notification").fetchall() == [
        ("failed", ATTEMPTS_MAX)
    ]


def test_a_refusal_for_good_is_not_repeated(ward: Ward):
    ward.signal("10:00")
    ward.mail.answers = ["failed"]
    ward.round("10:30")
    assert ward.deliver("10:59") == {}
    assert ward.store.execute("select state from scad.notification").fetchall() == [("failed",)]


def test_a_channel_that_is_not_set_up_says_what_it_would_have_sent(
    ward: Ward, capsys: pytest.CaptureFixture[str]
):
    ward.signal("10:00")
    ward.tick("10:30")
    ward.mail.answers = ["off"]
    assert ward.deliver("10:30") == {"off": 1}
    assert "notification.would_be_sent" in capsys.readouterr().out


def test_a_process_that_dies_while_it_sends_leaves_the_message_to_the_next(ward: Ward):
    ward.signal("10:00")
    ward.mail.answers = ["crash", "sent"]
    ward.tick("10:30")
    with pytest.raises(ProcessDiedError):
        ward.deliver("10:30")
    assert ward.deliver("10:31") == {}, "it may still be at it"
    again = paris("10:30") + CLAIM
    assert ward.deliver(again.strftime("%H:%M:%S")) == {"sent": 1}
    first, second = ward.mail.messages
    assert first.delivery == second.delivery
    assert ward.attempts() == [(1, "started"), (2, "started"), (2, "sent")]


def test_a_message_that_kills_every_sender_is_given_up(ward: Ward):
    ward.signal("10:00")
    ward.mail.answers = ["crash"]
    ward.tick("10:30")
    for step in range(ATTEMPTS_MAX):
        with pytest.raises(ProcessDiedError):
            ward.deliver((paris("10:30") + step * CLAIM).strftime("%H:%M:%S"))
    last = paris("10:30") + ATTEMPTS_MAX * CLAIM
    assert ward.deliver(last.strftime("%H:%M:%S")) == {"failed": 1}
    assert len(ward.mail.messages) == ATTEMPTS_MAX


def test_attempts_cannot_be_rewritten(ward: Ward):
    ward.signal("10:00")
    ward.round("10:30")
    for statement in (
        "update scad.notification_attempt set outcome = 'sent'",
        "delete from scad.notification_attempt",
    ):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
            ward.store.execute(statement)


def test_pauses_double_and_are_bounded():
    pauses = [backoff(attempt) for attempt in range(1, 9)]
    assert pauses[:3] == [timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == BACKOFF_LONGEST


# ── several processes ─────────────────────────────────────────────────────────────────────────────────────


def test_while_one_process_decides_another_leaves_it_to_it(ward: Ward):
    ward.signal("10:00")
    with ward.store.transaction():
        ward.store.execute("select pg_advisory_xact_lock(%s)", (ESCALATION_LOCK,))
        ticked = ward.tick("10:30")
        assert (ticked.led, ticked.escalated) == (False, 0)
    assert ward.tick("10:30").escalated == 1


def test_two_processes_at_once_tell_everybody_once(ward: Ward):
    for number in range(1, 13):
        ward.signal("10:00", patient=f"p-{number}")

    async def both(work: Any) -> None:
        async def process() -> None:
            async with await psycopg.AsyncConnection.connect(
                ward.address, autocommit=True, **OPTIONS
            ) as conn:
                await work(conn)

        await asyncio.gather(process(), process())

    asyncio.run(both(lambda conn: tick(conn, paris("11:00"))))
    asyncio.run(both(lambda conn: deliver(conn, ward.channels, paris("11:00"))))
    told = sorted((m.person, m.channel, m.counts.alerts) for m in ward.mail.messages + ward.webhook.messages)
    assert told == [("bea", "mail", 12), ("dr-carre", "mail", 12), ("dr-carre", "webhook", 12)]
    levels = ward.store.execute("select escalation_level, count(*) from scad.alert group by 1").fetchall()
    assert levels == [(2, 12)]


# ── what holds whatever happens ───────────────────────────────────────────────────────────────────────────

STEPS = st.lists(
    st.tuples(
        st.integers(1, 40),  # minutes that pass
        st.sampled_from(
            ["raise", "rise", "acknowledge", "undo", "tick", "tick", "deliver", "crash", "round", "round"]
        ),
        st.integers(1, 3),  # of which alert
    ),
    min_size=4,
    max_size=14,
)


def about(number: int) -> dict[str, Any]:
    """Alerts of different problems: one does not hide another."""
    return {"alert": number, "rule": ("weight-gain-3d", "bp-low", "inr-high")[number - 1]}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_nobody_is_told_twice_and_no_unanswered_alert_is_forgotten(
    ward: Ward, steps: list[tuple[int, str, int]]
):
    """Whatever people, readings and crashes do, in any order."""
    ward.store.execute("delete from scad.alert where patient = 'p-1'")
    ward.mail.messages.clear()
    ward.mail.answers = ["sent"]
    tick_of = paris("09:00")
    names: dict[int, str] = {}

    def clock() -> str:
        return tick_of.strftime("%Y-%m-%dT%H:%M:%S")

    for minutes, what, number in steps:
        tick_of += timedelta(minutes=minutes)
        if what == "raise" and number not in names:
            names[number] = ward.signal(
                clock(), severity="medium" if number == 3 else "high", **about(number)
            )
        elif what == "rise" and number in names:
            ward.signal(clock(), "updated", severity="high", **about(number))
        elif what in ("acknowledge", "undo") and number in names:
            ward.act(names[number], what, clock())
        elif what == "crash":
            ward.tick(clock())
            ward.mail.answers = ["crash", "sent"]
            try:
                ward.deliver(clock())
            except ProcessDiedError:
                ward.mail.messages.pop()  # it may or may not have gone out; the next attempt counts
            ward.mail.answers = ["sent"]
        elif what == "tick":
            ward.tick(clock())
        elif what == "deliver":
            ward.deliver(clock())
        elif what == "round":
            ward.round(clock())
    while tick_of < paris("2026-11-25T17:00"):  # all bounds have passed
        tick_of += timedelta(hours=6)
        ward.round(clock())
    assert ward.store.execute(
        "select count(*) from scad.notification where state = 'waiting'"
    ).fetchone() == (0,)
    for name in names.values():
        state, level, due = ward.row(name, "state, escalation_level, due_at")
        told = ward.store.execute(
            "select n.level from scad.notification_alert n join scad.notification m on m.id = n.notification"
            " where n.alert = %s and n.channel = 'mail' and m.state = 'sent' and n.due_at = %s order by 1",
            (name, due),
        ).fetchall()
        assert len(told) == len(set(told)), "told twice of the same"
        if state in ("open", "escalated"):
            severity = ward.row(name, "peak_severity")[0]
            assert level == (2 if severity == "high" else 0), (state, severity, due)
        else:
            assert state == "acknowledged"
