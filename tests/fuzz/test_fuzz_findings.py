"""What fuzzing found, each with its input. docs/fuzzing.md has the list in words."""

from __future__ import annotations

import base64
import json
import math
import time
import tomllib
import tracemalloc
from pathlib import Path
from random import Random
from types import SimpleNamespace

import fuzz_messages as valid
import msgspec
import numpy as np
import pytest
from fuzz_clinic import sample_readings
from fuzz_engine import library
from fuzz_loop import MEMORY_BASE, MEMORY_FACTOR
from fuzz_records import TARGETS

from alerts.enrolment import EnrolmentError, parse_enrolment
from devices.decode import decode_payload
from devices.ledger import BadReceiptError, parse_receipt
from devices.payload import identity, split
from devices.questionnaire import QuestionnaireError
from devices.questionnaire import read as read_questionnaires
from devices.readings import Reading, Refusal
from devices.status import BadStatusError, Status, parse_status
from devices.times import BadTimeError, parse_instant
from streams import receipts
from streams.dated import decode_version
from streams.engine import Engine
from streams.history import observe
from streams.intake import decode_intervals, may_be_bluetooth, process
from streams.plans import CarePlan
from streams.protocols import ProtocolError, parse
from streams.published import decode_plan
from streams.replay import CarePlanFileError, read_care_plans
from streams.signals.quality import strip_quality
from streams.stored import DamagedStateError
from streams.timeline import PlanError, check_plan
from streams.writing import UNDECODABLE, poison_row

DEEP = b"[" * 100_000 + b"]" * 100_000
LATIN = b'"\xe9\xff"'


@pytest.mark.parametrize("value", [DEEP, LATIN], ids=["deep", "no UTF-8"])
def test_nesting_and_wrong_encodings_are_each_decoders_own_error(value: bytes, tmp_path: Path) -> None:
    """msgspec raises RecursionError and UnicodeDecodeError: in the bridge they ended the process, again and again."""
    data = b'{"state":"online","through":1,"firmware":%b,"reason":%b,"device":%b,"patient":%b}' % (
        (value,) * 4
    )
    with pytest.raises(BadStatusError):
        parse_status(data)
    with pytest.raises(BadReceiptError):
        parse_receipt(b'{"rejected":[{"seq":1,"reason":%b}]}' % value)
    with pytest.raises(msgspec.DecodeError):
        decode_intervals(data)
    with pytest.raises(msgspec.DecodeError):
        decode_plan(data)
    with pytest.raises(msgspec.DecodeError):
        receipts.decode_record(data)
    with pytest.raises(ProtocolError):
        decode_version(b'{"protocol":%b}' % value)
    with pytest.raises(EnrolmentError):
        parse_enrolment(data, "f.json", library())
    path = tmp_path / "plans.json"
    path.write_bytes(data)
    with pytest.raises(CarePlanFileError):
        read_care_plans(path)


def test_a_bluetooth_message_is_known_however_its_name_is_spelt() -> None:
    """Spelt with an escape, its local time was taken for UTC."""
    assert may_be_bluetooth(b'{"gatt":"2A35"}')
    assert may_be_bluetooth(b'{"g\\u0061tt":"2A35"}')
    assert not may_be_bluetooth(b'{"kind":"body-weight"}')


def test_what_the_writer_puts_aside_can_be_stored() -> None:
    """msgspec quotes a word that it does not know; a NUL in it stopped the writer, which stores what it refused."""
    signal = b'{"alert":"a","severity":"h\\u0000h"}'
    record = SimpleNamespace(
        topic="scad.status", partition=0, offset=1, key=b"d\0", value=signal, timestamp=0
    )
    row = poison_row(record, UNDECODABLE, ValueError("Invalid enum value 'h\0h'"))  # type: ignore[arg-type]
    assert row.raw == signal
    assert (row.device, "\0" in row.detail) == ("d\\x00", False)


def test_a_state_is_read_with_indulgence() -> None:
    assert parse_status(b'{"state":"online","battery":1e308,"firmware":"1\\u00002"}') == Status(
        "online", None, "1\ufffd2"
    )
    assert parse_status(b'{"state":"offline","battery":-1}') == Status("offline")
    assert (
        len(parse_status(json.dumps({"state": "online", "firmware": "x" * 900}).encode()).firmware or "")
        == 100
    )
    with pytest.raises(BadStatusError, match="4096"):
        parse_status(b'{"state":"online"}' + b" " * 10_000)


def test_a_receipt_with_numbers_that_no_device_has_is_none() -> None:
    """They do not fit SQLite: the exception went up into the MQTT client's thread."""
    for data in (
        b'{"rejected":[{"seq":9223372036854775808}]}',
        b'{"through":1%b}' % (b"0" * 30),
        b'{"epoch":-2}',
    ):
        with pytest.raises(BadReceiptError):
            parse_receipt(data)
    assert parse_receipt(b'{"through":-1}').through == -1


