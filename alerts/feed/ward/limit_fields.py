"""The limits that a care plan may set, as fields of a form: what is usual, in which unit, within which range."""

from __future__ import annotations

from dataclasses import dataclass

from alerts.feed.texts import Texts
from devices.catalogue import KINDS, Number
from streams.plans import PlanVersion
from streams.protocols.model import Level, Library, Protocol, Rule

FACTOR_LOW, FACTOR_HIGH = 0.25, 4.0
"""A limit on something that is no measurement itself (a gain, a z) lies within a quarter and four times the
published one, unless its protocol says otherwise: a weight gain of 0.5 to 8 kg."""

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
"""Channel and unit → the measurement (kind, value) whose plausible range bounds a limit on it."""


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


def limit_fields(protocol: Protocol) -> list[LimitField]:
    """Every limit of the protocol that a plan may set, in the order of its file. A limit of nought (a target
    range's edge, a yes or no) is no number to set."""
    found = []
    for rule in protocol.rules:
        if rule.statistic is None or rule.cls == "technical":
            continue
        channels, sole = rule.statistic.channels, len(rule.levels) == 1
        for level in rule.levels:
            for index, channel in enumerate(channels):
                usual = level.limits[index]
                names = level.names(channel, len(channels) == 1, sole)
                if usual is None or not names or usual == 0.0:
                    continue
                low, high = plausible(rule, channel, usual)
                found.append(LimitField(protocol.name, rule, level, channel, names, usual, low, high))
    return found


def plausible(rule: Rule, channel: str, usual: float) -> tuple[float, float]:
    """The range in which a limit makes sense at all: that of the measurement, or around the published one."""
    kind, name = MEASURED.get(channel, {}).get(rule.unit or "", ("", ""))
    spec = KINDS[kind].values[name] if kind else None
    if isinstance(spec, Number):
        return spec.low, spec.high
    if rule.unit == "%":
        return 0.0, 100.0
    return round(usual * FACTOR_LOW, 3), round(usual * FACTOR_HIGH, 3)


def fields_of(library: Library, protocols: tuple[str, ...] | list[str]) -> dict[str, list[LimitField]]:
    """By protocol; a protocol that this release does not know has none."""
    return {name: limit_fields(library.protocols[name]) for name in protocols if name in library.protocols}
