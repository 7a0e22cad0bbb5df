# ruff: noqa: PT017 - what is caught is the very thing to look at; this runs without pytest too
"""Decoders of what clinicians and our own programs write: care plans, protocols, assignments, enrolment files, and
the records in which the platform remembers."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from functools import cache
from random import Random
from time import process_time
from typing import Any

import fuzz_messages as valid
import msgspec
from fuzz_engine import check_state, engine_takes, library
from fuzz_mutation import message, mutate_bytes, mutate_tree, tree, write
from fuzz_targets import CPU_SECONDS, Target, scratch, within

from alerts.enrolment import EnrolmentError, parse_enrolment
from devices.decode import decode_payload
from devices.readings import Reading
from devices.times import BadTimeError, to_datetime
from streams import receipts, record
from streams.dated import decode_version
from streams.engine import Engine
from streams.intake import decode_intervals, patient_at, time_zone_of, zone
from streams.plans import CarePlan
from streams.protocols import ProtocolError, parse
from streams.protocols.model import Dated, Library
from streams.published import decode_plan
from streams.replay import CarePlanFileError, read_care_plans
from streams.stored import DamagedStateError
from streams.timeline import PlanError

PLAN_CPU_SECONDS = 2.0
"""Processor time for a care plan or a protocol with two evaluations of a dozen readings under it; a tenth on a quiet
machine."""


@cache
def sample_readings() -> list[Reading]:
    """A dozen readings that raise alerts of several protocols."""
    rng = Random(5)
    said = [
        valid.reading(rng, kind) | {"seq": 100 + n}
        for n, kind in enumerate(
            ["body-weight", "blood-pressure", "glucose", "heart-rate", "inr", "symptoms"] * 2
        )
    ]
    decoded = [decode_payload(json.dumps(one).encode(), valid.DEVICE, valid.NOW_MS)[0] for one in said]
    return [one for one in decoded if isinstance(one, Reading)]


@cache
def _planned() -> Engine:
    """An engine whose patients are on what their plan says."""
    return Engine(library())


# ── care plans ────────────────────────────────────────────────────────────────────────────────────────────


def check_plan(data: bytes) -> str:
    """A plan is no message, or cannot be used and says why, or the engine works with it."""
    began = process_time()
    try:
        plan = decode_plan(data)
    except (msgspec.DecodeError, BadTimeError):
        within(CPU_SECONDS, began, "decode_plan")
        return "no-plan"
    zone(time_zone_of(plan, valid.NOW_MS))
    return use_plan(plan, began)


def use_plan(plan: CarePlan, began: float) -> str:
    """Evaluate under the plan."""
    on = _planned()
    try:
        on.apply(on.new_state(plan.patient), plans=[plan])
    except PlanError as error:
        assert plan.patient in str(error)
        return "refused"
    engine_takes(sample_readings(), [plan], on)
    within(PLAN_CPU_SECONDS, began, "a plan")
    return "used"


def make_plan(rng: Random) -> bytes:
    return message(rng, valid.care_plan, valid.PLAN_WORDS)


def check_plan_file(data: bytes) -> str:
    """The file of `scad replay --care-plans` is read, or refused with the place."""
    path = scratch() / "plans.json"
    path.write_bytes(data)
    began = process_time()
    try:
        plans, versions = read_care_plans(path)
    except CarePlanFileError as error:
        assert str(path) in str(error)
        return "refused"
    within(CPU_SECONDS, began, "read_care_plans")
    return "read" if plans or versions else "empty"


def make_plan_file(rng: Random) -> bytes:
    def one(r: Random) -> Any:
        return r.choice([valid.care_plan, valid.protocol_version, valid.enrolment])(r)

    if rng.random() < 0.3:
        return b"\n".join(
            message(rng, one, valid.PLAN_WORDS, bombs=0.0) for _ in range(rng.choice([1, 2, 3]))
        )
    return message(rng, lambda r: [one(r), one(r)] if r.random() < 0.5 else one(r), valid.PLAN_WORDS)


# ── protocols ─────────────────────────────────────────────────────────────────────────────────────────────

TOML_VALUES = [
    b"nan", b"inf", b"-inf", b"1e400", b"0", b"-1", b"1", b"3.5", b"1e308", b"5e-324", b"9" * 30, b"9" * 400,
    b"9" * 5_000, b"true", b'""', b'"x"', b'"{"', b'"{x!r:>{y}}"', b'"{value.__class__}"', b"[]", b"[1, 2]",
    b"[nan, nan]", b"[[]]", b"{}", b"{a = 1}", b"2026-11-22T07:31:05Z", b"2026-11-22", b"07:31:05", b'"""a\nb"""',
    b"[" * 3_000, b"[" * 100_000, b"[" * 500 + b"]" * 500, b'"high"', b'"silence"', b'"always"', b"0.001", b"60",
    b'"\\u0000"', b'["x"]', b"{systolic = nan}", b"{systolic = 1e999, diastolic = 3}",
]  # fmt: skip


def make_protocol(rng: Random) -> bytes:
    """A protocol file of the release with lines of it changed."""
    data = rng.choice(valid.protocol_texts()).encode()
    lines = data.split(b"\n")
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        at = rng.randrange(len(lines))
        what = rng.randrange(6)
        name, equals, _ = lines[at].partition(b" = ")
        if what < 3:
            places = [i for i, one in enumerate(lines) if b" = " in one]
            if not places:
                continue
            at = rng.choice(places)
            name, equals, _ = lines[at].partition(b" = ")
            lines[at] = name + equals + rng.choice(TOML_VALUES)
        elif what == 3:
            del lines[at]
        elif what == 4:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif equals:
            lines[at] = (
                rng.choice([b"x", b"kinds", b"unit", b"levels", b"a.b.c", b'""'])
                + equals
                + lines[at].partition(b" = ")[2]
            )
        if not lines:
            return b""
    data = b"\n".join(lines)
    return mutate_bytes(data, rng) if rng.random() < 0.15 else data


def check_protocol(data: bytes) -> str:
    """A protocol's file can be used, or says all that is wrong with it."""
    began = process_time()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "no-text"
    try:
        protocol = parse(text, "p.toml")
    except ProtocolError as error:
        within(PLAN_CPU_SECONDS, began, "a protocol's file")
        assert all(line.startswith("p.toml") or not line for line in str(error).splitlines()[:1])
        return "refused"
    evaluate_under(library().with_published([Dated(0, protocol)]), protocol.name)
    within(PLAN_CPU_SECONDS, began, "a protocol")
    return "used"


