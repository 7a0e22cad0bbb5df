"""Bridge, worker and feed killed with -9 in the middle of 20,000 readings: nothing is lost, nothing is twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from live_clients import Listener
from made_up_recordings import MAKERS, ward
from whole_platform import DAY_MS, Platform, device, patient

from scad.services import Kafka, Mosquitto, Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENTS, EACH = 40, 500
SEED = 20260310
KILLED = ("bridge", "worker", "feed")
"""One is killed in each third of the readings, at a point that the seed draws."""
ARRAYS = "10"


@pytest.fixture
def platform(
    service_folder: Path, kafka: Kafka, postgres: Postgres, mosquitto: Mosquitto
) -> Iterator[Platform]:
    running = Platform(service_folder / "killed", kafka, postgres)
    try:
        yield running.start()
    finally:
        running.stop()


def send_and_kill(platform: Platform, lines: list[dict[str, Any]], name: str, share: float) -> None:
    """Send readings; kill a process when this share of them is stored, and start it again."""
    stored = "select count(*) from scad.reading"
    point = platform.count(stored) + int(len(lines) * share)
    sent = platform.write("part", lines)
    with ThreadPoolExecutor(1) as pool:
        fleet = pool.submit(platform.scad, "fleet", "--replay", sent, "--as-recorded", "--arrays", ARRAYS)
        platform.until(lambda: platform.count(stored) >= point, f"{point} readings stored", 120)
        platform.kill(name)
        platform.start(name)
        assert f"{len(lines):,} receipted, 0 rejected" in fleet.result()


def test_processes_killed_in_the_middle_of_20000_readings_lose_nothing_and_double_nothing(
    platform: Platform,
) -> None:
    lines = ward(PATIENTS, EACH, platform.now_ms(), SEED)
    names = [f"p-{index}" for index in range(PATIENTS)]
    begin_ms = platform.now_ms() - 25 * DAY_MS
    plans = platform.enrol(
        *(
            patient(name, [device(f"d-{index}", begin_ms)], [MAKERS[index % len(MAKERS)][1]], begin_ms)
            for index, name in enumerate(names)
        )
    )
    recording = platform.write("ward", lines)
    expected = platform.engine(recording, plans)
    rng = random.Random(SEED)
    total = PATIENTS * EACH
    part = -(-total // len(KILLED))
    with Listener(platform.feed_login()) as browser:
        for number, name in enumerate(KILLED):
            share = rng.uniform(0.2, 0.6)
            send_and_kill(platform, lines[number * part : (number + 1) * part], name, share)
        platform.until_equal(lambda: platform.stored(*names), total, 120)
        platform.until_equal(lambda: platform.standing(*names), expected, 120)

        of_each = platform.rows(
            "select device, count(*), min(seq), max(seq), count(distinct seq) from scad.reading"
            " group by device"
        )
        assert sorted(of_each) == sorted((f"d-{i}", EACH, 1, EACH, EACH) for i in range(PATIENTS))
        numbered = platform.rows(
            "select patient, count(*) - max(n), count(distinct n) - max(n), min(n) from scad.alert_event"
            " where kind = 'signal' group by patient"
        )
        assert {tuple(counts) for _, *counts in numbered} == {(0, 0, 1)}
        since = "select id from scad.alert_event where id > %s order by id"
        platform.until(
            lambda: browser.ids == [id_ for (id_,) in platform.rows(since, browser.began_after)],
            "every step has come to the browser once and in order",
        )
    assert browser.connections >= 2, "the browser was connected when the feed was killed"
    rules = {rule for _, _, _, rule, *_ in expected}
    assert rules >= {"weight-gain-1d", "weight-gain-3d", "bp-crisis", "glucose-very-low"}
