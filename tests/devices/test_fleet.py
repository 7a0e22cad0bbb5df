"""The simulated fleet against a real broker: catches up, keeps the clock's pace, goes on after a restart."""

from __future__ import annotations

import itertools
import json
import threading

import pytest
from fake_platform import FakePlatform, until
from typer.testing import CliRunner

from devices.driver import Driver
from devices.fleet import CohortChoice, Fleet, FleetError, make_cohort, remember_choice
from devices.outbox import OutboxStore
from devices.physiology import Cohort
from devices.times import parse_instant
from scad.clock import Clock
from scad.main import build_app

numbers = itertools.count(1)
START_MS = parse_instant("2026-06-01T00:00:00+02:00")[0]
DAY_MS = 86_400_000


class HandClock:
    """A clock that a test sets."""

    def __init__(self, now_ms: int) -> None:
        self.now = now_ms

    @property
    def wall(self):
        return self.now_ms

    def now_ms(self):
        return self.now

    def wall_of_ms(self, instant_ms):
        return instant_ms


@pytest.fixture
def platform(mosquitto):
    with FakePlatform(mosquitto, f"fleet-platform-{next(numbers)}") as platform:
        yield platform


@pytest.fixture
def cohort(mosquitto):
    cohort = Cohort(seed=1000 + next(numbers), patients=6, start_ms=START_MS, days=12)
    mosquitto.add_accounts({d.device: "made-up" for p in cohort.patients for d in p.devices})
    return cohort


class Running:
    """A fleet in a thread of its own, over the outboxes of a folder."""

    def __init__(self, cohort, mosquitto, folder, clock) -> None:
        self.store = OutboxStore(folder, durable=False)
        self.driver = Driver("127.0.0.1", mosquitto.port)
        self.stop = threading.Event()
        self.reports: list[str] = []
        self.fleet = Fleet(
            cohort,
            self.driver,
            self.store,
            lambda _: "made-up",
            clock,
            stop=self.stop,
            report=self.reports.append,
        )
        self.thread = threading.Thread(target=self.fleet.run)

    def __enter__(self) -> Running:
        self.driver.start()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self.driver.stop()
        self.store.close()


def due(cohort, until_ms):
    """Identities that the cohort has delivered by an instant."""
    return {
        (one.device, one.reading["seq"])
        for patient in cohort.patients
        for one in cohort.readings(patient)
        if one.delivered_ms <= until_ms
    }


def got(platform):
    return {(reading["device"], reading["seq"]) for reading in platform.readings}


def test_a_fleet_sends_what_is_due_and_nothing_from_the_future(mosquitto, platform, cohort, tmp_path):
    clock = HandClock(START_MS + 3 * DAY_MS)
    with Running(cohort, mosquitto, tmp_path / "f", clock) as running:
        expected = due(cohort, clock.now)
        until(lambda: got(platform) == expected and running.fleet.status().waiting == 0)
        clock.now += 2 * DAY_MS
        later = due(cohort, clock.now)
        assert len(later) > len(expected)
        until(lambda: got(platform) == later and running.fleet.status().waiting == 0)
        until(lambda: running.fleet.status().online == len(running.fleet.clients))
        until(lambda: running.reports and "readings sent" in running.reports[0])
    states = {platform.statuses[name]["state"] for name in running.fleet.clients if name in platform.statuses}
    assert states <= {"online", "offline"}


def test_messages_are_those_of_the_cohort_to_the_letter(mosquitto, platform, cohort, tmp_path):
    clock = HandClock(START_MS + 4 * DAY_MS)
    with Running(cohort, mosquitto, tmp_path / "f", clock) as running:
        expected = {
            (one.device, one.reading["seq"]): one.reading
            for patient in cohort.patients
            for one in cohort.readings(patient)
            if one.delivered_ms <= clock.now
        }
        until(lambda: len(got(platform)) == len(expected) and running.fleet.status().waiting == 0)
    for reading in platform.readings:
        reading.pop("oldest", None)
        assert reading == expected[(reading["device"], reading["seq"])]


