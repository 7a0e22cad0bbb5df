"""One rule's page, and a protocol's index, as Markdown."""

from __future__ import annotations

import json
import re
from typing import Any

from devices.times import parse_instant
from rule_pages.draw import minutes
from rule_pages.examples import EXAMPLES
from rule_pages.story import Outcome
from rule_pages.words import channel_words, fill, prose, raw_rule, source, told
from streams.protocols import Protocol, Rule
from streams.rolling import Personal
from streams.signal import AlertSignal
from streams.words import KIND_NAMES

MADE = "<!-- Made by docs/generate_rules.py: facts from the protocol file, prose from docs/rule_pages. Do not edit. -->"
MARKS = {
    "C": "confirmed in the source or its abstract",
    "S": "from a secondary page that quotes the source",
    "G": "general knowledge, not confirmed",
    "P": "a default of this project, without clinical authority",
}
SHARED = ("no-reading", "device-fault", "clock-fault")


def texts(rule: Rule) -> dict[str, Any]:
    """The hand-written prose of a rule; technical rules share most of theirs."""
    own = prose(rule.protocol)["rules"].get(rule.name, {})
    shared = prose("shared")["rules"].get(rule.name, {}) if rule.name in SHARED else {}
    return {"evidence": [], "beside": [], **shared, **own}


