"""Recorded readings over MQTT: moved in time, in any order, any packing, once or twice."""

from __future__ import annotations

import itertools
import json
import threading

import pytest
from fake_platform import FakePlatform, until
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from devices.driver import Driver
from devices.outbox import OutboxStore
from devices.recordings import RecordingError, enrolment, moved, read_recording, to_line
from devices.replay import Outcome, Replay, shuffled, write_sent
from devices.times import format_instant, parse_instant
from scad.main import build_app

numbers = itertools.count(1)
NOW_MS = parse_instant("2026-11-22T08:00:00Z")[0]


def lines(device, count, **more: object):
    start_ms = parse_instant("2017-12-31T06:00:00+01:00")[0]
    for seq in range(1, count + 1):
        yield {
            "v": 1,
            "patient": "p-recorded",
            "device": device,
            "seq": seq,
            "kind": "glucose",
            "measured_at": format_instant(start_ms + seq * 300_000, 60),
            "values": {"glucose": 100 + seq % 50},
            **more,
        }


def write(path, readings):
    path.write_text("".join(json.dumps(reading) + "\n" for reading in readings))
    return path


@pytest.fixture
def device(mosquitto):
    name = f"cgm-replay-{next(numbers)}"
    mosquitto.add_account(name, "made-up")
    return name


@pytest.fixture
def platform(mosquitto):
    with FakePlatform(mosquitto, f"platform-{next(numbers)}") as platform:
        yield platform


@pytest.fixture
def play(mosquitto, tmp_path):
    """Replays lines through the broker and returns the outcome."""
    stores = []

    def run_replay(recorded, arrays=1, stop=None, **options: object) -> Outcome:
        store = OutboxStore(tmp_path / f"outbox-{len(stores)}", durable=False)
        stores.append(store)
        with Driver("127.0.0.1", mosquitto.port) as driver:
            player = Replay(recorded, driver, store, lambda _: "made-up", arrays=arrays, stop=stop)
            return player.run(**options)

    yield run_replay
    for store in stores:
        store.close()


@given(st.integers(0, 2_000_000_000_000), st.sampled_from(["Z", "+01:00", "-03:30", "+00:00"]))
def test_all_times_move_by_the_same_amount_and_keep_their_offset(tmp_path_factory, end_ms, offset):
    path = tmp_path_factory.mktemp("recording") / "r.jsonl"
    times = [f"2017-01-01T06:00:0{n}.12{n}{offset}" for n in (3, 1, 7, 2)]
    write(path, [{**next(lines("d", 1)), "seq": n, "measured_at": t} for n, t in enumerate(times)])
    recorded = read_recording(path)
    shifted = moved(recorded, end_ms)
    differences = {b.measured_at_ms - a.measured_at_ms for a, b in zip(recorded, shifted, strict=True)}
    assert len(differences) == 1
    assert max(line.measured_at_ms for line in shifted) == end_ms
    for line in shifted:
        assert parse_instant(line.reading["measured_at"])[0] == line.measured_at_ms
        assert line.reading["measured_at"].endswith(offset)


def test_what_is_sent_is_the_line_without_patient_and_the_kept_file_has_it_again(tmp_path):
    path = write(tmp_path / "r.jsonl", lines("d-1", 3, received_at="2017-12-31T08:00:00+01:00", oldest=1))
    recorded = read_recording(path)
    assert set(recorded[0].reading) == {"v", "device", "seq", "kind", "measured_at", "values"}
    write_sent(tmp_path / "sent.jsonl", recorded)
    again = read_recording(tmp_path / "sent.jsonl")
    assert again == recorded
    assert json.loads(to_line(recorded[0]))["patient"] == "p-recorded"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "r.jsonl:2: not one JSON object"),
        ("[]", "r.jsonl:2: not one JSON object"),
        ('{"device":"d","seq":1}', "`patient` is missing"),
        ('{"patient":"p","device":"a/b","seq":1}', "`device` is 'a/b'"),
        ('{"patient":"p","device":"d","seq":"1"}', "must be whole numbers"),
        ('{"patient":"p","device":"d","seq":1,"measured_at":"yesterday"}', "`measured_at`"),
    ],
)
def test_a_line_that_cannot_be_played_is_named(tmp_path, line, named):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(next(lines("d", 1))) + "\n" + line + "\n")
    with pytest.raises(RecordingError, match=named.replace("[", r"\[")):
        read_recording(path)


