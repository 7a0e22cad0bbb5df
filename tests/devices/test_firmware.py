"""The firmware client against a real broker: receipts, reconnects, restarts, resending."""

from __future__ import annotations

import itertools
import json

import pytest
from fake_platform import FakePlatform, until

from devices.driver import Driver
from devices.firmware import PAYLOAD_BYTES_MAX, Firmware, encode_message
from devices.outbox import Held, OutboxStore

numbers = itertools.count(1)
NOON_MS = 1_795_345_200_000


@pytest.fixture
def device(mosquitto):
    name = f"sc-test-{next(numbers)}"
    mosquitto.add_account(name, "made-up")
    return name


@pytest.fixture
def platform(mosquitto):
    with FakePlatform(mosquitto) as platform:
        yield platform


@pytest.fixture
def store(tmp_path):
    store = OutboxStore(tmp_path / "outbox", durable=False)
    yield store
    store.close()


@pytest.fixture
def driver(mosquitto):
    with Driver("127.0.0.1", mosquitto.port) as driver:
        yield driver


def firmware(device, store, **options: object):
    return Firmware(device, store.open(device), **({"password": "made-up"} | options))


def weigh(client, count=1):
    return [client.measure("body-weight", {"weight": 80.0}, NOON_MS, 60) for _ in range(count)]


@pytest.mark.parametrize("mqtt5", [True, False])
def test_a_reading_is_forgotten_when_its_receipt_has_come(mqtt5, device, store, driver, platform):
    client = firmware(device, store, mqtt5=mqtt5)
    driver.add(client)
    weigh(client, 3)
    until(lambda: client.waiting == 0)
    assert sorted(set(platform.seqs(device))) == [1, 2, 3]
    until(lambda: client.counts.receipted == 3)
    first = platform.of(device)[0]
    assert first["measured_at"] == "2026-11-22T12:00:00.000+01:00"
    assert first["values"] == {"weight": 80.0}


def test_a_puback_is_no_receipt(device, store, driver, platform):
    platform.silent = True
    client = firmware(device, store)
    driver.add(client)
    weigh(client, 3)
    until(lambda: len(set(platform.seqs(device))) == 3)
    assert client.waiting == 3
    platform.send_receipt(device, platform.receipt(device))
    until(lambda: client.waiting == 0)


def test_after_a_restart_of_the_device_everything_unreceipted_is_sent_again(
    mosquitto, device, store, platform, tmp_path
):
    platform.silent = True
    with Driver("127.0.0.1", mosquitto.port) as driver:
        client = firmware(device, store)
        driver.add(client)
        weigh(client, 3)
        until(lambda: len(set(platform.seqs(device))) == 3)
    store.close()
    platform.silent = False
    platform.readings.clear()
    with Driver("127.0.0.1", mosquitto.port) as driver:
        again = firmware(device, OutboxStore(store.folder, durable=False))
        assert again.waiting == 3
        driver.add(again)
        assert weigh(again) == [4]
        until(lambda: again.waiting == 0)
    assert set(platform.seqs(device)) == {1, 2, 3, 4}


def test_a_broker_killed_in_the_middle_costs_nothing(mosquitto, device, store, driver, platform):
    client = firmware(device, store, array_max=7, resend_after_s=2.0)  # the kill may lose the queue
    driver.add(client)
    weigh(client, 200)
    until(lambda: client.counts.receipted > 0)
    mosquitto.kill()
    weigh(client, 200)
    mosquitto.start()
    until(lambda: client.waiting == 0, 60)
    assert set(platform.seqs(device)) == set(range(1, 401))
    until(lambda: client.counts.receipted == 400)
    assert client.counts.connects >= 2


def test_without_a_receipt_everything_is_sent_again_after_a_while(device, store, driver, platform):
    platform.silent = True
    client = firmware(device, store, resend_after_s=0.5)
    driver.add(client)
    weigh(client, 2)
    until(lambda: len(platform.of(device)) >= 2)
    platform.silent = False
    until(lambda: client.waiting == 0)
    assert client.counts.rewinds >= 1


def test_a_line_that_breaks_brings_no_copies_to_a_platform_that_answers_late(device, store, driver, platform):
    platform.silent = True
    client = firmware(device, store)
    driver.add(client)
    weigh(client, 3)
    until(lambda: len(platform.of(device)) == 3 and not client._unacknowledged)
    driver.call(lambda: setattr(client, "_resend_after_s", 120.0))  # the last receipt took a minute
    driver.call(lambda: client.client.socket().shutdown(2))
    until(lambda: client.counts.connects == 2)
    weigh(client)
    until(lambda: 4 in platform.seqs(device))
    assert platform.seqs(device) == [1, 2, 3, 4]


def test_what_the_broker_took_for_nobody_is_sent_again_soon(mosquitto, device, store, driver, monkeypatch):
    monkeypatch.setattr("devices.firmware.UNHEARD_AFTER_S", 0.3)
    client = firmware(
        device, store, resend_after_s=600.0
    )  # a receipt that was lost would be waited for so long
    driver.add(client)
    weigh(client, 3)
    until(lambda: client.counts.rewinds >= 2)  # the broker goes on saying that nobody is there
    with FakePlatform(mosquitto) as platform:
        until(lambda: client.waiting == 0)
        assert set(platform.seqs(device)) == {1, 2, 3}


