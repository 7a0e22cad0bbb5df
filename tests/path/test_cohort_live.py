"""Whole simulated patients, whose devices are late, repeat themselves and lose their clocks, through the platform."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from whole_platform import DAY_MS, TEAM, Episode, Platform, episode

from devices.decode import decode_line
from devices.physiology import Cohort
from devices.readings import Reading
from devices.times import format_instant, from_datetime
from scad.clock import Clock
from scad.services import Kafka, Mosquitto, Postgres, Program
from streams.plans import CarePlan
from streams.protocols import load_published
from streams.replay import Replay, read_care_plans
from streams.signal import encode_signal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SEED, PATIENTS, DAYS = 22, 6, 30
AFTERWARDS_DAYS = 2
"""The clock goes on after the last measurement: what was held back by a telephone's gap arrives, and silence is
noticed. In all less than the 35 days within which everything is evaluated."""
WALL_MS = 25_000
"""What the 32 days take, at 110,000 times the wall's pace."""
MARGIN_MS = 15_000
"""The clock stands while the processes start."""

Identity = tuple[str, int, int]


@pytest.fixture
def platform(
    service_folder: Path, kafka: Kafka, postgres: Postgres, mosquitto: Mosquitto
) -> Iterator[Platform]:
    running = Platform(service_folder / "cohort", kafka, postgres)
    try:
        yield running
    finally:
        running.stop()


def deliveries(cohort: Cohort) -> dict[Identity, tuple[int, dict[str, Any]]]:
    """When each reading is first delivered, and the reading with its patient."""
    found: dict[Identity, tuple[int, dict[str, Any]]] = {}
    for patient in cohort.patients:
        for one in cohort.readings(patient):
            sent = one.reading
            key = (str(sent["device"]), int(sent.get("epoch", 0)), int(sent["seq"]))
            found.setdefault(key, (one.delivered_ms, {"patient": patient.patient, **sent}))
    return found


def engine_says(readings: list[Reading], plans: list[CarePlan], until_ms: int) -> list[Episode]:
    """What stands when the engine has read them in the order in which they were measured."""
    run = Replay(load_published(), [], plans, until_ms)
    for reading in sorted(readings, key=lambda r: (r.measured_at_ms, r.device, r.seq)):
        run.take(reading)
    for _ in run.finish():
        pass
    return sorted(episode(encode_signal(found)) for found in run.standing())


def test_a_month_of_simulated_patients_ends_with_the_episodes_of_the_engine(platform: Platform) -> None:
    clock = Clock.catching_up((DAYS + AFTERWARDS_DAYS) * DAY_MS, WALL_MS, MARGIN_MS)
    cohort = Cohort(SEED, PATIENTS, clock.start_ms, DAYS)
    document = cohort.enrolment()
    for entry in document["patients"]:
        entry["care_team"] = TEAM
    names = [entry["patient"] for entry in document["patients"]]
    plans, _ = read_care_plans(platform.enrol(*document["patients"]))
    platform.environment["SCAD_CLOCK"] = clock.text()
    platform.start()
    options = ["--patients", str(PATIENTS), "--seed", str(SEED), "--days", str(DAYS)]
    fleet = [sys.executable, "-m", "scad", "fleet", *options]
    with Program("fleet", fleet, platform.folder / "fleet", platform.environment):
        sent = deliveries(cohort)
        due = {key for key, (delivered_ms, _) in sent.items() if delivered_ms <= clock.caught_up_ms}
        devices = sorted({name for name, _, _ in sent})

        def arrived() -> set[Identity]:
            return set(
                platform.rows(
                    "select device, epoch, seq from scad.reading_identity where device = any(%(devices)s)"
                    " union select device, epoch, seq from scad.quarantine where device = any(%(devices)s)",
                    devices=devices,
                )
            )

        platform.until(lambda: clock.now_ms() > clock.caught_up_ms, "the clock has caught up", 90)
        platform.until(lambda: due <= arrived(), f"{len(due)} readings stored or refused", 90)
        rows = platform.rows(
            "select device, epoch, seq, received_at from scad.reading where device = any(%(devices)s)",
            devices=devices,
        )
        received = {(name, epoch, seq): from_datetime(at) for name, epoch, seq, at in rows}
        assert len(received) == len(rows), "a reading is stored twice"
        readings = [
            decode_line(json.dumps(sent[key][1] | {"received_at": format_instant(at_ms)}).encode())
            for key, at_ms in received.items()
        ]
        expected = engine_says(readings, plans, platform.now_ms())
        platform.until_equal(lambda: platform.standing(*names), expected)
    late = sum(1 for reading in readings if reading.received_late_ms > DAY_MS)
    assert late > 0, "nothing was late: the test proves less than it says"
    assert len({(protocol, rule) for _, _, protocol, rule, *_ in expected}) >= 8
