"""The figures of the dashboard Care team, computed from plain rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from statistics import mean

from ward_figures import (
    ORDER,
    PARIS,
    Figures,
    Row,
    Rows,
    each_day,
    grouped,
    percentile,
    seconds,
    verdict,
)

from alerts.feed.adherence import adherence, rhythms
from streams.protocols import load_published


def waiting(f: Figures) -> Rows:
    counts = Counter(a["severity"] for a in f.queue())
    return [(s, counts[s]) for s in ORDER if counts[s]]


def ages(f: Figures) -> Rows:
    steps = ((1, "1: under 1 h"), (4, "2: 1 to 4 h"), (24, "3: 4 to 24 h"), (72, "4: 1 to 3 days"))

    def step(a: Row) -> str:
        hours = seconds(f.end - a["raised_stored_at"]) / 3600
        return next((name for edge, name in steps if hours < edge), "5: over 3 days")

    return [
        (age, *(sum(a["severity"] == s for a in found) for s in ORDER))
        for age, found in sorted(grouped(f.queue(), step).items())
    ]


def day_of(a: Row) -> date:
    day: date = a["raised_stored_at"].astimezone(PARIS).date()
    return day


def by_day_and_severity(f: Figures) -> dict[tuple[date, str], list[Row]]:
    return grouped(f.raised(), lambda a: (day_of(a), a["severity"]))


def to_acknowledge(f: Figures) -> Rows:
    found: dict[tuple[date, str], float] = {}
    for key, rows in by_day_and_severity(f).items():
        took = [seconds(a["acknowledged_at"] - a["raised_stored_at"]) for a in rows if a["acknowledged_at"]]
        if took:
            found[key] = percentile(took, 0.9)
    return each_day(f, found, None)


def of_service_time(f: Figures) -> Rows:
    found: dict[tuple[date, str], float] = {}
    for key, rows in by_day_and_severity(f).items():
        shares = [
            (a["acknowledged_at"] - a["raised_stored_at"]) / (a["due_at"] - a["raised_stored_at"])
            for a in rows
            if a["acknowledged_at"] and a["due_at"]
        ]
        if shares:
            found[key] = percentile(shares, 0.9)
    return each_day(f, found, None)


def in_time(f: Figures) -> Rows:
    answers: dict[str, list[float]] = defaultdict(list)
    for a in f.raised():
        if a["due_at"] is None or a["due_at"] > f.end:
            continue
        given = [at for at in (a["acknowledged_at"], a["closed_at"]) if at is not None]
        if given or a["state"] in ("open", "escalated"):
            answers[a["severity"]].append(float(bool(given) and min(given) <= a["due_at"]))
    return [(s, mean(answers[s])) for s in ORDER if answers[s]]


def rate(f: Figures) -> Rows:
    counts = Counter(key for a in f.raised() for key in ((day_of(a), a["severity"]), (day_of(a), "all")))
    return [(at, name, 100 * n / len(f.people)) for at, name, n in each_day(f, counts)]


def acted(f: Figures) -> Rows:
    judged = [verdict(a) for a in f.raised() if verdict(a)]
    return [(judged.count("acted") / len(judged),)]


def judged(f: Figures) -> Rows:
    ended = [a for a in f.raised() if a["state"] in ("resolved", "false-alert", "cleared")]
    return [(sum(verdict(a) is not None for a in ended) / len(ended),)]


def kept_back(f: Figures) -> Rows:
    found: Counter[tuple[date, str]] = Counter()
    for a in f.raised():
        held = a["suppressed"] or "held, since released"
        for event in a["events"]:
            if event in ("inhibited", "suppressed"):
                found[day_of(a), event if event == "inhibited" else held] += 1
    return each_day(f, found)


def noisy_rules(f: Figures) -> Rows:
    found: Rows = []
    for (protocol, rule), rows in grouped(f.raised(), lambda a: (a["protocol"], a["rule"])).items():
        said = [verdict(a) for a in rows if verdict(a)]
        false = said.count("false") / len(said) if said else None
        held = sum(a["inhibited_by"] is not None or a["suppressed"] is not None for a in rows)
        found.append((protocol, rule, len(rows), len({a["patient"] for a in rows}), false, held))
    return sorted(found, key=lambda row: (-row[2], row[0], row[1]))[:10]


def noisy_patients(f: Figures) -> Rows:
    found: Rows = [
        (
            patient,
            len(rows),
            sum(a["peak_severity"] == "high" for a in rows),
            sum(verdict(a) == "false" for a in rows),
            max(a["raised_stored_at"] for a in rows),
        )
        for patient, rows in grouped(f.raised(), lambda a: a["patient"]).items()
    ]
    return sorted(found, key=lambda row: (-row[1], row[0]))[:10]


def away(f: Figures, patient: str) -> set[date]:
    """Days that a planned absence touches."""
    found: set[date] = set()
    for row in f.absences:
        if row["patient"] == patient:
            first, last = (row[name].astimezone(PARIS).date() for name in ("from_at", "to_at"))
            found |= {first + timedelta(days=n) for n in range((last - first).days + 1)}
    return found


Share = Callable[[float, list[date], dict[date, int], set[date]], float | None]
"""Of a kind that is asked for every so many hours, on these days, with these readings, away on those."""


def share(every: float, days: list[date], taken: dict[date, int], away: set[date]) -> float | None:
    """None where nothing was asked for. What is taken on a day away is asked for as well, so it does no harm."""
    at_home = [day for day in days if day not in away]
    if every > 24:
        expected = len(at_home) * 24 // every
        return min(sum(taken.get(day, 0) > 0 for day in days) / expected, 1.0) if expected else None
    daily = max(round(24 / every), 1)
    counted = {day: min(taken.get(day, 0), daily) for day in days}
    asked = sum(daily if day in at_home else counted[day] for day in days)
    return min(sum(counted.values()) / asked, 1.0) if asked else None


def page_share(every: float, days: list[date], taken: dict[date, int], away: set[date]) -> float | None:
    """What the page says of the whole days of a fortnight."""
    whole = {day: n for day, n in taken.items() if day in days}
    found = adherence("any", every, days[0], days[-1] + timedelta(days=1), whole, away)
    return found.done / found.expected if found.expected else None


def shares(f: Figures, share: Share = share) -> dict[str, list[float]]:
    """By patient, of each kind that the plan in force asks for."""
    library = load_published()
    until = f.end.astimezone(PARIS).date()
    found: dict[str, list[float]] = {}
    for person in f.people:
        patient = person["patient"]
        plans = [p for p in f.plans if p["patient"] == patient and p["from_at"] <= f.end]
        if not plans:
            continue
        plan = max(plans, key=lambda p: (p["from_at"], p["version"]))
        document = plan["document"]
        asked = {kind: entry["every_hours"] for kind, entry in document.get("schedule", {}).items()}
        first = plan["from_at"].astimezone(PARIS).date()
        days = [day for day in f.days() if first <= day < until]
        for kind, every in rhythms(document["protocols"], asked, library).items():
            taken = {day: len(rows) for day, rows in f.fit(patient, kind).items()}
            own = share(every, days, taken, away(f, patient))
            if own is not None:
                found.setdefault(patient, []).append(own)
    return found


def terciles(f: Figures) -> Rows:
    ordered = sorted((mean(own), patient) for patient, own in shares(f).items())
    sizes = [len(ordered) // 3 + (i < len(ordered) % 3) for i in range(3)]
    found: Rows = []
    for number, size in enumerate(sizes, start=1):
        group = [ordered.pop(0)[0] for _ in range(size)]
        if group:
            found.append((number, size, min(group), mean(group), max(group)))
    return found
