from __future__ import annotations

import uuid
from typing import Any

import msgspec
import psycopg
import pytest
from acting_people import act
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.store import Folded, standing_episodes, write_signals
from alerts.store.connection import Connection
from devices.times import format_instant, parse_instant
from streams.signal import AlertSignal, Evidence, StandingEpisode, fold

MINUTE_MS = 60_000
DAY_MS = 86_400_000
START_MS = parse_instant("2026-03-01T08:00:00Z")[0]
NOW_MS = START_MS

counter = iter(range(10**9))


def name_of(patient: str, alert: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{patient}/{alert}"))


def signal(n: int, state: str = "raised", minutes: int = 0, alert: int = 1, **changes: Any) -> AlertSignal:
    """Signal `n` of patient p-1 (or `patient`) about its alert number `alert`."""
    patient = changes.pop("patient", "p-1")
    if "supersedes" in changes and changes["supersedes"] is not msgspec.UNSET:
        changes["supersedes"] = tuple(name_of(patient, old) for old in changes["supersedes"])
    made = AlertSignal(
        alert=name_of(patient, alert),
        patient=patient,
        protocol="heart-failure",
        protocol_version="2026.1",
        rule="weight-gain-3d",
        cls="clinical",
        severity="high",
        state=state,
        at=format_instant(START_MS + minutes * MINUTE_MS, 60),
        value=2.4,
        limit=2.0,
        unit="kg",
        evidence=(Evidence(device="sc-1", seq=n, measured_at="2026-03-01T08:00:00Z", value=80.0),),
        explanation={"fr": "Prise de 2,4 kg", "en": "2.4 kg more"},
        n=n,
    )
    return msgspec.structs.replace(made, **changes)


def one(store: Connection, alert: int, columns: str = "state, condition", patient: str = "p-1") -> Any:
    query = f"select {columns} from scad.alert where alert = %s"
    return store.execute(query, (name_of(patient, alert),)).fetchone()


def queue(store: Connection) -> list[str]:
    return [row[0] for row in store.execute("select alert::text from scad.queue order by opened_at")]


def events(store: Connection, patient: str = "p-1") -> list[tuple[Any, ...]]:
    query = "select kind, n, event from scad.alert_event where patient = %s order by id"
    return store.execute(query, (patient,)).fetchall()


def acknowledge(store: Connection, alert: int, login: str = "nurse", patient: str = "p-1") -> Any:
    return act(store, name_of(patient, alert), "acknowledge", login, NOW_MS + MINUTE_MS)


def test_an_episode_from_raise_to_clear(store: Connection):
    write_signals(store, [signal(1, severity="medium")], NOW_MS)
    assert one(store, 1) == ("open", "raised")
    assert queue(store) == [name_of("p-1", 1)]
    write_signals(store, [signal(2, "updated", 5, severity="medium", value=2.6)], NOW_MS)
    assert one(store, 1, "value, first_n, last_n") == (2.6, 1, 2)
    write_signals(store, [signal(3, "cleared", 9, severity="medium")], NOW_MS)
    assert one(store, 1) == ("cleared", "cleared")
    assert queue(store) == []
    assert events(store) == [("signal", 1, "raised"), ("signal", 2, "updated"), ("signal", 3, "cleared")]


def test_a_high_alert_latches_until_somebody_has_acknowledged_it(store: Connection):
    write_signals(store, [signal(1), signal(2, "cleared", 5)], NOW_MS)
    assert one(store, 1) == ("open", "cleared")
    assert store.execute("select latched from scad.queue").fetchall() == [(True,)]
    assert acknowledge(store, 1) == "acknowledged"
    assert one(store, 1) == ("cleared", "cleared")
    assert queue(store) == []


def test_a_high_alert_that_was_past_when_it_became_known_enters_the_history_only(store: Connection):
    write_signals(store, [signal(1, late=True), signal(2, "cleared", 30)], NOW_MS + 2 * DAY_MS)
    assert one(store, 1) == ("cleared", "cleared")
    assert queue(store) == []


def test_acknowledging_twice_says_who_was_first(store: Connection):
    write_signals(store, [signal(1)], NOW_MS)
    assert acknowledge(store, 1, "anne") == "acknowledged"
    assert acknowledge(store, 1, "paul") == ("already-acknowledged", "anne")
    assert one(store, 1, "state, acknowledged_by, acknowledged_severity") == ("acknowledged", "anne", "high")
    assert acknowledge(store, 2) == ("unknown", None)
    assert events(store)[1:] == [("action", None, "acknowledged")]


def test_an_acknowledged_alert_stays_quiet_until_its_severity_rises(store: Connection):
    write_signals(store, [signal(1, severity="medium")], NOW_MS)
    acknowledge(store, 1)
    write_signals(store, [signal(2, "updated", 5, severity="medium")], NOW_MS)
    assert one(store, 1) == ("acknowledged", "raised")
    write_signals(store, [signal(3, "updated", 6, severity="high")], NOW_MS)
    assert one(store, 1) == ("open", "raised")
    assert events(store)[-1] == ("action", None, "reopened")


def test_late_data_moves_an_episode_and_the_acknowledgement_goes_with_it(store: Connection):
    write_signals(store, [signal(1)], NOW_MS)
    acknowledge(store, 1, "anne")
    moved = [
        signal(2, "cleared", 5, reason="late-data"),
        signal(3, "raised", -60, alert=2, supersedes=[1]),
    ]
    write_signals(store, moved, NOW_MS)
    assert one(store, 1) == ("superseded", "cleared")
    assert str(one(store, 1, "superseded_by")[0]) == name_of("p-1", 2)
    assert one(store, 2, "state, acknowledged_by") == ("acknowledged", "anne")
    assert events(store)[-1] == ("action", None, "carried")
    assert acknowledge(store, 1) == ("superseded", "anne")


def test_an_episode_that_grew_graver_with_late_data_rings(store: Connection):
    write_signals(store, [signal(1, severity="medium")], NOW_MS)
    acknowledge(store, 1)
    moved = [
        signal(2, "cleared", 5, severity="medium", reason="late-data"),
        signal(3, "raised", -60, alert=2, supersedes=[1], severity="high"),
    ]
    write_signals(store, moved, NOW_MS)
    assert one(store, 2, "state, acknowledged_severity") == ("open", "medium")


def test_merging_with_an_alert_that_nobody_saw_keeps_the_merged_one_open(store: Connection):
    write_signals(store, [signal(1), signal(2, minutes=9, alert=2)], NOW_MS)
    acknowledge(store, 1)
    merged = [
        signal(3, "cleared", 5, reason="late-data"),
        signal(4, "cleared", 9, alert=2, reason="late-data"),
        signal(5, "raised", -9, alert=3, supersedes=[1, 2]),
    ]
    write_signals(store, merged, NOW_MS)
    assert one(store, 3, "state, acknowledged_by") == ("open", None)
    assert queue(store) == [name_of("p-1", 3)]


def test_an_alert_without_cause_stays_in_the_history_with_its_reason(store: Connection):
    write_signals(store, [signal(1), signal(2, "cleared", 5, reason="late-data")], NOW_MS)
    assert one(store, 1, "state, reason") == ("cleared", "late-data")
    assert queue(store) == []
    assert standing_episodes(store, "p-1") == []


def test_an_alert_that_comes_back_after_late_data_keeps_what_was_acknowledged(store: Connection):
    write_signals(store, [signal(1)], NOW_MS)
    acknowledge(store, 1)
    there_and_back = [
        signal(2, "cleared", 5, reason="late-data"),
        signal(3, "raised", 2, alert=2, supersedes=[1]),
        signal(4, "cleared", 5, alert=2, reason="late-data"),
        signal(5, "raised", 0, supersedes=[2]),
    ]
    write_signals(store, there_and_back, NOW_MS)
    assert one(store, 1, "state, superseded_by") == ("acknowledged", None)
    assert one(store, 2) == ("superseded", "cleared")


def test_redelivery_after_an_acknowledgement_changes_nothing(store: Connection):
    sent = [signal(1), signal(2, "updated", 3)]
    write_signals(store, sent, NOW_MS)
    acknowledge(store, 1)
    before = one(store, 1, "*"), events(store)
    assert write_signals(store, sent, NOW_MS + DAY_MS) == Folded(duplicates=2)
    assert (one(store, 1, "*"), events(store)) == before


def test_a_skipped_number_is_counted_and_does_not_stop_the_rest(store: Connection):
    assert write_signals(store, [signal(1), signal(4, "updated", 5)], NOW_MS) == Folded(stored=2, gaps=2)


def test_a_signal_that_comes_after_its_successors_takes_its_place(store: Connection):
    write_signals(store, [signal(1, minutes=1), signal(3, "cleared", 9)], NOW_MS)
    acknowledge(store, 1)
    assert write_signals(store, [signal(2, "raised", 4)], NOW_MS).stored == 1
    assert one(store, 1, "state, condition, acknowledged_by, last_n") == ("cleared", "cleared", "nurse", 3)
    start = one(store, 1, "opened_at")[0]
    assert start.timestamp() * 1000 == START_MS + 4 * MINUTE_MS


def test_a_number_used_twice_with_other_content_is_handed_back(store: Connection):
    write_signals(store, [signal(1)], NOW_MS)
    other = signal(1, alert=2)
    assert write_signals(store, [other], NOW_MS) == Folded(conflicts=(other,))
    assert one(store, 2) is None


def test_an_alert_that_is_no_uuid_is_refused_whole(store: Connection):
    with pytest.raises(psycopg.DataError):
        write_signals(store, [signal(1), msgspec.structs.replace(signal(2), alert="x")], NOW_MS)
    assert events(store) == []


def test_a_commit_wakes_the_feed_with_the_highest_id(store: Connection, store_address: str):
    with psycopg.connect(store_address, autocommit=True) as listener:
        listener.execute("listen scad_feed")
        write_signals(store, [signal(1), signal(2, "updated", 3)], NOW_MS)
        woken = [note.payload for note in listener.notifies(timeout=10, stop_after=1)]
    highest = store.execute("select max(id)::text from scad.alert_event").fetchone()
    assert highest is not None
    assert woken == [highest[0]]


@st.composite
def histories(draw: st.DrawFn, patient: str) -> list[AlertSignal]:
    """Signals 1..k of a patient about four alerts: any states, times, severities and replacements."""
    made = []
    for n in range(1, draw(st.integers(1, 12)) + 1):
        state = draw(st.sampled_from(["raised", "updated", "cleared"]))
        alert = draw(st.integers(1, 4))
        changes: dict[str, Any] = {}
        if state == "cleared" and draw(st.booleans()):
            changes["reason"] = "late-data"
        if state == "raised" and draw(st.booleans()):
            changes["supersedes"] = sorted(draw(st.sets(st.integers(1, 4), min_size=1)))
        made.append(
            signal(
                n,
                state,
                draw(st.integers(0, 300)),
                alert,
                patient=patient,
                severity=draw(st.sampled_from(["low", "medium", "high"])),
                late=draw(st.booleans()),
                **changes,
            )
        )
    return made


def by_the_definition(signals: list[AlertSignal]) -> list[StandingEpisode]:
    standing: dict[str, StandingEpisode] = {}
    for item in signals:
        fold(standing, item)

    def in_utc(text: str | None) -> str | None:
        return None if text is None else format_instant(parse_instant(text)[0])

    episodes = [
        msgspec.structs.replace(e, start=in_utc(e.start), last=in_utc(e.last), end=in_utc(e.end))
        for e in standing.values()
    ]
    return sorted(episodes, key=lambda e: (e.start, e.protocol, e.rule, e.alert))


def stored_rows(store: Connection, patient: str) -> list[tuple[Any, ...]]:
    found = store.execute("select * from scad.alert where patient = %s", (patient,)).fetchall()
    return sorted(found, key=str)


def renamed(signals: list[AlertSignal], patient: str, copy: str) -> list[AlertSignal]:
    """The same signals for another patient: alerts are functions of the patient."""
    numbers = {name_of(patient, number): number for number in range(1, 5)}

    def new(alert: str) -> str:
        return name_of(copy, numbers[alert])

    return [
        msgspec.structs.replace(
            item,
            patient=copy,
            alert=new(item.alert),
            supersedes=item.supersedes
            if item.supersedes is msgspec.UNSET
            else tuple(map(new, item.supersedes)),
        )
        for item in signals
    ]


SEEN = [
    "version",
    "shown_at",
    "rang_at",
    "rang_n",
    "suppressed",
    "suppressed_until",
    "inhibited_by",
    "in_digest",
]
"""What people saw of an alert depends on when its signals came, and what rests on that (alerts.inhibition)."""


def comparable(store: Connection, patient: str) -> list[str]:
    """The patient's rows with alerts by number, so that rows of two patients can be compared."""
    found = store.execute(
        "select (to_jsonb(a) - %s::text[])::text from scad.alert a where patient = %s", (SEEN, patient)
    ).fetchall()
    texts = []
    for (text,) in found:
        text = text.replace(f'"{patient}"', '"patient"')
        for number in range(1, 5):
            text = text.replace(name_of(patient, number), f"alert {number}")
        texts.append(text)
    return sorted(texts)


def chop(items: list[AlertSignal], sizes: list[int]) -> list[list[AlertSignal]]:
    batches = []
    for size in sizes:
        batches.append(items[:size])
        items = items[size:]
    return [*batches, items]


def interleave(data: st.DataObject, histories: list[list[AlertSignal]]) -> list[AlertSignal]:
    """One stream in which each patient's signals stay in order, with repetitions of what was before."""
    waiting = [list(history) for history in histories if history]
    stream: list[AlertSignal] = []
    while waiting:
        chosen = data.draw(st.integers(0, len(waiting) - 1))
        stream.append(waiting[chosen].pop(0))
        if data.draw(st.integers(0, 3)) == 0:
            stream.append(data.draw(st.sampled_from(stream)))
        waiting = [rest for rest in waiting if rest]
    return stream


RELAXED = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@RELAXED
@given(data=st.data())
def test_any_repetition_and_interleaving_gives_the_rows_of_the_fold(store: Connection, data: st.DataObject):
    number = next(counter)
    patients = [f"p-{number}-{letter}" for letter in "ab"]
    sent = [data.draw(histories(patient)) for patient in patients]
    stream = interleave(data, sent)
    for batch in chop(stream, data.draw(st.lists(st.integers(0, 6), max_size=6))):
        assert write_signals(store, batch, NOW_MS).conflicts == ()
    for patient, history in zip(patients, sent, strict=True):
        assert standing_episodes(store, patient) == by_the_definition(history)
        numbers = [n for kind, n, _ in events(store, patient) if kind == "signal"]
        assert numbers == list(range(1, len(history) + 1))
        copy = f"{patient}-copy"
        for item in renamed(history, patient, copy):
            write_signals(store, [item], NOW_MS)
        assert comparable(store, copy) == comparable(store, patient)


@RELAXED
@given(data=st.data())
def test_even_a_stream_out_of_order_ends_in_the_same_rows(store: Connection, data: st.DataObject):
    patient = f"p-{next(counter)}"
    history = data.draw(histories(patient))
    write_signals(store, history, NOW_MS)
    copy = f"{patient}-copy"
    shuffled = data.draw(st.permutations(renamed(history, patient, copy)))
    for batch in chop(list(shuffled), data.draw(st.lists(st.integers(0, 5), max_size=6))):
        write_signals(store, batch, NOW_MS)
    assert comparable(store, copy) == comparable(store, patient)
    assert standing_episodes(store, patient) == by_the_definition(history)
