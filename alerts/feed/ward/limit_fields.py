"""The limits that a care plan may set, as fields of a form: what is usual, in which unit, within which range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from alerts.feed.texts import Texts
from streams.plans import PlanVersion
from streams.protocols.model import Level, Library, Protocol, Rule

MEASURED = {
    "value": {
        "mg/dL": ("glucose", "glucose"),
        "/min": ("heart-rate", "heart_rate"),
        "%": ("oxygen-saturation", "spo2"),
        "Cel": ("temperature", "temperature"),
    },
    "projected": {"mg/dL": ("glucose", "glucose")},
    "systolic": {"mm[Hg]": ("blood-pressure", "systolic")},
    "diastolic": {"mm[Hg]": ("blood-pressure", "diastolic")},
    "inr": {"{INR}": ("inr", "inr")},
}
"""Channel and unit → the measurement (kind, value) that a limit on it can be drawn beside."""


@dataclass(frozen=True, slots=True)
class LimitField:
    """One number that a plan may set. `names` are the names it goes by in a plan, the first is written."""

    protocol: str
    rule: Rule
    level: Level
    channel: str
    names: tuple[str, ...]
    usual: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """The field's name in the form."""
        return f"limit:{self.protocol}:{self.rule.name}:{self.names[0]}"

    @property
    def unit(self) -> str | None:
        return self.rule.unit

    def label(self, texts: Texts) -> str:
        """Rule, and level or channel where the rule has several."""
        parts = [texts.term("rule", self.rule.name)]
        channels = self.rule.statistic.channels if self.rule.statistic is not None else ()
        if sum(1 for level in self.rule.levels if not level.fixed) > 1:
            parts.append(texts.term("level", self.level.name))
        if sum(1 for limit in self.level.limits if limit is not None) > 1 and len(channels) > 1:
            parts.append(texts.term("channel", self.channel))
        return " · ".join(parts)

    def direction(self, texts: Texts) -> str:
        return texts(f"plan.{self.level.comparison}")

    def given(self, version: PlanVersion | None) -> float | None:
        """What the version sets, None where it leaves the published limit."""
        if version is None:
            return None
        own = version.limits.get(self.protocol, {}).get(self.rule.name, {})
        return next((own[name] for name in self.names if name in own), None)


def limit_fields(protocol: Protocol, facts: frozenset[str] | None = None) -> list[LimitField]:
    """Every limit of the protocol that a plan may set, in the order of its file; with a patient's `facts`
    (streams.timeline.personal_of) only those of levels that can apply. A limit of nought (a target range's edge,
    a yes or no) is no number to set."""
    found = []
    for rule in protocol.rules:
        if rule.statistic is None:
            continue
        ranges = rule.limit_ranges(facts)
        for level in rule.levels:
            if facts is not None and level.void(facts):
                continue
            for index, channel in enumerate(rule.statistic.channels):
                usual, names = level.limits[index], rule.names(level, index)
                if usual is None or not names or usual == 0.0 or names[0] not in ranges:
                    continue
                low, high = (round(edge, 3) for edge in ranges[names[0]])
                found.append(LimitField(protocol.name, rule, level, channel, names, usual, low, high))
    return found


def fields_of(
    library: Library, protocols: Iterable[str], facts: frozenset[str] | None = None
) -> dict[str, list[LimitField]]:
    """By protocol; a protocol that this release does not know has none."""
    known = [name for name in protocols if name in library.protocols]
    return {name: limit_fields(library.protocols[name], facts) for name in known}