def rule_page(protocol: Protocol, rule: Rule, outcome: Outcome) -> str:
    words = texts(rule)

    def filled(name: str) -> str:
        return fill(words[name], protocol, rule)

    example = EXAMPLES[f"{protocol.name}/{rule.name}"]
    parts = [
        MADE,
        f"# {rule.name}",
        f"Protocol [{protocol.title['en']}](index.md), version {protocol.version}. Rule `{protocol.name}/{rule.name}`, "
        f"{rule.cls}. Nothing here is validated; see [what the marks mean](../index.md#marks).",
        "## What it watches",
        filled("watches"),
        statistic(protocol, rule),
        "## When it is raised, and when it is over",
        levels(protocol, rule),
        "## Why this number",
        filled("why"),
        evidence(protocol, rule, words["evidence"]),
        f"In the protocol file: *{rule.source}*.",
        "## What it does not see, and what raises it falsely",
        filled("blind"),
        beside(words["beside"]),
        "## What the care team reads",
        sentences(rule, outcome),
        "## Example",
        f"Made-up readings through the real engine. {example.shows}",
        f"![{protocol.title['en']}: {rule.name}]({rule.name}.svg)",
        history(outcome),
        "## Change it",
        for_one(protocol, rule, words.get("plan", "")),
        for_all(protocol, rule),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


ARTEFACTS = {"device-fault": "are what it counts", "silence": "count too", "clock-fault": "count too"}


def statistic(protocol: Protocol, rule: Rule) -> str:
    name = raw_rule(rule)["statistic"]
    about = prose("statistics")[name]
    given = ", ".join(f"{KIND_NAMES[kind][1]} (`{kind}`)" for kind in sorted(rule.kinds))
    return (
        f"Readings: {given}. Readings that failed an artefact gate {ARTEFACTS.get(name, 'do not count')}.\n\n"
        f"**The statistic** (`{name}`). {fill(about['words'], protocol, rule)}\n\n"
        f"```text\n{fill(about['formula'], protocol, rule)}\n```"
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def levels(protocol: Protocol, rule: Rule) -> str:
    if rule.statistic is None:
        rows = []
        for kind in rule.silence_kinds:
            hours = protocol.schedule[kind]
            rows.append([KIND_NAMES[kind][1], f"{hours.every_hours:g} h", f"{hours.overdue_hours:g} h",
                         f"{hours.grave_hours:g} h", "the next reading"])  # fmt: skip
        head = ["kind", "expected every", "medium from", "high from", "over with"]
        note = (
            "Without any care plan nothing is expected. A care plan that names the protocol and no schedule has these "
            "hours; one that names another rhythm scales both limits with it: rarer or denser, never off."
        )
        return table(head, rows) + "\n\n" + note
    told_levels = [told(rule, level) for level in rule.levels]
    conditional = any(t.only for t in told_levels)
    head = ["level", "severity", "met by", "how often", *(["only"] if conditional else []), "over at"]
    rows = [
        [f"`{t.name}`", t.severity, t.met, t.lasting, *([t.only] if conditional else []), t.over]
        for t in told_levels
    ]
    tolerance = {level.tolerance for level in rule.levels if level.tolerance}
    note = "One alert is open at a time; its severity is that of the gravest level that holds. "
    note += "Between a limit and its clear limit nothing changes: see [concepts](../concepts.md)."
    if tolerance:
        note += f" Limits are compared with a tolerance of {max(tolerance):g} {rule.unit}."
    return table(head, rows) + "\n\n" + note


def evidence(protocol: Protocol, rule: Rule, rows: list[list[str]]) -> str:
    body = [
        [fill(figure, protocol, rule), f"[{mark}]", fill(where, protocol, rule)]
        for figure, mark, where in rows
    ]
    return table(["figure", "mark", "source"], body)


def beside(names: list[str]) -> str:
    links = [f"[{name}]({f'../{name}' if '/' in name else name}.md)" for name in names]
    return f"Look also at {', '.join(links)}." if links else ""


def quoted(sentences: dict[str, str]) -> str:
    return f"> {sentences['fr']}\n>\n> {sentences['en']}"


def sentences(rule: Rule, outcome: Outcome) -> str:
    parts = [quoted(rule.sentence)]
    for level in rule.levels:
        if level.sentence is not None:
            parts.append(f"At the level `{level.name}`:\n\n{quoted(level.sentence)}")
    raised = next(s for s in outcome.signals if s.state == "raised")
    parts.append("Words in braces are filled in. In the example below:")
    parts.append(quoted(raised.explanation))
    return "\n\n".join(parts)


def when(signal: AlertSignal) -> str:
    at = round(minutes(parse_instant(signal.at)[0]))
    return f"day {at // 1440 + 1}, {at % 1440 // 60:02}:{at % 60:02}"


def history(outcome: Outcome) -> str:
    """What the engine said, without the updates that change no severity."""
    rows: list[list[str]] = []
    severity, quiet = "", 0
    for signal in outcome.signals:
        if signal.state == "updated" and signal.severity == severity:
            quiet += 1
            continue
        severity = signal.severity
        number = "" if signal.value is None or signal.state == "cleared" else f"{round(signal.value, 2):g}"
        limit = "" if signal.limit is None or signal.state == "cleared" else f"{signal.limit:g}"
        rows.append([when(signal), signal.state, signal.severity, number, limit])
    text = table(["instant", "signal", "severity", "value", "limit"], rows)
    if quiet:
        text += f"\n\nBesides, {quiet} update{'s' * (quiet > 1)} without a change of severity."
    if outcome.others:
        links = ", ".join(f"[{name}]({name}.md)" for name in outcome.others)
        text += f"\n\nThe same readings also raise {links}; each rule has its own alert."
    return text


def for_one(protocol: Protocol, rule: Rule, plan: str) -> str:
    parts = ["**For one patient**, in a new version of the care plan (`scad enrol`), with author and date."]
    if plan:
        parts.append(plan)
    document: dict[str, Any] = {
        "from": "2026-11-01T00:00:00+01:00", "author": "Dr Martin", "protocols": [protocol.name]
    }  # fmt: skip
    if rule.statistic is None:
        document["schedule"] = {
            kind: {"every_hours": hours.every_hours, "overdue_hours": hours.overdue_hours,
                   "grave_hours": hours.grave_hours}
            for kind, hours in protocol.schedule.items() if kind in rule.silence_kinds
        }  # fmt: skip
        parts.append(
            "The hours of this patient; those shown are today's. The alert cannot be left out of the protocol nor "
            "switched off by a schedule. " + " ".join(_unasked(protocol, rule))
        )
    elif not rule.limit_names():
        return (
            "**For one patient**: not at all. The rule says that a device's readings cannot be used, or that its "
            "clock is not set; there is nothing personal about that."
        )
    else:
        words = channel_words(rule)
        rows, given = [], {}
        for level in rule.levels:
            for index, channel in enumerate(rule.statistic.channels):
                limit = level.limits[index]
                if limit is None:
                    continue
                names = rule.names(level, index)
                if not names:
                    rows.append(["none: fixed", f"{words[channel]}, level `{level.name}`", f"{limit:g}", "–"])
                    continue
                if not level.void(Personal().facts):
                    given[names[0]] = int(limit) if limit == int(limit) else limit
                shown = " or ".join(f"`{name}`" for name in names)
                low, high = rule.limit_ranges()[names[-1]]
                allowed = f"{low:g} to {high:g}"
                rows.append([shown, f"{words[channel]}, level `{level.name}`", f"{limit:g}", allowed])
        document["limits"] = {protocol.name: {rule.name: given}}
        parts.append(table(["name", "sets", "today", "allowed"], rows))
        parts.append("The clear limit keeps its distance to the limit. Name only what shall differ.")
    text = json.dumps(document, indent=2, ensure_ascii=False)
    text = re.sub(r"\[\s+(.*?)\s+\]", r"[\1]", text)
    return "\n\n".join([*parts, f"```json\n{text}\n```"])


EXPECTED = {
    "always": "{kind}: expected whether the plan schedules it or not, at the latest after {most:g} hours.",
    "alone": "{kind}: expected when the plan schedules none of these kinds, at the latest after {most:g} hours.",
    "asked": "{kind}: expected when the plan schedules it.",
}


def _unasked(protocol: Protocol, rule: Rule) -> list[str]:
    """For each kind of a rule of silence, what holds without a schedule."""
    known = [(kind, protocol.schedule[kind]) for kind in rule.silence_kinds]
    return [
        EXPECTED[hours.expected].format(
            kind=KIND_NAMES[kind][1].capitalize(), most=hours.overdue_at_most_hours
        )
        for kind, hours in known
    ]


def for_all(protocol: Protocol, rule: Rule) -> str:
    block = re.search(
        rf"^\[rules\.{re.escape(rule.name)}\]\n.*?(?=^\[rules\.(?!{re.escape(rule.name)}[.\]])|\Z)",
        source(protocol.name), re.MULTILINE | re.DOTALL,
    )  # fmt: skip
    assert block is not None  # noqa: S101 - the rule was read from this very text
    score = (
        "scad score --patients 200 --days 180 --seed 7 --protocol my.toml\n" if rule.cls == "clinical" else ""
    )
    return (
        "**For everybody**: copy the protocol, change it, give it a new `version`, and ask what the change would have "
        f"done before it is released. [How a protocol file is written](../writing.md).\n\n```sh\n"
        f"cp streams/protocols/{protocol.name}.toml my.toml\n{score}"
        "scad replay readings.jsonl --protocol my.toml\n```\n\nThe rule as it stands in version "
        f"{protocol.version}:\n\n```toml\n{block[0].strip()}\n```"
    )


def protocol_page(protocol: Protocol) -> str:
    rows = []
    for rule in protocol.rules:
        grades = dict.fromkeys(level.severity for level in rule.levels) or {"high": None, "medium": None}
        watches = fill(texts(rule)["watches"], protocol, rule).split(": ")[0].rstrip(".")
        rows.append([f"[{rule.name}]({rule.name}.md)", watches, ", ".join(grades), rule.cls])
    expected = [
        [
            KIND_NAMES[kind][1],
            f"{h.every_hours:g} h",
            f"{h.overdue_hours:g} h",
            f"{h.grave_hours:g} h",
            h.expected,
        ]
        for kind, h in protocol.schedule.items()
    ]
    parts = [
        MADE,
        f"# {protocol.title['en']}",
        f"*{protocol.title['fr']}*, `{protocol.name}`, version {protocol.version}. "
        "Back to [all protocols](../index.md).",
        table(["rule", "watches", "severity", "class"], rows),
        "## Rhythm",
        "How often each kind is expected where the care plan does not state hours of its own, and from when its "
        "absence is an alert. *Always*: also when the plan schedules nothing; *alone*: when it schedules none of the "
        "protocol's kinds; *asked*: only when it schedules the kind.",
        table(["kind", "every", "medium from", "high from", "expected"], expected),
    ]
    return "\n\n".join(parts) + "\n"
