"""A recording sent through the whole path gives what the engine gives over the file, however it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_clients import Listener
from made_up_recordings import glucose_recording, renamed
from whole_platform import DAY_MS, TEAM, Platform

from devices.times import parse_instant
from scad.services import Kafka, Mosquitto, Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cgm_subject1.jsonl"
BEGIN_MS = parse_instant("2026-03-02T08:00:00+01:00")[0]


@pytest.fixture(scope="module")
def platform(
    services_folder: Path, kafka: Kafka, postgres: Postgres, mosquitto: Mosquitto
) -> Iterator[Platform]:
    running = Platform(services_folder / "recordings", kafka, postgres)
    try:
        yield running.start()
    finally:
        running.stop()


def made_up() -> list[dict[str, Any]]:
    return glucose_recording("p-made-up", "cg-made-up", BEGIN_MS)


def recorded() -> list[dict[str, Any]]:
    if not SHARED.is_file():
        pytest.skip(f"the recording {SHARED.name} is not beside the checkout")
    return [json.loads(line) for line in SHARED.read_bytes().splitlines()]


class Played:
    """A recording that has been sent: what was sent, the care plans, and when it was over."""

    def __init__(self, platform: Platform, lines: list[dict[str, Any]], *options: str) -> None:
        recording = platform.write("recording", lines)
        enrolment, self.shifted = platform.folder / "enrol.json", platform.folder / "shifted.jsonl"
        platform.scad("fleet", "--replay", recording, "--enrol-to", enrolment)
        document = json.loads(enrolment.read_bytes())
        for entry in document["patients"]:
            entry["care_team"] = TEAM
            entry["care_plan"]["schedule"] = {"glucose": {"every_hours": 6}}
            entry["care_plan"]["limits"] = {"diabetes": {"glucose-high": {"limit": 240}}}
        self.plans = platform.enrol(*document["patients"])
        (self.patient,) = (entry["patient"] for entry in document["patients"])
        platform.scad("fleet", "--replay", recording, "--shifted-to", self.shifted, *options)
        sent = [json.loads(line) for line in self.shifted.read_bytes().splitlines()]
        self.sent = sorted(sent, key=lambda line: parse_instant(line["measured_at"])[0])


def stored(platform: Platform, patient: str) -> list[tuple[int, int, float]]:
    rows = platform.rows(
        "select seq, (extract(epoch from measured_at) * 1000)::bigint, value from scad.reading"
        " where patient = %s order by measured_at",
        patient,
    )
    return [(int(seq), int(at), float(value)) for seq, at, value in rows]


def as_sent(lines: list[dict[str, Any]]) -> list[tuple[int, int, float]]:
    return [(line["seq"], parse_instant(line["measured_at"])[0], line["values"]["glucose"]) for line in lines]


@pytest.mark.parametrize("recording", [made_up, recorded])
def test_a_recording_is_stored_once_and_raises_the_alerts_of_the_engine_without_ringing_for_the_past(
    platform: Platform, recording: Callable[[], list[dict[str, Any]]]
) -> None:
    lines = recording()
    with Listener(platform.feed_login()) as browser:
        played = Played(platform, lines)
        assert len(played.sent) == len(lines)
        platform.until(lambda: platform.stored(played.patient) >= len(lines), "all readings stored")
        expected = platform.engine(played.shifted, played.plans)
        platform.until_equal(lambda: platform.standing(played.patient), expected)
        assert stored(platform, played.patient) == as_sent(played.sent)
        last = platform.count("select max(id) from scad.alert_event where patient = %s", played.patient)
        platform.until(lambda: browser.ids and browser.ids[-1] >= last, "the browser has seen all")

    assert {rule for _, _, _, rule, *_ in expected} >= {"glucose-falling", "glucose-low", "no-reading"}
    open_now = {alert for alert, *_, end in expected if end is None}
    queue = {
        a for (a,) in platform.rows("select alert::text from scad.queue where patient = %s", played.patient)
    }
    inside = dict(
        platform.rows(
            "select alert::text, inhibited_by::text from scad.alert"
            " where patient = %s and inhibited_by is not null and condition = 'raised'",
            played.patient,
        )
    )
    assert queue | inside.keys() == open_now
    assert set(inside.values()) <= queue, "a milder alert is shown inside the graver one of its problem"
    yesterday_ms = platform.now_ms() - DAY_MS
    past = {alert for alert, *_, end in expected if end is not None and end < yesterday_ms}
    assert past, "a recording without a past proves nothing"
    assert browser.rung.isdisjoint(past)
    if recording is made_up:
        assert browser.rung == {alert for alert, _, _, rule, *_, end in expected
                                if rule == "glucose-very-low" and end is None}  # fmt: skip


@pytest.mark.parametrize("recording", [made_up, recorded])
def test_a_recording_sent_twice_shuffled_and_in_arrays_of_500_gives_the_same_rows_and_alerts(
    platform: Platform, recording: Callable[[], list[dict[str, Any]]]
) -> None:
    name = f"shuffled-{recording.__name__}"
    lines = renamed(recording(), f"p-{name}", f"cg-{name}")
    played = Played(platform, lines, "--twice", "--shuffle", "7", "--arrays", "500")
    in_order = platform.write("in-order", played.sent)
    expected = platform.engine(in_order, played.plans)
    platform.until(lambda: platform.stored(played.patient) >= len(played.sent), "all readings stored")
    platform.until_equal(lambda: platform.standing(played.patient), expected)
    assert stored(platform, played.patient) == as_sent(played.sent)
    assert {rule for _, _, _, rule, *_ in expected} >= {"glucose-falling", "glucose-low", "no-reading"}