def evaluate_under(with_it: Library, name: str) -> None:
    """Readings are evaluated under a library with a protocol that nobody has seen before."""
    engine_takes(sample_readings(), on=Engine(with_it, (name,)))


def make_version(rng: Random) -> bytes:
    if rng.random() < 0.3:
        text = make_protocol(rng).decode(errors="replace")
        return message(
            rng, lambda r: valid.protocol_version(r) | {"document": text}, valid.PLAN_WORDS, bombs=0.0
        )
    return message(rng, valid.protocol_version, valid.PLAN_WORDS)


def check_version(data: bytes) -> str:
    """A version of a protocol is used, or refused with ProtocolError and nothing else."""
    began = process_time()
    try:
        dated = decode_version(data)
    except ProtocolError:
        within(PLAN_CPU_SECONDS, began, "decode_version")
        return "refused"
    evaluate_under(library().with_published([dated]), dated.protocol.name)
    within(PLAN_CPU_SECONDS, began, "a version of a protocol")
    return "used"


# ── assignments and enrolment ─────────────────────────────────────────────────────────────────────────────


def check_assignments(data: bytes) -> str:
    """Intervals in order that the database can hold, or an error of a known kind."""
    began = process_time()
    try:
        intervals = decode_intervals(data)
    except (msgspec.DecodeError, BadTimeError):
        within(CPU_SECONDS, began, "decode_intervals")
        return "refused"
    within(CPU_SECONDS, began, "decode_intervals")
    assert [one.from_ms for one in intervals] == sorted(one.from_ms for one in intervals)
    for one in intervals:
        to_datetime(one.from_ms)
        assert one.to_ms is None or (one.from_ms <= one.to_ms and to_datetime(one.to_ms))
    patient_at(intervals, valid.NOW_MS)
    return "read"


