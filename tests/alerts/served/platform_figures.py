"""The figures of the dashboards Protocol quality, Fleet and Footprint, computed from plain rows."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from statistics import mean
from typing import Any

from ward_figures import DAY, PARIS, Figures, Row, Rows, each_day, grouped, midnight, seconds, verdict, wilson

# ── protocol quality ──────────────────────────────────────────────────────────────────────────────────────────


def quality(rows: list[Row]) -> tuple[Any, ...]:
    said = [verdict(a) for a in rows if verdict(a)]
    hits = said.count("acted")
    share = hits / len(said) if said else None
    return (
        len(rows),
        len(said),
        hits,
        said.count("none"),
        said.count("false"),
        share,
        *wilson(hits, len(said)),
    )


def by_rule(f: Figures) -> Rows:
    return [(*key, *quality(rows)) for key, rows in sorted(grouped(f.raised(), _rule).items())]


def _rule(a: Row) -> tuple[str, str]:
    return a["protocol"], a["rule"]


def by_version(f: Figures) -> Rows:
    groups = grouped(f.raised(), lambda a: (*_rule(a), a["protocol_version"]))
    return [(*key, *quality(rows)) for key, rows in sorted(groups.items())]


GROUPS = ((50, "under 50"), (65, "50-64"), (75, "65-74"), (85, "75-84"), (200, "85 and over"))


def age_group(person: Row) -> str:
    born, then = person["birth_date"], person["enrolled_at"]
    years = then.year - born.year - ((then.month, then.day) < (born.month, born.day))
    return next(name for edge, name in GROUPS if years < edge)


def by_people(f: Figures) -> Rows:
    names = [name for _, name in GROUPS]
    groups = grouped(f.raised(), lambda a: (names.index(age_group(a["person"])), a["person"]["sex"]))
    return [
        (names[index], sex, len({a["patient"] for a in rows}), *quality(rows))
        for (index, sex), rows in sorted(groups.items())
    ]


REASONS = ("wrong-patient", "technique", "device", "artefact", "known-condition", "limit-too-tight", "other")


def false_reasons(f: Figures) -> Rows:
    groups = grouped((a for a in f.raised() if a["false_reason"]), lambda a: a["rule"])
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        (rule, *(sum(a["false_reason"] == why for a in rows) for why in REASONS)) for rule, rows in ordered
    ]


def by_month(f: Figures) -> Rows:
    said = [a for a in f.raised() if verdict(a)]
    groups = grouped(
        said,
        lambda a: (midnight(a["raised_stored_at"].astimezone(PARIS).date().replace(day=1)), a["protocol"]),
    )
    return [(*key, mean(float(verdict(a) == "acted") for a in rows)) for key, rows in sorted(groups.items())]


# ── the fleet ─────────────────────────────────────────────────────────────────────────────────────────────────


def states(f: Figures) -> Rows:
    return sorted(Counter(d["state"] or "never heard of" for d in f.devices).items())


def silent(f: Figures) -> Rows:
    found = [
        d
        for d in f.devices
        if d["state"] is None or (d["state"] != "online" and d["received_at"] < f.end - 2 * DAY)
    ]
    found.sort(key=lambda d: (d["received_at"] is not None, d["received_at"] or f.end, d["device"]))
    return [
        (d["device"], d["model"], d["state"] or "never heard of", d["received_at"], d["battery"],
         d["firmware"] or "unknown")
        for d in found
    ]  # fmt: skip


def battery(f: Figures) -> Rows:
    steps = ((10, "1: under 10 %"), (25, "2: 10 to 24 %"), (50, "3: 25 to 49 %"), (101, "4: 50 % and more"))
    found = [d["battery"] for d in f.devices if d["battery"] is not None]
    return sorted(Counter(next(name for edge, name in steps if b < edge) for b in found).items())


def firmware(f: Figures) -> Rows:
    found = Counter((d["model"], d["firmware"] or "unknown") for d in f.devices)
    return [(*key, n) for key, n in sorted(found.items())]


def clocks(f: Figures) -> Rows:
    recent = [
        r
        for r in f.readings
        if f.end - 7 * DAY <= r["measured_at"] <= f.end + timedelta(minutes=10)
        and r["device"] in {d["device"] for d in f.devices}
    ]
    models = {d["device"]: d["model"] for d in f.devices}
    found: Rows = []
    for device, rows in grouped(recent, lambda r: r["device"]).items():
        least = min(seconds(r["received_at"] - r["measured_at"]) for r in rows)
        if abs(least) > 60:
            found.append((device, models[device], len(rows), least))
    return sorted(found, key=lambda row: (-abs(row[3]), row[0]))


def refused(f: Figures) -> Rows:
    rows = [q for q in f.refused if f.within(q["received_at"])]
    return each_day(f, Counter((q["received_at"].astimezone(PARIS).date(), q["reason"]) for q in rows))


def open_refusals(f: Figures) -> Rows:
    groups = grouped((q for q in f.refused if q["state"] == "open"), lambda q: q["reason"])
    found: Rows = [
        (why, len(rows), len({q["device"] for q in rows}), min(q["received_at"] for q in rows))
        for why, rows in groups.items()
    ]
    return sorted(found, key=lambda row: (-row[1], row[0]))


# ── the footprint ─────────────────────────────────────────────────────────────────────────────────────────────


def years(f: Figures) -> float:
    """That patients have been enrolled."""
    return sum(max(seconds(f.end - p["enrolled_at"]), 0.0) for p in f.people) / 31_557_600


def readings_a_year(f: Figures) -> Rows:
    return [(len(f.readings) / years(f),)]
