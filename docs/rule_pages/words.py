"""Numbers, durations and conditions of a rule in plain words, all taken from the parsed protocol file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from rule_pages.draw import SIGNS
from streams.protocols import RULE_FIELDS, Protocol, Rule
from streams.protocols.model import UPWARD, Level
from streams.rolling import STATISTICS, Parameters
from streams.words import KIND_NAMES

PROSE = Path(__file__).parent / "prose"
UNITS = {"mm[Hg]": " mmHg", "Cel": " °C", "{INR}": "", "%": " %", None: ""}
FACTS = {
    "symptoms": "with symptoms in the last questionnaire",
    "capillary": "by fingerstick",
    "interstitial": "on a sensor",
    "ketones": "with high ketones",
    "new": "fibrillation is not known from before",
    "run": "from a rhythm recording",
    "scale-1": "scale 1 of the care plan",
    "scale-2": "scale 2 of the care plan",
    "tested": "a test is known",
    "mechanical-valve": "mechanical valve in the care plan",
    "pregnancy": "in pregnancy (care plan)",
    "bleeding": "bleeding reported in the questionnaire",
}


class Recording(Parameters):
    """Parameters that remember what a statistic asked for: (name, default, low, high)."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given)
        self.numbers: dict[str, tuple[float | None, float, float]] = {}
        self.words: list[str] = []

    def number(self, name: str, default: float | None = None, *, low: float, high: float) -> float:
        self.numbers[name] = (default, low, high)
        return super().number(name, default, low=low, high=high)

    def text(self, name: str, default: str | None = None) -> str:
        self.words.append(name)
        return super().text(name, default)

    def texts(self, name: str) -> tuple[str, ...]:
        self.words.append(name)
        return super().texts(name)


@cache
def source(protocol: str) -> str:
    """The published file's text."""
    return (resources.files("streams.protocols") / f"{protocol}.toml").read_text(encoding="utf-8")


@cache
def prose(name: str) -> dict[str, Any]:
    return tomllib.loads((PROSE / f"{name}.toml").read_text(encoding="utf-8"))


def raw_rule(rule: Rule) -> dict[str, Any]:
    raw: dict[str, Any] = tomllib.loads(source(rule.protocol))["rules"][rule.name]
    return raw


def parameters(rule: Rule) -> dict[str, str]:
    """Every parameter of the rule's statistic: the file's number, else the code's default."""
    raw = raw_rule(rule)
    if rule.statistic is None:
        return {}
    given = {k: v for k, v in raw.items() if k not in RULE_FIELDS or k == "kinds"}
    asked = Recording(given)
    STATISTICS[raw["statistic"]](asked)
    found = {name: f"{given.get(name, default):g}" for name, (default, _, _) in asked.numbers.items()}
    return found | {name: str(given[name]) for name in asked.words if isinstance(given[name], str)}


def duration(ms: int) -> str:
    minutes = ms / 60_000
    for size, word in ((2880, "days"), (120, "hours"), (0, "minutes")):
        if minutes >= size:
            number = minutes / {"days": 1440, "hours": 60, "minutes": 1}[word]
            if number == round(number) or word == "minutes":
                return f"{number:g} {word}"
    raise AssertionError(ms)


def kinds(rule: Rule) -> str:
    return ", ".join(KIND_NAMES[kind][1] for kind in sorted(rule.kinds))


def fill(text: str, protocol: Protocol, rule: Rule) -> str:
    """Put the file's numbers where the prose names them: {medium.limit}, {window_days}, {overdue:inr}."""
    known = parameters(rule) | {"kinds": kinds(rule), "clear_for": f"{rule.clear_for_ms / 60_000:g}"}
    channels = rule.statistic.channels if rule.statistic is not None else ()
    for level in rule.levels:
        known[f"{level.name}.count"] = f"{level.count}"
        known[f"within_h:{level.name}"] = f"{(level.within_ms or 0) / 3_600_000:g}"
        known[f"for_h:{level.name}"] = f"{level.for_ms / 3_600_000:g}"
        known[f"for_min:{level.name}"] = f"{level.for_ms / 60_000:g}"
        for index, channel in reversed(list(enumerate(channels))):
            limit, clear = level.limits[index], level.clears[index]
            if limit is None or clear is None:
                continue
            for name in (level.name, f"{level.name}.{channel}"):
                known |= {f"{name}.limit": f"{limit:g}", f"{name}.clear": f"{clear:g}"}
    for kind, hours in protocol.schedule.items():
        known |= {
            f"every:{kind}": f"{hours.every_hours:g}",
            f"overdue:{kind}": f"{hours.overdue_hours:g}",
            f"grave:{kind}": f"{hours.grave_hours:g}",
        }

    def number(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise KeyError(
                f"{rule.protocol}/{rule.name}: {{{found[1]}}} is not one of {', '.join(sorted(known))}"
            )
        return known[found[1]]

    return re.sub(r"\{([\w.:-]+)\}", number, text)


@dataclass(frozen=True)
class Told:
    """A level in words, for one row of the table."""

    name: str
    severity: str
    met: str
    lasting: str
    only: str
    over: str


def channel_words(rule: Rule) -> dict[str, str]:
    words: dict[str, str] = prose("statistics")[raw_rule(rule)["statistic"]]["channels"]
    return words


def told(rule: Rule, level: Level) -> Told:
    words, unit = channel_words(rule), UNITS.get(rule.unit, f" {rule.unit}")
    channels = rule.statistic.channels if rule.statistic is not None else ()
    met, over = [], []
    back = "≤" if level.comparison in UPWARD else "≥"
    for channel, limit, clear in zip(channels, level.limits, level.clears, strict=True):
        if limit is not None and clear is not None:
            met.append(f"{words[channel]} {SIGNS[level.comparison]} {limit:g}{unit}")
            over.append(f"{words[channel]} {back} {clear:g}{unit}")
    only = [FACTS[fact] for fact in sorted(level.when)] + [f"not {FACTS[f]}" for f in sorted(level.unless)]
    kept = f", for {duration(rule.clear_for_ms)}" if rule.clear_for_ms else ""
    if "bleeding" in level.when:
        return Told(
            level.name, level.severity, "whatever the INR", "at once", "; ".join(only), "bleeding denied"
        )
    return Told(
        level.name,
        level.severity,
        " or ".join(met),
        lasting(level),
        "; ".join(only),
        " and ".join(over) + kept,
    )


def lasting(level: Level) -> str:
    """How long the condition must hold."""
    if level.immediate:
        return "one is enough"
    parts = []
    if level.count > 1:
        of = f"of the last {level.of}" if level.of > level.count else "in a row"
        parts.append(f"{level.count} {of}")
    if level.within_ms is not None:
        parts.append(f"within {duration(level.within_ms)}")
    if level.for_ms:
        parts.append(f"over at least {duration(level.for_ms)}")
    if level.max_gap_ms is not None:
        parts.append(f"no gap above {duration(level.max_gap_ms)}")
    return ", ".join(parts)
