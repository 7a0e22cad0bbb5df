"""The plain sentence of an alert, in French and English: what happened against which limit."""

from __future__ import annotations

from functools import lru_cache
from string import Formatter

from streams.episodes import Episode
from streams.protocols.model import Rule

LANGUAGES = ("fr", "en")


_COMMA = str.maketrans(".", ",")


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
        if word is not None:
            found.append(_word(word, form, rule, episode, language))
    return "".join(found)


def _word(word: str, form: str, rule: Rule, episode: Episode, language: str) -> str:
    """A word of a sentence: a number has the rule's decimals, and a comma in French."""
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
        return "?"
    if isinstance(value, str):
        return format(value, form)
    number = format(float(value), form or f".{0 if word == 'n' else _decimals(value, word, rule)}f")
    return number.translate(_COMMA) if language == "fr" else number


def _decimals(value: float, name: str, rule: Rule) -> int:
    """A limit of 1.36 kg is not shown as 1.4: limits keep up to two decimals more when they have them."""
    if name != "limit":
        return rule.decimals
    for decimals in range(rule.decimals, rule.decimals + 3):
        if abs(round(value, decimals) - value) < 1e-9:
            return decimals
    return rule.decimals + 2
