"""All pages: the index, concepts, how to write a protocol, and each protocol with its rules."""

from __future__ import annotations

import re

from rule_pages.curves import Chart, Line, Panel
from rule_pages.draw import chart, marks, minutes
from rule_pages.examples import EXAMPLES, Example
from rule_pages.examples_heart import personal_rate
from rule_pages.examples_metabolic import saturation
from rule_pages.page import MADE, MARKS, protocol_page, rule_page, table
from rule_pages.story import Outcome, Story, day, run
from rule_pages.words import PROSE, Recording, fill, prose, raw_rule
from streams.protocols import RULE_FIELDS, Library, ProtocolError, Rule, load_published, parse
from streams.rolling import STATISTICS, baseline


def outcomes(library: Library) -> dict[str, Outcome]:
    """Every rule's example, run through the engine. Raises KeyError for a rule without one."""
    return {
        f"{protocol.name}/{rule.name}": run(protocol, rule, EXAMPLES[f"{protocol.name}/{rule.name}"].make())
        for protocol in library.protocols.values()
        for rule in protocol.rules
    }


def pages() -> dict[str, str]:
    """Text of every file by its path below docs/protocols."""
    library = load_published()
    ran = outcomes(library)
    files = {"index.md": index(library), "writing.md": writing(library, ran)}
    for protocol in library.protocols.values():
        files[f"{protocol.name}/index.md"] = protocol_page(protocol)
        for rule in protocol.rules:
            key = f"{protocol.name}/{rule.name}"
            files[f"{key}.md"] = rule_page(protocol, rule, ran[key])
            files[f"{key}.svg"] = chart(protocol, rule, EXAMPLES[key], ran[key]).svg()
    return files | concepts(library)


def template(name: str, given: dict[str, str]) -> str:
    """A page of prose/ with its {{parts}} put in."""
    text = (PROSE / name).read_text(encoding="utf-8")
    filled = re.sub(r"\{\{([^}]+)\}\}", lambda found: given[found[1]], text)
    return f"{MADE}\n\n{filled}"


def index(library: Library) -> str:
    rows = [
        [f"[{p.title['en']}]({p.name}/index.md)", p.title["fr"], f"`{p.name}`", p.version, f"{len(p.rules)}"]
        for p in library.protocols.values()
    ]
    listed = "\n".join(f"- **[{mark}]** {meaning}" for mark, meaning in MARKS.items())
    head = ["protocol", "in French", "name", "version", "rules"]
    return template("index.md", {"protocols": table(head, rows), "marks": listed})


# ── concepts ──────────────────────────────────────────────────────────────────────────────────────────


def wandering() -> Story:
    story = Story()
    for place, celsius in enumerate((37.2, 38.1, 37.9, 38.0, 37.8, 38.2, 37.9, 37.6, 37.2)):
        story.add(day(1, 8) + 240 * place, "temperature", {"temperature": celsius})
    return story


CURVES = {
    "hysteresis": ("respiratory/temperature", wandering, "Temperature, °C", "One alert while a value wanders",
                   ("very-high", "very-low")),
    "persistence": ("respiratory/spo2-low", saturation((97, 96, 93, 96, 97, 94, 93, 95, 96)), "Oxygen saturation, %",
                    "One low reading is none, two in a row are an alert", ("low",)),
}  # fmt: skip


def concepts(library: Library) -> dict[str, str]:
    files, given = {}, {}
    for name, (key, make, title, shows, hide) in CURVES.items():
        protocol_name, rule_name = key.split("/")
        protocol, rule = library.protocols[protocol_name], library.rule(protocol_name, rule_name)
        assert rule is not None  # noqa: S101 - the names stand above
        outcome = run(protocol, rule, make())
        files[f"{name}.svg"] = chart(protocol, rule, Example(make, shows, title, hide=hide), outcome).svg()
        given[f"curve:{name}"] = f"![{shows}]({name}.svg)"
        given |= {
            f"{rule_name}:{level}.limit": fill(f"{{{level}.limit}}", protocol, rule)
            for level in (lv.name for lv in rule.levels)
        }
    files["baseline.svg"] = baseline_curve(library)
    given["curve:baseline"] = (
        "![A resting heart rate, what is usual for the patient, and the limit](baseline.svg)"
    )
    for constant in ("WINDOW_DAYS", "PROVISIONAL_DAYS", "FULL_DAYS", "PRIOR_DAYS"):
        given[f"code:{constant}"] = str(getattr(baseline, constant))
    return files | {"concepts.md": template("concepts.md", given)}