def make_assignments(rng: Random) -> bytes:
    return message(rng, valid.assignments, ["device", "intervals", "patient", "from", "to"])


def toml(node: Any) -> str:
    """A value as TOML, for what a file of enrolment can hold."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in node.items() if v is not None) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(toml, node)) + "]"
    return json.dumps(node)


def make_enrolment(rng: Random) -> bytes:
    """A file in JSON, or after the byte T in TOML."""
    if rng.random() < 0.5:
        return b"J" + message(rng, valid.enrolment, valid.PLAN_WORDS)
    document = valid.enrolment(rng)
    data = "\n".join(f"{name} = {toml(value)}" for name, value in document.items()).encode()
    if rng.random() < 0.8:
        parts = data.split(b" = ")
        at = rng.randrange(1, len(parts))
        _, comma, rest = parts[at].partition(b",")
        parts[at] = rng.choice(TOML_VALUES) + comma + rest
        data = b" = ".join(parts)
    return b"T" + (mutate_bytes(data, rng) if rng.random() < 0.3 else data)


def check_enrolment(data: bytes) -> str:
    """A file is read or its faults are told; what is read can be written to the database and evaluated."""
    source = "f.toml" if data[:1] == b"T" else "f.json"
    began = process_time()
    try:
        enrolment = parse_enrolment(data[1:], source, library())
    except EnrolmentError as error:
        within(2 * CPU_SECONDS, began, "an enrolment file")
        assert all(line.startswith(source) for line in str(error).splitlines()[:1])
        return "refused"
    for entry in enrolment.patients:
        for use in entry.devices:
            to_datetime(use.from_ms)
            assert use.to_ms is None or to_datetime(use.to_ms)
        if entry.care_plan is not None:
            plan = CarePlan(patient=entry.patient or "p", versions=(entry.care_plan,))
            assert use_plan(plan, process_time()) == "used"
            assert decode_plan(msgspec.json.encode(plan)) == plan
    return "read"


# ── what the platform remembers ───────────────────────────────────────────────────────────────────────────


@cache
def states() -> tuple[bytes, ...]:
    """Patients' states on disk, with plans and without."""
    found = []
    for seed in range(6):
        rng = Random(seed)
        on = _planned() if seed % 2 else Engine(library(), valid.PROTOCOLS)
        state = on.new_state(valid.PATIENT)
        if seed % 2:
            plan = {**valid.care_plan(rng), "versions": [valid.plan_version(rng)]}
            try:
                on.apply(state, plans=[decode_plan(json.dumps(plan).encode())])
            except PlanError:
                continue
        for _ in range(3):
            on.apply(state, sample_readings())
        if seed == 4:
            on.apply(state, _long_history())
        on.apply(state, tick_ms=valid.NOW_MS + valid.DAY_MS)
        found.append(on.dump(state))
    return tuple(found)


def _long_history() -> list[Reading]:
    """Enough of one kind that blocks of the history are packed."""
    first = next(r for r in sample_readings() if r.kind == "glucose")
    back_ms = 300_000
    return [
        msgspec.structs.replace(first, seq=1_000 + n, measured_at_ms=valid.NOW_MS - (600 - n) * back_ms)
        for n in range(600)
    ]


