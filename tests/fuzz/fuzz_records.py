# ruff: noqa: PT017 - what is caught is the very thing to look at; this runs without pytest too
"""Records of our own topics with damaged bytes, questionnaires' files, and what the tablet's page sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from random import Random
from time import process_time
from types import SimpleNamespace
from typing import Any

import fuzz_messages as valid
from fuzz_clinic import CLINIC_TARGETS, TOML_VALUES
from fuzz_mutation import message, mutate_bytes
from fuzz_targets import CPU_SECONDS, DEVICE_TARGETS, Target, scratch, within

from devices.questionnaire import AnswerError, QuestionnaireError, begin, read
from devices.readings import from_wire, to_wire
from streams import topics
from streams.signal import AlertSignal, Evidence, decode_signal, encode_signal
from streams.writing import UNDECODABLE, decode_quarantine, decode_status, poison_row

NUL = "\0"
KEY = valid.DEVICE.encode()


def _record(topic: str, data: bytes) -> Any:
    return SimpleNamespace(topic=topic, partition=0, offset=7, key=KEY, value=data, timestamp=valid.NOW_MS)


def _put_aside(topic: str, data: bytes, error: Exception) -> str:
    """Whatever a decoder raises, the writer can keep the record and say why."""
    row = poison_row(_record(topic, data), UNDECODABLE, error)
    assert row.raw == data
    assert NUL not in row.detail + row.device
    row.detail.encode()  # a lone surrogate cannot be stored
    return "refused"


def _checked(
    topic: str, decode: Callable[[bytes], Any], again: Callable[[Any], None]
) -> Callable[[bytes], str]:
    def check(data: bytes) -> str:
        began = process_time()
        try:
            found = decode(data)
        except Exception as error:
            within(CPU_SECONDS, began, f"a record of {topic}")
            return _put_aside(topic, data, error)
        again(found)
        within(CPU_SECONDS, began, f"a record of {topic}")
        return "read"

    return check


def _reading_again(found: Any) -> None:
    assert from_wire(to_wire(found)) == found


def _signal_again(found: AlertSignal) -> None:
    assert decode_signal(encode_signal(found)) == found


def _wire(rng: Random) -> dict[str, Any]:
    return valid.reading(rng) | {"received_at": "2026-11-22T07:31:20+01:00", "patient": valid.PATIENT}


def _signal(rng: Random) -> dict[str, Any]:
    proof = Evidence(
        valid.DEVICE, rng.randrange(100), "2026-11-22T07:31:20+01:00", rng.choice([80.5, "A", None])
    )
    said = AlertSignal(
        alert="5b4a3e0e-0000-4000-8000-000000000001", patient=valid.PATIENT, protocol="heart-failure",
        protocol_version="1.0", rule="weight-gain-3d", cls="clinical", severity=rng.choice(["high", "low"]),
        state=rng.choice(["raised", "updated", "cleared"]), at="2026-11-22T07:31:20+01:00",
        explanation={"fr": "Prise de poids", "en": "Weight gain"}, value=2.5, evidence=(proof,), n=rng.randrange(9),
    )  # fmt: skip
    return dict(json.loads(encode_signal(said)))


def _quarantine(rng: Random) -> dict[str, Any]:
    return {
        "v": 1, "id": "0" * 32, "device": valid.DEVICE, "epoch": rng.choice([None, 0]), "seq": rng.choice([None, 3]),
        "reason": "malformed", "detail": "no JSON", "received_at": "2026-11-22T07:31:20+01:00", "raw": "e30=",
    }  # fmt: skip


def _status(rng: Random) -> dict[str, Any]:
    return {"device": valid.DEVICE, "received_at": "2026-11-22T07:31:20+01:00", "status": valid.status(rng)}


def _made(of: Callable[[Random], dict[str, Any]]) -> Callable[[Random], bytes]:
    def make(rng: Random) -> bytes:
        if rng.random() < 0.5:
            return mutate_bytes(json.dumps(of(rng)).encode(), rng)
        return message(rng, of, valid.READING_WORDS, bombs=0.01)

    return make


@cache
def _files() -> tuple[bytes, ...]:
    folder = files("devices").joinpath("questionnaires")
    return tuple(
        f.read_bytes() for f in sorted(folder.iterdir(), key=lambda f: f.name) if f.name.endswith(".toml")
    )


def make_questionnaire(rng: Random) -> bytes:
    lines = rng.choice(_files()).split(b"\n")
    for _ in range(rng.choice([0, 1, 1, 2])):
        at = rng.randrange(len(lines))
        name, equals, _rest = lines[at].partition(b" = ")
        lines[at] = name + equals + rng.choice(TOML_VALUES) if equals else rng.choice(lines)
    data = b"\n".join(lines)
    return mutate_bytes(data, rng) if rng.random() < 0.2 else data


def check_questionnaire(data: bytes) -> str:
    """A file is read, or refused by its name; what is read can be walked to its end."""
    folder = scratch() / "questionnaires"
    folder.mkdir(exist_ok=True)
    (folder / "1.toml").write_bytes(data)
    try:
        found = read(folder)
    except QuestionnaireError as error:
        assert "1.toml" in str(error)
        return "refused"
    walk = begin([name for one in found for name in one.protocols], (), found)
    while (asked := walk.question) is not None:
        walk = walk.answer(asked.key, asked.choices[-1].key)
    json.dumps(walk.values())
    return "read"


def make_answers(rng: Random) -> bytes:
    """What the page sends, `question=choice`, a line each: right ones, then anything."""
    walk = begin(valid.PROTOCOLS)
    lines = []
    while (asked := walk.question) is not None and rng.random() < 0.9:
        choice = rng.choice(asked.choices).key
        walk = walk.answer(asked.key, choice)
        lines.append(f"{asked.key}={choice}".encode())
    data = b"\n".join(lines)
    return mutate_bytes(data, rng) if rng.random() < 0.7 else data


def check_answers(data: bytes) -> str:
    """Answers are taken in the order in which they are asked, or refused."""
    pairs = [line.decode(errors="replace").partition("=") for line in data.split(b"\n")]
    try:
        walk = begin(valid.PROTOCOLS).resumed([(question, choice) for question, _, choice in pairs])
    except AnswerError as error:
        assert str(error)
        return "refused"
    assert len(walk.answers) == len(pairs)
    json.dumps(walk.values())
    return "read"


def _decode_quarantine(data: bytes) -> Any:
    return decode_quarantine(_record(topics.QUARANTINE, data))


def _decode_status(data: bytes) -> Any:
    return decode_status(_record(topics.STATUS, data))


RECORD_TARGETS = (
    Target("reading-record", _made(_wire), _checked(topics.READINGS, from_wire, _reading_again)),
    Target("signal-record", _made(_signal), _checked(topics.ALERTS, decode_signal, _signal_again)),
    Target("quarantine-record", _made(_quarantine), _checked(topics.QUARANTINE, _decode_quarantine, repr)),
    Target("status-record", _made(_status), _checked(topics.STATUS, _decode_status, repr)),
    Target("questionnaire", make_questionnaire, check_questionnaire),
    Target("answers", make_answers, check_answers),
)

TARGETS: dict[str, Target] = {
    target.name: target for target in (*DEVICE_TARGETS, *CLINIC_TARGETS, *RECORD_TARGETS)
}
