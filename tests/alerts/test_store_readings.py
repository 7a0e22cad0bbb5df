from __future__ import annotations

from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.store import Stored, content_digest, write_readings
from alerts.store.connection import Connection
from devices.readings import Reading, from_wire, to_wire
from devices.times import parse_instant

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = parse_instant("2026-03-28T06:00:00Z")[0]  # the clocks change on the 29th in Paris
NOW_MS = START_MS + 40 * DAY_MS

counter = iter(
    range(10**9)
)  # each example its own patient and device: the database is not emptied between them


def weight(kg: float, hours: float = 0.0, **changes: Any) -> Reading:
    measured = START_MS + int(hours * HOUR_MS)
    reading = Reading(
        device="sc-1",
        seq=1,
        kind="body-weight",
        measured_at_ms=measured,
        received_at_ms=measured + 1000,
        patient="p-1",
        values={"weight": kg},
    )
    return msgspec.structs.replace(reading, **changes)


def rows(store: Connection, patient: str) -> list[tuple[Any, ...]]:
    return store.execute(
        'select measured_at, device, epoch, seq, digest, kind, value, "values", flags, context, marks,'
        " offset_min, too_late, received_at from scad.reading where patient = %s"
        " order by measured_at, device, epoch, seq, digest",
        (patient,),
    ).fetchall()


def daily(store: Connection, patient: str) -> list[tuple[Any, ...]]:
    return store.execute(
        "select kind, day, n, min, max, mean, last from scad.reading_daily where patient = %s"
        " order by kind, day",
        (patient,),
    ).fetchall()


DAILY_BY_HAND = """
select kind, date_trunc('day', measured_at, 'Europe/Paris') as day, count(*), min(value), max(value),
       avg(value),
       (array_agg(value order by measured_at desc, device desc, epoch desc, seq desc, digest desc))[1]
  from scad.reading where patient = %s and value is not null and marks = '{}'
 group by kind, day order by kind, day"""


def test_a_reading_is_stored_once_and_a_copy_is_a_duplicate(store: Connection):
    assert write_readings(store, [weight(80.0)], NOW_MS) == Stored(inserted=1)
    assert write_readings(store, [weight(80.0), weight(80.0)], NOW_MS) == Stored(duplicates=2)
    assert len(rows(store, "p-1")) == 1


def test_nothing_to_store_is_no_error(store: Connection):
    assert write_readings(store, [], NOW_MS) == Stored()


def test_the_wire_form_has_the_same_digest(store: Connection):
    reading = weight(80, flags=("manual", "low-battery"))
    assert content_digest(from_wire(to_wire(reading))) == content_digest(reading)


def test_what_the_platform_adds_is_no_content():
    reading = weight(80.0)
    again = msgspec.structs.replace(reading, received_at_ms=1, patient="p-9", marks=("x",), oldest=1)
    assert content_digest(again) == content_digest(reading)
    assert content_digest(weight(80.1)) != content_digest(reading)


def test_the_earliest_copy_says_when_it_was_received_and_whether_too_late(store: Connection):
    late = weight(80.0, received_at_ms=START_MS + 36 * DAY_MS)
    write_readings(store, [late], NOW_MS)
    assert store.execute("select too_late from scad.reading").fetchone() == (True,)
    write_readings(store, [weight(80.0, received_at_ms=START_MS + 5)], NOW_MS)
    write_readings(store, [late], NOW_MS)
    found = store.execute(
        "select too_late, extract(epoch from received_at) * 1000 from scad.reading"
    ).fetchone()
    assert found == (False, START_MS + 5)


@pytest.mark.parametrize(
    ("kind", "context", "days", "late"),
    [
        ("body-weight", {}, 34.9, False),
        ("body-weight", {}, 35.1, True),
        ("glucose", {"sample": "interstitial"}, 14.1, True),
        ("glucose", {"sample": "capillary"}, 14.1, False),
        ("rr-intervals", {}, 13.9, False),
        ("ecg", {}, 14.1, True),
    ],
)
def test_the_horizon_is_shorter_for_dense_kinds(
    store: Connection, kind: str, context: dict[str, str], days: float, late: bool
):
    received = START_MS + int(days * DAY_MS)
    reading = weight(1.0, kind=kind, context=context, received_at_ms=received)
    write_readings(store, [reading], NOW_MS)
    assert store.execute("select too_late from scad.reading").fetchone() == (late,)


def test_the_same_identity_with_other_content_keeps_both_and_is_noted(store: Connection):
    first, second = weight(80.0), weight(81.0, hours=1)
    assert write_readings(store, [first], NOW_MS).conflicts == 0
    assert write_readings(store, [second], NOW_MS) == Stored(inserted=1, conflicts=1)
    assert write_readings(store, [second, first], NOW_MS) == Stored(duplicates=2)
    assert [row[6] for row in rows(store, "p-1")] == [80.0, 81.0]
    found = store.execute("select device, epoch, seq, contents from scad.reading_conflict").fetchall()
    assert found == [("sc-1", 0, 1, 2)]


