"""Protocols are data: one TOML file each, checked when loaded.

Every error names file, rule and field, and all errors of a file are reported at once.
"""

from __future__ import annotations

import json
import tomllib
import zlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any, get_args

from devices.catalogue import KINDS
from streams.protocols.model import (
    UPWARD,
    Comparison,
    Expected,
    ExpectedEvery,
    Level,
    Library,
    Protocol,
    Rule,
)
from streams.rolling import STATISTICS, Parameters, Statistic
from streams.signal import AlertClass, Severity

__all__ = [
    "Library", "Protocol", "ProtocolError", "Rule", "load_file", "load_published", "parse", "parse_document",
]  # fmt: skip

COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
LEVEL_FIELDS = frozenset(
    {"name", "severity", "clear", "tolerance", "count", "of", "within_minutes", "for_minutes",
     "max_gap_minutes", "when", "unless", "fixed", "fr", "en", *COMPARISONS}
)  # fmt: skip
RULE_FIELDS = frozenset(
    {"class", "unit", "decimals", "source", "watches", "statistic", "fr", "en", "levels", "severity",
     "clear_for_minutes", "kinds", "plausible"}
)  # fmt: skip

SCHEDULE_FIELDS = frozenset(
    {"every_hours", "overdue_hours", "grave_hours", "expected", "overdue_at_least_hours", "overdue_at_most_hours"}
)  # fmt: skip

LARGEST = 1e9
"""No limit, length or parameter of a protocol comes near it."""

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
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{path}: not UTF-8 text: {error}") from None
    return parse(text, str(path))


def parse(text: str, path: str) -> Protocol:
    """Check one protocol's text. `path` only names it in errors. Raises ProtocolError."""
    try:
        document = tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # tomllib's own, numbers of thousands of digits, deep nesting
        raise ProtocolError(f"{path}: not TOML: {error}") from None
    return parse_document(document, path)


def parse_document(document: Mapping[str, Any], path: str) -> Protocol:
    """Check a protocol in its parsed form, as JSON carries it. Raises ProtocolError."""
    faults = _Faults(path)
    name = _text(document, "name", None, faults)
    version = _text(document, "version", None, faults)
    title = _sentence(document.get("title", {}), None, "title", faults)
    for unknown in sorted(set(document) - {"name", "version", "title", "schedule", "rules"}):
        faults.add(None, unknown, "is not known here: name, version, title, schedule and rules are")
    schedule = _schedule(document.get("schedule", {}), faults)
    raw_rules = document.get("rules", {})
    if not isinstance(raw_rules, Mapping):
        faults.add(None, "rules", f"is {raw_rules!r}: a table for each rule, [rules.name]")
        raw_rules = {}
    rules: list[Rule] = []
    for rule_name, raw in raw_rules.items():
        if not isinstance(raw, Mapping):
            faults.add(rule_name, "rules", f"is {raw!r}: a rule is a table, [rules.{rule_name}]")
            continue
        rule = _rule(name, version, rule_name, raw, schedule, faults)
        if rule is not None:
            rules.append(rule)
    _check_legal(name, schedule, rules, faults)
    faults.check()
    content = json.dumps(document, sort_keys=True, default=str).encode()
    return Protocol(name, version, title, schedule, tuple(rules), path, zlib.crc32(content))


def _check_legal(name: str, schedule: dict[str, ExpectedEvery], rules: list[Rule], faults: _Faults) -> None:
    if name not in LEGAL_NO_READING:
        return
    legal = next((r for r in rules if r.name == "no-reading"), None)
    if legal is None or legal.statistic is not None:
        faults.add(
            "no-reading",
            "statistic",
            "must be silence: the alert for missing readings cannot be switched off",
        )
    elif all(schedule[kind].expected == "asked" for kind in legal.silence_kinds if kind in schedule):
        faults.add(
            "no-reading",
            "kinds",
            'one of them needs `expected = "always"` or "alone" in its [schedule]: a care plan without a '
            "schedule must not switch the alert for missing readings off",
        )


def _text(raw: Mapping[str, Any], field: str, rule: str | None, faults: _Faults) -> str:
    value = raw.get(field)
    if not isinstance(value, str) or not value.strip():
        faults.add(rule, field, f"is {value!r}: a text is needed")
        return ""
    return value


def _number(
    raw: Mapping[str, Any],
    field: str,
    default: float,
    low: float,
    high: float,
    rule: str,
    faults: _Faults,
    prefix: str = "",
) -> float:
    value = raw.get(field, default)
    if not _is_number(value) or not low <= value <= high:
        faults.add(rule, prefix + field, f"is {value!r}: a number from {low:g} to {high:g} is allowed")
        return default
    return float(value)


