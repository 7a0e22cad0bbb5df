"""Until when an alert wants an answer: the settings of a team, and what the store makes of them."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import pytest
from test_store_signals import acknowledge, one, signal

from alerts.service_times import (
    DEFAULTS,
    Contact,
    ServiceTimesError,
    Team,
    due_at,
    escalates,
    level_reached,
    load_teams,
    outside_hours,
    outside_hours_message,
    parse_service_times,
    record_service_times,
    working,
)
from alerts.store import write_signals
from alerts.store.connection import Connection

PARIS = ZoneInfo("Europe/Paris")
TEAM = Team("caen", "Caen", "Europe/Paris")
MINUTE = 60_000


def paris(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


def ms(text: str) -> int:
    return int(paris(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("severity", "cls", "due"),
    [
        ("high", "clinical", "2026-11-23T10:30"),
        ("medium", "clinical", "2026-11-24T10:00"),
        ("low", "clinical", "2026-11-30T10:00"),
        ("low", "technical", "2026-11-25T10:00"),
        ("high", "technical", "2026-11-25T10:00"),
    ],
)
def test_the_defaults_on_a_monday_at_ten(severity, cls, due):
    assert due_at(severity, paris("2026-11-23T10:00"), TEAM, cls) == paris(due)


def test_a_high_alert_of_saturday_is_due_on_monday_morning():
    assert due_at("high", paris("2026-11-21T23:00"), TEAM) == paris("2026-11-23T09:30")


def test_the_chain_is_reached_thirty_and_sixty_minutes_after_the_raising_by_default():
    due = due_at("high", paris("2026-11-23T10:00"), TEAM)
    levels = {
        time: level_reached(TEAM, due, paris(f"2026-11-23T{time}"))
        for time in ("10:29", "10:30", "10:59", "11:00")
    }
    assert levels == {"10:29": 0, "10:30": 1, "10:59": 1, "11:00": 2}
    assert escalates(TEAM, "high", "clinical")
    assert not escalates(TEAM, "medium", "clinical")
    assert not escalates(TEAM, "high", "technical")


def test_outside_its_hours_a_team_has_a_message_that_says_when_it_opens():
    assert working(TEAM, paris("2026-11-23T10:00"))
    assert outside_hours(TEAM, paris("2026-11-23T10:00")) is None
    said = outside_hours(TEAM, paris("2026-11-20T18:00"))
    assert said is not None
    assert said.next_open == paris("2026-11-23T09:00")
    assert "15" in said.fr
    assert "not an emergency service" in said.en


def test_a_calendar_that_is_shut_for_good_still_gives_a_due_time():
    mondays = {
        "hours": {"monday": ["09:00-17:00"], "tuesday": [], "wednesday": [], "thursday": [], "friday": []}
    }
    first = date(2026, 1, 5)
    closed = [str(first + timedelta(weeks=week)) for week in range(60)]
    shut = Team("x", "", "UTC", parse_service_times({**mondays, "closed": closed}, "x"))
    assert due_at("high", paris("2026-01-05T10:00"), shut) == paris("2026-01-05T10:30")
    assert outside_hours(shut, paris("2026-01-05T10:00")) is not None


def told(channel: str, address: str) -> dict[str, Any]:
    return {"steps": [{"after": 0, "to": [{"person": "anne", "channel": channel, "address": address}]}]}


GOOD: dict[str, Any] = {
    "holidays": "fr-alsace-moselle",
    "closed": ["2026-12-24"],
    "hours": {"saturday": ["09:00-12:00"], "friday": ["09:00-12:30", "13:30-16:00"]},
    "due": {"high": 15},
    "steps": [
        {"after": 0, "to": [{"person": "anne", "channel": "mail", "address": "anne@example.org"}]},
        {
            "after": 45,
            "to": [{"person": "dr", "channel": "webhook", "address": "https://pager.example.org/x"}],
        },
    ],
    "outside_hours": {"fr": "Fermé."},
    "digest": {"at": "08:15", "to": [{"person": "anne", "channel": "mail", "address": "anne@example.org"}]},
}


def test_settings_are_read_and_what_they_leave_out_stays_the_default():
    times = parse_service_times(GOOD, "caen")
    assert (times.due.high, times.due.medium) == (15, DEFAULTS.due.medium)
    assert times.outside_hours.en == DEFAULTS.outside_hours.en
    assert msgspec.convert(msgspec.to_builtins(times), type(times)) == times


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hours": {"monday": ["9-17"]}}, r"hours\.monday"),
        ({"hours": {"monday": ["12:00-11:00"]}}, "spans"),
        ({"hours": {"someday": []}}, "someday"),
        ({"holidays": "de"}, "holidays"),
        ({"closed": ["24.12.2026"]}, "closed"),
        ({"due": {"high": 0}}, r"due\.high"),
        ({"steps": [{"after": 30}, {"after": 30}]}, "one after the other"),
        ({"steps": [{"after": n} for n in range(4)]}, "steps"),
        ({"digest": {"at": "8h"}}, r"digest\.at"),
        (told("mail", "a@b.example\nBcc: c@d.example"), "address"),
        (told("webhook", "http://example.org"), "https"),
        (told("webhook", "https://user@example.org/"), "https"),
        (told("pigeon", "loft"), "channel"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused_by_name(change, says):
    with pytest.raises(ServiceTimesError, match=rf"(?s)^caen: .*{says}"):
        parse_service_times({**GOOD, **change}, "caen")


def test_a_turn_on_call_begins_and_ends():
    turn = {"person": "a", "channel": "mail", "address": "a@example.org", "from": "2026-11-23T08:00:00+01:00"}
    contact = msgspec.convert({**turn, "until": "2026-11-30T08:00:00+01:00"}, Contact)
    days = {day: contact.on_call(paris(f"2026-11-{day}T08:00")) for day in (22, 23, 29, 30)}
    assert days == {22: False, 23: True, 29: True, 30: False}
    with pytest.raises(msgspec.ValidationError, match="ends before it begins"):
        msgspec.convert({**turn, "until": "2026-11-22T08:00:00+01:00"}, Contact)


# ── in the database ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def caen(store: Connection) -> Connection:
    store.execute("insert into scad.care_team (care_team, name) values ('caen', 'Caen')")
    store.execute("insert into scad.patient values ('p-1', 'caen', '2026-01-01T00:00Z')")
    return store


def due(store: Connection, alert: int = 1) -> datetime:
    found: datetime = one(store, alert, "due_at")[0]
    return found


def test_an_alert_is_due_from_the_instant_at_which_it_became_known(caen: Connection):
    write_signals(caen, [signal(1)], ms("2026-11-23T10:00"))
    assert due(caen) == paris("2026-11-23T10:30")
    assert one(caen, 1, "outside_hours, due_severity") == (False, "high")


def test_an_alert_of_the_night_is_tagged_and_due_in_the_morning(caen: Connection):
    write_signals(caen, [signal(1)], ms("2026-11-23T02:00"))
    assert due(caen) == paris("2026-11-23T09:30")
    assert one(caen, 1, "outside_hours") == (True,)


def test_a_patient_that_enrolment_does_not_know_has_the_defaults(store: Connection):
    write_signals(store, [signal(1)], ms("2026-11-23T10:00"))
    assert due(store) == paris("2026-11-23T10:30")


def test_further_readings_win_no_time_and_a_rise_of_severity_has_its_own(caen: Connection):
    write_signals(caen, [signal(1, severity="medium")], ms("2026-11-23T10:00"))
    write_signals(caen, [signal(2, "updated", 5, severity="medium")], ms("2026-11-23T12:00"))
    assert due(caen) == paris("2026-11-24T10:00")
    write_signals(caen, [signal(3, "updated", 6, severity="high")], ms("2026-11-23T14:00"))
    assert due(caen) == paris("2026-11-23T14:30")
    write_signals(caen, [signal(4, "updated", 7, severity="medium")], ms("2026-11-23T15:00"))
    assert due(caen) == paris("2026-11-23T14:30")


def test_a_rise_never_gives_more_time_than_there_was(caen: Connection):
    write_signals(caen, [signal(1, severity="medium")], ms("2026-11-23T10:00"))
    write_signals(caen, [signal(2, "updated", 5, severity="high")], ms("2026-11-24T09:50"))
    assert due(caen) == paris("2026-11-24T10:00")


def test_an_alert_that_was_answered_and_rises_has_its_full_time(caen: Connection):
    write_signals(caen, [signal(1, severity="medium")], ms("2026-11-23T10:00"))
    acknowledge(caen, 1)
    write_signals(caen, [signal(2, "updated", 5, severity="high")], ms("2026-11-25T11:00"))
    assert due(caen) == paris("2026-11-25T11:30")


def test_late_data_that_moves_an_unanswered_alert_wins_no_time(caen: Connection):
    write_signals(caen, [signal(1)], ms("2026-11-23T10:00"))
    moved = [signal(2, "cleared", 5, reason="late-data"), signal(3, "raised", -60, alert=2, supersedes=[1])]
    write_signals(caen, moved, ms("2026-11-23T10:20"))
    assert due(caen, 2) == paris("2026-11-23T10:30")


def test_an_alert_that_is_raised_again_months_later_has_its_full_time(caen: Connection):
    write_signals(caen, [signal(1), signal(2, "cleared", 5, reason="late-data")], ms("2026-11-23T10:00"))
    write_signals(caen, [signal(3)], ms("2027-02-01T10:00"))
    assert due(caen) == paris("2027-02-01T10:30")


def test_a_number_that_comes_late_and_folds_all_anew_changes_no_due_time(caen: Connection):
    write_signals(caen, [signal(1), signal(3, minutes=9, alert=2)], ms("2026-11-23T10:00"))
    write_signals(caen, [signal(2, "updated", 5)], ms("2026-11-23T11:00"))
    assert (due(caen), due(caen, 2)) == (paris("2026-11-23T10:30"), paris("2026-11-23T10:30"))


def test_settings_hold_from_their_recording_on_and_every_version_is_kept(caen: Connection):
    at = paris("2026-11-23T09:00")
    times = parse_service_times(GOOD, "caen")
    assert record_service_times(caen, "caen", times, "admin", at) == 1
    assert record_service_times(caen, "caen", times, "admin", at) == 1
    assert record_service_times(caen, "caen", DEFAULTS, "admin", at) == 2
    assert record_service_times(caen, "caen", times, "admin", at) == 3
    assert load_teams(caen)["caen"].times == times
    write_signals(caen, [signal(1)], ms("2026-11-23T10:00"))
    assert due(caen) == paris("2026-11-23T10:15")
    with pytest.raises(ServiceTimesError, match="nowhere: no such care team"):
        record_service_times(caen, "nowhere", times, "admin", at)


def test_settings_that_a_later_release_wrote_do_not_stop_an_alert(caen: Connection):
    document = '{"hours": "whenever"}'
    caen.execute("insert into scad.service_times values ('caen', 1, %s, now(), 'x')", (document,))
    write_signals(caen, [signal(1)], ms("2026-11-23T10:00"))
    assert due(caen) == paris("2026-11-23T10:30")


def test_the_page_is_told_what_to_say(caen: Connection, store_address: str):
    async def ask(now: str) -> Any:
        async with await psycopg.AsyncConnection.connect(store_address) as conn:
            return await outside_hours_message(conn, "caen", paris(now))

    assert asyncio.run(ask("2026-11-23T10:00")) is None
    said = asyncio.run(ask("2026-11-23T17:00"))
    assert said.next_open == paris("2026-11-24T09:00")
