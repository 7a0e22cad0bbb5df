"""Protocols are data: one TOML file each, checked when loaded.

Every error names file, rule and field, and all errors of a file are reported at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from streams.protocols.model import (
    UPWARD,
    Comparison,
    ExpectedEvery,
    Level,
    Library,
    Protocol,
    Rule,
)
from streams.rolling import STATISTICS, Parameters, Statistic
from streams.signal import AlertClass, Severity

__all__ = ["Library", "Protocol", "ProtocolError", "Rule", "load_file", "load_published", "parse"]

COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
LEVEL_FIELDS = frozenset(
    {"name", "severity", "clear", "tolerance", "count", "of", "within_minutes", "for_minutes",
     "max_gap_minutes", "when", "unless", "fr", "en", *COMPARISONS}
)  # fmt: skip
RULE_FIELDS = frozenset(
    {"class", "unit", "decimals", "source", "watches", "statistic", "fr", "en", "levels", "severity",
     "clear_for_minutes", "kinds"}
)  # fmt: skip

LEGAL_NO_READING = frozenset({"heart-failure", "diabetes", "hypertension", "arrhythmia", "respiratory"})
"""Protocols in which *no reading* must stand: the law wants it for the first two (reference 1.5), the
contract for each."""


class ProtocolError(ValueError):
    """A protocol file cannot be used; the message has a line for each fault, with file, rule and field."""


class _Faults:
    """Collects what is wrong, so that one load shows all of it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[str] = []

    def add(self, rule: str | None, field: str, message: str) -> None:
        where = f"{self.path}: " + (f"rule {rule}: " if rule else "") + f"{field}: "
        self.lines.append(where + message)

    def check(self) -> None:
        if self.lines:
            raise ProtocolError("\n".join(self.lines))


def load_published() -> Library:
    """The protocols that this release publishes."""
    library = Library()
    folder = resources.files(__name__)
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml"):
            library = library.with_protocol(parse(entry.read_text(encoding="utf-8"), entry.name))
    return library


def load_file(path: str | Path) -> Protocol:
    """Load one protocol file. Raises ProtocolError, OSError."""
    return parse(Path(path).read_text(encoding="utf-8"), str(path))


def parse(text: str, path: str) -> Protocol:
    """Check one protocol's text. `path` only names it in errors. Raises ProtocolError."""
    faults = _Faults(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"{path}: not TOML: {error}") from None
    name = _text(document, "name", None, faults)
    version = _text(document, "version", None, faults)
    title = _sentence(document.get("title", {}), None, "title", faults)
    for unknown in sorted(set(document) - {"name", "version", "title", "schedule", "rules"}):
        faults.add(None, unknown, "is not known here: name, version, title, schedule and rules are")
    schedule = _schedule(document.get("schedule", {}), faults)
    raw_rules = document.get("rules", {})
    rules: list[Rule] = []
    for rule_name, raw in raw_rules.items():
        rule = _rule(name, version, rule_name, raw, schedule, faults)
        if rule is not None:
            rules.append(rule)
    if name in LEGAL_NO_READING and "no-reading" not in raw_rules:
        faults.add("no-reading", "rules", "is missing: the alert for missing readings cannot be switched off")
    faults.check()
    return Protocol(name, version, title, schedule, tuple(rules), path)


def _text(raw: Mapping[str, Any], field: str, rule: str | None, faults: _Faults) -> str:
    value = raw.get(field)
    if not isinstance(value, str) or not value.strip():
        faults.add(rule, field, f"is {value!r}: a text is needed")
        return ""
    return value


def _number(
    raw: Mapping[str, Any], field: str, default: float, low: float, high: float, rule: str, faults: _Faults
) -> float:
    value = raw.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        faults.add(rule, field, f"is {value!r}: a number from {low:g} to {high:g} is allowed")
        return default
    return float(value)


def _sentence(raw: Any, rule: str | None, field: str, faults: _Faults) -> dict[str, str]:
    found = {}
    for language in ("fr", "en"):
        text = raw.get(language) if isinstance(raw, Mapping) else None
        if not isinstance(text, str) or not text.strip():
            faults.add(rule, f"{field}.{language}" if field else language, "is missing: one plain sentence")
            text = ""
        found[language] = text
    return found


def _schedule(raw: Any, faults: _Faults) -> dict[str, ExpectedEvery]:
    found = {}
    for kind, hours in raw.items():
        where = f"schedule.{kind}"
        every = _number(hours, "every_hours", 24.0, 0.01, 2400.0, where, faults)
        overdue = _number(hours, "overdue_hours", 2 * every, 0.01, 4800.0, where, faults)
        grave = _number(hours, "grave_hours", 1.5 * overdue, 0.01, 9600.0, where, faults)
        if not every <= overdue <= grave:
            faults.add(
                where, "overdue_hours", f"every {every:g} ≤ overdue {overdue:g} ≤ grave {grave:g} must hold"
            )
        found[kind] = ExpectedEvery(every, overdue, grave)
    return found


