"""How good is each rule? The alerts of a labelled simulated cohort, counted against the truth.

*Found*: an alert of the rule was raised between the onset of the event and its admission to hospital.
*False*: an alert that touches no such span, prolonged by three days after the admission. An event that
begins so late that it stops after the run is not asked for (nobody can say whether it would have been found),
but an alert about it is not false. *Lead*: from the first such alert to the admission.

What stands for onset and admission where nobody is admitted is in `streams.score_truth`, how alerts are
gathered in `streams.score_run`. The cohort knows nothing of the rules: its parameters stand, with their
sources, in `devices.physiology.parameters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import median

from streams.protocols import Library, Protocol
from streams.score_run import Course, Raised, courses, load_library
from streams.score_truth import BASELINES, DAY_MS, TARGETS, Event, Target

__all__ = ["BASELINES", "Course", "Event", "Raised", "Tally", "courses", "load_library"]
__all__ += ["report", "tally", "wilson"]

Z_95 = 1.959964
"""Quantile of the normal distribution for an interval of 95 %."""


@dataclass
class Tally:
    """Counts of one rule over patients. `leads` in days, of the events that were found."""

    patients: int = 0
    days: int = 0
    judged: bool = True
    episodes: int = 0
    found: int = 0
    alerts: int = 0
    true_alerts: int = 0
    leads: list[float] = field(default_factory=list)

    def report(self) -> dict[str, float | int | list[float] | None]:
        """The figures of the contract's appendix; beside them the interval of the sensitivity, patients, and
        alerts per patient-year. None where there is nothing to divide by or nothing to be held against."""
        years = self.patients * self.days / 365.25
        rate = round(self.alerts / years, 4) if years else None
        false = round((self.alerts - self.true_alerts) / years, 4) if years and self.judged else None
        interval = wilson(self.found, self.episodes)
        return {
            "episodes": self.episodes,
            "found": self.found,
            "sensitivity": round(self.found / self.episodes, 4) if self.episodes else None,
            "sensitivity_interval": None if interval is None else [round(limit, 4) for limit in interval],
            "alerts": self.alerts,
            "ppv": round(self.true_alerts / self.alerts, 4) if self.alerts and self.judged else None,
            "false_per_patient_year": false,
            "alerts_per_patient_year": rate,
            "lead_days_median": round(median(self.leads), 2) if self.leads else None,
            "patients": self.patients,
        }


def wilson(found: int, of: int) -> tuple[float, float] | None:
    """Interval of 95 % of a share (Wilson 1927); None of nothing."""
    if of == 0:
        return None
    share, z2 = found / of, Z_95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z_95 * sqrt(share * (1 - share) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def tally(rules: str | Sequence[str], of: Iterable[Course], days: int) -> Tally:
    """Hold one rule's alerts ("protocol/name") against the truth, over the patients of its protocol.

    Several rules of one protocol are counted as one method: an event is found by the first of their alerts, and
    every alert of each counts.
    """
    names = [rules] if isinstance(rules, str) else list(rules)
    protocol = names[0].split("/")[0]
    total = Tally(days=days, judged=any(name in TARGETS for name in names))
    for course in of:
        if protocol not in course.protocols:
            continue
        total.patients += 1
        firsts: dict[Event, int | None] = {}
        for name in names:
            raised, target = course.raised.get(name, ()), TARGETS.get(name)
            total.alerts += len(raised)
            if target is None:
                continue
            related = target.related(course.events)
            total.true_alerts += sum(_touches(one, related, target) for one in raised)
            for event in target.wanted(course.events):
                if event.stop_ms <= course.until_ms:
                    firsts[event] = _earlier(firsts.get(event), _first(raised, event, target))
        total.episodes += len(firsts)
        for event, first_ms in firsts.items():
            if first_ms is not None:
                total.found += 1
                total.leads.append((event.stop_ms - first_ms) / DAY_MS)
    return total


def _first(raised: Iterable[Raised], event: Event, target: Target) -> int | None:
    begin_ms, end_ms = event.onset_ms - target.early_ms, event.stop_ms + target.late_ms
    return min((one.raised_ms for one in raised if begin_ms <= one.raised_ms <= end_ms), default=None)


def _earlier(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _touches(one: Raised, events: Iterable[Event], target: Target) -> bool:
    return any(
        one.start_ms <= event.stop_ms + target.touch_ms
        and (one.end_ms is None or one.end_ms >= event.onset_ms - target.early_ms)
        for event in events
    )


def clinical_rules(protocols: Iterable[Protocol]) -> list[str]:
    """Names ("protocol/name") of the clinical rules, in the order of their files."""
    return [
        f"{p.name}/{rule.name}"
        for p in sorted(protocols, key=lambda p: p.name)
        for rule in p.rules
        if rule.cls == "clinical"
    ]


def report(
    library: Library, found: Sequence[Course], patients: int, days: int, seeds: Sequence[int],
    only: Sequence[str] = (),
) -> dict[str, object]:  # fmt: skip
    """The whole score as `scad score --json` prints it.

    `groups` has each rule by age group and sex, `protocols` all clinical rules of a protocol as one.
    `seed` is a list when there were several; `patients` are those of each.
    """
    rules = [
        rule for rule in clinical_rules(library.protocols.values()) if not only or rule.split("/")[0] in only
    ]
    protocols = list(dict.fromkeys(rule.split("/")[0] for rule in rules))
    baselines = {name: rule for name, rule in BASELINES.items() if rule in rules}
    names = sorted({group for course in found for group in course.groups})
    return {
        "patients": patients,
        "days": days,
        "seed": seeds[0] if len(seeds) == 1 else list(seeds),
        "rules": {rule: tally(rule, found, days).report() for rule in rules},
        "baselines": {name: tally(rule, found, days).report() for name, rule in baselines.items()},
        "protocols": {
            name: tally([rule for rule in rules if rule.startswith(f"{name}/")], found, days).report()
            for name in protocols
        },
        "groups": {
            name: {rule: tally(rule, [c for c in found if name in c.groups], days).report() for rule in rules}
            for name in names
        },
    }
