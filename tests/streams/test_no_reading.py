"""*No reading*: when silence opens, is grave and ends, and what late readings make of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import no_reading
from streams.engine import Engine
from streams.silence import (
    Dated,
    Instants,
    Overdue,
    Silence,
    Span,
    next_change_ms,
    overdue_stretches,
    silences,
)
from streams.state import LONG_AGO_MS
from tests.streams.histories import PATIENT, told
from tests.streams.timeline import LIBRARY, Patient, plan, version

HF = "heart-failure"
DAILY = {"body-weight": (24.0, 60.0, 84.0)}
BOTH = {"body-weight": (24.0, 60.0, 84.0), "symptoms": (24.0, 60.0, 108.0)}


def weighed_daily() -> Patient:
    """Expected every day; last weighed on 3 March at 7."""
    patient = Patient(plan=plan(version(1, "2026-03-01", HF, schedule=DAILY)))
    for day in (1, 2, 3):
        patient.at(f"2026-03-0{day} 07:00").weight(80.0)
    return patient


def test_silence_opens_at_the_exact_instant_and_is_graver_later() -> None:
    patient = weighed_daily().tick("2026-03-05 18:59").quiet()
    patient.tick("2026-03-05 19:00").raised("no-reading", "medium")
    patient.tick("2026-03-06 18:59").quiet()
    patient.tick("2026-03-06 19:00").updated("no-reading", "high")


def test_silence_is_told_for_the_instant_it_began_however_late_the_tick() -> None:
    patient = weighed_daily().tick("2026-03-08 12:00").raised("no-reading").updated("no-reading", "high")
    opened = patient.open("no-reading")
    assert opened is not None
    assert opened.start.startswith("2026-03-05T19:00")
    assert opened.last.startswith("2026-03-06T19:00")
    assert opened.cls == "technical"


def test_a_reading_ends_silence_at_its_own_instant() -> None:
    patient = weighed_daily().tick("2026-03-05 20:00")
    patient.at("2026-03-05 21:30").weight(80.0).cleared("no-reading")
    assert str(patient.standing("no-reading")[0].end).startswith("2026-03-05T21:30")


def test_an_artefact_is_a_reading_all_the_same() -> None:
    patient = weighed_daily().tick("2026-03-05 20:00")
    patient.at("2026-03-05 21:30").weight(80.0, "contact-lost").cleared("no-reading")


def test_silence_names_what_is_missing_how_long_and_the_last_reading() -> None:
    patient = weighed_daily().tick("2026-03-05 19:00")
    signal = patient.signal("no-reading")
    assert (signal.value, signal.limit, signal.unit) == (60.0, 60.0, "h")
    assert [e.seq for e in signal.evidence] == [3]
    french, english = patient.sentences("no-reading")
    assert french == "Aucune mesure reçue (poids) depuis 60 heures (limite 60 heures)."
    assert english == "No reading received (weight) for 60 hours (limit 60 hours)."


def test_late_readings_explain_silence_away() -> None:
    patient = weighed_daily().tick("2026-03-06 07:00")
    patient.at("2026-03-05 07:00", received="2026-03-06 08:00").weight(80.0)
    patient.cleared("no-reading", "late-data")
    assert patient.standing("no-reading") == []


def test_late_readings_that_explain_half_of_it_move_silence() -> None:
    patient = weighed_daily().tick("2026-03-08 07:00")
    before = patient.open("no-reading")
    patient.at("2026-03-04 07:00", received="2026-03-08 08:00").weight(80.0)
    patient.cleared("no-reading", "late-data").raised("no-reading")
    after = patient.open("no-reading")
    assert before is not None
    assert after is not None
    assert after.start.startswith("2026-03-06T19:00")
    raised = next(s for s in patient.said if s.state == "raised")
    assert raised.supersedes == (before.alert,)


def test_a_late_reading_splits_a_long_silence() -> None:
    patient = weighed_daily().tick("2026-03-12 07:00")
    patient.at("2026-03-08 07:00", received="2026-03-12 08:00").weight(80.0)
    assert [(e.start[:16], str(e.end)[:16]) for e in patient.standing("no-reading")] == [
        ("2026-03-05T19:00", "2026-03-08T07:00"),
        ("2026-03-10T19:00", "None"),
    ]


def test_kinds_of_one_protocol_make_one_episode_that_ends_with_the_last_of_them() -> None:
    patient = Patient(plan=plan(version(1, "2026-03-01", HF, schedule=BOTH)))
    patient.at("2026-03-01 07:00").weight(80.0).answers(cough=1)
    patient.tick("2026-03-03 20:00").raised("no-reading")
    assert "poids, questionnaire" in patient.sentences("no-reading")[0]
    patient.at("2026-03-03 21:00").weight(80.0)
    assert patient.open("no-reading") is not None
    patient.at("2026-03-03 22:00").answers(cough=1).cleared("no-reading")
    assert len(patient.standing("no-reading")) == 1


def test_silence_counts_from_the_beginning_of_the_plan_when_nothing_ever_came() -> None:
    patient = Patient(plan=plan(version(1, "2026-03-01 12:00", HF, schedule=DAILY)))
    patient.tick("2026-03-03 23:59").quiet()
    patient.tick("2026-03-04 00:00").raised("no-reading")
    assert patient.signal("no-reading").evidence == ()


def test_a_plan_that_begins_later_expects_nothing_before() -> None:
    patient = Patient(plan=plan(version(1, "2026-04-01 12:00", HF, schedule=DAILY)))
    patient.at("2026-03-01 07:00").weight(80.0).tick("2026-04-03 23:59").quiet()
    patient.tick("2026-04-04 00:00").raised("no-reading")


def test_nothing_is_expected_without_a_plan() -> None:
    patient = Patient(HF).at("2026-03-01 07:00").weight(80.0)
    assert patient.tick("2026-08-01 07:00").said == []
    assert patient.engine.next_deadline_ms(patient.state) is None


def test_a_version_with_a_shorter_schedule_holds_from_its_beginning() -> None:
    weekly = version(1, "2026-03-01", HF, schedule={"body-weight": (168.0, 240.0, 336.0)})
    daily = version(2, "2026-03-05 12:00", HF, schedule=DAILY)
    patient = Patient(plan=plan(weekly, daily)).at("2026-03-01 07:00").weight(80.0)
    patient.tick("2026-03-05 11:59").quiet().tick("2026-03-05 12:00").raised("no-reading")
    assert [e.start[:16] for e in patient.standing("no-reading")] == ["2026-03-05T12:00"]


def test_a_version_without_the_protocol_ends_silence_at_its_beginning() -> None:
    nothing = version(2, "2026-03-08 12:00")
    patient = Patient(plan=plan(version(1, "2026-03-01", HF, schedule=DAILY), nothing))
    patient.tick("2026-03-06 07:00").raised("no-reading").tick("2026-03-09 07:00").cleared("no-reading")
    assert str(patient.standing("no-reading")[0].end).startswith("2026-03-08T12:00")


def test_silence_ends_across_a_restart() -> None:
    patient = weighed_daily().tick("2026-03-06 07:00")
    patient.state = patient.engine.load("p-0001", patient.engine.dump(patient.state))
    patient.at("2026-03-06 08:00").weight(80.0).cleared("no-reading")


def test_a_silence_longer_than_the_history_kept_stays_the_same_alert() -> None:
    patient = Patient(plan=plan(version(1, "2026-01-01", HF, schedule=BOTH)))
    first = date(2026, 1, 1)
    for day in range(110):  # weighed every day; the questionnaire is given up after three weeks
        patient.at(f"{first + timedelta(days=day)} 07:00").weight(80.0)
        if day < 21:
            patient.at(f"{first + timedelta(days=day)} 08:00").answers(cough=0)
    said = [(s.state, s.severity) for s in patient.signals if s.rule == "no-reading"]
    assert said == [("raised", "medium"), ("updated", "high")]
    assert [e.start[:16] for e in patient.standing("no-reading")] == ["2026-01-23T20:00"]


def test_sixty_hours_are_sixty_hours_when_the_clocks_change() -> None:
    patient = Patient(plan=plan(version(1, "2026-03-01", HF, schedule=DAILY)))
    patient.at("2026-03-27 07:00").weight(80.0)
    patient.tick("2026-03-29 19:59").quiet().tick("2026-03-29 20:00").raised("no-reading")


# ── against the definition, minute by minute ──────────────────────────────────────────────────────────

MINUTE_MS = 60_000
GRID = 240
"""Minutes of a generated story; short hours make many silences in it."""


@st.composite
def dates(draw: st.DrawFn, near: int) -> Dated:
    """A date that was set around a minute, for the silence of that time, some time ahead."""
    after = draw(st.integers(max(near - 30, 0), near + 30))
    overdue = after + draw(st.integers(0, 60))
    grave = overdue + draw(st.integers(0, 40))
    return Dated(after * MINUTE_MS, overdue * MINUTE_MS, grave * MINUTE_MS)


@st.composite
def spans_of(draw: st.DrawFn) -> list[Span]:
    """Versions in which a kind is expected, some with a gap in between, the last one open or not."""
    spans: list[Span] = []
    edge = draw(st.integers(0, 40))
    for index in range(count := draw(st.integers(1, 3))):
        begins = edge
        edge += draw(st.integers(1, 90))
        ends = None if index == count - 1 and draw(st.booleans()) else edge * MINUTE_MS
        overdue = draw(st.integers(1, 40))
        grave = overdue + draw(st.integers(0, 40))
        dated = draw(st.none() | dates(begins))
        spans.append(Span(begins * MINUTE_MS, ends, overdue * MINUTE_MS, grave * MINUTE_MS, dated))
        edge += draw(st.sampled_from([0, 0, 7]))
    return spans


def overdue_at(minute: int, times: list[int], spans: list[Span], grave: bool = False) -> bool:
    """The definition: at this minute the kind is expected, and its last reading (or the beginning of what has
    been expected without a break since) is as long ago as the span in force allows; or the date has come that the
    span has for a silence of that age."""
    at = minute * MINUTE_MS
    index = next(
        (i for i, s in enumerate(spans) if s.from_ms <= at and (s.to_ms is None or at < s.to_ms)), None
    )
    if index is None:
        return False
    first = index
    while first > 0 and spans[first - 1].to_ms == spans[first].from_ms:
        first -= 1
    since = max([spans[first].from_ms, *(t for t in times if t <= at)])
    span = spans[index]
    if span.dated is not None and since <= span.dated.after_ms:
        return at >= (span.dated.grave_at_ms if grave else span.dated.overdue_at_ms)
    return at - since >= (span.grave_ms if grave else span.overdue_ms)


def by_the_minute(
    kinds: list[tuple[list[int], list[Span]]], until: int
) -> list[tuple[int, int | None, int | None]]:
    """(start, end, grave from) in minutes of each stretch in which any kind is overdue."""
    found: list[tuple[int, int | None, int | None]] = []
    for minute in range(until + 1):
        if not any(overdue_at(minute, *kind) for kind in kinds):
            continue
        grave = minute if any(overdue_at(minute, *kind, grave=True) for kind in kinds) else None
        if found and found[-1][1] == minute:
            found[-1] = (found[-1][0], minute + 1, found[-1][2] if found[-1][2] is not None else grave)
        else:
            found.append((minute, minute + 1, grave))
    return [(start, None if end == until + 1 else end, grave) for start, end, grave in found]


def computed(kinds: list[tuple[list[int], list[Span]]], until: int) -> list[Silence]:
    stretches: list[Overdue] = []
    for number, (times, spans) in enumerate(kinds):
        instants = Instants(times, min((s.shortest_ms for s in spans), default=0))
        stretches += overdue_stretches(f"kind-{number}", instants, spans, until * MINUTE_MS)
    return silences(stretches)


def in_minutes(episodes: list[Silence], until: int) -> list[tuple[int, int | None, int | None]]:
    def minutes(instant_ms: int | None) -> int | None:
        return None if instant_ms is None or instant_ms > until * MINUTE_MS else instant_ms // MINUTE_MS

    return [
        (
            e.start_ms // MINUTE_MS,
            None if e.end_ms is None else e.end_ms // MINUTE_MS,
            minutes(e.grave_from_ms),
        )
        for e in episodes
    ]


kinds_of = st.lists(
    st.tuples(
        st.lists(st.integers(0, GRID).map(lambda m: m * MINUTE_MS), unique=True, max_size=8).map(sorted),
        spans_of(),
    ),
    min_size=1,
    max_size=2,
)


@settings(max_examples=200, deadline=None)
@given(kinds_of, st.integers(0, GRID))
def test_silences_are_the_minutes_in_which_a_kind_is_overdue(
    kinds: list[tuple[list[int], list[Span]]], until: int
) -> None:
    known = [([t for t in times if t <= until * MINUTE_MS], spans) for times, spans in kinds]
    assert in_minutes(computed(known, until), until) == by_the_minute(known, until)


@settings(max_examples=120, deadline=None)
@given(kinds_of, st.integers(0, GRID))
def test_nothing_changes_before_the_instant_that_is_asked_for(
    kinds: list[tuple[list[int], list[Span]]], clock: int
) -> None:
    known = [([t for t in times if t <= clock * MINUTE_MS], spans) for times, spans in kinds]
    changes = [next_change_ms(times, spans, clock * MINUTE_MS) for times, spans in known]
    nearest = min((c for c in changes if c is not None), default=(GRID + 200) * MINUTE_MS)
    now = in_minutes(computed(known, clock), clock)
    quiet_until = nearest // MINUTE_MS - 1
    assert in_minutes(computed(known, quiet_until), quiet_until) == now


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=25), st.integers(1, 12), st.integers(0, 60))
def test_instants_that_come_in_any_order_have_the_gaps_of_the_sorted_ones(
    minutes: list[int], shortest: int, cut: int
) -> None:
    instants = Instants((), shortest)
    for number, minute in enumerate(minutes):
        assert instants.add(minute) == (minute not in minutes[:number])
    assert (instants.times, instants.gaps) == _made_at_once(minutes, shortest)
    instants.forget_before(cut)
    assert (instants.times, instants.gaps) == _made_at_once([m for m in minutes if m >= cut], shortest)


def _made_at_once(minutes: list[int], shortest: int) -> tuple[Sequence[int], list[tuple[int, int]]]:
    made = Instants(minutes, shortest)
    return made.times, made.gaps


@settings(max_examples=200, deadline=None)
@given(kinds_of, st.tuples(st.integers(0, GRID), st.integers(0, GRID)).map(sorted))
def test_stretches_after_an_instant_are_those_of_all_that_end_later(
    kinds: list[tuple[list[int], list[Span]]], instants_min: list[int]
) -> None:
    after, until = instants_min
    for times, spans in kinds:
        instants = Instants(times, min((s.shortest_ms for s in spans), default=0))
        found = overdue_stretches("kind", instants, spans, until * MINUTE_MS)
        later = [s for s in found if s.end_ms is None or s.end_ms > after * MINUTE_MS]
        assert overdue_stretches("kind", instants, spans, until * MINUTE_MS, after * MINUTE_MS) == later


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_silences_kept_up_to_date_are_those_found_afresh(data: st.DataObject) -> None:
    protocol = data.draw(st.sampled_from(sorted(LIBRARY.protocols)))
    history = data.draw(told(protocol))
    engine = Engine(LIBRARY, (protocol,), retention_ms=None)
    state = engine.new_state(PATIENT)
    for arrival in history.arrivals:
        plans = [] if arrival.plan is None else [arrival.plan]
        engine.apply(state, arrival.readings, plans, arrival.tick_ms)
        kept = engine.standing(state)
        no_reading.expect(state)  # from nothing: all silences are looked for again
        state.deadline_ms = LONG_AGO_MS
        assert engine.apply(state, tick_ms=state.clock_ms) == []
        assert engine.standing(state) == kept