def test_a_fleet_that_is_started_again_sends_what_is_new_and_what_had_no_receipt(
    mosquitto, platform, cohort, tmp_path
):
    clock = HandClock(START_MS + 3 * DAY_MS)
    with Running(cohort, mosquitto, tmp_path / "f", clock) as first:
        until(lambda: got(platform) == due(cohort, clock.now) and first.fleet.status().waiting == 0)
        platform.silent = True
        clock.now += DAY_MS
        until(lambda: got(platform) == due(cohort, clock.now))
        unreceipted = first.fleet.status().waiting
    assert unreceipted > 0
    platform.readings.clear()
    platform.silent = False
    with Running(cohort, mosquitto, tmp_path / "f", clock) as second:
        until(lambda: second.fleet.status().waiting == 0 and len(got(platform)) >= unreceipted)
        assert len(got(platform)) == unreceipted
        assert second.fleet.status().sent == 0
        clock.now += DAY_MS
        until(lambda: second.fleet.status().sent > 0 and second.fleet.status().waiting == 0)


def test_a_full_outbox_is_waited_for_and_nothing_is_dropped(mosquitto, platform, cohort, tmp_path):
    clock = HandClock(START_MS + 2 * DAY_MS)
    running = Running(cohort, mosquitto, tmp_path / "f", clock)
    for client in running.fleet.clients.values():
        client.outbox.readings_max = 7
    with running:
        until(lambda: got(platform) == due(cohort, clock.now) and running.fleet.status().waiting == 0, 60)


def test_a_fleet_survives_a_restart_of_the_broker(mosquitto, platform, cohort, tmp_path):
    clock = HandClock(START_MS + DAY_MS)
    with Running(cohort, mosquitto, tmp_path / "f", clock) as running:
        until(lambda: running.fleet.status().online == len(running.fleet.clients))
        mosquitto.restart()
        clock.now += 2 * DAY_MS
        until(lambda: running.fleet.status().waiting == 0 and got(platform) == due(cohort, clock.now), 60)


def test_a_cohort_goes_on_from_its_first_start(tmp_path):
    choice = CohortChoice(seed=1, start_ms=START_MS, days=30, profile="clinic")
    assert remember_choice(tmp_path / "c", choice, False) == choice
    later = CohortChoice(seed=1, start_ms=START_MS + DAY_MS, days=30, profile="clinic")
    assert remember_choice(tmp_path / "c", later, True) == choice
    longer = CohortChoice(seed=1, start_ms=START_MS, days=60, profile="clinic")
    assert remember_choice(tmp_path / "c", longer, False) == choice
    with pytest.raises(FleetError, match="leave --days out"):
        remember_choice(tmp_path / "c", longer, True)
    (tmp_path / "c" / "cohort.json").write_text("{")
    with pytest.raises(FleetError, match="remove the folder"):
        remember_choice(tmp_path / "c", choice, False)


def test_an_unknown_profile_is_named():
    with pytest.raises(FleetError, match="clinic, demo"):
        make_cohort(CohortChoice(1, START_MS, 5, "nowhere"), 3)


def test_the_enrolment_that_the_command_writes_is_that_of_the_cohort_it_will_send(tmp_path):
    begin = parse_instant("2026-11-08T09:00:00+01:00")[0]
    clock = Clock(begin, begin + 14 * DAY_MS, 100.0)
    environment = {"SCAD_DATA_DIR": str(tmp_path), "SCAD_CLOCK": clock.text()}
    path = tmp_path / "e.json"
    arguments = ["fleet", "--patients", "3", "--seed", "8", "--days", "9", "--enrolment", str(path)]
    result = CliRunner().invoke(build_app(), arguments, env=environment)
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text()) == Cohort(8, 3, begin, 9).enrolment()
