"""A care plan made ready for evaluation: which rules hold at an instant, with the patient's own numbers."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streams.history import DAY_MS
from streams.plans import CarePlan, PlanVersion
from streams.protocols.model import Level, Library, Rule
from streams.rolling import Personal
from streams.silence import HOUR_MS, Span

FOREVER_AGO_MS = -(1 << 53)
QUARTER_MS = 900_000
"""Zones change their offset only at quarters of an hour, so one look-up serves a quarter."""

RuleKey = tuple[str, str]


class PlanError(ValueError):
    """A care plan cannot be used; the message names the patient, the version and the field."""


@lru_cache(maxsize=65_536)  # a month of quarters for some 20 zones
def _zone_offset_min(zone: str, quarter: int) -> int:
    moment = datetime.fromtimestamp(quarter * 900, UTC).astimezone(ZoneInfo(zone))
    offset = moment.utcoffset()
    return int(offset.total_seconds() // 60) if offset is not None else 0


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a plan: from when, in which zone, with which levels for each active rule.

    `zone` is None when there is no plan: then the readings' own offsets make the local day.
    """

    from_ms: int
    zone: str | None
    protocols: frozenset[str]
    personal: Personal
    levels: dict[RuleKey, tuple[Level, ...]]
    number: int = 0

    def offset_min(self, at_ms: int, own_offset_min: int) -> int:
        """The patient's offset from UTC at an instant, in minutes."""
        if self.zone is None:
            return own_offset_min
        return _zone_offset_min(self.zone, at_ms // QUARTER_MS)

    def local(self, at_ms: int, own_offset_min: int) -> tuple[int, int]:
        """(number of the local day since 1970-01-01, minute of that day)."""
        local_ms = at_ms + self.offset_min(at_ms, own_offset_min) * 60_000
        return local_ms // DAY_MS, local_ms % DAY_MS // 60_000


class Timeline:
    """All versions of one patient's plan in order, and the rules that any of them uses."""

    def __init__(
        self, versions: list[Version], rules: list[Rule], spans: dict[RuleKey, dict[str, list[Span]]]
    ) -> None:
        self.versions = versions
        self.starts = [v.from_ms for v in versions]
        self.rules = rules
        self.spans = spans

    def index_at(self, at_ms: int) -> int:
        """Index of the version in force, -1 before the first."""
        return bisect_right(self.starts, at_ms) - 1


def default_timeline(library: Library, protocols: tuple[str, ...]) -> Timeline:
    """What holds without a care plan: each protocol's defaults, the readings' own offsets, no schedule."""
    rules = [rule for name in protocols for rule in library.protocols[name].rules]
    version = Version(
        FOREVER_AGO_MS, None, frozenset(protocols), Personal(), {rule.key: rule.levels for rule in rules}
    )
    return Timeline([version], rules, {})


def compile_plan(library: Library, plan: CarePlan) -> Timeline:
    """Make a plan ready. Raises PlanError that lists everything wrong with it."""
    check_plan(library, plan)
    stated = sorted(plan.versions, key=lambda v: (v.from_ms, v.version))
    versions = [_version(library, v) for v in stated]
    names = sorted({name for v in stated for name in v.protocols})
    rules = [rule for name in names for rule in library.protocols[name].rules]
    return Timeline(versions, rules, _spans(library, stated))


def check_plan(library: Library, plan: CarePlan) -> None:
    """Raise PlanError unless every protocol, rule, limit, kind, zone and instant is known."""
    faults: list[str] = []
    for v in plan.versions:
        where = f"care plan of {plan.patient}, version {v.version}: "
        try:
            _ = v.from_ms
        except ValueError as error:
            faults.append(f"{where}from: {error}")
        try:
            ZoneInfo(v.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            faults.append(f"{where}time_zone: {v.time_zone!r} is not an IANA zone such as Europe/Paris")
        for name in v.protocols:
            if name not in library.protocols:
                faults.append(f"{where}protocols: {name!r} is not one of {', '.join(library.protocols)}")
        faults += _limit_faults(library, v, where)
        faults += _number_faults(v, where)
        known = {kind for name in v.protocols if name in library.protocols
                 for kind in library.protocols[name].schedule}  # fmt: skip
        for kind in v.schedule:
            if kind not in known:
                allowed = ", ".join(sorted(known))
                faults.append(f"{where}schedule: {kind!r} is not scheduled by its protocols ({allowed})")
    if faults:
        raise PlanError("\n".join(faults))


def _number_faults(v: PlanVersion, where: str) -> list[str]:
    faults = []
    for kind, asked in v.schedule.items():
        hours = [h for h in (asked.every_hours, asked.overdue_hours, asked.grave_hours) if h is not None]
        if min(hours) <= 0 or hours != sorted(hours):
            faults.append(
                f"{where}schedule: {kind}: 0 < every_hours ≤ overdue_hours ≤ grave_hours must hold, "
                f"not {', '.join(f'{h:g}' for h in hours)}"
            )
    if v.inr_target is not None and not 0.5 <= v.inr_target[0] < v.inr_target[1] <= 6.0:
        faults.append(f"{where}inr_target: {list(v.inr_target)} is not a range such as [2.0, 3.0]")
    if v.dry_weight_kg is not None and not 20.0 <= v.dry_weight_kg <= 350.0:
        faults.append(f"{where}dry_weight_kg: {v.dry_weight_kg:g} is not from 20 to 350")
    return faults


def _limit_faults(library: Library, v: PlanVersion, where: str) -> list[str]:
    faults = []
    for protocol, rules in v.limits.items():
        for name, given in rules.items():
            rule = library.rule(protocol, name)
            if rule is None:
                faults.append(f"{where}limits: there is no rule {protocol}/{name}")
                continue
            for key in given:
                if key not in rule.limit_names():
                    allowed = ", ".join(sorted(rule.limit_names())) or "none: it has no limit to set"
                    faults.append(f"{where}limits: {protocol}/{name}: {key!r} is not one of {allowed}")
    return faults


def _version(library: Library, v: PlanVersion) -> Version:
    levels = {}
    for name in v.protocols:
        own = v.limits.get(name, {})
        for rule in library.protocols[name].rules:
            levels[rule.key] = rule.personal_levels(own.get(rule.name, {}))
    personal = Personal(
        dry_weight_kg=v.dry_weight_kg,
        known_atrial_fibrillation=v.known_atrial_fibrillation,
        pregnancy=v.pregnancy,
        spo2_scale=v.spo2_scale,
        inr_target=v.inr_target,
        mechanical_valve=v.mechanical_valve,
    )
    return Version(v.from_ms, v.time_zone, frozenset(v.protocols), personal, levels, v.version)


def _spans(library: Library, stated: list[PlanVersion]) -> dict[RuleKey, dict[str, list[Span]]]:
    """For each silence rule and kind, when it is expected and how long a silence may last."""
    found: dict[RuleKey, dict[str, list[Span]]] = {}
    for index, v in enumerate(stated):
        to_ms = stated[index + 1].from_ms if index + 1 < len(stated) else None
        for name in v.protocols:
            protocol = library.protocols[name]
            for rule in protocol.rules:
                for kind in rule.silence_kinds:
                    if kind not in v.schedule:
                        continue
                    asked, usual = v.schedule[kind], protocol.schedule[kind]
                    scale = asked.every_hours / usual.every_hours
                    overdue = asked.overdue_hours or usual.overdue_hours * scale
                    grave = asked.grave_hours or max(overdue, usual.grave_hours * scale)
                    found.setdefault(rule.key, {}).setdefault(kind, []).append(
                        Span(v.from_ms, to_ms, int(overdue * HOUR_MS), int(grave * HOUR_MS))
                    )
    return found
