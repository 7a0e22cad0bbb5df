"""The pages' texts: a catalogue of files (texts/*.toml), French and English, checked when it is loaded."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

LANGUAGES = ("fr", "en")
DEFAULT_LANGUAGE = "fr"


class TextError(LookupError):
    """A text that the catalogue does not have; the message names the key."""


@cache
def catalogue() -> dict[str, dict[str, str]]:
    """Every text by its dotted key ("login.title"), in every language.

    Raises TextError where a text lacks a language, or two files have the same key.
    """
    texts: dict[str, dict[str, str]] = {}
    folder = files("alerts.feed").joinpath("texts")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        for table, entries in tomllib.loads(file.read_text(encoding="utf-8")).items():
            for name, by_language in entries.items():
                key = f"{table}.{name}"
                missing = [language for language in LANGUAGES if not by_language.get(language)]
                if missing:
                    raise TextError(f"texts/{file.name}: {key} has no text in {', '.join(missing)}")
                if key in texts:
                    raise TextError(f"texts/{file.name}: {key} is in another file already")
                texts[key] = by_language
    return texts


class Texts:
    """The catalogue in one language. `texts("header.current", time="10:42")` fills the placeholders in."""

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise TextError(f"language {language!r} is not one of {', '.join(LANGUAGES)}")
        self.language = language

    def __call__(self, key: str, /, **values: object) -> str:
        try:
            text = catalogue()[key][self.language]
        except KeyError:
            raise TextError(f"texts/*.toml have no {key!r}") from None
        return text.format(**values) if values else text

    def count(self, key: str, n: int, **values: object) -> str:
        """The text `key`_one or `key`_many; French counts zero as one, English as many."""
        one = n == 1 or (n == 0 and self.language == "fr")
        return self(f"{key}_{'one' if one else 'many'}", n=n, **values)

    def subset(self, keys: Iterable[str]) -> dict[str, str]:
        """These texts with their placeholders, for the page's script."""
        return {key: catalogue()[key][self.language] for key in keys}

    def term(self, table: str, name: str) -> str:
        """The name of a rule, kind, protocol…; one that the catalogue lacks is shown as it is written."""
        entry = catalogue().get(f"{table}.{name}")
        return entry[self.language] if entry else name


def choose_language(chosen: str | None, accept_language: str) -> str:
    """The language that the person chose, or else the first of ours in Accept-Language, or else French."""
    if chosen in LANGUAGES:
        return chosen
    ranked: list[tuple[float, int, str]] = []
    for position, part in enumerate(accept_language[:200].split(",")):  # 200: longer is no browser's
        tag, _, parameter = part.strip().partition(";")
        language = tag.split("-")[0].strip().lower()
        if language in LANGUAGES:
            ranked.append((-_quality(parameter), position, language))
    return min(ranked)[2] if ranked else DEFAULT_LANGUAGE


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