def test_an_empty_or_absent_recording_is_named(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(RecordingError, match="no readings"):
        read_recording(tmp_path / "empty.jsonl")
    with pytest.raises(RecordingError, match="No such file"):
        read_recording(tmp_path / "absent.jsonl")


@pytest.mark.parametrize("arrays", [1, 7, 500])
def test_a_recording_is_sent_until_each_reading_has_its_receipt(arrays, device, platform, play, tmp_path):
    recorded = read_recording(write(tmp_path / "r.jsonl", lines(device, 1200)))
    outcome = play(recorded, arrays=arrays)
    assert outcome.sentence == "1,200 readings sent, 1,200 receipted, 0 rejected"
    assert set(platform.seqs(device)) == set(range(1, 1201))
    packed = [json.loads(payload) for name, payload in platform.messages if name == device]
    if arrays > 1:
        assert max(len(message) for message in packed) == arrays
        assert len(packed) <= 1200 // arrays + 4


def test_shuffled_readings_arrive_in_the_drawn_order_and_each_says_what_is_oldest(
    device, platform, play, tmp_path
):
    recorded = shuffled(read_recording(write(tmp_path / "r.jsonl", lines(device, 300))), seed=5)
    assert play(recorded).receipted == 300
    order = [line.reading["seq"] for line in recorded]
    assert order != sorted(order)
    assert platform.seqs(device)[:300] == order
    first = platform.of(device)[0]
    assert first.get("oldest", first["seq"]) == 1
    assert shuffled(recorded, 5) == shuffled(recorded, 5)


def test_twice_really_sends_everything_twice(device, platform, play, tmp_path):
    recorded = read_recording(write(tmp_path / "r.jsonl", lines(device, 400)))
    outcome = play(recorded, arrays=50, twice=True)
    assert outcome.sentence == "400 readings sent twice, 400 receipted, 0 rejected"
    until(lambda: all(platform.seqs(device).count(seq) >= 2 for seq in range(1, 401)))


def test_an_earlier_replay_of_the_same_device_does_not_hide_a_later_one(device, platform, play, tmp_path):
    recorded = read_recording(write(tmp_path / "r.jsonl", lines(device, 200)))
    play(recorded)
    platform.readings.clear()
    play(moved(recorded, NOW_MS))
    until(lambda: {r["seq"] for r in platform.of(device) if r["measured_at"] > "2026"} == set(range(1, 201)))


def test_rejected_readings_are_counted_and_named(device, platform, play, tmp_path):
    platform.rejects = {(device, 3): "implausible", (device, 9): "unknown-kind"}
    recorded = read_recording(write(tmp_path / "r.jsonl", lines(device, 12)))
    outcome = play(recorded)
    assert outcome.sentence == "12 readings sent, 10 receipted, 2 rejected"
    assert set(outcome.reasons) == {(device, 3, "implausible"), (device, 9, "unknown-kind")}


def test_a_stopped_replay_says_how_far_it_came(device, platform, play, tmp_path):
    platform.silent = True
    stop = threading.Event()
    recorded = read_recording(write(tmp_path / "r.jsonl", lines(device, 12)))
    threading.Thread(target=lambda: (until(lambda: len(platform.of(device)) == 12), stop.set())).start()
    outcome = play(recorded, stop=stop)
    assert outcome.sentence == "interrupted: 12 readings sent, 0 receipted, 0 rejected"


def test_speed_paces_by_the_times_of_the_recording(device, platform, play, tmp_path):
    recorded = read_recording(write(tmp_path / "r.jsonl", lines(device, 4)))
    outcome = play(recorded, speed=900_000.0)  # 300 s between readings become a third of a millisecond
    assert outcome.receipted == 4
    assert platform.seqs(device)[:4] == [1, 2, 3, 4]


def test_the_enrolment_of_a_recording_covers_its_readings_with_the_protocol_of_its_kinds(tmp_path):
    recorded = read_recording(write(tmp_path / "r.jsonl", [*lines("d-1", 3), *lines("d-2", 2, kind="ecg")]))
    (patient,) = enrolment(recorded)["patients"]
    assert patient["patient"] == "p-recorded"
    assert [one["device"] for one in patient["devices"]] == ["d-1", "d-2"]
    assert patient["care_plan"]["protocols"] == ["arrhythmia", "diabetes"]
    assert patient["care_plan"]["time_zone"] == "Europe/Paris"
    first_ms = min(line.measured_at_ms for line in recorded)
    assert all(parse_instant(one["from"])[0] < first_ms for one in patient["devices"])


def run(*arguments: object, **environment: str):
    return CliRunner().invoke(build_app(), ["fleet", *map(str, arguments)], env=environment)


def test_the_command_replays_a_file_and_keeps_what_it_sent(mosquitto, device, platform, tmp_path):
    path = write(tmp_path / "r.jsonl", lines(device, 60))
    accounts = tmp_path / "accounts.json"
    accounts.write_text(json.dumps({device: "made-up"}))
    kept = tmp_path / "sent.jsonl"
    environment = {"SCAD_MQTT": mosquitto.address, "SCAD_DATA_DIR": str(tmp_path)}
    result = run("--replay", path, "--accounts", accounts, "--shifted-to", kept, **environment)
    assert result.exit_code == 0, result.output
    assert "60 readings sent, 60 receipted, 0 rejected" in result.output
    sent = {line.reading["seq"]: line.reading for line in read_recording(kept)}
    until(lambda: len(platform.of(device)) >= 60)
    assert all({**r, "oldest": 0} == {**sent[r["seq"]], "oldest": 0} for r in platform.of(device))


def test_the_command_ends_with_1_when_a_reading_was_rejected(mosquitto, device, platform, tmp_path):
    platform.rejects = {(device, 2): "implausible"}
    path = write(tmp_path / "r.jsonl", lines(device, 3))
    result = run("--replay", path, "--as-recorded", "--password", "made-up", SCAD_MQTT=mosquitto.address)
    assert result.exit_code == 1
    assert "3 readings sent, 2 receipted, 1 rejected" in result.output
    assert f"rejected: {device} seq 2: implausible" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--replay", "absent.jsonl"], "No such file"),
        (["file.jsonl"], "--replay file.jsonl"),
        (["--replay", "x", "--speed", "2", "--shuffle", "1"], "give one of the two"),
        (["--replay", "x", "--speed", "0"], "must be above 0"),
        (["--accounts", "absent.json"], "absent.json"),
        (["--profile", "nowhere"], "there is no profile 'nowhere'"),
    ],
)
def test_wrong_usage_is_said_with_its_remedy_and_ends_with_2(arguments, said, tmp_path):
    result = run(*arguments, SCAD_DATA_DIR=str(tmp_path), SCAD_MQTT="127.0.0.1:9")
    assert result.exit_code == 2
    assert said in result.output


def test_enrol_to_writes_a_document_and_sends_nothing(tmp_path):
    path = write(tmp_path / "r.jsonl", lines("d-1", 3))
    result = run(
        "--replay", path, "--as-recorded", "--enrol-to", tmp_path / "e.json", SCAD_MQTT="127.0.0.1:9"
    )
    assert result.exit_code == 0
    document = json.loads((tmp_path / "e.json").read_text())
    assert document["patients"][0]["devices"][0]["from"] == "2017-12-30T05:05:00.000+00:00"
