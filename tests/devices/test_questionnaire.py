"""The questionnaire as data: every question, answer and message is reached, and nothing that cannot wait waits."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_platform import FakePlatform, until
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.decode import decode_payload
from devices.driver import Driver
from devices.firmware import Firmware
from devices.outbox import OutboxStore
from devices.questionnaire import (
    FOLLOWED,
    LEVELS,
    MUST_BE_RED,
    AnswerError,
    QuestionnaireError,
    Walk,
    begin,
    load,
    publish,
    read,
)
from devices.readings import Reading
from streams.protocols import load_published

NOON_MS = 1_795_345_200_000
PROTOCOLS = ("heart-failure", "hypertension", "diabetes", "arrhythmia", "respiratory", "anticoagulation")
ADVISED = tuple(one.key for file in load() for one in file.advice if one.asks)


def walks(protocols: tuple[str, ...], advised: tuple[str, ...] = ()) -> Iterator[Walk]:
    """Walks that take every branch: at each question every choice is tried once, behind every way of the choices
    that a later condition depends on; the rest of a walk takes the first choice."""
    whole = begin(protocols, advised)
    waiting, tried = [whole], set()
    while waiting:
        walk = waiting.pop()
        while (question := walk.question) is not None:
            for choice in question.choices[1:]:
                if (question.key, choice.key) not in tried:
                    tried.add((question.key, choice.key))
                    waiting.append(walk.answer(question.key, choice.key))
            tried.add((question.key, question.choices[0].key))
            walk = walk.answer(question.key, question.choices[0].key)
        yield walk


def test_every_protocol_has_questions_and_every_one_of_its_branches_is_walked():
    assert set(PROTOCOLS) == set(load_published().protocols)
    reached: set[tuple[str, str]] = set()
    told: set[str] = set()
    for protocol in PROTOCOLS:
        for walk in walks((protocol,), ADVISED):
            assert walk.finished
            reached |= set(walk.answers)
            told |= {advice.key for advice in walk.advice()}
    every = {(q.key, c.key) for file in load() for q in file.questions for c in q.choices}
    assert every == {pair for pair in reached if not pair[0].startswith(FOLLOWED)}
    assert {(FOLLOWED + key, did) for key in ADVISED for did in ("yes", "partly", "no")} <= reached
    assert told == {one.key for file in load() for one in file.advice}


@settings(max_examples=40)
@given(st.sets(st.sampled_from(PROTOCOLS), min_size=1), st.data())
def test_any_walk_ends_with_a_reading_that_the_platform_takes(protocols: set[str], data: st.DataObject):
    walk = begin(protocols, data.draw(st.sets(st.sampled_from(ADVISED))))
    while (question := walk.question) is not None:
        choice = question.choices[data.draw(st.integers(0, len(question.choices) - 1))]
        before, walk = walk, walk.answer(question.key, choice.key)
        assert walk.back() == before
        if choice.red:
            assert walk.finished
            assert walk.advice()[0].level == "emergency"
            assert all(
                {"15", "112"} <= set(re.findall(r"\d+", text)) for text in walk.advice()[0].text.values()
            )
    assert walk.resumed(walk.answers) == walk
    levels = [LEVELS.index(advice.level) for advice in walk.advice()]
    assert levels == sorted(levels)
    assert walk.red == any(walk.values().get(name) == worst for name, worst in MUST_BE_RED.items())
    payload = {
        "v": 1,
        "device": "tab-1",
        "seq": 1,
        "kind": "symptoms",
        "measured_at": "2026-11-22T08:00:00+01:00",
    }
    (reading,) = decode_payload(json.dumps(payload | {"values": walk.values()}).encode(), "tab-1", NOON_MS)
    assert isinstance(reading, Reading)
    assert reading.values == walk.values()


def test_a_follow_up_is_asked_only_after_the_answer_that_it_depends_on():
    walk = begin(("heart-failure",)).answer("chest-pain", "no").answer("faint", "no")
    assert walk.answer("breath", "no").question.key == "night"
    assert walk.answer("breath", "yes").question.key == "breath-when"
    assert walk.answer("breath", "no").values()["dyspnoea"] == 0


def test_advice_of_yesterday_is_asked_about_last_and_what_was_done_is_kept():
    walk = begin(("heart-failure",), ["salt", "salt-help", "of-another-release"])
    asked = [question.key for question in walk.questions if question.key.startswith(FOLLOWED)]
    assert asked == [FOLLOWED + "salt"]
    while walk.question.key != asked[0]:
        walk = walk.answer(walk.question.key, walk.question.choices[0].key)
    done = walk.answer(asked[0], "partly")
    assert done.finished
    assert done.followed() == {"salt": "partly"}
    assert "salt" not in json.dumps(
        {key: value for key, value in done.values().items() if key != "salt_lapse"}
    )


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        ([("faint", "no")], "'chest-pain' is asked"),
        ([("chest-pain", "perhaps")], "no choice 'perhaps'"),
        ([("chest-pain", "yes"), ("faint", "no")], "nothing more is asked"),
        ([("chest-pain", "no"), ("chest-pain", "no")], "'faint' is asked"),
    ],
)
def test_an_answer_out_of_turn_is_refused(answers: list[tuple[str, str]], what: str):
    with pytest.raises(AnswerError, match=what):
        begin(("heart-failure",)).resumed(answers)


GOOD = """
name = "x"
version = "1"
protocols = ["heart-failure"]
source = "made up"
[[question]]
key = "a"
fr = "A ?"
en = "A?"
choice = [
  {key = "no", fr = "Non", en = "No"},
  {key = "yes", fr = "Oui", en = "Yes", sets = {chest_pain = true}, red = true},
]
[[advice]]
key = "go"
level = "emergency"
fr = "Appelez le 15 ou le 112."
en = "Call 15 or 112."
when = [{a = ["yes"]}]
"""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (", red = true", "", r"sets.chest_pain cannot wait: the choice must be red"),
        ("chest_pain = true", "chest_pian = true", r"sets.chest_pian is no value of the kind symptoms"),
        ("chest_pain = true", "dyspnoea = 4", r"sets.dyspnoea cannot be 4"),
        ("chest_pain = true", "wellbeing = 'fine'", r"sets.wellbeing cannot be 'fine'"),
        ('fr = "A ?"', 'fr = " "', r"question\[0\] \(a\).fr has no text"),
        ('en = "A?"', "", r"missing required field `en`"),
        ('a = ["yes"]', 'b = ["yes"]', r"advice\[0\] \(go\).when\[0\].b is no question asked before"),
        ('a = ["yes"]', 'a = ["maybe"]', r"when\[0\].a names 'maybe'; the question has no, yes"),
        ('level = "emergency"', 'level = "call"', r"\(yes\).red has no advice of level emergency"),
        ("Call 15 or 112.", "Call us.", r"advice\[0\] \(go\).en does not name 15 and 112"),
        ('when = [{a = ["yes"]}]', "when = [{}]", r"when says no condition"),
        ('key = "a"', 'key = "a"\ncolour = 1', r"unknown field `colour`"),
        ('version = "1"', "version = [", r"x.toml: "),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_field(old: str, new: str, fault: str, tmp_path: Path):
    (tmp_path / "x.toml").write_text(GOOD, encoding="utf-8")
    assert len(read(tmp_path)) == 1
    (tmp_path / "x.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(QuestionnaireError, match=rf"^x\.toml: .*{fault}|^x\.toml: "):
        read(tmp_path)
    with pytest.raises(QuestionnaireError, match=fault):
        read(tmp_path)


def test_a_question_of_two_files_is_refused(tmp_path: Path):
    for name in ("1.toml", "2.toml"):
        (tmp_path / name).write_text(GOOD, encoding="utf-8")
    with pytest.raises(QuestionnaireError, match=r"2\.toml: question\[0\] \(a\)\.key is another question's"):
        read(tmp_path)


@pytest.mark.services
def test_the_tablet_publishes_the_result_as_any_device_does(mosquitto, tmp_path: Path):
    mosquitto.add_account("tab-1", "made-up")
    store = OutboxStore(tmp_path / "outbox", durable=False)
    walk = begin(("hypertension",))
    try:
        with FakePlatform(mosquitto) as platform, Driver("127.0.0.1", mosquitto.port) as driver:
            client = Firmware("tab-1", store.open("tab-1"), password="made-up")
            driver.add(client)
            with pytest.raises(AnswerError, match="not been answered to its end"):
                publish(client, walk, NOON_MS, 60)
            seq = publish(client, walk.answer("chest-pain", "yes"), NOON_MS, 60)
            until(lambda: client.waiting == 0)
            said = platform.of("tab-1")
            assert {reading["seq"] for reading in said} == {seq}
            assert said[0]["values"] == {"chest_pain": True}
    finally:
        store.close()


def test_texts_are_plain_and_in_both_languages():
    for file in load():
        texts = [q.text for q in file.questions] + [c.text for q in file.questions for c in q.choices]
        for text in itertools.chain(texts, (one.text for one in file.advice)):
            assert set(text) == {"fr", "en"}
            assert all(len(sentence) <= 130 for sentence in text.values()), text
