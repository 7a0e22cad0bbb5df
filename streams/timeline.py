"""A care plan made ready for evaluation: which rules hold at an instant, with the patient's own numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streams.history import DAY_MS
from streams.plans import CarePlan, PlanVersion, Schedule
from streams.protocols.model import FOREVER_AGO_MS, ExpectedEvery, Level, Library, Protocol, Rule
from streams.rolling import Personal
from streams.silence import HOUR_MS, Dated, Span

QUARTER_MS = 900_000
"""Zones change their offset only at quarters of an hour, so one look-up serves a quarter."""

QUARTERS_A_DAY = DAY_MS // QUARTER_MS

GRAVE_AT_MOST = 3
"""How many times as late as the latest overdue instant a silence may become high."""

LEVELS_CACHED = 8192
"""Rules times sorts of patients (pregnant, scale 2, known fibrillation, valve) whose levels are kept; some 50 rules
in as many versions."""

RuleKey = tuple[str, str]


class PlanError(ValueError):
    """A care plan cannot be used; the message names the patient, the version and the field."""


@lru_cache(maxsize=65_536)  # a month of quarters for some 20 zones
def _zone_offset_min(zone: str, quarter: int) -> int:
    moment = datetime.fromtimestamp(quarter * 900, UTC).astimezone(ZoneInfo(zone))
    offset = moment.utcoffset()
    return int(offset.total_seconds() // 60) if offset is not None else 0


@lru_cache(maxsize=16_384)  # two years of days for some 20 zones
def _whole_day_offset_min(zone: str, day: int) -> int | None:
    """The zone's offset on a day of UTC; None where it is another at the day's end, which two days a year are."""
    first, last = (_zone_offset_min(zone, of * QUARTERS_A_DAY) for of in (day, day + 1))
    return first if first == last else None


@dataclass(frozen=True, slots=True)
class Version:
    """A stretch in which one version of the plan holds, and one of each of its protocols: from when, in which
    zone, with which rules and which levels for each.

    `zone` is None when there is no plan: then the readings' own offsets make the local day.
    """

    from_ms: int
    zone: str | None
    protocols: frozenset[str]
    personal: Personal
    rules: dict[RuleKey, Rule]
    levels: dict[RuleKey, tuple[Level, ...]]
    number: int = 0

    def offset_min(self, at_ms: int, own_offset_min: int) -> int:
        """The patient's offset from UTC at an instant, in minutes."""
        zone = self.zone
        if zone is None:
            return own_offset_min
        offset_min = _whole_day_offset_min(zone, at_ms // DAY_MS)
        return _zone_offset_min(zone, at_ms // QUARTER_MS) if offset_min is None else offset_min

    def local(self, at_ms: int, own_offset_min: int) -> tuple[int, int]:
        """(number of the local day since 1970-01-01, minute of that day)."""
        local_ms = at_ms + self.offset_min(at_ms, own_offset_min) * 60_000
        return local_ms // DAY_MS, local_ms % DAY_MS // 60_000


class Timeline:
    """All stretches of one patient's plan in order, and the rules that any of them uses."""

    def __init__(
        self, library: Library, versions: list[Version], spans: dict[RuleKey, dict[str, list[Span]]]
    ) -> None:
        self.library = library
        self.versions = versions
        self.starts = [v.from_ms for v in versions]
        self.spans = spans
        self.rules = list({id(rule): rule for v in versions for rule in v.rules.values()}.values())
        """Rules as any stretch has them: a rule that two versions of a protocol define has two entries."""

    def index_at(self, at_ms: int) -> int:
        """Index of the stretch that an instant lies in, -1 before the first."""
        return bisect_right(self.starts, at_ms) - 1

    def rule_at(self, key: RuleKey, at_ms: int) -> Rule | None:
        """The rule as it holds at an instant."""
        index = self.index_at(at_ms)
        return self.versions[index].rules.get(key) if index >= 0 else None


def default_timeline(library: Library, protocols: tuple[str, ...]) -> Timeline:
    """What holds without a care plan: each protocol's defaults, the readings' own offsets, no schedule."""
    cuts = {FOREVER_AGO_MS, *(d.from_ms for name in protocols for d in library.versions(name))}
    versions = []
    for cut_ms in sorted(cuts):
        rules = _rules(_in_force(library, protocols, cut_ms))
        levels = {key: _for(rule, Personal()) for key, rule in rules.items()}
        versions.append(Version(cut_ms, None, frozenset(protocols), Personal(), rules, levels))
    return Timeline(library, versions, {})


def compile_plan(library: Library, plan: CarePlan) -> Timeline:
    """Make a plan ready. Raises PlanError that lists everything wrong with it."""
    check_plan(library, plan)
    return lay_out(library, plan)


def lay_out(library: Library, plan: CarePlan) -> Timeline:
    """The same for a plan that was accepted once. What its protocols no longer have is left out: a plan must not
    become useless by a protocol's new version or another release."""
    stated = sorted(plan.versions, key=lambda v: (v.from_ms, v.version))
    versions: list[Version] = []
    spans: dict[RuleKey, dict[str, list[Span]]] = {}
    for index, v in enumerate(stated):
        to_ms = stated[index + 1].from_ms if index + 1 < len(stated) else None
        if to_ms == v.from_ms:
            continue  # replaced at its own instant: it never held
        cuts = [v.from_ms]
        cuts += sorted(
            {d.from_ms for name in v.protocols for d in library.versions(name)
             if v.from_ms < d.from_ms and (to_ms is None or d.from_ms < to_ms)}
        )  # fmt: skip
        for cut_ms, end_ms in zip(cuts, [*cuts[1:], to_ms], strict=True):
            held = _in_force(library, v.protocols, cut_ms)
            versions.append(_stretch(v, cut_ms, held))
            _add_spans(spans, v, cut_ms, end_ms, held)
    return Timeline(library, versions, spans)


def _in_force(library: Library, names: Iterable[str], at_ms: int) -> list[Protocol]:
    found = (library.in_force(name, at_ms) for name in sorted(set(names)))
    return [protocol for protocol in found if protocol is not None]


def _rules(held: list[Protocol]) -> dict[RuleKey, Rule]:
    return {rule.key: rule for protocol in held for rule in protocol.rules}


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
            if name not in library.names():
                faults.append(f"{where}protocols: {name!r} is not one of {', '.join(library.names())}")
        faults += _limit_faults(library, v, where)
        faults += _number_faults(v, where)
        faults += _schedule_faults(library, v, where)
    if faults:
        raise PlanError("\n".join(faults))


def _schedule_faults(library: Library, v: PlanVersion, where: str) -> list[str]:
    """A rhythm may be rarer or denser than the protocol's, but *no reading* cannot be switched off with it."""
    usual_of: dict[str, ExpectedEvery] = {}
    for name in v.protocols:
        for dated in library.versions(name):
            usual_of |= dated.protocol.schedule
    faults = []
    for kind, asked in v.schedule.items():
        place = f"{where}schedule: {kind}: "
        hours = [h for h in (asked.every_hours, asked.overdue_hours, asked.grave_hours) if h is not None]
        if not all(map(isfinite, hours)) or min(hours) <= 0 or hours != sorted(hours):
            faults.append(
                f"{place}0 < every_hours ≤ overdue_hours ≤ grave_hours must hold, "
                f"not {', '.join(f'{h:g}' for h in hours)}"
            )
            continue
        usual = usual_of.get(kind)
        if usual is None:
            allowed = ", ".join(sorted(usual_of))
            faults.append(f"{where}schedule: {kind!r} is not scheduled by its protocols ({allowed})")
            continue
        overdue, grave = _hours(asked, usual)
        most = usual.overdue_at_most_hours
        if overdue > most or grave > GRAVE_AT_MOST * most:
            faults.append(
                f"{place}overdue_hours is {overdue:g} and grave_hours {grave:g}: at most "
                f"{most:g} and {GRAVE_AT_MOST * most:g} are allowed; the alert "
                "for missing readings can be made rarer or denser but not switched off"
            )
    return faults + _next_test_faults(v, usual_of, where)


def _next_test_faults(v: PlanVersion, usual_of: dict[str, ExpectedEvery], where: str) -> list[str]:
    """A date may not put a test off for longer than a rhythm may."""
    faults = []
    for kind, asked in (v.next_tests or {}).items():
        place = f"{where}next_tests: {kind}: "
        try:
            after = datetime.fromtimestamp(asked.after_ms / 1000, ZoneInfo(v.time_zone)).date()
        except (ValueError, OverflowError, OSError) as error:
            faults.append(f"{place}after: {error}")
            continue
        usual = usual_of.get(kind)
        if usual is None:
            faults.append(f"{where}next_tests: {kind!r} is not scheduled by its protocols")
            continue
        most = int(usual.overdue_at_most_hours // 24)
        if not after <= asked.by <= after + timedelta(days=most):
            faults.append(f"{place}by is {asked.by}: from {after} (after) to {most} days later is allowed")
    return faults


def _hours(asked: Schedule, usual: ExpectedEvery) -> tuple[float, float]:
    """(overdue, grave) in hours, the protocol's scaled to the plan's rhythm where the plan does not say them."""
    overdue = asked.overdue_hours or usual.overdue_of(asked.every_hours)
    return overdue, asked.grave_hours or max(overdue, usual.grave_of(asked.every_hours))


def _number_faults(v: PlanVersion, where: str) -> list[str]:
    faults = []
    if v.inr_target is not None and not 0.5 <= v.inr_target[0] < v.inr_target[1] <= 6.0:
        faults.append(f"{where}inr_target: {list(v.inr_target)} is not a range such as [2.0, 3.0]")
    if v.dry_weight_kg is not None and not 20.0 <= v.dry_weight_kg <= 350.0:
        faults.append(f"{where}dry_weight_kg: {v.dry_weight_kg:g} is not from 20 to 350")
    return faults


def _limit_faults(library: Library, v: PlanVersion, where: str) -> list[str]:
    faults: list[str] = []
    facts = personal_of(v).facts
    for protocol, rules in v.limits.items():
        for name, given in rules.items():
            rule = library.rule(protocol, name)
            if rule is None:
                faults.append(f"{where}limits: there is no rule {protocol}/{name}")
                continue
            ranges = library.limit_ranges(protocol, name)
            applying = library.limit_ranges(protocol, name, facts)
            for key, value in given.items():
                if key not in ranges:
                    allowed = ", ".join(sorted(ranges)) or "none: it has no limit to set"
                    faults.append(f"{where}limits: {protocol}/{name}: {key!r} is not one of {allowed}")
                    continue
                if key not in applying:
                    faults.append(
                        f"{where}limits: {protocol}/{name}: {key} is of a level that cannot apply to this patient "
                        f"({', '.join(sorted(facts))}): {', '.join(sorted(applying)) or 'none'} can"
                    )
                    continue
                low, high = ranges[key]
                if not low <= value <= high:
                    unit = f" {rule.unit}" if rule.unit else ""
                    faults.append(
                        f"{where}limits: {protocol}/{name}: {key} is {value:g}: from {low:g} to {high:g}{unit} is "
                        "plausible"
                    )
    return faults


@lru_cache(maxsize=LEVELS_CACHED)
def _usual(of: _ByIdentity, personal_facts: frozenset[str]) -> tuple[Level, ...]:
    """A level that cannot apply has no limits: readings within those of the others cost nothing then."""
    return tuple(level.never() if level.void(personal_facts) else level for level in of.levels)


class _ByIdentity(NamedTuple):
    """A rule's levels, hashed by their identity: they hold sentences, which have no hash."""

    number: int
    levels: tuple[Level, ...]

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.number == other.number


def _for(rule: Rule, personal: Personal, own: dict[str, float] | None = None) -> tuple[Level, ...]:
    """A rule's levels for a patient. Who has no limits of their own shares them with all who are alike."""
    if not own:
        return _usual(_ByIdentity(id(rule.levels), rule.levels), personal.facts)
    levels = rule.personal_levels(own)
    return tuple(level.never() if level.void(personal.facts) else level for level in levels)


def personal_of(v: PlanVersion) -> Personal:
    """What statistics may know of the patient under a version of the plan."""
    return Personal(
        dry_weight_kg=v.dry_weight_kg,
        known_atrial_fibrillation=v.known_atrial_fibrillation,
        pregnancy=v.pregnancy,
        spo2_scale=v.spo2_scale,
        inr_target=v.inr_target,
        mechanical_valve=v.mechanical_valve,
    )


def _stretch(v: PlanVersion, from_ms: int, held: list[Protocol]) -> Version:
    rules = _rules(held)
    personal = personal_of(v)
    names = frozenset(protocol.name for protocol in held)
    levels = {
        key: _for(rule, personal, v.limits.get(key[0], {}).get(key[1], {})) for key, rule in rules.items()
    }
    return Version(from_ms, v.time_zone, names, personal, rules, levels, v.version)


def expected(v: PlanVersion, protocol: Protocol, rule: Rule) -> dict[str, tuple[float, float]]:
    """Kind → (overdue, grave) in hours, for each kind whose silence a rule watches under a version of a plan: what
    the plan schedules, and what the protocol expects without being asked."""
    found = {}
    for kind in rule.silence_kinds:
        usual = protocol.schedule[kind]
        if kind in v.schedule:
            found[kind] = _hours(v.schedule[kind], usual)
        elif usual.expected == "always" or (
            usual.expected == "alone" and not any(other in v.schedule for other in rule.silence_kinds)
        ):
            found[kind] = (usual.overdue_hours, usual.grave_hours)
    return found


def _add_spans(
    spans: dict[RuleKey, dict[str, list[Span]]],
    v: PlanVersion,
    from_ms: int,
    to_ms: int | None,
    held: list[Protocol],
) -> None:
    """For each silence rule and kind, when it is expected and how long a silence may last."""
    for protocol in held:
        for rule in protocol.rules:
            for kind, (overdue, grave) in expected(v, protocol, rule).items():
                known = spans.setdefault(rule.key, {}).setdefault(kind, [])
                hours = (int(overdue * HOUR_MS), int(grave * HOUR_MS), _dated(v, kind, grave / overdue))
                span = Span(from_ms, to_ms, *hours)
                before = known[-1] if known else None
                if before is not None and (before.to_ms, before.overdue_ms, before.grave_ms, before.dated) == (
                    from_ms, *hours
                ):  # fmt: skip
                    known[-1] = Span(before.from_ms, to_ms, *hours)
                else:
                    known.append(span)


def _dated(v: PlanVersion, kind: str, grave_ratio: float) -> Dated | None:
    """From when the next reading is overdue that a version has a date for: the end of that day. Graver in the same
    proportion as by the rhythm."""
    asked = (v.next_tests or {}).get(kind)
    if asked is None:
        return None
    ended = datetime(asked.by.year, asked.by.month, asked.by.day, tzinfo=ZoneInfo(v.time_zone)) + timedelta(
        days=1
    )
    overdue_at_ms = max(int(ended.timestamp()) * 1000, asked.after_ms)
    grave_at_ms = asked.after_ms + int((overdue_at_ms - asked.after_ms) * grave_ratio)
    return Dated(asked.after_ms, overdue_at_ms, grave_at_ms)
