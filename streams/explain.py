"""The plain sentence of an alert, in French and English: what happened against which limit."""

from __future__ import annotations

from functools import lru_cache
from string import Formatter

from streams.episodes import Episode
from streams.protocols.model import Rule

LANGUAGES = ("fr", "en")


FORMS = tuple(f".{decimals}f" for decimals in range(20))
"""How a number is shown: with the rule's decimals, and a comma in French."""


def explain(rule: Rule, episode: Episode) -> dict[str, str]:
    """The sentences for an episode as it stands. A word that an episode does not know stays as it is."""
    sentences = rule.sentence
    for level in rule.levels:
        if level.name == episode.level:
            sentences = level.sentence or sentences
            break
    return {language: _fill(sentences[language], rule, episode, language) for language in LANGUAGES}


@lru_cache(maxsize=1024)  # sentences of all levels of some twenty protocols, in two languages
def _parts(template: str) -> tuple[tuple[str, str | None, str], ...]:
    """Literal text, the word that follows it (None at the end), and how the word is formatted."""
    return tuple((text, word, form or "") for text, word, form, _ in Formatter().parse(template))


def _fill(template: str, rule: Rule, episode: Episode, language: str) -> str:
    found = []
    for text, word, form in _parts(template):
        found.append(text)
        if word is None:
            continue
        value: float | str | None
        if word == "value":
            value = episode.value
        elif word == "limit":
            value = episode.limit
        else:
            value = episode.extra.get(word)
            if word == "what":
                what = episode.extra.get(f"what_{language}")
                value = what if isinstance(what, str) else value
        if value is None:
            found.append("?")
        elif isinstance(value, str):
            found.append(format(value, form))
        else:
            if not form:
                form = FORMS[
                    0
                    if word == "n"
                    else _decimals(value, rule.decimals)
                    if word == "limit"
                    else rule.decimals
                ]
            number = format(float(value), form)
            found.append(number.replace(".", ",") if language == "fr" else number)
    return "".join(found)


@lru_cache(maxsize=4096)  # limits of all rules, and patients' own
def _decimals(limit: float, decimals: int) -> int:
    """A limit of 1.36 kg is not shown as 1.4: limits keep up to two decimals more when they have them."""
    for more in range(decimals, decimals + 3):
        if abs(round(limit, more) - limit) < 1e-9:
            return more
    return decimals + 2
