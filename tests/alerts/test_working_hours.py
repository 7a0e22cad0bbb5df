"""A team's working calendar: holidays against published dates, arithmetic against a clock read minute by minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.working_hours import (
    NoWorkingTimeError,
    WorkingHours,
    easter,
    public_holidays,
)

PARIS = ZoneInfo("Europe/Paris")
OFFICE = ((540, 1020),)
NO = ()
WEEK = (OFFICE,) * 5 + (NO, NO)
WEEKDAYS = WorkingHours(PARIS, WEEK)
ALWAYS = WorkingHours(PARIS, (((0, 1440),),) * 7, holidays="none")

# Easter Sunday, as printed in the calendars of these years.
EASTER = """2020-04-12 2021-04-04 2022-04-17 2023-04-09 2024-03-31 2025-04-20 2026-04-05 2027-03-28 2028-04-16
    2029-04-01 2030-04-21 2031-04-13 2032-03-28 2033-04-17 2034-04-09 2035-03-25"""


def paris(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS, fold=fold)


@pytest.mark.parametrize("known", [date.fromisoformat(text) for text in EASTER.split()], ids=str)
def test_easter_falls_where_the_calendars_print_it(known):
    assert easter(known.year) == known
    movable = {known + timedelta(days=after) for after in (1, 39, 50)}
    assert movable <= public_holidays(known.year)


def test_the_eleven_holidays_of_2026():
    texts = "01-01 04-06 05-01 05-08 05-14 05-25 07-14 08-15 11-01 11-11 12-25"
    assert public_holidays(2026) == {date.fromisoformat(f"2026-{text}") for text in texts.split()}


def test_a_year_in_which_ascension_and_victory_day_fall_together_has_ten():
    assert len(public_holidays(2024)) == 11
    assert easter(2035) + timedelta(days=39) == date(2035, 5, 3)
    assert len(public_holidays(1997)) == 10  # Ascension on 8 May


def test_alsace_and_moselle_add_good_friday_and_the_second_day_of_christmas():
    more = public_holidays(2026, "fr-alsace-moselle") - public_holidays(2026, "fr")
    assert more == {date(2026, 4, 3), date(2026, 12, 26)}
    assert public_holidays(2026, "none") == frozenset()


@pytest.mark.parametrize(
    ("begin", "minutes", "end"),
    [
        ("2026-11-23T10:00", 30, "2026-11-23T10:30"),  # within a day
        ("2026-11-23T16:45", 30, "2026-11-24T09:15"),  # over the night
        ("2026-11-23T16:30", 30, "2026-11-23T17:00"),  # used up at the closing
        ("2026-11-20T16:45", 30, "2026-11-23T09:15"),  # over a weekend
        ("2026-11-21T11:00", 30, "2026-11-23T09:30"),  # begun on a Saturday
        ("2026-11-20T10:00", 480, "2026-11-23T10:00"),  # one working day
        ("2026-11-10T16:45", 30, "2026-11-12T09:15"),  # over Armistice Day
        ("2026-12-24T16:45", 30, "2026-12-28T09:15"),  # over Christmas and a weekend
        ("2026-04-03T16:45", 30, "2026-04-07T09:15"),  # over Easter Monday
        ("2026-03-27T16:45", 30, "2026-03-30T09:15"),  # over the night that has an hour less
        ("2026-10-23T16:45", 30, "2026-10-26T09:15"),  # over the one that has an hour more
        ("2026-11-21T11:00", 0, "2026-11-21T11:00"),  # nothing to add: nothing happens
    ],
)
def test_working_minutes_are_added(begin, minutes, end):
    assert WEEKDAYS.add_working(paris(begin), minutes) == paris(end)


def test_a_closed_day_and_a_midday_break_do_not_count():
    hours = WorkingHours(
        PARIS, (((510, 750), (810, 1050)),) * 5 + (NO, NO), closed=frozenset({date(2026, 11, 24)})
    )
    assert hours.add_working(paris("2026-11-23T12:00"), 60) == paris("2026-11-23T14:00")
    assert hours.add_working(paris("2026-11-23T17:00"), 60) == paris("2026-11-25T09:00")
    assert not hours.is_open(paris("2026-11-23T12:30"))
    assert hours.next_open(paris("2026-11-23T12:30")) == paris("2026-11-23T13:30")
    assert not hours.works_on(date(2026, 11, 24))


def test_a_team_that_never_closes_works_23_and_25_hours_when_the_clocks_change():
    def length(day: str, after: str) -> timedelta:
        return ALWAYS.worked(paris(f"{day}T00:00"), paris(f"{after}T00:00"))

    assert length("2026-03-29", "2026-03-30") == timedelta(hours=23)
    assert length("2026-10-25", "2026-10-26") == timedelta(hours=25)
    assert length("2026-10-26", "2026-10-27") == timedelta(hours=24)


def test_a_span_that_begins_in_the_hour_that_does_not_exist_begins_when_the_clocks_leap():
    night = WorkingHours(PARIS, (((150, 195),),) * 7, holidays="none")  # 02:30 to 03:15
    leap = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert night.next_open(leap - timedelta(hours=1)) == leap
    assert night.worked(leap - timedelta(hours=1), leap + timedelta(hours=2)) == timedelta(minutes=15)
    gone = WorkingHours(PARIS, (((120, 180),),) * 7, holidays="none")  # the very hour that is left out
    assert gone.next_open(leap - timedelta(hours=1)) == paris("2026-03-30T02:00")


def test_another_zone_has_its_own_morning():
    reunion = WorkingHours(ZoneInfo("Indian/Reunion"), WEEK)
    assert reunion.next_open(datetime(2026, 11, 22, 12, 0, tzinfo=UTC)) == datetime(
        2026, 11, 23, 5, 0, tzinfo=UTC
    )


IMPOSSIBLE = {
    "no day": (),
    "six days": WEEK[:6],
    "never open": (NO,) * 7,
    "an empty span": (((540, 540),), *WEEK[1:]),
    "a span backwards": (((600, 500),), *WEEK[1:]),
    "spans that overlap": (((0, 700), (600, 800)), *WEEK[1:]),
    "a minute after midnight": (((0, 1441),), *WEEK[1:]),
    "a minute before midnight": (((-1, 60),), *WEEK[1:]),
}


@pytest.mark.parametrize("week", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_week_that_cannot_be_is_refused(week):
    with pytest.raises(ValueError, match=r"week|spans"):
        WorkingHours(PARIS, week)


def test_a_calendar_without_an_open_day_says_so_instead_of_looking_for_ever():
    first = date(2026, 11, 23)
    shut = WorkingHours(PARIS, WEEK, closed=frozenset(first + timedelta(days=n) for n in range(500)))
    with pytest.raises(NoWorkingTimeError, match="closed days"):
        shut.next_open(paris("2026-11-23T10:00"))
    with pytest.raises(NoWorkingTimeError):
        shut.add_working(paris("2026-11-23T10:00"), 1)
    with pytest.raises(NoWorkingTimeError):
        WEEKDAYS.worked(paris("2026-11-23T10:00"), paris("2028-11-23T10:00"))


def test_what_is_no_instant_or_no_addition_is_refused():
    with pytest.raises(ValueError, match="zone"):
        WEEKDAYS.is_open(datetime(2026, 11, 23, 10, 0))
    with pytest.raises(ValueError, match="never taken away"):
        WEEKDAYS.add_working(paris("2026-11-23T10:00"), -1)


# ── what holds for every calendar ─────────────────────────────────────────────────────────────────────────

# Around both changes of clocks of a year, and anywhere in two others.
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
CHANGES = [datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)]
instants = st.one_of(
    st.integers(0, 2 * 365 * 1440).map(lambda minute: FIRST + timedelta(minutes=minute)),
    st.builds(
        lambda day, minute: day + timedelta(minutes=minute), st.sampled_from(CHANGES), st.integers(0, 2880)
    ),
)
minutes = st.one_of(st.integers(0, 90), st.integers(0, 5_000))


@st.composite
def spans(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    bounds = sorted(draw(st.sets(st.integers(0, 96), max_size=6)))
    return tuple((15 * a, 15 * b) for a, b in zip(bounds[::2], bounds[1::2], strict=False))


@st.composite
def calendars(draw: st.DrawFn) -> WorkingHours:
    week = tuple(draw(st.lists(spans(), min_size=6, max_size=6)))
    return WorkingHours(
        ZoneInfo(draw(st.sampled_from(["Europe/Paris", "America/Cayenne", "Australia/Lord_Howe", "UTC"]))),
        ((*week, ((480, 1080),))),
        draw(st.sampled_from(["fr", "fr-alsace-moselle", "none"])),
        frozenset(FIRST.date() + timedelta(days=n) for n in draw(st.sets(st.integers(0, 300), max_size=5))),
    )


@settings(max_examples=150, deadline=None)
@given(calendars(), instants, instants, minutes)
def test_who_begins_later_is_never_due_earlier(hours, one, other, some):
    first, second = sorted((one, other))
    assert hours.add_working(first, some) <= hours.add_working(second, some)


@settings(max_examples=150, deadline=None)
@given(calendars(), instants, minutes, minutes)
def test_adding_twice_is_adding_the_sum(hours, at, some, more):
    assert hours.add_working(hours.add_working(at, some), more) == hours.add_working(at, some + more)


@settings(max_examples=150, deadline=None)
@given(calendars(), instants, minutes)
def test_the_time_that_was_added_is_the_time_that_was_worked(hours, at, some):
    end = hours.add_working(at, some)
    assert hours.worked(at, end) == timedelta(minutes=some)
    assert hours.worked(end, at) == -timedelta(minutes=some)
    if some:  # and there is no earlier end
        assert hours.worked(at, end - timedelta(seconds=1)) < timedelta(minutes=some)


@settings(max_examples=150, deadline=None)
@given(calendars(), instants)
def test_the_next_opening_is_open_and_nothing_before_it_is(hours, at):
    opens = hours.next_open(at)
    assert hours.is_open(opens)
    assert hours.is_open(at) == (opens == at)
    assert not hours.worked(at, opens)


@settings(max_examples=60, deadline=None)
@given(calendars(), instants)
def test_open_is_what_the_clock_on_the_wall_says(hours, at):
    """Read minute by minute; only the hour that comes twice is left to the calendar."""
    for step in range(0, 240, 7):
        instant = at + timedelta(minutes=step)
        local = instant.astimezone(hours.zone)
        if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
            continue
        minute = local.hour * 60 + local.minute
        day = local.date()
        free = day in hours.closed or day in public_holidays(day.year, hours.holidays)
        shown = not free and any(start <= minute < end for start, end in hours.week[day.weekday()])
        assert hours.is_open(instant) == shown
