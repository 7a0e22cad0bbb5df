"""A team's settings on a page: who reads them, who changes them, what is refused, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import httpx
import psycopg
import pytest
from feed_server import RunningFeed, csrf_of, running
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_ward import NOW_MS, PASSWORD, enrol

from alerts.feed.accounts import create_account
from alerts.feed.team.settings_form import read_settings, values_of
from alerts.feed.texts import Texts
from alerts.feed.ward.forms import Form, filled
from alerts.service_times import (
    DAYS,
    DEFAULTS,
    STEPS_MAX,
    Contact,
    Digest,
    Due,
    Hours,
    ServiceTimes,
    Step,
    load_teams,
    parse_service_times,
    record_service_times,
)
from devices.times import to_datetime


@pytest.fixture
def feed(store_address: str, store: psycopg.Connection[Any]) -> Iterator[RunningFeed]:
    enrol(store, NOW_MS)
    create_account(store, "admin", PASSWORD, "administrator", None, at=to_datetime(NOW_MS))
    with running(store_address, store) as found:
        yield found


def form(times: ServiceTimes = DEFAULTS, **changed: str) -> dict[str, str]:
    typed = filled(Texts("en"), values_of(times, "Europe/Paris")).typed
    return {**typed, "base": "0", "reason": "holidays", **changed}


def send(client: httpx.Client, team: str = "caen", **fields: str) -> httpx.Response:
    return client.post(f"/teams/{team}", data={"csrf": csrf_of(client), **fields})


def test_an_administrator_changes_what_holds_and_it_is_on_record(feed: RunningFeed):
    admin = feed.client("admin")
    fields = form(
        due_high="20",
        hours_saturday="9h - 12h",
        closed="24/12/2026",
        escalate_medium="1",
        step0_to0_person="bea",
        step0_to0_address="bea@example.org",
        step1_to0_person="Dr Carré",
        step1_to0_channel="webhook",
        step1_to0_address="https://pager.example.org/x",
        step1_to0_until="2026-12-01T08:00",
    )
    assert send(admin, **fields).headers["location"] == "/teams/caen?said=true"
    times = load_teams(feed.conn, "caen")["caen"].times
    assert (times.due.high, times.hours.saturday, times.escalate) == (
        20,
        ("09:00-12:00",),
        ("high", "medium"),
    )
    assert times.steps[0].to[0].address == "bea@example.org"
    assert times.steps[1].to[0].until == to_datetime(1_796_108_400_000)
    page = admin.get("/teams/caen").text
    for words in ("version 1 of", "holidays", "20 min", "30 min", "Sat", "bea (e-mail bea@example.org)"):
        assert words in page
    kept = feed.conn.execute(
        "select actor, event, subject, detail from scad.access_event where actor = 'admin'"
    )
    assert ("admin", "team-settings", "caen", {"version": 1, "reason": "holidays"}) in kept.fetchall()


def test_whoever_works_in_the_team_reads_them_and_nobody_elses(feed: RunningFeed):
    mail = {"person": "bea", "channel": "mail", "address": "bea@example.org"}
    for team in ("caen", "bayeux"):
        times = parse_service_times({"steps": [{"after": 5, "to": [mail]}]}, team)
        record_service_times(feed.conn, team, times, "admin", to_datetime(NOW_MS))
    nurse = feed.client("infirmiere")
    assert nurse.get("/teams").headers["location"] == "/teams/caen"
    page = nurse.get("/teams/caen").text
    assert "bea@example.org" in page
    assert 'name="due_high"' not in page
    assert nurse.get("/teams/bayeux").status_code == 404
    assert send(nurse, **form()).status_code == 403
    assert feed.client("admin").get("/teams").text.count('href="/teams/') == 2


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"due_high": "0"}, "Must lie between 1 and"),
    ({"due_low": ""}, "Fill this in"),
    ({"hours_monday": "morning"}, "Spans such as"),
    ({"hours_monday": "09:00-12:00, 11:00-13:00"}, "Each span ends after"),
    ({"hours_monday": "9h75-12h"}, "Each span ends after"),
    ({f"hours_{day}": "" for day in DAYS}, "At least one day"),
    ({"closed": "24/13/2026"}, "is not a date"),
    ({"step0_after": "30", "step1_after": "30"}, "Each step comes after"),
    ({"step0_to0_person": "bea"}, "Fill this in"),
    ({"step0_to0_person": "b", "step0_to0_address": "b"}, "An e-mail address"),
    (
        {
            "digest_to0_person": "b",
            "digest_to0_channel": "webhook",
            "digest_to0_address": "http://x.example",
        },
        "An https:// address",
    ),
    ({"step2_to0_person": "b", "step2_to0_address": "b@example.org"}, "Fill this in"),
    ({"digest_at": "25h"}, "A time, such as"),
    ({"outside_fr": ""}, "Fill this in"),
    ({"reason": ""}, "Fill this in"),
    ({}, "Nothing differs"),
]


def test_what_cannot_be_is_refused_at_its_field_with_what_was_typed(feed: RunningFeed):
    admin = feed.client("admin")
    for changed, words in REFUSED:
        answer = send(admin, **form(**changed))
        assert answer.status_code == 422, changed
        assert words in answer.text, changed
    assert feed.conn.execute("select count(*) from scad.service_times").fetchone() == (0,)


def test_of_two_administrators_the_second_is_told_and_loses_nothing(feed: RunningFeed):
    admin = feed.client("admin")
    assert send(admin, **form(due_high="20")).status_code == 303
    answer = send(admin, **form(due_high="25"))
    assert answer.status_code == 409
    assert "version 1 meanwhile" in answer.text
    assert 'name="due_high" type="text" value="25"' in answer.text


minutes = st.integers(1, 60_000)
contacts = st.builds(
    Contact,
    person=st.sampled_from(["bea", "Dr Carré"]),
    channel=st.just("mail"),
    address=st.just("bea@example.org"),
    language=st.sampled_from(["fr", "en"]),
    from_=st.none() | st.just(to_datetime(1_794_000_000_000)),
    until=st.none() | st.just(to_datetime(1_796_108_400_000)),
)
people = st.lists(contacts, max_size=3).map(tuple)
spans = st.sampled_from([(), ("09:00-17:00",), ("08:30-12:30", "13:30-24:00")])
chains = st.lists(minutes, unique=True, max_size=STEPS_MAX).flatmap(
    lambda after: st.tuples(*(st.builds(Step, after=st.just(one), to=people) for one in sorted(after)))
)
written = st.builds(
    ServiceTimes,
    hours=st.builds(Hours, monday=st.just(("09:00-12:00",)), **dict.fromkeys(DAYS[1:], spans)),
    holidays=st.sampled_from(["fr", "fr-alsace-moselle", "none"]),
    closed=st.lists(st.dates(date(2020, 1, 1), date(2100, 1, 1)), unique=True, max_size=4).map(
        lambda days: tuple(sorted(days))
    ),
    due=st.builds(Due, high=minutes, medium=minutes, low=minutes, technical=minutes),
    escalate=st.sampled_from([(), ("high",), ("high", "medium", "low")]),
    steps=chains,
    digest=st.builds(Digest, at=st.sampled_from(["00:00", "09:30"]), to=people),
)


@settings(max_examples=25)
@given(written, st.sampled_from(["fr", "en"]))
def test_settings_go_through_the_form_unchanged(times: ServiceTimes, language: str):
    shown = filled(Texts(language), values_of(times, "Europe/Paris"))
    sent = Form(Texts(language), dict(shown.typed))
    assert read_settings(sent, "Europe/Paris") == times, sent.faults
