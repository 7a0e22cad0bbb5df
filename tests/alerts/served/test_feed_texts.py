"""Every text in both languages, and numbers and instants as their readers write them."""

from __future__ import annotations

import re
from datetime import date
from importlib.resources import files
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_ward import NOW_MS

from alerts.feed.context import SCRIPT_TEXTS
from alerts.feed.formats import DAY_MS, HOUR_MS, MINUTE_MS, Formats, years
from alerts.feed.texts import LANGUAGES, TextError, Texts, catalogue, choose_language
from streams.protocols import load_published

FEED = files("alerts.feed")
FRENCH, ENGLISH = Formats(Texts("fr")), Formats(Texts("en"))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(catalogue()))
def test_a_text_has_the_same_placeholders_in_every_language(key: str):
    found = [placeholders(text) for text in catalogue()[key].values()]
    assert all(one == found[0] for one in found)


def test_every_text_that_a_template_or_the_script_asks_for_exists():
    templates = [
        entry.read_text() for entry in FEED.joinpath("templates").iterdir() if entry.name.endswith(".html")
    ]
    asked = {key for text in templates for key in re.findall(r"""\bt\('([a-z]+\.[\w-]+)'[,)]""", text)}
    assert len(asked) > 30
    assert asked <= set(catalogue())
    script = FEED.joinpath("static/feed.js").read_text()
    used = set(re.findall(r'"((?:header|queue|alert|age)\.\w+)"', script)) - {"queue.new", "queue.new_rows"}
    assert used <= set(SCRIPT_TEXTS)


def test_every_published_rule_and_protocol_has_a_name():
    library = load_published()
    for protocol in library.protocols.values():
        assert f"protocol.{protocol.name}" in catalogue()
        for rule in protocol.rules:
            name = rule if isinstance(rule, str) else rule.name
            assert f"rule.{name}" in catalogue(), name


def test_an_unknown_text_names_itself():
    with pytest.raises(TextError, match=r"no\.such"):
        Texts("fr")("no.such")
    assert Texts("fr").term("rule", "a-later-rule") == "a-later-rule"


@pytest.mark.parametrize(
    ("chosen", "accept", "language"),
    [
        ("en", "fr", "en"),
        (None, "en-GB,en;q=0.9,fr;q=0.8", "en"),
        (None, "de,fr;q=0.5,en;q=0.7", "en"),
        (None, "de-DE", "fr"),
        (None, "", "fr"),
        ("xx", "en", "en"),
        (None, "en;q=oops, fr", "fr"),
    ],
)
def test_the_choice_wins_then_the_browser_then_french(chosen: str | None, accept: str, language: str):
    assert choose_language(chosen, accept) == language


@given(st.text(max_size=300))
def test_any_accept_language_gives_a_language(accept: str):
    assert choose_language(None, accept) in LANGUAGES


@pytest.mark.parametrize(
    ("value", "unit", "french", "english"),
    [
        (82.44, "kg", "82,4\u202fkg", "82.4\u202fkg"),
        (80.0, "kg", "80,0\u202fkg", "80.0\u202fkg"),
        (144.05, "mm[Hg]", "144\u202fmmHg", "144\u202fmmHg"),
        (38.04, "Cel", "38,0\u202f°C", "38.0\u202f°C"),
        (2.5, "{INR}", "2,5", "2.5"),
        (-0.04, "kg", "0\u202fkg", "0\u202fkg"),
        (-1.5, "kg", "−1,5\u202fkg", "−1.5\u202fkg"),
        (None, "kg", "–", "–"),
    ],
)
def test_quantities_are_written_as_they_are_read(value: float | None, unit: str, french: str, english: str):
    assert FRENCH.quantity(value, unit) == french
    assert ENGLISH.quantity(value, unit) == english


def test_a_limit_is_shown_as_it_was_set():
    assert FRENCH.quantity(2.268, "kg", exact=True) == "2,268\u202fkg"
    assert FRENCH.quantity(2.0, "kg", exact=True) == "2,0\u202fkg"


def test_instants_are_in_the_teams_time_zone():
    assert FRENCH.moment(NOW_MS, NOW_MS) == "10:42"
    assert Formats(Texts("en"), "Indian/Reunion").moment(NOW_MS, NOW_MS) == "13:42"
    assert Formats(Texts("en"), "No/Where").moment(NOW_MS, NOW_MS) == "10:42"
    assert ENGLISH.moment(NOW_MS - 3 * DAY_MS, NOW_MS) == "19\u202fNov 10:42"
    assert FRENCH.moment(NOW_MS - 400 * DAY_MS, NOW_MS) == "18\u202foct.\u202f2025 11:42"


@pytest.mark.parametrize(
    ("past", "text"),
    [
        (-MINUTE_MS, "just now"),
        (59_000, "just now"),
        (MINUTE_MS, "1 min ago"),
        (HOUR_MS - 1, "59 min ago"),
        (47 * HOUR_MS, "47 h ago"),
        (2 * DAY_MS, "2 d ago"),
    ],
)
def test_ages_are_minutes_hours_then_days(past: int, text: str):
    assert ENGLISH.age(NOW_MS - past, NOW_MS) == text


def test_a_person_is_a_year_older_on_the_birthday_itself():
    assert years(date(1940, 11, 22), NOW_MS) == 86
    assert years(date(1940, 11, 23), NOW_MS) == 85