def baseline_curve(library: Library) -> str:
    """A heart rate with its usual value, and the limit that follows from the scatter."""
    rule = library.rule("arrhythmia", "heart-rate-personal")
    assert rule is not None  # noqa: S101 - a published rule
    outcome = run(library.protocols["arrhythmia"], rule, personal_rate())
    z = rule.levels[0].limits[0] or 0.0
    rates = tuple((minutes(r.measured_at_ms), float(r.values["heart_rate"])) for r in outcome.readings)
    usual, limit = [], []
    for point in outcome.points:
        at, learnt = minutes(point.at_ms), point.before
        usual.append((at, learnt.centre))
        limit.append((at, learnt.centre + z * learnt.scale))
    lines = (
        Line(tuple(limit), "threshold", f"limit: z = {z:g}"),
        Line(tuple(usual), "usual", "usual"),
        Line(rates),
    )
    panel = Panel("Resting heart rate, /min", lines)
    return Chart("A personal baseline", [panel], marks(outcome.signals), minutes(outcome.until_ms)).svg()


# ── how to write one ──────────────────────────────────────────────────────────────────────────────────


def writing(library: Library, ran: dict[str, Outcome]) -> str:
    example = (PROSE / "example.toml").read_text(encoding="utf-8").strip()
    given = {"example": example, "errors": errors(example), "statistics": statistics(library, ran)}
    return template("writing.md", given)


def errors(example: str) -> str:
    """What the checker says of the example with three mistakes."""
    broken = example.replace('class = "clinical"', 'class = "medical"')
    broken = broken.replace("clear = 37.7", "clear = 38.4").replace('severity = "high"', 'severity = "red"')
    try:
        parse(broken, "fever.toml")
    except ProtocolError as error:
        return str(error)
    raise AssertionError("the broken example is accepted")


def statistics(library: Library, ran: dict[str, Outcome]) -> str:
    """Each statistic: what it is, its channels, parameters, facts, and words for sentences."""
    users: dict[str, list[str]] = {name: [] for name in sorted(STATISTICS)}
    for protocol in library.protocols.values():
        for rule in protocol.rules:
            name = raw_rule(rule)["statistic"]
            if name in users:
                users[name].append(f"{protocol.name}/{rule.name}")
    parts = []
    for name, keys in users.items():
        about = prose("statistics")[name]
        given = raw_rule(_chosen(library, keys[0])) if keys else about["example"]
        asked = Recording({k: v for k, v in given.items() if k not in RULE_FIELDS or k == "kinds"})
        made = STATISTICS[name](asked)
        extra = sorted(
            {
                word.removesuffix("_fr").removesuffix("_en")
                for k in keys
                for p in ran[k].points
                for word in p.measure.extra
            }
        )
        used = f"As in [{keys[0].split('/')[1]}]({keys[0]}.md)." if keys else f"{about['words']}\n\n"
        if not keys:
            used += f"```text\n{about['formula']}\n```\n\nNo published rule uses it yet."
            extra = about["extra"]
        lines = [f"### {name}", f"{used} Channels: "
                 + ", ".join(f"`{c}` ({about['channels'][c]})" for c in made.channels) + "."]  # fmt: skip
        facts = "Facts for `when` and `unless`: " + ", ".join(f"`{f}`" for f in sorted(made.facts)) + "."
        words = "Words for sentences: " + ", ".join(f"`{{{word}}}`" for word in extra) + "."
        lines.append(" ".join([facts] * bool(made.facts) + [words] * bool(extra)))
        lines.append(parameter_table(asked))
        parts += [line for line in lines if line]
    return "\n\n".join(parts)


def _chosen(library: Library, key: str) -> Rule:
    chosen = library.rule(*key.split("/"))
    assert chosen is not None  # noqa: S101 - it was just listed
    return chosen


def parameter_table(asked: Recording) -> str:
    rows = [[f"`{name}`", "text" if name != "kinds" else "list of texts", "–"] for name in asked.words]
    rows += [
        [f"`{name}`", f"{low:g} to {high:g}", "–" if default is None else f"{default:g}"]
        for name, (default, low, high) in asked.numbers.items()
    ]
    return table(["parameter", "allowed", "default"], rows) if rows else ""