def _sentence(raw: Any, rule: str | None, field: str, faults: _Faults) -> dict[str, str]:
    found = {}
    for language in ("fr", "en"):
        text = raw.get(language) if isinstance(raw, Mapping) else None
        where = f"{field}.{language}" if field else language
        if not isinstance(text, str) or not text.strip():
            faults.add(rule, where, "is missing: one plain sentence")
            text = ""
        try:
            list(Formatter().parse(text))
        except ValueError as error:
            faults.add(rule, where, f"{text!r} cannot be filled in: {error}")
        found[language] = text
    return found


def _schedule(raw: Any, faults: _Faults) -> dict[str, ExpectedEvery]:
    found = {}
    if not isinstance(raw, Mapping):
        faults.add(None, "schedule", f"is {raw!r}: a table for each kind, [schedule.body-weight]")
        return {}
    for kind, hours in raw.items():
        where = f"schedule.{kind}"
        if kind not in KINDS:
            faults.add(None, where, f"{kind!r} is not a kind of reading: {', '.join(sorted(KINDS))}")
        if not isinstance(hours, Mapping):
            faults.add(None, where, f"is {hours!r}: a table with every_hours, overdue_hours, grave_hours")
            continue
        for unknown in sorted(set(hours) - SCHEDULE_FIELDS):
            faults.add(where, unknown, f"is not known: {', '.join(sorted(SCHEDULE_FIELDS))} are")
        found[kind] = _expected_every(hours, where, faults)
    return found


def _expected_every(hours: Mapping[str, Any], where: str, faults: _Faults) -> ExpectedEvery:
    every = _number(hours, "every_hours", 24.0, 0.01, 2400.0, where, faults)
    overdue = _number(hours, "overdue_hours", 2 * every, 0.01, 4800.0, where, faults)
    grave = _number(hours, "grave_hours", 1.5 * overdue, 0.01, 9600.0, where, faults)
    least = _number(hours, "overdue_at_least_hours", 0.0, 0.0, 4800.0, where, faults)
    most = _number(hours, "overdue_at_most_hours", max(336.0, overdue), 0.01, 9600.0, where, faults)
    if not every <= overdue <= grave:
        faults.add(
            where, "overdue_hours", f"every {every:g} ≤ overdue {overdue:g} ≤ grave {grave:g} must hold"
        )
    if not least <= overdue <= most:
        faults.add(
            where,
            "overdue_hours",
            f"{overdue:g} is not from overdue_at_least_hours {least:g} to overdue_at_most_hours {most:g}",
        )
    expected = hours.get("expected", "asked")
    if expected not in get_args(Expected):
        faults.add(where, "expected", f"is {expected!r}: {', '.join(get_args(Expected))}")
        expected = "asked"
    return ExpectedEvery(every, overdue, grave, expected, least, most)


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
        "unit": _text(raw, "unit", name, faults) if "unit" in raw else None,
        "decimals": int(_number(raw, "decimals", 1, 0, 3, name, faults)),
        "source": _text(raw, "source", name, faults),
        "sentence": sentence,
        "watches": str(raw.get("watches", "")),
        "clear_for_ms": int(_number(raw, "clear_for_minutes", 0, 0, 14 * 1440, name, faults) * 60_000),
    }
    if statistic_name == "silence":
        kinds = _words(raw, "kinds", name, faults)
        if not kinds:
            faults.add(name, "kinds", "is missing: the kinds whose silence is watched")
        for unknown in sorted(parameters):
            faults.add(name, unknown, "is not a field of a rule of the statistic 'silence'")
        for kind in kinds:
            if kind not in schedule:
                faults.add(name, "kinds", f"{kind!r} has no [schedule.{kind}] in this file")
        return Rule(statistic=None, levels=(), silence_kinds=kinds, **common)
    statistic = _statistic(statistic_name, name, {**parameters, **_kinds(raw)}, faults)
    if statistic is None:
        return None
    levels = _levels(raw.get("levels"), name, statistic, faults)
    common["plausible"] = _plausible(raw.get("plausible"), levels, name, statistic, faults)
    key = f"{statistic_name}{json.dumps({**parameters, **_kinds(raw)}, sort_keys=True, default=str)}"
    return Rule(statistic=statistic, levels=levels, statistic_key=key, **common)


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
    for index, entry in enumerate(raw):
        if not isinstance(entry, Mapping):
            faults.add(rule, f"levels[{index}]", f"is {entry!r}: a table, [[rules.{rule}.levels]]")
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
    if "clear" in raw:
        clears = _channels(raw["clear"], statistic, rule, f"{where}.clear", faults)
    else:
        clears = tuple(None for _ in limits)
    for channel, limit, clear in zip(statistic.channels, limits, clears, strict=True):
        if limit is not None and clear is None:
            faults.add(
                rule, f"{where}.clear", f"is missing for {channel}: the number at which the level is over"
            )
        if limit is not None and clear is not None:
            wrong = clear > limit if comparison in UPWARD else clear < limit
            if wrong:
                faults.add(
                    rule, f"{where}.clear", f"{clear:g} is beyond the limit {limit:g}: it could never be met"
                )
    if "tolerance" in raw and comparison in ("above", "below"):
        faults.add(
            rule, f"{where}.tolerance", "goes with at_least and at_most: above and below mean what they say"
        )
    count = int(_number(raw, "count", 1, 1, 60, rule, faults))
    if count > 2 and "within_minutes" in raw:
        faults.add(rule, f"{where}.within_minutes", "goes with a count of 2; for more use max_gap_minutes")
    return Level(
        name=str(raw.get("name", grade)),
        severity=grade,
        comparison=comparison,
        limits=limits,
        clears=clears,
        tolerance=_number(raw, "tolerance", 0.0, 0.0, 10.0, rule, faults),
        count=count,
        of=int(_number(raw, "of", count, count, 60, rule, faults)),
        within_ms=_minutes(raw, "within_minutes", rule, where, faults),
        for_ms=int(_number(raw, "for_minutes", 0, 0, 60 * 24 * 28, rule, faults) * 60_000),
        max_gap_ms=_minutes(raw, "max_gap_minutes", rule, where, faults),
        when=_facts(raw, "when", rule, statistic, faults, where),
        unless=_facts(raw, "unless", rule, statistic, faults, where),
        sentence=_sentence(raw, rule, where, faults) if "fr" in raw or "en" in raw else None,
        fixed=raw.get("fixed") is True,
    )


