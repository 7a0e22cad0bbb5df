"""The patient's own day on both days on which the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.physiology import Cohort
from devices.physiology.local_time import LocalTime
from devices.times import from_datetime, parse_instant, to_datetime

PARIS = ZoneInfo("Europe/Paris")
SPRING_MS = parse_instant("2026-03-27T10:00:00+01:00")[0]  # clocks go forward on 29 March
AUTUMN_MS = parse_instant("2026-10-23T10:00:00+02:00")[0]  # and back on 25 October


@settings(deadline=None)
@given(st.sampled_from([SPRING_MS, AUTUMN_MS]), st.integers(0, 4), st.integers(0, 1439))
def test_a_local_wall_time_is_the_instant_that_the_zone_database_says(start_ms, day, minute):
    clock = LocalTime("Europe/Paris", start_ms, 6)
    instant = to_datetime(int(clock.instant_ms([day], [minute])[0])).astimezone(PARIS)
    expected = datetime.combine(clock.first_date, datetime.min.time(), PARIS)
    naive = expected.replace(tzinfo=None) + np.timedelta64(day * 1440 + minute, "m").item()
    wanted = from_datetime(naive.replace(tzinfo=PARIS).astimezone(UTC))
    assert from_datetime(instant) == wanted


@settings(deadline=None)
@given(st.sampled_from([SPRING_MS, AUTUMN_MS]), st.integers(0, 5 * 86_400_000))
def test_offset_and_local_hour_agree_with_the_zone_database(start_ms, after_ms):
    clock = LocalTime("Europe/Paris", start_ms, 6)
    instant_ms = start_ms + after_ms
    local = to_datetime(instant_ms).astimezone(PARIS)
    assert int(clock.offset_min([instant_ms])[0]) == local.utcoffset().total_seconds() / 60
    day, hour = clock.day_and_hour([instant_ms])
    assert day[0] == (local.date() - clock.first_date).days
    assert hour[0] == pytest.approx(local.hour + local.minute / 60 + local.second / 3600, abs=1e-3)
    assert clock.weekday(day)[0] == local.weekday()


@pytest.mark.parametrize(("start_ms", "before", "after"), [(SPRING_MS, 60, 120), (AUTUMN_MS, 120, 60)])
def test_patients_rise_at_the_same_local_hour_before_and_after_the_change(start_ms, before, after):
    cohort = Cohort(3, 120, start_ms, 5)
    hours: dict[int, list[float]] = {before: [], after: []}
    for patient in cohort.patients:
        for one in cohort.readings(patient):
            reading = one.reading
            if (
                reading["kind"] == "body-weight"
                and not one.duplicate
                and "2000" not in reading["measured_at"]
            ):
                _, offset = parse_instant(reading["measured_at"])
                clock_time = datetime.fromisoformat(reading["measured_at"])
                hours[offset].append(clock_time.hour + clock_time.minute / 60)
    assert np.median(hours[before]) == pytest.approx(7.25, abs=0.2)
    assert np.median(hours[after]) == pytest.approx(7.25, abs=0.2)


@pytest.mark.parametrize(("start_ms", "hours"), [(SPRING_MS, 71), (AUTUMN_MS, 73)])
def test_a_sensor_measures_every_five_minutes_through_the_change(start_ms, hours):
    cohort = Cohort(9, 60, start_ms, 3)
    for patient in cohort.patients:
        if patient.serial("cg") is None:
            continue
        simulation = cohort.simulate(patient)
        at_ms = next(one.series.true_ms for one in simulation.sent if one.series.automatic)
        assert np.all(np.diff(at_ms) % 300_000 == 0)
        assert len(at_ms) <= hours * 12