def _rule(
    protocol: str, version: str, name: str, raw: Any, schedule: dict[str, ExpectedEvery], faults: _Faults
) -> Rule | None:
    statistic_name = _text(raw, "statistic", name, faults)
    cls = raw.get("class")
    if cls not in get_args(AlertClass):
        faults.add(name, "class", f"is {cls!r}: clinical or technical")
        cls = "technical"
    sentence = _sentence(raw, name, "", faults)
    parameters = {k: v for k, v in raw.items() if k not in RULE_FIELDS}
    common = {
        "protocol": protocol,
        "version": version,
        "name": name,
        "cls": cls,
        "unit": raw.get("unit"),
        "decimals": int(_number(raw, "decimals", 1, 0, 3, name, faults)),
        "source": _text(raw, "source", name, faults),
        "sentence": sentence,
        "watches": str(raw.get("watches", "")),
        "clear_for_ms": int(_number(raw, "clear_for_minutes", 0, 0, 14 * 1440, name, faults) * 60_000),
    }
    if statistic_name == "silence":
        kinds = tuple(raw.get("kinds", ()))
        for kind in kinds:
            if kind not in schedule:
                faults.add(name, "kinds", f"{kind!r} has no [schedule.{kind}] in this file")
        return Rule(statistic=None, levels=(), silence_kinds=kinds, **common)
    statistic = _statistic(statistic_name, name, {**parameters, **_kinds(raw)}, faults)
    if statistic is None:
        return None
    levels = _levels(raw.get("levels"), name, statistic, faults)
    return Rule(statistic=statistic, levels=levels, **common)


def _kinds(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {"kinds": raw["kinds"]} if "kinds" in raw else {}


def _statistic(name: str, rule: str, given: dict[str, Any], faults: _Faults) -> Statistic | None:
    make = STATISTICS.get(name)
    if make is None:
        faults.add(rule, "statistic", f"{name!r} is not known: {', '.join(sorted(STATISTICS))}, silence")
        return None
    parameters = Parameters(given)
    try:
        statistic = make(parameters)
    except ValueError as error:
        faults.add(rule, "statistic", str(error))
        return None
    for unknown in parameters.unknown():
        faults.add(rule, unknown, f"is not a field of a rule nor of the statistic {name!r}")
    return statistic


def _levels(raw: Any, rule: str, statistic: Statistic, faults: _Faults) -> tuple[Level, ...]:
    if not isinstance(raw, list) or not raw:
        faults.add(rule, "levels", "is missing: at least one [[rules.….levels]] with a severity and a limit")
        return ()
    levels = [_level(entry, index, rule, statistic, faults) for index, entry in enumerate(raw)]
    if len({level.name for level in levels}) != len(levels):
        faults.add(rule, "levels", "two levels of one severity need a `name` each")
    return tuple(sorted(levels, key=lambda level: -level.rank))


def _level(raw: Mapping[str, Any], index: int, rule: str, statistic: Statistic, faults: _Faults) -> Level:
    where = f"levels[{index}]"
    for unknown in sorted(set(raw) - LEVEL_FIELDS):
        faults.add(rule, f"{where}.{unknown}", f"is not known: {', '.join(sorted(LEVEL_FIELDS))} are")
    severity = raw.get("severity")
    if severity not in SEVERITIES:
        faults.add(rule, f"{where}.severity", f"is {severity!r}: high, medium or low")
    grade: Severity = severity if severity in SEVERITIES else "low"
    stated = [name for name in COMPARISONS if name in raw]
    if len(stated) != 1:
        faults.add(rule, where, f"needs exactly one of {', '.join(COMPARISONS)}")
        return Level("?", grade, "at_least", (), ())
    comparison = stated[0]
    limits = _channels(raw[comparison], statistic, rule, f"{where}.{comparison}", faults)
    clears = _channels(raw.get("clear", raw[comparison]), statistic, rule, f"{where}.clear", faults)
    for limit, clear in zip(limits, clears, strict=True):
        if limit is not None and clear is not None:
            wrong = clear > limit if comparison in UPWARD else clear < limit
            if wrong:
                faults.add(
                    rule, f"{where}.clear", f"{clear:g} is beyond the limit {limit:g}: it could never be met"
                )
    count = int(_number(raw, "count", 1, 1, 60, rule, faults))
    gap, within = raw.get("max_gap_minutes"), raw.get("within_minutes")
    return Level(
        name=str(raw.get("name", grade)),
        severity=grade,
        comparison=comparison,
        limits=limits,
        clears=clears,
        tolerance=_number(raw, "tolerance", 0.0, 0.0, 10.0, rule, faults),
        count=count,
        of=int(_number(raw, "of", count, count, 60, rule, faults)),
        within_ms=None if within is None else int(float(within) * 60_000),
        for_ms=int(_number(raw, "for_minutes", 0, 0, 60 * 24 * 28, rule, faults) * 60_000),
        max_gap_ms=None if gap is None else int(float(gap) * 60_000),
        when=frozenset(raw.get("when", ())),
        unless=frozenset(raw.get("unless", ())),
        sentence=_sentence(raw, rule, where, faults) if "fr" in raw or "en" in raw else None,
    )


def _channels(
    raw: Any, statistic: Statistic, rule: str, where: str, faults: _Faults
) -> tuple[float | None, ...]:
    channels = statistic.channels
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        if len(channels) == 1:
            return (float(raw),)
        faults.add(rule, where, f"needs a number for each of {', '.join(channels)} that counts")
    elif isinstance(raw, Mapping) and set(raw) <= set(channels) and raw:
        return tuple(float(raw[c]) if c in raw else None for c in channels)
    else:
        faults.add(rule, where, f"is {raw!r}: a number, or a table of {', '.join(channels)}")
    return tuple(None for _ in channels)