def _facts(
    raw: Mapping[str, Any], field: str, rule: str, statistic: Statistic, faults: _Faults, where: str
) -> frozenset[str]:
    """The words of `when` or `unless`: a fact that the statistic never states would switch the level off."""
    words = frozenset(_words(raw, field, rule, faults, where))
    for word in sorted(words - statistic.facts):
        allowed = ", ".join(sorted(statistic.facts)) or "none"
        faults.add(rule, f"{where}.{field}", f"{word!r} is not a fact of the statistic: {allowed}")
    return words


def _plausible(
    raw: Any, levels: tuple[Level, ...], rule: str, statistic: Statistic, faults: _Faults
) -> tuple[tuple[float, float] | None, ...]:
    """Between which numbers a patient's own limit may lie, for each channel: [low, high], or a table of them."""
    channels = statistic.channels
    stated = raw if isinstance(raw, Mapping) else {channels[0]: raw} if raw is not None else {}
    found: list[tuple[float, float] | None] = []
    for unknown in sorted(set(stated) - set(channels)):
        faults.add(rule, "plausible", f"{unknown!r} is not one of {', '.join(channels)}")
    for index, channel in enumerate(channels):
        span = stated.get(channel)
        if span is None:
            found.append(None)
            continue
        if (
            not isinstance(span, list)
            or len(span) != 2
            or not all(map(_is_number, span))
            or span[0] >= span[1]
        ):
            faults.add(rule, "plausible", f"{channel} is {span!r}: [low, high] is needed")
            found.append(None)
            continue
        for level in levels:
            limit = level.limits[index] if level.limits else None  # none: of a level that is faulty itself
            if limit is not None and not level.fixed and not span[0] <= limit <= span[1]:
                faults.add(rule, "plausible", f"{channel}: the limit {limit:g} itself is not in {span!r}")
        found.append((float(span[0]), float(span[1])))
    return tuple(found)


def _is_number(value: Any) -> bool:
    """Whether it is a number that can be compared: TOML has nan and inf, and integers that no float holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _minutes(raw: Mapping[str, Any], field: str, rule: str, where: str, faults: _Faults) -> int | None:
    """A length of time in ms, or None when the level does not say it."""
    if field not in raw:
        return None
    return int(_number(raw, field, 0, 0.1, 60 * 24 * 366, rule, faults, f"{where}.") * 60_000)


def _words(
    raw: Mapping[str, Any], field: str, rule: str, faults: _Faults, where: str = ""
) -> tuple[str, ...]:
    value = raw.get(field, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        faults.add(rule, f"{where}.{field}" if where else field, f"is {value!r}: a list of texts is needed")
        return ()
    return tuple(value)


def _channels(
    raw: Any, statistic: Statistic, rule: str, where: str, faults: _Faults
) -> tuple[float | None, ...]:
    channels = statistic.channels
    if _is_number(raw):
        if len(channels) == 1:
            return (float(raw),)
        faults.add(rule, where, f"needs a number for each of {', '.join(channels)} that counts")
    elif (
        isinstance(raw, Mapping) and set(raw) <= set(channels) and raw and all(map(_is_number, raw.values()))
    ):
        return tuple(float(raw[c]) if c in raw else None for c in channels)
    else:
        faults.add(rule, where, f"is {raw!r}: a number, or a table of {', '.join(channels)}")
    return tuple(None for _ in channels)
