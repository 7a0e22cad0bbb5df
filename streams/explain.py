"""The plain sentence of an alert, in French and English: what happened against which limit."""

from __future__ import annotations

from streams.episodes import Episode
from streams.protocols.model import Rule

LANGUAGES = ("fr", "en")


class _Number(float):
    """Formats itself with a rule's decimals, and with a comma in French."""

    decimals = 1
    comma = False

    def __format__(self, spec: str) -> str:
        text = super().__format__(spec or f".{self.decimals}f")
        return text.replace(".", ",") if self.comma else text


def explain(rule: Rule, episode: Episode) -> dict[str, str]:
    """The sentences for an episode as it stands. A word that an episode does not know stays as it is."""
    level = next((lv for lv in rule.levels if lv.name == episode.level), None)
    sentences = level.sentence if level is not None and level.sentence is not None else rule.sentence
    return {language: _fill(sentences[language], rule, episode, language) for language in LANGUAGES}


def _fill(template: str, rule: Rule, episode: Episode, language: str) -> str:
    given: dict[str, float | str | None] = {
        **episode.extra,
        "value": episode.value,
        "limit": episode.limit,
    }
    words = _Words()
    for name, value in given.items():
        if isinstance(value, str):
            words[name] = value
        elif value is not None:
            number = _Number(value)
            number.decimals = 0 if name == "n" else _decimals(value, name, rule)
            number.comma = language == "fr"
            words[name] = number
    what = episode.extra.get(f"what_{language}")
    if isinstance(what, str):
        words["what"] = what
    return template.format_map(words)


def _decimals(value: float, name: str, rule: Rule) -> int:
    """A limit of 1.36 kg is not shown as 1.4: limits keep up to two decimals more when they have them."""
    if name != "limit":
        return rule.decimals
    for decimals in range(rule.decimals, rule.decimals + 3):
        if abs(round(value, decimals) - value) < 1e-9:
            return decimals
    return rule.decimals + 2


class _Words(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return "?"