def test_another_epoch_is_another_reading(store: Connection):
    assert write_readings(store, [weight(80.0), weight(80.0, epoch=1)], NOW_MS) == Stored(inserted=2)
    assert store.execute("select count(*) from scad.reading_conflict").fetchone() == (0,)


def test_readings_that_failed_a_gate_are_stored_and_not_rolled_up(store: Connection):
    write_readings(store, [weight(80.0, marks=("contact-lost",)), weight(79.0, seq=2)], NOW_MS)
    assert [(row[2], row[6]) for row in daily(store, "p-1")] == [(1, 79.0)]


def test_a_rolled_up_day_of_an_earlier_release_is_computed_from_its_readings(store: Connection):
    write_readings(store, [weight(80.0), weight(82.0, seq=2, hours=1)], NOW_MS)
    store.execute("update scad.reading_daily_rows set n = 7, total = null, last_at = null")
    write_readings(store, [weight(81.0, seq=3, hours=2)], NOW_MS)
    assert daily(store, "p-1") == store.execute(DAILY_BY_HAND, ("p-1",)).fetchall()
    assert daily(store, "p-1")[0][2:] == (3, 80.0, 82.0, 81.0, 81.0)


def test_a_day_that_grows_is_not_read_again(store: Connection):
    write_readings(store, [weight(80.0)], NOW_MS)
    store.execute("delete from scad.reading where patient = 'p-1'")
    write_readings(store, [weight(82.0, seq=2, hours=1)], NOW_MS)
    assert daily(store, "p-1")[0][2:] == (2, 80.0, 82.0, 81.0, 82.0)


def test_a_value_that_the_database_refuses_raises_and_leaves_nothing(store: Connection):
    with pytest.raises(psycopg.DataError):
        write_readings(store, [weight(80.0), weight(80.0, seq=2**70)], NOW_MS)
    assert rows(store, "p-1") == []
    assert store.execute("select count(*) from scad.reading_identity").fetchone() == (0,)


def test_retention_takes_readings_with_what_points_at_them(store: Connection):
    old = [weight(80.0), weight(81.0, hours=1), weight(82.0, seq=2, hours=24 * 60)]
    write_readings(store, old, NOW_MS)
    as_of = "2026-03-28T06:00:00Z"
    store.execute("select scad.apply_retention('40 days', %s::timestamptz + interval '50 days')", (as_of,))
    assert [row[6] for row in rows(store, "p-1")] == [82.0]
    assert store.execute("select seq from scad.reading_identity").fetchall() == [(2,)]
    assert store.execute("select count(*) from scad.reading_conflict").fetchone() == (0,)


def gated(kg: float, **more: Any) -> Reading:
    """Gates look at the content and at nothing else: the same content has the same marks."""
    return weight(kg, marks=("contact-lost",) if kg == 91.25 else (), **more)


readings = st.builds(
    gated,
    kg=st.sampled_from([70.0, 80.0, 80.5, 91.25]),
    hours=st.integers(0, 96),
    seq=st.integers(1, 12),
    epoch=st.integers(0, 1),
    kind=st.sampled_from(["body-weight", "symptoms"]),
)


def chop(items: list[Reading], sizes: list[int]) -> list[list[Reading]]:
    """The items in batches of these sizes, the rest in one."""
    batches = []
    for size in sizes:
        batches.append(items[:size])
        items = items[size:]
    return [*batches, items]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_repetition_and_batching_gives_the_same_rows(store: Connection, data: st.DataObject):
    sent = data.draw(st.lists(readings, min_size=1, max_size=25))
    number = next(counter)
    mine, theirs = f"p-{number}-a", f"p-{number}-b"

    def of(patient: str) -> list[Reading]:
        return [msgspec.structs.replace(r, patient=patient, device=patient) for r in sent]

    for reading in of(mine):
        write_readings(store, [reading], NOW_MS)
    copies = data.draw(st.permutations(of(theirs) + data.draw(st.lists(st.sampled_from(of(theirs))))))
    for batch in chop(list(copies), data.draw(st.lists(st.integers(0, 10), max_size=5))):
        write_readings(store, batch, NOW_MS)

    def plain(patient: str) -> list[tuple[Any, ...]]:
        return [(row[0], *row[2:]) for row in rows(store, patient)]

    assert plain(mine) == plain(theirs)
    assert daily(store, mine) == daily(store, theirs)
    assert daily(store, theirs) == store.execute(DAILY_BY_HAND, (theirs,)).fetchall()
