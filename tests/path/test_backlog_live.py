"""A backlog beside live readings, a flood, and two devices with one serial, on the whole platform."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from live_clients import Device
from whole_platform import DAY_MS, DEVICE_PASSWORD, Platform, device, patient, reading

from devices.driver import Driver
from devices.firmware import Firmware
from devices.outbox import OutboxStore
from scad.services import HOST, Kafka, Mosquitto, Postgres
from streams.lanes import MESSAGES_BURST

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

GATHERED = 20_000
SPAN_MS = 10 * DAY_MS // GATHERED
LIVE_READINGS = 5
LIVE_SECONDS = 5.0
"""The bound for a live reading's way to the database beside a backlog, in the middle of several."""
LIVE_SECONDS_MOST = 10.0
"""And for each: the machine may do other things. The backlog alone takes 13 s."""
SLOWER = 10
"""On a machine on which a live reading takes long without any backlog, it may take so many times as long beside one;
the backlog then takes longer as well, and must still be on its way when live readings arrive."""
CALM_READINGS = 3
FLOOD = MESSAGES_BURST + 3_000


@pytest.fixture(scope="module")
def platform(
    services_folder: Path, kafka: Kafka, postgres: Postgres, mosquitto: Mosquitto
) -> Iterator[Platform]:
    running = Platform(services_folder / "backlog", kafka, postgres)
    try:
        now_ms = running.now_ms()
        running.enrol(
            *(owner(name, now_ms - 30 * DAY_MS) for name in ("gathered", "live", "flood", "calm", "twin"))
        )
        yield running.start()
    finally:
        running.stop()


def owner(name: str, from_ms: int) -> dict[str, Any]:
    return patient(f"p-{name}", [device(f"sc-{name}", from_ms)], ["heart-failure"], from_ms)


def weighed(serial: str, seq: int, at_ms: int, kilograms: float = 80.0) -> dict[str, Any]:
    return reading(serial, seq, "body-weight", at_ms, weight=kilograms)


def seconds_to_the_database(platform: Platform, scale: Device, patient_id: str, seq: int) -> float:
    """From the device's sending to the row."""
    begun = time.monotonic()
    scale.send(weighed(scale.name, seq, platform.now_ms() - 1_000))
    platform.until(lambda: platform.stored(patient_id) > seq, f"reading {seq} of {patient_id}")
    return time.monotonic() - begun


def test_a_live_reading_does_not_wait_for_the_backlog_of_another(platform: Platform, tmp_path: Path) -> None:
    begin_ms = platform.now_ms() - 10 * DAY_MS
    store, driver = OutboxStore(tmp_path / "outbox", durable=False), Driver(HOST, platform.mosquitto.port)
    scale = Firmware("sc-gathered", store.open("sc-gathered"), password=DEVICE_PASSWORD)
    scale.submit(*(weighed("sc-gathered", seq, begin_ms + seq * SPAN_MS) for seq in range(GATHERED)))
    with Device(platform, "sc-live") as live, driver:
        calm = median(seconds_to_the_database(platform, live, "p-live", seq) for seq in range(CALM_READINGS))
        driver.add(scale)
        platform.until(lambda: platform.stored("p-gathered") > 500, "the backlog begins to come")
        took: list[float] = []
        while scale.waiting and len(took) < LIVE_READINGS:
            took.append(seconds_to_the_database(platform, live, "p-live", CALM_READINGS + len(took)))
        assert len(took) > 1, "the backlog was on its way all the time"
        assert median(took) < max(LIVE_SECONDS, SLOWER * calm), took
        assert max(took) < max(LIVE_SECONDS_MOST, 2 * SLOWER * calm), took
        platform.until(lambda: not scale.waiting, "a receipt for the whole backlog", 180)
    store.close()
    platform.until_equal(lambda: platform.stored("p-gathered"), GATHERED)
    assert platform.stored("p-live") == CALM_READINGS + len(took)


def test_a_flooding_device_is_held_without_receipt_while_others_are_served(platform: Platform) -> None:
    at_ms = platform.now_ms() - DAY_MS
    with Device(platform, "sc-flood") as flood, Device(platform, "sc-calm") as calm:
        before = seconds_to_the_database(platform, calm, "p-calm", 0)
        sent = [
            flood.publish(json.dumps(weighed("sc-flood", seq, at_ms + seq)).encode()) for seq in range(FLOOD)
        ]
        sent[-1].wait_for_publish(60)
        beside = seconds_to_the_database(platform, calm, "p-calm", 1)
        assert beside < max(LIVE_SECONDS_MOST, 2 * SLOWER * before)

        def examples() -> list[int]:
            query = "select seq from scad.quarantine where device = 'sc-flood' and reason = 'rate-limited'"
            return [seq for (seq,) in platform.rows(query)]

        (held,) = platform.until(examples, "an example in quarantine")
        assert held >= MESSAGES_BURST
        platform.until(lambda: flood.receipts and flood.receipts[-1]["through"] == held - 1, "receipts")
        platform.until(lambda: platform.stored("p-flood") >= held, "what has a receipt is stored")
        assert not any(lets_forget(receipt, held) for receipt in flood.receipts), "the device has it still"
        assert flood.rejected == []


def lets_forget(receipt: dict[str, Any], seq: int) -> bool:
    also = receipt.get("also", ())
    return receipt["through"] >= seq or any(first <= seq <= last for first, last in also)


def test_two_devices_with_one_serial_take_turns_and_both_contents_are_kept(
    platform: Platform, tmp_path: Path
) -> None:
    at_ms, each = platform.now_ms() - DAY_MS, 40
    stores = [OutboxStore(tmp_path / name, durable=False) for name in ("one", "other")]
    drivers = [Driver(HOST, platform.mosquitto.port) for _ in stores]
    twins = [
        Firmware("sc-twin", store.open("sc-twin"), password=DEVICE_PASSWORD, array_max=5) for store in stores
    ]
    with drivers[0], drivers[1]:
        for driver, twin in zip(drivers, twins, strict=True):
            driver.add(twin)
        platform.until(
            lambda: sum(twin.counts.connects for twin in twins) > len(twins),
            "they put each other off the line",
        )
        for kilograms, twin in zip((70.0, 90.0), twins, strict=True):
            twin.submit(*(weighed("sc-twin", seq, at_ms + seq * 60_000, kilograms) for seq in range(each)))
        platform.until(lambda: not any(twin.waiting for twin in twins), "both have receipts for all")
    for store in stores:
        store.close()
    contents = "select seq, count(*) from scad.reading where device = 'sc-twin' group by seq order by seq"
    platform.until_equal(lambda: platform.rows(contents), [(seq, 2) for seq in range(each)])
    noted = "select seq, contents from scad.reading_conflict where device = 'sc-twin' order by seq"
    platform.until_equal(lambda: platform.rows(noted), [(seq, 2) for seq in range(each)])
