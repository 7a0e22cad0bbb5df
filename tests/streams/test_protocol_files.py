"""Protocols as data: what the published files hold, and how the checker speaks of broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.protocols import ProtocolError, load_file, load_published, parse
from tests.streams.timeline import LIBRARY

CONTRACT_RULES = {
    "heart-failure": "weight-gain-1d weight-gain-3d weight-gain-7d weight-loss dry-weight weight-macd "
    "weight-cusum symptoms composite no-reading",
    "hypertension": "bp-crisis bp-low bp-weekly-mean bp-personal no-reading",
    "diabetes": "glucose-very-low glucose-low glucose-high glucose-very-high glucose-falling no-reading",
    "arrhythmia": "atrial-fibrillation tachycardia bradycardia pause heart-rate-personal no-reading",
    "respiratory": "spo2-low spo2-drop news2 temperature no-reading",
    "anticoagulation": "inr-low inr-high inr-critical ttr-low inr-overdue",
}
TECHNICAL = {"no-reading", "inr-overdue", "device-fault", "clock-fault"}


@pytest.mark.parametrize("protocol", sorted(CONTRACT_RULES))
def test_a_published_protocol_has_the_contracts_rules(protocol: str) -> None:
    rules = {rule.name for rule in LIBRARY.protocols[protocol].rules}
    assert {*CONTRACT_RULES[protocol].split(), "device-fault", "clock-fault"} <= rules


def test_every_published_rule_is_sourced_told_in_two_languages_and_of_the_right_class() -> None:
    for protocol in load_published().protocols.values():
        assert protocol.version
        assert set(protocol.title) == {"fr", "en"}
        for rule in protocol.rules:
            assert rule.source, rule.key
            assert set(rule.sentence) == {"fr", "en"}, rule.key
            assert rule.cls == ("technical" if rule.name in TECHNICAL else "clinical"), rule.key


def test_every_level_ends_on_the_safe_side_of_its_limit() -> None:
    for protocol in LIBRARY.protocols.values():
        for rule in protocol.rules:
            for level in rule.levels:
                upward = level.comparison in ("at_least", "above")
                for limit, clear in zip(level.limits, level.clears, strict=True):
                    if limit is not None and clear is not None:
                        assert clear <= limit if upward else clear >= limit, (rule.key, level.name)


def test_a_published_file_is_read_from_disk_as_from_the_package() -> None:
    folder = Path(__file__).parents[2] / "streams" / "protocols"
    for protocol in LIBRARY.protocols.values():
        loaded = load_file(folder / protocol.path)
        assert (loaded.name, loaded.version) == (protocol.name, protocol.version)
        assert [r.name for r in loaded.rules] == [r.name for r in protocol.rules]


HEAD = """
name = "fever"
version = "1"
[title]
fr = "Fièvre"
en = "Fever"
"""
RULE = """
[rules.hot]
class = "clinical"
statistic = "value"
kind = "temperature"
source = "a test"
fr = "Température {value} °C."
en = "Temperature {value} °C."
"""
LEVEL = """
[[rules.hot.levels]]
severity = "high"
at_least = 39.0
clear = 38.5
"""
GOOD = HEAD + RULE + LEVEL
SILENCE = """
[schedule.temperature]
every_hours = 24
[rules.no-reading]
class = "technical"
statistic = "silence"
kinds = ["temperature"]
source = "a test"
fr = "Rien."
en = "Nothing."
"""


def test_a_small_file_is_a_protocol() -> None:
    protocol = parse(GOOD + SILENCE, "fever.toml")
    assert [r.name for r in protocol.rules] == ["hot", "no-reading"]


def without(line: str, text: str = GOOD) -> str:
    assert line in text
    return text.replace(line, "", 1)


def instead(line: str, other: str, text: str = GOOD) -> str:
    assert line in text
    return text.replace(line, other, 1)


BROKEN = {
    "not TOML": ("name = ", ["not TOML"]),
    "no name": (without('name = "fever"'), ["name", "a text is needed"]),
    "no version": (without('version = "1"'), ["version", "a text is needed"]),
    "no French title": (without('fr = "Fièvre"'), ["title.fr", "missing"]),
    "an unknown part": (GOOD + "\n[colours]\nred = 1\n", ["colours", "not known"]),
    "no class": (without('class = "clinical"'), ["rule hot", "class", "clinical or technical"]),
    "no source": (without('source = "a test"'), ["rule hot", "source"]),
    "no English sentence": (without('en = "Temperature {value} °C."'), ["rule hot", "en", "missing"]),
    "an unknown statistic": (
        instead('statistic = "value"', 'statistic = "mood"'),
        ["rule hot", "statistic", "'mood'", "news2"],
    ),
    "a missing parameter": (without('kind = "temperature"'), ["rule hot", "kind"]),
    "an unknown field": (instead(RULE, RULE + "window_days = 3\n"), ["rule hot", "window_days"]),
    "decimals out of range": (instead(RULE, RULE + "decimals = 9\n"), ["rule hot", "decimals", "0 to 3"]),
    "no levels": (HEAD + RULE, ["rule hot", "levels", "missing"]),
    "an unknown severity": (
        instead('severity = "high"', 'severity = "red"'),
        ["rule hot", "levels[0].severity", "high, medium or low"],
    ),
    "no limit": (without("at_least = 39.0"), ["rule hot", "levels[0]", "exactly one of at_least"]),
    "two limits": (instead(LEVEL, LEVEL + "above = 39.0\n"), ["rule hot", "levels[0]", "exactly one of"]),
    "a clear limit beyond the limit": (
        instead("clear = 38.5", "clear = 39.5"),
        ["rule hot", "levels[0].clear", "39.5", "never"],
    ),
    "an unknown field of a level": (
        instead(LEVEL, LEVEL + "colour = 1\n"),
        ["rule hot", "levels[0].colour", "not known"],
    ),
    "two levels of one name": (GOOD + LEVEL, ["rule hot", "levels", "name"]),
    "an unknown channel": (
        instead("at_least = 39.0", "at_least = { pulse = 39.0 }"),
        ["rule hot", "levels[0].at_least", "value"],
    ),
    "a limit in words": (
        instead("at_least = 39.0", 'at_least = "hot"'),
        ["rule hot", "levels[0].at_least", "a number"],
    ),
    "a limit in words for a channel": (
        instead("at_least = 39.0", 'at_least = { value = "hot" }'),
        ["rule hot", "levels[0].at_least"],
    ),
    "a window in words": (
        instead(LEVEL, LEVEL + 'within_minutes = "a day"\n'),
        ["rule hot", "within_minutes"],
    ),
    "a gap below zero": (instead(LEVEL, LEVEL + "max_gap_minutes = -5\n"), ["rule hot", "max_gap_minutes"]),
    "a condition that is no list": (instead(LEVEL, LEVEL + 'when = "symptoms"\n'), ["rule hot", "when"]),
    "a rule that is no table": (HEAD + "[rules]\nhot = 5\n", ["rule hot"]),
    "a level that is no table": (HEAD + instead(RULE, RULE + "levels = [39.0]\n", RULE), ["rule hot", "levels[0]"]),
    "a schedule that is no table": (GOOD + "[schedule]\ntemperature = 24\n", ["schedule.temperature"]),
    "a sentence with an open brace": (
        instead('en = "Temperature {value} °C."', 'en = "Temperature {value °C."'),
        ["rule hot", "en"],
    ),
    "hours out of order": (
        instead("every_hours = 24", "every_hours = 24\noverdue_hours = 12", GOOD + SILENCE),
        ["schedule.temperature", "overdue_hours", "12"],
    ),
    "silence of a kind without a schedule": (
        without("[schedule.temperature]\nevery_hours = 24", GOOD + SILENCE),
        ["rule no-reading", "kinds", "temperature"],
    ),
    "silence of nothing": (without('kinds = ["temperature"]', GOOD + SILENCE), ["rule no-reading", "kinds"]),
    "an unknown field of silence": (
        GOOD + SILENCE + "clear_after = 3\n",
        ["rule no-reading", "clear_after"],
    ),
    "the legal alert left out": (
        instead('name = "fever"', 'name = "diabetes"'),
        ["no-reading", "cannot be switched off"],
    ),
    "the legal alert turned into something else": (
        instead('name = "fever"', 'name = "diabetes"', GOOD.replace("rules.hot", "rules.no-reading")),
        ["no-reading", "silence"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_the_checker_names_file_rule_and_field_of(fault: str) -> None:
    text, parts = BROKEN[fault]
    with pytest.raises(ProtocolError) as raised:
        parse(text, "fever.toml")
    message = str(raised.value)
    assert "fever.toml" in message
    for part in parts:
        assert part in message


def test_all_faults_of_a_file_are_told_at_once() -> None:
    text = without('version = "1"').replace('severity = "high"', 'severity = "red"').replace("39.0", '"hot"')
    with pytest.raises(ProtocolError) as raised:
        parse(text, "fever.toml")
    assert len(str(raised.value).splitlines()) == 3


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_file(tmp_path / "none.toml")