def make_state(rng: Random) -> bytes:
    """A state with its bytes damaged; or its record changed where the checksum is right."""
    data = rng.choice(states())
    if rng.random() < 0.5:
        for _ in range(rng.choice([1, 1, 3])):
            data = mutate_bytes(data, rng)
        return data
    end = 4 + int.from_bytes(data[:4], "little")
    root = [tree(msgspec.msgpack.decode(zlib.decompress(data[4:end]), strict=False))]
    for _ in range(rng.choice([1, 1, 2])):
        mutate_tree(root, rng)
    try:
        text = json.loads(write(root))
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)
    try:
        packed = zlib.compress(msgspec.msgpack.encode(text[0] if text else None))
    except (OverflowError, RecursionError, UnicodeEncodeError):
        return mutate_bytes(data, rng)
    return len(packed).to_bytes(4, "little") + packed + data[end:]


def check_damaged_state(data: bytes) -> str:
    """Bytes are a state, or DamagedStateError says that they are none: never a guess, never another error."""
    began = process_time()
    on = _planned()
    try:
        state = on.load(valid.PATIENT, data)
    except DamagedStateError as error:
        within(CPU_SECONDS, began, "a damaged state")
        assert valid.PATIENT in str(error)
        return "refused"
    within(PLAN_CPU_SECONDS, began, "a state")
    if data in states():
        check_state(on, state)
        return "whole"
    return "loaded"


def make_record(rng: Random) -> bytes:
    """A worker's record with its bytes damaged."""
    head = record.Head(5, 2, valid.NOW_MS, [b'{"v":1}', b"x" * 300], 77)
    return mutate_bytes(record.dump_record(head, rng.choice(states())[:200]), rng)


def check_record(data: bytes) -> str:
    try:
        head = record.load_head(data)
    except record.BadRecordError as error:
        assert str(error)
        return "refused"
    assert all(isinstance(signal, bytes) for signal in head.outbox)
    assert isinstance(record.load_state(data), bytes)
    return "read"


def make_ledger(rng: Random) -> bytes:
    """A device's ledger of what is durable, its bytes damaged."""
    ledger = receipts.new_ledger()
    for epoch in range(rng.choice([1, 2, 5])):
        receipts.note(
            ledger,
            epoch,
            [rng.randrange(60) for _ in range(rng.choice([1, 10, 30]))],
            rng.choice([None, 0, 5]),
        )
    data = receipts.dump_ledger(ledger)
    return mutate_bytes(data, rng) if rng.random() < 0.8 else data


def check_ledger(data: bytes) -> str:
    """A damaged ledger is refused; one that is believed never claims what is not in it."""
    try:
        ledger = receipts.load_ledger(data)
    except msgspec.DecodeError:
        return "refused"
    for epoch in list(ledger.epochs):
        known = list(ledger.epochs[epoch].ranges)
        seen = receipts.note(ledger, epoch, [3, 4, 70], None)
        told = receipts.receipt(epoch, seen)
        assert receipts.decode_record(receipts.encode_record(valid.DEVICE, told)).receipt == told
        for first, last in told.also:
            assert first <= last
            for seq in (first, last):
                assert seq in (3, 4, 70) or any(a <= seq <= b for a, b in known), (seq, known)
    return "read"


def make_receipt_record(rng: Random) -> bytes:
    return message(
        rng, lambda r: {"device": valid.DEVICE, "receipt": valid.receipt(r)}, ["device", "receipt"]
    )


def check_receipt_record(data: bytes) -> str:
    try:
        found = receipts.decode_record(data)
    except msgspec.DecodeError:
        return "refused"
    receipts.encode_receipt(receipts.merge(found.receipt, found.receipt))
    return "read"


CLINIC_TARGETS = (
    Target("care-plan", make_plan, check_plan),
    Target("care-plan-file", make_plan_file, check_plan_file),
    Target("protocol", make_protocol, check_protocol),
    Target("protocol-version", make_version, check_version),
    Target("assignments", make_assignments, check_assignments),
    Target("enrolment", make_enrolment, check_enrolment),
    Target("state", make_state, check_damaged_state),
    Target("worker-record", make_record, check_record),
    Target("ledger", make_ledger, check_ledger),
    Target("receipt-record", make_receipt_record, check_receipt_record),
)

Check = Callable[[bytes], str]