def test_receipts_that_come_twice_or_late_change_nothing(device, store, driver, platform):
    client = firmware(device, store)
    driver.add(client)
    weigh(client, 2)
    until(lambda: client.waiting == 0)
    platform.silent = True
    weigh(client, 2)
    until(lambda: set(platform.seqs(device)) == {1, 2, 3, 4})
    before = client.counts.receipts
    for _ in range(3):
        platform.send_receipt(device, {"epoch": 0, "through": 2, "also": [], "rejected": []})
    platform.send_receipt(device, {"epoch": 5, "through": 99})
    platform.client.publish(f"scad/v1/{device}/receipts", b"no receipt", qos=1)
    until(lambda: client.counts.receipts == before + 4 and client.counts.bad_receipts == 1)
    assert client.waiting == 2
    until(lambda: client.counts.receipted == 2)


def test_a_rejected_reading_leaves_the_outbox_and_is_kept_in_the_log(device, store, driver, platform):
    platform.rejects[(device, 2)] = "implausible"
    client = firmware(device, store)
    driver.add(client)
    weigh(client, 3)
    until(lambda: client.waiting == 0)
    (line,) = client.outbox.rejected()
    assert (line.seq, line.reason) == (2, "implausible")
    assert json.loads(line.payload)["seq"] == 2
    until(lambda: (client.counts.rejected, client.counts.receipted) == (1, 2))


def test_a_backlog_goes_in_arrays_within_the_bounds(device, store, driver, platform):
    client = firmware(device, store)
    big = {"fs": 360, "samples_i16": "A" * 20_000, "gain": 200}
    for _ in range(30):
        client.measure("ecg", big, NOON_MS, 60, unit="mV")
    weigh(client, 1200)
    driver.add(client)
    until(lambda: client.waiting == 0)
    of_device = [payload for name, payload in platform.messages if name == device]
    sizes = [len(json.loads(payload)) for payload in of_device if payload.startswith(b"[")]
    assert max(map(len, of_device)) <= PAYLOAD_BYTES_MAX
    assert max(sizes) <= 500
    assert len(of_device) < 40
    assert platform.seqs(device)[:1230] == list(range(1, 1231))


def test_status_is_online_retained_and_offline_by_a_clean_stop(mosquitto, device, store, platform):
    with Driver("127.0.0.1", mosquitto.port) as driver:
        client = firmware(device, store, battery=71, version="scale 2.1")
        driver.add(client)
        until(lambda: platform.statuses.get(device, {}).get("state") == "online")
        driver.call(lambda: client.report_battery(70))
        until(lambda: platform.statuses[device]["battery"] == 70)
    until(lambda: platform.statuses[device]["state"] == "offline")
    assert platform.statuses[device] == {"state": "offline", "battery": 70, "firmware": "scale 2.1"}
    with FakePlatform(mosquitto, "late-comer") as late:
        until(lambda: late.statuses.get(device, {}).get("state") == "offline")


def test_the_last_will_says_offline_when_the_device_is_cut_off(mosquitto, device, store, driver, platform):
    client = firmware(device, store)
    driver.add(client)
    until(lambda: platform.statuses.get(device, {}).get("state") == "online")
    seen = []
    platform.client.message_callback_add(
        f"scad/v1/{device}/status", lambda _c, _u, message: seen.append(json.loads(message.payload)["state"])
    )
    driver.call(lambda: client.client.socket().shutdown(2))
    until(lambda: seen[:2] == ["offline", "online"])


def test_a_wrong_password_is_said_in_words_and_loses_nothing(device, store, driver):
    client = firmware(device, store, password="wrong")
    driver.add(client)
    weigh(client)
    until(lambda: "refuses the connection" in client.error)
    assert client.waiting == 1


def test_a_forbidden_topic_is_said_in_words(mosquitto, device, store, driver):
    client = Firmware("sc-not-mine", store.open("sc-not-mine"), password="made-up")
    client.client.username_pw_set(device, "made-up")
    driver.add(client)
    weigh(client)
    until(lambda: "user name must equal its serial" in client.error)
    assert client.waiting == 1


def test_a_broker_that_is_away_is_named_by_the_driver(store):
    with Driver("127.0.0.1", 9) as driver:
        client = Firmware("sc-1", store.open("sc-1"))
        driver.add(client)
        until(lambda: "127.0.0.1:9 cannot be reached" in driver.error)


def test_many_devices_share_one_thread(mosquitto, store, driver, platform):
    names = [f"fleet-{number}" for number in range(120)]
    mosquitto.add_accounts(dict.fromkeys(names, "made-up"))
    clients = [firmware(name, store) for name in names]
    for client in clients:
        weigh(client, 5)
        driver.add(client)
    until(lambda: all(client.waiting == 0 for client in clients), 60)
    assert {(r["device"], r["seq"]) for r in platform.readings} >= {
        (n, s) for n in names for s in range(1, 6)
    }


def test_oldest_is_carried_when_a_lower_seq_is_held():
    held = [Held(7, 0, 5, b'{"seq":5}'), Held(8, 0, 6, b'{"seq":6}')]
    assert encode_message(held[:1], lambda _: 5) == b'{"seq":5}'
    assert encode_message(held[:1], lambda _: 2) == b'{"seq":5,"oldest":2}'
    assert encode_message(held, lambda _: 2) == b'[{"seq":5,"oldest":2},{"seq":6}]'
    assert encode_message(held, lambda _: None) == b'[{"seq":5},{"seq":6}]'


def test_an_array_longer_than_the_contract_allows_is_refused(store):
    with pytest.raises(ValueError, match="1 to 500"):
        Firmware("sc-1", store.open("sc-1"), array_max=501)
