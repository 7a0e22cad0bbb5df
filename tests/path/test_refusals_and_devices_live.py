"""Devices that move, messages that are refused, readings that are followed, an alert that is acknowledged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_clients import Device, Listener
from whole_platform import DAY_MS, NURSE, Platform, device, patient, reading

from devices.times import format_instant
from scad.services import Kafka, Mosquitto, Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def platform(
    services_folder: Path, kafka: Kafka, postgres: Postgres, mosquitto: Mosquitto
) -> Iterator[Platform]:
    running = Platform(services_folder / "devices", kafka, postgres)
    try:
        yield running.start()
    finally:
        running.stop()


def weighed(serial: str, seq: int, at_ms: int, kilograms: float) -> dict[str, Any]:
    return reading(serial, seq, "body-weight", at_ms, weight=kilograms)


def quarantined(platform: Platform, *options: str) -> list[dict[str, Any]]:
    said = platform.scad("quarantine", "list", "--json", *options)
    return [json.loads(line) for line in said.splitlines()]


def test_each_reading_belongs_to_whom_the_device_was_assigned_when_it_was_measured(
    platform: Platform,
) -> None:
    now_ms = platform.now_ms()
    begin_ms, moved_ms = now_ms - 10 * DAY_MS, now_ms - 3 * DAY_MS
    plan = ["heart-failure"]
    platform.enrol(patient("p-first", [device("sc-moved", begin_ms)], plan, begin_ms))
    with Device(platform, "sc-moved") as scale:
        before = [weighed("sc-moved", n, begin_ms + n * 6 * HOUR_MS, 80) for n in range(1, 9)]
        scale.send(*before[:6]).until_receipt(6)
        platform.enrol(patient("p-second", [device("sc-moved", moved_ms)], plan, begin_ms))
        backlog = [*before[6:], weighed("sc-moved", 9, moved_ms - 1, 80)]
        after = [weighed("sc-moved", n, moved_ms + (n - 10) * HOUR_MS, 60) for n in range(10, 14)]
        nobodys = weighed("sc-moved", 14, begin_ms - 1, 80)
        scale.send(*after[2:], *backlog, *after[:2], nobodys).until_receipt(14)
        assert scale.rejected == [(14, "not-assigned")]

    def owners() -> dict[int, str]:
        return dict(
            platform.rows("select seq, patient from scad.reading where device = 'sc-moved' order by seq")
        )

    expected = dict.fromkeys(range(1, 10), "p-first") | dict.fromkeys(range(10, 14), "p-second")
    platform.until_equal(owners, expected)
    weights = platform.rows("select patient, count(*), min(value), max(value) from scad.reading"
                            " where device = 'sc-moved' group by patient order by patient")  # fmt: skip
    assert weights == [("p-first", 9, 80.0, 80.0), ("p-second", 4, 60.0, 60.0)]
    clinical = [one for one in platform.standing("p-first", "p-second") if one[4] == "clinical"]
    assert clinical == [], "80 kg and 60 kg are two persons' weights"


def test_what_cannot_be_is_quarantined_with_its_reason_and_the_stream_goes_on(platform: Platform) -> None:
    now_ms = platform.now_ms()
    scale, stranger = "sc-refused", "sc-stranger"
    platform.enrol(patient("p-refused", [device(scale, now_ms - DAY_MS)], ["heart-failure"], now_ms - DAY_MS))
    platform.add_devices([stranger])
    future = weighed(scale, 2, now_ms, 80) | {"measured_at": "2031-01-01T08:00:00+01:00"}
    with Device(platform, scale) as at_home, Device(platform, stranger) as elsewhere:
        platform.publish(scale, '{"v":1,"device":"sc-refused","seq":0,"kind":')
        platform.publish(stranger, json.dumps(weighed(stranger, 1, now_ms - HOUR_MS, 71)))
        platform.publish(scale, json.dumps(weighed(scale, 1, now_ms - HOUR_MS, 9_000)))
        platform.publish(scale, json.dumps(future))
        platform.publish(scale, json.dumps(weighed(scale, 3, now_ms - HOUR_MS, 81)))
        platform.until_equal(lambda: platform.stored("p-refused"), 1)
        named = [(None, "not-json"), (1, "out-of-range"), (2, "clock-ahead")]
        platform.until_equal(lambda: at_home.rejected, named)
        platform.until_equal(lambda: elsewhere.rejected, [(1, "unknown-device")])
        assert at_home.until_receipt(3)["through"] == 3

    platform.until(lambda: len(quarantined(platform)) >= 4, "four entries")
    entries = {
        (entry["device"], entry["seq"]): entry
        for entry in quarantined(platform)
        if entry["device"] in (scale, stranger)
    }
    assert {key: entry["reason"] for key, entry in entries.items()} == {
        (scale, None): "not-json",
        (stranger, 1): "unknown-device",
        (scale, 1): "out-of-range",
        (scale, 2): "clock-ahead",
    }
    assert "9000" in entries[scale, 1]["detail"].replace(" ", "")
    assert "2031" in entries[scale, 2]["detail"]
    assert stranger in entries[stranger, 1]["detail"]
    assert json.loads(entries[scale, 2]["raw"]) == future

    platform.enrol(
        patient("p-stranger", [device(stranger, now_ms - DAY_MS)], ["heart-failure"], now_ms - DAY_MS)
    )
    platform.scad("quarantine", "replay", "--device", stranger)
    platform.until_equal(lambda: platform.stored("p-stranger"), 1)
    platform.until_equal(lambda: quarantined(platform, "--device", stranger), [])
    (resolved,) = quarantined(platform, "--device", stranger, "--resolved")
    assert resolved["state"] == "resolved"

    said = platform.scad("trace", scale, "1")
    assert "out-of-range" in said
    assert "9000" in said
    assert entries[scale, 1]["id"] in said
    found = json.loads(platform.scad("trace", stranger, "1", "--json"))
    assert (found["stored"][0]["patient"], found["refused"][0]["state"]) == ("p-stranger", "resolved")
    platform.scad("trace", scale, "99", status=1)


def test_a_decompensation_is_on_the_feed_with_its_explanation_is_acknowledged_and_can_be_traced(
    platform: Platform,
) -> None:
    now_ms = platform.now_ms()
    begin_ms, scale = now_ms - 12 * DAY_MS, "sc-failing"
    platform.enrol(
        patient("p-failing", [device(scale, begin_ms)], ["heart-failure"], begin_ms, dry_weight_kg=80.0)
    )
    days = [80.0, 80.1, 79.9, 80.0, 80.1, 79.9, 80.2, 80.0, 80.7, 81.5, 82.4]
    readings = [
        weighed(scale, n, now_ms - (len(days) - n) * DAY_MS, value) for n, value in enumerate(days, 1)
    ]
    nurse = platform.feed_login()
    with Listener(nurse) as browser, Device(platform, scale) as at_home:
        at_home.send(*readings[:-1]).until_receipt(len(days) - 1)
        platform.until_equal(lambda: platform.stored("p-failing"), len(days) - 1)
        at_home.send(readings[-1]).until_receipt(len(days))

        def shown() -> dict[str, Any] | None:
            rows = nurse.get("/api/queue").json()["clinical"]
            alerts = [alert for row in rows for alert in row["alerts"] if alert["patient"] == "p-failing"]
            return next((alert for alert in alerts if alert["rule"] == "weight-gain-3d"), None)

        alert = platform.until(shown, "the alert in the queue")
        assert (alert["severity"], alert["state"], alert["ringing"]) == ("high", "open", True)
        assert alert["explanation"]["en"] == (
            "Weight 82.4 kg: 2.4 kg above 80.0 kg within the 3 days before (limit 2.0 kg)."
        )
        assert "82,4 kg" in alert["explanation"]["fr"]
        assert {(one["device"], one["seq"]) for one in alert["evidence"]} == {(scale, 8), (scale, 11)}
        name = alert["alert"]
        platform.until(lambda: name in browser.rung, "the stream rings for it")

        answer = nurse.post(f"/api/alerts/{name}/acknowledge", json={"note": "appelée"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["alert"]["acknowledged_by"] == NURSE
        platform.until(lambda: name in browser.named("acknowledged"), "the stream says so")
        assert nurse.post(f"/api/alerts/{name}/acknowledge").status_code == 409
        assert browser.ids == sorted(set(browser.ids))

    said = platform.scad("trace", scale, str(len(days)))
    assert f"Measured at {readings[-1]['measured_at']}" in said
    assert (
        f"evidence of alert {name} (heart-failure, weight-gain-3d, severity high, now acknowledged)" in said
    )
    found = json.loads(platform.scad("trace", scale, str(len(days)), "--json"))
    assert found["stored"][0]["care_plan"] == 1
    assert {one["alert"] for one in found["evidence_of"]} >= {name}
    assert "It is evidence of no alert." in platform.scad("trace", scale, "2")
    assert format_instant(now_ms, 60) == readings[-1]["measured_at"]