@pytest.mark.parametrize("bare", [b"NaN", b"-Infinity", b"inf", b"nan"])
def test_a_bare_word_in_an_array_is_kept_whole(bare: bytes) -> None:
    assert split(b'[1, %b ,{"a":%b}]' % (bare, bare)) == [b"1", bare, b'{"a":%b}' % bare]
    refused = decode_payload(b"[%b,%b]" % (bare, bare), "d", 0)
    assert [item.raw for item in refused if isinstance(item, Refusal)] == [bare, bare]


def test_of_two_numbers_neither_is_believed_when_one_is_spelt_with_escapes() -> None:
    assert identity(b'{"seq":1,"s\\u0065q":2}') == (None, 0)
    assert identity(b'{"seq":1,"\\u0065p\\u006Fch":2,"epoch":3}') == (None, 0)
    assert identity(b'{"\\u0073eq":4,"note":"a\\nb"}') == (4, 0)


def test_quotes_behind_backslashes_do_not_take_seconds() -> None:
    began = time.process_time()
    for unit in (b'"\\u', b'\\"', b'"\\\\'):
        identity(unit * 80_000)
        decode_payload(b'{"x":[' + unit * 60_000, "d", 0)
    assert time.process_time() - began < 2.0


def test_only_the_digits_of_ascii_make_a_time() -> None:
    for text in ("２０２６-11-22T07:31:05Z", "2026-11-22T07:31:05+０１:00", "2026-11-22T07:31:05.٣Z"):
        with pytest.raises(BadTimeError):
            parse_instant(text)


def test_an_instant_that_no_calendar_has_in_utc_is_refused() -> None:
    for text in ("0001-01-01T00:00:00+18:00", "9999-12-31T23:59:59.999-00:01"):
        with pytest.raises(BadTimeError, match="year 1 or after 9999"):
            parse_instant(text)
    assert parse_instant("9999-12-31T23:59:59.999Z")[0] == 253_402_300_799_999


def test_a_detail_holds_no_character_that_a_database_or_a_log_refuses() -> None:
    for field in ("context", "values"):
        message = {**valid.reading(Random(1), "body-weight"), field: {"weight": 80, "a\x00b\n": 1}}
        (refusal,) = decode_payload(json.dumps(message).encode(), valid.DEVICE, valid.NOW_MS + valid.DAY_MS)
        assert isinstance(refusal, Refusal)
        assert refusal.detail.isprintable()


def test_five_hundred_readings_of_an_unknown_device_are_split_once() -> None:
    """One of them NaN made the array be searched slowly, once for each reading: 3.4 s for one message."""
    one = json.dumps(
        valid.line(Random(2), "body-weight") | {"measured_at": "2026-11-22T07:31:05+01:00", "seq": 1}
    )
    padded = one[:-1] + ',"pad":"' + "x" * 250 + '"}'
    payload = ("[" + ",".join([padded] * 499) + ",NaN]").encode()
    began = time.process_time()
    found = process(payload, valid.DEVICE, valid.NOW_MS, lambda _: None)
    assert time.process_time() - began < 1.0
    assert len(found.refusals) == 500
    assert {refusal.raw for refusal in found.refusals} == {padded.encode(), b"NaN"}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("at_least = 2.268", "at_least = nan", "at_least"),
        ("at_least = 2.268", "at_least = inf", "at_least"),
        ("at_least = 2.268", "at_least = " + "9" * 400, "at_least"),
        ("at_least = 2.268", "at_least = " + "9" * 5_000, "not TOML"),
        ("at_least = 2.268", "at_least = " + "[" * 100_000, "not TOML"),
        ("at_least = 2.268", "x = 2026-11-22\nat_least = 2.268", "not known"),
        ('statistic = "gain"', 'statistic = "gain"\nx = 2026-11-22', "x: is not a field"),
        ('unit = "kg"', "unit = 5", "unit"),
        ("at_least = 2.268", "below = 1\nat_least = 2", "exactly one of"),
    ],
)
def test_a_protocol_with_a_number_that_is_none_says_so(old: str, new: str, named: str) -> None:
    """A limit that is nan is never met: the rule would be switched off, and nobody told."""
    text = next(text for text in valid.protocol_texts() if old in text)
    with pytest.raises(ProtocolError, match=named):
        parse(text.replace(old, new, 1), "p.toml")


def test_a_plausible_range_beside_a_faulty_level_is_reported_not_raised() -> None:
    rule = '[rules.r]\nstatistic="heart-rate"\nway="fastest"\nplausible=[0,2]\n[[rules.r.levels]]\n'
    document = 'name="x"\nversion="1"\n' + rule
    assert tomllib.loads(document)
    with pytest.raises(ProtocolError, match="exactly one of"):
        parse(document, "p.toml")


def _plan(**changes: object) -> CarePlan:
    version = {"version": 1, "from": "2026-01-01T00:00:00Z", "protocols": ["heart-failure"], **changes}
    return msgspec.convert({"patient": "p-1", "versions": [version]}, CarePlan)


def test_a_rhythm_that_is_no_number_is_refused_before_it_is_published() -> None:
    """JSON has no nan: in Kafka it stood as null, and no worker could read the plan."""
    with pytest.raises(PlanError, match="schedule"):
        check_plan(library(), _plan(schedule={"body-weight": {"every_hours": math.nan}}))


