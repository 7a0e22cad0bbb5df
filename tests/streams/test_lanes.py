"""Which way messages take, and how fast the slow way goes: what holds for every series of messages."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import topics
from streams.bridge import Arrived, to_records
from streams.lanes import (
    DEVICES_MAX,
    LIVE_READINGS_BURST,
    LIVE_READINGS_PER_S,
    MESSAGES_BURST,
    MESSAGES_PER_S,
    PART_READINGS,
    READINGS_MAX,
    SAMPLE_MS,
    Lane,
    Router,
    Throttle,
    cost,
    parts,
    readings_in,
)

T0_MS = 1_790_000_000_000
SPANS_MS = st.one_of(st.integers(0, 5), st.integers(0, 2_000), st.integers(0, 300_000))
SIZES = st.one_of(st.just(1), st.integers(1, 8), st.integers(1, READINGS_MAX))
BURSTS = st.integers(1, 900)
SERIES = st.lists(st.tuples(SPANS_MS, SIZES, BURSTS), min_size=1, max_size=12)
"""After so many milliseconds so many messages at once, each of so many readings."""


def array(readings: int, first: int = 0) -> bytes:
    return json.dumps([{"v": 1, "device": "d", "seq": first + n} for n in range(readings)]).encode()


PAYLOADS = {readings: array(readings) for readings in range(1, READINGS_MAX + 1)}


def routed(series: list[tuple[int, int, int]]) -> list[tuple[int, int, Lane]]:
    """(instant, readings, lane) of every message of one device."""
    router, now_ms, found = Router(), T0_MS, []
    for after_ms, readings, times in series:
        now_ms += after_ms
        for _ in range(times):
            found.append((now_ms, readings, router.route("d", PAYLOADS[readings], now_ms).lane))
    return found


def exceeds(spent: list[tuple[int, int]], burst: float, per_s: float) -> bool:
    """Whether in any span more was spent than the burst and what the span adds to it."""
    worst = level = float(burst)
    last_ms = T0_MS
    for at_ms, amount in spent:
        level = min(burst, level + (at_ms - last_ms) / 1000 * per_s) - amount
        worst, last_ms = min(worst, level), at_ms
    return worst < -1e-6


@given(SERIES)
def test_the_fast_way_and_the_whole_of_what_is_forwarded_stay_within_their_bounds(series: Any) -> None:
    found = routed(series)
    live = [(at, readings) for at, readings, lane in found if lane is Lane.LIVE]
    forwarded = [(at, cost(readings)) for at, readings, lane in found if lane is not Lane.HELD]
    assert not exceeds(live, LIVE_READINGS_BURST, LIVE_READINGS_PER_S)
    assert not exceeds(forwarded, MESSAGES_BURST, MESSAGES_PER_S)


@given(SERIES)
def test_nothing_is_held_while_a_device_stays_within_its_allowance(series: Any) -> None:
    found = routed(series)
    if not exceeds([(at, cost(readings)) for at, readings, _ in found], MESSAGES_BURST, MESSAGES_PER_S):
        assert Lane.HELD not in {lane for *_, lane in found}


@given(SERIES)
def test_after_something_was_held_nothing_overtakes_until_the_allowance_is_full_again(series: Any) -> None:
    held_ms: int | None = None
    for at_ms, _, lane in routed(series):
        if lane is Lane.HELD:
            held_ms = at_ms
        elif lane is Lane.LIVE and held_ms is not None:
            assert (at_ms - held_ms) / 1000 * MESSAGES_PER_S >= MESSAGES_BURST - cost(READINGS_MAX)


@given(SERIES, st.lists(st.integers(500, 60_000), max_size=30))
def test_a_quiet_device_is_live_whatever_another_does(series: Any, steps: list[int]) -> None:
    router, now_ms = Router(), T0_MS
    loud = iter(series)
    for step in steps:
        now_ms += step
        _, readings, times = next(loud, (0, 1, 1))
        for _ in range(times):
            router.route("loud", PAYLOADS[readings], now_ms)
        assert router.route("quiet", PAYLOADS[1], now_ms).lane is Lane.LIVE


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), SPANS_MS, SIZES), max_size=60))
def test_each_message_is_in_kafka_whole_or_without_receipt_and_of_the_latter_a_sample(messages: Any) -> None:
    """Held messages never reach a topic from which receipts come."""
    router, twin, now_ms = Router(4), Router(4), T0_MS
    for device, after_ms, readings in messages:
        now_ms += after_ms
        payload = PAYLOADS[readings]
        route = twin.route(device, payload, now_ms)
        records = to_records(Arrived(f"scad/v1/{device}/readings", payload, 1, 1, 0, now_ms), router)
        assert records is not None
        assert [record.topic for record in records] == (
            [topics.QUARANTINE] * route.sample if route.lane is Lane.HELD
            else [topics.TELEMETRY if route.lane is Lane.LIVE else topics.BACKLOG]
        )  # fmt: skip
        assert all(record.value == payload for record in records if record.topic != topics.QUARANTINE)
        assert len(router) <= 4


def flood(router: Router, now_ms: int, times: int, leaf: str = "readings") -> list[Any]:
    payload = b'{"v":1,"device":"d","seq":7}' if leaf == "readings" else b'{"state":"online"}'
    return [to_records(Arrived(f"scad/v1/d/{leaf}", payload, n, 1, 0, now_ms), router) for n in range(times)]


def test_of_a_flood_one_message_a_minute_goes_to_quarantine_with_what_it_stands_for() -> None:
    router = Router()
    flood(router, T0_MS, MESSAGES_BURST)
    first = [records for records in flood(router, T0_MS, 5_000) if records]
    assert len(first) == 1
    (record,) = first[0]
    said = json.loads(record.value)
    assert (record.topic, record.key) == (topics.QUARANTINE, b"d")
    assert (said["reason"], said["seq"]) == ("rate-limited", 7)
    assert router.flooding(T0_MS) == 1
    later = T0_MS + SAMPLE_MS
    forwarded = int(MESSAGES_PER_S * SAMPLE_MS / 1000)
    (again,) = flood(router, later, forwarded + 1)[-1]
    assert "5000 were not taken" in json.loads(again.value)["detail"]
    assert router.flooding(later) == 1
    assert router.flooding(later + SAMPLE_MS) == 0


def test_a_flood_of_states_is_held_too_and_costs_the_readings_nothing() -> None:
    router = Router()
    records = flood(router, T0_MS, MESSAGES_BURST + 10, "status")
    assert [bool(found) for found in records] == [True] * MESSAGES_BURST + [False] * 10
    assert router.route("d", PAYLOADS[1], T0_MS).lane is Lane.LIVE


def test_a_day_offline_takes_the_slow_way_and_what_is_measured_meanwhile_the_fast_one() -> None:
    router = Router()
    lanes = [router.route("d", PAYLOADS[500], T0_MS).lane for _ in range(200)]
    assert set(lanes) == {Lane.BACKLOG}
    assert router.route("d", PAYLOADS[1], T0_MS).lane is Lane.LIVE


@pytest.mark.parametrize(
    ("payload", "readings"),
    [(b"", 1), (b"{}", 1), (PAYLOADS[7], 7), (b'"seq"' * 10_000, 500), (b"x" * 300_000, 73)],
)
def test_readings_are_counted_without_parsing(payload: bytes, readings: int) -> None:
    assert readings_in(payload) == readings


def test_a_clock_that_is_set_back_gives_and_takes_nothing() -> None:
    router = Router()
    for _ in range(LIVE_READINGS_BURST):
        router.route("d", PAYLOADS[1], T0_MS)
    assert router.route("d", PAYLOADS[1], T0_MS - 3_600_000).lane is Lane.BACKLOG
    assert router.route("d", PAYLOADS[1], T0_MS).lane is Lane.LIVE, "the clock went on by an hour"


def test_memory_is_bounded_whatever_names_come() -> None:
    router = Router()
    for number in range(DEVICES_MAX + 500):
        router.route(f"d-{number}", b"", T0_MS)
    assert len(router) == DEVICES_MAX


@given(
    st.floats(1, 10_000),
    st.lists(st.tuples(st.integers(1, PART_READINGS), st.floats(0, 30)), min_size=1, max_size=60),
)
def test_the_slow_way_is_never_faster_than_its_rate_and_saves_nothing_up(rate: float, work: Any) -> None:
    throttle, now_s = Throttle(rate), 0.0
    begun: list[tuple[float, int]] = []
    for readings, pause_s in work:
        now_s += pause_s
        waited = throttle.wait_s(readings, now_s)
        assert waited >= 0
        now_s += waited
        begun.append((now_s, readings))
    for (one_s, readings), (other_s, _) in pairwise(begun):
        assert other_s - one_s >= readings / rate - 1e-6


@given(st.lists(st.one_of(st.just(1), st.integers(1, READINGS_MAX)), max_size=80))
def test_parts_hold_every_record_once_in_order_and_a_bounded_number_of_readings(sizes: list[int]) -> None:
    records: Any = [SimpleNamespace(value=PAYLOADS[size], offset=n) for n, size in enumerate(sizes)]
    found = list(parts(records))
    assert [record.offset for part, _ in found for record in part] == list(range(len(sizes)))
    for part, readings in found:
        assert readings == sum(sizes[record.offset] for record in part) <= PART_READINGS
