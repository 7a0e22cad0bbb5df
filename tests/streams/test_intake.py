from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.refusals import Reason
from devices.times import BadTimeError, format_instant, parse_instant
from streams.intake import (
    Interval,
    decode_intervals,
    encode_quarantine,
    patient_at,
    process,
    quarantine_id,
    time_zone_of,
    unattributed,
    zone,
)
from streams.plans import Assignment, CarePlan, DeviceAssignments, PlanVersion

NOW_MS = parse_instant("2026-11-22T08:00:00Z")[0]
DAY_MS = 86_400_000


def message(seq: int, measured_at_ms: int = NOW_MS, **more: object) -> dict[str, object]:
    return {
        "v": 1,
        "device": "sc-1",
        "seq": seq,
        "kind": "body-weight",
        "measured_at": format_instant(measured_at_ms),
        "values": {"weight": 80.0},
        **more,
    }


def owned(*intervals: Interval):
    return {"sc-1": intervals}.get


ALWAYS = owned(Interval(0, None, "p-1"))


def test_a_reading_gets_the_patient_of_its_time_not_of_its_arrival() -> None:
    moved_ms = NOW_MS - DAY_MS
    of = owned(Interval(0, moved_ms, "p-old"), Interval(moved_ms, None, "p-new"))
    payload = json.dumps([message(1, moved_ms - 1), message(2, moved_ms), message(3, NOW_MS)]).encode()
    taken = process(payload, "sc-1", NOW_MS, of)
    assert [reading.patient for reading in taken.readings] == ["p-old", "p-new", "p-new"]
    assert taken.refusals == []


def test_an_unknown_device_and_a_time_without_patient_are_told_apart() -> None:
    payload = json.dumps(message(4)).encode()
    (unknown,) = process(payload, "sc-1", NOW_MS, {}.get).refusals
    (nobody,) = process(payload, "sc-1", NOW_MS, owned(Interval(0, NOW_MS - DAY_MS, "p-1"))).refusals
    assert (unknown.reason, nobody.reason) == (Reason.UNKNOWN_DEVICE, Reason.NOT_ASSIGNED)
    assert (unknown.seq, nobody.seq) == (4, 4)
    assert "sc-1" in unknown.detail
    assert "replay the quarantine" in nobody.detail


def test_only_the_bad_element_of_an_array_is_refused_and_kept_byte_for_byte() -> None:
    good, strange = json.dumps(message(1)), '{"v":1, "device":"sc-1","seq":2 ,"kind":"unheard-of"}'
    early = json.dumps(message(3, NOW_MS - 10 * DAY_MS))
    payload = f"[{good}, {strange},\n{early}]".encode()
    taken = process(payload, "sc-1", NOW_MS, owned(Interval(NOW_MS - DAY_MS, None, "p-1")))
    assert [reading.seq for reading in taken.readings] == [1]
    assert [(refusal.seq, refusal.raw) for refusal in taken.refusals] == [
        (2, strange.encode()),
        (3, early.encode()),
    ]
    assert unattributed(taken)


def test_a_bluetooth_devices_local_time_is_in_the_zone_of_the_plan() -> None:
    # Blood pressure 120/80 mm[Hg], mean 93, 2026-11-22 08:00:00 on the device's own clock.
    value = "AngAUABdAOoHCxYIAAA="
    payload = json.dumps(
        {
            "v": 1,
            "device": "sc-1",
            "seq": 1,
            "gatt": "2A35",
            "value": value,
            "received_at": "2026-11-22T07:05:00Z",
        }
    ).encode()
    (reading,) = process(payload, "sc-1", NOW_MS, ALWAYS, ZoneInfo("Europe/Paris")).readings
    assert reading.measured_at_ms == parse_instant("2026-11-22T08:00:00+01:00")[0]


def test_the_zone_is_that_of_the_version_in_force() -> None:
    def version(number: int, from_: str, name: str) -> PlanVersion:
        return PlanVersion(version=number, from_=from_, protocols=(), time_zone=name)

    plan = CarePlan(
        patient="p-1",
        versions=(
            version(2, "2026-06-01T00:00:00Z", "Indian/Reunion"),
            version(1, "2026-01-01T00:00:00Z", "Europe/Paris"),
        ),
    )
    assert time_zone_of(plan, parse_instant("2025-01-01T00:00:00Z")[0]) == "Europe/Paris"
    assert time_zone_of(plan, parse_instant("2026-03-01T00:00:00Z")[0]) == "Europe/Paris"
    assert time_zone_of(plan, NOW_MS) == "Indian/Reunion"
    assert str(zone("Indian/Reunion")) == "Indian/Reunion"
    assert str(zone("../../etc/passwd")) == "UTC"
    assert str(zone("Nowhere/Land")) == "UTC"


def test_assignments_are_read_in_order_and_impossible_ones_refused() -> None:
    def encoded(*spans: tuple[str, str | None]) -> bytes:
        intervals = tuple(
            Assignment(device="d", patient=f"p{n}", from_=a, to=b) for n, (a, b) in enumerate(spans)
        )
        return msgspec.json.encode(DeviceAssignments(device="d", intervals=intervals))

    read = decode_intervals(
        encoded(("2026-02-01T00:00:00Z", None), ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"))
    )
    assert [interval.patient for interval in read] == ["p1", "p0"]
    with pytest.raises(BadTimeError, match="ends before it begins"):
        decode_intervals(encoded(("2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z")))


@given(
    st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 20)), max_size=6), st.integers(-1, 21)
)
def test_whose_a_device_was_is_found_as_the_obvious_search_finds_it(
    spans: list[tuple[int, int | None]], instant: int
) -> None:
    intervals = sorted(
        (Interval(a, b, f"p{n}") for n, (a, b) in enumerate(spans) if b is None or b >= a),
        key=lambda i: i.from_ms,
    )
    covering = [i for i in intervals if i.from_ms <= instant and (i.to_ms is None or instant < i.to_ms)]
    assert patient_at(intervals, instant) == (covering[-1].patient if covering else None)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_make_it_raise_and_nothing_is_lost(payload: bytes) -> None:
    taken = process(payload, "sc-1", NOW_MS, ALWAYS)
    assert taken.readings or taken.refusals or payload.strip(b" \t\r\n") == b"[]"
    for refusal in taken.refusals:
        record = json.loads(encode_quarantine(refusal))
        assert record["reason"]
        assert record["id"] == quarantine_id("sc-1", refusal.raw, refusal.reason)


def test_the_same_refusal_has_the_same_id_and_another_reason_another() -> None:
    assert quarantine_id("d", b"x", "a") == quarantine_id("d", b"x", "a")
    assert (
        len({quarantine_id("d", b"x", "a"), quarantine_id("d", b"x", "b"), quarantine_id("dx", b"", "a")})
        == 3
    )
    assert len(quarantine_id("d", b"", "a")) == 32