def test_a_plans_version_fits_the_database() -> None:
    """Beyond 64 bits the state could not be written: the patient's readings all failed."""
    for number in (2**63, 10**20, -1, 0):
        with pytest.raises(msgspec.DecodeError):
            decode_plan(
                json.dumps(
                    {"patient": "p", "versions": [{"version": number, "from": "x", "protocols": []}]}
                ).encode()
            )


def test_a_plan_without_an_instant_is_refused_before_anybody_asks_what_holds_when() -> None:
    """The zone of every Bluetooth message of the patient was asked of it, and each became a poison record."""
    with pytest.raises(BadTimeError):
        decode_plan(b'{"patient":"p","versions":[{"version":1,"from":"soon","protocols":[]}]}')


def test_an_unknown_zone_of_a_care_team_is_a_fault_of_the_file() -> None:
    with pytest.raises(EnrolmentError, match="Nowhere/Land"):
        parse_enrolment(
            b'{"care_teams":[{"care_team":"a","name":"b","time_zone":"Nowhere/Land"}]}', "f.json", library()
        )


@pytest.mark.parametrize("text", [b"x = " + b"[" * 100_000, b"x = " + b"9" * 5_000])
def test_a_toml_file_that_the_parser_cannot_bear_is_no_toml(text: bytes) -> None:
    with pytest.raises(EnrolmentError, match="no TOML"):
        parse_enrolment(text, "f.toml", library())


@pytest.mark.parametrize("text", [b"x = " + b"[" * 100_000, b"x = " + b"9" * 5_000])
def test_a_questionnaire_that_the_parser_cannot_bear_is_refused_by_its_name(
    text: bytes, tmp_path: Path
) -> None:
    (tmp_path / "1.toml").write_bytes(text)
    with pytest.raises(QuestionnaireError, match=r"1\.toml"):
        read_questionnaires(tmp_path)


def test_a_ledger_whose_ranges_are_damaged_is_refused() -> None:
    """A receipt made of it would have told a device to forget what nobody has."""
    for ranges in ([(5, 2)], [(5, 9), (1, 2)], [(1, 4), (4, 9)], [(-3, 2)]):
        damaged = receipts.dump_ledger(receipts.Ledger({0: receipts.Seen(0, True, ranges)}))
        with pytest.raises(msgspec.DecodeError, match="not in order"):
            receipts.load_ledger(damaged)


def test_a_damaged_state_has_one_error_of_its_own() -> None:
    engine = Engine(library(), valid.PROTOCOLS)
    state = engine.new_state(valid.PATIENT)
    engine.apply(state, sample_readings())
    data = engine.dump(state)
    for damaged in (b"", b"\xff" * 40, data[:-7], data[:9] + b"\x00" + data[10:], data[4:]):
        with pytest.raises(DamagedStateError, match=valid.PATIENT):
            engine.load(valid.PATIENT, damaged)
    with pytest.raises(DamagedStateError, match="expected"):
        engine.load("p-other", data)


def test_a_strip_of_hours_does_not_hold_the_worker_up() -> None:
    """256 KiB at 25 Hz are more than an hour of noise, in which looking for beats took 21 s."""
    rng = Random(9)
    counts = b"".join(rng.randrange(-300, 300).to_bytes(2, "little", signed=True) for _ in range(98_000))
    values = {"fs": 25, "samples_i16": base64.b64encode(counts).decode(), "gain": 200}
    message = {**valid.reading(rng, "ecg"), "measured_at": "2026-11-22T07:31:05+01:00", "values": values}
    (reading,) = decode_payload(json.dumps(message).encode(), valid.DEVICE, valid.NOW_MS)
    assert isinstance(reading, Reading)
    began = time.process_time()
    observe(reading)
    assert time.process_time() - began < 8.0


def test_the_quality_of_a_long_strip_of_noise_takes_no_more_memory_than_the_bound() -> None:
    """Every beat's shape was held against every other's at once: 77 MB for ten minutes, 2.4 GB for an hour."""
    fs, hour = 25.0, 98_000
    noise = np.random.default_rng(9).normal(0.0, 1.0, hour)
    beats = np.arange(8, hour, 8)  # three in a second, as noise is taken for
    strip_quality(noise[:500], fs, beats[:50])  # what is imported at its first use is not the strip's
    tracemalloc.start()
    try:
        strip_quality(noise, fs, beats)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BASE + MEMORY_FACTOR * 262_144, f"{peak:,} bytes"


def test_every_finding_has_gone_through_its_target_again() -> None:
    for name, data in (
        ("status", b'{"state":"online","x":%b}' % DEEP),
        ("receipt", b'{"x":%b}' % DEEP),
        ("payload", b"[NaN]"),
        ("payload", b"[nan,-inf , {}]"),
        ("payload", b"[]"),
        ("protocol", b"x=" + b"[" * 100_000),
        (
            "assignments",
            b'{"device":"d","intervals":[{"device":"d","patient":"p","from":"0001-01-01T00:00:00+18:00"}]}',
        ),
    ):
        TARGETS[name].check(data)
